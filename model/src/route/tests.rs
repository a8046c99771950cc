//! Routes by table, against a naive model, and in large numbers.

use proptest::{collection, prelude::*};

use super::*;
use crate::app::Access;

fn app(id: &str, hosts: &[&str], path: &str) -> Arc<App> {
    Arc::new(App {
        hosts: hosts
            .iter()
            .map(|host| host.parse().expect("a good host"))
            .collect(),
        path: path.parse().expect("a good path"),
        ..App::new(
            id.parse().expect("a good id"),
            "office".parse().expect("a good id"),
            Access::Passthrough,
        )
    })
}

#[expect(
    clippy::unwrap_in_result,
    reason = "the result is the router's; a bad host is a bad test"
)]
fn find<'a>(table: &'a RouteTable, host: &str, path: &str) -> Result<&'a str, RouteError> {
    let host = host.parse().expect("a good host");
    table.find(&host, path).map(|app| app.id.as_str())
}

fn table() -> RouteTable {
    RouteTable::new([
        app("any", &["*.apps.example"], "/"),
        app("any-admin", &["*.apps.example"], "/admin"),
        app("wiki", &["wiki.apps.example", "wiki.example"], "/"),
        app("wiki-api", &["wiki.apps.example"], "/api"),
        app("wiki-api-v2", &["wiki.apps.example"], "/api/v2"),
        app("shop", &["shop.apps.example"], "/shop"),
        app("plain", &["plain.example"], "/"),
    ])
}

#[test]
fn the_most_specific_publication_wins() {
    let table = table();
    for (host, path, want) in [
        ("wiki.apps.example", "/", Ok("wiki")),
        ("WIKI.apps.example.", "/", Ok("wiki")),
        ("wiki.example", "/api", Ok("wiki")),
        ("wiki.apps.example", "/api", Ok("wiki-api")),
        ("wiki.apps.example", "/api/v1", Ok("wiki-api")),
        ("wiki.apps.example", "/api/v2/x", Ok("wiki-api-v2")),
        ("wiki.apps.example", "/api/v20", Ok("wiki-api")),
        ("wiki.apps.example", "/apis", Ok("wiki")),
        // The wildcard's prefixes are not those of the exact host.
        ("wiki.apps.example", "/admin", Ok("wiki")),
        ("shop.apps.example", "/shop/1", Ok("shop")),
        ("shop.apps.example", "/", Err(RouteError::NoApp)),
        ("shop.apps.example", "/admin", Err(RouteError::NoApp)),
        ("other.apps.example", "/", Ok("any")),
        ("other.apps.example", "/admin/x", Ok("any-admin")),
        ("a.b.apps.example", "/", Err(RouteError::NoApp)),
        ("apps.example", "/", Err(RouteError::NoApp)),
        ("example", "/", Err(RouteError::NoApp)),
    ] {
        assert_eq!(find(&table, host, path), want, "{host} {path}");
    }
}

#[test]
fn ambiguous_paths_are_refused_where_prefixes_matter() {
    let table = table();
    for path in [
        "/api/../admin",
        "/api/%2e%2e/",
        "/api//x",
        "/a%2fb",
        "/a\\b",
    ] {
        let refused = Err(RouteError::AmbiguousPath);
        assert_eq!(find(&table, "wiki.apps.example", path), refused, "{path}");
        assert_eq!(find(&table, "shop.apps.example", path), refused, "{path}");
        assert_eq!(find(&table, "plain.example", path), Ok("plain"), "{path}");
    }
}

#[test]
fn paths_that_decoded_belong_to_another_app_are_refused() {
    let table = table();
    let refused = Err(RouteError::AmbiguousPath);
    for (path, want) in [
        ("/%61pi/x", refused),
        ("/api;v=1/x", refused),
        ("/api/%76%32/x", refused),
        ("/api%3bx", refused),
        ("/api%", Ok("wiki")),
        ("/%C3%BC/a%20b;c=d", Ok("wiki")),
        ("/api/%61;b/%20", Ok("wiki-api")),
    ] {
        assert_eq!(find(&table, "wiki.apps.example", path), want, "{path}");
    }
    assert_eq!(find(&table, "shop.apps.example", "/%73hop"), refused);
    assert_eq!(find(&table, "plain.example", "/%61"), Ok("plain"));
}

#[test]
fn of_two_apps_at_one_place_the_first_wins() {
    let apps = [
        app("one", &["a.example"], "/"),
        app("two", &["a.example"], "/"),
    ];
    assert_eq!(find(&RouteTable::new(apps), "a.example", "/"), Ok("one"));
}

#[test]
fn known_hosts_are_those_with_any_path() {
    let table = table();
    for (host, want) in [
        ("shop.apps.example", true),
        ("other.apps.example", true),
        ("a.b.apps.example", false),
        ("nothing.example", false),
    ] {
        assert_eq!(table.knows(&host.parse().expect("good")), want, "{host}");
    }
}

#[test]
fn a_hundred_thousand_hosts_are_built_and_found() {
    let hosts = 100_000;
    let table = RouteTable::new((0..hosts).map(|number| {
        let host = format!("h{number}.example");
        app(&format!("a{number}"), &[&host], "/")
    }));
    for number in [0, 1, hosts / 2, hosts - 1] {
        let id = format!("a{number}");
        let host = format!("h{number}.example");
        assert_eq!(find(&table, &host, "/x"), Ok(id.as_str()));
    }
    let beyond = format!("h{hosts}.example");
    assert_eq!(find(&table, &beyond, "/"), Err(RouteError::NoApp));
}

/// Every app is asked; the exact hosts come first and hide the wildcards, then the longest path counts.
fn naive<'a>(apps: &'a [Arc<App>], host: &Hostname, path: &str) -> Option<&'a Arc<App>> {
    let exact = HostPattern::Exact(host.clone());
    let has_own_name = apps.iter().any(|app| app.hosts.contains(&exact));
    let is_at = |app: &&Arc<App>| {
        if has_own_name {
            app.hosts.contains(&exact)
        } else {
            app.hosts.iter().any(|pattern| pattern.matches(host))
        }
    };
    let mut best: Option<&Arc<App>> = None;
    for app in apps.iter().filter(is_at).filter(|app| app.path.holds(path)) {
        if best.is_none_or(|held| app.path.as_str().len() > held.path.as_str().len()) {
            best = Some(app);
        }
    }
    best
}

/// Few names and segments, so that publications meet.
fn apps() -> impl Strategy<Value = Vec<Arc<App>>> {
    let host = "([ab]|\\*)\\.[ab]\\.[ab]";
    let path = "/|(/[ab]{1,2}){1,3}";
    collection::vec((collection::btree_set(host, 1..4), path), 0..12).prop_map(|apps| {
        apps.iter()
            .enumerate()
            .map(|(number, (hosts, path))| {
                let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
                app(&format!("a{number}"), &hosts, path)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn the_table_agrees_with_the_naive_model(
        apps in apps(),
        host in "([abc]\\.){0,2}[ab]\\.[ab]",
        path in "/|(/[ab]{1,3}){1,4}/?",
    ) {
        let host: Hostname = host.parse().expect("a good host");
        let table = RouteTable::new(apps.iter().cloned());
        let found = table.find(&host, &path).ok().map(|app| &app.id);
        prop_assert_eq!(found, naive(&apps, &host, &path).map(|app| &app.id));
    }
}
