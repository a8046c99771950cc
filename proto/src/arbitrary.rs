//! Publications for property tests.

use std::{collections::BTreeSet, time::Duration};

use model::{
    app::{
        Access, App, DISPLAY_NAME_CHARS_MAX, HOSTS_MAX, Inside, ORIGINS_MAX, Origin, OriginTls,
        OriginUrl, Publication, Scheme, Timeouts,
    },
    host::{HostPattern, Hostname},
    path::PathPrefix,
};
use proptest::{collection, option, prelude::*};

const ID: &str = "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?";
const HOST: &str = "[a-z][a-z0-9]{0,8}(\\.[a-z]([a-z0-9-]{0,4}[a-z0-9])?){1,3}";
const PATH: &str = "/|(/[a-zA-Z0-9_~-]{1,6}){1,3}";

/// Any publication that operators may make.
pub(crate) fn publication() -> impl Strategy<Value = Publication> {
    let display_name = collection::vec(
        any::<char>().prop_filter("printable", |char| !char.is_control()),
        0..=DISPLAY_NAME_CHARS_MAX,
    );
    (app(), origins(), display_name).prop_map(|(app, origins, display_name)| Publication {
        app,
        inside: Inside {
            origins,
            ..Inside::default()
        },
        display_name: display_name.into_iter().collect(),
    })
}

/// The edges' half of one.
pub(crate) fn app() -> impl Strategy<Value = App> {
    (ID, hosts(), PATH, ID, timeouts()).prop_map(|(id, hosts, path, group, timeouts)| App {
        hosts,
        path: path.parse::<PathPrefix>().expect("a good path"),
        timeouts,
        ..App::new(
            id.parse().expect("a good id"),
            group.parse().expect("a good id"),
            Access::Passthrough,
        )
    })
}

/// Origins of an app.
pub(crate) fn origins() -> impl Strategy<Value = Vec<Origin>> {
    let url = prop_oneof![
        (prop_oneof![Just("http"), Just("https")], HOST, 1_u16..)
            .prop_map(|(scheme, host, port)| format!("{scheme}://{host}:{port}")),
        any::<std::net::Ipv4Addr>().prop_map(|ip| format!("http://{ip}")),
        any::<std::net::Ipv6Addr>().prop_map(|ip| format!("https://[{ip}]")),
    ];
    let origin = (url, tls()).prop_map(|(url, tls)| {
        let url: OriginUrl = url.parse().expect("a good url");
        let tls = match url.scheme {
            Scheme::Http => OriginTls::default(),
            Scheme::Https => tls,
        };
        Origin {
            tls,
            ..Origin::new(url)
        }
    });
    collection::vec(origin, 1..=ORIGINS_MAX)
}

/// Time-outs in their ranges.
pub(crate) fn timeouts() -> impl Strategy<Value = Timeouts> {
    (
        100_u64..=300_000,
        100_u64..=86_400_000,
        1_000_u64..=86_400_000,
    )
        .prop_map(|(connect, response, idle)| Timeouts {
            connect: Duration::from_millis(connect),
            response: Duration::from_millis(response),
            idle: Duration::from_millis(idle),
            total: None,
        })
}

fn hosts() -> impl Strategy<Value = Vec<HostPattern>> {
    let host = (any::<bool>(), HOST).prop_map(|(wildcard, name)| {
        let name: Hostname = name.parse().expect("a good name");
        if wildcard {
            HostPattern::Wildcard(name)
        } else {
            HostPattern::Exact(name)
        }
    });
    collection::btree_set(host, 1..=HOSTS_MAX)
        .prop_map(|hosts: BTreeSet<_>| hosts.into_iter().collect())
}

fn tls() -> impl Strategy<Value = OriginTls> {
    let pem =
        "-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/]{1,64}\n){1,3}-----END CERTIFICATE-----\n";
    (option::of(pem), option::of(HOST), any::<bool>()).prop_map(|(pem, server_name, insecure)| {
        OriginTls {
            ca_pem: pem.map(Into::into),
            server_name: server_name.map(|name| name.parse().expect("a good name")),
            insecure,
        }
    })
}
