//! Users who do not take their answers.

use std::time::Duration;

use bytes::Bytes;
use edge::OwnLimits;
use http::Request;
use http_body_util::BodyExt as _;
use proto::tunnel::End;
use runtime::{Scope, telemetry};
use tunnel::{
    codes::Code,
    stream::{SendError, SendHalf},
};

use crate::{
    fabric::{Agent, Fabric, HOST, streamed, within},
    user::{RawUser, UserBody, connect_http2, empty},
};

const PIECE: Bytes = Bytes::from_static(&[b'x'; 64 * 1024]);

fn impatient() -> OwnLimits {
    OwnLimits {
        stall_timeout: Some(Duration::from_secs(1)),
        ..OwnLimits::default()
    }
}

fn ask() -> Request<UserBody> {
    Request::get(format!("https://{HOST}/"))
        .body(empty())
        .unwrap()
}

/// Answers without end, until the edge wants no more.
pub(crate) async fn answer_without_end(agent: &Agent) -> SendError {
    let mut asked = agent.request().await;
    asked.send.queue(streamed(200)).unwrap();
    within(pour(&mut asked.send)).await
}

async fn pour(send: &mut SendHalf) -> SendError {
    loop {
        if let Err(error) = send.data(PIECE).await {
            return error;
        }
    }
}

/// Waits until the metrics say it: the access line is written when the answer is dropped.
async fn told(exporter: &impl Fn() -> String, line: &str) {
    within(async {
        while !exporter().contains(line) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn http1_user_who_stops_reading_is_cut_off_with_its_reason() {
    let scope = Scope::root();
    let exporter = telemetry::install_metrics(&scope).unwrap();
    let fabric = Fabric::with_limits(impatient()).await;
    let agent = fabric.agent("a1").await;
    let mut user = RawUser::connect(&fabric).await;
    user.get("/").await;
    let stopped = answer_without_end(&agent).await;
    assert_eq!(stopped, SendError::Stopped(Code::Cancelled));
    told(
        &|| exporter.render(),
        "edge_failures_total{reason=\"user_stalled\"} 1",
    )
    .await;
    // The connection is closed behind what the user did not read.
    user.read_to_end().await;
}

#[tokio::test]
async fn http2_stream_that_nobody_reads_is_cut_off_and_its_connection_lives() {
    let scope = Scope::root();
    let exporter = telemetry::install_metrics(&scope).unwrap();
    let fabric = Fabric::with_limits(impatient()).await;
    let agent = fabric.agent("a1").await;
    let mut user = connect_http2(&fabric).await;
    let (answer, stopped) = tokio::join!(within(user.send_request(ask())), async {
        answer_without_end(&agent).await
    });
    assert_eq!(stopped, SendError::Stopped(Code::Cancelled));
    told(
        &|| exporter.render(),
        "edge_failures_total{reason=\"user_stalled\"} 1",
    )
    .await;
    let mut body = answer.unwrap().into_body();
    let broken = within(async {
        loop {
            if let Err(error) = body.frame().await.expect("no end before the reset") {
                return error;
            }
        }
    })
    .await;
    assert!(broken.to_string().contains("body"), "{broken}");
    let (answer, ()) = tokio::join!(within(user.send_request(ask())), async {
        agent.request().await.answer(200, "hello").await;
    });
    let body = within(answer.unwrap().into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes(), "hello");
}

#[tokio::test]
async fn user_who_reads_slowly_is_served_to_the_end() {
    const PIECES: usize = 40;
    let fabric = Fabric::with_limits(impatient()).await;
    let agent = fabric.agent("a1").await;
    let mut user = connect_http2(&fabric).await;
    let serve = async {
        let mut asked = agent.request().await;
        asked.send.queue(streamed(200)).unwrap();
        for _ in 0..PIECES {
            within(asked.send.data(PIECE)).await.unwrap();
        }
        within(asked.send.end(End::default())).await.unwrap();
        asked.send.stopped().await;
    };
    let read = async {
        let mut body = user.send_request(ask()).await.unwrap().into_body();
        let (mut bytes, mut pauses) = (0, 0);
        while let Some(frame) = within(body.frame()).await {
            bytes += frame.unwrap().into_data().unwrap().len();
            if bytes / (PIECES * PIECE.len() / 4) > pauses {
                pauses += 1;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        assert_eq!(bytes, PIECES * PIECE.len());
    };
    tokio::join!(serve, read);
}

#[tokio::test]
async fn one_stalled_reader_holds_up_none_of_fifty() {
    const PIECES: usize = 16;
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let mut stalled = connect_http2(&fabric).await;
    let stalling = tokio::join!(stalled.send_request(ask()), async {
        let mut asked = agent.request().await;
        asked.send.queue(streamed(200)).unwrap();
        // All that the way holds: the rest would wait.
        while let Ok(sent) = tokio::time::timeout(STILL, asked.send.data(PIECE)).await {
            sent.unwrap();
        }
        asked
    });
    let mut user = connect_http2(&fabric).await;
    let serve = async {
        let mut answering = Vec::new();
        for _ in 0..49 {
            let mut asked = agent.request().await;
            answering.push(async move {
                asked.send.queue(streamed(200)).unwrap();
                for _ in 0..PIECES {
                    asked.send.data(PIECE).await.unwrap();
                }
                asked.send.end(End::default()).await.unwrap();
                asked.send.stopped().await;
            });
        }
        within(futures_util::future::join_all(answering)).await;
    };
    let asking = (0..49).map(|_| {
        let answer = user.send_request(ask());
        async {
            let body = answer.await.unwrap().into_body();
            body.collect().await.unwrap().to_bytes().len()
        }
    });
    let (lengths, ()) = tokio::join!(within(futures_util::future::join_all(asking)), serve);
    assert!(lengths.iter().all(|length| *length == PIECES * PIECE.len()));
    drop(stalling);
}

/// A sender that moves nothing for so long on loopback is held up.
const STILL: Duration = Duration::from_millis(500);
