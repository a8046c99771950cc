//! From a request's host and path to the app that is published there: the most specific publication wins.
//!
//! Each app's main part and each of its segments is a place of its own. An exact host beats a wildcard; within a host the
//! longest path prefix wins, whoever's it is. A wildcard is not asked when the exact host is published but none of its
//! prefixes holds the path: what is published under a name of its own is complete. An app with neither hosts nor segments
//! is found nowhere.

use std::{collections::HashMap, sync::Arc};

use crate::{
    app::{App, CorsRule, Robots, Segment},
    host::{HostPattern, Hostname},
    path::{self, PathPrefix},
};

/// Where requests go. Built whole from a snapshot, then only read.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: HashMap<Hostname, Site>,
    /// By the domain under the star.
    wildcard: HashMap<Hostname, Site>,
}

/// One place where an app is published: its main part, or one of its segments.
#[derive(Debug, Clone)]
pub struct Route {
    app: Arc<App>,
    /// Index into the app's segments; none: the main part.
    segment: Option<usize>,
}

/// Everything that is published under one host, longest prefix first.
#[derive(Debug, Default)]
pub struct Site(Vec<Route>);

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
        let mut table = Self::default();
        for app in apps {
            table.insert(&app.hosts, &app, None);
            for (index, segment) in app.segments.iter().enumerate() {
                table.insert(&segment.hosts, &app, Some(index));
            }
        }
        table
    }

    /// Finds what a request is for.
    pub fn find(&self, host: &Hostname, path: &str) -> Result<&Route, RouteError> {
        self.site(host).ok_or(RouteError::NoApp)?.find(path)
    }

    /// What is published under `host`, if anything is.
    pub fn site(&self, host: &Hostname) -> Option<&Site> {
        if let Some(site) = self.exact.get(host) {
            return Some(site);
        }
        let (_, domain) = host.as_str().split_once('.')?;
        self.wildcard.get(domain)
    }

    fn insert(&mut self, hosts: &[HostPattern], app: &Arc<App>, segment: Option<usize>) {
        for host in hosts {
            let site = match host {
                HostPattern::Exact(name) => self.exact.entry(name.clone()),
                HostPattern::Wildcard(domain) => self.wildcard.entry(domain.clone()),
            };
            let app = Arc::clone(app);
            site.or_default().insert(Route { app, segment });
        }
    }
}

impl Route {
    /// The app.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The segment; none: the app's main part.
    pub fn segment(&self) -> Option<&Segment> {
        self.app.segments.get(self.segment?)
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

impl Site {
    /// Finds what a request for `path` is for.
    pub fn find(&self, path: &str) -> Result<&Route, RouteError> {
        let prefixes = self.0.iter().map(Route::path);
        if self.is_scoped() && !path::reads_one_way(path, prefixes) {
            return Err(RouteError::AmbiguousPath);
        }
        self.holding(path).ok_or(RouteError::NoApp)
    }

    /// What robots are told. The app that holds [`ROBOTS_PATH`] speaks for the host. Where none does, one app that keeps
    /// robots out is enough, and an origin cannot be asked.
    pub fn robots(&self) -> Option<&Robots> {
        if let Some(route) = self.holding(ROBOTS_PATH) {
            return Some(&route.app.answer_rules.robots);
        }
        let all = || self.0.iter().map(|route| &route.app.answer_rules.robots);
        all()
            .find(|robots| **robots == Robots::Disallow)
            .or_else(|| all().find(|robots| **robots != Robots::Origin))
    }

    /// Where the portal's link to `app` leads on this host: its home path, if that is the app's here, or where it is
    /// published. Without `app` the one with the shortest path is meant.
    pub fn home(&self, app: Option<&str>) -> Option<&str> {
        let is_meant = |route: &&Route| app.is_none_or(|app| route.app.id.as_str() == app);
        let route = self.0.iter().rev().find(is_meant)?;
        let home = route.app.home_path.as_deref();
        let home = home.filter(|home| self.leads_to(home, route));
        Some(home.unwrap_or_else(|| route.path().as_str()))
    }

    fn leads_to(&self, target: &str, route: &Route) -> bool {
        // Two slashes would begin the name of another host; browsers read backslashes as slashes and skip tabs.
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
        if !target.starts_with('/') || target.starts_with("//") || !target.bytes().all(plain) {
            return false;
        }
        let path = target.split(['?', '#']).next().unwrap_or(target);
        self.find(path)
            .is_ok_and(|found| Arc::ptr_eq(&found.app, &route.app))
    }

    fn insert(&mut self, route: Route) {
        let longer = |held: &Route| held.path().as_str().len() >= route.path().as_str().len();
        let at = self.0.partition_point(longer);
        self.0.insert(at, route);
    }

    fn holding(&self, path: &str) -> Option<&Route> {
        self.0.iter().find(|route| route.path().holds(path))
    }

    fn is_scoped(&self) -> bool {
        self.0.iter().any(|route| route.path().as_str() != "/")
    }
}

/// Where robots look for what they are told (RFC 9309, section 2.3).
pub const ROBOTS_PATH: &str = "/robots.txt";

#[cfg(test)]
mod tests;
