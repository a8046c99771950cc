//! What control says about somebody who signs in, as far as the user is told.

use std::time::Duration;

use http::StatusCode;
use proto::fabric::{
    CheckPasswordResponse, HalfProven, PasswordRefusalKind, check_password_response::Outcome,
};

use super::{AWAY, second_factor};
use crate::{
    answer,
    sign_in::{halfway::Granted, session::read_user},
};

const WRONG: &str = "The user name or the password is not right.";
pub(super) const UNFIT: &str = "The new password must have 12 to 256 characters. It must not be the old one, nor be made of your name, common words, or rows of keys.";

/// It.
pub(super) enum Said {
    Account(Granted),
    Half(HalfProven),
    MustChange,
    Refused(StatusCode, String),
}

/// Reads it.
pub(super) fn outcome(said: CheckPasswordResponse) -> Said {
    match said.outcome {
        Some(Outcome::Account(account)) => {
            let user = read_user(
                &account.user,
                &account.display_name,
                &account.email,
                &account.user_groups,
            );
            match user {
                Some(mut user) => {
                    user.authentication.methods = account.methods;
                    user.authentication.at_ms = account.as_of_ms;
                    Said::Account(Granted {
                        user,
                        as_of_ms: account.as_of_ms,
                        proof: account.proof,
                    })
                }
                None => {
                    tracing::warn!(
                        user = account.user,
                        "control's answer about a user cannot be read"
                    );
                    unreadable()
                }
            }
        }
        Some(Outcome::Refusal(refusal)) => match refusal.kind() {
            PasswordRefusalKind::MustChange => Said::MustChange,
            PasswordRefusalKind::SecondFactor => {
                Said::Refused(StatusCode::FORBIDDEN, second_factor::WANTED.to_owned())
            }
            PasswordRefusalKind::Locked => Said::Refused(
                StatusCode::TOO_MANY_REQUESTS,
                second_factor::LOCKED.to_owned(),
            ),
            PasswordRefusalKind::Unfit => Said::Refused(StatusCode::OK, UNFIT.to_owned()),
            PasswordRefusalKind::TooMany => {
                let wait = Duration::from_millis(refusal.retry_after_ms);
                let wait = answer::in_words(wait).unwrap_or_else(|| "a minute".to_owned());
                let fault = format!("Too many attempts. Please try again in {wait}.");
                Said::Refused(StatusCode::TOO_MANY_REQUESTS, fault)
            }
            PasswordRefusalKind::Wrong | PasswordRefusalKind::Unspecified => {
                Said::Refused(StatusCode::UNAUTHORIZED, WRONG.to_owned())
            }
        },
        Some(Outcome::Half(half)) => Said::Half(half),
        None => {
            tracing::warn!("control's answer says nothing");
            unreadable()
        }
    }
}

fn unreadable() -> Said {
    Said::Refused(StatusCode::SERVICE_UNAVAILABLE, AWAY.to_owned())
}
