//! What holds for the whole fabric.

use crate::{
    app::{Limits, Timeouts},
    brand::Brand,
    user::UserGroup,
};

mod edge_limits;
mod sign_in_log;

pub use edge_limits::EdgeLimits;
pub use sign_in_log::SignInLogDays;

/// Groups of users that may be named to need a second factor.
pub const SECOND_FACTOR_GROUPS_MAX: usize = 50;

/// Settings of the fabric.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Every app answers 503; publications are kept.
    pub stopped: bool,
    /// Of apps that say nothing of their own.
    pub timeouts: Timeouts,
    /// Of apps that say nothing of their own.
    pub limits: Limits,
    /// Of edges whose own file says nothing else.
    pub edge_limits: EdgeLimits,
    /// Over HTTP/1.1 answers have names of fields as `Content-Type`, not `content-type`.
    pub title_case: bool,
    /// What users with a password are asked for besides.
    pub second_factor: SecondFactor,
    /// Groups of users who need one all the same; at most [`SECOND_FACTOR_GROUPS_MAX`], and none where nobody is asked.
    pub second_factor_groups: Vec<UserGroup>,
    /// Whose fabric it is, as pages show it.
    pub brand: Brand,
    /// How long control keeps the log of sign-ins.
    pub sign_in_log: SignInLogDays,
}

impl Settings {
    /// Whether somebody in these groups, with an account of the fabric's own, has to have a second factor.
    pub fn needs_second_factor(&self, groups: &[String]) -> bool {
        let mut needing = self.second_factor_groups.iter();
        match self.second_factor {
            SecondFactor::Off => false,
            SecondFactor::Optional => needing.any(|needing| {
                let mut groups = groups.iter();
                groups.any(|group| group == needing.as_str())
            }),
            SecondFactor::Required => true,
        }
    }
}

/// Whether accounts of the fabric's own have a second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecondFactor {
    /// Nobody is asked for one.
    Off,
    /// Who has set one up is asked for it.
    #[default]
    Optional,
    /// Who has none sets one up at the next sign-in.
    Required,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_a_group_that_needs_a_second_factor_has_to_have_one() {
        let groups = ["staff".to_owned(), "admins".to_owned()];
        for (second_factor, named, want) in [
            (SecondFactor::Off, "admins", false),
            (SecondFactor::Optional, "admins", true),
            (SecondFactor::Optional, "Admins", false),
            (SecondFactor::Required, "others", true),
        ] {
            let settings = Settings {
                second_factor,
                second_factor_groups: vec![named.parse().unwrap()],
                ..Settings::default()
            };
            let needs = settings.needs_second_factor(&groups);
            assert_eq!(needs, want, "{second_factor:?} {named}");
        }
        assert!(!Settings::default().needs_second_factor(&groups));
    }
}
