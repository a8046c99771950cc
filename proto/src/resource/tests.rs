//! Apps on their way to nodes.

use model::app::{AgentApp, App};
use proptest::prelude::*;

use super::*;
use crate::arbitrary;

fn edge_app() -> fabric::EdgeApp {
    fabric::EdgeApp {
        id: "wiki".to_owned(),
        hosts: vec!["wiki.example.com".to_owned()],
        path: "/".to_owned(),
        group: "office".to_owned(),
        access: fabric::AccessKind::Passthrough.into(),
        timeouts: Some(write_timeouts(&Timeouts::default())),
        ..fabric::EdgeApp::default()
    }
}

fn agent_app() -> fabric::AgentApp {
    fabric::AgentApp {
        id: "wiki".to_owned(),
        origins: vec![fabric::Origin {
            url: "http://10.0.0.5:8080".to_owned(),
            weight: 1,
            protocol: fabric::OriginProtocol::Auto.into(),
            ..fabric::Origin::default()
        }],
        path: "/".to_owned(),
        timeouts: Some(write_timeouts(&Timeouts::default())),
        ..fabric::AgentApp::default()
    }
}

#[track_caller]
fn check_edge(change: impl FnOnce(&mut fabric::EdgeApp), want: &str) {
    let mut wire = edge_app();
    change(&mut wire);
    let read = App::try_from(&wire).map_err(|fault| fault.to_string());
    assert_eq!(read, Err(want.to_owned()));
}

#[track_caller]
fn check_agent(change: impl FnOnce(&mut fabric::AgentApp), want: &str) {
    let mut wire = agent_app();
    change(&mut wire);
    let read = AgentApp::try_from(&wire).map_err(|fault| fault.to_string());
    assert_eq!(read, Err(want.to_owned()));
}

#[test]
fn an_edge_refuses_access_that_it_does_not_know() {
    let want = "apps/wiki admits callers in a way that this version does not know";
    check_edge(|app| app.access = 0, want);
    check_edge(|app| app.access = 99, want);
}

#[test]
fn an_edge_names_the_app_that_it_cannot_read() {
    check_edge(|app| app.id = "W".to_owned(), "reading an id of apps/W");
    check_edge(|app| app.group.clear(), "reading an id of apps/wiki");
    check_edge(
        |app| app.hosts.push("*".to_owned()),
        "reading a host of apps/wiki",
    );
    check_edge(
        |app| app.hosts = vec!["wiki.example.com".to_owned(); 17],
        "apps/wiki has 17 hosts, not 0 to 16",
    );
    check_edge(|app| app.path.clear(), "reading a path of apps/wiki");
    check_edge(
        |app| app.timeouts = None,
        "apps/wiki has a time-out that is missing or out of range",
    );
}

#[test]
fn an_agent_names_the_app_that_it_cannot_read() {
    check_agent(|app| app.id.clear(), "reading an id of apps/");
    check_agent(
        |app| app.origins = vec![app.origins[0].clone(); 9],
        "apps/wiki has 9 origins, not 0 to 8",
    );
    check_agent(|app| app.path.clear(), "reading a path of apps/wiki");
    check_agent(
        |app| app.origins[0].url.clear(),
        "reading an origin of apps/wiki",
    );
    check_agent(
        |app| app.origins[0].server_name = "a b".to_owned(),
        "reading a host of apps/wiki",
    );
    check_agent(
        |app| app.timeouts = Some(fabric::Timeouts::default()),
        "apps/wiki has a time-out that is missing or out of range",
    );
}

#[test]
fn an_app_without_hosts_and_segments_is_read_and_reaches_nobody() {
    let edge = fabric::EdgeApp {
        hosts: Vec::new(),
        ..edge_app()
    };
    let app = App::try_from(&edge).expect("legal");
    assert!(app.hosts.is_empty() && app.segments.is_empty());
    let agent = fabric::AgentApp {
        origins: Vec::new(),
        ..agent_app()
    };
    let app = AgentApp::try_from(&agent).expect("legal");
    assert!(app.origins.is_empty() && app.segments.is_empty());
}

#[test]
fn a_segment_without_hosts_or_origins_is_refused() {
    let segment = || fabric::EdgeSegment {
        id: "docs".to_owned(),
        hosts: vec!["docs.example.com".to_owned()],
        path: "/".to_owned(),
        ..Default::default()
    };
    check_edge(
        |app| app.segments = vec![segment(); 2],
        "apps/wiki has two segments of one id that this version cannot use",
    );
    check_edge(
        |app| {
            app.segments = vec![fabric::EdgeSegment {
                hosts: Vec::new(),
                ..segment()
            }];
        },
        "apps/wiki has 0 hosts of a segment, not 1 to 16",
    );
    check_agent(
        |app| {
            app.segments = vec![fabric::AgentSegment {
                id: "docs".to_owned(),
                path: "/".to_owned(),
                ..Default::default()
            }];
        },
        "apps/wiki has 0 origins, not 1 to 8",
    );
}

#[test]
fn an_edge_refuses_settings_that_it_cannot_keep() {
    let limits = fabric::Limits {
        rate: Some(fabric::Rate::default()),
        ..Default::default()
    };
    check_edge(
        |app| app.limits = Some(limits),
        "apps/wiki has a rate that this version cannot use",
    );
    let framing = fabric::AnswerRules {
        set: vec![fabric::Field {
            name: "content-length".to_owned(),
            value: "1".to_owned(),
        }],
        ..Default::default()
    };
    check_edge(
        |app| app.answer_rules = Some(framing),
        "apps/wiki has a rule for answers that this version cannot use",
    );
    let splitting = fabric::AnswerRules {
        content_security_policy: "a\r\nb: c".to_owned(),
        ..Default::default()
    };
    check_edge(
        |app| app.answer_rules = Some(splitting),
        "apps/wiki has a rule for answers that this version cannot use",
    );
    let open = fabric::CorsRule {
        path: "/".to_owned(),
        origins: vec!["*".to_owned()],
        credentials: true,
        ..Default::default()
    };
    check_edge(
        |app| app.cors = vec![open],
        "apps/wiki has a CORS rule that this version cannot use",
    );
    check_edge(
        |app| app.home_path = "//evil.example".to_owned(),
        "apps/wiki has a home path that this version cannot use",
    );
    let long = fabric::Maintenance {
        message: "x".repeat(1_001),
        ..Default::default()
    };
    check_edge(
        |app| app.maintenance = Some(long),
        "apps/wiki has a maintenance notice that this version cannot use",
    );
    let named = fabric::EdgeSignOn {
        identity: 99,
        ..Default::default()
    };
    check_edge(
        |app| app.single_sign_on = Some(named),
        "apps/wiki has single sign-on that this version cannot use",
    );
}

#[test]
fn origins_from_before_weights_and_protocols_are_understood() {
    let mut wire = agent_app();
    wire.origins[0].weight = 0;
    wire.origins[0].protocol = 0;
    assert_eq!(AgentApp::try_from(&wire), AgentApp::try_from(&agent_app()));
}

#[test]
fn an_agent_refuses_settings_that_it_cannot_keep() {
    check_agent(
        |app| app.origins[0].weight = model::app::Origin::WEIGHT_MAX + 1,
        "apps/wiki has an origin's weight that this version cannot use",
    );
    check_agent(
        |app| app.origins[0].protocol = 9,
        "apps/wiki has an origin's protocol that this version cannot use",
    );
    check_agent(
        |app| app.translation = Some(fabric::Translation::default()),
        "apps/wiki has a translation that this version cannot use",
    );
    check_agent(
        |app| app.origin_proxy = "https://proxy".to_owned(),
        "apps/wiki has a proxy that this version cannot use",
    );
    check_agent(
        |app| app.health_check = Some(fabric::HealthCheck::default()),
        "apps/wiki has a health check that this version cannot use",
    );
    // Of a kind that came later: whoever went on without would let nobody in, or everybody.
    check_agent(
        |app| app.single_sign_on = Some(crate::admin::SingleSignOn::default()),
        "apps/wiki has single sign-on that this version cannot use",
    );
}

proptest! {
    #[test]
    fn apps_survive_the_way_to_nodes(publication in arbitrary::publication()) {
        let to_agents = publication.agent_app();
        prop_assert_eq!(AgentApp::try_from(&fabric::AgentApp::from(&to_agents)), Ok(to_agents));
        let app = publication.app;
        prop_assert_eq!(App::try_from(&fabric::EdgeApp::from(&app)), Ok(app));
    }
}
