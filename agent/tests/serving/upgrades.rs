//! Protocols that take over the connection.

use bytes::Bytes;
use proto::tunnel::RequestHead;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};
use tunnel::{codes::Code, frame::Frame};

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
