//! Links that come and go, and the end of an edge.

use std::time::Duration;

use proto::tunnel::{Drain, End};
use runtime::{Scope, telemetry};
use tokio::net::TcpStream;
use tunnel::{codes::Code, control::Message, link::Closed};

use crate::{
    fabric::{Fabric, PATIENCE, streamed, within},
    user::{RawUser, get},
};

fn code(closed: Closed) -> Code {
    match closed {
        Closed::ByPeer { code, .. } => code,
        other => panic!("closed by the edge, not: {other}"),
    }
}

#[tokio::test]
async fn revoked_and_unknown_agents_are_not_let_in() {
    let mut fabric = Fabric::start().await;
    fabric.set_agent("a1", "office", true);
    fabric.publish(2);
    let closed = within(fabric.dial("a1")).await.err().unwrap();
    assert_eq!(code(closed), Code::Revoked);
    let closed = within(fabric.dial("nobody")).await.err().unwrap();
    assert_eq!(code(closed), Code::Refused);
    assert_eq!(fabric.edge.link_count(), 0);
}

#[tokio::test]
async fn an_agent_whose_control_stream_broke_off_has_time_to_say_why() {
    let fabric = Fabric::start().await;
    let mut agent = fabric.agent("a1").await;
    agent.hang_up();
    let early = Duration::from_millis(100);
    let early = tokio::time::timeout(early, agent.connection.closed()).await;
    assert!(early.is_err(), "{early:?}");
    // It says nothing.
    let closed = within(agent.connection.closed()).await;
    assert_eq!(code(closed), Code::Protocol);
}

#[tokio::test]
async fn live_link_of_a_revoked_agent_is_cut() {
    let mut fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    fabric.set_agent("a1", "office", true);
    fabric.publish(2);
    let closed = tokio::time::timeout(Duration::from_secs(2), agent.connection.closed()).await;
    assert_eq!(code(closed.expect("within two seconds")), Code::Revoked);
    assert!(get(&fabric, "/").await.contains("no_agent"));
}

#[tokio::test]
async fn who_had_an_agents_id_before_is_cut_off_and_stays_out() {
    let mut fabric = Fabric::start().await;
    let [before, renewed, anew] = [(); 3].map(|()| fabric.identity("a1"));
    fabric.set_keys("a1", &[&before]);
    fabric.publish(2);
    let first = within(fabric.dial_with(&before, b"")).await.unwrap();
    // At a renewal with another key both are the agent's.
    fabric.set_keys("a1", &[&renewed, &before]);
    fabric.publish(3);
    let second = within(fabric.dial_with(&renewed, b"")).await.unwrap();
    assert!(first.connection.close_reason().is_none());
    fabric.set_keys("a1", &[&anew]);
    fabric.publish(4);
    for cut in [&first, &second] {
        let closed = tokio::time::timeout(Duration::from_secs(2), cut.connection.closed()).await;
        assert_eq!(code(closed.expect("within two seconds")), Code::Revoked);
    }
    let closed = within(fabric.dial_with(&before, b"")).await.err().unwrap();
    assert_eq!(code(closed), Code::Refused);
    let last = within(fabric.dial_with(&anew, b"")).await.unwrap();
    fabric.publish(5);
    assert!(last.connection.close_reason().is_none());
}

#[tokio::test]
async fn agent_enrolled_anew_a_moment_ago_is_let_in_once_the_news_is_here() {
    let mut fabric = Fabric::start().await;
    let (before, anew) = (fabric.identity("a1"), fabric.identity("a1"));
    fabric.set_keys("a1", &[&before]);
    fabric.publish(2);
    fabric.set_keys("a1", &[&anew]);
    let news = async {
        tokio::time::sleep(Duration::from_millis(200)).await; // of the two seconds that it waits
        fabric.publish(3);
    };
    let (dialled, ()) = tokio::join!(within(fabric.dial_with(&anew, b"")), news);
    dialled.unwrap();
}

#[tokio::test]
async fn agent_that_makes_more_and_more_links_is_refused() {
    let scope = Scope::root();
    let exporter = telemetry::install_metrics(&scope).unwrap();
    let fabric = Fabric::start().await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(fabric.agent("a1").await);
    }
    let closed = match within(fabric.dial("a1")).await {
        Ok(beyond) => within(beyond.connection.closed()).await,
        Err(closed) => closed,
    };
    let told = matches!(&closed, Closed::ByPeer { code: Code::Refused, reason } if reason == "the agent has too many links");
    assert!(told, "{closed:?}");
    assert_eq!(fabric.edge.link_count(), held.len());
    // Whoever is welcomed first takes it for a link that serves.
    let unwelcome = "edge_handshake_failures_total{side=\"agent\"} 1";
    within(async {
        while !exporter.render().contains(unwelcome) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    held.push(fabric.agent("a2").await);
}

#[tokio::test]
async fn agent_that_moves_to_another_group_finishes_what_it_has() {
    let mut fabric = Fabric::start().await;
    let mut agent = fabric.agent("a1").await;
    fabric.set_agent("a1", "lab", false);
    let (answer, ()) = tokio::join!(get(&fabric, "/"), async {
        let asked = agent.request().await;
        fabric.publish(2);
        let Some(Message::GoAway(words)) = within(agent.heard.recv()).await else {
            panic!("the agent is sent away first");
        };
        assert_eq!(words.retry_after_ms, 0);
        let again = get(&fabric, "/").await;
        assert!(again.contains("no_agent"), "{again}");
        // Longer than it takes to look after the link.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        asked.answer(200, "begun before").await;
    });
    assert!(answer.ends_with("begun before"), "{answer}");
    let closed = within(agent.connection.closed()).await;
    assert_eq!(code(closed), Code::Draining);
}

#[tokio::test]
async fn agent_that_moves_to_another_group_serves_there() {
    let mut fabric = Fabric::start().await;
    let before = fabric.agent("a3").await;
    fabric.set_agent("a3", "office", false);
    fabric.publish(2);
    let agent = fabric.agent("a3").await;
    let (answer, ()) = tokio::join!(get(&fabric, "/"), async {
        agent.request().await.answer(200, "moved").await;
    });
    assert!(answer.ends_with("moved"), "{answer}");
    let closed = within(before.connection.closed()).await;
    assert_eq!(code(closed), Code::Draining);
}

#[tokio::test]
async fn publishing_disturbs_no_stream() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let mut user = RawUser::connect(&fabric).await;
    user.get("/").await;
    let mut asked = agent.request().await;
    asked.send.queue(streamed(200)).unwrap();
    asked.send.data("one".into()).await.unwrap();
    user.read_until("one").await;
    fabric.publish(2);
    fabric.publish(3);
    asked.send.data("two".into()).await.unwrap();
    asked.send.end(End::default()).await.unwrap();
    assert!(user.read_to_end().await.contains("two"));
}

#[tokio::test]
async fn draining_agent_gets_nothing_new_and_is_told_so() {
    let fabric = Fabric::start().await;
    let mut leaving = fabric.agent("a1").await;
    let staying = fabric.agent("a2").await;
    leaving
        .say(Message::Drain(Drain {
            reason: "restart".to_owned(),
        }))
        .await;
    let Some(Message::GoAway(farewell)) = within(leaving.heard.recv()).await else {
        panic!("the edge answers a drain");
    };
    assert_eq!(farewell.reason, "drained");
    for _ in 0..8 {
        let (answer, ()) = tokio::join!(get(&fabric, "/"), async {
            staying.request().await.answer(200, "stayed").await;
        });
        assert!(answer.ends_with("stayed"), "{answer}");
    }
}

#[tokio::test]
async fn drain_finishes_requests_and_then_closes_links_with_a_code() {
    let fabric = Fabric::start().await;
    let mut agent = fabric.agent("a1").await;
    let mut user = RawUser::connect(&fabric).await;
    user.write("GET / HTTP/1.1\r\nhost: wiki.example.com\r\n\r\n")
        .await;
    let mut asked = agent.request().await;
    let drain = fabric.edge.drain(PATIENCE);
    let finish = async {
        let Some(Message::GoAway(words)) = within(agent.heard.recv()).await else {
            panic!("agents are told first");
        };
        assert!(words.retry_after_ms > 0);
        // Nobody new is let in while the request goes on.
        within(async {
            while TcpStream::connect(fabric.edge.https_address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        asked.send.queue(streamed(200)).unwrap();
        asked.send.data("whole".into()).await.unwrap();
        asked.send.end(End::default()).await.unwrap();
        let answer = user.read_to_end().await;
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
    };
    let (in_time, ()) = tokio::join!(drain, finish);
    assert!(in_time);
    assert_eq!(
        code(within(agent.connection.closed()).await),
        Code::Draining
    );
}

#[tokio::test]
async fn request_beyond_the_deadline_is_cut_off() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let mut user = RawUser::connect(&fabric).await;
    user.get("/").await;
    let asked = agent.request().await;
    assert!(!fabric.edge.drain(Duration::from_millis(50)).await);
    assert_eq!(user.read_to_end().await, "");
    drop(asked);
}

#[tokio::test]
async fn metrics_move_with_what_they_count() {
    let scope = Scope::root();
    let exporter = telemetry::install_metrics(&scope).unwrap();
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let (answer, ()) = tokio::join!(get(&fabric, "/"), async {
        agent.request().await.answer(200, "hello").await;
    });
    assert!(answer.ends_with("hello"), "{answer}");
    let mut user = RawUser::connect(&fabric).await;
    user.write("GET / HTTP/1.1\r\nhost: crm.example.com\r\nconnection: close\r\n\r\n")
        .await;
    let refusal = user.read_to_end().await;
    let (_, problem) = refusal.split_once("\r\n\r\n").unwrap();
    let down = "hello".len() + problem.len();
    assert!(within(fabric.dial("nobody")).await.is_err());
    let page = exporter.render();
    for line in [
        "edge_requests_total{app=\"wiki\",class=\"2xx\"} 1",
        "edge_requests_total{app=\"none\",class=\"4xx\"} 1",
        "edge_request_seconds_count{app=\"wiki\"} 1",
        "edge_failures_total{reason=\"no_app\"} 1",
        &format!(
            "edge_links{{group=\"office\",transport=\"{}\"}} 1",
            agent.connection.transport()
        ),
        &format!("edge_bytes_total{{direction=\"down\"}} {down}"),
        "edge_streams 0",
        "edge_handshake_failures_total{side=\"agent\"} 1",
    ] {
        assert!(page.contains(line), "{line} in\n{page}");
    }
    // Of rules there is a series for each, and here are none; nor is there a list of countries, a way to control or an identity provider, and who
    // probes is the whole edge.
    let unseen = |name: &str| {
        name.starts_with("edge_access_rules_")
            || name.starts_with("edge_country_file_")
            || name.starts_with("edge_control_connections")
            || [
                "edge_probes_total",
                "edge_apps_failing",
                "edge_refreshes_total",
            ]
            .contains(&name)
    };
    let all = edge::metrics::METRICS.iter();
    for metric in all.filter(|metric| !unseen(metric.name)) {
        assert!(page.contains(metric.name), "{}", metric.name);
    }
}

#[tokio::test]
async fn empty_answer_counts_as_whole() {
    let scope = Scope::root();
    let exporter = telemetry::install_metrics(&scope).unwrap();
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let (answer, ()) = tokio::join!(get(&fabric, "/"), async {
        agent.request().await.answer(302, "").await;
    });
    assert!(answer.contains("content-length: 0\r\n"), "{answer}");
    let page = exporter.render();
    assert!(page.contains("class=\"3xx\"} 1"), "{page}");
    assert!(!page.contains("reason=\"cancelled\"} 1"), "{page}");
}

#[tokio::test]
async fn who_knocked_before_the_drain_is_answered() {
    for _ in 0..10 {
        let fabric = Fabric::start().await;
        let mut knocking = Vec::new();
        for _ in 0..4 {
            let address = fabric.edge.https_address;
            knocking.push(TcpStream::connect(address).await.unwrap());
        }
        let ask = async {
            for stream in knocking {
                let mut user = RawUser::over(&fabric, stream).await;
                user.get("/").await;
                let answer = user.read_to_end().await;
                assert!(answer.starts_with("HTTP/1.1 503 "), "{answer:?}");
            }
        };
        let (in_time, ()) = tokio::join!(fabric.edge.drain(PATIENCE), ask);
        assert!(in_time);
    }
}

#[tokio::test]
async fn app_that_cannot_be_used_holds_up_no_revocation() {
    let scope = Scope::root();
    let exporter = telemetry::install_metrics(&scope).unwrap();
    let mut fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    fabric.change_app(|app| app.access = i32::MAX);
    fabric.set_agent("a1", "office", true);
    fabric.publish(2);
    assert_eq!(code(within(agent.connection.closed()).await), Code::Revoked);
    let answer = get(&fabric, "/").await;
    assert!(answer.contains("\"reason\":\"not_ready\""), "{answer}");
    within(async {
        while !exporter.render().contains("edge_unusable_resources 1") {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
