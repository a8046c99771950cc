//! How browsers keep the session of an app's host, beside the session itself.

use std::time::{Duration, SystemTime};

use http::HeaderValue;
use model::app::{SameSite, SessionCookie};
use proto::fabric;

use super::session::Session;
use crate::cookies;

/// The cookie of a session at an app's host, kept as the session says.
pub(super) fn of(session: &Session, sealed: &str, now: SystemTime) -> Option<HeaderValue> {
    let same_site = session.cookie.same_site;
    cookies::set_as(cookies::APP, sealed, same_site, life(session, now))
}

/// How long the browser keeps it; `None`: until it is closed.
pub(super) fn life(session: &Session, now: SystemTime) -> Option<Duration> {
    session.cookie.persistent.then(|| session.rest(now))
}

pub(super) fn write(cookie: SessionCookie) -> Option<fabric::SessionCookie> {
    let same_site = match cookie.same_site {
        SameSite::Lax => fabric::SameSite::Lax,
        SameSite::Strict => fabric::SameSite::Strict,
        SameSite::None => fabric::SameSite::None,
    };
    Some(fabric::SessionCookie {
        same_site: same_site.into(),
        persistent: cookie.persistent,
    })
}

/// What is not understood is as the strictest.
pub(super) fn read(wire: Option<&fabric::SessionCookie>) -> SessionCookie {
    let Some(wire) = wire else {
        return SessionCookie::default();
    };
    SessionCookie {
        same_site: match fabric::SameSite::try_from(wire.same_site) {
            Ok(fabric::SameSite::Unspecified | fabric::SameSite::Lax) => SameSite::Lax,
            Ok(fabric::SameSite::None) => SameSite::None,
            Ok(fabric::SameSite::Strict) | Err(_) => SameSite::Strict,
        },
        persistent: wire.persistent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_a_cookie_is_read_again() {
        for same_site in [SameSite::Lax, SameSite::Strict, SameSite::None] {
            for persistent in [false, true] {
                let cookie = SessionCookie {
                    same_site,
                    persistent,
                };
                assert_eq!(read(write(cookie).as_ref()), cookie);
            }
        }
        assert_eq!(read(None), SessionCookie::default());
        let later = fabric::SessionCookie {
            same_site: 4_711,
            persistent: false,
        };
        assert_eq!(read(Some(&later)).same_site, SameSite::Strict);
    }
}
