//! Apps against a real store.

mod masks;
mod sign_in;
mod sign_on_test;

use prost_types::{Duration, FieldMask};
use proto::admin::{
    Access, App, CreateAppRequest, DeleteAppRequest, GetAppRequest, ListAppsRequest,
    ListGroupsRequest, Origin, Segment, Timeouts, UpdateAppRequest, apps_server::Apps as _,
    groups_server::Groups as _,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::admin::tests::{Bench, app, by_admin, fields, reason};

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask {
        paths: paths.iter().map(|&path| path.to_owned()).collect(),
    })
}

async fn get(bench: &Bench, name: &str) -> Result<App, Status> {
    let request = by_admin(GetAppRequest {
        name: name.to_owned(),
    });
    Ok(bench.apps().get_app(request).await?.into_inner())
}

async fn update(bench: &Bench, app: App, mask: Option<FieldMask>) -> Result<App, Status> {
    let request = UpdateAppRequest {
        app: Some(app),
        update_mask: mask,
        ..UpdateAppRequest::default()
    };
    Ok(bench
        .apps()
        .update_app(by_admin(request))
        .await?
        .into_inner())
}

async fn delete(bench: &Bench, name: &str, etag: &str) -> Result<(), Status> {
    let request = DeleteAppRequest {
        name: name.to_owned(),
        etag: etag.to_owned(),
    };
    bench.apps().delete_app(by_admin(request)).await.map(drop)
}

fn named(name: &str) -> App {
    App {
        name: name.to_owned(),
        ..App::default()
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

#[tokio::test]
async fn everything_wrong_with_an_app_is_told_at_once() {
    let bench = Bench::with_office().await;
    bench
        .create_app("wiki", app("wiki.example.test"))
        .await
        .unwrap();
    let bad = App {
        hosts: vec!["10.0.0.1".to_owned(), "wiki.example.test".to_owned()],
        origins: vec![Origin {
            url: "ftp://files".to_owned(),
            tls: None,
            ..Default::default()
        }],
        group: "groups/nobody".to_owned(),
        access: Access::Unspecified.into(),
        ..app("unused.example.test")
    };
    let refused = bench.create_app("Bad Id", bad).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::InvalidArgument, "INVALID".to_owned())
    );
    let mut found = fields(&refused);
    found.sort();
    assert_eq!(
        found,
        [
            "app.access",
            "app.group",
            "app.hosts[0]",
            "app.hosts[1]",
            "app.origins[0].url",
            "app_id"
        ]
    );
    let details = refused.get_error_details();
    let holder = details
        .bad_request()
        .unwrap()
        .field_violations
        .iter()
        .find(|found| found.field == "app.hosts[1]");
    assert!(
        holder.unwrap().description.contains("apps/wiki"),
        "{holder:?}"
    );
}

#[tokio::test]
async fn names_of_nodes_cannot_be_published() {
    let bench = Bench::with_office().await;
    let mut app = app("wiki.example.com");
    let reserved = ["control.adit.internal", "*.adit.internal"];
    app.hosts.extend(reserved.map(str::to_owned));
    let refused = bench.create_app("wiki", app).await.unwrap_err();
    assert_eq!(fields(&refused), ["app.hosts[1]", "app.hosts[2]"]);
}

#[tokio::test]
async fn a_host_may_be_shared_by_paths_only() {
    let bench = Bench::with_office().await;
    bench
        .create_app("wiki", app("a.example.test"))
        .await
        .unwrap();
    let below = App {
        path: "/admin/".to_owned(),
        ..app("a.example.test")
    };
    bench.create_app("admin", below.clone()).await.unwrap();
    let again = App {
        path: "/admin".to_owned(),
        hosts: vec!["A.example.test".to_owned()],
        ..below
    };
    assert_eq!(
        fields(&bench.create_app("again", again).await.unwrap_err()),
        ["app.hosts[0]"]
    );
}

#[tokio::test]
async fn an_app_cannot_be_created_twice() {
    let bench = Bench::with_office().await;
    bench
        .create_app("wiki", app("wiki.example.test"))
        .await
        .unwrap();
    let refused = bench
        .create_app("wiki", app("wiki.example.test"))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::AlreadyExists, "ALREADY_EXISTS".to_owned())
    );
}

#[tokio::test]
async fn of_concurrent_creations_with_one_host_exactly_one_wins() {
    let bench = Bench::with_office().await;
    let attempts = (0..20).map(|index| {
        let bench = &bench;
        async move {
            bench
                .create_app(&format!("app{index}"), app("one.example.test"))
                .await
        }
    });
    let outcomes = futures_util::future::join_all(attempts).await;
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(won, 1);
    for refused in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert_eq!(fields(refused), ["app.hosts[0]"]);
    }
}

#[tokio::test]
async fn deletion_frees_the_hosts() {
    let bench = Bench::with_office().await;
    bench
        .create_app("wiki", app("wiki.example.test"))
        .await
        .unwrap();
    delete(&bench, "apps/wiki", "").await.unwrap();
    assert_eq!(
        get(&bench, "apps/wiki").await.unwrap_err().code(),
        Code::NotFound
    );
    bench
        .create_app("other", app("wiki.example.test"))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_update_moves_the_hosts() {
    let bench = Bench::with_office().await;
    bench
        .create_app("wiki", app("old.example.test"))
        .await
        .unwrap();
    let moved = App {
        hosts: vec!["new.example.test".to_owned()],
        ..named("apps/wiki")
    };
    update(&bench, moved, None).await.unwrap();
    bench
        .create_app("other", app("old.example.test"))
        .await
        .unwrap();
    let refused = bench
        .create_app("third", app("new.example.test"))
        .await
        .unwrap_err();
    assert_eq!(fields(&refused), ["app.hosts[0]"]);
}

#[tokio::test]
async fn a_stale_etag_aborts() {
    let bench = Bench::with_office().await;
    let first = bench
        .create_app("wiki", app("wiki.example.test"))
        .await
        .unwrap();
    let renamed = |etag: &str, name: &str| App {
        etag: etag.to_owned(),
        display_name: name.to_owned(),
        ..named("apps/wiki")
    };
    let second = update(&bench, renamed(&first.etag, "Second"), None)
        .await
        .unwrap();
    assert_ne!(second.etag, first.etag);
    for refused in [
        update(&bench, renamed(&first.etag, "Third"), None)
            .await
            .map(drop),
        delete(&bench, "apps/wiki", &first.etag).await,
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused)),
            (Code::Aborted, "ETAG_MISMATCH".to_owned())
        );
    }
    assert_eq!(get(&bench, "apps/wiki").await.unwrap(), second);
    delete(&bench, "apps/wiki", &second.etag).await.unwrap();
}

#[tokio::test]
async fn concurrent_updates_of_different_fields_all_happen() {
    let bench = Bench::with_office().await;
    bench
        .create_app("wiki", app("wiki.example.test"))
        .await
        .unwrap();
    let renamed = App {
        display_name: "New".to_owned(),
        ..named("apps/wiki")
    };
    let moved = App {
        path: "/new".to_owned(),
        ..named("apps/wiki")
    };
    let (one, two) = tokio::join!(update(&bench, renamed, None), update(&bench, moved, None));
    one.unwrap();
    two.unwrap();
    let both = get(&bench, "apps/wiki").await.unwrap();
    assert_eq!(
        (both.display_name.as_str(), both.path.as_str()),
        ("New", "/new")
    );
}

#[tokio::test]
async fn bad_masks_and_bad_values_are_told_together() {
    let bench = Bench::with_office().await;
    bench
        .create_app("wiki", app("wiki.example.test"))
        .await
        .unwrap();
    let bad = App {
        path: "relative".to_owned(),
        ..named("apps/wiki")
    };
    let refused = update(&bench, bad, mask(&["path", "etag", "colour"]))
        .await
        .unwrap_err();
    assert_eq!(fields(&refused), ["update_mask", "update_mask", "app.path"]);
    let refused = update(&bench, named("wiki"), mask(&["colour"]))
        .await
        .unwrap_err();
    assert_eq!(fields(&refused), ["app.name", "update_mask"]);
}

#[tokio::test]
async fn update_of_a_missing_app_creates_it_only_when_asked() {
    let bench = Bench::with_office().await;
    let wanted = App {
        name: "apps/wiki".to_owned(),
        ..app("wiki.example.test")
    };
    let refused = update(&bench, wanted.clone(), None).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(
        refused
            .get_error_details()
            .resource_info()
            .unwrap()
            .resource_name,
        "apps/wiki"
    );
    let request = |validate_only| UpdateAppRequest {
        app: Some(wanted.clone()),
        update_mask: mask(&["display_name"]),
        allow_missing: true,
        validate_only,
    };
    bench
        .apps()
        .update_app(by_admin(request(true)))
        .await
        .unwrap();
    assert_eq!(
        get(&bench, "apps/wiki").await.unwrap_err().code(),
        Code::NotFound
    );
    let made = bench
        .apps()
        .update_app(by_admin(request(false)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(made.hosts, ["wiki.example.test"]);
}

#[tokio::test]
async fn validation_changes_nothing() {
    let bench = Bench::with_office().await;
    let before = bench.context.store.revision().await.unwrap();
    let request = CreateAppRequest {
        app_id: "wiki".to_owned(),
        app: Some(app("Wiki.Example.Test")),
        validate_only: true,
    };
    let would_be = bench
        .apps()
        .create_app(by_admin(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(would_be.hosts, ["wiki.example.test"]);
    assert_eq!(would_be.path, "/");
    assert_eq!(bench.context.store.revision().await.unwrap(), before);
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let bench = Bench::with_office().await;
    let made = bench
        .create_app("wiki", app("wiki.example.test"))
        .await
        .unwrap();
    let again = App {
        name: made.name.clone(),
        ..app("wiki.example.test")
    };
    assert_eq!(update(&bench, again, None).await.unwrap(), made);
    // What the answer fills in is kept once somebody has said it, and then said in vain.
    let told = || App {
        etag: String::new(),
        ..made.clone()
    };
    let kept = update(&bench, told(), None).await.unwrap();
    assert_ne!(kept.etag, made.etag);
    assert_eq!(update(&bench, told(), None).await.unwrap(), kept);
}

#[tokio::test]
async fn every_change_has_its_audit_event() {
    let bench = Bench::with_office().await;
    bench
        .create_app("wiki", app("wiki.example.test"))
        .await
        .unwrap();
    let wanted = App {
        display_name: "New".to_owned(),
        timeouts: Some(Timeouts {
            idle: Some(seconds(7)),
            ..Timeouts::default()
        }),
        ..named("apps/wiki")
    };
    update(&bench, wanted, None).await.unwrap();
    delete(&bench, "apps/wiki", "").await.unwrap();
    let events = bench.audit().await;
    let rows: Vec<_> = events
        .iter()
        .map(|event| (event.method.as_str(), event.resource.as_str()))
        .collect();
    assert_eq!(
        rows,
        [
            ("DeleteApp", "apps/wiki"),
            ("UpdateApp", "apps/wiki"),
            ("CreateApp", "apps/wiki"),
            ("CreateGroup", "groups/office"),
        ]
    );
    assert_eq!(events[1].changed_fields, ["display_name", "timeouts.idle"]);
    assert_eq!(
        (events[1].actor.as_str(), events[1].peer.as_str()),
        ("apiTokens/root", "127.0.0.1:9")
    );
}

#[tokio::test]
async fn pages_hold_every_app_once_while_others_are_created() {
    let bench = Bench::with_office().await;
    for index in 0..250 {
        let host = format!("a{index}.example.test");
        bench
            .create_app(&format!("a{index:03}"), app(&host))
            .await
            .unwrap();
    }
    let (mut names, mut sizes, mut token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let request = ListAppsRequest {
            page_size: 0,
            page_token: token,
        };
        let page = bench
            .apps()
            .list_apps(by_admin(request))
            .await
            .unwrap()
            .into_inner();
        sizes.push(page.apps.len());
        names.extend(page.apps.into_iter().map(|app| app.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        // Before everything that is still to come.
        let id = format!("a000-{}", sizes.len());
        bench
            .create_app(&id, app(&format!("{id}.example.test")))
            .await
            .unwrap();
    }
    assert_eq!(sizes, [100, 100, 50]);
    let want: Vec<String> = (0..250).map(|index| format!("apps/a{index:03}")).collect();
    assert_eq!(names, want);
}

#[tokio::test]
async fn tokens_of_other_lists_are_refused() {
    let bench = Bench::with_office().await;
    bench.create_group("second").await;
    let groups = ListGroupsRequest {
        page_size: 1,
        page_token: String::new(),
    };
    let page = bench
        .groups()
        .list_groups(by_admin(groups))
        .await
        .unwrap()
        .into_inner();
    let foreign = page.next_page_token;
    assert!(!foreign.is_empty());
    for page_token in [foreign, "!".to_owned(), "AAAA".to_owned()] {
        let request = ListAppsRequest {
            page_size: 1,
            page_token,
        };
        let refused = bench.apps().list_apps(by_admin(request)).await.unwrap_err();
        assert_eq!(fields(&refused), ["page_token"]);
    }
}

fn segment(id: &str, host: &str, path: &str) -> Segment {
    Segment {
        id: id.to_owned(),
        hosts: vec![host.to_owned()],
        path: path.to_owned(),
        origins: app("any.example.test").origins,
        ..Segment::default()
    }
}

#[tokio::test]
async fn a_host_of_a_segment_is_nobody_elses() {
    let bench = Bench::with_office().await;
    let suite = App {
        segments: vec![
            segment("docs", "docs.example.test", ""),
            segment("files", "wiki.example.test", "/files"),
        ],
        ..app("wiki.example.test")
    };
    bench.create_app("suite", suite).await.unwrap();
    let rival = App {
        segments: vec![
            segment("a", "free.example.test", ""),
            segment("b", "WIKI.example.test", "/files/"),
            segment("c", "x.adit.internal", ""),
        ],
        ..app("docs.example.test")
    };
    let refused = bench.create_app("rival", rival).await.unwrap_err();
    assert_eq!(
        fields(&refused),
        [
            "app.segments[2].hosts[0]",
            "app.hosts[0]",
            "app.segments[1].hosts[0]",
        ]
    );
    let without = App {
        name: "apps/suite".to_owned(),
        ..App::default()
    };
    update(&bench, without, mask(&["segments"])).await.unwrap();
    bench
        .create_app("rival", app("docs.example.test"))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_app_may_trade_all_hosts_of_all_its_sites_at_once() {
    let bench = Bench::with_office().await;
    let hosts = |number: usize, kind: &str| -> Vec<String> {
        (0..16)
            .map(|host| format!("{kind}{host}.s{number}.example.test"))
            .collect()
    };
    let full = |kind: &str| App {
        name: "apps/suite".to_owned(),
        hosts: hosts(99, kind),
        segments: (0..32)
            .map(|number| Segment {
                hosts: hosts(number, kind),
                ..segment(&format!("s{number}"), "", "")
            })
            .collect(),
        ..app("any.example.test")
    };
    bench.create_app("suite", full("a")).await.unwrap();
    let traded = update(&bench, full("b"), mask(&["*"])).await.unwrap();
    assert_eq!(traded.segments[31].hosts[15], "b15.s31.example.test");
}

#[tokio::test]
async fn what_an_app_leaves_to_the_fabric_is_not_kept() {
    let bench = Bench::with_office().await;
    let created = bench
        .create_app("wiki", app("wiki.example.test"))
        .await
        .unwrap();
    assert!(
        created
            .timeouts
            .is_some_and(|timeouts| timeouts.idle.is_some())
    );
    let entry = bench.context.store.get("apps/wiki").await.unwrap().unwrap();
    let kept: App = crate::admin::record::decode(&entry).unwrap();
    assert_eq!((kept.timeouts, kept.limits), (None, None));
}
