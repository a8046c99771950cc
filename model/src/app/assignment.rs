//! Who may use an app, once they have signed in.

use std::collections::HashSet;

use crate::{
    client_ca::Program,
    name::{ServiceTokenId, UserId},
    user::{User, UserGroup},
};

/// Users that an app may name.
pub const ASSIGNED_USERS_MAX: usize = 1_000;
/// Groups of users that an app may name.
pub const ASSIGNED_GROUPS_MAX: usize = 200;
/// Service tokens that an app may name.
pub const ASSIGNED_SERVICES_MAX: usize = 200;

/// Programs with certificates that an app may name.
pub const ASSIGNED_PROGRAMS_MAX: usize = 200;

/// Who may use an app: whoever is in any of these. Nobody by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// By name, at most [`ASSIGNED_USERS_MAX`].
    pub users: HashSet<UserId>,
    /// By what they are in, at most [`ASSIGNED_GROUPS_MAX`].
    pub groups: HashSet<UserGroup>,
    /// Whoever can sign in; no program does.
    pub everyone: bool,
    /// Programs, by their service tokens, at most [`ASSIGNED_SERVICES_MAX`].
    pub services: HashSet<ServiceTokenId>,
    /// Programs, by their certificates, at most [`ASSIGNED_PROGRAMS_MAX`].
    pub programs: HashSet<Program>,
}

impl Assignment {
    /// Whether it has `user` in it.
    pub fn holds(&self, user: &User) -> bool {
        self.everyone
            || self.users.contains(&user.id)
            || user.groups.iter().any(|group| self.groups.contains(group))
    }

    /// Whether it has the program with that service token in it.
    pub fn holds_service(&self, service: &ServiceTokenId) -> bool {
        self.services.contains(service)
    }

    /// Whether it has the program with a certificate of that name in it.
    pub fn holds_program(&self, program: &Program) -> bool {
        self.programs.contains(program) || self.programs.contains(&program.any_of_its_ca())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_assigned_by_omission() {
        let user = User {
            groups: vec!["staff".parse().unwrap(), "ops".parse().unwrap()],
            ..User::new("alice".parse().unwrap())
        };
        let check = |users: &[&str], groups: &[&str], everyone| {
            let assignment = Assignment {
                users: users.iter().map(|id| id.parse().unwrap()).collect(),
                groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
                everyone,
                services: ["alice".parse().unwrap()].into(),
                programs: ["jobs/alice".parse().unwrap()].into(),
            };
            assignment.holds(&user)
        };
        assert!(!check(&[], &[], false));
        assert!(!check(&["bob", "alice2"], &["Staff"], false));
        assert!(check(&["bob", "alice"], &[], false));
        assert!(check(&[], &["guests", "ops"], false));
        assert!(check(&[], &[], true));
    }

    #[test]
    fn programs_are_assigned_by_name_alone() {
        let (ci, bob) = ("ci".parse().unwrap(), "bob".parse().unwrap());
        let assignment = Assignment {
            users: ["bob".parse().unwrap()].into(),
            everyone: true,
            services: [ci].into(),
            ..Assignment::default()
        };
        assert!(assignment.holds_service(&"ci".parse().unwrap()));
        assert!(!assignment.holds_service(&bob), "a user of that name");
    }

    #[test]
    fn programs_with_certificates_are_assigned_by_name_or_all_of_a_ca() {
        let programs = |names: &[&str]| Assignment {
            programs: names.iter().map(|name| name.parse().unwrap()).collect(),
            everyone: true,
            services: ["ci".parse().unwrap()].into(),
            ..Assignment::default()
        };
        let ci = "jobs/ci".parse().unwrap();
        for (named, want) in [
            (&[][..], false),
            (&["jobs/cron", "other/ci", "other/*"], false),
            (&["jobs/ci"], true),
            (&["jobs/*"], true),
        ] {
            assert_eq!(programs(named).holds_program(&ci), want, "{named:?}");
        }
    }
}
