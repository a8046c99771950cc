//! Names of users, as single sign-on may use them. Whoever names a user becomes that user, so that what is not plainly one name is none.

use std::{fmt, sync::Arc};

use thiserror::Error;

use crate::{gssapi::NameKind, realm::Realm};

/// Bytes of a user's name, with suffix or realm.
const NAME_BYTES_MAX: usize = 256;

/// Why a text names no user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// It is empty.
    #[error("the name is empty")]
    Empty,
    /// It is longer than any name is.
    #[error("the name is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// It is not one name and one suffix.
    #[error("the name must have exactly one @, with something on either side")]
    At,
    /// It has a character that Kerberos reads as something else, or that servers see as another one: Active Directory takes é for e.
    #[error(
        "the name has a character that is not allowed: spaces, \\, / and \" are not, nor is anything but ASCII"
    )]
    Character,
    /// It ends in a dollar sign, as names of computers do.
    #[error("the name is that of a computer: it ends in $")]
    Computer,
    /// The suffix is not like a domain.
    #[error("what follows the @ may have letters, digits, dots, hyphens and underscores only")]
    Suffix,
}

/// A user's name, checked. Case counts before the `@`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName {
    text: Arc<str>,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    Upn,
    Account,
}

impl UserName {
    /// A user principal name, `bob@corp.example`: the KDC looks up whose it is. The application sees it as it is asked for.
    pub fn upn(text: &str) -> Result<Self, NameError> {
        let (local, suffix) = halves(text)?;
        Ok(Self {
            text: format!("{local}@{}", suffix.to_ascii_lowercase()).into(),
            form: Form::Upn,
        })
    }

    /// An account's own name, `bsmith`, of a realm.
    pub fn account(name: &str, realm: &Realm) -> Result<Self, NameError> {
        if name.contains('@') {
            return Err(NameError::At);
        }
        check_local(name)?;
        if name.len() + realm.as_str().len() >= NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        Ok(Self {
            text: format!("{name}@{realm}").into(),
            form: Form::Account,
        })
    }

    /// What stands before the `@` of a user principal name, as the name of an account of a realm.
    pub fn local_part(text: &str, realm: &Realm) -> Result<Self, NameError> {
        let (local, _) = halves(text)?;
        Self::account(local, realm)
    }

    /// As it is asked for: a user principal name, or `account@REALM`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the library shall read, and how. The realm says whose KDC looks a user principal name up, whatever the default realm is.
    pub(crate) fn for_library(&self, realm: &Realm) -> (String, NameKind) {
        match self.form {
            Form::Upn => (format!("{}@{realm}", self.text), NameKind::Enterprise),
            Form::Account => (self.text.to_string(), NameKind::Principal),
        }
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn halves(text: &str) -> Result<(&str, &str), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    let (local, suffix) = text.split_once('@').ok_or(NameError::At)?;
    if local.is_empty() || suffix.is_empty() || suffix.contains('@') {
        return Err(NameError::At);
    }
    check_local(local)?;
    if !suffix.bytes().all(is_of_domain) {
        return Err(NameError::Suffix);
    }
    Ok((local, suffix))
}

fn check_local(local: &str) -> Result<(), NameError> {
    if local.is_empty() {
        return Err(NameError::Empty);
    }
    // Graphic characters only: no space, control, or anything beyond ASCII.
    let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'/' | b'"');
    if !local.bytes().all(allowed) {
        return Err(NameError::Character);
    }
    if local.ends_with('$') {
        return Err(NameError::Computer);
    }
    Ok(())
}

fn is_of_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_name_or_none() {
        let long = format!("{}@lab.test", "a".repeat(248));
        for (text, expected) in [
            ("alice@lab.test", Ok("alice@lab.test")),
            ("ALICE@Lab.TEST", Ok("ALICE@lab.test")),
            ("bob@corp.example", Ok("bob@corp.example")),
            ("o'neil+x@corp_1-2.example", Ok("o'neil+x@corp_1-2.example")),
            ("a$b@lab.test", Ok("a$b@lab.test")),
            ("", Err(NameError::Empty)),
            ("alice", Err(NameError::At)),
            ("@lab.test", Err(NameError::At)),
            ("alice@", Err(NameError::At)),
            ("alice@lab.test@EVIL.REALM", Err(NameError::At)),
            ("alice@@lab.test", Err(NameError::At)),
            ("alice@lab.test ", Err(NameError::Suffix)),
            ("alice@lab.test\0", Err(NameError::Suffix)),
            ("alice@lab/test", Err(NameError::Suffix)),
            ("alice@läb.test", Err(NameError::Suffix)),
            (" alice@lab.test", Err(NameError::Character)),
            ("al ice@lab.test", Err(NameError::Character)),
            ("ali\u{301}ce@lab.test", Err(NameError::Character)),
            ("аlice@lab.test", Err(NameError::Character)),
            ("alice\n@lab.test", Err(NameError::Character)),
            ("alice\\@evil@lab.test", Err(NameError::At)),
            ("LAB\\alice@lab.test", Err(NameError::Character)),
            ("host/dc1@lab.test", Err(NameError::Character)),
            ("dc1$@lab.test", Err(NameError::Computer)),
            (&long, Err(NameError::TooLong)),
        ] {
            let found = UserName::upn(text);
            let found = found.as_ref().map(UserName::as_str).map_err(|error| *error);
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn accounts_are_of_a_realm() {
        let realm: Realm = "LAB.TEST".parse().expect("a realm");
        for (text, expected) in [
            ("bsmith", Ok("bsmith@LAB.TEST")),
            ("b.smith", Ok("b.smith@LAB.TEST")),
            ("", Err(NameError::Empty)),
            ("bsmith@EVIL", Err(NameError::At)),
            ("dc1$", Err(NameError::Computer)),
            ("b smith", Err(NameError::Character)),
            ("HTTP/app", Err(NameError::Character)),
        ] {
            let found = UserName::account(text, &realm);
            let found = found.as_ref().map(UserName::as_str).map_err(|error| *error);
            assert_eq!(found, expected, "{text:?}");
        }
        let long = UserName::account(&"a".repeat(248), &realm);
        assert_eq!(long, Err(NameError::TooLong));
    }

    #[test]
    fn local_parts_become_accounts() {
        let realm: Realm = "LAB.TEST".parse().expect("a realm");
        let local = |text| UserName::local_part(text, &realm);
        let bob = local("bob@corp.example").expect("a name");
        assert_eq!(bob.as_str(), "bob@LAB.TEST");
        assert_eq!(
            local("bob@corp.example@x").expect_err("two @"),
            NameError::At
        );
        assert_eq!(local("bob").expect_err("no @"), NameError::At);
        assert_ne!(bob, UserName::upn("bob@LAB.TEST").expect("a name"));
    }

    #[test]
    fn names_are_read_in_the_agents_realm() {
        let realm: Realm = "LAB.TEST".parse().expect("a realm");
        let upn = UserName::upn("bob@corp.example").expect("a name");
        let account = UserName::account("bob", &realm).expect("a name");
        assert_eq!(
            upn.for_library(&realm),
            ("bob@corp.example@LAB.TEST".to_owned(), NameKind::Enterprise)
        );
        assert_eq!(
            account.for_library(&realm),
            ("bob@LAB.TEST".to_owned(), NameKind::Principal)
        );
    }
}
