//! What an app's origins are told of the user, in fields of each request.

/// Fields that an app may have.
pub const IDENTITY_FIELDS_MAX: usize = 16;

/// Where a signed statement of the user stands, unless an app says otherwise.
pub const ASSERTION_FIELD: &str = "adit-assertion";

/// Changes to one field's values.
pub const IDENTITY_CHANGES_MAX: usize = 4;
/// Bytes of a claim's name, or of a text.
pub const IDENTITY_DETAIL_BYTES_MAX: usize = 256;
/// Bytes of what stands before each value.
pub const IDENTITY_PREFIX_BYTES_MAX: usize = 64;

/// One field of the requests that an app's origins get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityField {
    /// Its name in lower case.
    pub name: String,
    /// What it says.
    pub value: IdentityValue,
    /// What is done with each value, in this order.
    pub changes: Vec<IdentityChange>,
    /// What stands before each value then.
    pub prefix: String,
}

impl IdentityField {
    /// One that says what it says as it is.
    pub fn plain(name: &str, value: IdentityValue) -> Self {
        Self {
            name: name.to_owned(),
            value,
            changes: Vec::new(),
            prefix: String::new(),
        }
    }
}

/// What a field says of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityValue {
    /// Id: what the user types to sign in.
    User,
    /// What people call the user.
    DisplayName,
    /// Address of e-mail.
    Email,
    /// Groups of users, with commas between them.
    UserGroups,
    /// What the identity provider says under this name; several values as groups.
    Claim(String),
    /// The same for every user.
    Text(String),
}

/// What is done with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityChange {
    /// Letters become small ones.
    Lower,
    /// Letters become capitals.
    Upper,
    /// Only what stands before the last `@` is left; without one, all of it.
    BeforeAt,
    /// Only what stands behind it; without one, nothing.
    AfterAt,
}

impl IdentityChange {
    /// What becomes of `text`.
    pub fn apply(self, text: &str) -> String {
        match self {
            Self::Lower => text.to_lowercase(),
            Self::Upper => text.to_uppercase(),
            Self::BeforeAt => text.rsplit_once('@').map_or(text, |(name, _)| name).into(),
            Self::AfterAt => text
                .rsplit_once('@')
                .map_or("", |(_, domain)| domain)
                .into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_take_parts_of_addresses_and_fold_letters() {
        for (change, text, want) in [
            (IdentityChange::Lower, "ÄBc", "äbc"),
            (IdentityChange::Upper, "äbc", "ÄBC"),
            (IdentityChange::BeforeAt, "alice@corp.example", "alice"),
            (IdentityChange::BeforeAt, "a@b@corp.example", "a@b"),
            (IdentityChange::BeforeAt, "alice", "alice"),
            (
                IdentityChange::AfterAt,
                "alice@corp.example",
                "corp.example",
            ),
            (IdentityChange::AfterAt, "alice", ""),
        ] {
            assert_eq!(change.apply(text), want, "{change:?} {text}");
        }
    }
}
