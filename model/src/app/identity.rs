//! What an app's origins are told of the user, in fields of each request.

/// Fields that an app may have, and each of its segments.
pub const IDENTITY_FIELDS_MAX: usize = 16;
/// Fields that an app and all of its segments may have together.
pub const IDENTITY_FIELDS_TOTAL_MAX: usize = 64;

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

/// Whether servers may take fields of these two names for one: CGI makes the same of `_`, `-` and any other sign, whatever the case.
pub fn is_like(one: &str, other: &str) -> bool {
    let flat = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => byte.to_ascii_lowercase(),
        _ => b'-',
    };
    one.len() == other.len() && one.bytes().map(flat).eq(other.bytes().map(flat))
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
    /// This of the certificate that the user's device, or a program, has shown, if a CA that the app names has made it.
    Certificate(CertificatePart),
}

/// What can be told of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificatePart {
    /// Whose it is (RFC 4514).
    Subject,
    /// Who has made it, written likewise.
    Issuer,
    /// Its number among those of that, in hexadecimal digits.
    Serial,
    /// SHA-256 of all of it, in hexadecimal digits.
    Fingerprint,
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
    use crate::{
        app::{Access, App, Assignment, Segment},
        path::PathPrefix,
    };

    #[test]
    fn names_that_servers_take_for_one_are_alike() {
        for other in ["x-user", "X_User", "x.USER", "x!user"] {
            assert!(is_like("x-user", other), "{other}");
        }
        for other in ["x-users", "xuser", "x-usor", ""] {
            assert!(!is_like("x-user", other), "{other}");
        }
    }

    #[test]
    fn a_segment_adds_fields_and_replaces_those_that_are_alike() {
        let mut app = App::new(
            "wiki".parse().unwrap(),
            "office".parse().unwrap(),
            Access::SignIn(Assignment::default()),
        );
        let field = |name: &str, text: &str| {
            IdentityField::plain(name, IdentityValue::Text(text.to_owned()))
        };
        app.identity_fields = vec![field("x-user", "app"), field("x-site", "app")];
        app.segments = vec![Segment {
            id: "admin".parse().unwrap(),
            hosts: Vec::new(),
            path: PathPrefix::root(),
            cors: Vec::new(),
            identity_fields: vec![field("x.site", "admin"), field("x-more", "admin")],
        }];
        let told = |segment| {
            let fields = app.identity_fields_of(segment);
            let names = fields.map(|field| field.name.as_str());
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(told(None), "x-user x-site");
        assert_eq!(told(app.segments.first()), "x-user x.site x-more");
        let names: Vec<_> = app.identity_names().collect();
        assert_eq!(names, ["x-user", "x-site", "x.site", "x-more"]);
    }

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
