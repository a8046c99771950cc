//! From a request's host and path to the app that is published there: the most specific publication wins.
//!
//! Each app's main part and each of its segments is a place of its own. An exact host beats a wildcard; within a host the
//! longest path prefix wins, whoever's it is. A wildcard is not asked when the exact host is published but none of its
//! prefixes holds the path: what is published under a name of its own is complete. An app with neither hosts nor segments
//! is found nowhere.

use std::{iter, sync::Arc};

mod hosts;
mod publications;
mod site;

pub use publications::Publications;
pub use site::Site;

use crate::{
    app::{App, CorsRule, Segment},
    host::{HostPattern, Hostname},
    path::PathPrefix,
};
use hosts::Hosts;

/// Where requests go. Built from a snapshot, then only read. Clones share what they hold.
#[derive(Clone, Debug)]
pub struct RouteTable {
    exact: Hosts,
    /// By the domain under the star.
    wildcard: Hosts,
}

/// One place where an app is published: its main part, or one of its segments.
#[derive(Debug, Clone)]
pub struct Route {
    app: Arc<App>,
    /// Index into the app's segments; none: the main part.
    segment: Option<u32>,
}

/// Why there is no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Nothing is published there.
    #[error("no app is published there")]
    NoApp,
    /// Paths matter on this host, and the origin may read this one as another.
    #[error("the path can be read in two ways")]
    AmbiguousPath,
}

impl RouteTable {
    /// Builds the table. Of two apps with the same host and path the first in `apps` wins; control lets no such pair in.
    pub fn new(apps: impl IntoIterator<Item = Arc<App>>) -> Self {
        let mut publications = Publications::default();
        for (rank, app) in apps.into_iter().enumerate() {
            publications.put(&rank, &app);
        }
        publications.table()
    }

    /// Finds what a request is for.
    pub fn find(&self, host: &Hostname, path: &str) -> Result<&Route, RouteError> {
        self.site(host).ok_or(RouteError::NoApp)?.find(path)
    }

    /// What is published under `host`, if anything is.
    pub fn site(&self, host: &Hostname) -> Option<&Site> {
        let host = host.as_str();
        if let Some(site) = self.exact.get(host) {
            return Some(site);
        }
        let (_, domain) = host.split_once('.')?;
        self.wildcard.get(domain)
    }
}

impl Default for RouteTable {
    fn default() -> Self {
        Self {
            exact: Hosts::new(),
            wildcard: Hosts::new(),
        }
    }
}

/// Where an app is published: its main part, then its segments.
fn places(app: &Arc<App>) -> impl Iterator<Item = (&[HostPattern], Route)> {
    let route = |segment| Route {
        app: Arc::clone(app),
        segment,
    };
    let main = (&*app.hosts, route(None));
    let segments = (0..).zip(&app.segments);
    let segments = segments.map(move |(index, segment)| (&*segment.hosts, route(Some(index))));
    iter::once(main).chain(segments)
}

impl Route {
    /// The app.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The segment; none: the app's main part.
    pub fn segment(&self) -> Option<&Segment> {
        self.app.segments.get(usize::try_from(self.segment?).ok()?)
    }

    /// The published path.
    pub fn path(&self) -> &PathPrefix {
        self.segment()
            .map_or(&self.app.path, |segment| &segment.path)
    }

    /// Which other sites' pages may use it.
    pub fn cors(&self) -> &[CorsRule] {
        self.segment()
            .map_or(&self.app.cors, |segment| &segment.cors)
    }
}

/// Where robots look for what they are told (RFC 9309, section 2.3).
pub const ROBOTS_PATH: &str = "/robots.txt";

#[cfg(test)]
mod tests;
