//! Who calls the admin API: the bearer of a valid API token.

use std::net::SocketAddr;

use proto::admin::OperatorRole;
use tonic::{Request, codegen::http, transport::server::TcpConnectInfo};

use super::refusal::Refusal;
use crate::tokens::{self, AuthenticateError};

use super::AdminContext;

/// Address that a call came from. The listener puts it into the extensions of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// The bearer of a valid API token, with a role that suffices for the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operator {
    /// `apiTokens/{id}`.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) role: OperatorRole,
    /// Address the call came from; empty where that is not known.
    pub(crate) peer: String,
}

/// Longest bearer token that is looked at; ours have 48 characters.
const TOKEN_BYTES_MAX: usize = 512;

impl Operator {
    /// Whom the door let in. Without the door nobody is.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Refusal> {
        let operator = request.extensions().get::<Self>().cloned();
        operator.ok_or(Refusal::Unauthenticated(
            "the call has not been authenticated",
        ))
    }

    /// Finds the bearer of the token in a request's head.
    pub(crate) async fn authenticate(
        context: &AdminContext,
        headers: &http::HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Result<Self, Refusal> {
        let token = bearer(headers)?;
        let found = tokens::authenticate_api(&*context.store, &context.clock, token).await;
        match found {
            Ok(found) => Ok(Self {
                name: found.name,
                role: found.role,
                peer: peer.map(|peer| peer.to_string()).unwrap_or_default(),
            }),
            Err(AuthenticateError::Unknown) => {
                Err(Refusal::Unauthenticated("the API token is not known"))
            }
            Err(AuthenticateError::Expired) => {
                Err(Refusal::Unauthenticated("the API token has expired"))
            }
            Err(AuthenticateError::Store(error)) => Err(error.into()),
        }
    }
}

/// Address of a request's connection, if the listener says.
pub(crate) fn peer_address(extensions: &http::Extensions) -> Option<SocketAddr> {
    let ours = extensions.get::<PeerAddress>().map(|peer| peer.0);
    ours.or_else(|| extensions.get::<TcpConnectInfo>()?.remote_addr())
}

/// The token of `authorization: Bearer <token>`; the scheme's case does not matter (RFC 9110, section 11.1).
fn bearer(headers: &http::HeaderMap) -> Result<&str, Refusal> {
    let header = headers
        .get(http::header::AUTHORIZATION)
        .ok_or(Refusal::Unauthenticated(
            "the call carries no API token: send \"authorization: Bearer <token>\"",
        ))?;
    let token = header.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    token
        .filter(|token| !token.is_empty() && token.len() <= TOKEN_BYTES_MAX)
        .ok_or(Refusal::Unauthenticated(
            "the authorization is not of the form \"Bearer <token>\"",
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_tokens_are_read() {
        let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1));
        for (header, want) in [
            ("Bearer adit_x", Some("adit_x")),
            ("bearer adit_x", Some("adit_x")),
            ("Bearer  adit_x ", Some("adit_x")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic adit_x", None),
            ("adit_x", None),
            (long.as_str(), None),
        ] {
            let mut headers = http::HeaderMap::new();
            headers.insert(http::header::AUTHORIZATION, header.parse().unwrap());
            assert_eq!(bearer(&headers).ok(), want, "{header:?}");
        }
    }
}
