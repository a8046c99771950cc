//! Other ways to an origin than TCP: Unix sockets, and through an HTTP proxy.

use std::sync::Arc;

use agent::allow::AllowList;
use model::app::{AgentApp, OriginTls};
use runtime::Scope;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpStream, UnixListener},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    ca::Ca,
    edge::{Bench, app, get},
    origin::{ScriptedOrigin, read_head},
};

/// Answers with the host that it was asked for.
async fn echo_host<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    while let Some(head) = read_head(&mut stream).await {
        let host = head
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .unwrap();
        let length = host.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{host}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

fn allowing(patterns: &[&str]) -> AllowList {
    AllowList::new(patterns.iter().map(|text| text.parse().unwrap()).collect())
}

#[tokio::test]
async fn an_origin_may_be_a_unix_socket_if_the_agent_lists_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let scope = Scope::root();
    scope.spawn("socket", async move {
        while let Ok((stream, _)) = listener.accept().await {
            echo_host(stream).await;
        }
    });
    let url = format!("unix:{}", path.display());
    let below = format!("unix:{}/*", folder.path().display());
    for (patterns, permitted) in [
        (&[url.as_str()][..], true),
        (&[&below], true),
        (&["*"], false),
        (&["unix:/run/app.sock"], false),
    ] {
        let bench = Bench::allowing(vec![app("app", &[&url])], allowing(patterns)).await;
        let answer = bench.get("/").await;
        if permitted {
            assert_eq!(answer.status(), 200, "{patterns:?}");
        } else {
            assert_eq!(answer.error().reason, "agent_refused", "{patterns:?}");
        }
    }
}

/// Connects every request to `target`, whatever name it asks for, or answers with `refusal`.
async fn proxy(target: &ScriptedOrigin, refusal: Option<&'static str>) -> ScriptedOrigin {
    let port = target.port();
    ScriptedOrigin::start(move |mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert!(head.starts_with("connect wiki.internal:"), "{head}");
        if let Some(refusal) = refusal {
            let answer = format!("HTTP/1.1 {refusal}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            return;
        }
        let mut origin = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            .await
            .unwrap();
        // Either side may end it as it likes.
        let _ = copy_bidirectional(&mut stream, &mut origin).await;
    })
    .await
}

fn behind(proxy: &ScriptedOrigin, origin: &str, tls: OriginTls) -> Vec<AgentApp> {
    let mut app = app("app", &[origin]);
    app.proxy = Some(proxy.url().parse().unwrap());
    app.origins[0].tls = tls;
    vec![app]
}

#[tokio::test]
async fn plain_and_secure_origins_are_reached_through_a_proxy() {
    let ca = Ca::new();
    let acceptor = TlsAcceptor::from(Arc::new(ca.server("wiki.internal")));
    let plain = ScriptedOrigin::start(|stream, _| echo_host(stream)).await;
    let secure = ScriptedOrigin::start(move |stream, _| {
        let acceptor = acceptor.clone();
        async move { echo_host(acceptor.accept(stream).await.unwrap()).await }
    })
    .await;
    let tls = OriginTls {
        ca_pem: Some(Arc::from(ca.pem.as_str())),
        ..OriginTls::default()
    };
    for (origin, url, tls) in [
        (&plain, "http://wiki.internal", OriginTls::default()),
        (&secure, "https://wiki.internal", tls),
    ] {
        let proxy = proxy(origin, None).await;
        let bench = Bench::with(behind(&proxy, url, tls)).await;
        for _ in 0..2 {
            assert_eq!(bench.get("/").await.status(), 200);
        }
        assert_eq!(proxy.connections(), 1);
    }
}

#[tokio::test]
async fn what_a_proxy_refuses_is_told() {
    let origin = ScriptedOrigin::start(|stream, _| echo_host(stream)).await;
    for (refusal, words) in [
        ("403 Forbidden", "refused with status 403"),
        ("407 Who are you", "asks for a user name and password"),
        ("502 No such host", "refused with status 502"),
    ] {
        let proxy = proxy(&origin, Some(refusal)).await;
        let apps = behind(&proxy, "http://wiki.internal", OriginTls::default());
        let bench = Bench::with(apps).await;
        let answer = bench.get("/").await;
        let error = answer.error();
        assert_eq!(
            (error.reason.as_str(), error.retry_safe),
            ("origin_proxy", true)
        );
        assert!(error.detail.contains(words), "{}", error.detail);
    }
}

#[tokio::test]
async fn the_allow_list_is_asked_for_the_origins_name_and_the_proxys_address() {
    let origin = ScriptedOrigin::start(|stream, _| echo_host(stream)).await;
    let proxy = proxy(&origin, None).await;
    let way = format!("127.0.0.1:{}", proxy.port());
    for (patterns, permitted) in [
        (&["*"][..], true),
        (&[way.as_str(), "wiki.internal:80"], true),
        (&["wiki.internal:80"], false),
        (&[way.as_str()], false),
        (&[way.as_str(), "0.0.0.0/0:*"], false),
    ] {
        let apps = behind(&proxy, "http://wiki.internal", OriginTls::default());
        let bench = Bench::allowing(apps, allowing(patterns)).await;
        let answer = bench.ask(get("/"), b"").await;
        if permitted {
            assert_eq!(answer.status(), 200, "{patterns:?}");
        } else {
            assert_eq!(answer.error().reason, "agent_refused", "{patterns:?}");
        }
    }
}
