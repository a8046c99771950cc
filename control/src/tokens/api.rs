//! API tokens: random, known by their hash, good for one role.

use std::{sync::Arc, time::SystemTime};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use model::name::ApiTokenId;
use prost::Message as _;
use proto::{
    admin::{ApiToken, OperatorRole},
    control::ApiTokenRecord,
    time::{system_time, wire_timestamp},
};
use rand::Rng as _;
use runtime::{Clock, Secret};

use super::sha256;
use crate::{
    hex::hex,
    store::{Check, Op, Store, StoreError},
};

/// Prefix of the index from a token's hash to its name.
pub const API_TOKEN_HASHES: &str = "apiTokenHashes/";
/// Tells secret scanners, and people, what was leaked.
const TOKEN_PREFIX: &str = "adit_";
/// Random bytes of a token; guessing is out of the question, so a plain hash is enough.
const TOKEN_BYTES: usize = 32;

/// What an API token shall be.
#[derive(Debug, Clone)]
pub struct ApiTokenOrder {
    /// Its id.
    pub id: ApiTokenId,
    /// What people see.
    pub display_name: String,
    /// What it may do.
    pub role: OperatorRole,
    /// `None`: never.
    pub expires: Option<SystemTime>,
}

/// A new API token, not stored yet: see [`api_token_ops`].
#[derive(Debug, Clone)]
pub struct MintedApiToken {
    /// What is kept.
    pub record: ApiTokenRecord,
    /// What is shown this once.
    pub token: Secret<String>,
}

/// Makes an API token. Nothing is stored.
#[must_use]
pub fn mint_api(order: ApiTokenOrder, now: SystemTime) -> MintedApiToken {
    let random: [u8; TOKEN_BYTES] = rand::rng().random();
    let token = format!("{TOKEN_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random));
    let record = ApiTokenRecord {
        api_token: Some(ApiToken {
            name: order.id.resource_name(),
            etag: String::new(),
            create_time: Some(wire_timestamp(now)),
            display_name: order.display_name,
            role: order.role.into(),
            expire_time: order.expires.map(wire_timestamp),
        }),
        token_sha256: sha256(&token).into(),
    };
    MintedApiToken {
        record,
        token: Secret::new(token),
    }
}

/// What stores a new API token: its record and the index to it.
#[must_use]
pub fn api_token_ops(record: &ApiTokenRecord) -> (Vec<Check>, Vec<Op>) {
    let name: Arc<str> = name(record).into();
    let checks = vec![Check::Absent(Arc::clone(&name))];
    let ops = vec![
        Op::Put(
            hash_key(&record.token_sha256),
            name.as_bytes().to_vec().into(),
        ),
        Op::Put(name, record.encode_to_vec().into()),
    ];
    (checks, ops)
}

/// What deletes an API token; it stops working at once.
#[must_use]
pub fn delete_api(record: &ApiTokenRecord) -> Vec<Op> {
    vec![
        Op::Delete(name(record).into()),
        Op::Delete(hash_key(&record.token_sha256)),
    ]
}

fn name(record: &ApiTokenRecord) -> &str {
    record.api_token.as_ref().map_or("", |token| &token.name)
}

fn hash_key(sha256: &[u8]) -> Arc<str> {
    format!("{API_TOKEN_HASHES}{}", hex(sha256)).into()
}

/// Who calls the admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// `apiTokens/{id}`.
    pub name: String,
    /// What it may do.
    pub role: OperatorRole,
}

/// Why a bearer token does not authenticate.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticateError {
    /// Never made here, or deleted.
    #[error("the API token is not known")]
    Unknown,
    /// Past its time.
    #[error("the API token has expired")]
    Expired,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Finds the operator behind a bearer token.
///
/// # Errors
/// See [`AuthenticateError`].
pub async fn authenticate_api(
    store: &dyn Store,
    clock: &Clock,
    token: &str,
) -> Result<Operator, AuthenticateError> {
    if !token.starts_with(TOKEN_PREFIX) {
        return Err(AuthenticateError::Unknown);
    }
    // Found by hash, so the time it takes tells nothing of the tokens that exist.
    let hash = sha256(token);
    let index = store.get(&hash_key(&hash)).await?;
    let named = index.and_then(|entry| String::from_utf8(entry.value.into()).ok());
    let name = named.ok_or(AuthenticateError::Unknown)?;
    let entry = store.get(&name).await?;
    let record = entry
        .and_then(|entry| ApiTokenRecord::decode(entry.value).ok())
        .filter(|record| record.token_sha256 == hash)
        .and_then(|record| record.api_token)
        .ok_or(AuthenticateError::Unknown)?;
    if let Some(expiry) = &record.expire_time {
        let expires = system_time(expiry).map_err(|_| AuthenticateError::Expired)?;
        if expires <= clock.wall() {
            return Err(AuthenticateError::Expired);
        }
    }
    Ok(Operator {
        name,
        role: record.role(),
    })
}
