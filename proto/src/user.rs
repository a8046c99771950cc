//! Reads users as operators write them.

use std::collections::HashSet;

use model::{
    name::UserId,
    user::{EMAIL_BYTES_MAX, USER_GROUPS_MAX, UserGroup},
};

use crate::{
    admin,
    violation::{Violation, Violations},
};

/// Checks a user who shall have the id `id`; on failure says everything that is wrong with them.
pub fn check(id: &str, user: &admin::User) -> Result<UserId, Vec<Violation>> {
    let mut found = Violations::default();
    let id = found.parse("user_id", id);
    found.display_name("user.display_name", &user.display_name);
    check_email(&user.email, &mut found);
    let mut named = HashSet::new();
    let groups = found.at_most(
        USER_GROUPS_MAX,
        "user.user_groups",
        "groups",
        &user.user_groups,
    );
    for (field, group) in groups {
        let read: Option<UserGroup> = found.parse(&field, group);
        if read.is_some() && !named.insert(group) {
            found.add(&field, "must not be there twice");
        }
    }
    match id {
        Some(id) if found.is_empty() => Ok(id),
        Some(_) | None => Err(found.into_vec()),
    }
}

/// Not whether it exists, which only a message to it could tell; but it goes into headers, and is what people may be known by.
fn check_email(email: &str, found: &mut Violations) {
    const FIELD: &str = "user.email";
    if email.len() > EMAIL_BYTES_MAX {
        let most = format_args!("must not be longer than {EMAIL_BYTES_MAX} bytes");
        found.add(FIELD, most);
    }
    let is_odd = email.contains(|char: char| char.is_control() || char.is_whitespace());
    let has_parts = email
        .rsplit_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if !email.is_empty() && (is_odd || !has_parts) {
        found.add(FIELD, "must be of the form name@host");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(id: &str, user: &admin::User) -> Vec<String> {
        let found = check(id, user).err().unwrap_or_default();
        found.into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn good_users_have_an_id() {
        let user = admin::User {
            display_name: "Alice Smith".to_owned(),
            email: "alice@example.com".to_owned(),
            user_groups: vec!["staff".to_owned(), "Leute im Büro".to_owned()],
            ..admin::User::default()
        };
        let id = check("alice.smith@example.com", &user);
        assert_eq!(id, "alice.smith@example.com".parse().map_err(|_| vec![]));
        assert_eq!(fields("bob", &admin::User::default()), [""; 0]);
    }

    #[test]
    fn everything_wrong_with_a_user_is_said_at_once() {
        let user = admin::User {
            display_name: "x".repeat(121),
            email: "alice".to_owned(),
            user_groups: ["staff", "", "staff"].map(str::to_owned).into(),
            ..admin::User::default()
        };
        assert_eq!(
            fields("Alice", &user),
            [
                "user_id",
                "user.display_name",
                "user.email",
                "user.user_groups[1]",
                "user.user_groups[2]"
            ]
        );
    }

    #[test]
    fn emails_have_a_name_and_a_host_and_are_one_word() {
        let long = format!("{}@example.com", "a".repeat(EMAIL_BYTES_MAX));
        for (email, is_good) in [
            ("", true),
            ("a@b", true),
            ("\"a@b\"@example.com", true),
            ("ä@exämple.com", true),
            ("@example.com", false),
            ("a@", false),
            ("a b@example.com", false),
            ("a@example.com\r\nX: y", false),
            (long.as_str(), false),
        ] {
            let user = admin::User {
                email: email.to_owned(),
                ..admin::User::default()
            };
            assert_eq!(check("a", &user).is_ok(), is_good, "{email}");
        }
    }

    #[test]
    fn groups_are_bounded() {
        let user = |groups: usize| admin::User {
            user_groups: (0..groups).map(|group| group.to_string()).collect(),
            ..admin::User::default()
        };
        assert!(check("a", &user(USER_GROUPS_MAX)).is_ok());
        assert_eq!(
            fields("a", &user(USER_GROUPS_MAX + 1)),
            ["user.user_groups"]
        );
    }
}
