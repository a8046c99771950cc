//! Reads groups as operators write them.

use model::name::GroupId;

use crate::{
    admin,
    violation::{Violation, Violations},
};

/// Checks a group that shall have the id `id`; on failure says everything that is wrong with it.
pub fn check(id: &str, group: &admin::Group) -> Result<GroupId, Vec<Violation>> {
    let mut found = Violations::default();
    let id = found.parse("group_id", id);
    found.display_name("group.display_name", &group.display_name);
    match id {
        Some(id) if found.is_empty() => Ok(id),
        Some(_) | None => Err(found.into_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_named(id: &str, display_name: &str) -> Result<GroupId, Vec<String>> {
        let group = admin::Group {
            display_name: display_name.to_owned(),
            ..admin::Group::default()
        };
        check(id, &group).map_err(|found| found.into_iter().map(|fault| fault.field).collect())
    }

    #[test]
    fn a_good_group_has_an_id() {
        let id = "office".parse().expect("a good id");
        assert_eq!(check_named("office", "Büro, 2. Stock"), Ok(id));
    }

    #[test]
    fn everything_wrong_with_a_group_is_said_at_once() {
        let both = vec!["group_id".to_owned(), "group.display_name".to_owned()];
        assert_eq!(check_named("Office", &"x".repeat(121)), Err(both.clone()));
        assert_eq!(check_named("", "a\u{1b}[2J"), Err(both));
    }
}
