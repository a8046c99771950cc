//! What apps take, by their own limits.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt as _;
use proto::{
    fabric::{Limits, Rate},
    tunnel::End,
};
use tunnel::{codes::Code, frame::Frame, stream::RecvError};

use crate::{
    fabric::{Fabric, HOST, streamed, within},
    user::{RawUser, UserBody, connect_http2, empty, get},
};

fn ask() -> Request<UserBody> {
    let request = Request::get(format!("https://{HOST}/"));
    request.body(empty()).unwrap()
}

#[tokio::test]
async fn body_that_is_said_to_be_too_long_is_refused_at_once() {
    let fabric = Fabric::with_app_limits(Limits {
        body_bytes: 10,
        ..Limits::default()
    })
    .await;
    let _agent = fabric.agent("a1").await;
    let mut user = RawUser::connect(&fabric).await;
    user.write(format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 11\r\nexpect: 100-continue\r\n\r\n"
    ))
    .await;
    let answer = user.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("body_too_long"), "{answer}");
}

#[tokio::test]
async fn body_that_turns_out_too_long_never_comes_whole() {
    let fabric = Fabric::with_app_limits(Limits {
        body_bytes: 10,
        ..Limits::default()
    })
    .await;
    let agent = fabric.agent("a1").await;
    let mut user = RawUser::connect(&fabric).await;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
    user.write(format!("{head}a\r\n0123456789\r\n")).await;
    let mut asked = agent.request().await;
    let Some(Frame::Data(data)) = within(asked.recv.next()).await.unwrap() else {
        panic!("the part within the limit is passed on");
    };
    assert_eq!(data, "0123456789");
    user.write("1\r\nx\r\n0\r\n\r\n").await;
    let answer = user.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let broken = within(asked.recv.next()).await;
    assert_eq!(broken, Err(RecvError::Reset(Code::Cancelled)));
}

#[tokio::test]
async fn body_of_the_longest_length_passes() {
    let fabric = Fabric::with_app_limits(Limits {
        body_bytes: 10,
        ..Limits::default()
    })
    .await;
    let agent = fabric.agent("a1").await;
    let mut user = RawUser::connect(&fabric).await;
    user.write(format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n"
    ))
    .await;
    let mut asked = agent.request().await;
    assert_eq!(asked.body().await, b"0123456789");
    asked.answer(200, "hello").await;
    assert!(user.read_until("hello").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn app_takes_so_many_requests_at_once_over_all_workers() {
    let fabric = Fabric::with_app_limits(Limits {
        requests: 3,
        ..Limits::default()
    })
    .await;
    let agent = fabric.agent("a1").await;
    let mut underway = Vec::new();
    for _ in 0..3 {
        let mut user = RawUser::connect(&fabric).await;
        user.get("/").await;
        underway.push((user, agent.request().await));
    }
    for _ in 0..8 {
        let answer = get(&fabric, "/").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("app_busy"), "{answer}");
    }
    let (mut user, asked) = underway.pop().unwrap();
    asked.answer(200, "hello").await;
    user.read_to_end().await;
    let (answer, ()) = tokio::join!(get(&fabric, "/"), async {
        agent.request().await.answer(200, "hello").await;
    });
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn users_beyond_the_rate_are_told_when_to_come_back_and_retries_do_not_count() {
    let rate = Some(Rate {
        per_second: 1,
        burst: 2,
    });
    for (limits, reason) in [
        (
            Limits {
                rate,
                ..Limits::default()
            },
            "\"rate_limited\"",
        ),
        (
            Limits {
                client_rate: rate,
                ..Limits::default()
            },
            "client_rate_limited",
        ),
    ] {
        let fabric = Fabric::with_app_limits(limits).await;
        let (one, other) = (fabric.agent("a1").await, fabric.agent("a2").await);
        // The first agent refuses each request, so that each is tried twice.
        for _ in 0..2 {
            let (answer, ()) = tokio::join!(get(&fabric, "/"), async {
                tokio::select! {
                    asked = one.request() => {
                        asked.fail(Code::Refused, "overloaded", true).await;
                        other.request().await.answer(200, "hello").await;
                    }
                    asked = other.request() => {
                        asked.fail(Code::Refused, "overloaded", true).await;
                        one.request().await.answer(200, "hello").await;
                    }
                }
            });
            assert!(answer.ends_with("hello"), "{answer}");
        }
        let answer = get(&fabric, "/").await;
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert!(answer.contains(reason), "{answer}");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn request_that_takes_too_long_in_all_is_ended() {
    let fabric = Fabric::with_total_timeout(Duration::from_secs(1)).await;
    let agent = fabric.agent("a1").await;
    let (answer, _asked) = tokio::join!(get(&fabric, "/"), agent.request());
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.contains("total_timeout"), "{answer}");

    let mut user = connect_http2(&fabric).await;
    let serve = async {
        let mut asked = agent.request().await;
        asked.send.queue(streamed(200)).unwrap();
        let mut sent = Ok(());
        while sent.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            sent = asked.send.data("tick".into()).await;
        }
        sent
    };
    let (answer, stopped) = tokio::join!(within(user.send_request(ask())), within(serve));
    assert!(stopped.is_err());
    let body = within(answer.unwrap().into_body().collect()).await;
    assert!(body.is_err(), "a part is not the whole");

    let (answer, ()) = tokio::join!(get(&fabric, "/"), async {
        let mut asked = agent.request().await;
        asked.send.queue(streamed(200)).unwrap();
        asked.send.end(End::default()).await.unwrap();
        asked.send.stopped().await;
    });
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
