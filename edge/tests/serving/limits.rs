//! What users may cost an edge, and those who try to cost it more.

use std::time::Duration;

use edge::OwnLimits;
use http::Request;
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    fabric::{Fabric, HOST, within},
    http3,
    user::{RawUser, UserStream, ask_http2, connect, connect_http2, empty, get},
};

const SHORT: Duration = Duration::from_secs(1);

fn pace(bytes_per_second: u32) -> proto::fabric::Limits {
    proto::fabric::Limits {
        body_pace: Some(bytes_per_second),
        ..Default::default()
    }
}

#[tokio::test]
async fn head_that_does_not_end_is_given_up() {
    let fabric = Fabric::with_limits(OwnLimits {
        head_timeout: Some(SHORT),
        ..OwnLimits::default()
    })
    .await;
    let mut user = RawUser::connect(&fabric).await;
    user.write(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nx-slow: "))
        .await;
    assert_eq!(user.read_to_end().await, "");
}

#[tokio::test]
async fn connection_without_requests_is_closed_after_a_while() {
    let fabric = Fabric::with_limits(OwnLimits {
        idle_timeout: Some(SHORT),
        ..OwnLimits::default()
    })
    .await;
    let agent = fabric.agent("a1").await;
    let mut user = RawUser::connect(&fabric).await;
    user.write(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"))
        .await;
    agent.request().await.answer(200, "hello").await;
    let answer = user.read_to_end().await;
    assert!(answer.ends_with("hello"), "{answer}");

    let mut user = connect_http2(&fabric).await;
    let request = Request::get(format!("https://{HOST}/"));
    let (answer, ()) = tokio::join!(
        within(user.send_request(request.body(empty()).unwrap())),
        async { agent.request().await.answer(200, "hello").await }
    );
    answer.unwrap().into_body().collect().await.unwrap();
    within(async {
        while user.ready().await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    })
    .await;
}

#[tokio::test]
async fn request_that_takes_longer_than_idle_connections_live_is_answered() {
    let fabric = Fabric::with_limits(OwnLimits {
        idle_timeout: Some(SHORT),
        head_timeout: Some(SHORT),
        ..OwnLimits::default()
    })
    .await;
    let agent = fabric.agent("a1").await;
    let (answer, ()) = tokio::join!(get(&fabric, "/"), async {
        let asked = agent.request().await;
        tokio::time::sleep(2 * SHORT).await;
        asked.answer(200, "hello").await;
    });
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn address_with_its_share_of_connections_gets_no_more() {
    let fabric = Fabric::with_limits(OwnLimits {
        client_connections: Some(2),
        ..OwnLimits::default()
    })
    .await;
    let first = RawUser::connect(&fabric).await;
    let _second = RawUser::connect(&fabric).await;
    let mut third = TcpStream::connect(fabric.edge.https_address).await.unwrap();
    assert_eq!(within(third.read(&mut [0])).await.unwrap_or(0), 0);
    drop(first);
    within(async {
        loop {
            let mut stream = TcpStream::connect(fabric.edge.https_address).await.unwrap();
            let refused = tokio::time::timeout(SHORT / 4, stream.read(&mut [0])).await;
            if refused.is_err() {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn body_that_hardly_comes_is_refused_and_one_that_keeps_the_pace_is_not() {
    let own = OwnLimits {
        body_grace: Some(SHORT),
        ..OwnLimits::default()
    };
    let fabric = Fabric::with_app_limits_of(own, pace(1_000)).await;
    let agent = fabric.agent("a1").await;
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 9000\r\n\r\n");
    let mut user = RawUser::connect(&fabric).await;
    user.write(format!("{head}x")).await;
    let (answer, _asked) = tokio::join!(user.read_to_end(), agent.request());
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("user_timeout"), "{answer}");

    let mut user = RawUser::connect(&fabric).await;
    let serve = async {
        let mut asked = agent.request().await;
        assert_eq!(asked.body().await.len(), 9_000);
        asked.answer(200, "hello").await;
    };
    let send = async {
        user.write(&head).await;
        for _ in 0..6 {
            user.write([b'x'; 1_500]).await;
            tokio::time::sleep(SHORT / 2).await;
        }
        user.read_until("hello").await
    };
    tokio::join!(serve, send);
}

#[tokio::test]
async fn bodies_of_no_length_may_rest_but_not_many_of_one_address() {
    let own = OwnLimits {
        body_grace: Some(SHORT),
        client_resting: Some(2),
        ..OwnLimits::default()
    };
    let fabric = Fabric::with_app_limits_of(own, pace(1_000)).await;
    let agent = fabric.agent("a1").await;
    let chunked =
        "POST / HTTP/1.1\r\nhost: wiki.example.com\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n";
    let channel =
        "RPC_IN_DATA / HTTP/1.1\r\nhost: wiki.example.com\r\ncontent-length: 1073741824\r\n\r\nx";
    let mut resting = Vec::new();
    for head in [chunked, channel] {
        let mut user = RawUser::connect(&fabric).await;
        user.write(head).await;
        resting.push((user, agent.request().await));
    }
    tokio::time::sleep(2 * SHORT).await;
    let mut third = RawUser::connect(&fabric).await;
    third.write(chunked).await;
    let (answer, _asked) = tokio::join!(third.read_to_end(), agent.request());
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    for (mut user, asked) in resting {
        let (_, ()) = tokio::join!(user.read_until("hello"), asked.answer(200, "hello"));
    }
}

#[tokio::test]
async fn an_app_may_ask_for_another_pace_or_none() {
    let own = OwnLimits {
        body_grace: Some(SHORT),
        ..OwnLimits::default()
    };
    let fabric = Fabric::with_app_limits_of(own, pace(0)).await;
    let agent = fabric.agent("a1").await;
    let mut user = RawUser::connect(&fabric).await;
    user.write(format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 9000\r\n\r\nx"
    ))
    .await;
    let asked = agent.request().await;
    tokio::time::sleep(2 * SHORT).await;
    let (answer, ()) = tokio::join!(user.read_until("hello"), asked.answer(200, "hello"));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn heads_beyond_the_bounds_are_refused() {
    let fabric = Fabric::with_limits(OwnLimits {
        head_fields: Some(16),
        head_bytes: Some(8 * 1024),
        target_bytes: Some(256),
        ..OwnLimits::default()
    })
    .await;
    let fields = "a: b\r\n".repeat(17);
    let long_field = format!("a: {}\r\n", "b".repeat(8 * 1024));
    let long_path = "a".repeat(256);
    for (path, fields, status) in [
        ("", fields.as_str(), 431),
        ("", &long_field, 431),
        (&long_path, "", 414),
    ] {
        let mut user = RawUser::connect(&fabric).await;
        user.write(format!(
            "GET /{path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n{fields}\r\n"
        ))
        .await;
        let answer = user.read_to_end().await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn fields_are_counted_over_every_version() {
    let fabric = Fabric::with_limits(OwnLimits {
        head_fields: Some(16),
        ..OwnLimits::default()
    })
    .await;
    let agent = fabric.agent("a1").await;
    let crumbs = [("cookie", "a=b"); 20];
    for (fields, status) in [
        (&[("a", "b"); 16][..], 200),
        (&[("a", "b"); 17], 431),
        // Cookies come in crumbs.
        (&crumbs, 200),
    ] {
        let request = || {
            let mut request = Request::get(format!("https://{HOST}/"));
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            request
        };
        let serve = || async {
            if status == 200 {
                agent.request().await.answer(200, "hello").await;
            }
        };
        let (answer, ()) = tokio::join!(
            ask_http2(&fabric, request().body(empty()).unwrap()),
            serve()
        );
        assert_eq!(answer.unwrap().status(), status, "{fields:?}");
        // There each crumb is a line of its own, and lines are bounded before they are understood.
        if fields == crumbs {
            continue;
        }
        let mut user = http3::User::connect(&fabric).await;
        let (answer, ()) = tokio::join!(user.ask(request().body(()).unwrap()), serve());
        assert_eq!(answer.0.status(), status, "{fields:?}");
    }
}

#[tokio::test]
async fn handshake_that_does_not_come_is_given_up() {
    let fabric = Fabric::with_limits(OwnLimits {
        handshake_timeout: Some(SHORT),
        ..OwnLimits::default()
    })
    .await;
    let mut silent = TcpStream::connect(fabric.edge.https_address).await.unwrap();
    assert_eq!(within(silent.read(&mut [0])).await.unwrap_or(0), 0);
    is_served(&fabric).await;
}

#[tokio::test]
async fn workers_with_their_share_of_connections_let_nobody_else_in_until_one_goes() {
    let fabric = Fabric::with_limits(OwnLimits {
        connections: Some(1),
        ..OwnLimits::default()
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..12 {
        let shaken = tokio::time::timeout(SHORT / 4, connect(&fabric, b"http/1.1"));
        open.extend(shaken.await.ok());
    }
    // There are two workers, and the kernel chooses among them.
    assert!(matches!(open.len(), 1..=2), "{}", open.len());
    drop(open);
    is_served(&fabric).await;
}

#[tokio::test]
async fn http2_asks_for_so_many_things_at_once() {
    let fabric = Fabric::with_limits(OwnLimits {
        streams: Some(2),
        ..OwnLimits::default()
    })
    .await;
    let agent = fabric.agent("a1").await;
    let mut attacker = Attacker::connect(&fabric).await;
    for stream in [1, 3, 5] {
        let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &request_block());
        assert!(attacker.write(&head).await);
    }
    let (first, _second) = (agent.request().await, agent.request().await);
    // The third was refused: nothing of it was processed (RFC 9113, section 5.1.2).
    assert_eq!(attacker.reset_code(5).await, REFUSED_STREAM);
    first.answer(200, "hello").await;
    attacker.answered().await;
    let head = frame(HEADERS, END_HEADERS | END_STREAM, 7, &request_block());
    assert!(attacker.write(&head).await);
    agent.request().await.answer(200, "hello").await;
}

/// Someone who writes frames of HTTP/2 by hand.
struct Attacker {
    stream: UserStream,
}

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A GET of "/", in HPACK.
fn request_block() -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x84, 0x01, u8::try_from(HOST.len()).unwrap()];
    block.extend(HOST.as_bytes());
    block
}

impl Attacker {
    async fn connect(fabric: &Fabric) -> Self {
        let mut stream = within(connect(fabric, b"h2")).await;
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(SETTINGS, 0, 0, &[]));
        within(stream.write_all(&hello)).await.unwrap();
        Self { stream }
    }

    /// Writes without reading anything; false if that goes no further within `SHORT`, or the edge has closed.
    async fn write(&mut self, bytes: &[u8]) -> bool {
        let written = tokio::time::timeout(SHORT, self.stream.write_all(bytes));
        matches!(written.await, Ok(Ok(())))
    }

    /// The error code with which a stream is reset.
    async fn reset_code(&mut self, stream: u32) -> u32 {
        loop {
            let (header, payload) = self.next_frame().await;
            if header[3] == RST_STREAM && header[5..] == stream.to_be_bytes() {
                return u32::from_be_bytes(payload.try_into().unwrap());
            }
        }
    }

    /// Waits for the end of some answer.
    async fn answered(&mut self) {
        loop {
            let (header, _) = self.next_frame().await;
            if header[3] == DATA && header[4] & END_STREAM != 0 {
                return;
            }
        }
    }

    async fn next_frame(&mut self) -> ([u8; 9], Vec<u8>) {
        let mut header = [0; 9];
        within(self.stream.read_exact(&mut header)).await.unwrap();
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        within(self.stream.read_exact(&mut payload)).await.unwrap();
        (header, payload)
    }

    /// The error code of the GOAWAY that the edge ends with, if it says one.
    async fn goodbye(&mut self) -> Option<u32> {
        let mut read = Vec::new();
        // The edge may reset the connection behind it.
        let _ = within(self.stream.read_to_end(&mut read)).await;
        let mut rest = read.as_slice();
        let mut code = None;
        while rest.len() >= 9 {
            let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
            if rest[3] == 0x7 {
                code = Some(u32::from_be_bytes(rest[13..17].try_into().unwrap()));
            }
            rest = &rest[(9 + length).min(rest.len())..];
        }
        code
    }
}

const REFUSED_STREAM: u32 = 0x7;
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// Another user is served, whatever the attacker does.
async fn is_served(fabric: &Fabric) {
    let agent = fabric.agent("a2").await;
    let (answer, ()) = tokio::join!(get(fabric, "/"), async {
        agent.request().await.answer(200, "hello").await;
    });
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn rapid_resets_end_their_connection() {
    for (resets, streams) in [(None, 10_000), (Some(2), 10)] {
        let fabric = Fabric::with_limits(OwnLimits {
            resets,
            ..OwnLimits::default()
        })
        .await;
        let mut attacker = Attacker::connect(&fabric).await;
        attacker.write(&broken_off(streams)).await;
        assert_eq!(attacker.goodbye().await, Some(ENHANCE_YOUR_CALM));
        is_served(&fabric).await;
    }
}

/// So many requests, each broken off at once.
fn broken_off(streams: u32) -> Vec<u8> {
    let mut flood = Vec::new();
    for stream in (1..2 * streams).step_by(2) {
        flood.extend(frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &request_block(),
        ));
        flood.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    flood
}

#[tokio::test]
async fn continuation_without_end_ends_its_connection() {
    let fabric = Fabric::with_limits(OwnLimits::default()).await;
    let mut attacker = Attacker::connect(&fabric).await;
    attacker
        .write(&frame(HEADERS, END_STREAM, 1, &request_block()))
        .await;
    // A field of one letter, again and again, with no END_HEADERS.
    let piece = frame(
        CONTINUATION,
        0,
        1,
        &[0x00, 0x01, b'a', 0x01, b'b'].repeat(3_000),
    );
    let mut pieces = 0;
    while pieces < 1_000 && attacker.write(&piece).await {
        pieces += 1;
    }
    assert!(pieces < 1_000, "16 MB of one head were taken");
    attacker.goodbye().await;
    is_served(&fabric).await;
}

#[tokio::test]
async fn pings_whose_answers_nobody_reads_are_read_no_further() {
    let fabric = Fabric::with_limits(OwnLimits::default()).await;
    let mut attacker = Attacker::connect(&fabric).await;
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(60_000);
    let mut floods = 0;
    while floods < 100 && attacker.write(&pings).await {
        floods += 1;
    }
    assert!(floods < 100, "100 MB of pings were taken");
    is_served(&fabric).await;
}
