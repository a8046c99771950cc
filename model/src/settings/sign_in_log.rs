//! How long it is kept who came.

use std::time::Duration;

/// Days that control keeps the log of sign-ins for, from 1 to [`SignInLogDays::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignInLogDays(u32);

impl SignInLogDays {
    /// Ten years: longer than anybody has to keep such a log.
    pub const MAX: u32 = 3_650;
    /// What is kept when nobody says anything else: long enough to look into what is noticed late.
    const OWN: u32 = 90;

    /// So many days; `None` if these are none, or too many.
    #[must_use]
    pub const fn new(days: u32) -> Option<Self> {
        match days {
            1..=Self::MAX => Some(Self(days)),
            _ => None,
        }
    }

    /// How many.
    #[must_use]
    pub const fn days(self) -> u32 {
        self.0
    }

    /// How old a sign-in may become.
    #[must_use]
    pub fn age(self) -> Duration {
        Duration::from_secs(86_400) * self.0
    }
}

impl Default for SignInLogDays {
    fn default() -> Self {
        Self(Self::OWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_at_least_and_ten_years_at_most() {
        for (days, is_good) in [(0, false), (1, true), (3_650, true), (3_651, false)] {
            assert_eq!(SignInLogDays::new(days).is_some(), is_good, "{days}");
        }
        assert_eq!(
            SignInLogDays::default().age(),
            Duration::from_secs(90 * 24 * 3_600)
        );
    }
}
