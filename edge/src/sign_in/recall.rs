//! What a user's connection has shown already, so that a session is not opened and read anew with each of its requests.
//!
//! A browser sends the same cookie on and on. Whether the session goes on, and may use the app, is asked every time all the same.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::HeaderValue;
use model::{host::Hostname, user::User};

use super::session::Session;
use crate::{assertion::Made, failure::RequestError, sealing::SealingKeys};

/// Sessions that one connection keeps in mind: browsers share a connection among the hosts of one certificate.
const SESSIONS_MAX: usize = 4;

/// Of one user's connection; lives and ends with it.
#[derive(Debug, Default)]
pub(crate) struct Recall(Mutex<Vec<Known>>);

/// A cookie that was opened, and what was in it.
#[derive(Debug)]
struct Known {
    /// What opened it: once that key is gone, it opens no more.
    keys: Arc<SealingKeys>,
    host: Hostname,
    sealed: String,
    session: Session,
    /// What an origin was told last.
    assertion: Option<Made>,
}

impl Recall {
    /// What `sealed` holds at `host`: as it was found before, or as `open` finds it now.
    pub(crate) fn session(
        &self,
        keys: &Arc<SealingKeys>,
        host: &Hostname,
        sealed: &str,
        open: impl FnOnce() -> Option<Session>,
    ) -> Option<Session> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = |known: &&Known| {
            Arc::ptr_eq(&known.keys, keys)
                && known.host == *host
                // Others may share the connection: how long it takes tells nothing of the cookie.
                && verify_slices_are_equal(known.sealed.as_bytes(), sealed.as_bytes()).is_ok()
        };
        if let Some(known) = known.iter().find(shown) {
            return Some(known.session.clone());
        }
        let session = open()?;
        // A later cookie of the same host, or one of keys that are gone, takes the place of the one before.
        known.retain(|known| Arc::ptr_eq(&known.keys, keys) && known.host != *host);
        if known.len() == SESSIONS_MAX {
            known.remove(0);
        }
        known.push(Known {
            keys: Arc::clone(keys),
            host: host.clone(),
            sealed: sealed.to_owned(),
            session: session.clone(),
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
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
    fn what_is_kept_is_bounded() {
        let recall = Recall::default();
        let keys = Arc::default();
        for number in 0..100 {
            ask(&recall, &keys, &format!("h{number}.example"), "one");
        }
        assert_eq!(recall.0.lock().unwrap().len(), SESSIONS_MAX);
        let (_, is_opened) = ask(&recall, &keys, "h99.example", "one");
        assert!(!is_opened, "the last ones are kept");
    }
}
