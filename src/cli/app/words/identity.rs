//! What an app's origins are told of the user.

use std::{collections::BTreeMap, str::FromStr};

use proto::admin;
use serde::{Deserialize, Serialize};

/// Names of fields, and what each says.
pub(crate) type IdentityWords = BTreeMap<String, IdentityWord>;

/// What a field says of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum IdentityWord {
    /// Id, as typed at sign-in.
    User,
    /// What people call the user.
    DisplayName,
    /// Address of e-mail.
    Email,
    /// Groups of users, with commas between them.
    UserGroups,
}

/// One of them, as in a flag: `x-remote-user=user`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdentityFieldWord {
    name: String,
    value: IdentityWord,
}

/// As control has them.
pub(crate) fn identity_meant(words: &IdentityWords) -> Vec<admin::IdentityField> {
    words
        .iter()
        .map(|(name, value)| field(name, *value))
        .collect()
}

/// As people write them.
pub(crate) fn identity_words(fields: Vec<admin::IdentityField>) -> IdentityWords {
    let known = |field: admin::IdentityField| {
        let value = match field.value() {
            admin::IdentityValue::Unspecified => return None,
            admin::IdentityValue::User => IdentityWord::User,
            admin::IdentityValue::DisplayName => IdentityWord::DisplayName,
            admin::IdentityValue::Email => IdentityWord::Email,
            admin::IdentityValue::UserGroups => IdentityWord::UserGroups,
        };
        Some((field.name, value))
    };
    fields.into_iter().filter_map(known).collect()
}

/// All of them, for people.
pub(crate) fn identity_line(words: &IdentityWords) -> String {
    let pairs = words
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_str()));
    pairs.collect::<Vec<_>>().join(", ")
}

fn field(name: &str, value: IdentityWord) -> admin::IdentityField {
    let value = match value {
        IdentityWord::User => admin::IdentityValue::User,
        IdentityWord::DisplayName => admin::IdentityValue::DisplayName,
        IdentityWord::Email => admin::IdentityValue::Email,
        IdentityWord::UserGroups => admin::IdentityValue::UserGroups,
    };
    admin::IdentityField {
        name: name.to_owned(),
        value: value.into(),
    }
}

impl IdentityWord {
    const ALL: [Self; 4] = [Self::User, Self::DisplayName, Self::Email, Self::UserGroups];

    const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::DisplayName => "display-name",
            Self::Email => "email",
            Self::UserGroups => "user-groups",
        }
    }
}

impl IdentityFieldWord {
    pub(crate) fn meant(&self) -> admin::IdentityField {
        field(&self.name, self.value)
    }
}

impl FromStr for IdentityFieldWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = |word: &str| {
            let mut all = IdentityWord::ALL.into_iter();
            all.find(|value| value.as_str() == word)
        };
        let read = text
            .split_once('=')
            .and_then(|(name, word)| Some((name, known(word)?)));
        let (name, value) = read.ok_or_else(|| {
            "must be NAME=VALUE, with user, display-name, email or user-groups for VALUE".to_owned()
        })?;
        Ok(Self {
            name: name.to_owned(),
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_files_say_the_same() {
        let flags = [
            "x-groups=user-groups",
            "x-mail=email",
            "x-name=display-name",
            "x-user=user",
        ];
        let fields: Vec<_> = flags
            .iter()
            .map(|flag| flag.parse::<IdentityFieldWord>().unwrap().meant())
            .collect();
        let read = identity_words(fields.clone());
        assert_eq!(identity_meant(&read), fields);
        assert_eq!(identity_line(&read), flags.join(", "));
        let file: IdentityWords = toml::from_str(
            "x-user = \"user\"\nx-mail = \"email\"\nx-name = \"display-name\"\nx-groups = \"user-groups\"",
        )
        .unwrap();
        assert_eq!(file, read);
        for bad in ["x-user", "x-user=uid", "x-user=User"] {
            assert!(bad.parse::<IdentityFieldWord>().is_err(), "{bad}");
        }
    }
}
