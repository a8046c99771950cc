//! What control is asked about terms of use.

use proto::fabric::{
    AcceptTermsRequest, AcceptTermsResponse, ShowTermsRequest, ShowTermsResponse,
    terms_of_use_client::TermsOfUseClient,
};
use tonic::transport::Channel;

use super::{Accounts, AccountsError, Answer, Line, Question};

/// What control is asked.
#[derive(Debug)]
pub enum TermsQuestion {
    /// The text, and whether a user has accepted it.
    Show(ShowTermsRequest, Answer<ShowTermsResponse>),
    /// To write that a user accepts it.
    Accept(AcceptTermsRequest, Answer<AcceptTermsResponse>),
}

impl TermsQuestion {
    /// Whether nobody waits for the answer.
    pub(super) fn is_given_up(&self) -> bool {
        match self {
            Self::Show(_, answer) => answer.is_closed(),
            Self::Accept(_, answer) => answer.is_closed(),
        }
    }

    pub(super) async fn answer(self, line: &Line) {
        let client = TermsOfUseClient::<Channel>::new;
        match self {
            Self::Show(request, answer) => {
                let said = line.call(async |line| client(line).show_terms(request).await);
                let _ = answer.send(said.await);
            }
            Self::Accept(request, answer) => {
                let said = line.call(async |line| client(line).accept_terms(request).await);
                let _ = answer.send(said.await);
            }
        }
    }
}

impl Accounts {
    /// The text of terms, and whether a user has accepted it.
    pub(crate) async fn show_terms(
        &self,
        request: ShowTermsRequest,
    ) -> Result<ShowTermsResponse, AccountsError> {
        let asked = |answer| Question::Terms(TermsQuestion::Show(request, answer));
        self.ask(asked).await
    }

    /// Has it written that a user accepts them.
    pub(crate) async fn accept_terms(
        &self,
        request: AcceptTermsRequest,
    ) -> Result<AcceptTermsResponse, AccountsError> {
        let asked = |answer| Question::Terms(TermsQuestion::Accept(request, answer));
        self.ask(asked).await
    }
}
