//! Public halves of the keys of groups, to which users' browsers seal what they enter.

use std::collections::HashMap;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use model::{
    name::{GroupId, IdError, VaultKeyId},
    vault::POINT_BYTES,
};
use proto::fabric;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VaultKey {
    id: VaultKeyId,
    group: GroupId,
    point: Bytes,
    /// Which is newest.
    created_ns: i64,
}

/// Why one cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultKeyError {
    /// It has a bad id, or is of no group.
    #[error("reading its id and group")]
    Id(#[from] IdError),
    /// It is no point of its curve.
    #[error("it has not {POINT_BYTES} bytes")]
    Length,
}

impl VaultKey {
    /// As control tells it.
    ///
    /// # Errors
    /// See [`VaultKeyError`].
    pub(crate) fn read(wire: &fabric::VaultKey) -> Result<Self, VaultKeyError> {
        if wire.public_key.len() != POINT_BYTES {
            return Err(VaultKeyError::Length);
        }
        Ok(Self {
            id: wire.id.parse()?,
            group: wire.group.parse()?,
            point: wire.public_key.clone(),
            created_ns: wire.create_ns,
        })
    }

    /// Its id, and the key itself in base64.
    pub(crate) fn written(&self) -> (String, String) {
        let point = BASE64_URL_SAFE_NO_PAD.encode(&self.point);
        (self.id.to_string(), point)
    }

    fn age(&self) -> (i64, &str) {
        (self.created_ns, self.id.as_str())
    }
}

/// The newest of each group.
#[derive(Debug, Default)]
pub(crate) struct VaultKeys {
    newest: HashMap<GroupId, VaultKey>,
}

impl VaultKeys {
    /// Takes one in, if none of its group is newer.
    pub(crate) fn add(&mut self, key: &VaultKey) {
        let known = self.newest.get(&key.group);
        if known.is_none_or(|known| known.age() < key.age()) {
            self.newest.insert(key.group.clone(), key.clone());
        }
    }

    /// The one that credentials of a group's apps are sealed to.
    pub(crate) fn newest(&self, group: &GroupId) -> Option<&VaultKey> {
        self.newest.get(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, group: &str, create_ns: i64) -> VaultKey {
        let wire = fabric::VaultKey {
            id: id.to_owned(),
            group: group.to_owned(),
            public_key: vec![4; POINT_BYTES].into(),
            create_ns,
        };
        VaultKey::read(&wire).expect("a good key")
    }

    #[test]
    fn the_newest_key_of_a_group_counts_in_whatever_order_they_come() {
        let keys = [
            key("b", "office", 2),
            key("a", "office", 1),
            key("c", "lab", 3),
        ];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let mut known = VaultKeys::default();
            for at in order {
                known.add(&keys[at]);
            }
            assert_eq!(known.newest(&"office".parse().unwrap()), Some(&keys[0]));
            assert_eq!(known.newest(&"lab".parse().unwrap()), Some(&keys[2]));
            assert_eq!(known.newest(&"other".parse().unwrap()), None);
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let wire = fabric::VaultKey {
            id: "a".to_owned(),
            group: "office".to_owned(),
            public_key: vec![4; 64].into(),
            create_ns: 1,
        };
        assert_eq!(VaultKey::read(&wire), Err(VaultKeyError::Length));
    }
}
