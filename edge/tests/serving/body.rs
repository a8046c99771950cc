//! Bodies both ways, and the heads around them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt as _, Channel, StreamBody};
use hyper::body::Frame as BodyFrame;
use proto::tunnel::{End, ResponseHead};
use tokio::sync::oneshot;
use tunnel::{codes::Code, frame::Frame, stream::RecvError};

use crate::{
    fabric::{Fabric, HOST, streamed, within},
    user::{RawUser, UserBody, ask_http2, empty},
};

#[tokio::test]
async fn request_reaches_the_agent_clean_and_is_answered() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let port = fabric.edge.https_address.port();
    let ask = async {
        let mut user = RawUser::connect(&fabric).await;
        user.write(format!(
            "GET /a%20b?c=%2F HTTP/1.1\r\nhost: {HOST}:1\r\nx-forwarded-for: 10.0.0.1\r\nconnection: close, x-private\r\nx-private: 1\r\ncookie: a=b\r\n\r\n"
        ))
        .await;
        user.read_to_end().await
    };
    let serve = async {
        let mut asked = agent.request().await;
        assert_eq!(asked.head.app, "wiki");
        assert_eq!(asked.head.revision, 1);
        assert_eq!(asked.head.path_and_query, "/a%20b?c=%2F");
        assert_eq!(asked.head.authority, format!("{HOST}:{port}"));
        assert_eq!(asked.head.body_length, None);
        assert!(!asked.head.body_streamed);
        assert_eq!(asked.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
        assert_eq!(asked.field("x-forwarded-proto").as_deref(), Some("https"));
        assert_eq!(asked.field("x-private"), None);
        assert_eq!(asked.field("cookie").as_deref(), Some("a=b"));
        assert_eq!(asked.body().await, b"");
        asked.answer(200, "hello").await;
    };
    let (answer, ()) = tokio::join!(ask, serve);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("content-length: 5\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
}

#[tokio::test]
async fn answers_without_a_body_keep_what_they_tell_of_it() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    for (method, status, length) in [
        ("HEAD", 200, Some("5")),
        ("GET", 204, None),
        // hyper leaves it out here, as RFC 9110 (section 8.6) allows.
        ("GET", 304, None),
    ] {
        let ask = async {
            let mut user = RawUser::connect(&fabric).await;
            user.write(format!(
                "{method} / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n"
            ))
            .await;
            user.read_to_end().await
        };
        let serve = async {
            let mut asked = agent.request().await;
            let mut fields = HeaderMap::new();
            fields.insert("content-length", HeaderValue::from_static("5"));
            let head = ResponseHead {
                status,
                fields: tunnel::fields::encode(&fields).unwrap(),
                ..ResponseHead::default()
            };
            asked.send.queue(head).unwrap();
            asked.send.end(End::default()).await.unwrap();
            // Read to its end: the edge does not tell the agent that the user is gone.
            assert_eq!(asked.send.stopped().await, None);
        };
        let (answer, ()) = tokio::join!(ask, serve);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        let told = answer
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        assert_eq!(told, length, "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn early_answer_stops_the_upload_and_is_complete() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let ask = async {
        let mut user = RawUser::connect(&fabric).await;
        user.write(format!(
            "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1000000\r\n\r\nfirst"
        ))
        .await;
        user.read_until("\r\n\r\nenough").await
    };
    let serve = async {
        let mut asked = agent.request().await;
        assert_eq!(
            within(asked.recv.next()).await,
            Ok(Some(Frame::Data("first".into())))
        );
        asked.recv.stop(Code::BodyNotNeeded);
        asked.answer(413, "enough").await;
    };
    let (answer, ()) = tokio::join!(ask, serve);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn upload_goes_on_beside_the_answer() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let (mut upload, body) = Channel::<Bytes, std::io::Error>::new(4);
    let request = Request::post(format!("https://{HOST}/echo"))
        .body(body.boxed())
        .unwrap();
    let ask = async {
        upload.send_data("one".into()).await.unwrap();
        let mut answer = ask_http2(&fabric, request).await.unwrap();
        for part in ["one", "two", "three"] {
            let frame = within(answer.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), part);
            let next = match part {
                "one" => "two",
                "two" => "three",
                _ => break,
            };
            upload.send_data(next.into()).await.unwrap();
        }
        drop(upload);
        let rest = within(answer.into_body().collect()).await.unwrap();
        assert_eq!(rest.to_bytes(), "");
    };
    let serve = async {
        let mut asked = agent.request().await;
        assert!(asked.head.body_streamed);
        asked.send.send(streamed(200)).await.unwrap();
        loop {
            match within(asked.recv.next()).await.unwrap() {
                Some(Frame::Data(data)) => asked.send.data(data).await.unwrap(),
                Some(Frame::End(_)) => break,
                other => panic!("{other:?}"),
            }
        }
        asked.send.end(End::default()).await.unwrap();
        asked.send.stopped().await;
    };
    tokio::join!(ask, serve);
}

#[tokio::test]
async fn user_who_leaves_is_told_to_the_agent() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    // Before the head, and in the middle of the body.
    for begun in [false, true] {
        let mut user = RawUser::connect(&fabric).await;
        user.get("/").await;
        let mut asked = agent.request().await;
        assert_eq!(asked.body().await, b"");
        if begun {
            asked.send.queue(streamed(200)).unwrap();
            asked.send.data("begun".into()).await.unwrap();
            user.read_until("begun").await;
        }
        drop(user);
        assert_eq!(
            within(asked.send.stopped()).await,
            Some(Code::Cancelled),
            "{begun}"
        );
    }
}

#[tokio::test]
async fn user_who_leaves_in_an_upload_breaks_it_off() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let mut user = RawUser::connect(&fabric).await;
    user.write(format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 10\r\n\r\nhalf"
    ))
    .await;
    let mut asked = agent.request().await;
    assert_eq!(
        within(asked.recv.next()).await,
        Ok(Some(Frame::Data("half".into())))
    );
    drop(user);
    assert_eq!(
        within(asked.recv.next()).await,
        Err(RecvError::Reset(Code::Cancelled))
    );
}

#[tokio::test]
async fn body_is_asked_for_only_when_the_agent_wants_it() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let mut user = RawUser::connect(&fabric).await;
    let head = format!(
        "PUT / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 4\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
    );
    user.write(&head).await;
    let mut asked = agent.request().await;
    assert!(asked.head.flags.unwrap().expect_continue);
    assert_eq!(asked.field("expect"), None);
    asked.send.send(Frame::Continue).await.unwrap();
    let interim = user.read_until("\r\n\r\n").await;
    assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
    user.write("body").await;
    assert_eq!(asked.body().await, b"body");
    let (answer, ()) = tokio::join!(user.read_to_end(), asked.answer(201, "made"));
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");

    // An agent that answers without asking: the user is never told to go on.
    let mut user = RawUser::connect(&fabric).await;
    user.write(&head).await;
    let asked = agent.request().await;
    let (answer, ()) = tokio::join!(user.read_to_end(), asked.answer(403, "no"));
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn trailers_pass_both_ways_over_http2() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    let frames = [
        Ok(BodyFrame::data(Bytes::from_static(b"body"))),
        Ok(BodyFrame::trailers(trailers.clone())),
    ];
    let body: UserBody = StreamBody::new(futures_util::stream::iter(frames)).boxed();
    let request = Request::post(format!("https://{HOST}/"))
        .header("te", "trailers")
        .body(body)
        .unwrap();
    let ask = async {
        let answer = ask_http2(&fabric, request).await.unwrap();
        let whole = within(answer.into_body().collect()).await.unwrap();
        assert_eq!(whole.trailers().unwrap()["x-sum"], "2");
        assert_eq!(whole.to_bytes(), "done");
    };
    let serve = async {
        let mut asked = agent.request().await;
        assert_eq!(asked.field("te").as_deref(), Some("trailers"));
        let mut got = None;
        while let Some(frame) = within(asked.recv.next()).await.unwrap() {
            if let Frame::Trailers(trailers) = frame {
                got = Some(trailers);
            }
        }
        assert_eq!(got, Some(trailers.clone()));
        let mut back = HeaderMap::new();
        back.insert("x-sum", HeaderValue::from_static("2"));
        asked.send.queue(streamed(200)).unwrap();
        asked.send.queue(Frame::Data("done".into())).unwrap();
        asked.send.queue(Frame::Trailers(back)).unwrap();
        asked.send.end(End::default()).await.unwrap();
        asked.send.stopped().await;
    };
    tokio::join!(ask, serve);
}

#[tokio::test]
async fn trailers_that_are_no_fields_end_the_request_at_once() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let mut trailers = HeaderMap::new();
    let name = HeaderName::from_lowercase(b"x\"sum").unwrap();
    trailers.insert(name, HeaderValue::from_static("1"));
    let (mut sender, body) = Channel::new(1);
    let request = Request::post(format!("https://{HOST}/"))
        .body(body.boxed())
        .unwrap();
    let (arrived, arrival) = oneshot::channel();
    let ask = async {
        let answer = ask_http2(&fabric, request).await.unwrap();
        assert_eq!(answer.status(), 400);
    };
    let send = async {
        sender.send_data(Bytes::from_static(b"body")).await.unwrap();
        arrival.await.unwrap();
        sender.send_trailers(trailers).await.unwrap();
    };
    let serve = async {
        let mut asked = agent.request().await;
        let data = within(asked.recv.next()).await.unwrap();
        assert_eq!(data, Some(Frame::Data("body".into())));
        arrived.send(()).unwrap();
        let rest = within(asked.recv.next()).await;
        assert_eq!(rest, Err(RecvError::Reset(Code::Cancelled)));
    };
    tokio::join!(ask, send, serve);
}

#[tokio::test]
async fn broken_off_answer_is_reset_over_http2() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let request = Request::get(format!("https://{HOST}/"))
        .body(empty())
        .unwrap();
    let (came, half) = oneshot::channel();
    let ask = async {
        let mut answer = ask_http2(&fabric, request).await.unwrap();
        let frame = within(answer.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "half");
        came.send(()).unwrap();
        assert!(within(answer.into_body().collect()).await.is_err());
    };
    let serve = async {
        let mut asked = agent.request().await;
        asked.send.queue(streamed(200)).unwrap();
        asked.send.data("half".into()).await.unwrap();
        // A reset overtakes what was not delivered yet.
        half.await.unwrap();
        asked.send.reset(Code::OriginReset);
    };
    tokio::join!(ask, serve);
}

#[tokio::test]
async fn large_bodies_pass_whole() {
    const BYTES: usize = 8 * 1024 * 1024;
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let sent: Bytes = (0..BYTES)
        .map(|index| u8::try_from(index % 251).unwrap())
        .collect::<Vec<_>>()
        .into();
    let request = Request::post(format!("https://{HOST}/"))
        .body(
            http_body_util::Full::new(sent.clone())
                .map_err(|never| match never {})
                .boxed(),
        )
        .unwrap();
    let ask = async {
        let answer = ask_http2(&fabric, request).await.unwrap();
        within(answer.into_body().collect())
            .await
            .unwrap()
            .to_bytes()
    };
    let serve = async {
        let mut asked = agent.request().await;
        assert_eq!(asked.head.body_length, Some(BYTES as u64));
        let body = Bytes::from(asked.body().await);
        let mut head = streamed(200);
        (head.body_streamed, head.body_length) = (false, Some(BYTES as u64));
        asked.send.send(head).await.unwrap();
        for chunk in body.chunks(64 * 1024) {
            asked.send.data(body.slice_ref(chunk)).await.unwrap();
        }
        asked.send.end(End::default()).await.unwrap();
        asked.send.stopped().await;
    };
    let (received, ()) = tokio::join!(ask, serve);
    assert!(received == sent);
}

#[tokio::test]
async fn answer_flows_as_it_comes() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let mut user = RawUser::connect(&fabric).await;
    user.get("/events").await;
    let mut asked = agent.request().await;
    asked.send.send(streamed(200)).await.unwrap();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        asked.send.data(event.into()).await.unwrap();
        user.read_until(event).await;
    }
    asked.send.end(End::default()).await.unwrap();
    assert!(user.read_to_end().await.ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn upload_that_waits_behind_hints_arrives_whole() {
    const BODY_BYTES: usize = 4 * 1024 * 1024;
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let ask = async {
        let mut user = RawUser::connect(&fabric).await;
        user.write(format!(
            "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {BODY_BYTES}\r\nconnection: close\r\n\r\n"
        ))
        .await;
        user.write(vec![b'x'; BODY_BYTES]).await;
        user.read_to_end().await
    };
    let serve = async {
        let mut asked = agent.request().await;
        // Each is read by the edge while its write of the body waits for us.
        for _ in 0..tunnel::frame::INFORMATIONAL_MAX {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            asked.send.send(streamed(102)).await.unwrap();
        }
        assert_eq!(asked.body().await.len(), BODY_BYTES);
        asked.answer(200, "whole").await;
    };
    let (answer, ()) = tokio::join!(ask, serve);
    assert!(answer.ends_with("whole"), "{answer}");
}
