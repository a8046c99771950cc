//! How browsers keep the session of an app's host.

use model::app::{Access, SameSite, SessionCookie};

use super::Violations;
use crate::admin;

/// The cookie's settings.
pub(super) fn read(
    wire: Option<&admin::SessionCookie>,
    access: Option<&Access>,
    found: &mut Violations,
) -> SessionCookie {
    const FIELD: &str = "app.session_cookie";
    let Some(wire) = wire else {
        return SessionCookie::default();
    };
    if access == Some(&Access::Passthrough) {
        found.add(FIELD, "must be unset unless users sign in");
    }
    let same_site = match admin::SameSite::try_from(wire.same_site) {
        Ok(admin::SameSite::Unspecified | admin::SameSite::Lax) => SameSite::Lax,
        Ok(admin::SameSite::Strict) => SameSite::Strict,
        Ok(admin::SameSite::None) => SameSite::None,
        Err(_) => {
            let field = format!("{FIELD}.same_site");
            found.add(&field, "is of a kind that this version does not know");
            SameSite::Lax
        }
    };
    SessionCookie {
        same_site,
        persistent: wire.persistent,
    }
}

/// Whether forms of other sites are kept.
pub(super) fn read_posts(wire: bool, access: Option<&Access>, found: &mut Violations) -> bool {
    if wire && access == Some(&Access::Passthrough) {
        let fault = "must be false unless users sign in";
        found.add("app.cross_site_posts", fault);
    }
    wire
}

/// One that is as if nothing had been said is none, so that equal apps are written alike.
pub(super) fn write(cookie: SessionCookie) -> Option<admin::SessionCookie> {
    if cookie == SessionCookie::default() {
        return None;
    }
    let same_site = match cookie.same_site {
        SameSite::Lax => admin::SameSite::Unspecified,
        SameSite::Strict => admin::SameSite::Strict,
        SameSite::None => admin::SameSite::None,
    };
    Some(admin::SessionCookie {
        same_site: same_site.into(),
        persistent: cookie.persistent,
    })
}
