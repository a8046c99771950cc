//! Apps with several origins: shares by weight, those that fail their checks, segments.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use model::app::{AgentApp, AgentSegment, HealthCheck, Origin};
use proto::tunnel::RequestHead;
use tokio::io::AsyncWriteExt as _;

use crate::{
    edge::{Bench, app, get, soon},
    origin::{ScriptedOrigin, read_head},
};

/// Answers with its name, and its health check as told.
async fn named(name: &'static str, healthy: &Arc<AtomicBool>) -> ScriptedOrigin {
    let healthy = Arc::clone(healthy);
    ScriptedOrigin::start(move |mut stream, _| {
        let healthy = Arc::clone(&healthy);
        async move {
            while let Some(head) = read_head(&mut stream).await {
                let status = if head.starts_with("get /health ") && !healthy.load(Ordering::SeqCst)
                {
                    "500 Broken"
                } else {
                    "200 OK"
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{name}",
                    name.len()
                );
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

fn healthy(healthy: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(healthy))
}

fn checked(origins: &[&ScriptedOrigin]) -> AgentApp {
    let urls: Vec<_> = origins.iter().map(|origin| origin.url()).collect();
    let urls: Vec<_> = urls.iter().map(String::as_str).collect();
    AgentApp {
        health_check: Some(HealthCheck {
            path: "/health".to_owned(),
            interval: Duration::from_millis(50),
            timeout: Duration::from_secs(5),
            unhealthy_after: 1,
            healthy_after: 1,
        }),
        ..app("app", &urls)
    }
}

/// Names of those who answer the next requests.
async fn answers(bench: &Bench, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..count {
        let answer = bench.get("/").await;
        assert_eq!(answer.status(), 200);
        names.push(answer.text());
    }
    names
}

async fn until_answered_by(bench: &Bench, names: &[&str]) {
    soon(async {
        loop {
            let mut seen = answers(bench, 6).await;
            seen.sort();
            seen.dedup();
            if seen == names {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn origins_get_their_shares() {
    let (one, two) = (
        named("one", &healthy(true)).await,
        named("two", &healthy(true)).await,
    );
    let mut app = app("app", &[&one.url(), &two.url()]);
    app.origins[0].weight = 3;
    let bench = Bench::with(vec![app]).await;
    let seen = answers(&bench, 16).await;
    assert_eq!(seen.iter().filter(|name| *name == "one").count(), 12);
}

#[tokio::test]
async fn an_origin_that_fails_its_checks_gets_nothing_until_it_passes_them() {
    let state = healthy(false);
    let (one, two) = (
        named("one", &state).await,
        named("two", &healthy(true)).await,
    );
    let bench = Bench::with(vec![checked(&[&one, &two])]).await;
    until_answered_by(&bench, &["two"]).await;
    state.store(true, Ordering::SeqCst);
    until_answered_by(&bench, &["one", "two"]).await;
}

#[tokio::test]
async fn all_origins_are_used_when_none_is_healthy_and_it_is_counted() {
    let scope = runtime::Scope::root();
    let rendered = runtime::telemetry::install_metrics(&scope).unwrap();
    let state = healthy(false);
    let (one, two) = (named("one", &state).await, named("two", &state).await);
    let bench = Bench::with(vec![checked(&[&one, &two])]).await;
    soon(async {
        while !rendered.render().contains("agent_origins_unhealthy 2") {
            answers(&bench, 1).await;
        }
    })
    .await;
    until_answered_by(&bench, &["one", "two"]).await;
    let text = rendered.render();
    for counted in [
        "agent_health_checks_total{outcome=\"failed\"}",
        "agent_origin_panics_total",
    ] {
        let line = text.lines().find(|line| line.starts_with(counted));
        assert!(line.is_some_and(|line| !line.ends_with(" 0")), "{line:?}");
    }
}

#[tokio::test]
async fn a_segment_is_served_by_its_own_origins() {
    let (main, files) = (
        named("main", &healthy(true)).await,
        named("files", &healthy(true)).await,
    );
    let mut app = app("app", &[&main.url()]);
    app.segments.push(AgentSegment {
        id: "files".parse().unwrap(),
        path: app.path.clone(),
        inner_path: None,
        origins: vec![Origin::new(files.url().parse().unwrap())],
    });
    let bench = Bench::with(vec![app]).await;
    let of = |segment: &str| RequestHead {
        segment: segment.to_owned(),
        ..get("/")
    };
    assert_eq!(bench.ask(of("files"), b"").await.text(), "files");
    assert_eq!(bench.ask(of(""), b"").await.text(), "main");
    let unknown = bench.ask(of("other"), b"").await;
    assert_eq!(unknown.error().reason, "agent_refused");
}

/// Takes requests and hangs up on each.
async fn dying(count: &Arc<AtomicUsize>) -> ScriptedOrigin {
    let count = Arc::clone(count);
    ScriptedOrigin::start(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            if read_head(&mut stream).await.is_some() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_origin_that_dies_with_a_request_is_not_the_only_one_that_is_asked() {
    let deaths = Arc::new(AtomicUsize::new(0));
    let (bad, good) = (dying(&deaths).await, named("good", &healthy(true)).await);
    let bench = Bench::with(vec![app("app", &[&bad.url(), &good.url()])]).await;
    for _ in 0..10 {
        assert_eq!(bench.get("/").await.status(), 200);
    }
    // It was asked once, and then came last.
    assert_eq!(deaths.load(Ordering::SeqCst), 1);

    // What may not be done twice is not, and a request of which all die is not carried to all.
    let deaths = Arc::new(AtomicUsize::new(0));
    let (one, two) = (dying(&deaths).await, dying(&deaths).await);
    let three = dying(&deaths).await;
    let urls = [one.url(), two.url(), three.url()];
    let urls: Vec<_> = urls.iter().map(String::as_str).collect();
    let bench = Bench::with(vec![app("app", &urls)]).await;
    let post = RequestHead {
        method: "POST".into(),
        flags: None,
        ..get("/")
    };
    assert_eq!(bench.ask(post, b"").await.error().reason, "origin_reset");
    assert_eq!(deaths.load(Ordering::SeqCst), 1);
    assert_eq!(bench.get("/").await.error().reason, "origin_reset");
    assert_eq!(deaths.load(Ordering::SeqCst), 3);
}
