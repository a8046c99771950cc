//! Which requests' statements were taken already.
//!
//! A statement can hold for two minutes, its life and what clocks may differ on both sides; so long its request is kept in mind, and for a
//! minute more at the most.

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::StatementError;

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
    sets: [HashSet<u64>; TURNS],
}

impl Seen {
    /// Nothing was seen yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(Turns {
            began: now,
            sets: Default::default(),
        }))
    }

    /// Takes an attempt of a request, once.
    ///
    /// # Errors
    /// It was taken before, or nobody could tell any more.
    pub(super) fn take(
        &self,
        request_id: &str,
        attempt: u32,
        now: Instant,
    ) -> Result<(), StatementError> {
        let digits = request_id.get(..DIGITS);
        let id = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let id = id.ok_or(StatementError::Foreign("kind of request"))?;
        // Attempts of one request are told apart by what is far from every other id.
        let id = id.rotate_left(attempt % u64::BITS) ^ u64::from(attempt);
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.turn(now);
        if turns.sets.iter().any(|set| set.contains(&id)) {
            return Err(StatementError::Replayed);
        }
        let current = &mut turns.sets[0];
        if current.len() >= TURN_MAX {
            return Err(StatementError::Crowded);
        }
        current.insert(id);
        Ok(())
    }
}

impl Turns {
    fn turn(&mut self, now: Instant) {
        let past = now.saturating_duration_since(self.began).as_secs() / TURN.as_secs();
        for _ in 0..past.min(TURNS as u64) {
            self.sets.rotate_right(1);
            drop(mem::take(&mut self.sets[0]));
        }
        self.began += TURN * u32::try_from(past).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[tokio::test(start_paused = true)]
    async fn an_attempt_counts_once_for_as_long_as_a_statement_can_hold() {
        let start = Instant::now();
        for first in [0, 1, 30, 59, 60, 61, 119] {
            let seen = Seen::new(start);
            let at = |seconds| start + Duration::from_secs(seconds);
            assert!(seen.take(ID, 0, at(first)).is_ok());
            for later in [0, 1, 59, 60, 119, 120] {
                let again = seen.take(ID, 0, at(first + later));
                assert!(
                    matches!(again, Err(StatementError::Replayed)),
                    "{first} {later}"
                );
            }
            assert!(seen.take(ID, 1, at(first + 120)).is_ok());
            // Forgotten when nothing that was stated then can hold any more.
            assert!(seen.take(ID, 0, at(first + 181)).is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_rest_forgets_all_and_an_id_that_is_none_is_refused() {
        let start = Instant::now();
        let seen = Seen::new(start);
        assert!(seen.take(ID, 0, start).is_ok());
        let later = start + Duration::from_secs(86_400);
        assert!(seen.take(ID, 0, later).is_ok());
        assert!(matches!(
            seen.take(ID, 0, later),
            Err(StatementError::Replayed)
        ));
        for bad in ["", "0123", "xyz3456789abcdef0123456789abcdef"] {
            assert!(seen.take(bad, 0, later).is_err(), "{bad:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_refused_and_bounded() {
        let start = Instant::now();
        let seen = Seen::new(start);
        for number in 0..TURN_MAX {
            let id = format!("{number:016x}0123456789abcdef");
            assert!(seen.take(&id, 0, start).is_ok(), "{number}");
        }
        assert!(matches!(
            seen.take("ffffffffffffffffffff", 0, start),
            Err(StatementError::Crowded)
        ));
        assert!(
            seen.take("ffffffffffffffffffff", 0, start + TURN).is_ok(),
            "room comes with time"
        );
    }
}
