//! An identity provider: who else than the fabric itself says who users are, by OpenID Connect.
//!
//! A provider speaks for its own users only: see [`IdentityProvider::user_id`].

use std::time::Duration;

use crate::{
    host::Hostname,
    name::{IdError, IdentityProviderId, UserId},
    user::{UserGroup, UserGroupError},
};

mod algorithm;
mod url;

pub use algorithm::{SigningAlgorithm, SigningAlgorithmError};
pub use url::{ProviderUrl, ProviderUrlError};

/// Providers of one fabric.
pub const IDENTITY_PROVIDERS_MAX: usize = 32;
/// What stands for the fabric's own accounts where an app names its providers; no provider has this id.
pub const LOCAL: &str = "local";
/// Longest client id, credential apart, in bytes: providers make some of 20 to 100.
pub const CLIENT_ID_BYTES_MAX: usize = 256;
/// Scopes that are asked for.
pub const SCOPES_MAX: usize = 16;
/// Longest name of a scope or of a claim, in bytes: some are URLs.
pub const WORD_BYTES_MAX: usize = 256;
/// Groups that are kept of a provider, where the operator says which.
pub const KEPT_GROUPS_MAX: usize = 256;
/// Domains whose users are one provider's.
pub const USER_DOMAINS_MAX: usize = 64;
/// Classes of authentication that are asked for.
pub const CLASSES_MAX: usize = 8;
/// Longest time since a user last showed more than a session at the provider that can be asked for.
pub const MAX_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// How often a provider may be asked whether it still stands by a user: the shortest and the longest time between.
pub const REFRESH_EVERY: (Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(6 * 3_600));

/// One publication of a provider, without the credential that the fabric has there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityProvider {
    /// Its id.
    pub id: IdentityProviderId,
    /// What its button says; empty: the id.
    pub display_name: String,
    /// Its name for itself, byte by byte as in its tokens; without a query.
    pub issuer: ProviderUrl,
    /// The fabric's name there.
    pub client_id: String,
    /// How the fabric shows that it is that client.
    pub client_authentication: ClientAuthentication,
    /// The provider's name for the key of [`ClientAuthentication::PrivateKeyJwt`]; may be empty.
    pub key_id: String,
    /// The certificate of that key, in PEM, for providers that know it by that; may be empty.
    pub client_certificate_pem: String,
    /// What is asked for beside `openid`, at most [`SCOPES_MAX`].
    pub scopes: Vec<String>,
    /// How its tokens may be signed; at least one.
    pub algorithms: Vec<SigningAlgorithm>,
    /// Which of its claims say what.
    pub claims: ClaimNames,
    /// Domains whose users are this provider's, at most [`USER_DOMAINS_MAX`]: nobody else speaks for them.
    pub user_domains: Vec<Hostname>,
    /// Names of groups are taken as they are. Otherwise they are prefixed by the provider's id, so that they are no groups of others.
    pub plain_groups: bool,
    /// What is asked of the provider each time.
    pub asks: Asks,
    /// Where it answers, where that is not as its own description says.
    pub endpoints: Endpoints,
    /// Certificates that it is trusted by, in PEM; empty: the system's.
    pub ca_pem: String,
    /// It may have an address of a private network, or of the edge itself.
    pub private_network: bool,
    /// Who signs out at the fabric signs out at the provider too.
    pub sign_out: bool,
    /// How often it is asked whether it still stands by a user who has signed in, within [`REFRESH_EVERY`]; `None`: never.
    pub refresh_every: Option<Duration>,
    /// Nobody signs in by it.
    pub disabled: bool,
}

/// How the fabric shows a provider that it is its client (OpenID Connect Core, section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// By a secret in the `Authorization` field.
    SecretBasic,
    /// By a secret in the form.
    SecretPost,
    /// By a statement that a private key signs.
    PrivateKeyJwt,
    /// Not at all: PKCE alone ties the code to the edge.
    None,
}

/// Which claims say what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimNames {
    /// Who it is. Empty: `preferred_username`, else `email` if the provider has verified it.
    pub user: String,
    /// What people call them.
    pub display_name: String,
    /// Their e-mail.
    pub email: String,
    /// Groups that they are in.
    pub groups: String,
    /// What else is kept, at most [`CLAIMS_MAX`](crate::user::CLAIMS_MAX).
    pub kept: Vec<String>,
    /// Groups that are kept, by the provider's names, at most [`KEPT_GROUPS_MAX`]; empty: all.
    pub kept_groups: Vec<String>,
}

impl Default for ClaimNames {
    /// OpenID Connect Core, section 5.1; `groups` is no standard but usual.
    fn default() -> Self {
        Self {
            user: String::new(),
            display_name: "name".to_owned(),
            email: "email".to_owned(),
            groups: "groups".to_owned(),
            kept: Vec::new(),
            kept_groups: Vec::new(),
        }
    }
}

/// What is asked of a provider, beside who the user is (OpenID Connect Core, section 3.1.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asks {
    /// Classes of authentication, at most [`CLASSES_MAX`]; a sign-in of another class is refused. Empty: any.
    pub classes: Vec<String>,
    /// Whether the user has to do something there.
    pub prompt: Prompt,
    /// How long ago the user may have done so last, at most [`MAX_AGE_MAX`].
    pub max_age: Option<Duration>,
}

/// Whether the user has to do something at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prompt {
    /// As the provider finds it right.
    #[default]
    Unsaid,
    /// Sign in anew.
    Login,
    /// Choose an account.
    SelectAccount,
    /// Agree anew.
    Consent,
}

impl Prompt {
    /// As the request has it; `None`: it is not in there.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Unsaid => None,
            Self::Login => Some("login"),
            Self::SelectAccount => Some("select_account"),
            Self::Consent => Some("consent"),
        }
    }
}

/// Where a provider answers; what is `None` is as its description says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoints {
    /// Where users sign in.
    pub authorization: Option<ProviderUrl>,
    /// Where codes are traded.
    pub token: Option<ProviderUrl>,
    /// Where its keys are.
    pub keys: Option<ProviderUrl>,
    /// Where more is said of a user.
    pub user_info: Option<ProviderUrl>,
    /// Where users sign out.
    pub end_session: Option<ProviderUrl>,
    /// Where the groups of a user are listed who is in more than a token says; no description has it.
    pub groups: Option<ProviderUrl>,
}

/// Why a provider's name for a user is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserNameError {
    /// It is of a domain that is not among the provider's.
    #[error("{0} is not among the provider's user domains")]
    Domain(String),
    /// It is none that users may have.
    #[error("the name {0}")]
    Id(#[from] IdError),
}

impl IdentityProvider {
    /// What users know it by.
    pub fn name(&self) -> &str {
        match &*self.display_name {
            "" => self.id.as_str(),
            name => name,
        }
    }

    /// The user whom the provider calls `name`.
    ///
    /// A name with a domain is taken if the domain is the provider's; any other gets the provider's id for a domain. So no provider says
    /// that somebody is a user of another provider, or has an account of the fabric's own.
    ///
    /// # Errors
    /// The name is of another domain, or none that a user may have.
    pub fn user_id(&self, name: &str) -> Result<UserId, UserNameError> {
        // Of ASCII alone: other letters fold into it too, such as the sign for Kelvin into k, and ids have none of them.
        let name = name.to_ascii_lowercase();
        let whole = match name.rsplit_once('@') {
            Some((_, domain)) if self.user_domains.iter().any(|own| own.as_str() == domain) => name,
            Some((_, domain)) => return Err(UserNameError::Domain(domain.to_owned())),
            None => format!("{name}@{}", self.id),
        };
        Ok(whole.parse()?)
    }

    /// The group that the provider calls `name`: with the provider's id before it, unless the operator takes its groups as they are. A
    /// name that could be another provider's group gets the id all the same.
    ///
    /// # Errors
    /// The name is none that a group may have.
    pub fn user_group(&self, name: &str) -> Result<UserGroup, UserGroupError> {
        let group: UserGroup = name.parse()?;
        if self.plain_groups && !name.contains(':') {
            Ok(group)
        } else {
            format!("{}:{group}", self.id).parse()
        }
    }

    /// Whether the user is one whom this provider speaks for.
    pub fn owns(&self, user: &UserId) -> bool {
        domain_of(user).is_some_and(|domain| {
            domain == self.id.as_str() || self.user_domains.iter().any(|own| own.as_str() == domain)
        })
    }
}

/// What stands behind the last `@` in the id of a user.
pub fn domain_of(user: &UserId) -> Option<&str> {
    user.as_str().rsplit_once('@').map(|(_, domain)| domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(domains: &[&str]) -> IdentityProvider {
        IdentityProvider {
            id: "entra".parse().unwrap(),
            display_name: String::new(),
            issuer: "https://login.example.com/tenant".parse().unwrap(),
            client_id: "adit".to_owned(),
            client_authentication: ClientAuthentication::SecretBasic,
            key_id: String::new(),
            client_certificate_pem: String::new(),
            scopes: Vec::new(),
            algorithms: vec![SigningAlgorithm::Rs256],
            claims: ClaimNames::default(),
            user_domains: domains
                .iter()
                .map(|domain| domain.parse().unwrap())
                .collect(),
            plain_groups: false,
            asks: Asks::default(),
            endpoints: Endpoints::default(),
            ca_pem: String::new(),
            private_network: false,
            sign_out: false,
            refresh_every: None,
            disabled: false,
        }
    }

    #[test]
    fn a_provider_speaks_for_its_own_users_only() {
        let provider = provider(&["example.com", "corp.example.com"]);
        let check = |name: &str| provider.user_id(name).map(|id| id.to_string());
        let own = |id: &str| Ok(id.to_owned());
        let other = |domain: &str| Err(UserNameError::Domain(domain.to_owned()));
        for (name, want) in [
            ("alice", own("alice@entra")),
            ("Alice", own("alice@entra")),
            ("Alice@Example.com", own("alice@example.com")),
            ("alice@corp.example.com", own("alice@corp.example.com")),
            ("alice@evil.example", other("evil.example")),
            ("alice@sub.example.com", other("sub.example.com")),
            ("alice@notexample.com", other("notexample.com")),
            // Neither another provider's, nor its own in other words.
            ("alice@keycloak", other("keycloak")),
            ("alice@entra", other("entra")),
            ("alice@", other("")),
            (
                "alice@evil.example@example.com",
                own("alice@evil.example@example.com"),
            ),
            ("", Err(IdError::UserCharacter.into())),
            ("a b", Err(IdError::UserCharacter.into())),
            ("älice", Err(IdError::UserCharacter.into())),
            // The Kelvin sign is k in lower case, and nobody may become Karl by it.
            ("\u{212a}arl", Err(IdError::UserCharacter.into())),
        ] {
            assert_eq!(check(name), want, "{name:?}");
        }
    }

    #[test]
    fn it_owns_whom_it_speaks_for() {
        let provider = provider(&["example.com"]);
        for (user, want) in [
            ("alice@example.com", true),
            ("alice@entra", true),
            ("alice", false),
            ("entra", false),
            ("alice@sub.example.com", false),
            ("alice@keycloak", false),
        ] {
            assert_eq!(provider.owns(&user.parse().unwrap()), want, "{user}");
        }
    }

    #[test]
    fn its_groups_are_no_groups_of_others_unless_the_operator_says_so() {
        let mut provider = provider(&[]);
        let name = |provider: &IdentityProvider| provider.user_group("staff").unwrap().to_string();
        assert_eq!(name(&provider), "entra:staff");
        provider.plain_groups = true;
        assert_eq!(name(&provider), "staff");
        let others = provider.user_group("okta:admins").unwrap();
        assert_eq!(others.to_string(), "entra:okta:admins");
    }
}
