//! Protocols that take over the connection.

use bytes::Bytes;
use proto::tunnel::RequestHead;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};
use tunnel::{codes::Code, frame::Frame, stream::RecvHalf};

use crate::{
    edge::{Bench, Ending, answer, final_head, get, soon},
    origin::{ScriptedOrigin, read_body, read_head, read_to_close},
};

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
    upgrade: chat\r\nsec-websocket-accept: x\r\n\r\nhi";

fn upgrade() -> RequestHead {
    RequestHead {
        upgrade: "chat".into(),
        ..get("/chat")
    }
}

#[tokio::test]
async fn upgraded_bytes_pass_both_ways_and_each_side_ends_by_itself() {
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert!(
            head.contains("connection: upgrade\r\n") && head.contains("upgrade: chat\r\n"),
            "{head}"
        );
        stream.write_all(SWITCH).await.unwrap();
        assert_eq!(read_body(&mut stream, 4).await, b"ping");
        stream.write_all(b"pong").await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        stream.write_all(b"bye").await.unwrap();
    })
    .await;
    let bench = Bench::of(&origin.url()).await;
    let (mut send, mut recv) = bench.open(upgrade()).await;
    let head = final_head(&mut recv).await;
    assert_eq!((head.status, head.upgraded), (101, true));
    let fields = tunnel::fields::decode(head.fields).unwrap();
    assert!(fields.contains_key("sec-websocket-accept") && !fields.contains_key("connection"));
    assert_eq!(
        soon(recv.next()).await.unwrap(),
        Some(Frame::Data(Bytes::from_static(b"hi")))
    );
    soon(send.data(Bytes::from_static(b"ping"))).await.unwrap();
    assert_eq!(
        soon(recv.next()).await.unwrap(),
        Some(Frame::Data(Bytes::from_static(b"pong")))
    );
    soon(send.end(Default::default())).await.unwrap();
    let rest = soon(answer(&mut recv)).await;
    assert_eq!(rest.text(), "bye");
    assert!(matches!(rest.end, Ending::End), "{rest:?}");
}

#[tokio::test]
async fn a_user_who_leaves_closes_the_upgraded_connection() {
    let (left, mut leaves) = mpsc::channel(1);
    let origin = ScriptedOrigin::start(move |mut stream, _| {
        let left = left.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(SWITCH).await.unwrap();
            left.send(read_to_close(&mut stream).await).await.unwrap();
        }
    })
    .await;
    let bench = Bench::of(&origin.url()).await;
    let (mut send, mut recv) = bench.open(upgrade()).await;
    final_head(&mut recv).await;
    send.reset(Code::Cancelled);
    assert_eq!(soon(leaves.recv()).await, Some(0));
}

#[tokio::test]
async fn an_origin_that_does_not_switch_answers_as_usual() {
    let origin = ScriptedOrigin::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno").await;
    let bench = Bench::of(&origin.url()).await;
    let (_send, mut recv) = bench.open(upgrade()).await;
    let answer = soon(answer(&mut recv)).await;
    assert_eq!((answer.status(), answer.text()), (200, "no".to_owned()));
}

/// What a user of HTTP/2 or HTTP/3 asks: no key, no Upgrade.
fn connect() -> RequestHead {
    RequestHead {
        method: "CONNECT".into(),
        upgrade: "websocket".into(),
        http_version: 20,
        ..get("/chat")
    }
}

/// Answers the handshake, with the right proof or a wrong one, and echoes four bytes.
async fn websocket_origin(proof: fn(&str) -> String) -> ScriptedOrigin {
    ScriptedOrigin::start(move |mut stream, _| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        // The key's case counts.
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("GET /chat HTTP/1.1\r\n"), "{head}");
        for field in [
            "connection: upgrade",
            "upgrade: websocket",
            "sec-websocket-version: 13",
        ] {
            assert!(head.contains(&format!("{field}\r\n")), "{head}");
        }
        let (_, rest) = head.split_once("sec-websocket-key: ").unwrap();
        let accept = proof(rest.split_once("\r\n").unwrap().0);
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\nsec-websocket-protocol: chat\r\nset-cookie: a=b\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        let echoed = read_body(&mut stream, 4).await;
        stream.write_all(&echoed).await.unwrap();
    })
    .await
}

/// RFC 6455, section 4.2.2.
fn right_proof(key: &str) -> String {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    use base64::Engine as _;

    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest)
}

#[tokio::test]
async fn the_agent_makes_the_handshake_for_users_who_have_none() {
    let origin = websocket_origin(right_proof).await;
    let bench = Bench::of(&origin.url()).await;
    let (mut send, mut recv) = bench.open(connect()).await;
    let head = final_head(&mut recv).await;
    assert_eq!((head.status, head.upgraded), (200, true));
    let fields = tunnel::fields::decode(head.fields).unwrap();
    assert_eq!(fields["sec-websocket-protocol"], "chat");
    assert_eq!(fields["set-cookie"], "a=b");
    for name in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!fields.contains_key(name), "{name}");
    }
    soon(send.data(Bytes::from_static(b"ping"))).await.unwrap();
    assert_eq!(
        soon(recv.next()).await.unwrap(),
        Some(Frame::Data(Bytes::from_static(b"ping")))
    );
}

#[tokio::test]
async fn an_origin_that_did_not_read_the_handshake_is_not_spoken_to() {
    let origin = websocket_origin(|_| "x".to_owned()).await;
    let bench = Bench::of(&origin.url()).await;
    let (_send, mut recv) = bench.open(connect()).await;
    assert_eq!(failure(&mut recv).await, "origin_protocol");
}

#[tokio::test]
async fn success_without_a_switch_is_none_for_connect_but_a_refusal_passes() {
    for (answered, passes) in [("200 OK", false), ("403 Forbidden", true)] {
        let text = format!("HTTP/1.1 {answered}\r\ncontent-length: 2\r\n\r\nno");
        let origin = ScriptedOrigin::answering(text.leak()).await;
        let bench = Bench::of(&origin.url()).await;
        let (_send, mut recv) = bench.open(connect()).await;
        if passes {
            let answer = soon(answer(&mut recv)).await;
            assert_eq!((answer.status(), answer.text()), (403, "no".to_owned()));
        } else {
            assert_eq!(failure(&mut recv).await, "origin_protocol");
        }
    }
}

async fn failure(recv: &mut RecvHalf) -> String {
    match soon(recv.next()).await.unwrap() {
        Some(Frame::Error(info)) => info.reason,
        other => panic!("{other:?}"),
    }
}
