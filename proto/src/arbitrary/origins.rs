//! Servers that an app is at.

use model::app::{ORIGINS_MAX, Origin, OriginProtocol, OriginTls, OriginUrl, Scheme};
use proptest::{collection, option, prelude::*};

use super::HOST;

pub(super) fn origins() -> impl Strategy<Value = Vec<Origin>> {
    let url = prop_oneof![
        (prop_oneof![Just("http"), Just("https")], HOST, 1_u16..)
            .prop_map(|(scheme, host, port)| format!("{scheme}://{host}:{port}")),
        any::<std::net::Ipv4Addr>().prop_map(|ip| format!("http://{ip}")),
        any::<std::net::Ipv6Addr>().prop_map(|ip| format!("https://[{ip}]")),
        "unix:(/[a-z][a-z.]{0,7}){1,4}".prop_map(String::from),
    ];
    let protocol = prop_oneof![
        Just(OriginProtocol::Auto),
        Just(OriginProtocol::Http1),
        Just(OriginProtocol::Http2),
    ];
    let origin = (url, tls(), 1..=Origin::WEIGHT_MAX, protocol, any::<bool>()).prop_map(
        |(url, tls, weight, protocol, title_case)| {
            let url: OriginUrl = url.parse().expect("a good url");
            let tls = match url.scheme {
                Scheme::Http => OriginTls::default(),
                Scheme::Https => tls,
            };
            Origin {
                url,
                tls,
                weight,
                protocol,
                title_case: title_case && protocol != OriginProtocol::Http2,
            }
        },
    );
    collection::vec(origin, 1..=ORIGINS_MAX)
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
