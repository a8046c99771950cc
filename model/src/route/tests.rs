//! Routes by table, against a naive model, and in large numbers.

use std::collections::BTreeMap;

use proptest::{collection, prelude::*};

use super::*;
use crate::{
    app::{Access, Robots},
    path,
};

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
    table.find(&host, path).map(|route| route.app().id.as_str())
}

/// An app with these segments: id, host, path.
fn with_segments(app: &Arc<App>, segments: &[(&str, &str, &str)]) -> Arc<App> {
    let segment = |(id, host, path): &(&str, &str, &str)| Segment {
        id: id.parse().expect("a good id"),
        hosts: vec![host.parse().expect("a good host")],
        path: path.parse().expect("a good path"),
        cors: Vec::new(),
        identity_fields: Vec::new(),
    };
    Arc::new(App {
        segments: segments.iter().map(segment).collect(),
        ..(**app).clone()
    })
}

/// The ids of the app and of its segment, if it is one.
#[expect(
    clippy::unwrap_in_result,
    reason = "the result is the router's; a bad host is a bad test"
)]
fn place(table: &RouteTable, host: &str, path: &str) -> Result<String, RouteError> {
    let host = host.parse().expect("a good host");
    let route = table.find(&host, path)?;
    let segment = route.segment().map(|segment| format!("#{}", segment.id));
    Ok(format!("{}{}", route.app().id, segment.unwrap_or_default()))
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
        "/x/..%2fapi",
        "/a%2f/b",
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
        ("/api%2fx", refused),
        ("/api/..%252f..%252f", refused),
        ("/a%2fb", Ok("wiki")),
        ("/api/@scope%2fname", Ok("wiki-api")),
        ("/API/x", refused),
        ("/api/v1%2fx", Ok("wiki-api")),
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
fn of_all_apps_and_segments_the_most_specific_wins() {
    let portal = with_segments(
        &app("portal", &["portal.example"], "/"),
        &[
            ("api", "portal.example", "/api"),
            ("any", "*.apps.example", "/"),
            ("crm", "crm.apps.example", "/crm"),
        ],
    );
    let admin = app("admin", &["portal.example"], "/api/admin");
    let table = RouteTable::new([portal, admin]);
    let nothing = Err(RouteError::NoApp);
    for (host, path, want) in [
        ("portal.example", "/", Ok("portal")),
        ("portal.example", "/apis", Ok("portal")),
        ("portal.example", "/api/v1", Ok("portal#api")),
        ("portal.example", "/api/admin/x", Ok("admin")),
        ("crm.apps.example", "/crm", Ok("portal#crm")),
        // The exact name is complete, although the wildcard is of the same app.
        ("crm.apps.example", "/", nothing),
        ("wiki.apps.example", "/", Ok("portal#any")),
        ("apps.example", "/", nothing),
    ] {
        let want = want.map(str::to_owned);
        assert_eq!(place(&table, host, path), want, "{host} {path}");
    }
    // Which of these hosts its main part has.
    for (host, want) in [
        ("portal.example", true),
        ("crm.apps.example", false),
        ("x.apps.example", false),
    ] {
        let site = table
            .site(&host.parse().expect("good"))
            .expect("it is there");
        assert_eq!(site.has_main_of(&app("portal", &[], "/")), want, "{host}");
    }
    let refused = Err(RouteError::AmbiguousPath);
    for path in ["/api/../x", "/%61pi", "/api;x/admin"] {
        assert_eq!(place(&table, "portal.example", path), refused, "{path}");
    }
}

#[test]
fn only_what_is_listed_is_reachable() {
    let listed = |segments: &[_]| {
        let suite = with_segments(&app("suite", &[], "/"), segments);
        RouteTable::new([suite])
    };
    let table = listed(&[("one", "*.suite.example", "/one")]);
    assert_eq!(
        place(&table, "a.suite.example", "/one/x"),
        Ok("suite#one".to_owned())
    );
    for path in ["/", "/two", "/onex"] {
        let found = place(&table, "a.suite.example", path);
        assert_eq!(found, Err(RouteError::NoApp), "{path}");
    }
    // The last segment gone, nothing is open.
    let table = listed(&[]);
    for host in ["a.suite.example", "suite.example", "suite"] {
        assert_eq!(place(&table, host, "/"), Err(RouteError::NoApp), "{host}");
        assert!(table.site(&host.parse().expect("good")).is_none());
    }
}

#[test]
fn robots_are_told_by_the_app_that_holds_their_path() {
    let telling = |id: &str, path: &str, robots: Robots| {
        let mut app = (*app(id, &["a.example"], path)).clone();
        app.answer_rules.robots = robots;
        Arc::new(app)
    };
    let text = || Robots::Text("Allow: /".to_owned());
    let rows = [
        (
            vec![("/", Robots::Origin), ("/x", Robots::Disallow)],
            Some(Robots::Origin),
        ),
        (vec![("/", text()), ("/x", Robots::Disallow)], Some(text())),
        (
            vec![("/robots.txt", Robots::Origin), ("/x", Robots::Disallow)],
            Some(Robots::Origin),
        ),
        (
            vec![("/x", text()), ("/y", Robots::Disallow)],
            Some(Robots::Disallow),
        ),
        (vec![("/x", Robots::Origin), ("/y", text())], Some(text())),
        (vec![("/x", Robots::Origin)], None),
    ];
    for (apps, want) in rows {
        let apps = apps
            .iter()
            .enumerate()
            .map(|(number, (path, robots))| telling(&format!("a{number}"), path, robots.clone()));
        let table = RouteTable::new(apps);
        let site = table.site(&"a.example".parse().expect("good"));
        assert_eq!(site.and_then(Site::robots), want.as_ref());
    }
}

#[test]
fn a_portal_is_led_to_the_apps_home_and_nowhere_else() {
    let at_home = |id: &str, path: &str, home: &str| {
        Arc::new(App {
            home_path: (!home.is_empty()).then(|| home.to_owned()),
            ..(*app(id, &["a.example"], path)).clone()
        })
    };
    let home = |home: &str, asked: Option<&str>| {
        let portal = with_segments(
            &at_home("portal", "/", home),
            &[("docs", "docs.example", "/docs")],
        );
        let table = RouteTable::new([portal, at_home("wiki", "/wiki", "/wiki/start?a=/#b")]);
        let led = |host: &str| {
            let site = table.site(&host.parse().expect("good"));
            site.and_then(|site| site.home(asked)).map(str::to_owned)
        };
        (led("a.example"), led("docs.example"))
    };
    let both = |first: &str, second: &str| (Some(first.to_owned()), Some(second.to_owned()));
    assert_eq!(home("", None), both("/", "/docs"));
    assert_eq!(home("/home?tab=1", None), both("/home?tab=1", "/docs"));
    assert_eq!(home("/docs/a", None), both("/docs/a", "/docs/a"));
    assert_eq!(
        home("", Some("wiki")),
        (Some("/wiki/start?a=/#b".to_owned()), None)
    );
    assert_eq!(home("", Some("nobody")), (None, None));
    for odd in [
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "home",
        "/wiki",
    ] {
        assert_eq!(home(odd, None), both("/", "/docs"), "{odd:?}");
    }
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
        assert_eq!(
            table.site(&host.parse().expect("good")).is_some(),
            want,
            "{host}"
        );
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

#[test]
fn a_hundred_thousand_hosts_of_segments_are_built_and_found() {
    let apps = 100_000 / crate::app::SEGMENTS_MAX;
    let name = |app: usize, segment: usize| format!("h{segment}.a{app}.example");
    let table = RouteTable::new((0..apps).map(|number| {
        let segments: Vec<Segment> = (0..crate::app::SEGMENTS_MAX)
            .map(|segment| Segment {
                id: format!("s{segment}").parse().expect("a good id"),
                hosts: vec![name(number, segment).parse().expect("a good host")],
                path: PathPrefix::root(),
                cors: Vec::new(),
                identity_fields: Vec::new(),
            })
            .collect();
        let app = app(&format!("a{number}"), &[], "/");
        Arc::new(App {
            segments,
            ..(*app).clone()
        })
    }));
    for (number, segment) in [(0, 0), (apps / 2, 7), (apps - 1, 31)] {
        let want = Ok(format!("a{number}#s{segment}"));
        assert_eq!(place(&table, &name(number, segment), "/x"), want);
    }
    assert_eq!(place(&table, &name(apps, 0), "/"), Err(RouteError::NoApp));
}

/// One place of an app, as the naive model sees it: its hosts, its path, and its name.
type Place = (Vec<HostPattern>, PathPrefix, String);

fn places(apps: &[Arc<App>]) -> Vec<Place> {
    let mut places = Vec::new();
    for app in apps {
        places.push((app.hosts.clone(), app.path.clone(), app.id.to_string()));
        for segment in &app.segments {
            let name = format!("{}#{}", app.id, segment.id);
            places.push((segment.hosts.clone(), segment.path.clone(), name));
        }
    }
    places
}

/// Every place is asked; the exact hosts come first and hide the wildcards, then the longest path counts.
fn naive(apps: &[Arc<App>], host: &Hostname, path: &str) -> Option<String> {
    let places = places(apps);
    let exact = HostPattern::Exact(host.clone());
    let has_own_name = places.iter().any(|(hosts, ..)| hosts.contains(&exact));
    let is_at = |hosts: &[HostPattern]| {
        if has_own_name {
            hosts.contains(&exact)
        } else {
            hosts.iter().any(|pattern| pattern.matches(host))
        }
    };
    let mut best: Option<(PathPrefix, String)> = None;
    for (hosts, prefix, name) in places {
        let is_longer = best
            .as_ref()
            .is_none_or(|(held, _)| prefix.as_str().len() > held.as_str().len());
        if is_at(&hosts) && prefix.holds(path) && is_longer {
            best = Some((prefix, name));
        }
    }
    best.map(|(_, name)| name)
}

/// Few names and segments, so that publications meet.
fn apps() -> impl Strategy<Value = Vec<Arc<App>>> {
    let host = "([ab]|\\*)\\.[ab]\\.[ab]";
    let path = "/|(/[ab]{1,2}){1,3}";
    let app_hosts = collection::btree_set(host, 0..4);
    let segments = collection::vec((host, path), 0..3);
    collection::vec((app_hosts, path, segments), 0..12).prop_map(|apps| {
        apps.iter()
            .enumerate()
            .map(|(number, (hosts, path, segments))| {
                let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
                let segments: Vec<_> = segments
                    .iter()
                    .zip(["s0", "s1"])
                    .map(|((host, path), id)| (id, host.as_str(), path.as_str()))
                    .collect();
                with_segments(&app(&format!("a{number}"), &hosts, path), &segments)
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
        let table = RouteTable::new(apps.iter().cloned());
        let found = place(&table, &host, &path).ok();
        let host: Hostname = host.parse().expect("a good host");
        prop_assert_eq!(found, naive(&apps, &host, &path));
    }

    /// Whatever came and went: the next table is as if it had been made of what is there.
    #[test]
    fn a_table_that_follows_on_another_is_as_one_made_anew(
        first in apps(),
        then in collection::vec((0_usize..6, apps()), 0..6),
        host in "([abc]\\.){0,2}[ab]\\.[ab]",
        path in "/|(/[ab]{1,3}){1,4}/?",
    ) {
        let mut publications = Publications::default();
        let mut there: BTreeMap<usize, Arc<App>> = BTreeMap::new();
        let changes = iter::once((0, first)).chain(then);
        for (at, apps) in changes {
            for rank in at..at + 3 {
                if let Some(gone) = there.remove(&rank) {
                    publications.remove(&rank, &gone);
                }
            }
            for (rank, app) in (at..at + 3).zip(apps) {
                publications.put(&rank, &app);
                there.insert(rank, app);
            }
            let found = place(&publications.table(), &host, &path).ok();
            let anew = RouteTable::new(there.values().cloned());
            prop_assert_eq!(found, place(&anew, &host, &path).ok());
        }
    }

    /// Of all paths, also those that can be read in two ways: what is found is what asking each prefix in turn finds.
    #[test]
    fn a_path_is_refused_where_readings_differ(
        paths in collection::vec("/|(/[abA.:~]{1,2}){1,3}", 0..8),
        path in "(/[abAB.;:%2f61e ~]{0,6}){0,4}",
    ) {
        let apps = (0..).zip(&paths).filter(|(_, path)| path.parse::<PathPrefix>().is_ok());
        let apps: Vec<_> = apps
            .map(|(number, path)| app(&format!("a{number}"), &["a.example"], path))
            .collect();
        let prefixes = apps.iter().map(|app| &app.path);
        let is_scoped = prefixes.clone().any(|prefix| prefix.as_str() != "/");
        let one_way = !is_scoped || path::reads_one_way(&path, prefixes);
        let host: Hostname = "a.example".parse().expect("a good host");
        let want = naive(&apps, &host, &path).ok_or(RouteError::NoApp);
        let want = if one_way { want } else { Err(RouteError::AmbiguousPath) };
        let table = RouteTable::new(apps.iter().cloned());
        prop_assert_eq!(place(&table, "a.example", &path), want);
    }
}
