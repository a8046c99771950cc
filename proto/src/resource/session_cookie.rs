//! How browsers keep the session of an app's host, on the way to edges.

use model::app::{SameSite, SessionCookie};

use super::{Reader, ResourceError};
use crate::fabric;

pub(super) fn write(cookie: SessionCookie) -> Option<fabric::SessionCookie> {
    if cookie == SessionCookie::default() {
        return None;
    }
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

impl Reader<'_> {
    pub(super) fn session_cookie(
        &self,
        wire: Option<&fabric::SessionCookie>,
    ) -> Result<SessionCookie, ResourceError> {
        let Some(wire) = wire else {
            return Ok(SessionCookie::default());
        };
        let same_site = match fabric::SameSite::try_from(wire.same_site) {
            Ok(fabric::SameSite::Unspecified | fabric::SameSite::Lax) => Ok(SameSite::Lax),
            Ok(fabric::SameSite::Strict) => Ok(SameSite::Strict),
            Ok(fabric::SameSite::None) => Ok(SameSite::None),
            Err(_) => Err(()),
        };
        Ok(SessionCookie {
            same_site: self.setting("a session cookie", same_site)?,
            persistent: wire.persistent,
        })
    }
}
