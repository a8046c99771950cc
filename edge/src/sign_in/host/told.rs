//! What strangers may ask for, and what the log of sign-ins is told of them.

use http::StatusCode;
use model::name::USER_ID_BYTES_MAX;
use proto::fabric::{SignInEvent, SignInKind};

use super::Call;
use crate::sign_in::reports::Origin;

impl Call<'_> {
    /// Whether somebody of this network may ask control now who has shown nothing, or no more than a password.
    pub(super) fn may_ask(&self) -> bool {
        self.edge.strangers.may_ask(self.address)
    }

    /// For the log of sign-ins.
    pub(in crate::sign_in) fn tell(&self, event: SignInEvent) {
        let origin = Origin {
            client: self.client.clone(),
            fields: self.fields(),
            request_id: self.id.to_string(),
        };
        self.edge.accounts.reports().add(&origin, self.now, event);
    }

    /// The same of a sign-in that came to nothing. What is the fabric's own fault is none of the user's.
    pub(super) fn tell_refused(&self, user: &str, status: StatusCode) {
        let reason = match status {
            StatusCode::UNAUTHORIZED => "wrong",
            StatusCode::TOO_MANY_REQUESTS => "too_many",
            _ => return,
        };
        let user: String = user.chars().take(USER_ID_BYTES_MAX).collect();
        let counted = if reason == "wrong" { &*user } else { "" };
        if !self.is_refusal_news(reason, counted) {
            return;
        }
        self.tell(SignInEvent {
            kind: SignInKind::Refused.into(),
            user,
            reason: reason.to_owned(),
            ..SignInEvent::default()
        });
    }

    /// Whether it is told that a sign-in came to nothing: strangers fill no log. `user` is empty where nobody is known to be meant.
    pub(super) fn is_refusal_news(&self, reason: &str, user: &str) -> bool {
        let now = self.edge.epoch.clock().now();
        let reports = self.edge.accounts.reports();
        reports.is_refusal_news(self.address, (reason, user), now)
    }
}
