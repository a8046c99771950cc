//! Reads identity providers as operators write them. Edges read what they are told in the same way.

use std::{collections::HashSet, time::Duration};

use model::{
    app::CA_PEM_BYTES_MAX,
    identity_provider::{
        Asks, CLASSES_MAX, CLIENT_ID_BYTES_MAX, ClaimNames, ClientAuthentication, Endpoints,
        IdentityProvider, KEPT_GROUPS_MAX, LOCAL, MAX_AGE_MAX, Prompt, ProviderUrl, REFRESH_EVERY,
        SCOPES_MAX, SigningAlgorithm, USER_DOMAINS_MAX, WORD_BYTES_MAX,
    },
    name::IdentityProviderId,
    user::{CLAIMS_MAX, UserGroup},
};

use crate::{
    admin,
    violation::{Unit, Violation, Violations},
};

#[cfg(test)]
mod tests;

/// Longest credential: an RSA key of 8,192 bits in PEM has 6.5 KiB.
const CREDENTIAL_BYTES_MAX: usize = 16 * 1024;
/// Longest certificate of the client: one of an RSA key of 8,192 bits has 4 KiB.
const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
/// What is asked for unless the operator says otherwise.
const SCOPES: [&str; 2] = ["profile", "email"];

/// Reads a provider that shall have the id `id`; on failure says everything that is wrong with it.
///
/// The name, etag and times are not looked at.
pub fn read(id: &str, wire: &admin::IdentityProvider) -> Result<IdentityProvider, Vec<Violation>> {
    let mut found = Violations::default();
    let id: Option<IdentityProviderId> = found.parse("identity_provider_id", id);
    if id.as_ref().is_some_and(|id| id.as_str() == LOCAL) {
        let what = format_args!("must not be {LOCAL}, which is the fabric's own accounts");
        found.add("identity_provider_id", what);
    }
    found.display_name("identity_provider.display_name", &wire.display_name);
    let issuer = read_issuer(&wire.issuer, &mut found);
    check_client(wire, &mut found);
    let scopes = words("scopes", &wire.scopes, SCOPES_MAX, &mut found);
    let algorithms = read_algorithms(&wire.algorithms, &mut found);
    let claims = read_claims(wire.claims.as_ref(), &mut found);
    let user_domains = read_domains(&wire.user_domains, &mut found);
    let asks = read_asks(wire.asks.as_ref(), &mut found);
    let endpoints = read_endpoints(wire.endpoints.as_ref(), &mut found);
    if wire.ca_pem.len() > CA_PEM_BYTES_MAX {
        let most = format_args!("must not be longer than {CA_PEM_BYTES_MAX} bytes");
        found.add("identity_provider.ca_pem", most);
    }
    let refresh_every = wire.refresh_every.as_ref().and_then(|every| {
        let field = "identity_provider.refresh_every";
        found.span(field, every, REFRESH_EVERY, Unit::Seconds)
    });
    let (Some(id), Some(issuer), true) = (id, issuer, found.is_empty()) else {
        return Err(found.into_vec());
    };
    Ok(IdentityProvider {
        id,
        display_name: wire.display_name.clone(),
        issuer,
        client_id: wire.client_id.clone(),
        client_authentication: client_authentication(wire),
        key_id: wire.key_id.clone(),
        client_certificate_pem: wire.client_certificate_pem.clone(),
        scopes: if scopes.is_empty() {
            SCOPES.map(str::to_owned).into()
        } else {
            scopes
        },
        algorithms,
        claims,
        user_domains,
        plain_groups: wire.plain_groups,
        asks,
        endpoints,
        ca_pem: wire.ca_pem.clone(),
        private_network: wire.private_network,
        sign_out: wire.sign_out,
        refresh_every,
        disabled: wire.disabled,
    })
}

/// What is wrong with a credential, in words that follow its name; whether it opens anything, only the provider can tell.
pub fn credential_fault(how: ClientAuthentication, credential: &str) -> Option<String> {
    if credential.len() > CREDENTIAL_BYTES_MAX {
        return Some(format!(
            "must not be longer than {CREDENTIAL_BYTES_MAX} bytes"
        ));
    }
    let what = match how {
        ClientAuthentication::None if !credential.is_empty() => {
            "must be empty: the client has none"
        }
        ClientAuthentication::None => return None,
        _ if credential.is_empty() => "must be given",
        ClientAuthentication::PrivateKeyJwt
            if !credential.contains("-----BEGIN PRIVATE KEY-----") =>
        {
            "must be a private key in PEM (PKCS#8: -----BEGIN PRIVATE KEY-----)"
        }
        ClientAuthentication::PrivateKeyJwt => return None,
        ClientAuthentication::SecretBasic | ClientAuthentication::SecretPost => {
            if !credential.contains(char::is_control) {
                return None;
            }
            "must not have control characters"
        }
    };
    Some(what.to_owned())
}

/// How the client shows that it is that.
pub fn client_authentication(wire: &admin::IdentityProvider) -> ClientAuthentication {
    match wire.client_authentication() {
        admin::ClientAuthentication::Unspecified | admin::ClientAuthentication::SecretBasic => {
            ClientAuthentication::SecretBasic
        }
        admin::ClientAuthentication::SecretPost => ClientAuthentication::SecretPost,
        admin::ClientAuthentication::PrivateKeyJwt => ClientAuthentication::PrivateKeyJwt,
        admin::ClientAuthentication::None => ClientAuthentication::None,
    }
}

fn read_issuer(text: &str, found: &mut Violations) -> Option<ProviderUrl> {
    const FIELD: &str = "identity_provider.issuer";
    let issuer: ProviderUrl = found.parse(FIELD, text)?;
    if issuer.has_query() || issuer.description().is_err() {
        found.add(
            FIELD,
            "must have no query, and be short enough for its description to be found below it",
        );
        return None;
    }
    Some(issuer)
}

fn check_client(wire: &admin::IdentityProvider, found: &mut Violations) {
    const ID: &str = "identity_provider.client_id";
    if wire.client_id.is_empty() {
        found.add(ID, "must be given");
    } else if let Some(fault) = word_fault(&wire.client_id, CLIENT_ID_BYTES_MAX) {
        found.add(ID, fault);
    }
    if admin::ClientAuthentication::try_from(wire.client_authentication).is_err() {
        found.add("identity_provider.client_authentication", "is not known");
    }
    const KEY: &str = "identity_provider.key_id";
    if let Some(fault) = word_fault(&wire.key_id, WORD_BYTES_MAX) {
        found.add(KEY, fault);
    }
    const CERTIFICATE: &str = "identity_provider.client_certificate_pem";
    let certificate = &wire.client_certificate_pem;
    if client_authentication(wire) != ClientAuthentication::PrivateKeyJwt {
        for (field, value) in [(KEY, &wire.key_id), (CERTIFICATE, certificate)] {
            if !value.is_empty() {
                found.add(field, "must be empty unless the client has a private key");
            }
        }
    } else if certificate.len() > CERTIFICATE_BYTES_MAX {
        let most = format_args!("must not be longer than {CERTIFICATE_BYTES_MAX} bytes");
        found.add(CERTIFICATE, most);
    } else if !certificate.is_empty() && !certificate.contains("-----BEGIN CERTIFICATE-----") {
        found.add(CERTIFICATE, "must be a certificate in PEM");
    }
}

fn read_algorithms(wire: &[String], found: &mut Violations) -> Vec<SigningAlgorithm> {
    if wire.is_empty() {
        // What every provider must have (OpenID Connect Discovery, section 3).
        return vec![SigningAlgorithm::Rs256];
    }
    let (most, field) = (SigningAlgorithm::ALL.len(), "identity_provider.algorithms");
    let several = found.at_most(most, field, "algorithms", wire);
    several
        .filter_map(|(field, text)| found.parse(&field, text))
        .collect()
}

fn read_claims(wire: Option<&admin::ClaimNames>, found: &mut Violations) -> ClaimNames {
    let Some(wire) = wire else {
        return ClaimNames::default();
    };
    let known = ClaimNames::default();
    let mut name = |field: &str, text: &String, otherwise: String| {
        if let Some(fault) = word_fault(text, WORD_BYTES_MAX) {
            found.add(&format!("identity_provider.claims.{field}"), fault);
        }
        if text.is_empty() {
            otherwise
        } else {
            text.clone()
        }
    };
    ClaimNames {
        user: name("user", &wire.user, known.user),
        display_name: name("display_name", &wire.display_name, known.display_name),
        email: name("email", &wire.email, known.email),
        groups: name("groups", &wire.groups, known.groups),
        kept: words("claims.kept", &wire.kept, CLAIMS_MAX, found),
        kept_groups: read_kept_groups(&wire.kept_groups, found),
    }
}

/// Names of groups, which may have any characters that a group's may.
fn read_kept_groups(wire: &[String], found: &mut Violations) -> Vec<String> {
    let field = "identity_provider.claims.kept_groups";
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for (field, name) in found.at_most(KEPT_GROUPS_MAX, field, "groups", wire) {
        if let Err(error) = name.parse::<UserGroup>() {
            found.add(&field, error);
        } else if seen.insert(name) {
            kept.push(name.clone());
        } else {
            found.add(&field, "must not be there twice");
        }
    }
    kept
}

fn read_domains(wire: &[String], found: &mut Violations) -> Vec<model::host::Hostname> {
    let field = "identity_provider.user_domains";
    let mut seen = HashSet::new();
    let mut domains = Vec::new();
    for (field, text) in found.at_most(USER_DOMAINS_MAX, field, "domains", wire) {
        let Some(domain): Option<model::host::Hostname> = found.parse(&field, text) else {
            continue;
        };
        if !domain.as_str().contains('.') {
            // It could be the id of a provider.
            found.add(&field, "must have a dot in it");
        } else if !seen.insert(domain.clone()) {
            found.add(&field, format_args!("repeats {domain}"));
        } else {
            domains.push(domain);
        }
    }
    domains
}

fn read_asks(wire: Option<&admin::Asks>, found: &mut Violations) -> Asks {
    let Some(wire) = wire else {
        return Asks::default();
    };
    let range = (Duration::from_secs(1), MAX_AGE_MAX);
    let field = "identity_provider.asks.max_age";
    let max_age = wire.max_age.as_ref();
    if admin::Prompt::try_from(wire.prompt).is_err() {
        found.add("identity_provider.asks.prompt", "is not known");
    }
    Asks {
        classes: words("asks.classes", &wire.classes, CLASSES_MAX, found),
        prompt: match wire.prompt() {
            admin::Prompt::Unspecified => Prompt::Unsaid,
            admin::Prompt::Login => Prompt::Login,
            admin::Prompt::SelectAccount => Prompt::SelectAccount,
            admin::Prompt::Consent => Prompt::Consent,
        },
        max_age: max_age.and_then(|wire| found.span(field, wire, range, Unit::Seconds)),
    }
}

fn read_endpoints(wire: Option<&admin::ProviderEndpoints>, found: &mut Violations) -> Endpoints {
    let Some(wire) = wire else {
        return Endpoints::default();
    };
    let mut url = |field: &str, text: &String| {
        if text.is_empty() {
            return None;
        }
        found.parse(&format!("identity_provider.endpoints.{field}"), text)
    };
    Endpoints {
        authorization: url("authorization", &wire.authorization),
        token: url("token", &wire.token),
        keys: url("keys", &wire.keys),
        user_info: url("user_info", &wire.user_info),
        end_session: url("end_session", &wire.end_session),
        groups: url("groups", &wire.groups),
    }
}

/// Words that stand in lists with spaces between.
fn words(field: &str, wire: &[String], most: usize, found: &mut Violations) -> Vec<String> {
    let field = format!("identity_provider.{field}");
    let mut seen = HashSet::new();
    for (field, word) in found.at_most(most, &field, "words", wire) {
        if word.is_empty() {
            found.add(&field, "must not be empty");
        } else if let Some(fault) = word_fault(word, WORD_BYTES_MAX) {
            found.add(&field, fault);
        } else if !seen.insert(word) {
            found.add(&field, "must not be there twice");
        }
    }
    wire.iter().take(most).cloned().collect()
}

/// What RFC 6749 takes in scopes, and more than anybody has in names of claims.
fn word_fault(word: &str, bytes_max: usize) -> Option<String> {
    if word.len() > bytes_max {
        return Some(format!("must not be longer than {bytes_max} bytes"));
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
    let fits = word.bytes().all(plain);
    (!fits).then(|| "must have visible ASCII characters only, without \" and \\".to_owned())
}
