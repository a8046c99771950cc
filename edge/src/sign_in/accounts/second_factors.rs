//! What control is asked about second factors, passkeys, and accounts as their users see them.

use proto::fabric::{
    CheckCodeRequest, CheckPasskeyRequest, CheckPasswordResponse, EndUserSessionsRequest,
    EnrolAuthenticatorRequest, EnrolAuthenticatorResponse, RegisterPasskeyRequest,
    RemoveAuthenticatorRequest, RemovePasskeyRequest, ShowAccountRequest, ShowAccountResponse,
    second_factors_client::SecondFactorsClient,
};
use tonic::transport::Channel;

use super::{Accounts, AccountsError, Answer, Line, Question};

/// What control is asked.
#[derive(Debug)]
pub enum SecondFactorQuestion {
    /// Whether a code is right.
    CheckCode(CheckCodeRequest, Answer<CheckPasswordResponse>),
    /// To take the key of an authenticator app.
    EnrolAuthenticator(
        EnrolAuthenticatorRequest,
        Answer<EnrolAuthenticatorResponse>,
    ),
    /// To forget it.
    RemoveAuthenticator(RemoveAuthenticatorRequest, Answer<CheckPasswordResponse>),
    /// To take a passkey.
    RegisterPasskey(RegisterPasskeyRequest, Answer<CheckPasswordResponse>),
    /// Whether what a passkey has signed holds.
    CheckPasskey(CheckPasskeyRequest, Answer<CheckPasswordResponse>),
    /// To forget a passkey.
    RemovePasskey(RemovePasskeyRequest, Answer<CheckPasswordResponse>),
    /// What there is to know of an account.
    ShowAccount(ShowAccountRequest, Answer<ShowAccountResponse>),
    /// To end every session of a user.
    EndUserSessions(EndUserSessionsRequest, Answer<CheckPasswordResponse>),
}

impl SecondFactorQuestion {
    /// Whether nobody waits for the answer.
    pub(super) fn is_given_up(&self) -> bool {
        match self {
            Self::CheckCode(_, answer)
            | Self::RemoveAuthenticator(_, answer)
            | Self::RegisterPasskey(_, answer)
            | Self::CheckPasskey(_, answer)
            | Self::RemovePasskey(_, answer)
            | Self::EndUserSessions(_, answer) => answer.is_closed(),
            Self::EnrolAuthenticator(_, answer) => answer.is_closed(),
            Self::ShowAccount(_, answer) => answer.is_closed(),
        }
    }

    pub(super) async fn answer(self, line: &Line) {
        let client = SecondFactorsClient::<Channel>::new;
        match self {
            Self::CheckCode(request, answer) => {
                let said = line.call(async |line| client(line).check_code(request).await);
                let _ = answer.send(said.await);
            }
            Self::EnrolAuthenticator(request, answer) => {
                let said = line.call(async |line| client(line).enrol_authenticator(request).await);
                let _ = answer.send(said.await);
            }
            Self::RemoveAuthenticator(request, answer) => {
                let said = line.call(async |line| client(line).remove_authenticator(request).await);
                let _ = answer.send(said.await);
            }
            Self::RegisterPasskey(request, answer) => {
                let said = line.call(async |line| client(line).register_passkey(request).await);
                let _ = answer.send(said.await);
            }
            Self::CheckPasskey(request, answer) => {
                let said = line.call(async |line| client(line).check_passkey(request).await);
                let _ = answer.send(said.await);
            }
            Self::RemovePasskey(request, answer) => {
                let said = line.call(async |line| client(line).remove_passkey(request).await);
                let _ = answer.send(said.await);
            }
            Self::ShowAccount(request, answer) => {
                let said = line.call(async |line| client(line).show_account(request).await);
                let _ = answer.send(said.await);
            }
            Self::EndUserSessions(request, answer) => {
                let said = line.call(async |line| client(line).end_user_sessions(request).await);
                let _ = answer.send(said.await);
            }
        }
    }
}

impl Accounts {
    /// Asks one of these.
    pub(crate) async fn of_second_factors<T>(
        &self,
        question: impl FnOnce(Answer<T>) -> SecondFactorQuestion,
    ) -> Result<T, AccountsError> {
        self.ask(|answer| Question::SecondFactor(question(answer)))
            .await
    }
}
