//! Views of snapshots, good and bad.

use proto::fabric::{self, AccessKind, EdgeApp, EdgeSegment, Timeouts, resource::Kind};

use super::*;

fn resources(kinds: Vec<(&str, Kind)>) -> BTreeMap<String, Resource> {
    kinds
        .into_iter()
        .map(|(name, kind)| {
            let resource = Resource {
                name: name.to_owned(),
                kind: Some(kind),
            };
            (name.to_owned(), resource)
        })
        .collect()
}

fn app(host: &str) -> Kind {
    named_app("wiki", host)
}

fn named_app(id: &str, host: &str) -> Kind {
    Kind::EdgeApp(EdgeApp {
        id: id.to_owned(),
        hosts: vec![host.to_owned()],
        path: "/".to_owned(),
        group: "office".to_owned(),
        access: AccessKind::Passthrough.into(),
        timeouts: Some(Timeouts {
            connect_ms: 1_000,
            response_ms: 1_000,
            idle_ms: 1_000,
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn stopped() -> Kind {
    Kind::Fabric(fabric::FabricSettings {
        domain: "example.com".to_owned(),
        stopped: true,
        ..Default::default()
    })
}

fn agent(id: &str, revoked: bool) -> Kind {
    Kind::Agent(fabric::AgentRecord {
        id: id.to_owned(),
        group: "office".to_owned(),
        revoked,
        ..Default::default()
    })
}

#[test]
fn a_view_shows_apps_and_agents() {
    let view = View::build(
        7,
        &resources(vec![
            ("apps/wiki", app("wiki.example.com")),
            ("agents/a1", agent("a1", false)),
            ("agents/a2", agent("a2", true)),
        ]),
    );
    let host = "wiki.example.com".parse().unwrap();
    let route = view.site(&host).unwrap().find("/").unwrap();
    assert_eq!(route.app().id.as_str(), "wiki");
    let office = Membership::Serves(Member {
        group: "office".parse().unwrap(),
        keys_sha256: Vec::new(),
    });
    for (id, want) in [
        ("a1", Some(&office)),
        ("a2", Some(&Membership::Revoked)),
        ("a3", None),
    ] {
        assert_eq!(view.membership(&id.parse().unwrap()), want, "{id}");
    }
}

#[test]
fn a_bad_resource_is_named_and_costs_nothing_else() {
    let broken = fabric::Certificate {
        names: vec!["*.example.com".to_owned()],
        chain: vec![b"junk".to_vec().into()],
        key: b"junk".to_vec().into(),
    };
    for (name, kind) in [
        ("apps/broken", app("not a host")),
        ("agents/A!", agent("A!", false)),
        ("certificates/c1", Kind::Certificate(broken)),
    ] {
        let view = View::build(
            1,
            &resources(vec![
                (name, kind),
                ("apps/wiki", app("wiki.example.com")),
                ("agents/a2", agent("a2", true)),
                ("fabric", stopped()),
            ]),
        );
        let [fault] = view.faults() else {
            panic!("{name}: {:?}", view.faults());
        };
        assert!(
            fault.to_string().contains(name) || name == "apps/broken",
            "{fault}"
        );
        let revoked = view.membership(&"a2".parse().unwrap());
        assert_eq!(revoked, Some(&Membership::Revoked), "{name}");
        assert!(view.is_stopped(), "{name}");
        assert!(view.site(&"wiki.example.com".parse().unwrap()).is_some());
    }
}

#[test]
fn an_app_that_cannot_be_used_keeps_its_place() {
    let Kind::EdgeApp(mut secret) = app("wiki.example.com") else {
        unreachable!("it makes an app");
    };
    secret.id = "secret".to_owned();
    secret.path = "/secret".to_owned();
    secret.access = i32::MAX;
    let view = View::build(
        1,
        &resources(vec![
            ("apps/wiki", app("wiki.example.com")),
            ("apps/secret", Kind::EdgeApp(secret)),
        ]),
    );
    assert_eq!(view.faults().len(), 1);
    let site = view.site(&"wiki.example.com".parse().unwrap()).unwrap();
    for (path, id, is_unusable) in [("/secret/a", "secret", true), ("/a", "wiki", false)] {
        let app = site.find(path).unwrap().app();
        assert_eq!(
            (app.id.as_str(), view.is_unusable(&app.id)),
            (id, is_unusable)
        );
    }
}

#[test]
fn what_can_be_read_of_where_such_an_app_is_published_stays_closed() {
    let Kind::EdgeApp(mut secret) = app("secret.example.com") else {
        unreachable!("it makes an app");
    };
    let segment = |host: &str, path: &str| EdgeSegment {
        id: "s".to_owned(),
        hosts: vec!["not a host".to_owned(), host.to_owned()],
        path: path.to_owned(),
        ..EdgeSegment::default()
    };
    secret.id = "secret".to_owned();
    secret.group = "not a group".to_owned();
    secret.hosts = vec!["not a host".to_owned(), "secret.example.com".to_owned()];
    secret.segments = vec![
        segment("more.example.com", "/"),
        segment("less.example.com", "no path"),
        segment("zoo.example.com", "no path"),
    ];
    let view = View::build(
        1,
        &resources(vec![
            ("apps/all", named_app("all", "*.example.com")),
            ("apps/secret", Kind::EdgeApp(secret)),
            ("apps/zoo", named_app("zoo", "zoo.example.com")),
        ]),
    );
    assert_eq!(view.faults().len(), 1);
    for (host, id) in [
        ("secret.example.com", "secret"),
        ("more.example.com", "secret"),
        ("less.example.com", "secret"),
        ("zoo.example.com", "zoo"),
        ("other.example.com", "all"),
    ] {
        let site = view.site(&host.parse().unwrap()).unwrap();
        let app = site.find("/").unwrap().app();
        assert_eq!(app.id.as_str(), id, "{host}");
        assert_eq!(view.is_unusable(&app.id), id == "secret", "{host}");
    }
}

#[test]
fn a_change_is_read_and_the_rest_is_kept() {
    let mut builder = ViewBuilder::default();
    let mut all = resources(vec![
        ("apps/crm", named_app("crm", "crm.example.com")),
        ("apps/wiki", named_app("wiki", "wiki.example.com")),
    ]);
    let mut build = |resources: &BTreeMap<String, Resource>, changed| {
        builder.build(&Update {
            resources,
            revision: 1,
            changed,
        })
    };
    let published = |view: &View, host: &str| {
        let host = host.parse().unwrap();
        let route = view.site(&host).map(|site| site.find("/").unwrap());
        route.map(|route| Arc::clone(route.app()))
    };
    let first = build(&all, Changed::Any);

    all.extend(resources(vec![(
        "apps/wiki",
        named_app("wiki", "w.example.com"),
    )]));
    let moved = build(&all, Changed::Only(&["apps/wiki"]));
    assert!(published(&moved, "wiki.example.com").is_none());
    assert!(published(&moved, "w.example.com").is_some());
    let crm = |view| published(view, "crm.example.com").unwrap();
    assert!(Arc::ptr_eq(&crm(&first), &crm(&moved)));

    let mut broken = all.clone();
    broken.extend(resources(vec![("apps/wiki", app("not a host"))]));
    let without = build(&broken, Changed::Only(&["apps/wiki"]));
    assert_eq!(without.faults().len(), 1);
    assert!(published(&without, "w.example.com").is_none());
    assert!(Arc::ptr_eq(&crm(&first), &crm(&without)));
    let still = build(&broken, Changed::Only(&[]));
    assert_eq!(still.faults().len(), 1);
    let mended = build(&all, Changed::Only(&["apps/wiki"]));
    assert!(mended.faults().is_empty());
    assert!(published(&mended, "w.example.com").is_some());

    all.remove("apps/crm");
    let left = build(&all, Changed::Only(&["apps/crm"]));
    assert!(published(&left, "crm.example.com").is_none());
    assert!(!left.has_app(&"crm".parse().unwrap()));
}

#[test]
fn an_app_for_all_names_of_the_domain_has_none_of_the_fabrics_own() {
    let told = Kind::Fabric(fabric::FabricSettings {
        domain: "example.com".to_owned(),
        ..Default::default()
    });
    let view = View::build(
        1,
        &resources(vec![
            ("fabric", told),
            ("apps/all", named_app("all", "*.example.com")),
        ]),
    );
    assert!(view.faults().is_empty(), "{:?}", view.faults());
    for (host, is_an_apps) in [
        ("wiki.example.com", true),
        ("auth.example.com", false),
        ("apps.example.com", false),
    ] {
        let site = view.site(&host.parse().unwrap());
        assert_eq!(site.is_some(), is_an_apps, "{host}");
    }
}

#[tokio::test]
async fn replacement_is_told() {
    let views = Views::default();
    assert!(views.current().is_none());
    let mut changes = views.subscribe();
    views.replace(View::build(3, &BTreeMap::new()));
    changes.changed().await.unwrap();
    assert_eq!(*changes.borrow(), 3);
    assert_eq!(views.current().unwrap().revision(), 3);
}

#[test]
fn limits_that_cannot_be_used_are_named_and_cost_nothing_else() {
    let limits = fabric::EdgeLimits {
        streams: Some(0),
        resets: Some(7),
        ..Default::default()
    };
    let told = Kind::Fabric(fabric::FabricSettings {
        domain: "example.com".to_owned(),
        stopped: true,
        edge_limits: Some(limits),
        ..Default::default()
    });
    let view = View::build(1, &resources(vec![("fabric", told)]));
    let own = EdgeLimits::default();
    assert_eq!(
        (view.edge_limits().streams, view.edge_limits().resets),
        (own.streams, 7)
    );
    assert!(view.is_stopped());
    let [fault] = view.faults() else {
        panic!("{:?}", view.faults());
    };
    assert!(fault.to_string().contains("streams"), "{fault}");
}
