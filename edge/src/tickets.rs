//! Tickets by which users resume TLS sessions, at any worker of any edge that has the same keys.
//!
//! A ticket is the key's name, a random nonce, and the session sealed with AES-256-GCM-SIV (RFC 8452), for which two equal nonces
//! among many edges do no harm; the name is authenticated too. The keys come with the snapshot: the first seals, all open, and control rotates them; what an old key sealed ends with it.

use std::{fmt, sync::Arc};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;

use crate::view::Views;

/// Keys in force at a time: one that seals, and those whose tickets are still about.
const KEYS_MAX: usize = 8;
/// Bytes of a key's name.
const NAME_BYTES: usize = 16;
/// What clients are told: sessions are kept for this long at most. Half a day, as in rustls' own tickets.
const LIFETIME_SECONDS: u32 = 12 * 60 * 60;

/// Why the keys of a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TicketKeyError {
    /// More than are ever in force.
    #[error("there are more than {KEYS_MAX} keys")]
    TooMany,
    /// A key or its name has the wrong length.
    #[error("a key's name has {NAME_BYTES} bytes, and a key 32")]
    Length,
}

/// The keys of one view; none: control has sent none.
#[derive(Debug, Default)]
pub(crate) struct TicketKeys(Vec<Key>);

struct Key {
    name: [u8; NAME_BYTES],
    sealing: RandomizedNonceKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl TicketKeys {
    /// Reads the keys of a snapshot.
    pub(crate) fn new(keys: &proto::fabric::TicketKeys) -> Result<Self, TicketKeyError> {
        if keys.keys.len() > KEYS_MAX {
            return Err(TicketKeyError::TooMany);
        }
        let keys = keys.keys.iter().map(|key| {
            let name = key.name.as_ref().try_into();
            let sealing = RandomizedNonceKey::new(&AES_256_GCM_SIV, &key.key);
            Ok(Key {
                name: name.map_err(|_| TicketKeyError::Length)?,
                sealing: sealing.map_err(|_| TicketKeyError::Length)?,
            })
        });
        keys.collect::<Result<_, _>>().map(Self)
    }

    /// A ticket; `None` without keys.
    fn seal(&self, session: &[u8]) -> Option<Vec<u8>> {
        let key = self.0.first()?;
        let mut sealed = session.to_vec();
        let nonce = key
            .sealing
            .seal_in_place_append_tag(Aad::from(key.name), &mut sealed)
            .ok()?;
        Some([&key.name, nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// The session of a ticket, if one of the keys sealed it.
    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = self.0.iter().find(|key| key.name == *name)?;
        let mut session = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key
            .sealing
            .open_in_place(nonce, Aad::from(name), &mut session)
            .ok()?
            .len();
        session.truncate(opened);
        Some(session)
    }
}

/// Makes tickets with the keys of the view of the moment; until there are some, with keys of this process's own.
#[derive(Debug)]
pub(crate) struct Tickets {
    views: Views,
    own: Arc<dyn ProducesTickets>,
}

impl Tickets {
    pub(crate) const fn new(views: Views, own: Arc<dyn ProducesTickets>) -> Self {
        Self { views, own }
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let view = self.views.current();
        let shared = view.and_then(|view| view.ticket_keys().seal(plain));
        shared.or_else(|| self.own.encrypt(plain))
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let view = self.views.current();
        let shared = view.and_then(|view| view.ticket_keys().open(cipher));
        // Tickets from before the first keys came.
        shared.or_else(|| self.own.decrypt(cipher))
    }
}

#[cfg(test)]
mod tests {
    use proto::fabric::TicketKey;

    use super::*;

    const SESSION: &[u8] = b"a session";

    fn keys(numbers: &[u8]) -> TicketKeys {
        let keys = numbers.iter().map(|number| TicketKey {
            name: vec![*number; NAME_BYTES].into(),
            key: vec![*number; 32].into(),
        });
        TicketKeys::new(&proto::fabric::TicketKeys {
            keys: keys.collect(),
        })
        .unwrap()
    }

    #[test]
    fn whoever_has_the_key_opens_the_ticket() {
        let ticket = keys(&[1]).seal(SESSION).unwrap();
        assert_eq!(keys(&[1]).open(&ticket).as_deref(), Some(SESSION));
        assert_eq!(keys(&[2]).open(&ticket), None);
        assert_eq!(TicketKeys::default().open(&ticket), None);
        assert_ne!(keys(&[1]).seal(SESSION).unwrap(), ticket, "nonces differ");
    }

    #[test]
    fn rotated_keys_still_open_until_they_are_gone() {
        let ticket = keys(&[1]).seal(SESSION).unwrap();
        let rotated = keys(&[2, 1]);
        assert_eq!(rotated.open(&ticket).as_deref(), Some(SESSION));
        let newer = rotated.seal(SESSION).unwrap();
        assert_eq!(keys(&[2]).open(&newer).as_deref(), Some(SESSION));
        assert_eq!(keys(&[3, 2]).open(&ticket), None);
    }

    #[test]
    fn a_ticket_that_was_touched_is_refused() {
        let ticket = keys(&[1]).seal(SESSION).unwrap();
        for at in 0..ticket.len() {
            let mut touched = ticket.clone();
            touched[at] ^= 1;
            assert_eq!(keys(&[1]).open(&touched), None, "byte {at}");
            assert_eq!(keys(&[1]).open(&ticket[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn keys_of_a_wrong_length_are_refused() {
        for (name, key) in [(15, 32), (16, 31), (16, 0)] {
            let wrong = proto::fabric::TicketKeys {
                keys: vec![TicketKey {
                    name: vec![0; name].into(),
                    key: vec![0; key].into(),
                }],
            };
            let refused = TicketKeys::new(&wrong);
            assert!(matches!(refused, Err(TicketKeyError::Length)));
        }
        let many = proto::fabric::TicketKeys {
            keys: vec![TicketKey::default(); KEYS_MAX + 1],
        };
        let refused = TicketKeys::new(&many);
        assert!(matches!(refused, Err(TicketKeyError::TooMany)));
    }
}
