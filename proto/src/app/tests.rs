//! Whole apps, good and bad.

use std::time::Duration;

use model::app::{CorsRule, HealthCheck, Limits, Rate, Timeouts};
use proptest::prelude::*;

use super::*;
use crate::arbitrary;

mod identity;
mod settings;

fn good() -> admin::App {
    admin::App {
        display_name: "Wiki".to_owned(),
        hosts: vec!["wiki.example.com".to_owned()],
        origins: vec![admin::Origin {
            url: "http://10.0.0.5:8080".to_owned(),
            tls: None,
            ..Default::default()
        }],
        group: "groups/office".to_owned(),
        access: admin::Access::Passthrough.into(),
        ..admin::App::default()
    }
}

fn faults(id: &str, app: &admin::App) -> Vec<String> {
    match publication(id, app) {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(ToString::to_string).collect(),
    }
}

#[track_caller]
fn check(change: impl FnOnce(&mut admin::App), want: &[&str]) {
    let mut app = good();
    change(&mut app);
    assert_eq!(faults("wiki", &app), want);
}

fn origin(url: &str, tls: admin::OriginTls) -> admin::Origin {
    admin::Origin {
        url: url.to_owned(),
        tls: Some(tls),
        ..Default::default()
    }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[test]
fn what_is_left_out_takes_its_default() {
    let read = publication("wiki", &good()).expect("a good app");
    assert_eq!(read.app.path, PathPrefix::root());
    assert_eq!(read.app.timeouts, Timeouts::default());
    assert_eq!(read.app.limits, Limits::default());
    assert_eq!(read.inside.origins[0].weight, 1);
    let wire = admin_app(&read);
    assert_eq!((wire.translation, wire.answer_rules), (None, None));
}

#[test]
fn what_is_left_out_is_the_fabrics_and_stays_unsaid() {
    let fabric = Settings {
        timeouts: Timeouts {
            total: Some(Duration::from_secs(60)),
            ..Timeouts::default()
        },
        limits: Limits {
            body_bytes: Some(1_000),
            requests: Some(10),
            ..Limits::default()
        },
        ..Settings::default()
    };
    let said = admin::App {
        timeouts: Some(admin::Timeouts {
            total: seconds(0),
            ..Default::default()
        }),
        limits: Some(admin::Limits {
            body_bytes: Some(0),
            client_rate: Some(admin::Rate {
                per_second: 5,
                burst: 0,
            }),
            ..Default::default()
        }),
        ..good()
    };
    let read = publication_under(&fabric, "wiki", &said).expect("a good app");
    assert_eq!(read.app.timeouts.total, None);
    let client_rate = Some(Rate {
        per_second: 5,
        burst: 5,
    });
    let want = Limits {
        requests: Some(10),
        client_rate,
        ..Limits::default()
    };
    assert_eq!(read.app.limits, want);

    let stored = stored_app(&read, &said);
    let own = stored.limits.expect("some were said");
    assert_eq!(
        (own.body_bytes, own.requests, own.rate),
        (Some(0), None, None)
    );
    assert_eq!(stored.timeouts, said.timeouts);
    let again = publication_under(&fabric, "wiki", &stored).expect("a good app");
    assert_eq!(again, read);
    assert_eq!(filled_app(stored, &fabric), admin_app(&read));
}

#[test]
fn a_timeout_that_is_said_leaves_the_others_alone() {
    let mut app = good();
    app.timeouts = Some(admin::Timeouts {
        connect: Some(prost_types::Duration {
            seconds: 2,
            nanos: 1_999_999,
        }),
        ..admin::Timeouts::default()
    });
    let read = publication("wiki", &app).expect("a good app");
    let want = Timeouts {
        connect: Duration::from_millis(2001),
        ..Timeouts::default()
    };
    assert_eq!(read.app.timeouts, want);
}

#[test]
fn everything_wrong_is_said_at_once() {
    let app = admin::App {
        display_name: "x".repeat(121),
        hosts: ["good.example", "10.0.0.1", "GOOD.example"]
            .map(str::to_owned)
            .into(),
        path: "relative".to_owned(),
        origins: vec![
            origin("ftp://files", admin::OriginTls::default()),
            origin(
                "http://plain",
                admin::OriginTls {
                    ca_pem: "no pem".to_owned(),
                    server_name: "a b".to_owned(),
                    insecure: true,
                },
            ),
        ],
        group: "office".to_owned(),
        access: 0,
        timeouts: Some(admin::Timeouts {
            connect: seconds(0),
            response: seconds(-1),
            idle: seconds(86_401),
            ..Default::default()
        }),
        ..admin::App::default()
    };
    let found = publication("Wiki", &app).expect_err("nothing in it is good");
    let fields: Vec<_> = found.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "app_id",
            "app.display_name",
            "app.hosts[1]",
            "app.hosts[2]",
            "app.path",
            "app.origins[0].url",
            "app.origins[1].tls.ca_pem",
            "app.origins[1].tls.server_name",
            "app.origins[1].tls",
            "app.group",
            "app.access",
            "app.timeouts.connect",
            "app.timeouts.response",
            "app.timeouts.idle",
        ]
    );
}

#[test]
fn each_fault_is_said_in_words() {
    check(|_| (), &[]);
    check(|app| app.access = 0, &["app.access must be said"]);
    check(
        |app| app.access = 99,
        &["app.access is of a kind that this version does not know"],
    );
    check(
        |app| app.hosts.clear(),
        &["app.hosts must be 1 to 16 names"],
    );
    check(
        |app| app.hosts = (0..17).map(|n| format!("h{n}.example")).collect(),
        &["app.hosts must be 1 to 16 names"],
    );
    check(
        |app| app.hosts.push("wiki.example.com.".to_owned()),
        &["app.hosts[1] repeats wiki.example.com"],
    );
    check(
        |app| app.origins.clear(),
        &["app.origins must be 1 to 8 origins"],
    );
    check(
        |app| app.origins = vec![app.origins[0].clone(); 9],
        &["app.origins must be 1 to 8 origins"],
    );
    check(
        |app| app.group = "groups/".to_owned(),
        &["app.group has an id that must not be empty"],
    );
    check(
        |app| app.display_name = "a\nb".to_owned(),
        &["app.display_name must not have control characters"],
    );
    check(
        |app| {
            app.timeouts = Some(admin::Timeouts {
                idle: seconds(0),
                ..Default::default()
            })
        },
        &["app.timeouts.idle must be between 1s and 1d"],
    );
    check(
        |app| {
            app.hosts.clear();
            app.origins.clear();
        },
        &["app.hosts must be 1 to 16 names: without hosts and segments nothing would be reachable"],
    );
    check(
        |app| {
            app.origins[0].title_case = true;
            app.origins[0].protocol = admin::OriginProtocol::Http2.into();
        },
        &["app.origins[0].title_case is only for HTTP/1.1"],
    );
    check(
        |app| app.origins[0].weight = 1_001,
        &["app.origins[0].weight must be 1 to 1000"],
    );
    check(
        |app| app.origins[0].protocol = 9,
        &["app.origins[0].protocol is of a kind that this version does not know"],
    );
    check(
        |app| app.origin_proxy = "https://proxy".to_owned(),
        &["app.origin_proxy must be http://host:port"],
    );
}

#[test]
fn a_ca_may_not_be_larger_than_its_bound() {
    let ca_pem = "x".repeat(model::app::CA_PEM_BYTES_MAX + 1);
    let tls = admin::OriginTls {
        ca_pem,
        ..admin::OriginTls::default()
    };
    check(
        |app| app.origins = vec![origin("https://wiki", tls)],
        &["app.origins[0].tls.ca_pem must not be longer than 65536 bytes"],
    );
}

#[test]
fn tls_that_says_nothing_is_fine_for_http() {
    check(
        |app| app.origins = vec![origin("http://wiki", admin::OriginTls::default())],
        &[],
    );
}

proptest! {
    #[test]
    fn publications_survive_the_wire(publication in arbitrary::publication()) {
        let wire = admin_app(&publication);
        prop_assert_eq!(&wire.name, &publication.app.id.resource_name());
        prop_assert_eq!(
            super::publication(publication.app.id.as_str(), &wire),
            Ok(publication.clone())
        );
        prop_assert_eq!(stored_app(&publication, &wire), wire);
    }
}
