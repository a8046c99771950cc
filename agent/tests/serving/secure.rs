//! https origins: trusted by the app's own CA, by name, or not at all.

use std::{sync::Arc, time::Duration};

use model::app::{AgentApp, OriginTls};
use proto::tunnel::End;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsAcceptor;
use tunnel::codes::Code;

use crate::{
    ca::Ca,
    edge::{Bench, app, get},
    origin::{ScriptedOrigin, read_head, read_to_close},
};

/// Answers over TLS with a certificate for `name`.
async fn start(ca: &Ca, name: &str) -> ScriptedOrigin {
    let acceptor = TlsAcceptor::from(Arc::new(ca.server(name)));
    ScriptedOrigin::start(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            while read_head(&mut stream).await.is_some() {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        }
    })
    .await
}

fn https(origin: &ScriptedOrigin, tls: OriginTls) -> Vec<AgentApp> {
    let mut app = app("app", &[&format!("https://127.0.0.1:{}", origin.port())]);
    app.origins[0].tls = tls;
    vec![app]
}

#[tokio::test]
async fn who_waits_for_anothers_connection_fails_with_it_and_in_its_time() {
    const CONNECT: Duration = Duration::from_secs(1);
    // Accepts, and says nothing.
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        read_to_close(&mut stream).await;
    })
    .await;
    let mut apps = https(&origin, OriginTls::default());
    apps[0].timeouts.connect = CONNECT;
    let bench = Bench::with(apps).await;
    let clock = runtime::Clock::system();
    let began = clock.now();
    let asking = (0..8).map(|_| bench.get("/"));
    for answer in futures_util::future::join_all(asking).await {
        assert_eq!(answer.error().reason, "origin_connect");
    }
    let took = clock.now() - began;
    assert!(took >= CONNECT && took < CONNECT * 2, "{took:?}");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn the_wait_for_a_connection_that_another_gives_up_counts() {
    const CONNECT: Duration = Duration::from_secs(2);
    // Accepts, and says nothing.
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        read_to_close(&mut stream).await;
    })
    .await;
    let mut apps = https(&origin, OriginTls::default());
    apps[0].timeouts.connect = CONNECT;
    let bench = Bench::with(apps).await;
    let (mut send, mut recv) = bench.open(get("/")).await;
    send.end(End::default()).await.unwrap();
    while origin.connections() == 0 {
        tokio::task::yield_now().await;
    }
    let clock = runtime::Clock::system();
    let began = clock.now();
    let give_up = async {
        tokio::time::sleep(CONNECT * 3 / 4).await;
        recv.stop(Code::Cancelled);
    };
    let (answer, ()) = tokio::join!(bench.get("/"), give_up);
    assert_eq!(answer.error().reason, "origin_connect");
    let took = clock.now() - began;
    assert!(took < CONNECT * 3 / 2, "{took:?}");
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_certificate_must_be_of_the_apps_ca_and_name() {
    let (ca, other) = (Ca::new(), Ca::new());
    let by_name = start(&ca, "wiki.internal").await;
    let by_address = start(&ca, "127.0.0.1").await;
    let pem = |ca: &Ca| Some(Arc::from(ca.pem.as_str()));
    let name = |name: &str| Some(name.parse().unwrap());
    for (origin, tls, ok) in [
        (
            &by_address,
            OriginTls {
                ca_pem: pem(&ca),
                ..OriginTls::default()
            },
            true,
        ),
        (
            &by_address,
            OriginTls {
                ca_pem: pem(&other),
                ..OriginTls::default()
            },
            false,
        ),
        (
            &by_name,
            OriginTls {
                ca_pem: pem(&ca),
                ..OriginTls::default()
            },
            false,
        ),
        (
            &by_name,
            OriginTls {
                ca_pem: pem(&ca),
                server_name: name("wiki.internal"),
                insecure: false,
            },
            true,
        ),
        (
            &by_name,
            OriginTls {
                ca_pem: pem(&ca),
                server_name: name("files.internal"),
                insecure: false,
            },
            false,
        ),
        (
            &by_name,
            OriginTls {
                insecure: true,
                ..OriginTls::default()
            },
            true,
        ),
    ] {
        let bench = Bench::with(https(origin, tls.clone())).await;
        let answer = bench.get("/").await;
        if ok {
            assert_eq!(answer.status(), 200, "{tls:?}");
        } else {
            assert_eq!(answer.error().reason, "origin_tls", "{tls:?}");
            assert!(answer.error().retry_safe);
        }
    }
}

#[tokio::test]
async fn a_plain_origin_published_as_https_is_told_of() {
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        read_to_close(&mut stream).await;
    })
    .await;
    let insecure = OriginTls {
        insecure: true,
        ..OriginTls::default()
    };
    let bench = Bench::with(https(&origin, insecure)).await;
    assert_eq!(bench.get("/").await.error().reason, "origin_tls");
}
