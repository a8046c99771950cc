//! From a request's host and path to the app that is published there: the most specific publication wins.
//!
//! An exact host beats a wildcard; within a host the longest path prefix wins. A wildcard is not asked when the exact
//! host is published but none of its prefixes holds the path: what is published under a name of its own is complete.

use std::{collections::HashMap, sync::Arc};

use crate::{
    app::App,
    host::{HostPattern, Hostname},
    path,
};

/// Where requests go. Built whole from a snapshot, then only read.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: HashMap<Hostname, Prefixes>,
    /// By the domain under the star.
    wildcard: HashMap<Hostname, Prefixes>,
}

/// Apps of one host, longest prefix first.
#[derive(Debug, Default)]
struct Prefixes(Vec<Arc<App>>);

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
            for host in &app.hosts {
                let prefixes = match host {
                    HostPattern::Exact(name) => table.exact.entry(name.clone()),
                    HostPattern::Wildcard(domain) => table.wildcard.entry(domain.clone()),
                };
                prefixes.or_default().insert(app.clone());
            }
        }
        table
    }

    /// Finds the app for a request.
    pub fn find(&self, host: &Hostname, path: &str) -> Result<&Arc<App>, RouteError> {
        let prefixes = self.prefixes(host).ok_or(RouteError::NoApp)?;
        let found = prefixes.find(path);
        if prefixes.are_scoped() && (path::is_ambiguous(path) || prefixes.differ(found, path)) {
            return Err(RouteError::AmbiguousPath);
        }
        found.ok_or(RouteError::NoApp)
    }

    /// Whether anything at all is published under `host`.
    pub fn knows(&self, host: &Hostname) -> bool {
        self.prefixes(host).is_some()
    }

    fn prefixes(&self, host: &Hostname) -> Option<&Prefixes> {
        if let Some(prefixes) = self.exact.get(host) {
            return Some(prefixes);
        }
        let (_, domain) = host.as_str().split_once('.')?;
        self.wildcard.get(domain)
    }
}

impl Prefixes {
    fn insert(&mut self, app: Arc<App>) {
        let longer = |held: &Arc<App>| held.path.as_str().len() >= app.path.as_str().len();
        let at = self.0.partition_point(longer);
        self.0.insert(at, app);
    }

    fn find(&self, path: &str) -> Option<&Arc<App>> {
        self.0.iter().find(|app| app.path.holds(path))
    }

    /// Whether an origin that reads `path` leniently takes it for that of another app.
    fn differ(&self, found: Option<&Arc<App>>, path: &str) -> bool {
        let leniently = self.find(&path::read_leniently(path));
        leniently.map(Arc::as_ptr) != found.map(Arc::as_ptr)
    }

    fn are_scoped(&self) -> bool {
        self.0.iter().any(|app| app.path.as_str() != "/")
    }
}

#[cfg(test)]
mod tests;
