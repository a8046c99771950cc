//! Where links to published apps lead, for agents that translate bodies: which inner addresses are which public ones.
//!
//! An agent learns inner addresses of other groups' apps by this, so only those get any whose own group has an app that
//! needs them. An index in the store ([`translating_key`]) tells which groups do.

use model::{
    app::{HostSent, Origin, OriginHost, Publication, Translation},
    host::HostPattern,
    path::PathPrefix,
};
use proto::fabric::{LinkPair, PublishedLink, Resource, resource::Kind};

/// Prefix of the keys of all apps with translated bodies, behind which come group and app.
pub(super) const TRANSLATING: &str = "translating/";
/// What stands before an app's id in the name of its links.
const LINKS: &str = "links/";

/// Key that is there as long as the app `apps/{id}` of `groups/{id}` has translated bodies.
pub(crate) fn translating_key(group: &str, app: &str) -> String {
    format!("{}{app}", translating_prefix(group))
}

/// What the keys of the group `groups/{id}` begin with.
pub(super) fn translating_prefix(group: &str) -> String {
    format!("{TRANSLATING}{group}/")
}

/// The links of an app; `None`: it has no public name that a link could lead to.
pub(super) fn resource(publication: &Publication) -> Option<Resource> {
    let (app, inside) = (&publication.app, &publication.inside);
    let main = Site {
        hosts: &app.hosts,
        path: &app.path,
        inner_path: inside.translation.inner_path.as_ref(),
        origins: &inside.origins,
    };
    let segments = app.segments.iter().zip(&inside.segments);
    let sites = std::iter::once(main).chain(segments.map(|(segment, inside)| Site {
        hosts: &segment.hosts,
        path: &segment.path,
        inner_path: inside.inner_path.as_ref(),
        origins: &inside.origins,
    }));
    let mut pairs: Vec<LinkPair> = Vec::new();
    for pair in sites.flat_map(|site| site.pairs(&inside.translation)) {
        // An address that several sites have leads to the first.
        if pairs.iter().all(|earlier| earlier.inner != pair.inner) {
            pairs.push(pair);
        }
    }
    (!pairs.is_empty()).then(|| Resource {
        name: format!("{LINKS}{}", app.id),
        kind: Some(Kind::Link(PublishedLink {
            app: app.id.to_string(),
            pairs,
        })),
    })
}

struct Site<'a> {
    hosts: &'a [HostPattern],
    path: &'a PathPrefix,
    inner_path: Option<&'a PathPrefix>,
    origins: &'a [Origin],
}

impl Site<'_> {
    /// All lead to the first public name; a wildcard is none.
    fn pairs(&self, translation: &Translation) -> Vec<LinkPair> {
        let exact = self.hosts.iter().find_map(|host| match host {
            HostPattern::Exact(name) => Some(name),
            HostPattern::Wildcard(_) => None,
        });
        let Some(host) = exact else {
            return Vec::new();
        };
        let outer = format!("{host}{}", without_slash(self.path));
        let inner_path = self.inner_path.unwrap_or(self.path);
        let addresses = self
            .origins
            .iter()
            .flat_map(|origin| addresses(origin, translation));
        addresses
            .map(|address| LinkPair {
                inner: format!("{address}{}", without_slash(inner_path)),
                outer: outer.clone(),
            })
            .collect()
    }
}

/// By what names an origin may speak of itself.
fn addresses(origin: &Origin, translation: &Translation) -> Vec<String> {
    let scheme = origin.url.scheme.as_str();
    let own = match origin.url.host {
        OriginHost::Name(_) | OriginHost::Ip(_) => Some(origin.url.authority()),
        // Every app behind a socket is "localhost" to itself.
        OriginHost::Socket(_) => None,
    };
    let named = match &translation.host {
        HostSent::Named(authority) => Some(authority.clone()),
        HostSent::Inner | HostSent::Public => None,
    };
    let authorities = own.into_iter().chain(named);
    authorities
        .map(|authority| format!("{scheme}://{authority}"))
        .collect()
}

fn without_slash(path: &PathPrefix) -> &str {
    path.as_str().trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use proto::admin;

    use super::*;

    fn pairs(change: impl FnOnce(&mut admin::App)) -> Vec<(String, String)> {
        let mut app = admin::App {
            hosts: ["*.example.com", "wiki.example.com"]
                .map(str::to_owned)
                .into(),
            origins: vec![admin::Origin {
                url: "http://wiki.internal:8080".to_owned(),
                ..Default::default()
            }],
            group: "groups/office".to_owned(),
            access: admin::Access::Passthrough.into(),
            ..Default::default()
        };
        change(&mut app);
        let publication = proto::app::publication("wiki", &app).expect("a good app");
        let Some(Kind::Link(link)) = resource(&publication).and_then(|found| found.kind) else {
            return Vec::new();
        };
        let pairs = link.pairs.into_iter();
        pairs.map(|pair| (pair.inner, pair.outer)).collect()
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut admin::App), want: &[(&str, &str)]) {
        let owned = |&(inner, outer): &(&str, &str)| (inner.to_owned(), outer.to_owned());
        assert_eq!(pairs(change), want.iter().map(owned).collect::<Vec<_>>());
    }

    #[test]
    fn inner_addresses_lead_to_the_first_public_name() {
        check(|_| (), &[("http://wiki.internal:8080", "wiki.example.com")]);
        check(|app| app.hosts.truncate(1), &[]);
        check(
            |app| {
                app.path = "/wiki".to_owned();
                app.translation = Some(admin::Translation {
                    host: admin::HostSent::Named.into(),
                    inner_host: "wiki.corp.local".to_owned(),
                    inner_path: "/".to_owned(),
                    ..Default::default()
                });
            },
            &[
                ("http://wiki.internal:8080", "wiki.example.com/wiki"),
                ("http://wiki.corp.local", "wiki.example.com/wiki"),
            ],
        );
    }

    #[test]
    fn segments_have_links_and_sockets_have_none() {
        check(
            |app| {
                app.origins[0].url = "unix:/run/wiki.sock".to_owned();
                app.translation = Some(admin::Translation {
                    inner_path: "/of-the-main-part-alone".to_owned(),
                    ..Default::default()
                });
                app.segments = vec![admin::Segment {
                    id: "docs".to_owned(),
                    hosts: vec!["docs.example.com".to_owned()],
                    path: "/v1".to_owned(),
                    origins: vec![admin::Origin {
                        url: "https://docs.internal".to_owned(),
                        ..Default::default()
                    }],
                    ..Default::default()
                }];
            },
            &[("https://docs.internal/v1", "docs.example.com/v1")],
        );
        check(
            |app| {
                app.origins[0].url = "unix:/run/wiki.sock".to_owned();
                app.segments = vec![admin::Segment {
                    id: "docs".to_owned(),
                    hosts: vec!["docs.example.com".to_owned()],
                    path: "/v1".to_owned(),
                    inner_path: "/docs/v1".to_owned(),
                    origins: vec![admin::Origin {
                        url: "https://docs.internal".to_owned(),
                        ..Default::default()
                    }],
                    ..Default::default()
                }];
            },
            &[("https://docs.internal/docs/v1", "docs.example.com/v1")],
        );
    }
}
