//! Whether a path still carries QUIC.

use std::time::Duration;

use tunnel::{Vitals, quic::KEEP_ALIVE};

/// How often a path is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The agent asks for a sign of life after so long a silence as [`KEEP_ALIVE`]; it comes within a round trip and an
/// acknowledgement's delay, or within this on a busy machine.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// And within so many round trips on a long path.
const ANSWER_ROUND_TRIPS: u32 = 3;

/// Time over which losses are counted.
const LOSS_WINDOW: Duration = Duration::from_secs(30);

/// Fewer packets than this in that time say nothing.
const LOSS_PACKETS_MIN: u64 = 200;

/// One packet in so many lost means that the network holds UDP back: congestion does not last like that.
const LOSS_ONE_IN: u64 = 5;

/// What there is to say of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Well,
    /// Nothing comes, although something was asked for.
    Dark,
    /// Too much of what is sent is lost.
    Lossy,
}

impl Verdict {
    /// The word for logs.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Dark => "dark",
            Self::Lossy => "lossy",
        }
    }
}

/// Follows one connection, a look every [`LOOK_EVERY`].
#[derive(Debug)]
pub(super) struct Health {
    last: Vitals,
    silence: Duration,
    window: Vitals,
    window_age: Duration,
}

impl Health {
    pub(super) const fn new(now: Vitals) -> Self {
        Self {
            last: now,
            silence: Duration::ZERO,
            window: now,
            window_age: Duration::ZERO,
        }
    }

    pub(super) fn look(&mut self, now: Vitals) -> Verdict {
        if now.datagrams_received == self.last.datagrams_received {
            self.silence += LOOK_EVERY;
        } else {
            self.silence = Duration::ZERO;
        }
        self.last = now;
        let is_lossy = self.counts_losses(now);
        let patience = KEEP_ALIVE + ANSWER_WAIT.max(now.rtt * ANSWER_ROUND_TRIPS);
        if self.silence >= patience {
            Verdict::Dark
        } else if is_lossy {
            Verdict::Lossy
        } else {
            Verdict::Well
        }
    }

    /// Whether something came since the last look.
    pub(super) fn has_revived(&self, now: Option<Vitals>) -> bool {
        now.is_some_and(|now| now.datagrams_received > self.last.datagrams_received)
    }

    /// Whether this look ends a window in which too much was lost.
    fn counts_losses(&mut self, now: Vitals) -> bool {
        self.window_age += LOOK_EVERY;
        if self.window_age < LOSS_WINDOW {
            return false;
        }
        let began = std::mem::replace(&mut self.window, now);
        self.window_age = Duration::ZERO;
        let sent = now.packets_sent.saturating_sub(began.packets_sent);
        let lost = now.packets_lost.saturating_sub(began.packets_lost);
        sent >= LOSS_PACKETS_MIN && lost * LOSS_ONE_IN > sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks until the verdict is not well, at most for a minute.
    fn found(mut health: Health, mut next: impl FnMut() -> Vitals) -> (Verdict, Duration) {
        let mut after = Duration::ZERO;
        while after < Duration::from_secs(60) {
            after += LOOK_EVERY;
            let verdict = health.look(next());
            if verdict != Verdict::Well {
                return (verdict, after);
            }
        }
        (Verdict::Well, after)
    }

    #[test]
    fn silence_beyond_the_keep_alive_is_dark() {
        for (rtt_ms, after) in [
            (1, KEEP_ALIVE + ANSWER_WAIT),
            (600, KEEP_ALIVE + Duration::from_millis(1_800)),
        ] {
            let vitals = Vitals {
                rtt: Duration::from_millis(rtt_ms),
                ..Vitals::default()
            };
            let (verdict, took) = found(Health::new(vitals), || vitals);
            assert_eq!(verdict, Verdict::Dark);
            assert!((after..after + LOOK_EVERY).contains(&took), "{took:?}");
        }
    }

    #[test]
    fn an_idle_link_that_answers_is_well() {
        let mut vitals = Vitals::default();
        let mut looks = 0_u32;
        let every = u32::try_from(KEEP_ALIVE.as_millis() / LOOK_EVERY.as_millis()).unwrap() + 1;
        let answering = || {
            looks += 1;
            vitals.datagrams_received += u64::from(looks.is_multiple_of(every));
            vitals
        };
        assert_eq!(
            found(Health::new(Vitals::default()), answering).0,
            Verdict::Well
        );
    }

    #[test]
    fn losses_count_when_they_are_many_and_last() {
        for (sent, lost, verdict) in [
            (100, 25, Verdict::Lossy),
            (100, 20, Verdict::Well),
            // Too few to tell.
            (1, 1, Verdict::Well),
        ] {
            let mut vitals = Vitals::default();
            let losing = || {
                vitals.datagrams_received += 1;
                vitals.packets_sent += sent;
                vitals.packets_lost += lost;
                vitals
            };
            assert_eq!(
                found(Health::new(Vitals::default()), losing).0,
                verdict,
                "{lost} of {sent}"
            );
        }
    }

    #[test]
    fn what_comes_after_all_is_noticed() {
        let vitals = Vitals::default();
        let mut health = Health::new(vitals);
        health.look(vitals);
        assert!(!health.has_revived(Some(vitals)));
        let later = Vitals {
            datagrams_received: 1,
            ..vitals
        };
        assert!(health.has_revived(Some(later)));
    }
}
