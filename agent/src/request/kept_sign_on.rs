//! The stage between allow-list and origin of apps that users are signed on to with credentials which are kept for them: by Basic with each
//! request, or by the app's own form, whose cookies stay at the agent.
//!
//! The user comes from what the edge has signed about this request, as with other single sign-on, and so does whose credential is opened.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use model::{
    app::{CredentialOf, FormSso, Sso},
    reason::Reason,
    vault::CredentialName,
};
use runtime::vault::Credential;
use tokio::time::timeout;

use super::{Exchange, Failure, UploadBody, single_sign_on::Heed};
use crate::{
    credentials::{self, Sealed, Who},
    form::{Attempt, Because, Judged, Next, Place, SignIn, Step, judge, leads_to},
    metrics::KeptOutcome,
    origin::{AnswerBody, Owner},
    statement::Statement,
    view::View,
};

/// How long a sign-in by a form may take, the wait for another of the same user included.
const SIGN_IN_MAX: Duration = Duration::from_secs(20);

/// How the user of a request is signed on.
#[derive(Debug)]
pub(super) enum KeptSignOn<'a> {
    Basic(Box<ByBasic>),
    Form(Box<ByForm<'a>>),
}

/// A user who is signed on with each request.
#[derive(Debug)]
pub(super) struct ByBasic {
    header: HeaderValue,
    name: CredentialName,
    sealed: Sealed,
    owner: Owner,
}

/// A user who is signed on by a form.
#[derive(Debug)]
pub(super) struct ByForm<'a> {
    pub(super) sso: &'a FormSso,
    name: CredentialName,
    sealed: Sealed,
    /// The user's own, under which a sign-in rests that the app asks for again at once: of a shared one nobody else has to wait.
    rests_as: CredentialName,
    pub(super) owner: Owner,
    pub(super) sign_in: Arc<SignIn>,
    /// The sign-in by which the app said that the user is out.
    expired: Option<u64>,
    /// The one that the try under way goes by.
    tried: u64,
    /// What that asks the origin for, without a query.
    path: String,
}

impl ByForm<'_> {
    /// The app's cookies, and the user's own of other names.
    pub(super) fn put_cookies_into(&self, place: Place<'_>, fields: &mut HeaderMap) {
        let sent = fields.remove(header::COOKIE);
        let sent = sent.as_ref().and_then(|value| value.to_str().ok());
        let cookies = self.sign_in.cookies(place, sent);
        let cookies = cookies.and_then(|text| HeaderValue::from_str(&text).ok());
        if let Some(mut cookies) = cookies {
            cookies.set_sensitive(true);
            fields.insert(header::COOKIE, cookies);
        }
    }

    fn is_to_begin(&self) -> bool {
        let begun = self.sign_in.begun();
        begun == 0 || self.expired == Some(begun)
    }
}

impl KeptSignOn<'_> {
    /// Whose connections the request goes on.
    pub(super) fn owner(&self) -> &Owner {
        match self {
            Self::Basic(own) => &own.owner,
            Self::Form(own) => &own.owner,
        }
    }
}

impl<'a> Exchange<'a> {
    /// Finds what the user signs on with, if the app is one of these.
    pub(super) fn identify_kept(
        &mut self,
        view: &View,
        statement: Option<&Statement>,
    ) -> Result<(), Failure> {
        let app = self.app;
        let Some(sso) = app.sso() else {
            return Ok(());
        };
        let of = match sso {
            Sso::Kerberos(_) => return Ok(()),
            Sso::Form(form) => form.credential,
            Sso::Basic(basic) => basic.credential,
        };
        let who = statement.map(|statement| Who {
            provider: statement.provider.clone(),
            user: statement.user.clone(),
        });
        let who = who.ok_or_else(|| {
            let detail = "the edge states no user, and programs have no credentials";
            Failure::new(Reason::SsoNoIdentity, detail)
        })?;
        let holder = match of {
            CredentialOf::User => Some(&who),
            CredentialOf::App => None,
        };
        let name = credentials::name(app.id(), holder);
        let Some(sealed) = view.credentials().find(&name) else {
            self.count_kept(KeptOutcome::None);
            let detail = format!("there is no {name} that is sealed to this agent's group");
            return Err(Failure::new(Reason::SsoCredentials, detail));
        };
        let sealed = sealed.clone();
        self.head.leg = None;
        let owner = Owner::new(app.id(), format!("{who:?}"));
        let now = self.worker.clock.now();
        let sign_ins = &self.worker.shared.sign_ins;
        self.kept = match sso {
            Sso::Kerberos(_) => None,
            Sso::Basic(basic) => {
                if sign_ins.rests(&name, &sealed, now) {
                    return Err(resting(Because::Refused));
                }
                let credential = self.open(&name, &sealed)?;
                Some(KeptSignOn::Basic(Box::new(ByBasic {
                    header: credentials::basic(*basic, &credential)
                        .map_err(|error| Failure::new(Reason::SsoFailed, error.to_string()))?,
                    name,
                    sealed,
                    owner,
                })))
            }
            Sso::Form(sso) => Some(KeptSignOn::Form(Box::new(ByForm {
                sign_in: sign_ins.of((app.id(), &who), (&name, &sealed), now),
                rests_as: credentials::name(app.id(), Some(&who)),
                owner,
                sso,
                name,
                sealed,
                expired: None,
                tried: 0,
                path: String::new(),
            }))),
        };
        Ok(())
    }

    fn open(&self, name: &CredentialName, sealed: &Sealed) -> Result<Credential, Failure> {
        let keys = self.worker.shared.keyring.as_ref();
        sealed.open(name, keys).map_err(|error| {
            self.count_kept(KeptOutcome::Failed);
            tracing::warn!(credential = %name, %error, "a credential cannot be opened");
            // Another agent may have the key.
            Failure::refusal(Reason::SsoFailed, format!("{name}: {error}"))
        })
    }

    fn count_kept(&self, outcome: KeptOutcome) {
        self.worker.metrics.kept_sign_on(outcome);
    }

    /// Signs the user in by the app's form, if that is to be done before the app is asked.
    pub(super) async fn enter(&mut self) -> Result<(), Failure> {
        let Some(KeptSignOn::Form(own)) = &self.kept else {
            return Ok(());
        };
        if own.is_to_begin() {
            let entered = timeout(SIGN_IN_MAX, self.enter_in_turn(own)).await;
            entered.unwrap_or_else(|_| {
                self.count_kept(KeptOutcome::Failed);
                let detail = format!("signing in by the form took more than {SIGN_IN_MAX:?}");
                Err(Failure::new(Reason::SsoUnavailable, detail))
            })?;
            // Nobody was late with anything while this waited for the app.
            self.activity.moved(self.worker.clock.now());
        }
        if let Some(KeptSignOn::Form(own)) = &mut self.kept {
            own.tried = own.sign_in.begun();
        }
        Ok(())
    }

    /// One at a time of each user: who waited finds it done.
    async fn enter_in_turn(&self, own: &ByForm<'_>) -> Result<(), Failure> {
        let _turn = own.sign_in.turn.lock().await;
        if !own.is_to_begin() {
            return Ok(());
        }
        let credential = self.open(&own.name, &own.sealed)?;
        let sign_ins = &self.worker.shared.sign_ins;
        let now = self.worker.clock.now();
        let is_shared = own.rests_as != own.name;
        if is_shared && sign_ins.rests(&own.rests_as, &own.sealed, now) {
            return Err(resting(Because::Refused));
        }
        let begun = sign_ins.begin(&own.name, &own.sealed, now);
        let mut attempt = begun.map_err(resting)?;
        let outcome = self.walk_form(own, &credential, &mut attempt).await;
        let now = self.worker.clock.now();
        match outcome {
            Ok(Judged::In) => {
                self.count_kept(KeptOutcome::In);
                own.sign_in.has_begun(now);
                attempt.ended(Ok(()), now);
                tracing::info!(credential = %own.name, "signed in by the app's form");
                Ok(())
            }
            Ok(Judged::Refused) => {
                self.count_kept(KeptOutcome::Refused);
                attempt.ended(Err(Because::Refused), now);
                tracing::warn!(credential = %own.name, "the app refuses a credential: it is not sent again for a while");
                Err(resting(Because::Refused))
            }
            Ok(Judged::Failed(why)) => {
                self.count_kept(KeptOutcome::Failed);
                attempt.ended(Err(Because::Failed), now);
                tracing::warn!(credential = %own.name, why, "signing in by the app's form came to nothing");
                Err(Failure::new(Reason::SsoFailed, why))
            }
            Err(failure) => {
                self.count_kept(KeptOutcome::Failed);
                attempt.ended(Err(Because::Failed), now);
                Err(failure)
            }
        }
    }

    async fn walk_form(
        &self,
        own: &ByForm<'_>,
        credential: &Credential,
        attempt: &mut Attempt<'_>,
    ) -> Result<Judged, Failure> {
        let begun = own.sign_in.begin();
        let page = self.step(own, begun, &Step::page(own.sso)).await?;
        let step = match Step::form(own.sso, &page, credential) {
            Next::Send(step) => step,
            Next::Stuck(why) => return Ok(Judged::Failed(why)),
        };
        attempt.is_sent();
        let answer = self.step(own, begun, &step).await?;
        Ok(judge(own.sso, &step.path, &answer))
    }

    /// Where a request of this exchange goes, as its cookies see it.
    pub(super) fn place<'p>(&self, path: &'p str) -> Place<'p> {
        Place {
            path,
            secure: self.head.public.is_secure(),
            now: self.worker.clock.wall(),
        }
    }

    /// Puts in what signs the user on. Nothing that the request brings does.
    pub(super) fn put_kept_into(&mut self, request: &mut Request<UploadBody>) {
        let secure = self.head.public.is_secure();
        let now = self.worker.clock.wall();
        let fields = request.headers_mut();
        match &mut self.kept {
            None => {}
            Some(KeptSignOn::Basic(own)) => {
                fields.insert(header::AUTHORIZATION, own.header.clone());
            }
            Some(KeptSignOn::Form(own)) => {
                fields.remove(header::AUTHORIZATION);
                request.uri().path().clone_into(&mut own.path);
                let place = Place {
                    path: &own.path,
                    secure,
                    now,
                };
                own.put_cookies_into(place, request.headers_mut());
            }
        }
    }

    /// Looks whether the app has let the user in, and keeps its cookies.
    pub(super) fn heed_kept(
        &mut self,
        response: &mut Response<AnswerBody>,
    ) -> Result<Heed, Failure> {
        match &self.kept {
            None => Ok(Heed::PassOn),
            Some(KeptSignOn::Basic(own)) => self.heed_basic(own, response.status()),
            Some(KeptSignOn::Form(_)) => self.heed_form(response),
        }
    }

    fn heed_basic(&self, own: &ByBasic, status: StatusCode) -> Result<Heed, Failure> {
        let sign_ins = &self.worker.shared.sign_ins;
        if status == StatusCode::UNAUTHORIZED {
            sign_ins.refused(&own.name, &own.sealed, self.worker.clock.now());
            self.count_kept(KeptOutcome::Refused);
            return Err(resting(Because::Refused));
        }
        sign_ins.taken(&own.name, &own.sealed, self.worker.clock.now());
        self.count_kept(KeptOutcome::In);
        Ok(Heed::PassOn)
    }

    fn heed_form(&mut self, response: &mut Response<AnswerBody>) -> Result<Heed, Failure> {
        let secure = self.head.public.is_secure();
        let now = self.worker.clock.wall();
        let can_begin_again = self.upload.can_begin_again();
        let Some(KeptSignOn::Form(own)) = &mut self.kept else {
            return Ok(Heed::PassOn);
        };
        let place = Place {
            path: &own.path,
            secure,
            now,
        };
        if !leads_to(own.sso, &own.path, response.status(), response.headers()) {
            keep_cookies(own, place, response.headers_mut());
            own.sign_in.is_shown(own.tried);
            return Ok(Heed::PassOn);
        }
        if own.sign_in.is_doubtful(own.tried, self.worker.clock.now()) {
            // A wrong password, or a page that is not for this user. A password is not tried twice to find out.
            let sign_ins = &self.worker.shared.sign_ins;
            sign_ins.doubted(&own.rests_as, &own.sealed, self.worker.clock.now());
            tracing::warn!(credential = %own.name, "the app asks for a sign-in right after one that it took: there is no other for a while");
            keep_cookies(own, place, response.headers_mut());
            return Ok(Heed::PassOn);
        }
        if own.expired.replace(own.tried).is_some() {
            let detail = "the app asks for a sign-in right after one that it took";
            return Err(Failure::new(Reason::SsoFailed, detail));
        }
        if !can_begin_again {
            own.sign_in.expire(own.tried);
            let detail = "the sign-in at the app has ended in the midst of a body that cannot be sent twice: the next request signs in anew";
            return Err(Failure::new(Reason::SsoFailed, detail));
        }
        Ok(Heed::AskAgain)
    }
}

/// What an app sets stays here, but what its scripts read.
fn keep_cookies(own: &ByForm<'_>, place: Place<'_>, fields: &mut HeaderMap) {
    let header::Entry::Occupied(set) = fields.entry(header::SET_COOKIE) else {
        return;
    };
    let (_, values) = set.remove_entry_mult();
    let values: Vec<HeaderValue> = values.collect();
    let texts = values.iter().filter_map(|value| value.to_str().ok());
    own.sign_in.take_in(place, own.tried, texts);
    for value in values {
        let name = value.as_bytes().split(|byte| *byte == b'=').next();
        let name = name.unwrap_or_default().trim_ascii();
        let mut known = own.sso.user_cookies.iter();
        if known.any(|known| known.as_bytes() == name) {
            fields.append(header::SET_COOKIE, value);
        }
    }
}

fn resting(because: Because) -> Failure {
    match because {
        Because::Refused => Failure::new(
            Reason::SsoCredentialsRefused,
            "the app has refused the credential that is kept",
        ),
        Because::Failed => Failure::new(
            Reason::SsoFailed,
            "the last sign-in by the app's form came to nothing: the next is in half a minute",
        ),
    }
}
