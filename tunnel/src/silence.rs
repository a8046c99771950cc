//! How long a peer has been silent.
//!
//! An agent sends something at least every two seconds ([`KEEP_ALIVE`](crate::quic::KEEP_ALIVE)), and the edge's transport answers it; so on a
//! link that lives something comes to both sides that often, whatever is asked on it. Either side gives the other up after
//! [`SILENCE_MAX`].

use std::time::Duration;

/// How often a link is looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(400);

/// Nothing came for so many looks: the peer is gone. Found out within 4.8 s after the last packet, and 2.4 s are left to a process that gets no
/// time of its processor just when the next is due.
pub const SILENCE_MAX: Duration = LOOK_EVERY.saturating_mul(11);

/// Follows one connection, a look every [`LOOK_EVERY`].
///
/// It counts looks, not time: while this process does not run, as on a machine that sleeps or is overloaded, what came waits to be read,
/// and nobody was silent.
#[derive(Debug)]
pub struct Silence {
    heard: u64,
    lasts: Duration,
}

impl Silence {
    /// Begins with what [`Connection::heard`](crate::Connection::heard) says now.
    #[must_use]
    pub const fn new(heard: u64) -> Self {
        Self {
            heard,
            lasts: Duration::ZERO,
        }
    }

    /// Takes a look, and says how long the peer has been silent at the least.
    pub fn look(&mut self, heard: u64) -> Duration {
        if heard == self.heard {
            self.lasts += LOOK_EVERY;
        } else {
            self.lasts = Duration::ZERO;
        }
        self.heard = heard;
        self.lasts
    }

    /// The same, as of the last look.
    #[must_use]
    pub const fn lasts(&self) -> Duration {
        self.lasts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quic::KEEP_ALIVE;

    /// From the last packet to the look that gives the peer up.
    #[test]
    fn a_peer_that_is_gone_is_given_up_within_five_seconds() {
        let mut silence = Silence::new(0);
        assert_eq!(silence.look(1), Duration::ZERO);
        let mut looks = 1;
        while silence.look(1) < SILENCE_MAX {
            looks += 1;
        }
        let at_most = LOOK_EVERY * (looks + 1);
        assert!(at_most <= Duration::from_secs(5), "{at_most:?}");
    }

    #[test]
    fn keep_alives_over_a_long_path_are_no_silence() {
        let (mut silence, round_trip) = (Silence::new(0), Duration::from_millis(700));
        let period = KEEP_ALIVE + round_trip;
        for look in 1..1_000 {
            let came = (LOOK_EVERY * look).as_millis() / period.as_millis();
            let lasts = silence.look(u64::try_from(came).unwrap());
            assert!(lasts < period, "{lasts:?}");
        }
    }
}
