//! Hours that pass in seconds: edges and agents on one thread, under a clock that jumps to the next thing to happen.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fabric;
mod healing;
mod histories;
mod paths;
mod world;

use std::{future::Future, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use kit::{
    client::{Message, User},
    net::Net,
    origin::Origin,
};
use model::app::{self, AgentApp, Timeouts};
use proto::fabric::{AccessKind, AgentRecord, EdgeApp, resource::Kind};
use tokio::{
    runtime::{Builder, LocalOptions},
    time::{Instant, sleep},
};
use tunnel::quic::ResetKey;

use fabric::{AgentNode, Ca, EdgeNode, Resources, edge_at, resources, settings, written};

const HOST: &str = "wiki.example.com";
const HOUR: Duration = Duration::from_secs(3600);

/// Runs a story under a clock of its own.
fn simulate<F: Future<Output = ()> + 'static>(story: F) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build_local(LocalOptions::default())
        .unwrap();
    runtime.block_on(story);
}

/// One edge, one agent, one app.
struct Simulated {
    user: User,
    edge: EdgeNode,
    agent: AgentNode,
}

impl Simulated {
    async fn start(origin: &str, timeouts: Timeouts) -> Self {
        Self::start_in(&Net::new(0), origin, timeouts).await
    }

    async fn start_in(net: &Net, origin: &str, timeouts: Timeouts) -> Self {
        let ca = Ca::new();
        let host = net.host();
        let edge = EdgeNode::start(&ca, "e1", &host, &ResetKey::random()).await;
        edge.tell(1, &published(&ca, &timeouts));
        let mut agent = AgentNode::start(&ca, "a1", &net.host()).await;
        let app = AgentApp {
            timeouts,
            ..AgentApp::new(
                "wiki".parse().unwrap(),
                vec![app::Origin::new(origin.parse().unwrap())],
            )
        };
        agent.tell([app], vec![edge_at("e1", &host)]);
        while !agent.readiness.is_ready() {
            sleep(Duration::from_millis(5)).await;
        }
        Self {
            user: edge.user.clone(),
            edge,
            agent,
        }
    }

    async fn end(self) {
        self.agent.end().await;
        self.edge.end().await;
    }
}

fn published(ca: &Ca, timeouts: &Timeouts) -> Resources {
    let app = EdgeApp {
        id: "wiki".to_owned(),
        hosts: vec![HOST.to_owned()],
        path: "/".to_owned(),
        group: "office".to_owned(),
        access: AccessKind::Passthrough.into(),
        timeouts: Some(written(timeouts)),
        ..EdgeApp::default()
    };
    let agent = AgentRecord {
        id: "a1".to_owned(),
        group: "office".to_owned(),
        revoked: false,
        ..AgentRecord::default()
    };
    let mut known = settings(ca);
    known.extend(resources([
        ("apps/wiki".to_owned(), Kind::EdgeApp(app)),
        ("agents/a1".to_owned(), Kind::Agent(agent)),
    ]));
    known
}

#[test]
fn a_websocket_that_only_pings_lives_for_two_hours() {
    simulate(async {
        let origin = Origin::start().await;
        let fabric = Simulated::start(&origin.url(), Timeouts::default()).await;
        let (mut socket, _) = fabric.user.websocket(HOST, "/websocket").await;
        let began = Instant::now();
        // Just below the idle time-out of 5 minutes.
        let pause = Timeouts::default().idle - Duration::from_secs(10);
        let mut pongs = 0;
        while began.elapsed() < 2 * HOUR {
            sleep(pause).await;
            socket
                .send(Message::Ping("still here".into()))
                .await
                .unwrap();
            match socket.next().await.unwrap().unwrap() {
                Message::Pong(echo) if echo == "still here" => pongs += 1,
                other => panic!("a pong is due, not {other:?}"),
            }
        }
        assert_eq!(pongs, 25);
        socket.send(Message::text("as good as new")).await.unwrap();
        let echo = socket.next().await.unwrap().unwrap();
        assert_eq!(echo, Message::text("as good as new"));
        fabric.end().await;
    });
}

#[test]
fn a_websocket_that_says_nothing_is_closed_after_the_idle_time() {
    simulate(async {
        let origin = Origin::start().await;
        let fabric = Simulated::start(&origin.url(), Timeouts::default()).await;
        let (mut socket, _) = fabric.user.websocket(HOST, "/websocket").await;
        let began = Instant::now();
        while let Some(Ok(_)) = socket.next().await {}
        let idle = Timeouts::default().idle;
        let lived = began.elapsed();
        // The edge gives the agent a few seconds more than the app's time, in which the agent ends it first.
        assert!(
            lived >= idle && lived < idle + Duration::from_secs(10),
            "{lived:?}"
        );
        fabric.end().await;
    });
}
