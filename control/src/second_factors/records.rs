//! Where second factors lie in the store: one record for each user who has any, and one row for each passkey, to find its user.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use model::name::UserId;
use prost::Message as _;
use proto::control::{PasskeyOwnerRecord, PasskeyRecord, SecondFactorsRecord};

use crate::{
    hex::hex,
    store::{Check, Op, Store, StoreError},
};

/// Prefix of the keys of all records; behind it is the id of a user.
const COLLECTION: &str = "secondFactors/";
/// Prefix of the keys by which users of passkeys are found; behind it is the digest of a credential's id.
const PASSKEYS: &str = "passkeys/";
/// Passkeys that a user may have: a few devices, and keys in drawers.
pub(crate) const PASSKEYS_MAX: usize = 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What lies there is no record.
    #[error("the stored {0} cannot be read")]
    Corrupt(String),
}

/// What a user has, as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// What it says; empty if there is none.
    pub record: SecondFactorsRecord,
    key: Arc<str>,
    /// Holds while nobody has written it since.
    pub check: Check,
}

/// Reads what a user has.
pub(crate) async fn read(store: &dyn Store, user: &UserId) -> Result<Kept, RecordError> {
    let key: Arc<str> = format!("{COLLECTION}{user}").into();
    Ok(match store.get(&key).await? {
        Some(entry) => Kept {
            record: SecondFactorsRecord::decode(entry.value)
                .map_err(|_| RecordError::Corrupt(key.to_string()))?,
            check: Check::Unchanged(Arc::clone(&key), entry.modified),
            key,
        },
        None => Kept {
            record: SecondFactorsRecord::default(),
            check: Check::Absent(Arc::clone(&key)),
            key,
        },
    })
}

impl Kept {
    /// Whether there is anything that could be asked for.
    pub(crate) fn has_any(&self) -> bool {
        self.record.authenticator.is_some() || !self.record.passkeys.is_empty()
    }

    /// Writes another in its place; goes into a transaction with [`Kept::check`].
    pub(crate) fn replace(&self, record: &SecondFactorsRecord) -> Vec<Op> {
        let own = if *record == SecondFactorsRecord::default() {
            Op::Delete(Arc::clone(&self.key))
        } else {
            Op::Put(Arc::clone(&self.key), record.encode_to_vec().into())
        };
        let gone = self.record.passkeys.iter().filter(|passkey| {
            let mut left = record.passkeys.iter();
            !left.any(|left| left.credential_id == passkey.credential_id)
        });
        let gone = gone.map(|passkey| Op::Delete(owner_key(&passkey.credential_id)));
        std::iter::once(own).chain(gone).collect()
    }

    /// Takes all of it away.
    pub(crate) fn remove(&self) -> Vec<Op> {
        self.replace(&SecondFactorsRecord::default())
    }
}

/// Makes a passkey the user's; nobody may have it yet.
pub(crate) fn own_passkey(user: &UserId, passkey: &PasskeyRecord) -> (Check, Op) {
    let key = owner_key(&passkey.credential_id);
    let owner = PasskeyOwnerRecord {
        user: user.to_string(),
    };
    let put = Op::Put(Arc::clone(&key), owner.encode_to_vec().into());
    (Check::Absent(key), put)
}

/// Whose passkey it is.
pub(crate) async fn passkey_owner(
    store: &dyn Store,
    credential_id: &[u8],
) -> Result<Option<UserId>, StoreError> {
    let entry = store.get(&owner_key(credential_id)).await?;
    Ok(entry.and_then(|entry| {
        let record = PasskeyOwnerRecord::decode(entry.value).ok()?;
        record.user.parse().ok()
    }))
}

fn owner_key(credential_id: &[u8]) -> Arc<str> {
    let digest = hex(digest(&SHA256, credential_id).as_ref());
    format!("{PASSKEYS}{digest}").into()
}
