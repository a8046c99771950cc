//! What users may cost, as control tells it: limits of the whole fabric, and those of an app that asks for less.

use std::time::Duration;

use edge::OwnLimits;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use proto::{
    fabric::{EdgeLimits, Limits},
    tunnel::{End, ResponseHead},
};
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tunnel::{codes::Code, frame::Frame, stream::SendError};

use crate::{
    fabric::{Fabric, HOST, within},
    http3,
    stall::answer_without_end,
    user::{RawUser, ask_http2, connect_http2, empty},
};

const SHORT: Duration = Duration::from_secs(1);

fn with_fields(count: usize) -> String {
    let fields = "a: b\r\n".repeat(count);
    format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{fields}\r\n")
}

#[tokio::test]
async fn limits_of_the_fabric_hold_for_connections_to_come() {
    let mut fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let mut before = RawUser::connect(&fabric).await;
    fabric.set_edge_limits(EdgeLimits {
        head_fields: Some(16),
        target_bytes: Some(256),
        ..Default::default()
    });
    fabric.publish(2);

    let mut user = RawUser::connect(&fabric).await;
    user.write(with_fields(16)).await;
    let refused = user.read_until("\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
    let mut user = RawUser::connect(&fabric).await;
    user.get(&format!("/{}", "a".repeat(256))).await;
    let refused = user.read_until("uri_too_long").await;
    assert!(refused.starts_with("HTTP/1.1 414 "), "{refused}");

    before.write(with_fields(16)).await;
    let (_, ()) = tokio::join!(before.read_until("hello"), async {
        agent.request().await.answer(200, "hello").await;
    });
}

#[tokio::test]
async fn an_edges_own_word_counts_more_than_the_fabrics() {
    let mut fabric = Fabric::with_limits(OwnLimits {
        head_timeout: Some(SHORT),
        head_fields: Some(32),
        ..OwnLimits::default()
    })
    .await;
    let agent = fabric.agent("a1").await;
    fabric.set_edge_limits(EdgeLimits {
        head_timeout_ms: Some(600_000),
        head_fields: Some(16),
        ..Default::default()
    });
    fabric.publish(2);
    let mut user = RawUser::connect(&fabric).await;
    user.write(with_fields(20)).await;
    let (_, ()) = tokio::join!(user.read_until("hello"), async {
        agent.request().await.answer(200, "hello").await;
    });
    user.write("GET / HT").await;
    assert_eq!(user.read_to_end().await, "");
}

#[tokio::test]
async fn numbers_of_connections_follow_the_fabric_at_once() {
    let mut fabric = Fabric::start().await;
    let first = RawUser::connect(&fabric).await;
    let _second = RawUser::connect(&fabric).await;
    fabric.set_edge_limits(EdgeLimits {
        client_connections: Some(1),
        ..Default::default()
    });
    fabric.publish(2);
    // Counted from the moment that the edge has followed.
    within(async { while !is_closed(&fabric).await {} }).await;
    fabric.set_edge_limits(EdgeLimits {
        client_connections: Some(3),
        ..Default::default()
    });
    fabric.publish(3);
    within(async { while is_closed(&fabric).await {} }).await;
    drop(first);
}

/// Whether a connection more is closed without a word.
async fn is_closed(fabric: &Fabric) -> bool {
    let mut stream = TcpStream::connect(fabric.edge.https_address).await.unwrap();
    let read = tokio::time::timeout(SHORT / 4, stream.read(&mut [0])).await;
    read.is_ok()
}

#[tokio::test]
async fn workers_follow_the_number_of_their_connections() {
    let mut fabric = Fabric::with_limits(OwnLimits {
        handshake_timeout: Some(SHORT),
        ..OwnLimits::default()
    })
    .await;
    fabric.set_edge_limits(EdgeLimits {
        connections: Some(1),
        ..Default::default()
    });
    fabric.publish(2);
    let mut users = Vec::new();
    let mut waiting = 0;
    while waiting < 4 {
        let shaken = tokio::time::timeout(SHORT / 4, RawUser::connect(&fabric)).await;
        match shaken {
            Ok(user) => users.push(user),
            Err(_) => waiting += 1,
        }
        // There are two workers.
        assert!(users.len() <= 8, "{}", users.len());
    }
    fabric.set_edge_limits(EdgeLimits::default());
    fabric.publish(3);
    for _ in 0..4 {
        users.push(within(RawUser::connect(&fabric)).await);
    }
}

#[tokio::test]
async fn http3_grants_as_many_requests_at_once_as_the_fabric_says() {
    let mut fabric = Fabric::start().await;
    fabric.set_edge_limits(EdgeLimits {
        streams: Some(2),
        ..Default::default()
    });
    fabric.publish(2);
    assert_eq!(http3::streams_granted(&fabric).await, 2);
    fabric.set_edge_limits(EdgeLimits {
        streams: Some(1_000),
        ..Default::default()
    });
    fabric.publish(3);
    assert_eq!(http3::streams_granted(&fabric).await, 100);
}

fn strict() -> Limits {
    Limits {
        head_fields: 16,
        head_bytes: 8 * 1024,
        target_bytes: 256,
        ..Limits::default()
    }
}

#[tokio::test]
async fn an_app_asks_for_less_of_a_head_over_every_version() {
    const OTHER: &str = "crm.example.com";
    let mut fabric = Fabric::with_app_limits(strict()).await;
    fabric.add_app("crm", OTHER);
    fabric.publish(3);
    let agent = fabric.agent("a1").await;
    let (long_path, long_value) = ("a".repeat(256), "b".repeat(8 * 1024));
    let many = [("a", "b"); 17];
    let one = [("a", long_value.as_str())];
    for (path, fields, status, reason) in [
        ("", &many[..], 431, "head_too_large"),
        ("", &one, 431, "head_too_large"),
        (long_path.as_str(), &[], 414, "uri_too_long"),
        ("", &many[..12], 200, "hello"),
    ] {
        let request = |host| {
            let mut request = Request::get(format!("https://{host}/{path}"));
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            request
        };
        let serve = |status| {
            let agent = &agent;
            async move {
                if status == 200 {
                    agent.request().await.answer(200, "hello").await;
                }
            }
        };
        let asked = |host| ask_http2(&fabric, request(host).body(empty()).unwrap());
        let (answer, ()) = tokio::join!(asked(HOST), serve(status));
        is_answer(answer.unwrap(), status, reason).await;
        // Another app takes what the edge takes.
        let (answer, ()) = tokio::join!(asked(OTHER), serve(200));
        is_answer(answer.unwrap(), 200, "hello").await;

        let mut user = http3::User::connect(&fabric).await;
        let (answer, ()) = tokio::join!(user.ask(request(HOST).body(()).unwrap()), serve(status));
        assert_eq!(answer.0.status(), status, "{reason}");
        assert!(answer.1.contains(reason), "{}", answer.1);

        let mut user = RawUser::connect(&fabric).await;
        let lines = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let lines: String = lines.collect();
        user.write(format!(
            "GET /{path} HTTP/1.1\r\nhost: {HOST}\r\n{lines}\r\n"
        ))
        .await;
        let (answer, ()) = tokio::join!(user.read_until(reason), serve(status));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

async fn is_answer(answer: Response<Incoming>, status: u16, text: &str) {
    assert_eq!(answer.status(), status, "{text}");
    let body = within(answer.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    assert!(body.windows(text.len()).any(|part| part == text.as_bytes()));
}

#[tokio::test]
async fn an_app_waits_less_for_a_user_who_stops_reading() {
    let fabric = Fabric::with_app_limits(Limits {
        stall_timeout_ms: 1_000,
        ..Limits::default()
    })
    .await;
    let agent = fabric.agent("a1").await;
    let mut user = RawUser::connect(&fabric).await;
    user.get("/").await;
    let stopped = answer_without_end(&agent).await;
    assert_eq!(stopped, SendError::Stopped(Code::Cancelled));

    let mut user = connect_http2(&fabric).await;
    let request = Request::get(format!("https://{HOST}/")).body(empty());
    let (_answer, stopped) = tokio::join!(
        within(user.send_request(request.unwrap())),
        answer_without_end(&agent)
    );
    assert_eq!(stopped, SendError::Stopped(Code::Cancelled));
}

#[tokio::test]
async fn users_of_http1_get_names_of_fields_as_the_fabric_says() {
    let mut fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    for (revision, title_case, names) in [
        (2, false, ["content-length: 5\r\n", "x-a: b\r\n"]),
        (3, true, ["Content-Length: 5\r\n", "X-A: b\r\n"]),
    ] {
        fabric.set_title_case(title_case);
        fabric.publish(revision);
        let mut user = RawUser::connect(&fabric).await;
        user.get("/").await;
        let mut asked = agent.request().await;
        let fields = [(
            HeaderName::from_static("x-a"),
            HeaderValue::from_static("b"),
        )];
        let head = ResponseHead {
            status: 200,
            body_length: Some(5),
            fields: tunnel::fields::encode(&HeaderMap::from_iter(fields)).unwrap(),
            ..ResponseHead::default()
        };
        asked.send.queue(head).unwrap();
        asked.send.queue(Frame::Data("hello".into())).unwrap();
        asked.send.end(End::default()).await.unwrap();
        let answer = user.read_until("hello").await;
        for name in names {
            assert!(answer.contains(&format!("\r\n{name}")), "{answer}");
        }
    }
}
