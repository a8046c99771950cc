//! Who may use an app.

use model::{
    app::{
        ASSIGNED_GROUPS_MAX, ASSIGNED_PROGRAMS_MAX, ASSIGNED_SERVICES_MAX, ASSIGNED_USERS_MAX,
        Assignment,
    },
    name::{ServiceTokenId, UserId},
};

use super::Violations;
use crate::admin;

/// What can be used of it; what cannot is among the violations.
pub(super) fn read(wire: &admin::Assignment, found: &mut Violations) -> Assignment {
    for (field, count, max) in [
        ("users", wire.users.len(), ASSIGNED_USERS_MAX),
        ("user_groups", wire.user_groups.len(), ASSIGNED_GROUPS_MAX),
        ("services", wire.services.len(), ASSIGNED_SERVICES_MAX),
        ("programs", wire.programs.len(), ASSIGNED_PROGRAMS_MAX),
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
    let groups = groups.collect();
    let services = wire.services.iter().enumerate();
    let services = services.filter_map(|(index, name)| {
        let field = format!("app.assignment.services[{index}]");
        match name.strip_prefix(ServiceTokenId::COLLECTION) {
            Some(id) => found.parse(&field, id),
            None => {
                found.add(&field, "must be of the form serviceTokens/{id}");
                None
            }
        }
    });
    let services = services.collect();
    let programs = wire.programs.iter().enumerate();
    let programs = programs.filter_map(|(index, name)| {
        found.parse(&format!("app.assignment.programs[{index}]"), name)
    });
    Assignment {
        users,
        groups,
        everyone: wire.everyone,
        services,
        programs: programs.collect(),
    }
}

/// In order, so that equal assignments are written alike.
pub(super) fn write(assignment: &Assignment) -> admin::Assignment {
    let mut users: Vec<_> = assignment.users.iter().map(UserId::resource_name).collect();
    let mut user_groups: Vec<_> = assignment.groups.iter().map(ToString::to_string).collect();
    users.sort_unstable();
    user_groups.sort_unstable();
    let services = assignment.services.iter();
    let mut services: Vec<_> = services.map(ServiceTokenId::resource_name).collect();
    services.sort_unstable();
    let programs = assignment.programs.iter();
    let mut programs: Vec<_> = programs.map(ToString::to_string).collect();
    programs.sort_unstable();
    admin::Assignment {
        users,
        user_groups,
        everyone: assignment.everyone,
        services,
        programs,
    }
}
