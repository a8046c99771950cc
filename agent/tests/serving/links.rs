//! The life of uplinks: made, lost, sent away, drained.

use std::{sync::Arc, time::Duration};

use proto::tunnel::{End, GoAway, Ping, Pong};
use tokio::{
    io::AsyncWriteExt as _,
    sync::Notify,
    time::{Instant, timeout},
};
use tunnel::{
    codes::Code,
    control::Message,
    link::Closed,
    stream::{Kind, RecvError},
};

use crate::{
    edge::{Bench, Ending, PATIENCE, ScriptedEdge, answer, app, get, soon, view, view_of_workers},
    origin::{ScriptedOrigin, nobody, read_head},
};

#[tokio::test]
async fn a_link_makes_the_agent_ready_and_a_lost_one_is_dialled_again() {
    let bench = Bench::of(&nobody().await).await;
    assert_eq!(bench.link.hello.streams_max, 1_024);
    assert_eq!(bench.link.hello.instance.len(), 16);
    bench
        .link
        .connection
        .close(Code::Internal, "the test breaks it");
    let again = bench.edge.welcome().await;
    assert_eq!(again.hello.instance, bench.link.hello.instance);
    soon(async {
        while !bench.readiness.is_ready() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_ping_is_answered_and_nothing_is_said_unasked() {
    let mut bench = Bench::of(&nobody().await).await;
    let ping = Message::Ping(Ping { nonce: 7 });
    soon(bench.link.sender.lock().await.send(ping))
        .await
        .unwrap();
    let heard = soon(bench.link.receiver.next()).await.unwrap();
    assert_eq!(heard, Some(Message::Pong(Pong { nonce: 7 })));
}

#[tokio::test]
async fn a_link_that_was_sent_away_serves_on_beside_its_successor() {
    let origin = ScriptedOrigin::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let bench = Bench::of(&origin.url()).await;
    let away = Message::GoAway(GoAway {
        reason: "test".to_owned(),
        deadline_ms: 10_000,
        retry_after_ms: 10,
    });
    soon(bench.link.sender.lock().await.send(away))
        .await
        .unwrap();
    let _successor = bench.edge.welcome().await;
    assert_eq!(bench.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_link_without_its_control_stream_serves_until_it_is_closed() {
    let origin = ScriptedOrigin::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let bench = Bench::of(&origin.url()).await;
    // It has read its welcome.
    soon(until(&bench, true)).await;
    let connection = bench.link.connection;
    drop((bench.link.sender, bench.link.receiver));
    // The edge may say why, so it is not closed at once.
    let early = timeout(Duration::from_millis(100), connection.closed()).await;
    assert!(early.is_err(), "{early:?}");
    let (mut send, mut recv) = soon(connection.open(Kind::Http)).await.unwrap();
    send.queue(get("/")).unwrap();
    soon(send.end(End::default())).await.unwrap();
    assert_eq!(soon(answer(&mut recv)).await.status(), 200);
    let closed = soon(connection.closed()).await;
    let given_up = matches!(
        closed,
        Closed::ByPeer {
            code: Code::Protocol,
            ..
        }
    );
    assert!(given_up, "{closed:?}");
}

#[tokio::test]
async fn an_edge_that_has_no_room_is_left_alone_for_as_long_as_it_says() {
    let bench = Bench::of(&nobody().await).await;
    let (busy, asked) = (ScriptedEdge::start(&bench.ca, "e2"), Duration::from_secs(3));
    let edges = [("e1", bench.edge.addresses()), ("e2", busy.addresses())];
    bench.views.store(view(vec![], &edges));
    busy.send_away(asked).await;
    let told = Instant::now();
    let _later = busy.welcome().await;
    // Without it the first pause is a tenth of a second at most.
    assert!(told.elapsed() >= asked - Duration::from_millis(100));
}

fn away_for_a_minute() -> Message {
    Message::GoAway(GoAway {
        reason: "test".to_owned(),
        deadline_ms: 60_000,
        retry_after_ms: 60_000,
    })
}

#[tokio::test]
async fn an_edge_that_left_is_dialled_at_once_if_there_is_no_other() {
    let bench = Bench::of(&nobody().await).await;
    let away = away_for_a_minute();
    soon(bench.link.sender.lock().await.send(away))
        .await
        .unwrap();
    let early = timeout(Duration::from_secs(2), bench.edge.welcome()).await;
    assert!(early.is_err(), "the old link still lives");
    bench.link.connection.close(Code::Draining, "edge stopped");
    let _again = bench.edge.welcome().await;
}

#[tokio::test]
async fn an_edge_that_left_is_let_alone_while_another_one_serves() {
    let bench = Bench::of(&nobody().await).await;
    let other = ScriptedEdge::start(&bench.ca, "e2");
    let edges = [("e1", bench.edge.addresses()), ("e2", other.addresses())];
    bench.views.store(view(vec![], &edges));
    let way = other.welcome().await;
    let away = away_for_a_minute();
    soon(bench.link.sender.lock().await.send(away))
        .await
        .unwrap();
    // A close overtakes what was said before it.
    let early = timeout(Duration::from_secs(1), bench.edge.welcome()).await;
    assert!(early.is_err(), "the old link still lives");
    bench.link.connection.close(Code::Draining, "edge stopped");
    let early = timeout(Duration::from_secs(2), bench.edge.welcome()).await;
    assert!(early.is_err(), "it asked for time and is not needed");
    way.connection.close(Code::Internal, "the test breaks it");
    let _again = bench.edge.welcome().await;
}

async fn until(bench: &Bench, ready: bool) {
    while bench.readiness.is_ready() != ready {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_edge_that_left_the_snapshot_loses_its_link() {
    let bench = Bench::of(&nobody().await).await;
    bench.views.store(view(vec![], &[]));
    let closed = soon(bench.link.connection.closed()).await;
    assert!(matches!(closed, Closed::ByPeer { .. }), "{closed:?}");
}

/// An agent that knows of another number of workers, and has not reached them yet.
async fn changed(bench: &Bench, url: &str) {
    until(bench, true).await;
    let edges = [("e1", bench.edge.addresses())];
    let apps = vec![app("app", &[url])];
    bench.views.store(view_of_workers(2, apps, &edges));
    let closed = timeout(Duration::from_millis(500), bench.link.connection.closed()).await;
    assert!(closed.is_err(), "{closed:?}");
}

#[tokio::test]
async fn an_edge_with_other_workers_is_served_by_the_link_there_is_until_the_next_is_up() {
    let origin = ScriptedOrigin::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let mut bench = Bench::of(&origin.url()).await;
    changed(&bench, &origin.url()).await;
    assert_eq!(bench.get("/").await.status(), 200);
    // One for each worker, or those who are left would have to carry what two did.
    let _next = [bench.edge.welcome().await, bench.edge.welcome().await];
    let heard = soon(bench.link.receiver.next()).await.unwrap();
    assert!(matches!(heard, Some(Message::Drain(_))), "{heard:?}");
    let closed = soon(bench.link.connection.closed()).await;
    let drained = matches!(
        closed,
        Closed::ByPeer {
            code: Code::Draining,
            ..
        }
    );
    assert!(drained, "{closed:?}");
}

#[tokio::test]
async fn an_edge_that_left_the_snapshot_loses_what_served_it_in_another_way_too() {
    let url = nobody().await;
    let bench = Bench::of(&url).await;
    changed(&bench, &url).await;
    bench.views.store(view(vec![], &[]));
    soon(bench.link.connection.closed()).await;
}

#[tokio::test]
async fn an_app_that_left_the_snapshot_is_refused_while_another_goes_on() {
    let origin = ScriptedOrigin::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let bench = Bench::of(&origin.url()).await;
    assert_eq!(bench.get("/").await.status(), 200);
    let edges = [("e1", bench.edge.addresses())];
    bench
        .views
        .store(view(vec![app("other", &[&origin.url()])], &edges));
    assert_eq!(bench.get("/").await.error().reason, "agent_refused");
    let other = proto::tunnel::RequestHead {
        app: "other".to_owned(),
        ..get("/")
    };
    assert_eq!(bench.ask(other, b"").await.status(), 200);
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_refuses_what_comes_late() {
    let finish = Arc::new(Notify::new());
    let (reached, signal) = (Arc::new(Notify::new()), Arc::clone(&finish));
    let reaches = Arc::clone(&reached);
    let origin = ScriptedOrigin::start(move |mut stream, _| {
        let (finish, reached) = (Arc::clone(&signal), Arc::clone(&reaches));
        async move {
            let head = read_head(&mut stream).await.unwrap();
            if head.contains("/slow") {
                reached.notify_one();
                finish.notified().await;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    let mut bench = Bench::of(&origin.url()).await;
    let (mut send, mut slow) = bench.open(get("/slow")).await;
    soon(send.end(Default::default())).await.unwrap();
    soon(reached.notified()).await;

    let scope = bench.scope.clone();
    let (drained, outcome) = tokio::sync::oneshot::channel();
    let agent = bench.agent;
    scope.spawn("drain", async move {
        let _ = drained.send(agent.drain(PATIENCE).await);
    });
    while !matches!(
        soon(bench.link.receiver.next()).await.unwrap(),
        Some(Message::Drain(_))
    ) {}
    let away = Message::GoAway(GoAway::default());
    soon(bench.link.sender.lock().await.send(away))
        .await
        .unwrap();

    let refused = soon(async {
        loop {
            let opened = bench.link.connection.open(Kind::Http).await.unwrap();
            let (mut send, mut recv) = opened;
            send.queue(get("/")).unwrap();
            // The agent may refuse before it has read all of it.
            let _ = send.end(Default::default()).await;
            let answer = answer(&mut recv).await;
            match answer.end {
                Ending::End => assert_eq!(answer.text(), "done"),
                Ending::Broken(error) => return error,
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    assert_eq!(refused, RecvError::Reset(Code::Draining));

    finish.notify_one();
    assert_eq!(soon(answer(&mut slow)).await.text(), "done");
    let closed = soon(bench.link.connection.closed()).await;
    assert!(
        matches!(
            closed,
            Closed::ByPeer {
                code: Code::Draining,
                ..
            }
        ),
        "{closed:?}"
    );
    assert!(soon(outcome).await.unwrap());
}

/// Longer than a link lives on whose edge sent the agent away and named no deadline.
const LONG_DRAIN: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_drain_takes_its_own_time_whatever_the_edge_answers() {
    let reached = Arc::new(Notify::new());
    let reaches = Arc::clone(&reached);
    let origin = ScriptedOrigin::start(move |mut stream, _| {
        let reached = Arc::clone(&reaches);
        async move {
            read_head(&mut stream).await.unwrap();
            reached.notify_one();
            std::future::pending::<()>().await;
        }
    })
    .await;
    let bench = Bench::of(&origin.url()).await;
    let (mut send, _slow) = bench.open(get("/slow")).await;
    soon(send.end(Default::default())).await.unwrap();
    soon(reached.notified()).await;
    let Bench {
        agent, mut link, ..
    } = bench;
    let began = Instant::now();
    let answering = async {
        while !matches!(
            soon(link.receiver.next()).await.unwrap(),
            Some(Message::Drain(_))
        ) {}
        let away = Message::GoAway(GoAway::default());
        let mut sender = link.sender.lock().await;
        soon(sender.send(away)).await.unwrap();
    };
    let (drained, ()) = tokio::join!(soon(agent.drain(LONG_DRAIN)), answering);
    assert!(!drained, "its request was broken off");
    assert!(began.elapsed() >= LONG_DRAIN, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let reached = Arc::new(Notify::new());
    let reaches = Arc::clone(&reached);
    let origin = ScriptedOrigin::start(move |mut stream, _| {
        let reached = Arc::clone(&reaches);
        async move {
            read_head(&mut stream).await.unwrap();
            reached.notify_one();
            std::future::pending::<()>().await;
        }
    })
    .await;
    let bench = Bench::of(&origin.url()).await;
    let (mut send, mut recv) = bench.open(get("/")).await;
    soon(send.end(Default::default())).await.unwrap();
    soon(reached.notified()).await;
    let Bench {
        agent, readiness, ..
    } = bench;
    let looking = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        readiness.failing()
    };
    let (drained, failing) = tokio::join!(soon(agent.drain(Duration::from_secs(1))), looking);
    assert!(!drained);
    assert!(failing.contains(&"not draining"), "{failing:?}");
    let answer = soon(answer(&mut recv)).await;
    assert!(matches!(answer.end, Ending::Broken(_)), "{answer:?}");
}

#[tokio::test]
async fn an_agent_without_identity_and_token_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let raw = agent::RawConfig {
        data_dir: Some(directory.path().to_owned()),
        admin: Some("127.0.0.1:0".to_owned()),
        ..agent::RawConfig::default()
    };
    let config = agent::Config::new(raw, runtime::config::Problems::new()).unwrap();
    let error = soon(agent::start(config, &runtime::Scope::root()))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        agent::StartError::Enrolment(runtime::join::EnrolmentError::NoToken { .. })
    ));
}
