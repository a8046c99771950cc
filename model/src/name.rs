//! Ids of the things a fabric is made of: short names that are safe in URLs, logs, metrics and certificates.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// Longest id, in bytes: that of a DNS label, so that an id can be one.
pub const ID_BYTES_MAX: usize = 63;

/// Longest id of a user, in bytes.
pub const USER_ID_BYTES_MAX: usize = 128;

/// Why a text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing at all.
    #[error("must not be empty")]
    Empty,
    /// More than [`ID_BYTES_MAX`] bytes.
    #[error("must not be longer than {ID_BYTES_MAX} characters")]
    TooLong,
    /// A character other than a-z, 0-9 and the hyphen, or a hyphen at an end.
    #[error("must consist of a-z, 0-9 and -, and start and end with a letter or digit")]
    Character,
    /// The same for a user, who may have more characters.
    #[error("must consist of a-z, 0-9 and ._+@-, and start and end with a letter or digit")]
    UserCharacter,
    /// More than [`USER_ID_BYTES_MAX`] bytes.
    #[error("must not be longer than {USER_ID_BYTES_MAX} characters")]
    UserTooLong,
}

fn check(id: &str) -> Result<(), IdError> {
    if id.len() > ID_BYTES_MAX {
        return Err(IdError::TooLong);
    }
    consists(id, b"-")?.then_some(()).ok_or(IdError::Character)
}

/// What people type to sign in: names with dots, and addresses of e-mail.
fn check_user(id: &str) -> Result<(), IdError> {
    if id.len() > USER_ID_BYTES_MAX {
        return Err(IdError::UserTooLong);
    }
    let is_good = consists(id, b"._+@-")?;
    is_good.then_some(()).ok_or(IdError::UserCharacter)
}

/// Whether it has letters and digits only, or inside also what is in `inner`.
fn consists(id: &str, inner: &[u8]) -> Result<bool, IdError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (Some(first), Some(last)) = (id.bytes().next(), id.bytes().next_back()) else {
        return Err(IdError::Empty);
    };
    Ok(plain(first) && plain(last) && id.bytes().all(|byte| plain(byte) || inner.contains(&byte)))
}

/// The same five impls for every kind of id; the kinds stay different types.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $collection:literal) => {
        id!($(#[$doc])* $name, $collection, check);
    };
    ($(#[$doc:meta])* $name:ident, $collection:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Prefix of the resource name: `"apps/"` and the like.
            pub const COLLECTION: &'static str = $collection;

            /// The bare id, without its collection.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The resource name: collection and id.
            pub fn resource_name(&self) -> String {
                format!("{}{}", Self::COLLECTION, self.0)
            }

            /// Reads a resource name such as `apps/wiki`; `None` if the collection is another.
            pub fn from_resource_name(name: &str) -> Option<Result<Self, IdError>> {
                name.strip_prefix(Self::COLLECTION).map(str::parse)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(id: &str) -> Result<Self, IdError> {
                $check(id)?;
                Ok(Self(id.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", Self::COLLECTION, self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(
    /// Id of an app.
    AppId,
    "apps/"
);
id!(
    /// Id of a segment within its app.
    SegmentId,
    "segments/"
);
id!(
    /// Id of a group of agents.
    GroupId,
    "groups/"
);
id!(
    /// Id of an agent.
    AgentId,
    "agents/"
);
id!(
    /// Id of an edge.
    EdgeId,
    "edges/"
);
id!(
    /// Id of a join token.
    JoinTokenId,
    "joinTokens/"
);
id!(
    /// Id of an API token.
    ApiTokenId,
    "apiTokens/"
);
id!(
    /// Id of an access rule.
    AccessRuleId,
    "accessRules/"
);
id!(
    /// Id of a named location.
    LocationId,
    "locations/"
);
id!(
    /// Id of terms of use.
    TermsId,
    "terms/"
);
id!(
    /// Id of a key to which credentials are sealed; it follows from the key.
    VaultKeyId,
    "vaultKeys/"
);
id!(
    /// Id of a service token, which is what a program that uses apps is known by.
    ServiceTokenId,
    "serviceTokens/"
);
id!(
    /// Id of a CA of users' devices, or of programs.
    ClientCaId,
    "clientCas/"
);
id!(
    /// Id of an identity provider.
    IdentityProviderId,
    "identityProviders/"
);
id!(
    /// Id of a user: with an account of the fabric's own, what is typed to sign in; else what an identity provider's claim makes.
    UserId,
    "users/",
    check_user
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_rule() {
        let longest = "a".repeat(ID_BYTES_MAX);
        for good in ["a", "wiki", "a-b", "0x1", longest.as_str()] {
            assert_eq!(
                good.parse::<AppId>().map(|id| id.to_string()),
                Ok(good.to_owned())
            );
        }
        let too_long = "a".repeat(ID_BYTES_MAX + 1);
        for (bad, why) in [
            ("", IdError::Empty),
            (too_long.as_str(), IdError::TooLong),
            ("-a", IdError::Character),
            ("a-", IdError::Character),
            ("A", IdError::Character),
            ("a.b", IdError::Character),
            ("a/b", IdError::Character),
            ("ü", IdError::Character),
        ] {
            assert_eq!(bad.parse::<AppId>(), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn users_may_have_names_of_mailboxes() {
        let longest = "a".repeat(USER_ID_BYTES_MAX);
        for good in ["alice", "alice.smith", "a+b@example.com", "x_1-y", &longest] {
            assert!(good.parse::<UserId>().is_ok(), "{good}");
        }
        let too_long = "a".repeat(USER_ID_BYTES_MAX + 1);
        for (bad, why) in [
            ("", IdError::Empty),
            (too_long.as_str(), IdError::UserTooLong),
            ("Alice", IdError::UserCharacter),
            (".alice", IdError::UserCharacter),
            ("alice@", IdError::UserCharacter),
            ("a/b", IdError::UserCharacter),
            ("a b", IdError::UserCharacter),
            ("älice", IdError::UserCharacter),
        ] {
            assert_eq!(bad.parse::<UserId>(), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn resource_names_keep_kinds_apart() {
        let id: GroupId = "office".parse().expect("a good id");
        assert_eq!(id.resource_name(), "groups/office");
        assert_eq!(GroupId::from_resource_name("groups/office"), Some(Ok(id)));
        assert_eq!(GroupId::from_resource_name("apps/office"), None);
        assert_eq!(
            GroupId::from_resource_name("groups/a/b"),
            Some(Err(IdError::Character))
        );
    }
}
