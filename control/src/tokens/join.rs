//! Join tokens: signed claims that a node can read, with a record that counts their uses.
//!
//! The signature (ES256, by a key that does nothing else) keeps strangers from asking the store anything; the record
//! decides: its hash must be that of the very token, and it may be revoked or used up.

use std::{
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use model::{
    host::Hostname,
    name::{GroupId, JoinTokenId},
};
use prost::Message as _;
use proto::{
    admin::{JoinToken, NodeRole},
    control::JoinTokenRecord,
    time::{system_time, wire_timestamp},
};
use runtime::{Clock, Secret, join::JoinClaims, node::Role, tls::CaPin};

use super::sha256;
use crate::{
    presence::NodeId,
    secret_file::{self, SecretFileError},
    store::{self, Check, Entry, Op, Store, StoreError},
};

/// Name of the key that signs join tokens (PKCS#8 PEM).
pub const KEY_FILE: &str = "signing.key";
/// Prefix of the names of join tokens.
const COLLECTION: &str = "joinTokens/";
/// How long a token is listed after its end, so that operators can look up how a node got in; the audit log tells it for longer.
const KEPT_AFTER_END: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Longest token that is looked at; real ones have some hundred bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Signs and checks join tokens of one fabric.
pub struct JoinIssuer {
    domain: Hostname,
    control: Vec<String>,
    pin: CaPin,
    signing: EncodingKey,
    checking: DecodingKey,
}

impl fmt::Debug for JoinIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinIssuer")
            .field("domain", &self.domain)
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}

impl JoinIssuer {
    /// Takes the fabric's signing key from its directory, or makes one. `control` is where nodes dial, each `host:port`.
    ///
    /// # Errors
    /// When the key's file cannot be used.
    pub fn load_or_create(
        directory: &Path,
        domain: Hostname,
        control: Vec<String>,
        pin: CaPin,
    ) -> Result<Self, SecretFileError> {
        let key = secret_file::load_or_create_key(&directory.join(KEY_FILE))?;
        Ok(Self {
            domain,
            control,
            pin,
            signing: EncodingKey::from_ec_der(key.serialized_der()),
            checking: DecodingKey::from_ec_der(key.public_key_raw()),
        })
    }

    fn sign(&self, claims: &JoinClaims) -> Result<String, MintError> {
        encode(&Header::new(Algorithm::ES256), claims, &self.signing).map_err(MintError::Sign)
    }

    fn claims(&self, token: &str) -> Result<JoinClaims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_issuer(&[self.domain.as_str()]);
        // Checked against control's own clock, which tests can move.
        rules.validate_exp = false;
        rules.validate_aud = false;
        decode(token, &self.checking, &rules)
            .map(|token| token.claims)
            .map_err(|_| TokenError::Invalid)
    }
}

/// What a join token shall be.
#[derive(Debug, Clone)]
pub struct JoinTokenOrder {
    /// Its id.
    pub id: JoinTokenId,
    /// Agents of this group; `None`: edges.
    pub group: Option<GroupId>,
    /// The one node that it enrols, whose group that is; none: any.
    pub node: Option<NodeId>,
    /// How many nodes it may enrol.
    pub uses: u32,
    /// When it ends; cut to whole seconds.
    pub expires: SystemTime,
}

/// A new join token, not stored yet: its record belongs under its name.
#[derive(Debug, Clone)]
pub struct MintedJoinToken {
    /// What is kept.
    pub record: JoinTokenRecord,
    /// What is shown this once.
    pub token: Secret<String>,
}

/// Why no join token could be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The end lies before 1970.
    #[error("the join token would end before it begins")]
    Expiry,
    /// The cryptography failed.
    #[error("signing the join token")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// Makes a join token. Nothing is stored.
///
/// # Errors
/// See [`MintError`].
pub fn mint_join(
    issuer: &JoinIssuer,
    order: JoinTokenOrder,
    now: SystemTime,
) -> Result<MintedJoinToken, MintError> {
    let since = order.expires.duration_since(SystemTime::UNIX_EPOCH);
    let exp = since.map_err(|_| MintError::Expiry)?.as_secs();
    let (role, wire_role) = match order.group {
        Some(_) => (Role::Agent, NodeRole::Agent),
        None => (Role::Edge, NodeRole::Edge),
    };
    let token = issuer.sign(&JoinClaims {
        iss: issuer.domain.to_string(),
        jti: order.id.to_string(),
        role,
        group: order.group.as_ref().map(ToString::to_string),
        node: order.node.as_ref().map(|node| node.id().to_owned()),
        exp,
        control: issuer.control.clone(),
        ca_sha256: issuer.pin.to_string(),
    })?;
    let record = JoinTokenRecord {
        join_token: Some(JoinToken {
            name: order.id.resource_name(),
            etag: String::new(),
            create_time: Some(wire_timestamp(now)),
            role: wire_role.into(),
            group: order
                .group
                .map(|group| group.resource_name())
                .unwrap_or_default(),
            uses: order.uses,
            used: 0,
            expire_time: Some(wire_timestamp(
                SystemTime::UNIX_EPOCH + Duration::from_secs(exp),
            )),
            revoked: false,
            node: order
                .node
                .map(|node| node.resource_name())
                .unwrap_or_default(),
        }),
        token_sha256: sha256(&token).into(),
    };
    Ok(MintedJoinToken {
        record,
        token: Secret::new(token),
    })
}

/// Why a join token does not let a node in.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not signed by this fabric, or no join token at all.
    #[error("the join token is not one of this fabric")]
    Invalid,
    /// Past its end.
    #[error("the join token has expired")]
    Expired,
    /// Its record is gone, or is of another token.
    #[error("the join token is not known")]
    Unknown,
    /// An operator has revoked it.
    #[error("the join token has been revoked")]
    Revoked,
    /// It has enrolled as many nodes as it may.
    #[error("the join token has been used up")]
    UsedUp,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A join token that lets one node in, if its use is stored with the node's record in one transaction. It lets in again a node that
/// it let in before, with the same key: the answer may have been lost on the way.
#[derive(Debug, Clone)]
pub struct UsableJoin {
    /// `joinTokens/{id}`.
    pub name: Arc<str>,
    /// Agents of this group; `None`: edges.
    pub group: Option<GroupId>,
    /// `agents/{id}` or `edges/{id}` that it lets in, and no other; `None`: any.
    pub node: Option<String>,
    /// That nobody has used or revoked it meanwhile.
    pub check: Check,
    /// Counts the use; `None`: it is used up, and good only for a node that it has enrolled.
    pub count: Option<Op>,
}

/// Checks a token that a node has presented.
///
/// # Errors
/// See [`TokenError`].
pub async fn use_join(
    issuer: &JoinIssuer,
    store: &dyn Store,
    clock: &Clock,
    token: &str,
) -> Result<UsableJoin, TokenError> {
    let claims = issuer.claims(token)?;
    if claims.exp <= clock.unix_seconds() {
        return Err(TokenError::Expired);
    }
    let id: JoinTokenId = claims.jti.parse().map_err(|_| TokenError::Invalid)?;
    let entry = store.get(&id.resource_name()).await?;
    let entry = entry.ok_or(TokenError::Unknown)?;
    let mut record =
        JoinTokenRecord::decode(entry.value.clone()).map_err(|_| TokenError::Unknown)?;
    if record.token_sha256 != sha256(token) {
        return Err(TokenError::Unknown);
    }
    let kept = record.join_token.as_mut().ok_or(TokenError::Unknown)?;
    if kept.revoked {
        return Err(TokenError::Revoked);
    }
    let is_left = kept.used < kept.uses;
    kept.used += 1;
    let node = Some(kept.node.clone()).filter(|node| !node.is_empty());
    let group = match claims.group {
        Some(group) => Some(group.parse().map_err(|_| TokenError::Invalid)?),
        None => None,
    };
    Ok(UsableJoin {
        name: Arc::clone(&entry.key),
        group,
        node,
        check: Check::unchanged(&entry),
        count: is_left.then(|| Op::Put(entry.key, record.encode_to_vec().into())),
    })
}

/// Removes the tokens whose end was `KEPT_AFTER_END` ago: nobody is let in by them any more, and none is ever deleted otherwise.
///
/// # Errors
/// Those of the store; what was removed until then stays removed.
pub async fn sweep_join(store: &dyn Store, clock: &Clock) -> Result<(), StoreError> {
    let now = clock.wall();
    let is_over = |entry: &Entry| end(entry).is_some_and(|end| end + KEPT_AFTER_END < now);
    store::sweep(store, COLLECTION, is_over).await
}

/// When a token's time ends; `None`: its record does not say.
fn end(entry: &Entry) -> Option<SystemTime> {
    let record = JoinTokenRecord::decode(entry.value.clone()).ok()?;
    system_time(&record.join_token?.expire_time?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite;

    #[tokio::test]
    async fn a_token_is_removed_a_month_after_its_end_and_not_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Clock::starting_at(Clock::system().wall());
        let store = sqlite::open(directory.path(), &clock).expect("a store");
        let token = |id: &str, life: Duration| {
            let name: Arc<str> = format!("{COLLECTION}{id}").into();
            let record = JoinTokenRecord {
                join_token: Some(JoinToken {
                    name: name.to_string(),
                    expire_time: Some(wire_timestamp(clock.wall() + life)),
                    ..JoinToken::default()
                }),
                ..JoinTokenRecord::default()
            };
            Op::Put(name, record.encode_to_vec().into())
        };
        let day = Duration::from_secs(24 * 3_600);
        let ops = vec![token("short", day / 24), token("long", 10 * day)];
        store.txn(Vec::new(), ops).await.expect("writes");
        for (days, left) in [
            (29, &["joinTokens/long", "joinTokens/short"][..]),
            (2, &["joinTokens/long"]),
            (10, &[]),
        ] {
            clock.move_wall(days * day);
            sweep_join(&store, &clock).await.expect("sweeps");
            let kept = store.range(COLLECTION, None, 10).await.expect("reads");
            let names: Vec<_> = kept.entries.iter().map(|entry| &*entry.key).collect();
            assert_eq!(names, left, "{days} days later");
        }
    }
}
