//! What origins are told of users, in the app and in its segments.

use model::app::{App, IDENTITY_FIELDS_TOTAL_MAX};

use super::*;
use crate::fabric;

fn field(name: &str, value: admin::IdentityValue) -> admin::IdentityField {
    admin::IdentityField {
        name: name.to_owned(),
        value: value.into(),
        ..Default::default()
    }
}

fn user(name: &str) -> admin::IdentityField {
    field(name, admin::IdentityValue::User)
}

/// An app with sign-in and a segment `admin`.
fn with_segment(app: &mut admin::App) {
    app.access = admin::Access::SignIn.into();
    app.segments = vec![admin::Segment {
        id: "admin".to_owned(),
        hosts: app.hosts.clone(),
        path: "/admin".to_owned(),
        origins: app.origins.clone(),
        ..Default::default()
    }];
}

#[test]
fn a_segments_own_fields_reach_edges_and_operators() {
    let mut app = good();
    with_segment(&mut app);
    app.client_cas = vec!["clientCas/laptops".to_owned()];
    app.identity_fields = vec![user("x-user")];
    app.segments[0].identity_fields = vec![
        field("X-Cert", admin::IdentityValue::CertificateSubject),
        field("x-number", admin::IdentityValue::CertificateSerial),
        field("x.user", admin::IdentityValue::CertificateFingerprint),
    ];
    let read = publication("wiki", &app).expect("a good app");
    let segment = read.app.segments.first();
    let names: Vec<_> = read
        .app
        .identity_fields_of(segment)
        .map(|field| &*field.name)
        .collect();
    assert_eq!(names, ["x-cert", "x-number", "x.user"]);
    let written = admin_app(&read);
    assert_eq!(written.segments[0].identity_fields.len(), 3);
    let again = publication("wiki", &written).expect("what is written is good");
    assert_eq!(again, read);
    let wire = fabric::EdgeApp::from(&read.app);
    assert_eq!(App::try_from(&wire).expect("as written"), read.app);
}

#[test]
fn a_segments_fields_are_held_to_what_the_apps_are() {
    check(
        |app| {
            with_segment(app);
            app.assertion_field = "x-told".to_owned();
            app.segments[0].identity_fields = vec![
                user("cookie"),
                user("x-user"),
                user("x.user"),
                user("X.Told"),
                field("x-cert", admin::IdentityValue::CertificateIssuer),
                field("x-none", admin::IdentityValue::Unspecified),
            ];
        },
        &[
            "app.segments[0].identity_fields[0].name must not be cookie, which has another meaning",
            "app.segments[0].identity_fields[2].name must not be x.user, which servers take for x-user",
            "app.segments[0].identity_fields[4].value needs app.client_cas: nobody is asked for a certificate otherwise",
            "app.segments[0].identity_fields[5].value must be said",
            "app.assertion_field repeats x-told of app.identity_fields",
        ],
    );
    check(
        |app| {
            with_segment(app);
            app.access = admin::Access::Passthrough.into();
            app.segments[0].identity_fields = vec![user("x-user")];
        },
        &["app.segments[0].identity_fields must be empty unless users sign in"],
    );
}

#[test]
fn an_app_and_its_segments_have_a_bounded_number_of_fields() {
    let many = |count: usize| {
        (0..count)
            .map(|n| user(&format!("x-{n}")))
            .collect::<Vec<_>>()
    };
    let segments = IDENTITY_FIELDS_TOTAL_MAX / 16;
    let mut app = good();
    with_segment(&mut app);
    app.segments = (0..segments)
        .map(|n| admin::Segment {
            id: format!("s{n}"),
            path: format!("/s{n}"),
            identity_fields: many(16),
            ..app.segments[0].clone()
        })
        .collect();
    assert_eq!(faults("wiki", &app), [""; 0]);
    app.identity_fields = vec![user("x-user")];
    let fault = "app.segments must not have more than 64 identity fields together with the app";
    assert_eq!(faults("wiki", &app), [fault]);
    app.identity_fields.clear();
    app.segments[0].identity_fields = many(17);
    let found = faults("wiki", &app);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[1].starts_with("app.segments[0].identity_fields "),
        "{found:?}"
    );
}
