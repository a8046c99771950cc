//! What an edge states of the user with a request, and whether that holds (RFC 7519; RFC 8725 on what goes wrong with that).
//!
//! Whoever can tell an agent a name can be anyone at the app that it signs users on to. So the name comes in a statement for this one
//! request, signed by a key that control makes and tells agents the public half of. It counts once, for its app, in this agent's group, for a
//! minute. Fields that users write are never looked at.

mod seen;

use std::{fmt, time::SystemTime};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{
        AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters, Jwk,
        ThumbprintHash,
    },
};
use model::{
    app::SSO_NAME_BYTES_MAX,
    host::Hostname,
    name::{AppId, EdgeId, IdentityProviderId, UserId},
};
use proto::fabric;
use serde::Deserialize;
use tokio::time::Instant;

pub(crate) use seen::Seen;
use seen::Shown;

/// Longest statement: all that it says is bounded, and this is twice that.
const STATEMENT_BYTES_MAX: usize = 4_096;
/// Keys that an agent knows at a time; control publishes two or three.
const KEYS_MAX: usize = 8;
/// How long a statement may be good for, in seconds.
const LIFE_MAX_S: i64 = 60;
/// How far the edge's clock may be from the agent's, in seconds.
const LEEWAY_S: i64 = 30;
/// What tells it from an assertion, which is signed by the same keys.
const KIND: &str = "adit-statement+jwt";
/// A point of the curve P-256, uncompressed (SEC 1, section 2.3.3): a byte that says so, and the two numbers.
const POINT_BYTES: usize = 65;

/// Who a request is from, as its edge states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Who.
    pub user: UserId,
    /// Whose user; `None`: one of the fabric's own accounts.
    pub provider: Option<IdentityProviderId>,
    /// What names the user to the app; `None`: nothing does.
    pub name: Option<String>,
    /// Which edge says so.
    pub edge: EdgeId,
}

/// Why a statement is not taken.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// There is none.
    #[error("the edge states nothing of the user")]
    Missing,
    /// It is longer than any statement is.
    #[error("it is longer than {STATEMENT_BYTES_MAX} bytes")]
    TooLong,
    /// It cannot be read.
    #[error("reading it")]
    Malformed(#[source] jsonwebtoken::errors::Error),
    /// It is signed in another way than statements are, asks for something that must be understood, or is something else.
    #[error("it is no statement that is signed by ES256")]
    Kind,
    /// The agent knows no such key: control has published none, or no longer does.
    #[error("it is signed by a key that control does not publish")]
    UnknownKey,
    /// Its signature is not that key's, or what it says is not what statements say.
    #[error("checking its signature and claims")]
    Signature(#[source] jsonwebtoken::errors::Error),
    /// It is of another fabric, or for another app, group or request.
    #[error("it is of another {0}")]
    Foreign(&'static str),
    /// Its time is over.
    #[error("it ended {0} s ago; are the clocks right?")]
    Expired(i64),
    /// Its time is to come.
    #[error("it begins only in {0} s; are the clocks right?")]
    Early(i64),
    /// It holds for longer than statements do.
    #[error("it holds for longer than {LIFE_MAX_S} s")]
    Lasting,
    /// It names the user by more than is ever asked of a KDC or an app.
    #[error("it has a name that is empty or longer than {SSO_NAME_BYTES_MAX} bytes")]
    Name,
    /// It was taken before.
    #[error("it was shown before")]
    Replayed,
    /// The agent has forgotten what was shown when it was stated, as clocks were set back since, or has not been there yet.
    #[error(
        "it is as old as what was forgotten, or than the agent itself; if the agent's clock was set back, the agent is to be restarted"
    )]
    Forgotten,
    /// So many came within moments that no more can be told from those shown before.
    #[error("too many came within two minutes")]
    Crowded,
}

/// What a statement must be for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The app that the request is for.
    pub app: &'a AppId,
    /// 32 hex digits.
    pub request_id: &'a str,
    /// How often the edge has tried it before.
    pub attempt: u32,
    /// The edge that the link is of, as its certificate has proven.
    pub edge: &'a EdgeId,
}

/// By what statements are checked: the public halves of the fabric's keys, and what it and the agent's group are called.
#[derive(Default)]
pub struct StatementKeys {
    issuer: String,
    group: String,
    keys: Vec<Key>,
}

struct Key {
    /// Its thumbprint (RFC 7638).
    name: String,
    key: DecodingKey,
}

impl fmt::Debug for StatementKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.keys.iter().map(|key| &key.name);
        f.debug_struct("StatementKeys")
            .field("issuer", &self.issuer)
            .field("group", &self.group)
            .field("keys", &names.collect::<Vec<_>>())
            .finish()
    }
}

/// What a statement says. What later versions add is passed over.
#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    jti: String,
    att: u32,
    grp: String,
    iat: i64,
    exp: i64,
    sub: String,
    idp: Option<String>,
    edge: String,
    name: Option<String>,
}

impl StatementKeys {
    /// Those of the fabric with this domain. A key that is none of the curve checks nothing, and is left out.
    #[must_use]
    pub fn new(domain: &Hostname, wire: &fabric::StatementKeys) -> Self {
        let read = wire.keys.iter().take(KEYS_MAX);
        Self {
            issuer: Hostname::sign_in(domain)
                .map(|host| format!("https://{host}"))
                .unwrap_or_default(),
            group: wire.group.clone(),
            keys: read.filter_map(|key| Key::read(&key.public_key)).collect(),
        }
    }

    /// Whether a statement is signed by one of them, as far as it says by itself; one that cannot be read is.
    pub(crate) fn know(&self, token: &[u8]) -> bool {
        match jsonwebtoken::decode_header(token) {
            Ok(head) => self.find(head.kid.as_deref()).is_some(),
            Err(_) => true,
        }
    }

    /// What a statement says, if it holds for what is asked. It counts once: who asks again is refused.
    ///
    /// # Errors
    /// Every [`StatementError`].
    pub(crate) fn check(
        &self,
        token: &[u8],
        asked: &Asked<'_>,
        seen: &Seen,
        (wall, now): (SystemTime, Instant),
    ) -> Result<Statement, StatementError> {
        let claims = self.prove(token)?;
        self.check_scope(&claims, asked)?;
        check_time(&claims, seconds(wall))?;
        let shown = Shown {
            request_id: asked.request_id,
            attempt: asked.attempt,
            stated: claims.iat,
        };
        let statement = claims.read()?;
        seen.take(shown, now)?;
        Ok(statement)
    }

    fn find(&self, name: Option<&str>) -> Option<&Key> {
        let name = name?;
        self.keys.iter().find(|key| key.name == name)
    }

    /// What it says, once its signature is found to be right. Keys and ways to sign that it brings itself are not looked at.
    fn prove(&self, token: &[u8]) -> Result<Claims, StatementError> {
        if token.is_empty() {
            return Err(StatementError::Missing);
        }
        if token.len() > STATEMENT_BYTES_MAX {
            return Err(StatementError::TooLong);
        }
        let head = jsonwebtoken::decode_header(token).map_err(StatementError::Malformed)?;
        let is_statement = head.alg == Algorithm::ES256
            && head.typ.as_deref() == Some(KIND)
            && head.crit.is_none();
        if !is_statement {
            return Err(StatementError::Kind);
        }
        let key = self.find(head.kid.as_deref());
        let key = key.ok_or(StatementError::UnknownKey)?;
        let mut validation = Validation::new(Algorithm::ES256);
        // Looked at by the process's own clock, and exactly.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let proven = jsonwebtoken::decode(token, &key.key, &validation);
        proven
            .map(|proven| proven.claims)
            .map_err(StatementError::Signature)
    }

    fn check_scope(&self, claims: &Claims, asked: &Asked<'_>) -> Result<(), StatementError> {
        let fits = [
            ("fabric", claims.iss == self.issuer),
            ("app", claims.aud == asked.app.as_str()),
            ("group", claims.grp == self.group),
            ("request", claims.jti == asked.request_id),
            ("attempt", claims.att == asked.attempt),
            ("edge", claims.edge == asked.edge.as_str()),
        ];
        match fits.into_iter().find(|(_, fits)| !fits) {
            Some((what, _)) => Err(StatementError::Foreign(what)),
            None => Ok(()),
        }
    }
}

fn check_time(claims: &Claims, now: i64) -> Result<(), StatementError> {
    if claims.iat.saturating_sub(LEEWAY_S) > now {
        return Err(StatementError::Early(claims.iat.saturating_sub(now)));
    }
    if claims.exp.saturating_sub(claims.iat) > LIFE_MAX_S {
        return Err(StatementError::Lasting);
    }
    if claims.exp.saturating_add(LEEWAY_S) <= now {
        return Err(StatementError::Expired(now.saturating_sub(claims.exp)));
    }
    Ok(())
}

impl Claims {
    fn read(self) -> Result<Statement, StatementError> {
        let name = self.name.as_ref();
        if name.is_some_and(|name| !(1..=SSO_NAME_BYTES_MAX).contains(&name.len())) {
            return Err(StatementError::Name);
        }
        let provider = self.idp.map(|id| id.parse()).transpose();
        Ok(Statement {
            user: self
                .sub
                .parse()
                .map_err(|_| StatementError::Foreign("kind of user"))?,
            provider: provider.map_err(|_| StatementError::Foreign("kind of provider"))?,
            name: self.name,
            edge: self
                .edge
                .parse()
                .map_err(|_| StatementError::Foreign("kind of edge"))?,
        })
    }
}

impl Key {
    fn read(point: &[u8]) -> Option<Self> {
        let numbers = point.strip_prefix(&[4])?;
        if point.len() != POINT_BYTES {
            return None;
        }
        let (x, y) = numbers.split_at(numbers.len() / 2);
        let written = |number: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(number);
        let jwk = Jwk {
            common: CommonParameters::default(),
            algorithm: AlgorithmParameters::EllipticCurve(EllipticCurveKeyParameters {
                curve: EllipticCurve::P256,
                x: written(x),
                y: written(y),
                ..EllipticCurveKeyParameters::default()
            }),
        };
        Some(Self {
            name: jwk.thumbprint(ThumbprintHash::SHA256).ok()?,
            key: DecodingKey::from_ec_der(point),
        })
    }
}

/// Since 1970; 0 for a clock set before it.
fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
