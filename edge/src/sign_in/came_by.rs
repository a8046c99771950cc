//! By which app a user came to sign in. Several may be published under one name, and paths of the fabric's own, such as the page that sends a
//! kept form again, are no app's: so the errand says it.

use model::{
    app::{App, SameSite, SessionCookie},
    host::Hostname,
    route::Site,
};
use proto::edge;

use crate::view::View;

/// What paths of the fabric's own begin with, at apps' hosts.
const OWN: &str = "/.adit/";

/// The app that an errand comes from, if it is published.
pub(super) fn app_of<'v>(view: &'v View, errand: &edge::Errand) -> Option<&'v App> {
    let authority = errand.authority.split(':').next().unwrap_or_default();
    let host: Hostname = authority.parse().ok()?;
    named(view.site(&host)?, &errand.app, &errand.target)
}

/// Whether any app of the host that an errand comes from asks for ID tokens.
pub(super) fn asks_for_id_token(view: &View, errand: &edge::Errand) -> bool {
    let authority = errand.authority.split(':').next().unwrap_or_default();
    let host = authority.parse::<Hostname>().ok();
    host.and_then(|host| view.site(&host)).is_some_and(|site| {
        site.routes()
            .iter()
            .any(|route| route.app().asks_for_id_token())
    })
}

/// How the cookie of a host is to be kept: as each of its apps could bear. By which of them somebody comes is for other sites to choose, which lead
/// there, and the cookie opens them all.
pub(super) fn cookie_settings(view: &View, host: &Hostname) -> SessionCookie {
    view.site(host).map(strictest).unwrap_or_default()
}

/// The app of a host that is named, or else the one that a path and query lead to.
pub(super) fn named<'s>(site: &'s Site, app: &str, target: &str) -> Option<&'s App> {
    if app.is_empty() && !target.starts_with(OWN) {
        let path = target.split('?').next().unwrap_or_default();
        return site.find(path).ok().map(|route| &**route.app());
    }
    let mut apps = site.routes().iter().map(|route| route.app());
    if app.is_empty() {
        only(site)
    } else {
        apps.find(|one| one.id.as_str() == app).map(|app| &**app)
    }
}

/// The app that has the host for itself.
fn only(site: &Site) -> Option<&App> {
    let mut apps = site.routes().iter().map(|route| route.app());
    let first = apps.next()?;
    apps.all(|app| app.id == first.id).then_some(&**first)
}

fn strictest(site: &Site) -> SessionCookie {
    let settings = || {
        let routes = site.routes().iter();
        routes.map(|route| route.app().session_cookie)
    };
    let any = |same_site| settings().any(|one| one.same_site == same_site);
    SessionCookie {
        same_site: if any(SameSite::Strict) {
            SameSite::Strict
        } else if any(SameSite::Lax) {
            SameSite::Lax
        } else {
            SameSite::None
        },
        persistent: settings().all(|one| one.persistent),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proto::fabric::{self, AccessKind, EdgeApp, Resource, Timeouts, resource::Kind};

    use super::*;

    fn view(apps: &[(&str, &str, fabric::SameSite, bool)]) -> View {
        built(apps.iter().map(app).collect())
    }

    fn app((id, path, same_site, persistent): &(&str, &str, fabric::SameSite, bool)) -> EdgeApp {
        EdgeApp {
            id: (*id).to_owned(),
            hosts: vec!["apps.example".to_owned()],
            path: (*path).to_owned(),
            group: "office".to_owned(),
            access: AccessKind::Passthrough.into(),
            timeouts: Some(Timeouts {
                connect_ms: 1_000,
                response_ms: 1_000,
                idle_ms: 1_000,
                ..Default::default()
            }),
            session_cookie: Some(fabric::SessionCookie {
                same_site: (*same_site).into(),
                persistent: *persistent,
            }),
            ..Default::default()
        }
    }

    fn built(apps: Vec<EdgeApp>) -> View {
        let resource = |app: EdgeApp| {
            let name = format!("apps/{}", app.id);
            let kind = Some(Kind::EdgeApp(app));
            (name.clone(), Resource { name, kind })
        };
        let resources: BTreeMap<_, _> = apps.into_iter().map(resource).collect();
        let view = View::build(1, &resources);
        assert!(view.faults().is_empty(), "{:?}", view.faults());
        view
    }

    fn found(view: &View, app: &str, target: &str) -> (Option<String>, SessionCookie) {
        let host = "apps.example".parse().unwrap();
        let errand = edge::Errand {
            authority: "apps.example:8443".to_owned(),
            target: target.to_owned(),
            app: app.to_owned(),
            ..Default::default()
        };
        let id = app_of(view, &errand).map(|app| app.id.to_string());
        (id, cookie_settings(view, &host))
    }

    fn cookie(same_site: SameSite, persistent: bool) -> SessionCookie {
        SessionCookie {
            same_site,
            persistent,
        }
    }

    #[test]
    fn what_an_errand_says_counts_more_than_a_path_of_the_fabrics_own() {
        let view = view(&[
            ("portal", "/", fabric::SameSite::None, true),
            ("payroll", "/pay", fabric::SameSite::Strict, false),
        ]);
        // A page that leads to the one does not loosen the cookie of the other.
        let both = cookie(SameSite::Strict, false);
        let portal = (Some("portal".to_owned()), both);
        let payroll = (Some("payroll".to_owned()), both);
        for target in ["/pay/slip?x=/", "/.adit/repeat?form=x", "/.adit/renew?done"] {
            assert_eq!(found(&view, "payroll", target), payroll, "{target}");
            assert_eq!(found(&view, "portal", target), portal, "{target}");
        }
        assert_eq!(found(&view, "", "/pay/slip"), payroll);
        assert_eq!(found(&view, "", "/x?/pay"), portal);
        // It may be either.
        let either = (None, both);
        assert_eq!(found(&view, "", "/.adit/renew?done"), either);
        // It is published here no more.
        assert_eq!(found(&view, "crm", "/pay"), either);
    }

    #[test]
    fn a_host_asks_for_id_tokens_if_any_of_its_apps_does() {
        let plain = view(&[("wiki", "/", fabric::SameSite::Lax, false)]);
        let asking = EdgeApp {
            id: "payroll".to_owned(),
            path: "/pay".to_owned(),
            single_sign_on: Some(fabric::EdgeSignOn {
                require_id_token: true,
                ..fabric::EdgeSignOn::default()
            }),
            ..app(&("", "", fabric::SameSite::Lax, false))
        };
        let both = built(vec![
            app(&("wiki", "/", fabric::SameSite::Lax, false)),
            asking,
        ]);
        let errand = |authority: &str| edge::Errand {
            authority: authority.to_owned(),
            // Of a window that renews a session nobody knows which app has opened it.
            target: "/.adit/renew?done".to_owned(),
            ..edge::Errand::default()
        };
        assert!(asks_for_id_token(&both, &errand("apps.example:8443")));
        assert!(!asks_for_id_token(&both, &errand("other.example")));
        assert!(!asks_for_id_token(&plain, &errand("apps.example")));
    }

    #[test]
    fn an_app_that_has_a_host_for_itself_has_the_fabrics_paths_too() {
        let view = view(&[("wiki", "/wiki", fabric::SameSite::None, true)]);
        let wiki = (Some("wiki".to_owned()), cookie(SameSite::None, true));
        assert_eq!(found(&view, "", "/.adit/renew?done"), wiki);
        let own = cookie(SameSite::None, true);
        assert_eq!(found(&view, "", "/elsewhere"), (None, own));
        let host = "other.example".parse().unwrap();
        assert_eq!(cookie_settings(&view, &host), SessionCookie::default());
    }
}
