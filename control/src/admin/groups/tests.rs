//! Groups against a real store.

use proto::admin::{
    App, DeleteGroupRequest, Group, UpdateGroupRequest, groups_server::Groups as _,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::admin::tests::{Bench, app, by_admin, fields, reason};

async fn delete(bench: &Bench, name: &str) -> Result<(), Status> {
    let request = DeleteGroupRequest {
        name: name.to_owned(),
        etag: String::new(),
    };
    bench
        .groups()
        .delete_group(by_admin(request))
        .await
        .map(drop)
}

#[tokio::test]
async fn a_group_with_members_is_not_deleted() {
    let bench = Bench::with_office().await;
    bench
        .create_app("wiki", app("wiki.example.test"))
        .await
        .unwrap();
    bench.enrolled("a1", "groups/lab").await;
    bench.create_group("lab").await;
    for (group, member) in [("groups/office", "apps/wiki"), ("groups/lab", "agents/a1")] {
        let refused = delete(&bench, group).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused)),
            (Code::FailedPrecondition, "FAILED_PRECONDITION".to_owned())
        );
        assert!(refused.message().contains(member), "{}", refused.message());
        let details = refused.get_error_details();
        assert_eq!(
            details.precondition_failure().unwrap().violations[0].subject,
            member
        );
    }
}

#[tokio::test]
async fn an_empty_group_is_deleted_and_can_be_made_anew() {
    let bench = Bench::with_office().await;
    delete(&bench, "groups/office").await.unwrap();
    assert_eq!(
        delete(&bench, "groups/office").await.unwrap_err().code(),
        Code::NotFound
    );
    let orphan = bench
        .create_app("wiki", app("wiki.example.test"))
        .await
        .unwrap_err();
    assert_eq!(fields(&orphan), ["app.group"]);
    bench.create_group("office").await;
    bench
        .create_app("wiki", app("wiki.example.test"))
        .await
        .unwrap();
}

/// Whatever the order, an app never ends up in a group that is gone.
#[tokio::test]
async fn a_group_is_never_deleted_under_an_app_that_joins() {
    let bench = Bench::new();
    for round in 0..20 {
        bench.create_group("office").await;
        let id = format!("a{round}");
        let wanted = App {
            hosts: vec![format!("{id}.example.test")],
            ..app("unused.example.test")
        };
        let (created, deleted) = tokio::join!(
            bench.create_app(&id, wanted),
            delete(&bench, "groups/office")
        );
        assert_ne!(created.is_ok(), deleted.is_ok(), "{created:?} {deleted:?}");
        if created.is_ok() {
            bench.delete_app(&id).await;
            delete(&bench, "groups/office").await.unwrap();
        }
    }
}

#[tokio::test]
async fn groups_are_renamed_and_bad_names_refused() {
    let bench = Bench::with_office().await;
    let update = |display_name: &str, allow_missing, name: &str| UpdateGroupRequest {
        group: Some(Group {
            name: name.to_owned(),
            display_name: display_name.to_owned(),
            ..Group::default()
        }),
        allow_missing,
        ..UpdateGroupRequest::default()
    };
    let groups = bench.groups();
    let renamed = groups
        .update_group(by_admin(update("Office", false, "groups/office")))
        .await;
    assert_eq!(renamed.unwrap().into_inner().display_name, "Office");
    let long = "x".repeat(200);
    let refused = groups
        .update_group(by_admin(update(&long, false, "office")))
        .await
        .unwrap_err();
    assert_eq!(fields(&refused), ["group.name", "group.display_name"]);
    let missing = groups
        .update_group(by_admin(update("Lab", false, "groups/lab")))
        .await;
    assert_eq!(missing.unwrap_err().code(), Code::NotFound);
    groups
        .update_group(by_admin(update("Lab", true, "groups/lab")))
        .await
        .unwrap();
}
