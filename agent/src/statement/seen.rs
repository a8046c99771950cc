//! Which requests' statements were taken already.
//!
//! A statement can hold for two minutes, its life and what clocks may differ on both sides; so long its request is kept in mind, and for a
//! minute more at the most. That is counted by a clock that nobody sets. The one that statements are held against can be set back, and
//! what was forgotten would hold again: so nothing is taken that is no younger than what was forgotten, nor what is older than the agent.
//! An agent that started with a clock that was ahead takes nothing, once it is right, before it is restarted: to go by the new time instead
//! would let whoever sets the clock choose what was forgotten.

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{LEEWAY_S, StatementError, seconds};

/// How long one set is filled.
const TURN: Duration = Duration::from_secs(60);
/// Sets that are kept: the one that is filled, and those of the two minutes before.
const TURNS: usize = 3;
/// Requests of one turn, 17,000 a second; a set of so many takes 19 MB.
const TURN_MAX: usize = 1 << 20;
/// Digits of a request's id that are kept: 64 of 128 random bits, of which no two are alike.
const DIGITS: usize = 16;

/// Of one agent, for all its workers: an edge may choose whichever.
#[derive(Debug)]
pub(crate) struct Seen(Mutex<Turns>);

#[derive(Debug)]
struct Turns {
    /// When the first was begun.
    began: Instant,
    /// The one that is filled first.
    sets: [Turn; TURNS],
    /// What was stated by then is not taken any more, in seconds since 1970.
    forgotten: i64,
}

#[derive(Debug, Default)]
struct Turn {
    ids: HashSet<u64>,
    /// When the youngest of them was stated.
    youngest: i64,
}

/// An attempt of a request, as its statement says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    pub(super) request_id: &'a str,
    pub(super) attempt: u32,
    /// When it was stated, in seconds since 1970.
    pub(super) stated: i64,
}

impl Seen {
    /// Nothing was seen yet; what was stated before is of no agent that is there.
    pub(crate) fn new((wall, now): (SystemTime, Instant)) -> Self {
        Self(Mutex::new(Turns {
            began: now,
            sets: Default::default(),
            forgotten: seconds(wall).saturating_sub(LEEWAY_S + 1),
        }))
    }

    /// Takes an attempt of a request, once.
    ///
    /// # Errors
    /// It was taken before, or nobody could tell any more.
    pub(super) fn take(&self, shown: Shown<'_>, now: Instant) -> Result<(), StatementError> {
        let Shown {
            request_id,
            attempt,
            stated,
        } = shown;
        let digits = request_id.get(..DIGITS);
        let id = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let id = id.ok_or(StatementError::Foreign("kind of request"))?;
        // Attempts of one request are told apart by what is far from every other id.
        let id = id.rotate_left(attempt % u64::BITS) ^ u64::from(attempt);
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.turn(now);
        if turns.sets.iter().any(|turn| turn.ids.contains(&id)) {
            return Err(StatementError::Replayed);
        }
        if stated <= turns.forgotten {
            return Err(StatementError::Forgotten);
        }
        let current = &mut turns.sets[0];
        if current.ids.len() >= TURN_MAX {
            return Err(StatementError::Crowded);
        }
        current.ids.insert(id);
        current.youngest = current.youngest.max(stated);
        Ok(())
    }
}

impl Turns {
    fn turn(&mut self, now: Instant) {
        let past = now.saturating_duration_since(self.began).as_secs() / TURN.as_secs();
        for _ in 0..past.min(TURNS as u64) {
            self.sets.rotate_right(1);
            let gone = mem::take(&mut self.sets[0]);
            self.forgotten = self.forgotten.max(gone.youngest);
        }
        self.began += TURN * u32::try_from(past).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";
    const STATED: i64 = 1_800_000_000;

    fn seen(now: Instant) -> Seen {
        let since = Duration::from_secs(STATED.unsigned_abs());
        Seen::new((SystemTime::UNIX_EPOCH + since, now))
    }

    fn shown(request_id: &str, attempt: u32) -> Shown<'_> {
        Shown {
            request_id,
            attempt,
            stated: STATED,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_counts_once_for_as_long_as_a_statement_can_hold() {
        let start = Instant::now();
        for first in [0, 1, 30, 59, 60, 61, 119] {
            let seen = seen(start);
            let at = |seconds| start + Duration::from_secs(seconds);
            assert!(seen.take(shown(ID, 0), at(first)).is_ok());
            for later in [0, 1, 59, 60, 119, 120] {
                let again = seen.take(shown(ID, 0), at(first + later));
                assert!(
                    matches!(again, Err(StatementError::Replayed)),
                    "{first} {later}"
                );
            }
            assert!(seen.take(shown(ID, 1), at(first + 120)).is_ok());
            // Forgotten when nothing that was stated then can hold any more.
            let later = Shown {
                stated: STATED + 1,
                ..shown(ID, 0)
            };
            assert!(seen.take(later, at(first + 181)).is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_rest_forgets_all_and_an_id_that_is_none_is_refused() {
        let start = Instant::now();
        let seen = seen(start);
        assert!(seen.take(shown(ID, 0), start).is_ok());
        let later = start + Duration::from_secs(86_400);
        let again = Shown {
            stated: STATED + 86_400,
            ..shown(ID, 0)
        };
        assert!(seen.take(again, later).is_ok());
        assert!(matches!(
            seen.take(again, later),
            Err(StatementError::Replayed)
        ));
        for bad in ["", "0123", "xyz3456789abcdef0123456789abcdef"] {
            assert!(seen.take(shown(bad, 0), later).is_err(), "{bad:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_forgotten_is_not_taken_again_and_all_that_can_hold_is() {
        let start = Instant::now();
        let seen = seen(start);
        let mut taken = Vec::new();
        for second in 0..600_i64 {
            let now = start + Duration::from_secs(second.unsigned_abs());
            // The oldest and the youngest that can hold now, by a clock that goes right.
            for stated in [STATED + second - 30, STATED + second + LEEWAY_S] {
                let id = format!("{:016x}", taken.len());
                taken.push((id, stated));
                let (id, stated) = &taken[taken.len() - 1];
                let once = Shown {
                    stated: *stated,
                    ..shown(id, 0)
                };
                assert!(seen.take(once, now).is_ok(), "{second}");
            }
        }
        // Whatever the clock says then: nothing of it is taken once more.
        let now = start + Duration::from_secs(600);
        for (id, stated) in &taken {
            let again = Shown {
                stated: *stated,
                ..shown(id, 0)
            };
            assert!(seen.take(again, now).is_err(), "{stated}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_stated_before_there_was_an_agent_is_not_taken() {
        let start = Instant::now();
        for (ago, is_taken) in [(0, true), (LEEWAY_S, true), (LEEWAY_S + 1, false)] {
            let old = Shown {
                stated: STATED - ago,
                ..shown(ID, 0)
            };
            assert_eq!(seen(start).take(old, start).is_ok(), is_taken, "{ago}");
        }
        // So it is for an agent whose clock was ahead then and is right now, and its log says what helps.
        let hour_ago = Shown {
            stated: STATED - 3_600,
            ..shown(ID, 0)
        };
        let refused = seen(start).take(hour_ago, start).unwrap_err();
        assert!(refused.to_string().contains("restarted"), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_refused_and_bounded() {
        let start = Instant::now();
        let seen = seen(start);
        for number in 0..TURN_MAX {
            let id = format!("{number:016x}0123456789abcdef");
            assert!(seen.take(shown(&id, 0), start).is_ok(), "{number}");
        }
        assert!(matches!(
            seen.take(shown("ffffffffffffffffffff", 0), start),
            Err(StatementError::Crowded)
        ));
        assert!(
            seen.take(shown("ffffffffffffffffffff", 0), start + TURN)
                .is_ok(),
            "room comes with time"
        );
    }
}
