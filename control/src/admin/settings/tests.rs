//! Settings against a real store.

use prost_types::{Duration, FieldMask};
use proto::admin::{
    EdgeLimits, GetAppRequest, GetSettingsRequest, Limits, OperatorRole, Settings, Timeouts,
    UpdateSettingsRequest, apps_server::Apps as _, settings_service_server::SettingsService as _,
};
use tonic::{Code, Status};

use super::Service;
use crate::admin::{
    roles,
    tests::{Bench, app, by_admin, fields},
};

fn service(bench: &Bench) -> Service {
    Service {
        context: bench.context.clone(),
    }
}

async fn get(bench: &Bench) -> Settings {
    let request = by_admin(GetSettingsRequest {});
    let found = service(bench).get_settings(request).await;
    found.unwrap().into_inner()
}

async fn update(
    bench: &Bench,
    settings: Settings,
    paths: Option<&[&str]>,
) -> Result<Settings, Status> {
    let request = UpdateSettingsRequest {
        settings: Some(settings),
        update_mask: paths.map(|paths| FieldMask {
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
        }),
        validate_only: false,
    };
    let updated = service(bench).update_settings(by_admin(request)).await?;
    Ok(updated.into_inner())
}

fn total(seconds: i64) -> Option<Timeouts> {
    Some(Timeouts {
        total: Some(Duration { seconds, nanos: 0 }),
        ..Timeouts::default()
    })
}

#[tokio::test]
async fn settings_are_there_before_anybody_has_written_them() {
    let bench = Bench::new();
    let settings = get(&bench).await;
    assert_eq!(settings.name, "settings");
    assert!(!settings.stopped);
    let connect = settings.timeouts.and_then(|timeouts| timeouts.connect);
    assert_eq!(connect.map(|span| span.seconds), Some(10));
    let stale = Settings {
        etag: "1".to_owned(),
        stopped: true,
        ..Settings::default()
    };
    let refused = update(&bench, stale, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    let fresh = Settings {
        etag: settings.etag,
        stopped: true,
        ..Settings::default()
    };
    assert!(update(&bench, fresh, None).await.unwrap().stopped);
}

#[tokio::test]
async fn an_update_writes_what_its_mask_names_and_is_audited() {
    let bench = Bench::new();
    let wanted = Settings {
        stopped: true,
        timeouts: total(60),
        ..Settings::default()
    };
    update(&bench, wanted, None).await.unwrap();
    let back = update(&bench, Settings::default(), Some(&["stopped"]))
        .await
        .unwrap();
    assert!(!back.stopped);
    let span = back.timeouts.and_then(|timeouts| timeouts.total);
    assert_eq!(span.map(|span| span.seconds), Some(60));
    let audit = bench.audit().await;
    let changes: Vec<_> = audit
        .iter()
        .map(|event| (event.method.as_str(), event.changed_fields.join(" ")))
        .collect();
    assert_eq!(
        changes,
        [
            ("UpdateSettings", "stopped".to_owned()),
            ("UpdateSettings", "stopped timeouts.total".to_owned()),
        ]
    );
    assert_eq!(audit[0].resource, "settings");
}

#[tokio::test]
async fn limits_of_edges_are_shown_whole_and_given_back_one_by_one() {
    let bench = Bench::new();
    let shown = get(&bench).await.edge_limits.unwrap();
    assert_eq!((shown.streams, shown.resets), (Some(250), Some(20)));
    let wanted = Settings {
        edge_limits: Some(EdgeLimits {
            streams: Some(100),
            resets: Some(50),
            ..EdgeLimits::default()
        }),
        ..Settings::default()
    };
    update(&bench, wanted, None).await.unwrap();
    let unsaid = Some(&["edge_limits.resets"][..]);
    let back = update(&bench, Settings::default(), unsaid).await.unwrap();
    let shown = back.edge_limits.unwrap();
    assert_eq!((shown.streams, shown.resets), (Some(100), Some(20)));
    let audit = bench.audit().await;
    assert_eq!(audit[0].changed_fields, ["edge_limits.resets"]);
}

#[tokio::test]
async fn everything_wrong_with_an_update_is_told_at_once() {
    let bench = Bench::new();
    let wanted = Settings {
        name: "options".to_owned(),
        timeouts: total(86_401),
        edge_limits: Some(EdgeLimits {
            head_bytes: Some(100),
            ..EdgeLimits::default()
        }),
        ..Settings::default()
    };
    let refused = update(&bench, wanted, Some(&["timeouts", "edge_limits", "etag"]))
        .await
        .unwrap_err();
    assert_eq!(
        fields(&refused),
        [
            "update_mask",
            "settings.name",
            "settings.timeouts.total",
            "settings.edge_limits.head_bytes"
        ]
    );
}

#[tokio::test]
async fn validation_changes_nothing() {
    let bench = Bench::new();
    let request = UpdateSettingsRequest {
        settings: Some(Settings {
            stopped: true,
            ..Settings::default()
        }),
        validate_only: true,
        ..UpdateSettingsRequest::default()
    };
    let shown = service(&bench).update_settings(by_admin(request)).await;
    assert!(shown.unwrap().into_inner().stopped);
    assert!(!get(&bench).await.stopped);
    assert!(bench.audit().await.is_empty());
}

#[tokio::test]
async fn apps_show_the_settings_that_they_leave_to_the_fabric() {
    let bench = Bench::with_office().await;
    let own = proto::admin::App {
        limits: Some(Limits {
            requests: Some(5),
            ..Limits::default()
        }),
        ..app("wiki.example.test")
    };
    bench.create_app("wiki", own).await.unwrap();
    let limits = Limits {
        body_bytes: Some(1_000),
        requests: Some(50),
        ..Limits::default()
    };
    let wanted = Settings {
        timeouts: total(60),
        limits: Some(limits),
        ..Settings::default()
    };
    update(&bench, wanted, None).await.unwrap();
    let shown = || async {
        let request = by_admin(GetAppRequest {
            name: "apps/wiki".to_owned(),
        });
        bench.apps().get_app(request).await.unwrap().into_inner()
    };
    let wiki = shown().await;
    let limits = wiki.limits.unwrap();
    assert_eq!((limits.body_bytes, limits.requests), (Some(1_000), Some(5)));
    let span = wiki.timeouts.and_then(|timeouts| timeouts.total);
    assert_eq!(span.map(|span| span.seconds), Some(60));
    update(&bench, Settings::default(), Some(&["limits", "timeouts"]))
        .await
        .unwrap();
    let limits = shown().await.limits.unwrap();
    assert_eq!((limits.body_bytes, limits.requests), (Some(0), Some(5)));
}

#[test]
fn viewers_read_settings_and_admins_write_them() {
    let role = |path| roles::find(path).unwrap().1.role;
    assert_eq!(
        role("/adit.admin.v1.SettingsService/GetSettings"),
        OperatorRole::Viewer
    );
    assert_eq!(
        role("/adit.admin.v1.SettingsService/UpdateSettings"),
        OperatorRole::Admin
    );
}
