//! Service tokens: random, known by their hash, good for the apps that name them. Edges look at them, not control.

use std::{sync::Arc, time::SystemTime};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use model::{name::ServiceTokenId, service::SERVICE_TOKEN_PREFIX};
use proto::{admin::ServiceToken, control::ServiceTokenRecord, fabric, time::wire_timestamp};
use rand::Rng as _;
use runtime::Secret;

use super::sha256;

/// Random bytes of a token; guessing is out of the question, so a plain hash is enough.
const TOKEN_BYTES: usize = 32;

/// What a service token shall be.
#[derive(Debug, Clone)]
pub struct ServiceTokenOrder {
    /// Its id.
    pub id: ServiceTokenId,
    /// What people see.
    pub display_name: String,
    /// `None`: never.
    pub expires: Option<SystemTime>,
}

/// A new service token, not stored yet.
#[derive(Debug, Clone)]
pub struct MintedServiceToken {
    /// What is kept.
    pub record: ServiceTokenRecord,
    /// What is shown this once.
    pub token: Secret<String>,
}

/// Makes a service token. Nothing is stored.
#[must_use]
pub fn mint_service(order: ServiceTokenOrder, now: SystemTime) -> MintedServiceToken {
    let random: [u8; TOKEN_BYTES] = rand::rng().random();
    let random = BASE64_URL_SAFE_NO_PAD.encode(random);
    let token = format!("{SERVICE_TOKEN_PREFIX}{random}");
    let made = Some(wire_timestamp(now));
    let record = ServiceTokenRecord {
        service_token: Some(ServiceToken {
            name: order.id.resource_name(),
            etag: String::new(),
            create_time: made,
            update_time: made,
            display_name: order.display_name,
            expire_time: order.expires.map(wire_timestamp),
            disabled: false,
        }),
        token_sha256: sha256(&token).into(),
    };
    MintedServiceToken {
        record,
        token: Secret::new(token),
    }
}

/// Key of a service token.
pub(crate) fn service_key(id: &ServiceTokenId) -> Arc<str> {
    id.resource_name().into()
}

/// What edges are told of one.
pub(crate) fn service_told(record: &ServiceTokenRecord) -> Option<fabric::ServiceToken> {
    proto::service::told(record.service_token.as_ref()?, &record.token_sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_only_their_hash_is_kept() {
        let mint = || {
            let order = ServiceTokenOrder {
                id: "ci".parse().unwrap(),
                display_name: String::new(),
                expires: None,
            };
            mint_service(order, SystemTime::UNIX_EPOCH)
        };
        let (one, two) = (mint(), mint());
        let told = service_told(&one.record).unwrap();
        let (one, two) = (one.token.into_exposed(), two.token.into_exposed());
        assert_ne!(one, two);
        assert_eq!(one.len(), SERVICE_TOKEN_PREFIX.len() + 43);
        assert_eq!(told.token_sha256, sha256(&one));
        assert_ne!(told.token_sha256, sha256(&two));
    }
}
