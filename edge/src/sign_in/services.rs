//! Programs that the fabric knows, by the digests of their tokens.
//!
//! They come with the snapshot, so that every edge decides without asking anybody.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use model::service::Service;

use super::token::TokenError;
use crate::digest::sha256;

/// Bytes of a digest that lead to a token. What is found by them is compared whole.
const KEY_BYTES: usize = 16;

/// All of them; as many as operators have made.
#[derive(Debug, Default)]
pub(crate) struct Services(HashMap<[u8; KEY_BYTES], Arc<Service>>);

impl Services {
    pub(crate) fn add(&mut self, service: &Arc<Service>) {
        self.0.insert(key(service), Arc::clone(service));
    }

    /// The program that has this token, if it holds at that time.
    ///
    /// Found by a part of its digest, so that the time it takes says nothing of the tokens that there are.
    pub(crate) fn find(&self, token: &str, now: SystemTime) -> Result<&Arc<Service>, TokenError> {
        let shown = sha256(token.as_bytes());
        let found = shown
            .first_chunk()
            .and_then(|key| self.0.get(key))
            .filter(|found| verify_slices_are_equal(&found.token_sha256, &shown).is_ok());
        let service = found.ok_or(TokenError::Unknown)?;
        if service.holds_at(now) {
            Ok(service)
        } else {
            Err(TokenError::Expired)
        }
    }

    /// Whether a token that held once has not been taken back since; its end is not looked at.
    pub(crate) fn know(&self, service: &Service) -> bool {
        let known = self.0.get(&key(service));
        known.is_some_and(|known| {
            known.id == service.id && known.token_sha256 == service.token_sha256
        })
    }
}

fn key(service: &Service) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key.copy_from_slice(&service.token_sha256[..KEY_BYTES]);
    key
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn service(id: &str, token: &str, expires: Option<SystemTime>) -> Arc<Service> {
        let mut service = Service::new(id.parse().unwrap());
        service.token_sha256 = sha256(token.as_bytes());
        service.expires = expires;
        Arc::new(service)
    }

    #[test]
    fn a_token_leads_to_its_program_until_its_end_and_no_other_does() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
        let mut services = Services::default();
        services.add(&service("ci", "one", None));
        services.add(&service("cron", "two", Some(now)));
        let find = |token, now| {
            let found = services.find(token, now);
            found.map(|service| service.id.to_string())
        };
        assert_eq!(find("one", now), Ok("ci".to_owned()));
        assert_eq!(find("two", SystemTime::UNIX_EPOCH), Ok("cron".to_owned()));
        assert_eq!(find("two", now), Err(TokenError::Expired));
        for token in ["", "On", "onee", "three"] {
            assert_eq!(find(token, now), Err(TokenError::Unknown), "{token}");
        }
    }

    #[test]
    fn a_digest_that_begins_the_same_is_another_token() {
        let mut alike = Service::new("ci".parse().unwrap());
        alike.token_sha256 = sha256(b"one");
        alike.token_sha256[31] ^= 1;
        let mut services = Services::default();
        services.add(&Arc::new(alike));
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(services.find("one", now), Err(TokenError::Unknown));
    }

    #[test]
    fn another_token_under_the_same_id_is_another_program() {
        let (old, new) = (service("ci", "one", None), service("ci", "two", None));
        let mut services = Services::default();
        services.add(&new);
        assert!(services.know(&new));
        assert!(!services.know(&old));
        assert!(!services.know(&service("cron", "two", None)));
    }
}
