//! What a user's connection has shown already, so that it is not read anew with each of its requests: hosts, and sessions.
//!
//! A browser names the same host and sends the same cookie on and on. Whether the session goes on, and may use the app, is asked every
//! time all the same.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::HeaderValue;
use model::{host::Hostname, user::User};

use super::session::Session;
use crate::{assertion::Made, authority::Authority, failure::RequestError, sealing::SealingKeys};

/// Hosts, and sessions, that one connection keeps in mind: browsers share a connection among the hosts of one certificate.
const KNOWN_MAX: usize = 4;

/// Of one user's connection; lives and ends with it.
#[derive(Debug, Default)]
pub(crate) struct Recall {
    hosts: Mutex<Vec<Named>>,
    sessions: Mutex<Vec<Known>>,
}

/// A host as it was written, and as it was read.
#[derive(Debug)]
struct Named {
    written: String,
    authority: Arc<Authority>,
}

/// A cookie that was opened, and what was in it.
#[derive(Debug)]
struct Known {
    /// What opened it: once that key is gone, it opens no more.
    keys: Arc<SealingKeys>,
    host: Hostname,
    sealed: String,
    session: Arc<Session>,
    /// What an origin was told last.
    assertion: Option<Made>,
}

impl Recall {
    /// What is `written`: as it was read before, or as `read` reads it now.
    pub(crate) fn authority<E>(
        &self,
        written: &str,
        read: impl FnOnce() -> Result<Authority, E>,
    ) -> Result<Arc<Authority>, E> {
        let mut known = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(named) = known.iter().find(|named| named.written == written) {
            return Ok(Arc::clone(&named.authority));
        }
        let authority = Arc::new(read()?);
        if known.len() == KNOWN_MAX {
            known.remove(0);
        }
        known.push(Named {
            written: written.to_owned(),
            authority: Arc::clone(&authority),
        });
        Ok(authority)
    }

    /// What `sealed` holds at `host`: as it was found before, or as `open` finds it now.
    pub(crate) fn session(
        &self,
        keys: &Arc<SealingKeys>,
        host: &Hostname,
        sealed: &str,
        open: impl FnOnce() -> Option<Session>,
    ) -> Option<Arc<Session>> {
        let mut known = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = |known: &&Known| {
            Arc::ptr_eq(&known.keys, keys)
                && known.host == *host
                // Others may share the connection: how long it takes tells nothing of the cookie.
                && verify_slices_are_equal(known.sealed.as_bytes(), sealed.as_bytes()).is_ok()
        };
        if let Some(known) = known.iter().find(shown) {
            return Some(Arc::clone(&known.session));
        }
        let session = Arc::new(open()?);
        // A later cookie of the same host, or one of keys that are gone, takes the place of the one before.
        known.retain(|known| Arc::ptr_eq(&known.keys, keys) && known.host != *host);
        if known.len() == KNOWN_MAX {
            known.remove(0);
        }
        known.push(Known {
            keys: Arc::clone(keys),
            host: host.clone(),
            sealed: sealed.to_owned(),
            session: Arc::clone(&session),
            assertion: None,
        });
        Some(session)
    }

    /// The assertion that `make` has or makes, for a user of this connection. Others are told anew each time.
    pub(crate) fn assertion(
        &self,
        user: &Arc<User>,
        make: impl FnOnce(&mut Option<Made>) -> Result<HeaderValue, RequestError>,
    ) -> Result<HeaderValue, RequestError> {
        let mut known = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = known.iter_mut();
        match known.find(|known| Arc::ptr_eq(&known.session.user, user)) {
            Some(known) => make(&mut known.assertion),
            None => make(&mut None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{self, AuthorityError, PublicPort};

    fn host(name: &str) -> Hostname {
        name.parse().unwrap()
    }

    /// What is known of a cookie, and whether it had to be opened.
    fn ask(recall: &Recall, keys: &Arc<SealingKeys>, name: &str, sealed: &str) -> (bool, bool) {
        let mut is_opened = false;
        let session = recall.session(keys, &host(name), sealed, || {
            is_opened = true;
            let user = User::new("alice".parse().unwrap());
            (sealed != "bad").then(|| Session::begin(user, 0))
        });
        (session.is_some(), is_opened)
    }

    #[test]
    fn a_cookie_is_opened_once_for_its_host_and_keys() {
        let recall = Recall::default();
        let (keys, newer) = (Arc::default(), Arc::default());
        for (keys, name, sealed, want) in [
            (&keys, "a.example", "one", (true, true)),
            (&keys, "a.example", "one", (true, false)),
            (&keys, "a.example", "ONE", (true, true)),
            (&keys, "a.example", "bad", (false, true)),
            (&keys, "b.example", "ONE", (true, true)),
            (&keys, "a.example", "ONE", (true, false)),
            (&newer, "a.example", "ONE", (true, true)),
            (&newer, "b.example", "ONE", (true, true)),
        ] {
            assert_eq!(ask(&recall, keys, name, sealed), want, "{name} {sealed}");
        }
    }

    #[test]
    fn a_host_is_read_once_as_it_is_written() {
        let recall = Recall::default();
        let mut reads = 0;
        let mut read = |written: &str| {
            let read = recall.authority(written, || {
                reads += 1;
                authority::parse(written, PublicPort::Told(443))
            });
            read.map(|authority| authority.text.clone())
        };
        for (written, want) in [
            ("a.example", Ok("a.example")),
            ("a.example", Ok("a.example")),
            ("A.example", Ok("A.example")),
            ("a.example:1", Ok("a.example")),
            ("10.0.0.1", Err(AuthorityError::NoName)),
            ("a.example", Ok("a.example")),
        ] {
            assert_eq!(read(written), want.map(str::to_owned), "{written}");
        }
        assert_eq!(reads, 4);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let recall = Recall::default();
        let keys = Arc::default();
        for number in 0..100 {
            let name = format!("h{number}.example");
            ask(&recall, &keys, &name, "one");
            let read = || authority::parse(&name, PublicPort::Told(443));
            recall.authority(&name, read).unwrap();
        }
        assert_eq!(recall.sessions.lock().unwrap().len(), KNOWN_MAX);
        assert_eq!(recall.hosts.lock().unwrap().len(), KNOWN_MAX);
        let (_, is_opened) = ask(&recall, &keys, "h99.example", "one");
        assert!(!is_opened, "the last ones are kept");
    }
}
