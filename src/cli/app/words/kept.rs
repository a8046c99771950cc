//! How agents sign users on to an app by credentials that are kept for them.

use std::{collections::BTreeMap, fmt};

use proto::admin;
use serde::{Deserialize, Serialize};

use super::is_default;

/// Single sign-on by an app's own form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FormWords {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) shared: bool,
    pub(crate) page: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) action: String,
    pub(crate) user_field: String,
    pub(crate) password_field: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) fields: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) success_statuses: Vec<u32>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) success_redirect: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) success_cookie: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) success_text: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) failure_text: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) expired_statuses: Vec<u32>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) expired_redirect: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) user_cookies: Vec<String>,
}

/// Single sign-on by Basic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BasicWords {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) shared: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) charset: CharsetWord,
}

/// How letters beyond ASCII are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CharsetWord {
    /// As today's servers read it.
    #[default]
    Utf8,
    /// As older ones do: ISO 8859-1.
    Latin1,
}

fn whose(shared: bool) -> &'static str {
    if shared {
        "one credential for all"
    } else {
        "each user's own credential"
    }
}

impl FormWords {
    pub(super) fn meant(&self) -> admin::FormSignOn {
        let fields = self.fields.iter();
        let fields = fields.map(|(name, value)| admin::FormSignOnField {
            name: name.clone(),
            value: value.clone(),
        });
        admin::FormSignOn {
            shared_credential: self.shared,
            page: self.page.clone(),
            action: self.action.clone(),
            user_field: self.user_field.clone(),
            password_field: self.password_field.clone(),
            fields: fields.collect(),
            success_statuses: self.success_statuses.clone(),
            success_redirect: self.success_redirect.clone(),
            success_cookie: self.success_cookie.clone(),
            success_text: self.success_text.clone(),
            failure_text: self.failure_text.clone(),
            expired_statuses: self.expired_statuses.clone(),
            expired_redirect: self.expired_redirect.clone(),
            user_cookies: self.user_cookies.clone(),
        }
    }
}

impl fmt::Display for FormWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "form: {}, {}", self.page, whose(self.shared))
    }
}

impl From<admin::FormSignOn> for FormWords {
    fn from(wire: admin::FormSignOn) -> Self {
        let fields = wire.fields.into_iter();
        Self {
            shared: wire.shared_credential,
            page: wire.page,
            action: wire.action,
            user_field: wire.user_field,
            password_field: wire.password_field,
            fields: fields.map(|field| (field.name, field.value)).collect(),
            success_statuses: wire.success_statuses,
            success_redirect: wire.success_redirect,
            success_cookie: wire.success_cookie,
            success_text: wire.success_text,
            failure_text: wire.failure_text,
            expired_statuses: wire.expired_statuses,
            expired_redirect: wire.expired_redirect,
            user_cookies: wire.user_cookies,
        }
    }
}

impl BasicWords {
    pub(super) fn meant(&self) -> admin::BasicSignOn {
        let charset = match self.charset {
            CharsetWord::Utf8 => admin::Charset::Unspecified,
            CharsetWord::Latin1 => admin::Charset::Latin1,
        };
        admin::BasicSignOn {
            shared_credential: self.shared,
            charset: charset.into(),
        }
    }
}

impl fmt::Display for BasicWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let charset = match self.charset {
            CharsetWord::Utf8 => "",
            CharsetWord::Latin1 => ", latin1",
        };
        write!(f, "basic: {}{charset}", whose(self.shared))
    }
}

impl From<admin::BasicSignOn> for BasicWords {
    fn from(wire: admin::BasicSignOn) -> Self {
        Self {
            charset: match wire.charset() {
                admin::Charset::Unspecified | admin::Charset::Utf8 => CharsetWord::Utf8,
                admin::Charset::Latin1 => CharsetWord::Latin1,
            },
            shared: wire.shared_credential,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_say_what_control_keeps() {
        let least = "page = \"/login\"\nuser_field = \"u\"\npassword_field = \"p\"";
        let all = format!(
            "{least}\nshared = true\naction = \"/go\"\nfields = {{ a = \"1\", b = \"\" }}\nsuccess_statuses = [302]\nsuccess_redirect = \"/home\"\nsuccess_cookie = \"sid\"\nsuccess_text = \"Log out\"\nfailure_text = \"Wrong\"\nexpired_statuses = [401]\nexpired_redirect = \"/out\"\nuser_cookies = [\"csrf\"]"
        );
        for (file, line) in [
            (least, "form: /login, each user's own credential"),
            (&*all, "form: /login, one credential for all"),
        ] {
            let words: FormWords = toml::from_str(file).unwrap();
            assert_eq!(words.to_string(), line, "{file}");
            assert_eq!(FormWords::from(words.meant()), words, "{file}");
        }
        for (file, line) in [
            ("", "basic: each user's own credential"),
            (
                "shared = true\ncharset = \"latin1\"",
                "basic: one credential for all, latin1",
            ),
        ] {
            let words: BasicWords = toml::from_str(file).unwrap();
            assert_eq!(words.to_string(), line, "{file}");
            assert_eq!(BasicWords::from(words.meant()), words, "{file}");
        }
        assert!(toml::from_str::<FormWords>("password = \"x\"").is_err());
    }
}
