//! How agents sign users on to an app that has its own idea of who they are: single sign-on.

mod form;

use std::{fmt, str::FromStr};

use crate::{
    host::{HostError, HostPattern, Hostname},
    identity_provider::LOCAL,
    name::IdentityProviderId,
};

pub use form::{
    BasicSso, Charset, CredentialOf, Expired, FORM_FIELDS_MAX, FORM_PATH_BYTES_MAX,
    FORM_STATUSES_MAX, FORM_TEXT_BYTES_MAX, FormSso, Success, USER_COOKIES_MAX,
};

/// The claim that names the user, unless an app says otherwise: a user principal name, as directories of Microsoft write it.
pub const UPN_CLAIM: &str = "upn";
/// Bytes of a value that names a user to an app, at most; a longer one is as good as none.
pub const SSO_NAME_BYTES_MAX: usize = 256;
/// Bytes of the class of a service in its principal's name: `HTTP` and the like.
const CLASS_BYTES_MAX: usize = 32;
/// Bytes of a realm: domains of DNS in capitals, as a rule.
const REALM_BYTES_MAX: usize = 255;

/// What an agent does so that the app knows the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sso {
    /// It gets a ticket for the user (S4U2Self and S4U2Proxy, MS-SFU), and shows that.
    Kerberos(KerberosSso),
    /// It fills in the app's own form, by a credential that is kept.
    Form(FormSso),
    /// It shows a credential that is kept by the Basic scheme.
    Basic(BasicSso),
}

impl Sso {
    /// What edges must know of it.
    pub fn edge(&self) -> EdgeSso {
        match self {
            Self::Kerberos(kerberos) => EdgeSso {
                identity: kerberos.identity.clone(),
                require_id_token: kerberos.require_id_token,
                credential: None,
            },
            Self::Form(FormSso { credential, .. }) | Self::Basic(BasicSso { credential, .. }) => {
                EdgeSso {
                    // Whose credential it is follows from who the user is.
                    identity: SsoIdentity::User,
                    require_id_token: false,
                    credential: Some(*credential),
                }
            }
        }
    }
}

/// What edges know of an app's single sign-on: what they state of the user with each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeSso {
    /// Which value names the user.
    pub identity: SsoIdentity,
    /// The user's ID token goes along.
    pub require_id_token: bool,
    /// Whose credential the app is used with, if with any.
    pub credential: Option<CredentialOf>,
}

/// Single sign-on by constrained delegation of Kerberos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KerberosSso {
    /// Name of the app's service.
    pub spn: SpnPattern,
    /// Which value names the user.
    pub identity: SsoIdentity,
    /// Whose users it names, [`LOCAL`] being the fabric's own accounts; `None`: those of each provider that the app takes.
    pub provider: Option<IdentityProviderId>,
    /// What kind of a name that is.
    pub name_form: NameForm,
    /// What tickets are wrapped in.
    pub framing: Framing,
    /// With which requests a ticket goes.
    pub send: SendWhen,
    /// Answers by which the app does not show that it has the service's key are refused.
    pub require_mutual: bool,
    /// Nobody is signed on whose ID token is not shown, of [`provider`](Self::provider) and with the name in it.
    pub require_id_token: bool,
}

impl KerberosSso {
    /// For this service, with every other setting at its default.
    pub fn new(spn: SpnPattern) -> Self {
        Self {
            spn,
            identity: SsoIdentity::default(),
            provider: None,
            name_form: NameForm::Upn,
            framing: Framing::Spnego,
            send: SendWhen::Always,
            require_mutual: false,
            require_id_token: false,
        }
    }

    /// Whether users of this provider may be signed on, `None` being the fabric itself.
    pub fn names_users_of(&self, provider: Option<&IdentityProviderId>) -> bool {
        let provider = provider.map_or(LOCAL, IdentityProviderId::as_str);
        let mut named = self.provider.iter();
        named.all(|named| named.as_str() == provider)
    }

    /// Whose ID token must be shown and which claim of it names the user, if one must. One that names nobody's lets nobody in.
    pub fn id_token(&self) -> Option<(Option<&IdentityProviderId>, Option<&str>)> {
        let claim = match &self.identity {
            SsoIdentity::Claim(name) => Some(name.as_str()),
            SsoIdentity::User | SsoIdentity::Email => None,
        };
        self.require_id_token
            .then_some((self.provider.as_ref(), claim))
    }

    /// Whether users of two providers may have one name. Ids in the fabric are each of one user, what else is said of users is what their
    /// provider says.
    pub fn names_may_clash(&self) -> bool {
        match (&self.identity, self.name_form) {
            (SsoIdentity::Claim(_) | SsoIdentity::Email, _) | (_, NameForm::LocalPart) => true,
            (SsoIdentity::User, NameForm::Upn | NameForm::Account) => false,
        }
    }
}

/// Which value names the user to the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SsoIdentity {
    /// What the identity provider says under this name.
    Claim(String),
    /// Id in the fabric: what users of its own accounts type to sign in.
    User,
    /// Address of e-mail. At some providers users may choose theirs.
    Email,
}

impl Default for SsoIdentity {
    fn default() -> Self {
        Self::Claim(UPN_CLAIM.to_owned())
    }
}

/// What kind of a name a value is to a realm of Kerberos.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NameForm {
    /// A user principal name (an enterprise name; RFC 6806, section 5): the KDC finds its account.
    #[default]
    Upn,
    /// The name of an account in the agent's own realm.
    Account,
    /// The same, of which only what stands before the `@` is used.
    LocalPart,
}

/// What a ticket is wrapped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Framing {
    /// SPNEGO (RFC 4178), as browsers do.
    #[default]
    Spnego,
    /// Nothing but the mechanism's own (RFC 4121, section 4.1).
    Kerberos,
}

/// With which requests a ticket goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SendWhen {
    /// With each, unasked: the body of a request cannot be sent twice.
    #[default]
    Always,
    /// With those that the app has refused without one: for apps that keep a session of their own.
    OnChallenge,
}

/// Name of a service, such as `HTTP/app.corp.example` or `HTTP/app.corp.example@CORP.EXAMPLE`; with `*` for the first label of the
/// origin that is asked.
///
/// ```
/// use model::app::SpnPattern;
///
/// let pattern: SpnPattern = "HTTP/*.corp.example".parse()?;
/// assert_eq!(pattern.target(&"wiki.corp.example".parse()?).as_deref(), Some("HTTP/wiki.corp.example"));
/// assert_eq!(pattern.target(&"wiki.other.example".parse()?), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SpnPattern {
    class: String,
    host: HostPattern,
    realm: Option<String>,
}

/// Why a text is no name of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpnError {
    /// It has no `/`, or more than one.
    #[error("must be SERVICE/host or SERVICE/host@REALM, such as HTTP/app.corp.example")]
    Form,
    /// What stands before the `/`.
    #[error("must begin with a class of service of letters, digits and -, such as HTTP")]
    Class,
    /// What stands behind it.
    #[error("must have a host that {0}")]
    Host(#[source] HostError),
    /// What stands behind the `@`.
    #[error("must have a realm of letters, digits, . and -, such as CORP.EXAMPLE")]
    Realm,
}

impl SpnPattern {
    /// The name for an origin of this name; `None`: the pattern does not hold for it.
    pub fn target(&self, origin: &Hostname) -> Option<String> {
        match &self.host {
            HostPattern::Exact(name) => Some(self.written(name)),
            HostPattern::Wildcard(_) => self.host.matches(origin).then(|| self.written(origin)),
        }
    }

    /// The one name that it stands for, if it has no `*`.
    pub fn fixed(&self) -> Option<String> {
        match &self.host {
            HostPattern::Exact(name) => Some(self.written(name)),
            HostPattern::Wildcard(_) => None,
        }
    }

    fn written(&self, host: impl fmt::Display) -> String {
        match &self.realm {
            Some(realm) => format!("{}/{host}@{realm}", self.class),
            None => format!("{}/{host}", self.class),
        }
    }
}

impl FromStr for SpnPattern {
    type Err = SpnError;

    /// Hosts are folded to lower case; services and realms stand as they are written, as KDCs may tell them apart.
    fn from_str(text: &str) -> Result<Self, SpnError> {
        let (class, rest) = text.split_once('/').ok_or(SpnError::Form)?;
        let (host, realm) = match rest.split_once('@') {
            Some((host, realm)) => (host, Some(realm)),
            None => (rest, None),
        };
        if host.contains('/') {
            return Err(SpnError::Form);
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_class = class.bytes().all(plain) && class.starts_with(char_is_letter);
        if !is_class || class.len() > CLASS_BYTES_MAX {
            return Err(SpnError::Class);
        }
        let is_realm = |realm: &str| {
            let fits = (1..=REALM_BYTES_MAX).contains(&realm.len());
            fits && realm.bytes().all(|byte| plain(byte) || byte == b'.')
        };
        if realm.is_some_and(|realm| !is_realm(realm)) {
            return Err(SpnError::Realm);
        }
        Ok(Self {
            class: class.to_owned(),
            host: host.parse().map_err(SpnError::Host)?,
            realm: realm.map(str::to_owned),
        })
    }
}

fn char_is_letter(char: char) -> bool {
    char.is_ascii_alphabetic()
}

impl fmt::Display for SpnPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written(&self.host))
    }
}

impl fmt::Debug for SpnPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_services_are_read_and_written_alike() {
        for (text, want) in [
            ("HTTP/app.lab.test", "HTTP/app.lab.test"),
            ("HTTP/App.Lab.Test@LAB.TEST", "HTTP/app.lab.test@LAB.TEST"),
            ("http/intranet", "http/intranet"),
            ("HTTP/*.lab.test@LAB.TEST", "HTTP/*.lab.test@LAB.TEST"),
        ] {
            let read: SpnPattern = text.parse().expect("a good name");
            assert_eq!(read.to_string(), want);
            assert_eq!(read.to_string().parse(), Ok(read));
        }
    }

    #[test]
    fn what_is_no_name_of_a_service_is_refused() {
        let long = format!("{}/app", "A".repeat(CLASS_BYTES_MAX + 1));
        for (text, want) in [
            ("", SpnError::Form),
            ("app.lab.test", SpnError::Form),
            ("HTTP/app/lab", SpnError::Form),
            ("/app.lab.test", SpnError::Class),
            ("1HTTP/app", SpnError::Class),
            ("HT TP/app", SpnError::Class),
            (long.as_str(), SpnError::Class),
            ("HTTP/", SpnError::Host(HostError::Empty)),
            ("HTTP/app:8080", SpnError::Host(HostError::NotBare)),
            ("HTTP/10.0.0.5", SpnError::Host(HostError::IpAddress)),
            ("HTTP/a b", SpnError::Host(HostError::Label)),
            ("HTTP/app\0", SpnError::Host(HostError::Label)),
            ("HTTP/*", SpnError::Host(HostError::Wildcard)),
            ("HTTP/app@", SpnError::Realm),
            ("HTTP/app@LAB@TEST", SpnError::Realm),
            ("HTTP/app@LAB/TEST", SpnError::Realm),
            ("HTTP/app@LAB\\@TEST", SpnError::Realm),
        ] {
            assert_eq!(text.parse::<SpnPattern>(), Err(want), "{text:?}");
        }
    }

    #[test]
    fn a_wildcard_takes_its_label_from_origins_of_its_domain_alone() {
        let pattern: SpnPattern = "HTTP/*.lab.test@LAB.TEST".parse().expect("a good name");
        assert_eq!(pattern.fixed(), None);
        for (origin, want) in [
            ("app.lab.test", Some("HTTP/app.lab.test@LAB.TEST")),
            ("a.app.lab.test", None),
            ("lab.test", None),
            ("app.evil.test", None),
            ("app", None),
        ] {
            let origin = origin.parse().expect("a good name");
            assert_eq!(pattern.target(&origin).as_deref(), want, "{origin}");
        }
        let fixed: SpnPattern = "HTTP/app.lab.test".parse().expect("a good name");
        let elsewhere = "10-0-0-5.example".parse().expect("a good name");
        assert_eq!(fixed.target(&elsewhere), fixed.fixed());
    }
}
