//! Apps for users who have signed in, and where they do.

use proto::admin::{
    Access, App, Assignment, IdentityChange, IdentityField, IdentityValue, KerberosSignOn,
    SameSite, SessionCookie, SingleSignOn, single_sign_on::Kind,
};

use super::{mask, named, update};
use crate::admin::tests::{Bench, app, fields};

#[tokio::test]
async fn the_host_where_users_sign_in_cannot_be_published_but_its_domain_can() {
    let bench = Bench::with_office().await;
    let mut wanted = app("*.example.test");
    bench.create_app("all", wanted.clone()).await.unwrap();
    wanted.hosts = ["wiki.example.test", "Auth.Example.Test", "auth.example.com"]
        .map(str::to_owned)
        .into();
    let refused = bench.create_app("wiki", wanted.clone()).await.unwrap_err();
    assert_eq!(fields(&refused), ["app.hosts[1]"]);
    assert!(refused.message().contains("users sign in"), "{refused}");
    wanted.path = "/wiki".to_owned();
    assert!(bench.create_app("wiki", wanted.clone()).await.is_err());
    wanted.hosts.remove(1);
    bench.create_app("wiki", wanted).await.unwrap();
    let moved = App {
        hosts: vec!["auth.example.test".to_owned()],
        ..named("apps/wiki")
    };
    let refused = update(&bench, moved, None).await.unwrap_err();
    assert_eq!(fields(&refused), ["app.hosts[0]"]);
}

#[tokio::test]
async fn who_may_use_an_app_is_written_by_its_fields() {
    let bench = Bench::with_office().await;
    let assignment = |users: &[&str], groups: &[&str], everyone| {
        Some(Assignment {
            users: users.iter().map(|&user| user.to_owned()).collect(),
            user_groups: groups.iter().map(|&group| group.to_owned()).collect(),
            everyone,
            ..Assignment::default()
        })
    };
    let passthrough = App {
        assignment: assignment(&["users/alice"], &[], false),
        ..app("wiki.example.test")
    };
    let refused = bench.create_app("wiki", passthrough).await.unwrap_err();
    assert_eq!(fields(&refused), ["app.assignment"]);

    let wanted = App {
        access: Access::SignIn.into(),
        ..app("wiki.example.test")
    };
    let made = bench.create_app("wiki", wanted).await.unwrap();
    assert_eq!(made.assignment, None);
    for (said, paths, want) in [
        (
            assignment(&["users/bob", "users/alice"], &[], false),
            None,
            assignment(&["users/alice", "users/bob"], &[], false),
        ),
        (
            assignment(&[], &["staff"], false),
            Some("assignment.user_groups"),
            assignment(&["users/alice", "users/bob"], &["staff"], false),
        ),
        (
            assignment(&[], &[], true),
            Some("assignment"),
            assignment(&[], &[], true),
        ),
        (None, Some("assignment"), None),
    ] {
        let change = App {
            assignment: said,
            ..named("apps/wiki")
        };
        let after = update(
            &bench,
            change.clone(),
            paths.map(|path| mask(&[path]).unwrap()),
        )
        .await
        .unwrap();
        assert_eq!(after.assignment, want);
        let again = update(&bench, change, paths.map(|path| mask(&[path]).unwrap()))
            .await
            .unwrap();
        assert_eq!(again, after, "nothing is written for no change");
    }
    let bad = App {
        assignment: assignment(&["alice", "users/Bob"], &[" staff"], false),
        ..named("apps/wiki")
    };
    assert_eq!(
        fields(&update(&bench, bad, None).await.unwrap_err()),
        [
            "app.assignment.users[0]",
            "app.assignment.users[1]",
            "app.assignment.user_groups[0]"
        ]
    );
}

#[tokio::test]
async fn programs_are_assigned_beside_people() {
    let bench = Bench::with_office().await;
    let services = |services: &[&str]| Assignment {
        services: services.iter().map(|&name| name.to_owned()).collect(),
        ..Assignment::default()
    };
    let wanted = App {
        access: Access::SignIn.into(),
        assignment: Some(Assignment {
            everyone: true,
            ..Assignment::default()
        }),
        ..app("wiki.example.test")
    };
    bench.create_app("wiki", wanted).await.unwrap();
    let change = |names: &[&str]| App {
        assignment: Some(services(names)),
        ..named("apps/wiki")
    };
    let only = || mask(&["assignment.services"]);
    let names = ["serviceTokens/cron", "serviceTokens/ci"];
    let after = update(&bench, change(&names), only()).await.unwrap();
    let want = Assignment {
        everyone: true,
        ..services(&["serviceTokens/ci", "serviceTokens/cron"])
    };
    assert_eq!(after.assignment, Some(want));
    let bad = change(&["ci", "serviceTokens/CI"]);
    let refused = update(&bench, bad, only()).await.unwrap_err();
    let want = ["app.assignment.services[0]", "app.assignment.services[1]"];
    assert_eq!(fields(&refused), want);
}

fn field(name: &str, value: IdentityValue, detail: &str) -> IdentityField {
    IdentityField {
        name: name.to_owned(),
        value: value.into(),
        detail: detail.to_owned(),
        ..IdentityField::default()
    }
}

/// An app that asks for everything.
fn asking() -> App {
    App {
        access: Access::SignIn.into(),
        identity_fields: vec![IdentityField {
            changes: vec![
                IdentityChange::BeforeAt.into(),
                IdentityChange::Upper.into(),
            ],
            prefix: "CORP\\".to_owned(),
            ..field("x-login", IdentityValue::Claim, "upn")
        }],
        assertion_field: "Adit-Assertion".to_owned(),
        session_cookie: Some(SessionCookie {
            same_site: SameSite::None.into(),
            persistent: true,
        }),
        cross_site_posts: true,
        single_sign_on: Some(SingleSignOn {
            kind: Some(Kind::Kerberos(KerberosSignOn {
                spn: "HTTP/Wiki.example.test".to_owned(),
                identity_provider: "identityProviders/local".to_owned(),
                ..KerberosSignOn::default()
            })),
        }),
        ..app("wiki.example.test")
    }
}

#[tokio::test]
async fn what_origins_are_told_and_browsers_keep_is_kept() {
    let bench = Bench::with_office().await;
    let asked = asking();
    // Of nobody there is nothing to tell or to keep.
    let open = App {
        access: Access::Passthrough.into(),
        ..asked.clone()
    };
    let refused = bench.create_app("wiki", open).await.unwrap_err();
    let all = [
        "app.identity_fields",
        "app.assertion_field",
        "app.session_cookie",
        "app.cross_site_posts",
        "app.single_sign_on",
    ];
    assert_eq!(fields(&refused), all);
    let made = bench.create_app("wiki", asked.clone()).await.unwrap();
    assert_eq!(made.assertion_field, "adit-assertion");
    assert_eq!(made.identity_fields, asked.identity_fields);
    assert_eq!(made.session_cookie, asked.session_cookie);
    assert!(made.cross_site_posts);
    let Some(Kind::Kerberos(kerberos)) = made.single_sign_on.and_then(|sso| sso.kind) else {
        panic!("it is kept");
    };
    assert_eq!(kerberos.spn, "HTTP/wiki.example.test");
    let less = update(
        &bench,
        named("apps/wiki"),
        Some(
            mask(&[
                "session_cookie.same_site",
                "assertion_field",
                "single_sign_on",
            ])
            .unwrap(),
        ),
    );
    let less = less.await.unwrap();
    let cookie = less.session_cookie.unwrap();
    assert_eq!(
        (cookie.same_site(), cookie.persistent),
        (SameSite::Unspecified, true)
    );
    assert_eq!(less.assertion_field, "");
    assert_eq!(less.single_sign_on, None);
}

#[tokio::test]
async fn what_origins_could_not_be_told_is_named_field_by_field() {
    let bench = Bench::with_office().await;
    bench.create_app("wiki", asking()).await.unwrap();
    let wrong = App {
        identity_fields: vec![
            field("x-a", IdentityValue::Claim, ""),
            field("x-b", IdentityValue::Text, "a\r\nx-admin: 1"),
            field("x-c", IdentityValue::User, "alice"),
            IdentityField {
                changes: vec![99],
                prefix: "|".to_owned(),
                ..field("x-d", IdentityValue::User, "")
            },
        ],
        assertion_field: "Adit-Other".to_owned(),
        session_cookie: Some(SessionCookie {
            same_site: 99,
            persistent: false,
        }),
        ..named("apps/wiki")
    };
    assert_eq!(
        fields(&update(&bench, wrong, None).await.unwrap_err()),
        [
            "app.identity_fields[0].detail",
            "app.identity_fields[1].detail",
            "app.identity_fields[2].detail",
            "app.identity_fields[3].changes[0]",
            "app.identity_fields[3].prefix",
            "app.assertion_field",
            "app.session_cookie.same_site",
        ]
    );
    let twice = App {
        identity_fields: vec![field("x-jwt", IdentityValue::User, "")],
        assertion_field: "x-jwt".to_owned(),
        ..named("apps/wiki")
    };
    let refused = update(&bench, twice, None).await.unwrap_err();
    assert_eq!(fields(&refused), ["app.assertion_field"]);
}
