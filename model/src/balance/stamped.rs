//! A number and when it was written, in one atomic word.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// A number that changes with time: readers see it together with its age.
///
/// The stamp counts milliseconds in 32 bits. After 24 days without a write the age is unknown and taken as zero.
#[derive(Debug)]
pub(super) struct Stamped(AtomicU64);

/// What a [`Stamped`] holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) value: f32,
    pub(super) age: Duration,
}

impl Reading {
    /// The value after it fell by e in every `time_constant` of its age.
    pub(super) fn decayed(self, time_constant: Duration) -> f32 {
        self.value * self.fading(time_constant)
    }

    /// The part that is left of anything as old as this.
    pub(super) fn fading(self, time_constant: Duration) -> f32 {
        (-self.age.as_secs_f32() / time_constant.as_secs_f32()).exp()
    }
}

impl Stamped {
    pub(super) fn new(now: Duration, value: f32) -> Self {
        Self(AtomicU64::new(pack(stamp(now), value)))
    }

    pub(super) fn read(&self, now: Duration) -> Reading {
        unpack(self.0.load(Relaxed), stamp(now)).1
    }

    /// Writes what `next` makes of the value, or nothing if it makes nothing. Says whether it was written.
    pub(super) fn update(&self, now: Duration, next: impl Fn(Reading) -> Option<f32>) -> bool {
        let now = stamp(now);
        self.0
            .fetch_update(Relaxed, Relaxed, |packed| {
                let (written, reading) = unpack(packed, now);
                // A worker with a later clock may have been here: stamps do not go back.
                let age = if reading.age.is_zero() { written } else { now };
                Some(pack(age, next(reading)?))
            })
            .is_ok()
    }
}

fn stamp(now: Duration) -> u32 {
    let [a, b, c, d, ..] = now.as_millis().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn pack(stamp: u32, value: f32) -> u64 {
    u64::from(stamp) << 32 | u64::from(value.to_bits())
}

fn unpack(packed: u64, now: u32) -> (u32, Reading) {
    let [a, b, c, d, e, f, g, h] = packed.to_be_bytes();
    let stamp = u32::from_be_bytes([a, b, c, d]);
    let value = f32::from_be_bytes([e, f, g, h]);
    // Half of the circle is the past, the other half the clocks that are ahead.
    let age = u64::try_from(now.wrapping_sub(stamp).cast_signed()).unwrap_or(0);
    let age = Duration::from_millis(age);
    (stamp, Reading { value, age })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn a_value_fades_with_its_age() {
        let stamped = Stamped::new(Duration::from_secs(5), 100.0);
        let after = |seconds| {
            let reading = stamped.read(Duration::from_secs(seconds));
            reading.decayed(TEN)
        };
        assert!((after(5) - 100.0).abs() < 0.01);
        assert!((after(15) - 36.79).abs() < 0.01);
        assert!(after(105) < 0.01);
    }

    #[test]
    fn a_clock_that_is_behind_reads_no_age_and_moves_no_stamp() {
        let stamped = Stamped::new(TEN, 1.0);
        let behind = Duration::from_secs(9);
        assert_eq!(stamped.read(behind).age, Duration::ZERO);
        assert!(stamped.update(behind, |reading| Some(reading.value + 1.0)));
        let later = stamped.read(Duration::from_secs(11));
        assert_eq!(later.age, Duration::from_secs(1));
        assert!((later.value - 2.0).abs() < f32::EPSILON);
    }

    #[test]
    fn the_stamp_may_wrap() {
        let last = Duration::from_millis(u64::from(u32::MAX));
        let stamped = Stamped::new(last, 1.0);
        let later = stamped.read(last + Duration::from_secs(2));
        assert_eq!(later.age, Duration::from_secs(2));
    }
}
