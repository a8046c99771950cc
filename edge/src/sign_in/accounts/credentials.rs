//! What control is asked about credentials of apps. What is kept was sealed by the user's browser.

use proto::fabric::{
    KeepCredentialRequest, KeepCredentialResponse, RemoveCredentialRequest,
    RemoveCredentialResponse, ShowCredentialRequest, ShowCredentialResponse,
    credentials_client::CredentialsClient,
};
use tonic::transport::Channel;

use super::{Accounts, AccountsError, Answer, Line, Question};

/// What control is asked.
#[derive(Debug)]
pub enum CredentialQuestion {
    /// Whether a user has one.
    Show(ShowCredentialRequest, Answer<ShowCredentialResponse>),
    /// To keep one.
    Keep(KeepCredentialRequest, Answer<KeepCredentialResponse>),
    /// To take it away.
    Remove(RemoveCredentialRequest, Answer<RemoveCredentialResponse>),
}

impl CredentialQuestion {
    /// Whether nobody waits for the answer.
    pub(super) fn is_given_up(&self) -> bool {
        match self {
            Self::Show(_, answer) => answer.is_closed(),
            Self::Keep(_, answer) => answer.is_closed(),
            Self::Remove(_, answer) => answer.is_closed(),
        }
    }

    pub(super) async fn answer(self, line: &Line) {
        let client = CredentialsClient::<Channel>::new;
        match self {
            Self::Show(request, answer) => {
                let said = line.call(async |line| client(line).show_credential(request).await);
                let _ = answer.send(said.await);
            }
            Self::Keep(request, answer) => {
                let said = line.call(async |line| client(line).keep_credential(request).await);
                let _ = answer.send(said.await);
            }
            Self::Remove(request, answer) => {
                let said = line.call(async |line| client(line).remove_credential(request).await);
                let _ = answer.send(said.await);
            }
        }
    }
}

impl Accounts {
    /// Whether a user has a credential of an app.
    pub(crate) async fn show_credential(
        &self,
        request: ShowCredentialRequest,
    ) -> Result<ShowCredentialResponse, AccountsError> {
        let asked = |answer| Question::Credential(CredentialQuestion::Show(request, answer));
        self.ask(asked).await
    }

    /// Has one kept.
    pub(crate) async fn keep_credential(
        &self,
        request: KeepCredentialRequest,
    ) -> Result<KeepCredentialResponse, AccountsError> {
        let asked = |answer| Question::Credential(CredentialQuestion::Keep(request, answer));
        self.ask(asked).await
    }

    /// Has it taken away.
    pub(crate) async fn remove_credential(
        &self,
        request: RemoveCredentialRequest,
    ) -> Result<RemoveCredentialResponse, AccountsError> {
        let asked = |answer| Question::Credential(CredentialQuestion::Remove(request, answer));
        self.ask(asked).await
    }
}
