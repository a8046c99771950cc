//! When an agent that fails is left alone, and for how long.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// So many failures in a row eject: enough that chance alone hardly makes them.
const STRAIGHT_FAILURES: u32 = 5;
/// Less success than this ejects, in percent ...
const SUCCESS_PERCENT_MIN: u32 = 80;
/// ... out of so many outcomes at least, as fewer say little.
const SAMPLES_MIN: u32 = 20;
/// Outcomes are forgotten slot by slot; all slots together are 30 s.
const SLOT: Duration = Duration::from_secs(5);
const SLOTS: usize = 6;
const SLOTS_COUNTED: u32 = 6;
/// The first ejection; each one that follows soon after the last is twice as long.
const EJECTION_MIN: Duration = Duration::from_secs(5);
/// The longest ejection, and how long an agent must behave for its next one to be short again.
const EJECTION_MAX: Duration = Duration::from_secs(300);

/// Successes and failures of one agent, and its ejection if they say so.
#[derive(Debug, Default)]
pub(super) struct Health {
    straight_failures: AtomicU32,
    slots: [AtomicU64; SLOTS],
    /// End of the last ejection in milliseconds, above 8 bits that count ejections in a row.
    ejection: AtomicU64,
}

impl Health {
    pub(super) fn succeed(&self, now: Duration) {
        self.straight_failures.store(0, Relaxed);
        self.count(now, 0);
    }

    /// Notes a failure, which may be the one that ejects. Failures that end during an ejection began before it, or were
    /// risked for want of others: they say nothing new.
    pub(super) fn fail(&self, now: Duration) {
        if self.is_ejected(now) {
            return;
        }
        let straight = self
            .straight_failures
            .fetch_add(1, Relaxed)
            .saturating_add(1);
        self.count(now, 1);
        if straight >= STRAIGHT_FAILURES || self.fails_too_often(now) {
            self.eject(now);
        }
    }

    pub(super) fn is_ejected(&self, now: Duration) -> bool {
        now < self.ejected_until()
    }

    /// End of the last ejection; zero if there was none.
    pub(super) fn ejected_until(&self) -> Duration {
        Ejection::unpack(self.ejection.load(Relaxed)).until
    }

    fn count(&self, now: Duration, failed: u16) {
        let number = slot_number(now);
        let index = usize::try_from(number).unwrap_or(0) % SLOTS;
        // The closure always makes a value, so there is no error to look at.
        let _always = self.slots[index].fetch_update(Relaxed, Relaxed, |packed| {
            Some(Slot::unpack(packed).at(number).add(failed).pack())
        });
    }

    fn fails_too_often(&self, now: Duration) -> bool {
        let newest = slot_number(now);
        let (mut samples, mut failures) = (0, 0);
        for slot in &self.slots {
            let slot = Slot::unpack(slot.load(Relaxed));
            if newest.saturating_sub(slot.number) < SLOTS_COUNTED {
                samples += u32::from(slot.samples);
                failures += u32::from(slot.failures);
            }
        }
        samples >= SAMPLES_MIN
            && samples.saturating_sub(failures) * 100 < samples * SUCCESS_PERCENT_MIN
    }

    fn eject(&self, now: Duration) {
        let ejected = self.ejection.fetch_update(Relaxed, Relaxed, |packed| {
            Ejection::unpack(packed).next(now).map(Ejection::pack)
        });
        // Only the worker that ejected starts the count anew, for when the agent is back.
        if ejected.is_ok() {
            self.straight_failures.store(0, Relaxed);
            self.slots.iter().for_each(|slot| slot.store(0, Relaxed));
        }
    }
}

/// Outcomes of one stretch of time.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Which stretch, counted from the start.
    number: u32,
    samples: u16,
    failures: u16,
}

impl Slot {
    fn unpack(packed: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = packed.to_be_bytes();
        Self {
            number: u32::from_be_bytes([a, b, c, d]),
            samples: u16::from_be_bytes([e, f]),
            failures: u16::from_be_bytes([g, h]),
        }
    }

    fn pack(self) -> u64 {
        let Self {
            number,
            samples,
            failures,
        } = self;
        u64::from(number) << 32 | u64::from(samples) << 16 | u64::from(failures)
    }

    /// Itself, or an empty one if it is of an earlier time.
    fn at(self, number: u32) -> Self {
        if self.number == number {
            return self;
        }
        Self {
            number,
            samples: 0,
            failures: 0,
        }
    }

    fn add(self, failed: u16) -> Self {
        // A full slot is halved: the share of failures stays, and newer ones count more.
        let halved = u32::from(self.samples == u16::MAX);
        Self {
            number: self.number,
            samples: (self.samples >> halved) + 1,
            failures: (self.failures >> halved) + failed,
        }
    }
}

fn slot_number(now: Duration) -> u32 {
    u32::try_from(now.as_secs() / SLOT.as_secs()).unwrap_or(u32::MAX)
}

/// How long an agent is left alone, and how often it was in a row.
#[derive(Debug, Clone, Copy)]
struct Ejection {
    until: Duration,
    in_a_row: u8,
}

impl Ejection {
    fn unpack(packed: u64) -> Self {
        let [.., in_a_row] = packed.to_be_bytes();
        Self {
            until: Duration::from_millis(packed >> 8),
            in_a_row,
        }
    }

    fn pack(self) -> u64 {
        let millis = u64::try_from(self.until.as_millis()).unwrap_or(u64::MAX >> 8);
        millis << 8 | u64::from(self.in_a_row)
    }

    /// The ejection after this one, unless this one still lasts.
    fn next(self, now: Duration) -> Option<Self> {
        if now < self.until {
            return None;
        }
        let behaved = now.saturating_sub(self.until) > EJECTION_MAX;
        let in_a_row = if behaved { 0 } else { self.in_a_row };
        let doubled = 1_u32.checked_shl(in_a_row.into()).unwrap_or(u32::MAX);
        Some(Self {
            until: now + EJECTION_MIN.saturating_mul(doubled).min(EJECTION_MAX),
            in_a_row: in_a_row.saturating_add(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Fails until ejected, and says for how long.
    fn fail_until_ejected(health: &Health, now: Duration) -> Duration {
        while !health.is_ejected(now) {
            health.fail(now);
        }
        health.ejected_until() - now
    }

    #[test]
    fn five_straight_failures_eject() {
        let health = Health::default();
        for _ in 0..4 {
            health.fail(seconds(1));
        }
        health.succeed(seconds(1));
        for _ in 0..4 {
            health.fail(seconds(1));
        }
        assert!(!health.is_ejected(seconds(1)));
        health.fail(seconds(1));
        assert!(health.is_ejected(seconds(1)));
    }

    #[test]
    fn too_little_success_ejects() {
        for (one_failure_in, want) in [(4, true), (5, false), (6, false)] {
            let health = Health::default();
            for number in 1..=100 {
                let now = Duration::from_millis(number * 100);
                if number % one_failure_in == 0 {
                    health.fail(now);
                } else {
                    health.succeed(now);
                }
            }
            let was_ejected = !health.ejected_until().is_zero();
            assert_eq!(was_ejected, want, "one failure in {one_failure_in}");
        }
    }

    #[test]
    fn few_outcomes_do_not_eject() {
        let health = Health::default();
        for _ in 0..9 {
            health.succeed(seconds(1));
            health.fail(seconds(1));
        }
        health.succeed(seconds(1));
        assert!(!health.is_ejected(seconds(1)), "19 outcomes");
        health.fail(seconds(1));
        assert!(health.is_ejected(seconds(1)), "20 outcomes");
    }

    #[test]
    fn outcomes_are_forgotten() {
        let health = Health::default();
        for _ in 0..4 {
            for _ in 0..3 {
                health.fail(seconds(1));
            }
            health.succeed(seconds(1));
        }
        for _ in 0..4 {
            health.succeed(seconds(31));
            health.fail(seconds(31));
        }
        assert!(!health.is_ejected(seconds(31)));
    }

    #[test]
    fn success_is_still_measured_when_a_slot_is_full() {
        let health = Health::default();
        for _ in 0..200_000 {
            health.succeed(seconds(1));
        }
        assert!(!health.fails_too_often(seconds(1)));
        for _ in 0..100_000 {
            health.count(seconds(1), 1);
        }
        assert!(health.fails_too_often(seconds(1)));
    }

    #[test]
    fn ejections_end_and_grow_while_they_follow_each_other() {
        let health = Health::default();
        let mut now = seconds(1);
        for want in [5, 10, 20, 40, 80, 160, 300, 300] {
            let lasts = fail_until_ejected(&health, now);
            assert_eq!(lasts, seconds(want));
            assert!(health.is_ejected(now + lasts - Duration::from_millis(1)));
            now += lasts;
            assert!(!health.is_ejected(now));
        }
        let behaved = now + EJECTION_MAX + seconds(1);
        assert_eq!(fail_until_ejected(&health, behaved), EJECTION_MIN);
    }

    #[test]
    fn a_failure_during_an_ejection_says_nothing() {
        let health = Health::default();
        fail_until_ejected(&health, seconds(1));
        for _ in 0..100 {
            health.fail(seconds(2));
        }
        health.fail(seconds(6));
        assert!(!health.is_ejected(seconds(6)));
    }
}
