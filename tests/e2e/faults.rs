//! What goes wrong costs one request at the most, and the user is told which side to look at.

use std::time::Duration;

use http::{HeaderValue, Method, header};
use kit::{
    client::{Broken, body, collect, request},
    fabric::DOMAIN,
    origin::Origin,
    process::eventually,
    rude::{Rude, Script},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::Instant,
};

#[tokio::test]
async fn errors_name_status_reason_and_request() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let closed = kit::process::free_address();
    let refused = fabric.publish("refused", &format!("http://{closed}")).await;
    let slow = fabric
        .publish_with("slow", &origin.url(), &["--response-timeout", "200ms"])
        .await;
    fabric.site().ok(&["group", "create", "empty"]);
    let nobody = format!("nobody.{DOMAIN}");
    fabric.site().ok(&[
        "app",
        "publish",
        "nobody",
        "--host",
        &nobody,
        "--origin",
        &origin.url(),
        "--group",
        "empty",
        "--access",
        "passthrough",
    ]);
    eventually("the edge knows the app", async || {
        fabric.user().status(&nobody, "/").await == 503
    })
    .await;
    for (host, path, status, reason) in [
        (format!("nowhere.{DOMAIN}"), "/", 404, "no_app"),
        (nobody, "/", 503, "no_agent"),
        (refused, "/", 502, "origin_connect"),
        (slow, "/sleep/5000", 504, "origin_timeout"),
    ] {
        let answer = fabric.user().get(&host, path).await;
        let problem = answer.json();
        assert_eq!(
            (answer.status.as_u16(), problem["reason"].as_str()),
            (status, Some(reason)),
            "{host}"
        );
        assert_eq!(problem["request_id"].as_str().map(str::len), Some(32));
        assert_eq!(
            answer.fields.get(header::CACHE_CONTROL),
            Some(&HeaderValue::from_static("no-store"))
        );
        let mut page = request(Method::GET, &host, path, body(""));
        page.headers_mut().insert(
            header::ACCEPT,
            HeaderValue::from_static("text/html,*/*;q=0.8"),
        );
        let page = fabric.user().send(page).await.expect("a whole page");
        assert!(
            page.text().contains(reason) && page.text().starts_with("<!doctype html>"),
            "{}",
            page.text()
        );
        assert!(
            !page.text().contains("127.0.0.1"),
            "a page tells nothing of the inside"
        );
    }
}

#[tokio::test]
async fn origins_that_misbehave_are_told_apart() {
    let fabric = crate::fabric().await;
    const CUT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    const CHUNKS: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for (id, script, reason) in [
        ("closes", Script::SendAndClose(b""), Some("origin_reset")),
        ("resets", Script::SendAndReset(b""), Some("origin_reset")),
        (
            "half-head",
            Script::SendAndClose(b"HTTP/1.1 200 OK\r\nContent-"),
            Some("origin_reset"),
        ),
        (
            "not-http",
            Script::SendAndClose(b"220 ftp.example ready\r\n"),
            Some("origin_protocol"),
        ),
        (
            "two-lengths",
            Script::SendAndClose(
                b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            ),
            Some("origin_protocol"),
        ),
        ("short", Script::SendAndClose(CUT), None),
        ("short-and-resets", Script::SendAndReset(CUT), None),
        ("no-last-chunk", Script::SendAndClose(CHUNKS), None),
    ] {
        let origin = Rude::start(script).await;
        let host = fabric.publish_unseen(id, &origin.url(), &[]).await;
        let outcome = match fabric
            .user()
            .open(request(Method::POST, &host, "/", body("x")))
            .await
        {
            Ok(response) => collect(response).await,
            Err(error) => Err(Broken::NoHead(error)),
        };
        match (reason, outcome) {
            (Some(reason), Ok(answer)) => {
                assert_eq!(
                    (answer.status.as_u16(), answer.json()["reason"].as_str()),
                    (502, Some(reason)),
                    "{id}"
                );
            }
            (None, Err(_)) => {}
            (_, outcome) => panic!("{id}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn an_origin_that_sends_more_than_it_said_is_cut_at_its_word() {
    let fabric = crate::fabric().await;
    let origin = Rude::start(Script::SendAndClose(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more",
    ))
    .await;
    let host = fabric.publish("long", &origin.url()).await;
    assert_eq!(fabric.user().get(&host, "/").await.text(), "hello");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431_and_costs_nothing_else() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    for (fields, size) in [(1, 100_000), (1000, 10)] {
        let mut socket = fabric
            .user()
            .tls(&host, b"http/1.1")
            .await
            .expect("a connection");
        let mut head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n");
        for field in 0..fields {
            head.push_str(&format!("x-{field}: {}\r\n", "y".repeat(size)));
        }
        head.push_str("\r\n");
        // The edge may answer and close before it has read everything.
        let _ = socket.write_all(head.as_bytes()).await;
        let mut answer = vec![0; 12];
        socket.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(answer, b"HTTP/1.1 431", "{fields} fields of {size}");
    }
    let mut many = request(Method::GET, &host, "/echo", body(""));
    for field in 0..200 {
        let name = http::HeaderName::try_from(format!("x-{field}")).expect("a name");
        many.headers_mut()
            .insert(name, HeaderValue::from_static("y"));
    }
    let seen = fabric
        .user()
        .send(many)
        .await
        .expect("a whole answer")
        .json();
    assert!(
        seen["fields"]
            .as_array()
            .is_some_and(|fields| fields.len() >= 200),
        "200 fields are fine"
    );
}

#[tokio::test]
async fn bytes_that_are_no_http_are_refused() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let before = origin.requests();
    for garbage in [
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: other.{DOMAIN}\r\n\r\n"),
        format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
        ),
        format!("GET / HTTP/1.1\r\nHost : {host}\r\n\r\n"),
        "\u{16}\u{3}\u{1} nonsense\r\n\r\n".to_owned(),
    ] {
        let mut socket = fabric
            .user()
            .tls(&host, b"http/1.1")
            .await
            .expect("a connection");
        socket.write_all(garbage.as_bytes()).await.expect("open");
        let mut answer = vec![0; 12];
        socket.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(answer, b"HTTP/1.1 400", "{garbage:?}");
    }
    assert_eq!(origin.requests(), before, "none of it reached the origin");
    assert_eq!(fabric.user().status(&host, "/").await, 200);
}

#[tokio::test]
async fn an_idle_answer_is_given_up() {
    let fabric = crate::fabric().await;
    let script = Script::SendAndHang(
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        Duration::from_secs(60),
    );
    let origin = Rude::start(script).await;
    let host = format!("idle.{DOMAIN}");
    let args = [
        "app",
        "publish",
        "idle",
        "--host",
        &host,
        "--origin",
        &origin.url(),
        "--idle-timeout",
        "1s",
        "--access",
        "passthrough",
    ];
    fabric.site().ok(&args);
    eventually("the answer is broken off", async || {
        let begun = Instant::now();
        let outcome = fabric
            .user()
            .send(request(Method::GET, &host, "/", body("")))
            .await;
        let lasted = begun.elapsed();
        match outcome {
            // The edge does not know the app yet, or no agent is linked.
            Ok(answer) if [404, 503].contains(&answer.status.as_u16()) => false,
            Ok(answer) => {
                let reason = answer.json()["reason"].clone();
                assert_eq!(
                    (answer.status.as_u16(), reason),
                    (504, "origin_timeout".into())
                );
                true
            }
            Err(Broken::Truncated(status, _)) => {
                assert_eq!(status, 200);
                assert!(
                    lasted > Duration::from_millis(900),
                    "it was not idle yet: {lasted:?}"
                );
                assert!(lasted < Duration::from_secs(10), "far too late: {lasted:?}");
                true
            }
            Err(Broken::NoHead(error)) => panic!("{error}"),
        }
    })
    .await;
}
