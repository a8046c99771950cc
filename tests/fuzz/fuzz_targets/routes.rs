//! Any host and path, and any set of apps: the routing table agrees with a model of a few lines, and a path is never routed to an
//! app whose scope it leaves when an origin normalises it.

#![no_main]

#[path = "../src/readings.rs"]
mod readings;
#[path = "../src/supply.rs"]
mod supply;

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use model::{
    app::{Access, App},
    host::{HostPattern, Hostname},
    route::{RouteError, RouteTable},
};
use readings::{longest, readings};
use supply::Supply;

/// Enough for two on each of a few hosts.
const APPS_MAX: u8 = 6;

const HOSTS: [&str; 5] = [
    "a.example",
    "b.example",
    "*.a.example",
    "*.b.example",
    "x.a.example",
];

fuzz_target!(|input: &[u8]| {
    let mut supply = Supply::new(input);
    let apps = apps(&mut supply);
    let host = match supply.byte() % 8 {
        odd if usize::from(odd) >= HOSTS.len() => supply.text(),
        known => HOSTS[usize::from(known)].replace('*', "y"),
    };
    let Ok(host) = host.parse::<Hostname>() else {
        return;
    };
    assert_eq!(host.as_str().parse().as_ref(), Ok(&host), "read twice");
    check(&apps, &host, &format!("/{}", supply.text()));
});

fn apps(supply: &mut Supply<'_>) -> Vec<Arc<App>> {
    let count = supply.byte() % APPS_MAX;
    let mut apps: Vec<Arc<App>> = Vec::new();
    for number in 0..count {
        let host = HOSTS[usize::from(supply.byte()) % HOSTS.len()];
        let host: HostPattern = host.parse().expect("good");
        let Ok(path) = supply.prefix().parse() else {
            continue;
        };
        // Control lets no two apps have one place.
        if apps
            .iter()
            .any(|app| app.hosts[0] == host && app.path == path)
        {
            continue;
        }
        let id = format!("app-{number}").parse().expect("good");
        let group = "office".parse().expect("good");
        apps.push(Arc::new(App {
            hosts: vec![host],
            path,
            ..App::new(id, group, Access::Passthrough)
        }));
    }
    apps
}

fn check(apps: &[Arc<App>], host: &Hostname, path: &str) {
    let site = site(apps, host);
    let found = RouteTable::new(apps.iter().cloned());
    let found = found.find(host, path).map(|route| route.path().as_str());
    let plain = longest(site.iter().copied(), path, false);
    match found {
        Ok(prefix) => assert_eq!(Some(prefix), plain, "{path}"),
        Err(RouteError::NoApp) => assert_eq!(None, plain, "{path}"),
        Err(RouteError::AmbiguousPath) => {
            assert!(
                site.iter().any(|prefix| *prefix != "/"),
                "{path} is refused for nothing"
            );
            return;
        }
    }
    for reading in readings(path) {
        let there = longest(site.iter().copied(), &reading, true);
        let lower = |prefix: &str| prefix.to_lowercase();
        assert_eq!(
            there.map(lower),
            plain.map(lower),
            "{path} read as {reading}"
        );
    }
}

/// The prefixes of everything that is published at the name, or else under its wildcard.
fn site<'a>(apps: &'a [Arc<App>], host: &Hostname) -> Vec<&'a str> {
    let at = |wanted: &HostPattern| -> Vec<&'a str> {
        let there = apps.iter().filter(|app| app.hosts[0] == *wanted);
        there.map(|app| app.path.as_str()).collect()
    };
    let exact = at(&HostPattern::Exact(host.clone()));
    let parent = host.as_str().split_once('.');
    match parent.and_then(|(_, parent)| parent.parse().ok()) {
        Some(parent) if exact.is_empty() => at(&HostPattern::Wildcard(parent)),
        _ => exact,
    }
}
