//! What the portal shows of an app, beside its name.

use crate::host::{HostPattern, Hostname};

use super::{Access, App};

/// How an app appears in the portal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tile {
    /// Whether it appears.
    pub listing: Listing,
    /// A sentence of what it is for, at most [`DESCRIPTION_CHARS_MAX`](Self::DESCRIPTION_CHARS_MAX); may be empty.
    pub description: String,
    /// Heading that it appears under, at most [`CATEGORY_CHARS_MAX`](Self::CATEGORY_CHARS_MAX); may be empty.
    pub category: String,
    /// Which of the names that the app's hosts stand for the portal leads to; none: the first that is no wildcard.
    pub host: Option<Hostname>,
}

/// Whether an app appears in the portal, to those who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Listing {
    /// If users sign in for it: what is open to everybody is often not for people.
    #[default]
    ByAccess,
    /// Always.
    Shown,
    /// Never.
    Hidden,
}

impl Tile {
    /// Two lines of a tile on a phone, or a little more.
    pub const DESCRIPTION_CHARS_MAX: usize = 300;
    /// A heading.
    pub const CATEGORY_CHARS_MAX: usize = 60;
}

impl App {
    /// Whether the portal shows it to those who may use it.
    pub fn is_listed(&self) -> bool {
        match self.tile.listing {
            Listing::Shown => true,
            Listing::Hidden => false,
            Listing::ByAccess => match self.access {
                Access::SignIn(_) => true,
                Access::Passthrough => false,
            },
        }
    }

    /// What to call it.
    pub fn name(&self) -> &str {
        match &*self.display_name {
            "" => self.id.as_str(),
            name => name,
        }
    }

    /// Host, path and query where people begin. `None`: nobody can tell which name a wildcard stands for.
    pub fn entrance(&self) -> Option<(&Hostname, &str)> {
        let main = (!self.hosts.is_empty()).then_some((&self.hosts, &self.path));
        let segments = self.segments.iter();
        let mut sites = main
            .into_iter()
            .chain(segments.map(|one| (&one.hosts, &one.path)));
        let (hosts, path) = match &self.home_path {
            Some(home) => {
                let bare = home.split('?').next().unwrap_or_default();
                let (hosts, _) = sites.find(|(_, path)| path.holds(bare))?;
                (hosts, home.as_str())
            }
            None => sites.next().map(|(hosts, path)| (hosts, path.as_str()))?,
        };
        let mut exact = hosts.iter().filter_map(|host| match host {
            HostPattern::Exact(host) => Some(host),
            HostPattern::Wildcard(_) => None,
        });
        let chosen = self.tile.host.as_ref();
        let chosen = chosen.filter(|host| hosts.iter().any(|pattern| pattern.matches(host)));
        Some((chosen.or_else(|| exact.next())?, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Assignment, Segment};

    fn app(hosts: &[&str], access: Access) -> App {
        let hosts = hosts.iter().map(|host| host.parse().unwrap());
        App {
            hosts: hosts.collect(),
            ..App::new("wiki".parse().unwrap(), "office".parse().unwrap(), access)
        }
    }

    #[test]
    fn what_is_open_to_everybody_is_shown_only_if_somebody_says_so() {
        let closed = Access::SignIn(Assignment::default());
        for (access, listing, want) in [
            (Access::Passthrough, Listing::ByAccess, false),
            (Access::Passthrough, Listing::Shown, true),
            (closed.clone(), Listing::ByAccess, true),
            (closed, Listing::Hidden, false),
        ] {
            let mut app = app(&["wiki.example.com"], access);
            app.tile.listing = listing;
            assert_eq!(app.is_listed(), want, "{listing:?}");
        }
    }

    #[test]
    fn people_begin_at_the_home_of_the_first_name_that_is_one() {
        let exact = "wiki.example.com";
        let star = "*.apps.example.com";
        let chosen = "a.apps.example.com";
        for (hosts, path, home, host, want) in [
            (&[exact][..], "/", None, None, Some((exact, "/"))),
            (&[star, exact], "/a", None, None, Some((exact, "/a"))),
            (
                &[exact],
                "/a",
                Some("/a/home?x=1"),
                None,
                Some((exact, "/a/home?x=1")),
            ),
            (&[star], "/", None, None, None),
            (&[star], "/", None, Some(chosen), Some((chosen, "/"))),
            // A name that the app has no more leads nobody astray.
            (&[exact], "/", None, Some(chosen), Some((exact, "/"))),
            (&[star], "/", None, Some("b.example.com"), None),
            (&[], "/", None, None, None),
        ] {
            let mut app = app(hosts, Access::Passthrough);
            app.path = path.parse().unwrap();
            app.home_path = home.map(str::to_owned);
            app.tile.host = host.map(|host| host.parse().unwrap());
            let found = app.entrance();
            let found = found.map(|(host, path)| (host.as_str(), path));
            assert_eq!(found, want, "{hosts:?} {home:?} {host:?}");
        }
    }

    #[test]
    fn a_home_in_a_segment_is_at_the_segments_host() {
        let mut app = app(&["wiki.example.com"], Access::Passthrough);
        app.path = "/wiki".parse().unwrap();
        app.segments = vec![Segment {
            id: "docs".parse().unwrap(),
            hosts: vec!["docs.example.com".parse().unwrap()],
            path: "/docs".parse().unwrap(),
            cors: Vec::new(),
            identity_fields: Vec::new(),
        }];
        app.home_path = Some("/docs/start".to_owned());
        let (host, path) = app.entrance().unwrap();
        assert_eq!((host.as_str(), path), ("docs.example.com", "/docs/start"));
        app.hosts.clear();
        app.home_path = None;
        let (host, path) = app.entrance().unwrap();
        assert_eq!((host.as_str(), path), ("docs.example.com", "/docs"));
    }
}
