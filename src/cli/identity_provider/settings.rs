//! Flags that say what a provider is.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use model::identity_provider::{MAX_AGE_MAX, REFRESH_EVERY};
use proto::{
    admin::{Asks, ClaimNames, ClientAuthentication, IdentityProvider, Prompt, ProviderEndpoints},
    time::wire_duration,
};

use crate::cli::{failure::Failure, parse};

/// What a provider is; each flag replaces what it has of its kind.
#[derive(Debug, clap::Args)]
pub(super) struct Settings {
    /// What its button says; at most 120 characters.
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// The provider's name for itself, exactly as in its tokens.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The fabric's name there.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// How the fabric shows that it is that client.
    #[arg(long, value_enum, value_name = "HOW")]
    client_authentication: Option<ClientAuthenticationWord>,
    /// The provider's name for the private key.
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// PEM file with the certificate of the private key, for providers that know the key by it, such as Entra ID.
    #[arg(long, value_name = "FILE")]
    client_certificate: Option<PathBuf>,
    /// What is asked for beside openid (default: profile and email); may be repeated.
    #[arg(long = "scope", value_name = "NAME")]
    scopes: Vec<String>,
    /// How its tokens may be signed (default: RS256); may be repeated.
    #[arg(long = "algorithm", value_name = "NAME")]
    algorithms: Vec<String>,
    /// Claim that says who a user is (default: `preferred_username`, else a verified email).
    #[arg(long, value_name = "CLAIM")]
    user_claim: Option<String>,
    /// Claim with what people call them (default: name).
    #[arg(long, value_name = "CLAIM")]
    display_name_claim: Option<String>,
    /// Claim with their address of e-mail (default: email).
    #[arg(long, value_name = "CLAIM")]
    email_claim: Option<String>,
    /// Claim with the groups that they are in (default: groups).
    #[arg(long, value_name = "CLAIM")]
    groups_claim: Option<String>,
    /// Another claim that is kept; may be repeated.
    #[arg(long = "keep-claim", value_name = "CLAIM")]
    kept_claims: Vec<String>,
    /// Group that is kept, as the provider names it; others are left out (default: all are kept); may be repeated.
    #[arg(long = "keep-group", value_name = "NAME")]
    kept_groups: Vec<String>,
    /// Domain whose users are this provider's, such as example.com; may be repeated.
    #[arg(long = "user-domain", value_name = "DOMAIN")]
    user_domains: Vec<String>,
    /// Take its names of groups as they are; otherwise the provider's id and a colon come before each.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    plain_groups: Option<bool>,
    /// Class of authentication that is asked for (`acr_values`), and required; may be repeated.
    #[arg(long = "class", value_name = "ACR")]
    classes: Vec<String>,
    /// What the user has to do there each time.
    #[arg(long, value_enum)]
    prompt: Option<PromptWord>,
    /// How long ago the user may have signed in there, such as 1h.
    #[arg(long, value_name = "TIME", value_parser = max_age)]
    max_age: Option<Duration>,
    /// Where users sign in, if not as the provider says itself.
    #[arg(long, value_name = "URL")]
    authorization_endpoint: Option<String>,
    /// Where codes are traded.
    #[arg(long, value_name = "URL")]
    token_endpoint: Option<String>,
    /// Where its keys are.
    #[arg(long, value_name = "URL")]
    keys_endpoint: Option<String>,
    /// Where more is said of a user.
    #[arg(long, value_name = "URL")]
    user_info_endpoint: Option<String>,
    /// Where users sign out.
    #[arg(long, value_name = "URL")]
    end_session_endpoint: Option<String>,
    /// Where the groups of a user are listed who is in more than fit into a token.
    #[arg(long, value_name = "URL")]
    groups_endpoint: Option<String>,
    /// PEM file with the certificates to trust it by instead of the edges' system roots.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// It may have an address of a private network.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    private_network: Option<bool>,
    /// Who signs out here signs out there too.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    sign_out: Option<bool>,
    /// How often it is asked whether it still stands by a user who has signed in, such as 15m (1m to 6h); it has to give refresh tokens.
    #[arg(long, value_name = "TIME", value_parser = refresh_every)]
    refresh_every: Option<Duration>,
    /// Nobody signs in by it, and its sessions are over.
    #[arg(long)]
    disable: bool,
    /// Users sign in by it again.
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
}

/// How the fabric shows that it is the client.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ClientAuthenticationWord {
    /// A secret in the Authorization field (`client_secret_basic`).
    SecretBasic,
    /// A secret in the form (`client_secret_post`).
    SecretPost,
    /// A statement that a private key signs (`private_key_jwt`).
    PrivateKeyJwt,
    /// Not at all: PKCE alone.
    None,
}

/// What the user has to do at the provider.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum PromptWord {
    /// As the provider finds it right.
    Unsaid,
    /// Sign in anew.
    Login,
    /// Choose an account.
    SelectAccount,
    /// Agree anew.
    Consent,
}

/// Settings that can take their default again.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Clearable {
    /// What its button says.
    DisplayName,
    /// What is asked for.
    Scopes,
    /// How its tokens may be signed.
    Algorithms,
    /// Which claims say what.
    Claims,
    /// Domains whose users are the provider's.
    UserDomains,
    /// What is asked of it each time.
    Asks,
    /// Where it answers.
    Endpoints,
    /// What it is trusted by.
    Ca,
    /// The name of the private key.
    KeyId,
    /// The certificate of the private key.
    ClientCertificate,
    /// How often it is asked about users who have signed in.
    RefreshEvery,
}

impl Clearable {
    /// As in a field mask.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::DisplayName => "display_name",
            Self::Scopes => "scopes",
            Self::Algorithms => "algorithms",
            Self::Claims => "claims",
            Self::UserDomains => "user_domains",
            Self::Asks => "asks",
            Self::Endpoints => "endpoints",
            Self::Ca => "ca_pem",
            Self::KeyId => "key_id",
            Self::ClientCertificate => "client_certificate_pem",
            Self::RefreshEvery => "refresh_every",
        }
    }
}

fn max_age(text: &str) -> Result<Duration, String> {
    parse::duration_in(text, (Duration::from_secs(1), MAX_AGE_MAX))
}

fn refresh_every(text: &str) -> Result<Duration, String> {
    parse::duration_in(text, REFRESH_EVERY)
}

/// The paths that were written, as in a field mask.
#[derive(Default)]
struct Written(Vec<&'static str>);

impl Written {
    fn take<T: Clone>(&mut self, path: &'static str, said: Option<&T>, to: &mut T) {
        if let Some(said) = said {
            to.clone_from(said);
            self.0.push(path);
        }
    }

    fn all(&mut self, path: &'static str, said: &[String], to: &mut Vec<String>) {
        if !said.is_empty() {
            *to = said.to_vec();
            self.0.push(path);
        }
    }
}

impl Settings {
    /// Writes what was said into the provider, and tells which fields that were, as in a field mask.
    pub(super) fn write(
        &self,
        provider: &mut IdentityProvider,
    ) -> Result<Vec<&'static str>, Failure> {
        let mut written = Written::default();
        let own = &mut written;
        own.take(
            "display_name",
            self.display_name.as_ref(),
            &mut provider.display_name,
        );
        own.take("issuer", self.issuer.as_ref(), &mut provider.issuer);
        own.take(
            "client_id",
            self.client_id.as_ref(),
            &mut provider.client_id,
        );
        own.take("key_id", self.key_id.as_ref(), &mut provider.key_id);
        own.all("scopes", &self.scopes, &mut provider.scopes);
        own.all("algorithms", &self.algorithms, &mut provider.algorithms);
        own.all(
            "user_domains",
            &self.user_domains,
            &mut provider.user_domains,
        );
        own.take(
            "plain_groups",
            self.plain_groups.as_ref(),
            &mut provider.plain_groups,
        );
        own.take(
            "private_network",
            self.private_network.as_ref(),
            &mut provider.private_network,
        );
        own.take("sign_out", self.sign_out.as_ref(), &mut provider.sign_out);
        if let Some(how) = self.client_authentication {
            provider.client_authentication = how.wire().into();
            own.0.push("client_authentication");
        }
        if let Some(every) = self.refresh_every {
            provider.refresh_every = Some(wire_duration(every));
            own.0.push("refresh_every");
        }
        if self.disable || self.enable {
            provider.disabled = self.disable;
            own.0.push("disabled");
        }
        for (field, file, to) in [
            ("ca_pem", &self.ca, &mut provider.ca_pem),
            (
                "client_certificate_pem",
                &self.client_certificate,
                &mut provider.client_certificate_pem,
            ),
        ] {
            let Some(path) = file else { continue };
            let read = std::fs::read_to_string(path);
            *to = read.map_err(|source| Failure::Unreadable {
                path: path.clone(),
                source,
            })?;
            own.0.push(field);
        }
        self.write_claims(&mut provider.claims, own);
        self.write_asks(&mut provider.asks, own);
        self.write_endpoints(&mut provider.endpoints, own);
        Ok(written.0)
    }

    fn write_claims(&self, claims: &mut Option<ClaimNames>, written: &mut Written) {
        let (mut said, before) = (ClaimNames::default(), written.0.len());
        for (path, flag, to) in [
            ("claims.user", &self.user_claim, &mut said.user),
            (
                "claims.display_name",
                &self.display_name_claim,
                &mut said.display_name,
            ),
            ("claims.email", &self.email_claim, &mut said.email),
            ("claims.groups", &self.groups_claim, &mut said.groups),
        ] {
            written.take(path, flag.as_ref(), to);
        }
        written.all("claims.kept", &self.kept_claims, &mut said.kept);
        written.all(
            "claims.kept_groups",
            &self.kept_groups,
            &mut said.kept_groups,
        );
        *claims = (written.0.len() > before).then_some(said);
    }

    fn write_asks(&self, asks: &mut Option<Asks>, written: &mut Written) {
        let (mut said, before) = (Asks::default(), written.0.len());
        written.all("asks.classes", &self.classes, &mut said.classes);
        if let Some(prompt) = self.prompt {
            said.prompt = prompt.wire().into();
            written.0.push("asks.prompt");
        }
        if let Some(age) = self.max_age {
            said.max_age = Some(wire_duration(age));
            written.0.push("asks.max_age");
        }
        *asks = (written.0.len() > before).then_some(said);
    }

    fn write_endpoints(&self, endpoints: &mut Option<ProviderEndpoints>, written: &mut Written) {
        let (mut said, before) = (ProviderEndpoints::default(), written.0.len());
        for (path, flag, to) in [
            (
                "endpoints.authorization",
                &self.authorization_endpoint,
                &mut said.authorization,
            ),
            ("endpoints.token", &self.token_endpoint, &mut said.token),
            ("endpoints.keys", &self.keys_endpoint, &mut said.keys),
            (
                "endpoints.user_info",
                &self.user_info_endpoint,
                &mut said.user_info,
            ),
            (
                "endpoints.end_session",
                &self.end_session_endpoint,
                &mut said.end_session,
            ),
            ("endpoints.groups", &self.groups_endpoint, &mut said.groups),
        ] {
            written.take(path, flag.as_ref(), to);
        }
        *endpoints = (written.0.len() > before).then_some(said);
    }
}

impl ClientAuthenticationWord {
    pub(crate) fn wire(self) -> ClientAuthentication {
        match self {
            Self::SecretBasic => ClientAuthentication::SecretBasic,
            Self::SecretPost => ClientAuthentication::SecretPost,
            Self::PrivateKeyJwt => ClientAuthentication::PrivateKeyJwt,
            Self::None => ClientAuthentication::None,
        }
    }
}

impl PromptWord {
    pub(crate) fn wire(self) -> Prompt {
        match self {
            Self::Unsaid => Prompt::Unspecified,
            Self::Login => Prompt::Login,
            Self::SelectAccount => Prompt::SelectAccount,
            Self::Consent => Prompt::Consent,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    fn written(line: &[&str]) -> (Vec<&'static str>, IdentityProvider) {
        let line = std::iter::once("x").chain(line.iter().copied());
        let mut provider = IdentityProvider::default();
        let settings = Line::try_parse_from(line).unwrap().settings;
        (settings.write(&mut provider).unwrap(), provider)
    }

    #[test]
    fn each_flag_writes_its_field() {
        for (line, want) in [
            (&["--display-name", "x"][..], &["display_name"][..]),
            (&["--issuer", "x"], &["issuer"]),
            (&["--client-id", "x"], &["client_id"]),
            (
                &["--client-authentication", "private-key-jwt"],
                &["client_authentication"],
            ),
            (&["--key-id", "x"], &["key_id"]),
            (&["--scope", "x", "--scope", "y"], &["scopes"]),
            (&["--algorithm", "ES256"], &["algorithms"]),
            (
                &["--user-claim", "x", "--groups-claim", "y"],
                &["claims.user", "claims.groups"],
            ),
            (
                &["--display-name-claim", "x", "--email-claim", "y"],
                &["claims.display_name", "claims.email"],
            ),
            (&["--keep-claim", "x"], &["claims.kept"]),
            (&["--keep-group", "x"], &["claims.kept_groups"]),
            (&["--user-domain", "x"], &["user_domains"]),
            (&["--plain-groups"], &["plain_groups"]),
            (&["--class", "x"], &["asks.classes"]),
            (&["--prompt", "login"], &["asks.prompt"]),
            (&["--max-age", "1h"], &["asks.max_age"]),
            (
                &["--authorization-endpoint", "x"],
                &["endpoints.authorization"],
            ),
            (&["--token-endpoint", "x"], &["endpoints.token"]),
            (&["--keys-endpoint", "x"], &["endpoints.keys"]),
            (&["--user-info-endpoint", "x"], &["endpoints.user_info"]),
            (&["--end-session-endpoint", "x"], &["endpoints.end_session"]),
            (&["--groups-endpoint", "x"], &["endpoints.groups"]),
            (&["--private-network", "false"], &["private_network"]),
            (&["--sign-out"], &["sign_out"]),
            (&["--refresh-every", "15m"], &["refresh_every"]),
            (&["--disable"], &["disabled"]),
            (&["--enable"], &["disabled"]),
            (&[], &[]),
        ] {
            let (paths, provider) = written(line);
            assert_eq!(paths, want, "{line:?}");
            let is_said = provider != IdentityProvider::default();
            let says_no = line.contains(&"false") || line.contains(&"--enable");
            assert_eq!(is_said, !line.is_empty() && !says_no, "{line:?}");
        }
    }
}
