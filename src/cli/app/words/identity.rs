//! What origins are told of the user, as people write it: `user`, `claim:department|lower`, `email|before-at|prefix:CORP\`.

use std::{collections::BTreeMap, fmt, str::FromStr};

use proto::admin;
use serde::{Deserialize, Serialize};

/// Names of fields, and what they say.
pub(crate) type IdentityWords = BTreeMap<String, IdentityWord>;

/// What a field says of the user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct IdentityWord {
    value: i32,
    detail: String,
    changes: Vec<i32>,
    prefix: String,
}

/// One of them, as in a flag: `x-remote-user=user`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdentityFieldWord {
    name: String,
    word: IdentityWord,
}

/// Values that are the user's own.
const VALUES: [(&str, admin::IdentityValue); 8] = [
    ("user", admin::IdentityValue::User),
    ("display-name", admin::IdentityValue::DisplayName),
    ("email", admin::IdentityValue::Email),
    ("user-groups", admin::IdentityValue::UserGroups),
    (
        "certificate-subject",
        admin::IdentityValue::CertificateSubject,
    ),
    (
        "certificate-issuer",
        admin::IdentityValue::CertificateIssuer,
    ),
    (
        "certificate-serial",
        admin::IdentityValue::CertificateSerial,
    ),
    (
        "certificate-fingerprint",
        admin::IdentityValue::CertificateFingerprint,
    ),
];
/// Values that need a word of the operator's, behind a colon.
const DETAILED: [(&str, admin::IdentityValue); 2] = [
    ("claim", admin::IdentityValue::Claim),
    ("text", admin::IdentityValue::Text),
];
const CHANGES: [(&str, admin::IdentityChange); 4] = [
    ("lower", admin::IdentityChange::Lower),
    ("upper", admin::IdentityChange::Upper),
    ("before-at", admin::IdentityChange::BeforeAt),
    ("after-at", admin::IdentityChange::AfterAt),
];
const PREFIX: &str = "prefix:";
const FORM: &str = "must be user, display-name, email, user-groups, claim:NAME, text:TEXT or certificate-subject, -issuer, -serial or -fingerprint, and then lower, upper, before-at, after-at or prefix:TEXT, \
                    each behind a |";

/// As control has them.
pub(crate) fn identity_meant(words: &IdentityWords) -> Vec<admin::IdentityField> {
    words.iter().map(|(name, word)| word.field(name)).collect()
}

/// As people write them.
pub(crate) fn identity_words(fields: Vec<admin::IdentityField>) -> IdentityWords {
    let words = fields.into_iter().map(|field| {
        let word = IdentityWord {
            value: field.value,
            detail: field.detail,
            changes: field.changes,
            prefix: field.prefix,
        };
        (field.name, word)
    });
    words.collect()
}

/// All of them, for people.
pub(crate) fn identity_line(words: &IdentityWords) -> String {
    let pairs = words.iter().map(|(name, word)| format!("{name}={word}"));
    pairs.collect::<Vec<_>>().join(", ")
}

impl IdentityWord {
    fn field(&self, name: &str) -> admin::IdentityField {
        admin::IdentityField {
            name: name.to_owned(),
            value: self.value,
            detail: self.detail.clone(),
            changes: self.changes.clone(),
            prefix: self.prefix.clone(),
        }
    }

    fn of_value(text: &str) -> Option<Self> {
        if let Some((kind, detail)) = text.split_once(':') {
            let value = known(&DETAILED, kind)?;
            return Some(Self {
                value: value.into(),
                detail: detail.to_owned(),
                ..Self::default()
            });
        }
        Some(Self {
            value: known(&VALUES, text)?.into(),
            ..Self::default()
        })
    }
}

fn known<T: Copy>(words: &[(&str, T)], word: &str) -> Option<T> {
    let mut words = words.iter();
    words.find_map(|(known, meant)| (*known == word).then_some(*meant))
}

fn word_of<T: Copy + Into<i32>>(words: &[(&'static str, T)], wire: i32) -> Option<&'static str> {
    let mut words = words.iter();
    words.find_map(|(word, meant)| ((*meant).into() == wire).then_some(*word))
}

impl FromStr for IdentityWord {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.split('|');
        let mut word = Self::of_value(parts.next().unwrap_or_default()).ok_or(FORM)?;
        for part in parts {
            // What stands before each value is written last, whatever comes behind it here would be of another meaning.
            if !word.prefix.is_empty() {
                return Err("must have prefix:TEXT at its end");
            }
            match part.strip_prefix(PREFIX) {
                Some(prefix) => word.prefix = prefix.to_owned(),
                None => word.changes.push(known(&CHANGES, part).ok_or(FORM)?.into()),
            }
        }
        Ok(word)
    }
}

impl TryFrom<String> for IdentityWord {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
    }
}

impl From<IdentityWord> for String {
    fn from(word: IdentityWord) -> Self {
        word.to_string()
    }
}

impl fmt::Display for IdentityWord {
    /// What a later version has says its number: nothing is passed over.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (word_of(&VALUES, self.value), word_of(&DETAILED, self.value)) {
            (Some(word), _) => f.write_str(word)?,
            (None, Some(word)) => write!(f, "{word}:{}", self.detail)?,
            (None, None) => write!(f, "{}", self.value)?,
        }
        for change in &self.changes {
            match word_of(&CHANGES, *change) {
                Some(word) => write!(f, "|{word}")?,
                None => write!(f, "|{change}")?,
            }
        }
        if self.prefix.is_empty() {
            return Ok(());
        }
        write!(f, "|{PREFIX}{}", self.prefix)
    }
}

impl IdentityFieldWord {
    pub(crate) fn meant(&self) -> admin::IdentityField {
        self.word.field(&self.name)
    }
}

impl FromStr for IdentityFieldWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, word) = text.split_once('=').ok_or("must be NAME=VALUE")?;
        Ok(Self {
            name: name.to_owned(),
            word: word.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_files_say_the_same() {
        let flags = [
            "x-by=text:through adit",
            "x-cert=certificate-subject",
            "x-cert-by=certificate-issuer",
            "x-cert-number=certificate-serial|upper",
            "x-cert-sha256=certificate-fingerprint",
            "x-groups=user-groups",
            "x-login=email|before-at|upper|prefix:CORP\\",
            "x-mail=email",
            "x-name=display-name",
            "x-unit=claim:http://schemas.example/unit|lower",
            "x-user=user",
        ];
        let fields: Vec<_> = flags
            .iter()
            .map(|flag| flag.parse::<IdentityFieldWord>().unwrap().meant())
            .collect();
        let read = identity_words(fields.clone());
        assert_eq!(identity_meant(&read), fields);
        assert_eq!(identity_line(&read), flags.join(", "));
        let file: String = flags
            .iter()
            .map(|flag| {
                let (name, value) = flag.split_once('=').unwrap();
                format!("{name} = '{value}'\n")
            })
            .collect();
        let file: IdentityWords = toml::from_str(&file).unwrap();
        assert_eq!(file, read);
        for bad in [
            "x-user",
            "x-user=uid",
            "x-user=certificate",
            "x-user=certificate-subject:x",
            "x-user=User",
            "x-user=user:x",
            "x-user=claim",
            "x-user=user|",
            "x-user=user|title",
            "x-user=user|prefix:a|lower",
        ] {
            assert!(bad.parse::<IdentityFieldWord>().is_err(), "{bad}");
        }
    }
}
