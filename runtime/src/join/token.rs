//! Join tokens as a node reads them: the claims without their signature, which only control can check.

use std::{
    env, fs, io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use model::{host::Hostname, name::GroupId};
use serde::{Deserialize, Serialize};

use crate::{node::Role, secret::Secret, tls::CaPin};

/// Longest token that is read; real ones have some hundred bytes.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;

/// What a join token says. Control signs this, nodes read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinClaims {
    /// Domain of the fabric.
    pub iss: String,
    /// Id of the token.
    pub jti: String,
    /// What the node will be.
    pub role: Role,
    /// Group that an agent joins; none for edges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Id of the one node that it enrols; none: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// End of the token, in seconds since the Unix epoch.
    pub exp: u64,
    /// Where control is, each "host:port".
    pub control: Vec<String>,
    /// SHA-256 of the CA certificate's DER, in hexadecimal.
    pub ca_sha256: String,
}

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read join token file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The environment variable is not there.
    #[error("environment variable {name} with the join token is not set")]
    Variable {
        /// Its name.
        name: String,
    },
    /// Not a token of this kind: cut off, or something else altogether.
    #[error("not a join token; was it copied whole?")]
    Malformed,
    /// A claim that no node can use.
    #[error("the join token's {claim} is not valid")]
    Claim {
        /// Which one.
        claim: &'static str,
    },
}

/// Where a token comes from.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// Given as it is. Others may see it in the process list.
    Literal(Secret<String>),
    /// In a file.
    File(PathBuf),
    /// In an environment variable of this name.
    Variable(String),
}

impl TokenSource {
    /// The file or the variable, to be written down; neither for a token that was given as it is.
    #[must_use]
    pub fn reference(&self) -> (Option<PathBuf>, Option<String>) {
        match self {
            Self::Literal(_) => (None, None),
            Self::File(path) => (Some(path.clone()), None),
            Self::Variable(name) => (None, Some(name.clone())),
        }
    }

    /// Reads the token.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn read(&self) -> Result<JoinToken, TokenError> {
        match self {
            Self::Literal(text) => JoinToken::parse(text.expose()),
            Self::File(path) => {
                let text = read_file(path).map_err(|source| TokenError::File {
                    path: path.clone(),
                    source,
                })?;
                JoinToken::parse(&text)
            }
            Self::Variable(name) => {
                let text =
                    env::var(name).map_err(|_| TokenError::Variable { name: name.clone() })?;
                JoinToken::parse(&text)
            }
        }
    }
}

fn read_file(path: &PathBuf) -> io::Result<String> {
    if fs::metadata(path)?.len() > TOKEN_BYTES_MAX {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    fs::read_to_string(path)
}

/// A token with its claims read. `Debug` does not show the token.
#[derive(Clone, Debug)]
pub struct JoinToken {
    text: Secret<String>,
    domain: Hostname,
    role: Role,
    group: Option<GroupId>,
    node: Option<String>,
    expires_at: SystemTime,
    control: Vec<String>,
    pin: CaPin,
}

impl JoinToken {
    /// Reads a token's claims; blanks around it are ignored. Its signature is control's to check.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let claims: JoinClaims = jsonwebtoken::dangerous::insecure_decode_claims(text)
            .map_err(|_| TokenError::Malformed)?;
        let invalid = |claim| TokenError::Claim { claim };
        if claims.control.is_empty() || !claims.control.iter().all(|a| has_port(a)) {
            return Err(invalid("control"));
        }
        if claims.role == Role::Control {
            return Err(invalid("role"));
        }
        let group = claims
            .group
            .map(|group| group.parse().map_err(|_| invalid("group")))
            .transpose()?;
        if claims.role == Role::Agent && group.is_none() {
            return Err(invalid("group"));
        }
        Ok(Self {
            domain: claims.iss.parse().map_err(|_| invalid("iss"))?,
            role: claims.role,
            group,
            node: claims.node,
            expires_at: SystemTime::UNIX_EPOCH
                .checked_add(Duration::from_secs(claims.exp))
                .ok_or_else(|| invalid("exp"))?,
            control: claims.control,
            pin: claims.ca_sha256.parse().map_err(|_| invalid("ca_sha256"))?,
            text: Secret::new(text.to_owned()),
        })
    }

    /// The token itself, for control.
    #[must_use]
    pub fn text(&self) -> &Secret<String> {
        &self.text
    }

    /// Domain of the fabric.
    #[must_use]
    pub fn domain(&self) -> &Hostname {
        &self.domain
    }

    /// What the node will be: an agent or an edge.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Group that an agent joins.
    #[must_use]
    pub fn group(&self) -> Option<&GroupId> {
        self.group.as_ref()
    }

    /// Id of the one node that it enrols, in the place of what has the id now; none: any.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// End of the token.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    /// Where control is; at least one address.
    #[must_use]
    pub fn control(&self) -> &[String] {
        &self.control
    }

    /// What control's CA looks like.
    #[must_use]
    pub fn pin(&self) -> CaPin {
        self.pin
    }
}

fn has_port(address: &str) -> bool {
    address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

#[cfg(test)]
pub(crate) mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};

    use super::*;

    pub(crate) fn claims() -> JoinClaims {
        JoinClaims {
            iss: "example.com".to_owned(),
            jti: "t1".to_owned(),
            role: Role::Agent,
            group: Some("office".to_owned()),
            node: None,
            exp: 4_000_000_000,
            control: vec!["127.0.0.1:7443".to_owned()],
            ca_sha256: "ab".repeat(32),
        }
    }

    pub(crate) fn signed(claims: &JoinClaims) -> String {
        encode(&Header::default(), claims, &EncodingKey::from_secret(b"x")).unwrap()
    }

    #[test]
    fn token_is_read_from_text_and_file() {
        let text = format!(" {}\n", signed(&claims()));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, &text).unwrap();
        for source in [
            TokenSource::Literal(Secret::new(text)),
            TokenSource::File(path),
        ] {
            let token = source.read().unwrap();
            assert_eq!(token.domain().as_str(), "example.com");
            assert_eq!(token.role(), Role::Agent);
            assert_eq!(token.group().unwrap().as_str(), "office");
            assert_eq!(token.control(), ["127.0.0.1:7443"]);
            assert_eq!(token.pin().to_string(), "ab".repeat(32));
            assert!(!format!("{token:?}").contains("eyJ"));
        }
    }

    #[test]
    fn missing_sources_are_named() {
        let file = TokenSource::File("/nonexistent/token".into()).read();
        assert!(file.unwrap_err().to_string().contains("/nonexistent/token"));
        let variable = TokenSource::Variable("ADIT_TEST_NOT_SET".to_owned()).read();
        assert!(
            variable
                .unwrap_err()
                .to_string()
                .contains("ADIT_TEST_NOT_SET")
        );
    }

    #[test]
    fn unusable_claims_are_named() {
        let check = |claim: &str, spoil: fn(&mut JoinClaims)| {
            let mut claims = claims();
            spoil(&mut claims);
            let error = JoinToken::parse(&signed(&claims)).unwrap_err();
            assert!(
                matches!(error, TokenError::Claim { claim: named } if named == claim),
                "{error}"
            );
        };
        check("iss", |claims| claims.iss = "a b".to_owned());
        check("role", |claims| claims.role = Role::Control);
        check("group", |claims| claims.group = None);
        check("group", |claims| claims.group = Some("-".to_owned()));
        check("control", |claims| claims.control.clear());
        check("control", |claims| {
            claims.control = vec!["host".to_owned()];
        });
        check("ca_sha256", |claims| claims.ca_sha256.truncate(10));
        check("exp", |claims| claims.exp = u64::MAX);
    }

    #[test]
    fn anything_else_is_no_token() {
        for text in ["", "x", "a.b.c", "eyJhbGciOiJIUzI1NiJ9.e30."] {
            let error = JoinToken::parse(text).unwrap_err();
            assert!(matches!(error, TokenError::Malformed), "{text}");
        }
    }
}
