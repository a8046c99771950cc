//! What a provider says of itself (OpenID Connect Discovery; RFC 8414).

use std::time::Duration;

use model::{
    app::Scheme,
    identity_provider::{Endpoints, IdentityProvider, ProviderUrl},
};
use serde::Deserialize;

use crate::{
    fetch::{Answer, FetchError, Fetcher},
    kept,
};

/// Where a provider answers, looked at.
#[derive(Clone, Debug)]
pub struct Description {
    /// Where users sign in.
    pub authorization: ProviderUrl,
    /// Where codes are traded.
    pub token: ProviderUrl,
    /// Where its keys are.
    pub keys: ProviderUrl,
    /// Where more is said of a user.
    pub user_info: Option<ProviderUrl>,
    /// Where users sign out.
    pub end_session: Option<ProviderUrl>,
    /// It says who it is when it sends users back (RFC 9207), so that an answer without is none of it.
    pub names_itself: bool,
}

/// Why a description cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// It was not got.
    #[error("fetching {0}")]
    Fetch(String, #[source] FetchError),
    /// It is somebody else's.
    #[error("its description is of another issuer, {0:?}")]
    Issuer(String),
    /// It leads where it must not.
    #[error("its {endpoint} {what}")]
    Endpoint {
        /// Which.
        endpoint: &'static str,
        /// What it must be.
        what: String,
    },
}

/// As it is written; unknown fields are passed over.
#[derive(Debug, Deserialize)]
struct Raw {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    jwks_uri: Option<String>,
    userinfo_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// Asks the provider, unless its publication says all that there is to know.
pub(crate) async fn fetch(
    published: &IdentityProvider,
    fetcher: &Fetcher,
) -> Result<(Description, Duration), DescriptionError> {
    if let Some(said) = said(published) {
        return Ok((said, Duration::MAX));
    }
    let url = published.issuer.description();
    let url = url.map_err(|what| refuse("issuer", what))?;
    let failed = |error| DescriptionError::Fetch(url.to_string(), error);
    let answer = fetcher.document(&url).await;
    let answer = answer.and_then(Answer::granted);
    let answer = answer.map_err(failed)?;
    let raw = serde_json::from_slice(&answer.body);
    let raw = raw.map_err(|error| failed(FetchError::Json(error)))?;
    let read = read(published, raw)?;
    Ok((read, kept::fresh_for(&answer.fields)))
}

/// The description that follows from the publication alone.
fn said(published: &IdentityProvider) -> Option<Description> {
    let Endpoints {
        authorization,
        token,
        keys,
        user_info,
        end_session,
        groups: _,
    } = &published.endpoints;
    Some(Description {
        authorization: authorization.clone()?,
        token: token.clone()?,
        keys: keys.clone()?,
        user_info: user_info.clone(),
        end_session: end_session.clone(),
        names_itself: false,
    })
}

fn read(published: &IdentityProvider, raw: Raw) -> Result<Description, DescriptionError> {
    // Byte by byte: Discovery, section 4.3.
    if raw.issuer != published.issuer.as_str() {
        return Err(DescriptionError::Issuer(raw.issuer));
    }
    let known = &published.endpoints;
    let endpoint = |name, known: &Option<ProviderUrl>, text: Option<String>| match known {
        Some(url) => Ok(Some(url.clone())),
        None => text.map(|text| place(published, name, &text)).transpose(),
    };
    let needed = |name, url: Option<ProviderUrl>| url.ok_or_else(|| refuse(name, "is missing"));
    let authorization = endpoint(
        "authorization_endpoint",
        &known.authorization,
        raw.authorization_endpoint,
    )?;
    let token = endpoint("token_endpoint", &known.token, raw.token_endpoint)?;
    let keys = endpoint("jwks_uri", &known.keys, raw.jwks_uri)?;
    Ok(Description {
        authorization: needed("authorization_endpoint", authorization)?,
        token: needed("token_endpoint", token)?,
        keys: needed("jwks_uri", keys)?,
        user_info: endpoint("userinfo_endpoint", &known.user_info, raw.userinfo_endpoint)?,
        end_session: endpoint(
            "end_session_endpoint",
            &known.end_session,
            raw.end_session_endpoint,
        )?,
        names_itself: raw.authorization_response_iss_parameter_supported,
    })
}

/// An endpoint that the provider names. One inside stays where its issuer is, as nothing else would keep it from any place inside.
fn place(
    published: &IdentityProvider,
    name: &'static str,
    text: &str,
) -> Result<ProviderUrl, DescriptionError> {
    let url: ProviderUrl = text.parse().map_err(|what| refuse(name, what))?;
    let issuer = published.issuer.origin();
    if url.origin().scheme == Scheme::Http && issuer.scheme == Scheme::Https {
        return Err(refuse(name, "must start with https:// as the issuer does"));
    }
    if published.private_network && url.origin().host != issuer.host {
        let what =
            "is at another host than the issuer: publish it among the endpoints if it is right";
        return Err(refuse(name, what));
    }
    Ok(url)
}

fn refuse(endpoint: &'static str, what: impl std::fmt::Display) -> DescriptionError {
    DescriptionError::Endpoint {
        endpoint,
        what: what.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::tests::provider;

    fn raw(issuer: &str, elsewhere: &str) -> Raw {
        Raw {
            issuer: issuer.to_owned(),
            authorization_endpoint: Some(format!("{issuer}/auth")),
            token_endpoint: Some(format!("{issuer}/token")),
            jwks_uri: Some(format!("{elsewhere}/keys")),
            userinfo_endpoint: None,
            end_session_endpoint: None,
            authorization_response_iss_parameter_supported: true,
        }
    }

    const ISSUER: &str = "https://login.example.com/tenant";

    fn check(private_network: bool, raw: Raw) -> Result<Description, String> {
        let mut published = provider(ISSUER);
        published.private_network = private_network;
        read(&published, raw).map_err(|error| error.to_string())
    }

    #[test]
    fn a_description_is_taken_as_it_is_and_no_other_issuers() {
        let read = check(false, raw(ISSUER, "https://keys.example.com")).unwrap();
        assert_eq!(read.keys.as_str(), "https://keys.example.com/keys");
        assert!(read.names_itself);
        for other in [
            "https://evil.example",
            "https://login.example.com/tenant/",
            "https://LOGIN.example.com/tenant",
        ] {
            assert!(check(false, raw(other, other)).is_err(), "{other}");
        }
    }

    #[test]
    fn a_provider_inside_leads_to_no_other_place_inside() {
        let error = check(true, raw(ISSUER, "https://vault.internal")).unwrap_err();
        assert!(
            error.starts_with("its jwks_uri is at another host"),
            "{error}"
        );
        assert!(check(true, raw(ISSUER, ISSUER)).is_ok());
        for elsewhere in ["http://127.0.0.1:2379", "http://10.0.0.1", "file:///etc"] {
            assert!(check(false, raw(ISSUER, elsewhere)).is_err(), "{elsewhere}");
        }
    }

    #[test]
    fn what_is_published_counts_more() {
        let mut published = provider(ISSUER);
        published.private_network = true;
        published.endpoints.keys = Some("https://keys.internal/".parse().unwrap());
        let read = read(&published, raw(ISSUER, "https://elsewhere.internal")).unwrap();
        assert_eq!(read.keys.as_str(), "https://keys.internal/");
    }
}
