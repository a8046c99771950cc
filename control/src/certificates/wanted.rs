//! Published hosts that the domain's own certificate does not cover.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use model::host::{HostPattern, Hostname};
use prost::Message as _;
use proto::admin::App;
use runtime::node::is_reserved;

/// Counts the apps of each host, so that one goes when its last app does.
#[derive(Debug)]
pub(super) struct Wanted {
    domain: Hostname,
    apps: BTreeMap<HostPattern, usize>,
}

impl Wanted {
    pub(super) fn new(domain: Hostname) -> Self {
        Self {
            domain,
            apps: BTreeMap::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.apps.clear();
    }

    /// Adds the hosts of a stored app.
    pub(super) fn add(&mut self, app: &Bytes) {
        for host in self.outside(app) {
            *self.apps.entry(host).or_default() += 1;
        }
    }

    /// Takes back the hosts of a stored app.
    pub(super) fn remove(&mut self, app: &Bytes) {
        for host in self.outside(app) {
            if let Some(count) = self.apps.get_mut(&host) {
                *count -= 1;
                if *count == 0 {
                    self.apps.remove(&host);
                }
            }
        }
    }

    pub(super) fn names(&self) -> BTreeSet<String> {
        self.apps.keys().map(ToString::to_string).collect()
    }

    fn outside(&self, app: &Bytes) -> Vec<HostPattern> {
        let app = App::decode(app.clone()).unwrap_or_default();
        let segments = app.segments.iter().flat_map(|segment| &segment.hosts);
        let hosts = app.hosts.iter().chain(segments);
        let parsed = hosts.filter_map(|host| host.parse().ok());
        let outside = parsed.filter(|host| !self.is_covered(host));
        // Every edge gets these certificates, and none may pass for control or for another edge.
        let mut outside: Vec<_> = outside.filter(|host| !is_reserved(host)).collect();
        // A host of several segments counts once, as it does when it is taken back.
        outside.sort_unstable();
        outside.dedup();
        outside
    }

    fn is_covered(&self, host: &HostPattern) -> bool {
        // Clients refuse a wildcard right below a single label ("*.localhost"), so such names are listed one by one.
        let wildcard_works = self.domain.as_str().contains('.');
        match host {
            HostPattern::Exact(name) if *name == self.domain => true,
            HostPattern::Exact(name) => {
                wildcard_works && HostPattern::Wildcard(self.domain.clone()).matches(name)
            }
            HostPattern::Wildcard(domain) => *domain == self.domain,
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::admin::Segment;

    use super::*;

    #[test]
    fn no_certificate_is_wanted_for_names_of_nodes() {
        let mut wanted = Wanted::new("example.com".parse().expect("a domain"));
        let hosts = ["a.example.net", "control.adit.internal", "*.adit.internal"];
        let app = App {
            hosts: hosts.map(str::to_owned).to_vec(),
            ..App::default()
        };
        wanted.add(&app.encode_to_vec().into());
        assert_eq!(wanted.names(), ["a.example.net".to_owned()].into());
    }

    #[test]
    fn hosts_of_segments_are_wanted_as_long_as_they_are_published() {
        let mut wanted = Wanted::new("example.com".parse().expect("a domain"));
        let segment = |host: &str| Segment {
            hosts: vec![host.to_owned()],
            ..Segment::default()
        };
        let app = App {
            segments: vec![segment("docs.example.net"), segment("docs.example.net")],
            ..App::default()
        };
        let app = app.encode_to_vec().into();
        wanted.add(&app);
        assert_eq!(wanted.names(), ["docs.example.net".to_owned()].into());
        wanted.remove(&app);
        assert!(wanted.names().is_empty());
    }
}
