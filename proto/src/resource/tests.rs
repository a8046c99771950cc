//! Apps on their way to nodes.

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
            ..fabric::Origin::default()
        }],
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
        |app| app.hosts.clear(),
        "apps/wiki has 0 hosts, not 1 to 16",
    );
    check_edge(|app| app.path.clear(), "reading the path of apps/wiki");
    check_edge(
        |app| app.timeouts = None,
        "apps/wiki has a time-out that is missing or out of range",
    );
}

#[test]
fn an_agent_names_the_app_that_it_cannot_read() {
    check_agent(|app| app.id.clear(), "reading an id of apps/");
    check_agent(
        |app| app.origins.clear(),
        "apps/wiki has 0 origins, not 1 to 8",
    );
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

proptest! {
    #[test]
    fn apps_survive_the_way_to_nodes(publication in arbitrary::publication()) {
        let to_agents = publication.agent_app();
        prop_assert_eq!(AgentApp::try_from(&fabric::AgentApp::from(&to_agents)), Ok(to_agents));
        let app = publication.app;
        prop_assert_eq!(App::try_from(&fabric::EdgeApp::from(&app)), Ok(app));
    }
}
