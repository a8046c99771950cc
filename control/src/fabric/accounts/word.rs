//! Control's word for what somebody has shown, which edges bring back.
//!
//! An edge holds the keys of all sessions, and so can make one of any user. It can make no proof: with what it says alone nobody's account is
//! changed, however much it has learned. It can use the proofs that it is given, which are of those who sign in there: until they end their
//! sessions, and for no longer than a session's life. A proof is bound to no session, as control keeps none: signing out of one ends no proof.

use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use model::{name::UserId, user::SESSION_LIFE};

use crate::{second_factors::key::SecondFactorKey, time::unix_ms};

/// How long a password that was typed is good for a change of the account: edges give users 15 minutes from then, by their own clocks.
const TYPED_LIFE: Duration = Duration::from_secs(16 * 60);
/// How far control's clock may have been set back meanwhile.
const SET_BACK: Duration = Duration::from_secs(60);

/// What control has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// That the password was typed just then.
    Typed,
    /// That a session began or went on, by whatever was shown for it.
    Began,
}

impl Word {
    const fn kind(self) -> &'static str {
        match self {
            Self::Typed => "typed",
            Self::Began => "began",
        }
    }

    /// What shows it later.
    pub(super) fn proof(
        self,
        key: &SecondFactorKey,
        (user, as_of_ms, methods): (&UserId, i64, &[String]),
    ) -> Bytes {
        let proof = key.proof(self.kind(), user, as_of_ms, methods);
        Bytes::copy_from_slice(&proof)
    }

    /// The word that `proof` shows, if it is one for exactly this and still counts `now`.
    pub(super) fn shown_by(
        key: &SecondFactorKey,
        (user, as_of_ms, methods): (&UserId, i64, &[String]),
        proof: &[u8],
        now: SystemTime,
    ) -> Option<Self> {
        let word = [Self::Typed, Self::Began].into_iter().find(|word| {
            let own = key.proof(word.kind(), user, as_of_ms, methods);
            verify_slices_are_equal(&own, proof).is_ok()
        })?;
        // Changes ask for more: [`is_fresh`].
        let counts = age_ms(as_of_ms, now) < ms(SESSION_LIFE + SET_BACK);
        counts.then_some(word)
    }
}

/// Whether a password that was typed then is still good for a change.
pub(super) fn is_fresh(as_of_ms: i64, now: SystemTime) -> bool {
    (-ms(SET_BACK)..ms(TYPED_LIFE)).contains(&age_ms(as_of_ms, now))
}

fn age_ms(as_of_ms: i64, now: SystemTime) -> i64 {
    unix_ms(now).saturating_sub(as_of_ms)
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
