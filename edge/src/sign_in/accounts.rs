//! Asking control whether a password is right: edges hold none, and nothing that passwords could be guessed from.

mod credentials;
mod second_factors;
mod terms;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use proto::fabric::{
    ChangePasswordRequest, CheckPasswordRequest, CheckPasswordResponse, DeviceAnswer,
    DeviceQuestion, EndSessionRequest, RefreshSessionsRequest, RefreshSessionsResponse,
    fabric_client::FabricClient,
};
use runtime::{
    Scope,
    control_client::{self, ControlAddresses},
    identity::CurrentIdentity,
    tls::{self, ALPN_H2},
};
use tokio::{
    sync::{Mutex, Semaphore, mpsc, oneshot},
    time::{sleep, timeout},
};
use tonic::{Code, transport::Channel};

use super::{
    refresh::Refreshes,
    reports::{self, Reports},
};
pub use credentials::CredentialQuestion;
pub use second_factors::SecondFactorQuestion;
pub use terms::TermsQuestion;

/// Questions that wait to be asked; beyond, users are told to come back.
const WAITING_MAX: usize = 64;
/// Questions under way at control, which looks at two passwords at a time.
const ASKING_MAX: usize = 16;
/// Longest wait of a user for an answer, the wait for a line included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccountsError {
    /// Control does not answer.
    #[error("control does not answer")]
    Away,
    /// Too many ask.
    #[error("too many questions are waiting")]
    Busy,
}

/// What control is asked.
#[derive(Debug)]
pub enum Question {
    /// Whether a password is right.
    Check(CheckPasswordRequest, Answer<CheckPasswordResponse>),
    /// The same, and puts another in its place.
    Change(ChangePasswordRequest, Answer<CheckPasswordResponse>),
    /// Ends a session everywhere.
    End(EndSessionRequest, Answer<()>),
    /// About a terminal that signs in.
    Device(DeviceQuestion, Answer<DeviceAnswer>),
    /// Which sessions identity providers are to be asked about.
    Refresh(RefreshSessionsRequest, Answer<RefreshSessionsResponse>),
    /// What a user shows besides a password, or changes of it.
    SecondFactor(SecondFactorQuestion),
    /// About terms of use.
    Terms(TermsQuestion),
    /// About credentials of apps.
    Credential(CredentialQuestion),
}

impl Question {
    /// Whether nobody waits for the answer.
    fn is_given_up(&self) -> bool {
        match self {
            Self::Check(_, answer) | Self::Change(_, answer) => answer.is_closed(),
            Self::End(_, answer) => answer.is_closed(),
            Self::Device(_, answer) => answer.is_closed(),
            Self::Refresh(_, answer) => answer.is_closed(),
            Self::SecondFactor(question) => question.is_given_up(),
            Self::Terms(question) => question.is_given_up(),
            Self::Credential(question) => question.is_given_up(),
        }
    }
}

/// Where the answer goes.
pub type Answer<T> = oneshot::Sender<Result<T, AccountsError>>;

/// The way to control, for workers. Clones are the same.
#[derive(Clone, Debug)]
pub struct Accounts {
    questions: mpsc::Sender<Question>,
    reports: Reports,
    refreshes: Arc<Refreshes>,
}

impl Accounts {
    /// Whoever holds the other end answers.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<Question>) {
        let (questions, asked) = mpsc::channel(WAITING_MAX);
        let reports = Reports::default();
        let accounts = Self {
            questions,
            reports,
            refreshes: Arc::default(),
        };
        (accounts, asked)
    }

    /// What control is told of without being asked.
    #[must_use]
    pub const fn reports(&self) -> &Reports {
        &self.reports
    }

    /// Sessions that control is told of, for their providers to be asked again.
    pub(crate) fn refreshes(&self) -> &Refreshes {
        &self.refreshes
    }

    /// Whether a password is right.
    pub(crate) async fn check(
        &self,
        request: CheckPasswordRequest,
    ) -> Result<CheckPasswordResponse, AccountsError> {
        self.ask(|answer| Question::Check(request, answer)).await
    }

    /// Puts another password in place of the one that is right.
    pub(crate) async fn change(
        &self,
        request: ChangePasswordRequest,
    ) -> Result<CheckPasswordResponse, AccountsError> {
        self.ask(|answer| Question::Change(request, answer)).await
    }

    /// Ends a session everywhere.
    pub(crate) async fn end(&self, request: EndSessionRequest) -> Result<(), AccountsError> {
        self.ask(|answer| Question::End(request, answer)).await
    }

    /// About a terminal that signs in.
    pub(crate) async fn device(
        &self,
        question: DeviceQuestion,
    ) -> Result<DeviceAnswer, AccountsError> {
        self.ask(|answer| Question::Device(question, answer)).await
    }

    /// Says which sessions have begun and what became of others; which are due.
    pub(crate) async fn refresh(
        &self,
        request: RefreshSessionsRequest,
    ) -> Result<RefreshSessionsResponse, AccountsError> {
        self.ask(|answer| Question::Refresh(request, answer)).await
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(Answer<T>) -> Question,
    ) -> Result<T, AccountsError> {
        let (answer, answered) = oneshot::channel();
        self.questions
            .try_send(question(answer))
            .map_err(|_| AccountsError::Busy)?;
        let answered = timeout(ANSWER_TIMEOUT, answered).await;
        answered
            .map_err(|_| AccountsError::Away)?
            .map_err(|_| AccountsError::Away)?
    }
}

/// Asks control, at the first of these addresses that answers, for as long as the edge lives. Each new line uses the identity in force.
pub(crate) fn start(
    identity: CurrentIdentity,
    control: ControlAddresses,
    scope: &Scope,
) -> Accounts {
    let (accounts, mut asked) = Accounts::channel();
    let own = scope.child("accounts");
    let line = Arc::new(Line {
        identity,
        control,
        open: Mutex::new(None),
        opened: AtomicU64::new(0),
    });
    report(accounts.reports.clone(), Arc::clone(&line), scope);
    scope.spawn_standing("accounts", async move {
        let places = Arc::new(Semaphore::new(ASKING_MAX));
        loop {
            let question = tokio::select! {
                () = own.cancelled() => return,
                question = asked.recv() => question,
            };
            let place = Arc::clone(&places).acquire_owned().await;
            let (Some(question), Ok(place)) = (question, place) else {
                return;
            };
            let line = Arc::clone(&line);
            own.spawn("account", async move {
                line.answer(question).await;
                drop(place);
            });
        }
    });
    accounts
}

/// Tells control what there is to tell, for as long as the edge lives.
fn report(reports: Reports, line: Arc<Line>, scope: &Scope) {
    let own = scope.child("reports");
    scope.spawn_standing("reports", async move {
        tokio::select! {
            () = own.cancelled() => {}
            () = tell(&reports, &line) => {}
        }
    });
}

async fn tell(reports: &Reports, line: &Line) {
    loop {
        let report = reports.next().await;
        let count = report.events.len();
        let told = line.call(async |line| FabricClient::new(line).report_sign_ins(report).await);
        match told.await {
            Ok(_) => reports.done(count),
            Err(AccountsError::Away | AccountsError::Busy) => sleep(reports::RETRY).await,
        }
    }
}

/// The line to control, opened when it is needed and kept until it breaks.
#[derive(Debug)]
struct Line {
    identity: CurrentIdentity,
    control: ControlAddresses,
    open: Mutex<Option<(u64, Channel)>>,
    /// Lines that were opened.
    opened: AtomicU64,
}

impl Line {
    /// Whoever asked may have gone meanwhile: then nothing is asked, and nothing changed behind their back.
    async fn answer(&self, question: Question) {
        if question.is_given_up() {
            return;
        }
        match question {
            Question::Check(request, answer) => {
                let said =
                    self.call(async |line| FabricClient::new(line).check_password(request).await);
                let _ = answer.send(said.await);
            }
            Question::Change(request, answer) => {
                let said =
                    self.call(async |line| FabricClient::new(line).change_password(request).await);
                let _ = answer.send(said.await);
            }
            Question::End(request, answer) => {
                let said =
                    self.call(async |line| FabricClient::new(line).end_session(request).await);
                let _ = answer.send(said.await.map(drop));
            }
            Question::Device(question, answer) => {
                let said = self.call(async |line| FabricClient::new(line).device(question).await);
                let _ = answer.send(said.await);
            }
            Question::Refresh(request, answer) => {
                let said =
                    self.call(async |line| FabricClient::new(line).refresh_sessions(request).await);
                let _ = answer.send(said.await);
            }
            Question::SecondFactor(question) => question.answer(self).await,
            Question::Terms(question) => question.answer(self).await,
            Question::Credential(question) => question.answer(self).await,
        }
    }

    async fn call<T>(
        &self,
        call: impl AsyncFnOnce(Channel) -> Result<tonic::Response<T>, tonic::Status>,
    ) -> Result<T, AccountsError> {
        let asking = async {
            let (number, control) = self.line().await?;
            match call(control).await {
                Ok(response) => Ok(response.into_inner()),
                Err(status) => {
                    tracing::warn!(code = ?status.code(), message = status.message(), "control does not answer for accounts");
                    if status.code() == Code::ResourceExhausted {
                        return Err(AccountsError::Busy);
                    }
                    // Perhaps another address answers, or the identity was renewed. Unless somebody has opened another line meanwhile.
                    let mut open = self.open.lock().await;
                    if open.as_ref().is_some_and(|(known, _)| *known == number) {
                        *open = None;
                    }
                    Err(AccountsError::Away)
                }
            }
        };
        let answered = timeout(ANSWER_TIMEOUT, asking).await;
        answered.unwrap_or(Err(AccountsError::Away))
    }

    /// The line, and its number.
    async fn line(&self) -> Result<(u64, Channel), AccountsError> {
        let mut open = self.open.lock().await;
        if let Some(line) = &*open {
            return Ok(line.clone());
        }
        let identity = self.identity.current();
        let tls = tls::node_client_config(&identity, &[ALPN_H2]).map_err(|error| {
            tracing::error!(%error, "cannot use the identity towards control");
            AccountsError::Away
        })?;
        let channel = control_client::connect(&self.control, Arc::new(tls))
            .await
            .map_err(|error| {
                tracing::warn!(%error, "control cannot be asked for accounts");
                AccountsError::Away
            })?;
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let line = (number, channel);
        *open = Some(line.clone());
        Ok(line)
    }
}
