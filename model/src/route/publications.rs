//! What a table is made of, kept from one table to the next: a change costs the shards in which its names are, and no more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Route, RouteTable, hosts::Hosts, places};
use crate::{
    app::App,
    host::{HostPattern, Hostname},
};

/// Apps by rank. Of two with the same host and path the one of the lower rank wins; control lets no such pair in.
#[derive(Debug)]
pub struct Publications<K> {
    exact: Half<K>,
    wildcard: Half<K>,
}

/// Names of one kind.
#[derive(Debug)]
struct Half<K> {
    hosts: Hosts,
    /// Apps with a name in each shard.
    apps: BTreeMap<usize, BTreeMap<K, Arc<App>>>,
    /// Shards that are not as `apps` says.
    stale: BTreeSet<usize>,
}

impl<K> Default for Publications<K> {
    fn default() -> Self {
        let RouteTable { exact, wildcard } = RouteTable::default();
        Self {
            exact: Half::new(exact),
            wildcard: Half::new(wildcard),
        }
    }
}

impl<K: Clone + Ord> Publications<K> {
    /// Adds an app. What had its rank before must have been removed.
    pub fn put(&mut self, rank: &K, app: &Arc<App>) {
        for (hosts, _) in places(app) {
            for host in hosts {
                let (half, name) = self.half(host);
                half.shard(name).insert(rank.clone(), Arc::clone(app));
            }
        }
    }

    /// Removes an app that was put there with this rank.
    pub fn remove(&mut self, rank: &K, app: &Arc<App>) {
        for (hosts, _) in places(app) {
            for host in hosts {
                let (half, name) = self.half(host);
                half.shard(name).remove(rank);
            }
        }
    }

    fn half<'a>(&mut self, host: &'a HostPattern) -> (&mut Half<K>, &'a Hostname) {
        match host {
            HostPattern::Exact(name) => (&mut self.exact, name),
            HostPattern::Wildcard(domain) => (&mut self.wildcard, domain),
        }
    }

    /// The table of what is there now.
    pub fn table(&mut self) -> RouteTable {
        self.exact.refresh(|host| match host {
            HostPattern::Exact(name) => Some(name),
            HostPattern::Wildcard(_) => None,
        });
        self.wildcard.refresh(|host| match host {
            HostPattern::Exact(_) => None,
            HostPattern::Wildcard(domain) => Some(domain),
        });
        RouteTable {
            exact: self.exact.hosts.clone(),
            wildcard: self.wildcard.hosts.clone(),
        }
    }
}

impl<K> Half<K> {
    const fn new(hosts: Hosts) -> Self {
        Self {
            hosts,
            apps: BTreeMap::new(),
            stale: BTreeSet::new(),
        }
    }
}

impl<K: Clone + Ord> Half<K> {
    /// The apps of a name's shard, to be changed.
    fn shard(&mut self, name: &Hostname) -> &mut BTreeMap<K, Arc<App>> {
        let shard = self.hosts.shard(name);
        self.stale.insert(shard);
        self.apps.entry(shard).or_default()
    }

    /// Makes the shards anew that are not as they should be, of those names that `of_kind` takes.
    fn refresh(&mut self, of_kind: impl Fn(&HostPattern) -> Option<&Hostname>) {
        for shard in std::mem::take(&mut self.stale) {
            let apps = self.apps.get(&shard).into_iter().flat_map(BTreeMap::values);
            let routes = apps.flat_map(places);
            let named = routes.flat_map(|(hosts, route)| {
                let names = hosts.iter().filter_map(&of_kind);
                names.map(move |name| (name, route.clone()))
            });
            let here: Vec<(&Hostname, Route)> = named
                .filter(|(name, _)| self.hosts.shard(name) == shard)
                .collect();
            let mut gathered = self.hosts.gather(here.len());
            for (name, route) in here {
                gathered.add(name, route);
            }
            let finished = gathered.finish();
            self.hosts.replace(shard, finished);
        }
    }
}
