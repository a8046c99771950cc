//! How agents sign users on to an app.

use std::{fmt, str::FromStr};

use model::name::IdentityProviderId;
use proto::{admin, admin::single_sign_on::Kind};
use serde::{Deserialize, Serialize};

use super::{BasicWords, FormWords, is_default};

/// As written in files: a table for each kind, of which an app has one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SsoWords {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kerberos: Option<KerberosWords>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) form: Option<FormWords>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) basic: Option<BasicWords>,
}

/// Single sign-on by Kerberos.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct KerberosWords {
    pub(crate) spn: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) identity: SsoIdentityWord,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) identity_provider: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) name_form: NameFormWord,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) framing: FramingWord,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) on_challenge: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) require_mutual: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) require_id_token: bool,
}

/// Which value names the user: `claim:upn`, `user`, `email`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum SsoIdentityWord {
    Claim(String),
    User,
    Email,
}

/// What kind of a name that is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NameFormWord {
    /// A user principal name, such as alice@corp.example.
    #[default]
    Upn,
    /// The name of an account in the agents' realm.
    Account,
    /// The same, of which only what stands before the @ is used.
    LocalPart,
}

/// What tickets are wrapped in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FramingWord {
    /// As browsers do.
    #[default]
    Spnego,
    /// In nothing but what Kerberos itself has.
    Kerberos,
}

impl Default for SsoIdentityWord {
    fn default() -> Self {
        Self::Claim(model::app::UPN_CLAIM.to_owned())
    }
}

impl FromStr for SsoIdentityWord {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match (text, text.strip_prefix("claim:")) {
            ("user", _) => Ok(Self::User),
            ("email", _) => Ok(Self::Email),
            (_, Some(name)) if !name.is_empty() => Ok(Self::Claim(name.to_owned())),
            (_, _) => Err("must be claim:NAME, user or email"),
        }
    }
}

impl fmt::Display for SsoIdentityWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(name) => write!(f, "claim:{name}"),
            Self::User => f.write_str("user"),
            Self::Email => f.write_str("email"),
        }
    }
}

impl TryFrom<String> for SsoIdentityWord {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
    }
}

impl From<SsoIdentityWord> for String {
    fn from(word: SsoIdentityWord) -> Self {
        word.to_string()
    }
}

impl NameFormWord {
    fn wire(self) -> admin::KerberosNameForm {
        match self {
            Self::Upn => admin::KerberosNameForm::Unspecified,
            Self::Account => admin::KerberosNameForm::Account,
            Self::LocalPart => admin::KerberosNameForm::LocalPart,
        }
    }
}

impl FramingWord {
    fn wire(self) -> admin::KerberosFraming {
        match self {
            Self::Spnego => admin::KerberosFraming::Unspecified,
            Self::Kerberos => admin::KerberosFraming::Kerberos,
        }
    }
}

impl SsoWords {
    /// As control has it; a table of no kind is told to control, which refuses it.
    pub(crate) fn meant(&self) -> admin::SingleSignOn {
        let kerberos = self.kerberos.as_ref();
        let kerberos = kerberos.map(|words| Kind::Kerberos(words.meant()));
        let form = self.form.as_ref().map(|words| Kind::Form(words.meant()));
        let basic = self.basic.as_ref().map(|words| Kind::Basic(words.meant()));
        admin::SingleSignOn {
            kind: kerberos.or(form).or(basic),
        }
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        match (&self.kerberos, &self.form, &self.basic) {
            (Some(words), _, _) => words.line(),
            (_, Some(words), _) => words.to_string(),
            (_, _, Some(words)) => words.to_string(),
            (None, None, None) => String::new(),
        }
    }
}

impl KerberosWords {
    fn meant(&self) -> admin::KerberosSignOn {
        let (identity, claim) = match &self.identity {
            SsoIdentityWord::Claim(name) if name == model::app::UPN_CLAIM => {
                (admin::SignOnIdentity::Unspecified, String::new())
            }
            SsoIdentityWord::Claim(name) => (admin::SignOnIdentity::Unspecified, name.clone()),
            SsoIdentityWord::User => (admin::SignOnIdentity::User, String::new()),
            SsoIdentityWord::Email => (admin::SignOnIdentity::Email, String::new()),
        };
        let sending = if self.on_challenge {
            admin::KerberosSending::OnChallenge
        } else {
            admin::KerberosSending::Unspecified
        };
        admin::KerberosSignOn {
            spn: self.spn.clone(),
            identity: identity.into(),
            claim,
            identity_provider: match self.identity_provider.as_str() {
                "" => String::new(),
                id => format!("{}{id}", IdentityProviderId::COLLECTION),
            },
            name_form: self.name_form.wire().into(),
            framing: self.framing.wire().into(),
            sending: sending.into(),
            require_mutual: self.require_mutual,
            require_id_token: self.require_id_token,
        }
    }

    fn line(&self) -> String {
        let form = match self.name_form {
            NameFormWord::Upn => "",
            NameFormWord::Account => " as account",
            NameFormWord::LocalPart => " before @ as account",
        };
        let provider = match self.identity_provider.as_str() {
            "" => String::new(),
            id => format!(" of {id}"),
        };
        let framing = match self.framing {
            FramingWord::Spnego => "",
            FramingWord::Kerberos => ", without SPNEGO",
        };
        let on_challenge = if self.on_challenge {
            ", on challenge"
        } else {
            ""
        };
        let mutual = if self.require_mutual { ", mutual" } else { "" };
        let id_token = if self.require_id_token {
            ", by ID token"
        } else {
            ""
        };
        let (spn, identity) = (&self.spn, &self.identity);
        format!(
            "kerberos: {spn}, {identity}{provider}{form}{framing}{on_challenge}{mutual}{id_token}"
        )
    }
}

impl From<admin::SingleSignOn> for SsoWords {
    fn from(wire: admin::SingleSignOn) -> Self {
        let mut words = Self::default();
        match wire.kind {
            None => {}
            Some(Kind::Kerberos(wire)) => words.kerberos = Some(wire.into()),
            Some(Kind::Form(wire)) => words.form = Some(wire.into()),
            Some(Kind::Basic(wire)) => words.basic = Some(wire.into()),
        }
        words
    }
}

impl From<admin::KerberosSignOn> for KerberosWords {
    fn from(wire: admin::KerberosSignOn) -> Self {
        use admin::{KerberosFraming, KerberosNameForm, KerberosSending, SignOnIdentity};
        let provider = wire.identity_provider.as_str();
        Self {
            identity_provider: provider
                .strip_prefix(IdentityProviderId::COLLECTION)
                .unwrap_or(provider)
                .to_owned(),
            identity: match wire.identity() {
                SignOnIdentity::User => SsoIdentityWord::User,
                SignOnIdentity::Email => SsoIdentityWord::Email,
                SignOnIdentity::Unspecified | SignOnIdentity::Claim if wire.claim.is_empty() => {
                    SsoIdentityWord::default()
                }
                SignOnIdentity::Unspecified | SignOnIdentity::Claim => {
                    SsoIdentityWord::Claim(wire.claim.clone())
                }
            },
            name_form: match wire.name_form() {
                KerberosNameForm::Unspecified | KerberosNameForm::Upn => NameFormWord::Upn,
                KerberosNameForm::Account => NameFormWord::Account,
                KerberosNameForm::LocalPart => NameFormWord::LocalPart,
            },
            framing: match wire.framing() {
                KerberosFraming::Unspecified | KerberosFraming::Spnego => FramingWord::Spnego,
                KerberosFraming::Kerberos => FramingWord::Kerberos,
            },
            on_challenge: match wire.sending() {
                KerberosSending::Unspecified | KerberosSending::Always => false,
                KerberosSending::OnChallenge => true,
            },
            require_mutual: wire.require_mutual,
            require_id_token: wire.require_id_token,
            spn: wire.spn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_say_what_control_keeps() {
        for (file, line) in [
            (
                "spn = \"HTTP/app.lab.test\"",
                "kerberos: HTTP/app.lab.test, claim:upn",
            ),
            (
                "spn = \"HTTP/*.lab.test@LAB.TEST\"\nidentity = \"user\"\nname_form = \"account\"\nframing = \"kerberos\"",
                "kerberos: HTTP/*.lab.test@LAB.TEST, user as account, without SPNEGO",
            ),
            (
                "spn = \"HTTP/app\"\nidentity = \"claim:sam\"\nname_form = \"local-part\"\non_challenge = true\nrequire_mutual = true",
                "kerberos: HTTP/app, claim:sam before @ as account, on challenge, mutual",
            ),
            (
                "spn = \"HTTP/app\"\nidentity_provider = \"entra\"\nrequire_id_token = true",
                "kerberos: HTTP/app, claim:upn of entra, by ID token",
            ),
            (
                "spn = \"HTTP/app\"\nidentity = \"email\"\nidentity_provider = \"entra\"",
                "kerberos: HTTP/app, email of entra",
            ),
        ] {
            let words = SsoWords {
                kerberos: Some(toml::from_str(file).unwrap()),
                ..SsoWords::default()
            };
            assert_eq!(words.line(), line, "{file}");
            assert_eq!(SsoWords::from(words.meant()), words, "{file}");
        }
        for bad in [
            "identity = \"upn\"",
            "identity = \"claim:\"",
            "name_form = \"UPN\"",
            "realm = \"X\"",
        ] {
            assert!(toml::from_str::<KerberosWords>(bad).is_err(), "{bad}");
        }
    }
}
