//! Who uses apps: people with an account, and the groups that they are in.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc, time::Duration};

use crate::{
    name::{IdentityProviderId, UserId},
    terms::Acceptance,
};

/// Groups that a user may be in; directories of large companies have people in some hundreds, few of which say anything of apps.
pub const USER_GROUPS_MAX: usize = 100;
/// Longest name of a group, in characters: that of a distinguished name is longer, its common name is not.
pub const USER_GROUP_CHARS_MAX: usize = 128;
/// Longest address of e-mail, in bytes (RFC 5321, section 4.5.3.1, less the angle brackets).
pub const EMAIL_BYTES_MAX: usize = 254;
/// Shortest and longest password, in characters (NIST SP 800-63B-4 asks for 15, or 8 beside a second factor, and to take at least 64).
pub const PASSWORD_CHARS: (usize, usize) = (12, 256);
/// Bytes of the id of a sign-in.
pub const SESSION_ID_BYTES: usize = 16;
/// Claims of an identity provider that are kept of a user.
pub const CLAIMS_MAX: usize = 16;
/// Bytes of the names and the values of all of them.
pub const CLAIMS_BYTES_MAX: usize = 1_024;
/// How long one sign-in is good for: a day's work.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 3_600);

/// Somebody who has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Whom.
    pub id: UserId,
    /// What people call them; may be empty.
    pub display_name: String,
    /// Address of e-mail; may be empty.
    pub email: String,
    /// The groups that they were in when they signed in, at most [`USER_GROUPS_MAX`].
    pub groups: Vec<UserGroup>,
    /// What the identity provider says beside, as far as its publication asks for it; at most [`CLAIMS_MAX`].
    pub claims: Vec<Claim>,
    /// What they have accepted of what they were asked to.
    pub accepted: Vec<Acceptance>,
    /// How they showed that they are who they say.
    pub authentication: Authentication,
}

/// A statement of an identity provider about a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// As in the provider's token.
    pub name: String,
    /// Texts; numbers and truth values as JSON writes them.
    pub values: Vec<String>,
}

/// How somebody showed who they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Authentication {
    /// To whom; `None`: to the fabric itself.
    pub provider: Option<IdentityProviderId>,
    /// By what, in the words of RFC 8176: `pwd`, `otp`, `hwk`, `mfa`.
    pub methods: Vec<String>,
    /// The provider's class of it (`acr`; OpenID Connect Core, section 2); may be empty.
    pub class: String,
    /// When, in Unix milliseconds: the last time that they did more than show a session. 0: the provider does not say, and it may be long ago.
    pub at_ms: i64,
}

impl User {
    /// Somebody of whom nothing but the name is known.
    pub fn new(id: UserId) -> Self {
        Self {
            id,
            display_name: String::new(),
            email: String::new(),
            groups: Vec::new(),
            claims: Vec::new(),
            accepted: Vec::new(),
            authentication: Authentication::default(),
        }
    }

    /// What to call them.
    pub fn name(&self) -> &str {
        match &*self.display_name {
            "" => self.id.as_str(),
            name => name,
        }
    }
}

/// Name of a group of users, compared exactly.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserGroup(Arc<str>);

/// Why a text is no name of a group of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UserGroupError {
    /// Nothing at all, or spaces at an end.
    #[error("must not be empty, nor start or end with a space")]
    Empty,
    /// More than [`USER_GROUP_CHARS_MAX`] characters.
    #[error("must not be longer than {USER_GROUP_CHARS_MAX} characters")]
    TooLong,
    /// It would break lines of headers and logs.
    #[error("must not have control characters")]
    Control,
}

impl UserGroup {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserGroup {
    type Err = UserGroupError;

    fn from_str(text: &str) -> Result<Self, UserGroupError> {
        if text.is_empty() || text.trim() != text {
            return Err(UserGroupError::Empty);
        }
        if text.chars().count() > USER_GROUP_CHARS_MAX {
            return Err(UserGroupError::TooLong);
        }
        if text.contains(char::is_control) {
            return Err(UserGroupError::Control);
        }
        Ok(Self(text.into()))
    }
}

impl Borrow<str> for UserGroup {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_named_as_directories_name_them() {
        let longest = "ü".repeat(USER_GROUP_CHARS_MAX);
        for good in [
            "staff",
            "CN=Staff,OU=x",
            "S-1-5-32-544",
            "Leute im Büro",
            &longest,
        ] {
            let read = good.parse::<UserGroup>().map(|group| group.to_string());
            assert_eq!(read, Ok(good.to_owned()));
        }
        let too_long = "a".repeat(USER_GROUP_CHARS_MAX + 1);
        for (bad, why) in [
            ("", UserGroupError::Empty),
            (" staff", UserGroupError::Empty),
            ("staff\t", UserGroupError::Empty),
            ("a\r\nb", UserGroupError::Control),
            (too_long.as_str(), UserGroupError::TooLong),
        ] {
            assert_eq!(bad.parse::<UserGroup>(), Err(why), "{bad:?}");
        }
    }
}
