//! Who may use an app.

use model::{
    app::{ASSIGNED_GROUPS_MAX, ASSIGNED_USERS_MAX, Assignment},
    name::UserId,
};

use super::Violations;
use crate::admin;

/// What can be used of it; what cannot is among the violations.
pub(super) fn read(wire: &admin::Assignment, found: &mut Violations) -> Assignment {
    for (field, count, max) in [
        ("users", wire.users.len(), ASSIGNED_USERS_MAX),
        ("user_groups", wire.user_groups.len(), ASSIGNED_GROUPS_MAX),
    ] {
        if count > max {
            let what = format!("must not have more than {max}");
            found.add(&format!("app.assignment.{field}"), &what);
            return Assignment::default();
        }
    }
    let users = wire.users.iter().enumerate().filter_map(|(index, name)| {
        let field = format!("app.assignment.users[{index}]");
        match name.strip_prefix(UserId::COLLECTION) {
            Some(id) => found.parse(&field, id),
            None => {
                found.add(&field, "must be of the form users/{id}");
                None
            }
        }
    });
    let users = users.collect();
    let groups = wire.user_groups.iter().enumerate();
    let groups = groups.filter_map(|(index, group)| {
        found.parse(&format!("app.assignment.user_groups[{index}]"), group)
    });
    Assignment {
        users,
        groups: groups.collect(),
        everyone: wire.everyone,
    }
}

/// In order, so that equal assignments are written alike.
pub(super) fn write(assignment: &Assignment) -> admin::Assignment {
    let mut users: Vec<_> = assignment.users.iter().map(UserId::resource_name).collect();
    let mut user_groups: Vec<_> = assignment.groups.iter().map(ToString::to_string).collect();
    users.sort_unstable();
    user_groups.sort_unstable();
    admin::Assignment {
        users,
        user_groups,
        everyone: assignment.everyone,
    }
}
