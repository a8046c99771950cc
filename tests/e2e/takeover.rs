//! A new process of an edge takes over from the one that serves, and nobody notices.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use http::Method;
use kit::{
    client::{Broken, Message, User, WebSocket, body, request},
    fabric::Fabric,
    origin::Origin,
    process::eventually,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::sign_in::{Visitor, open_at};

/// Users who ask again and again, each time over a connection of their own.
const USERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(20);

/// Times that a process takes over.
const ROUNDS: usize = 3;

/// What users get while the edge changes hands.
struct Load {
    over: Arc<AtomicBool>,
    users: JoinSet<Vec<Result<u16, Broken>>>,
}

impl Load {
    /// Users ask until it is over.
    fn start(user: &User, host: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut users = JoinSet::new();
        for _ in 0..USERS {
            let (over, user, host) = (Arc::clone(&over), user.clone(), host.to_owned());
            users.spawn(async move {
                let mut got = Vec::new();
                while !over.load(Relaxed) {
                    let answer = user.send(request(Method::GET, &host, "/", body(""))).await;
                    got.push(answer.map(|answer| answer.status.as_u16()));
                    sleep(PAUSE).await;
                }
                got
            });
        }
        Self { over, users }
    }

    /// How many were served, and what others got.
    async fn end(self) -> (usize, Vec<Result<u16, Broken>>) {
        self.over.store(true, Relaxed);
        let got = self.users.join_all().await.into_iter().flatten();
        let (served, failed): (Vec<_>, Vec<_>) = got.partition(|got| matches!(got, Ok(200)));
        (served.len(), failed)
    }
}

/// Starts a new process of the edge beside the one that serves, and waits until that one has ended in good order.
async fn take_over(fabric: &mut Fabric, more: &[&str]) {
    let younger = fabric.site().start_edge_with(more);
    let mut elder = std::mem::replace(&mut fabric.edge, younger);
    let status = elder.ended().await;
    assert!(status.success(), "{status}: {}", elder.log());
    fabric.edge.ready().await;
}

/// Stops the edge and starts it with other arguments.
async fn restart(fabric: &mut Fabric, more: &[&str], host: &str) {
    fabric.edge.terminate();
    assert!(fabric.edge.ended().await.success());
    fabric.edge = fabric.site().start_edge_with(more);
    fabric.edge.ready().await;
    fabric.served(host).await;
}

#[tokio::test]
async fn an_edge_changes_hands_under_load_again_and_again_without_an_error() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let load = Load::start(fabric.user(), &host);
    for _ in 0..ROUNDS {
        // Begun at the one process, it ends there.
        let slow = request(Method::GET, &host, "/sleep/1500", body(""));
        let user = fabric.user().clone();
        let (slow, ()) = tokio::join!(user.send(slow), async {
            sleep(Duration::from_millis(200)).await;
            take_over(&mut fabric, &[]).await;
        });
        assert_eq!(slow.expect("a whole answer").status, 200);
    }
    let (served, failed) = load.end().await;
    assert!(
        failed.is_empty(),
        "{failed:?} of {served}; {}",
        fabric.edge.log()
    );
    // What is published from now on reaches the process that serves now.
    let second = fabric.publish("second", &origin.url()).await;
    assert_eq!(fabric.user().status(&second, "/").await, 200);
}

#[tokio::test]
async fn it_does_not_matter_how_many_workers_an_edge_has() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    for workers in ["1", "3"] {
        let more = ["--workers", workers];
        restart(&mut fabric, &more, &host).await;
        let load = Load::start(fabric.user(), &host);
        for _ in 0..2 {
            take_over(&mut fabric, &more).await;
        }
        let (served, failed) = load.end().await;
        let log = fabric.edge.log();
        assert!(failed.is_empty(), "{failed:?} of {served}; {log}");
    }
}

/// Status with which the socket is closed, and after how long.
async fn closed(mut socket: WebSocket) -> (Option<u16>, Duration) {
    let began = Instant::now();
    let mut code = None;
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(Some(frame)) = message {
            code = Some(u16::from(frame.code));
        }
    }
    (code, began.elapsed())
}

#[tokio::test]
async fn websockets_are_told_to_go_at_the_deadline_and_not_before() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("chat", &origin.url()).await;
    restart(&mut fabric, &["--drain-deadline", "3s"], &host).await;
    let told = |(code, after): (Option<u16>, Duration)| {
        assert_eq!(code, Some(1001));
        let (least, most) = (Duration::from_millis(2_500), Duration::from_secs(6));
        assert!(least <= after && after <= most, "{after:?}");
    };
    // When another process takes over.
    let (socket, _) = fabric.user().websocket(&host, "/websocket").await;
    let younger = fabric.site().start_edge_with(&["--drain-deadline", "3s"]);
    let mut elder = std::mem::replace(&mut fabric.edge, younger);
    eventually("the new process serves", async || {
        fabric.edge.log().contains("took over")
    })
    .await;
    told(closed(socket).await);
    let _ = elder.ended().await;
    // And when none does.
    let (socket, _) = fabric.user().websocket(&host, "/websocket").await;
    fabric.edge.terminate();
    told(closed(socket).await);
}

#[tokio::test]
async fn websockets_stay_with_the_process_that_drains_until_its_deadline() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("chat", &origin.url()).await;
    let (mut socket, _) = fabric.user().websocket(&host, "/websocket").await;
    let younger = fabric.site().start_edge();
    let mut elder = std::mem::replace(&mut fabric.edge, younger);
    eventually("the new process serves", async || {
        fabric.edge.log().contains("took over")
    })
    .await;
    let still = Message::text("still here");
    socket.send(still.clone()).await.expect("it is open");
    let echo = socket.next().await.expect("open").expect("well");
    assert_eq!(echo, still);
    // The user ends it, and with it the drain.
    let began = Instant::now();
    socket.close(None).await.expect("it is open");
    drop(socket);
    assert!(elder.ended().await.success(), "{}", elder.log());
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(fabric.user().status(&host, "/").await, 200);
}

#[tokio::test]
async fn what_is_revoked_during_a_hand_over_ends_at_the_process_that_drains() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let site = fabric.site();
    let made = site.ok(&["user", "create", "alice", "--user-group", "staff"]);
    let closed = ["--access", "sign-in", "--assign-user-group", "staff"];
    site.ok(&[&["app", "update", "wiki"][..], &closed].concat());
    eventually("the app is closed", async || {
        fabric.user().status(&host, "/").await == 401
    })
    .await;
    let mut alice = Visitor::new(fabric.user());
    let page = alice.sign_in(&host, "alice", made.trim()).await;
    assert_eq!(page.status, 200);
    let open = open_at(&alice, std::slice::from_ref(fabric.user()), &host).await;
    let younger = fabric.site().start_edge();
    let mut elder = std::mem::replace(&mut fabric.edge, younger);
    eventually("the new process serves", async || {
        fabric.edge.log().contains("took over")
    })
    .await;
    // Control speaks with the other process alone.
    fabric.site().ok(&["user", "sign-out", "alice"]);
    open.end_within(Duration::from_secs(2)).await;
    assert!(elder.ended().await.success(), "{}", elder.log());
}

#[tokio::test]
async fn a_signal_makes_the_edge_start_its_own_successor() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let load = Load::start(fabric.user(), &host);
    let before = Pid::from_raw(fabric.edge.id().try_into().expect("small"));
    kill(before, Signal::SIGUSR2).expect("it runs");
    assert!(fabric.edge.ended().await.success(), "{}", fabric.edge.log());
    let log = fabric.edge.log();
    let (_, rest) = log
        .split_once("started a process to take over\",\"pid\":")
        .unwrap_or_else(|| panic!("{log}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let successor = Pid::from_raw(digits.parse().expect("a number"));
    for _ in 0..10 {
        assert_eq!(fabric.user().status(&host, "/").await, 200);
    }
    let (served, failed) = load.end().await;
    assert!(failed.is_empty(), "{failed:?} of {served}");
    kill(successor, Signal::SIGTERM).expect("it runs");
}

#[tokio::test]
async fn a_process_that_dies_while_it_takes_over_leaves_the_other_as_it_was() {
    const BEGUN: &str = "another process of this edge takes over";
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let load = Load::start(fabric.user(), &host);
    for (round, pause) in [0, 5, 20, 40].into_iter().enumerate() {
        let mut younger = fabric.site().start_edge();
        eventually("the new process has the sockets", async || {
            fabric.edge.log().matches(BEGUN).count() > round
        })
        .await;
        sleep(Duration::from_millis(pause)).await;
        younger.kill();
        sleep(Duration::from_millis(300)).await;
        if fabric.edge.log().contains("took over") {
            // It was quicker, and the edge is gone with it: a crash like any other.
            return;
        }
        assert!(fabric.edge.exited().is_none(), "{}", fabric.edge.log());
    }
    let (served, failed) = load.end().await;
    assert!(failed.is_empty(), "{failed:?} of {served}");
    take_over(&mut fabric, &[]).await;
    assert_eq!(fabric.user().status(&host, "/").await, 200);
}

#[tokio::test]
async fn who_would_serve_otherwise_does_not_take_over() {
    let fabric = crate::fabric().await;
    let [https, http] = [fabric.site().https(), fabric.site().http()].map(|at| at.to_string());
    let common = [
        "edge",
        "--data-dir",
        "edge",
        "--http",
        &http,
        "--admin",
        "127.0.0.1:0",
    ];
    let complaint = |more: &[&str]| fabric.site().refused(&[&common, more].concat());
    let complaint = [
        complaint(&["--https", &https, "--workers", "1"]),
        complaint(&["--https", "127.0.0.1:0", "--tunnel", "127.0.0.2:0"]),
    ];
    for complaint in complaint {
        assert!(complaint.contains("stop it first"), "{complaint}");
    }
    assert_eq!(fabric.edge.admin_status("/ready").await, Some(200));
}
