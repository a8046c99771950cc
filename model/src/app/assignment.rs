//! Who may use an app, once they have signed in.

use std::collections::HashSet;

use crate::{
    name::UserId,
    user::{User, UserGroup},
};

/// Users that an app may name.
pub const ASSIGNED_USERS_MAX: usize = 1_000;
/// Groups of users that an app may name.
pub const ASSIGNED_GROUPS_MAX: usize = 200;

/// Who may use an app: whoever is in any of these. Nobody by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// By name, at most [`ASSIGNED_USERS_MAX`].
    pub users: HashSet<UserId>,
    /// By what they are in, at most [`ASSIGNED_GROUPS_MAX`].
    pub groups: HashSet<UserGroup>,
    /// Whoever can sign in.
    pub everyone: bool,
}

impl Assignment {
    /// Whether it has `user` in it.
    pub fn holds(&self, user: &User) -> bool {
        self.everyone
            || self.users.contains(&user.id)
            || user.groups.iter().any(|group| self.groups.contains(group))
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
            };
            assignment.holds(&user)
        };
        assert!(!check(&[], &[], false));
        assert!(!check(&["bob", "alice2"], &["Staff"], false));
        assert!(check(&["bob", "alice"], &[], false));
        assert!(check(&[], &["guests", "ops"], false));
        assert!(check(&[], &[], true));
    }
}
