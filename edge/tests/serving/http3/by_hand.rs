//! Users over HTTP/3 who write bytes by hand, as no library would.

use std::time::Duration;

use edge::OwnLimits;
use proto::tunnel::{End, ResponseHead};
use quinn::{RecvStream, SendStream, TransportConfig, VarInt};
use tunnel::{codes::Code, frame::Frame, stream::RecvError};

use super::{dial, dial_with};
use crate::fabric::{Agent, Asked, Fabric, HOST, streamed, within};

/// A field section of literals alone.
fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0, 0];
    for (name, value) in fields {
        integer(&mut out, 0x20, 3, name.len());
        out.extend_from_slice(name.as_bytes());
        integer(&mut out, 0, 7, value.len());
        out.extend_from_slice(value.as_bytes());
    }
    out
}

fn integer(out: &mut Vec<u8>, flags: u8, bits: u32, value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        out.push(flags | u8::try_from(value).unwrap());
        return;
    }
    out.push(flags | u8::try_from(most).unwrap());
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap());
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap() | 0x8000_0000;
    let mut out = vec![kind];
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", HOST),
    (":path", "/"),
];

/// Opens a stream and writes `bytes`.
async fn write(connection: &quinn::Connection, bytes: &[u8]) -> (SendStream, RecvStream) {
    let (mut send, recv) = within(connection.open_bi()).await.unwrap();
    within(send.write_all(bytes)).await.unwrap();
    (send, recv)
}

/// Kind and payload of the next frame.
async fn read_frame(recv: &mut RecvStream) -> (u8, Vec<u8>) {
    let mut byte = [0];
    within(recv.read_exact(&mut byte)).await.unwrap();
    let kind = byte[0];
    let mut length = vec![0];
    within(recv.read_exact(&mut length)).await.unwrap();
    let more = (1 << (length[0] >> 6)) - 1;
    length.resize(1 + more, 0);
    within(recv.read_exact(&mut length[1..])).await.unwrap();
    let (length, _) = tunnel::varint::decode(&length).unwrap();
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    within(recv.read_exact(&mut payload)).await.unwrap();
    (kind, payload)
}

/// Whether an answer's head says this status, by what every encoder of static tables writes first.
async fn has_status(recv: &mut RecvStream, status: &str) -> bool {
    let (kind, payload) = read_frame(recv).await;
    assert_eq!(kind, 1);
    let indexed = match status {
        "200" => 0xc0 | 25,
        "400" => 0xff,
        _ => 0,
    };
    let literal = [&[0x5f, 9, 3], status.as_bytes()].concat();
    payload[2] == indexed || payload[2..].starts_with(&literal)
}

/// The code with which the edge broke the stream off.
async fn reset_code(recv: &mut RecvStream) -> u64 {
    let mut byte = [0];
    match within(recv.read_exact(&mut byte)).await {
        Err(quinn::ReadExactError::ReadError(quinn::ReadError::Reset(code))) => code.into_inner(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn malformed_requests_cost_their_stream_alone() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let (_endpoint, connection) = dial(&fabric).await;
    let with = |more: &[(&'static str, &'static str)]| [&GET[..], more].concat();
    for fields in [
        with(&[("Accept", "x")]),
        with(&[("connection", "close")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "h2c")]),
        with(&[("te", "gzip")]),
        with(&[("x", "a\r\nhost: b")]),
        with(&[("content-length", "1"), ("content-length", "2")]),
        with(&[(":path", "/other")]),
        with(&[(":authority", "other.example.com")]),
        with(&[(":status", "200")]),
        with(&[(":protocol", "websocket")]),
        [&[("accept", "x")], &GET[..]].concat(),
        GET[..3].to_vec(),
        GET[1..].to_vec(),
    ] {
        let (_send, mut recv) = write(&connection, &frame(1, &section(&fields))).await;
        assert_eq!(reset_code(&mut recv).await, 0x10e, "{fields:?}");
    }
    let (mut send, mut recv) = write(&connection, &frame(1, &section(&GET))).await;
    send.finish().unwrap();
    agent.request().await.answer(200, "hello").await;
    assert!(has_status(&mut recv, "200").await);
    assert_eq!(read_frame(&mut recv).await, (0, b"hello".to_vec()));
    assert_eq!(within(recv.read_to_end(0)).await.unwrap(), b"");
}

#[tokio::test]
async fn hosts_that_disagree_and_heads_beyond_bounds_are_answered() {
    let fabric = Fabric::start().await;
    let (_endpoint, connection) = dial(&fabric).await;
    let disagree = [&GET[..], &[("host", "other.example.com")]].concat();
    let many: Vec<_> = GET
        .into_iter()
        .chain(std::iter::repeat_n(("a", "b"), 300))
        .collect();
    let long = "x".repeat(70_000);
    let large = [&GET[..], &[("a", long.as_str())]].concat();
    for (fields, status) in [(disagree, "400"), (many, "431"), (large, "431")] {
        let (mut send, mut recv) = write(&connection, &frame(1, &section(&fields))).await;
        // Fails once the edge has stopped it.
        let _ = send.finish();
        assert!(has_status(&mut recv, status).await, "{status}");
    }
    // Nothing of it has to come.
    let (_send, mut recv) = write(
        &connection,
        &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    )
    .await;
    assert!(has_status(&mut recv, "431").await);
}

#[tokio::test]
async fn breaches_of_the_protocol_cost_the_connection() {
    let fabric = Fabric::start().await;
    let head = frame(1, &section(&GET));
    for (bytes, code) in [
        // Data before a head; settings among requests; a frame of HTTP/2; a push.
        (frame(0, b"x"), 0x105),
        (frame(4, b""), 0x105),
        ([head.clone(), frame(8, b"")].concat(), 0x105),
        ([head.clone(), frame(5, b"")].concat(), 0x105),
        // The dynamic table, which has no room.
        (frame(1, &[0x02, 0x00, 0x80]), 0x200),
    ] {
        let (_endpoint, connection) = dial(&fabric).await;
        let (_send, _recv) = write(&connection, &bytes).await;
        assert_eq!(closed_code(&connection).await, code, "{bytes:?}");
    }
    for (bytes, code) in [
        // No settings first; twice; a request on the control stream.
        (&[0x00, 0x07, 0x01, 0x00][..], 0x10a),
        (&[0x00, 0x04, 0x00, 0x04, 0x00], 0x105),
        (&[0x00, 0x04, 0x00, 0x00, 0x00], 0x105),
        // A setting of HTTP/2, and one twice.
        (&[0x00, 0x04, 0x02, 0x02, 0x00], 0x109),
        (&[0x00, 0x04, 0x04, 0x06, 0x01, 0x06, 0x01], 0x109),
        // A push, and an insertion into the dynamic table.
        (&[0x01], 0x103),
        (&[0x02, 0x3f, 0x01], 0x201),
    ] {
        let (_endpoint, connection) = dial(&fabric).await;
        let mut stream = within(connection.open_uni()).await.unwrap();
        within(stream.write_all(bytes)).await.unwrap();
        assert_eq!(closed_code(&connection).await, code, "{bytes:?}");
    }
    let (_endpoint, connection) = dial(&fabric).await;
    let mut stream = within(connection.open_uni()).await.unwrap();
    within(stream.write_all(&[0x00, 0x04, 0x00])).await.unwrap();
    stream.finish().unwrap();
    assert_eq!(closed_code(&connection).await, 0x104);
}

async fn closed_code(connection: &quinn::Connection) -> u64 {
    match within(connection.closed()).await {
        quinn::ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_that_is_reset_behind_its_head_never_looks_whole() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let (_endpoint, connection) = dial(&fabric).await;
    let mut fields = GET;
    fields[0].1 = "DELETE";
    let (mut send, _recv) = write(&connection, &frame(1, &section(&fields))).await;
    // Once this is answered, the head before it was read.
    let (_send, mut recv) = write(&connection, &frame(1, &section(&GET[1..]))).await;
    assert_eq!(reset_code(&mut recv).await, 0x10e);
    send.reset(VarInt::from_u32(0x10c)).unwrap();
    // Nothing of it may have gone out before it broke off.
    let Some((_send, mut recv)) = agent.broken_request().await else {
        return;
    };
    loop {
        match within(recv.next()).await {
            Ok(Some(Frame::Request(_))) => {}
            Err(RecvError::Reset(Code::Cancelled)) => return,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_user_who_makes_no_room_for_a_head_is_cut_off() {
    // Enough for the edge's settings, and for no head.
    const WINDOW_BYTES: u32 = 16;
    let fabric = Fabric::with_limits(OwnLimits {
        stall_timeout: Some(Duration::from_secs(1)),
        ..OwnLimits::default()
    })
    .await;
    let agent = fabric.agent("a1").await;
    let mut narrow = TransportConfig::default();
    narrow.stream_receive_window(VarInt::from_u32(WINDOW_BYTES));
    let (_endpoint, connection) = dial_with(&fabric, narrow).await;
    let (mut send, _recv) = write(&connection, &frame(1, &section(&GET))).await;
    send.finish().unwrap();
    let mut asked = agent.request().await;
    asked.send.send(streamed(200)).await.unwrap();
    assert_eq!(within(asked.send.stopped()).await, Some(Code::Cancelled));
}

#[tokio::test]
async fn who_breaks_off_request_after_request_is_cut_off() {
    let fabric = Fabric::start().await;
    let (_endpoint, connection) = dial(&fabric).await;
    let head = frame(1, &section(&GET));
    within(async {
        while let Ok((mut send, mut recv)) = connection.open_bi().await {
            if send.write_all(&head[..4]).await.is_err() {
                break;
            }
            let _ = send.reset(VarInt::from_u32(0x10c));
            let _ = recv.stop(VarInt::from_u32(0x10c));
        }
    })
    .await;
    assert_eq!(closed_code(&connection).await, 0x107);
}

const CONNECT: [(&str, &str); 5] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":authority", HOST),
    (":path", "/socket"),
];

/// A tunnel that both sides agreed on.
async fn open_tunnel(
    connection: &quinn::Connection,
    agent: &Agent,
) -> (SendStream, RecvStream, Asked) {
    let (send, mut recv) = write(connection, &frame(1, &section(&CONNECT))).await;
    let mut asked = agent.request().await;
    assert_eq!(asked.head.method, "CONNECT");
    assert_eq!(asked.head.upgrade, "websocket");
    assert_eq!(asked.head.path_and_query, "/socket");
    let head = ResponseHead {
        status: 200,
        upgraded: true,
        ..ResponseHead::default()
    };
    asked.send.send(head).await.unwrap();
    assert!(has_status(&mut recv, "200").await);
    (send, recv, asked)
}

#[tokio::test]
async fn websocket_is_a_tunnel_and_each_side_ends_by_itself() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let (_endpoint, connection) = dial(&fabric).await;
    let (mut send, mut recv, mut asked) = open_tunnel(&connection, &agent).await;
    within(send.write_all(&frame(0, b"ping"))).await.unwrap();
    assert_eq!(
        within(asked.recv.next()).await,
        Ok(Some(Frame::Data("ping".into())))
    );
    asked.send.data("pong".into()).await.unwrap();
    assert_eq!(read_frame(&mut recv).await, (0, b"pong".to_vec()));
    send.finish().unwrap();
    assert!(matches!(
        within(asked.recv.next()).await,
        Ok(Some(Frame::End(_)))
    ));
    asked.send.data("late".into()).await.unwrap();
    assert_eq!(read_frame(&mut recv).await, (0, b"late".to_vec()));
    asked.send.end(End::default()).await.unwrap();
    assert_eq!(within(recv.read_to_end(0)).await.unwrap(), b"");
}

#[tokio::test]
async fn websocket_whose_user_reads_nothing_is_cut_off_however_much_it_says() {
    let fabric = Fabric::with_limits(OwnLimits {
        stall_timeout: Some(Duration::from_secs(1)),
        ..OwnLimits::default()
    })
    .await;
    let agent = fabric.agent("a1").await;
    let mut narrow = TransportConfig::default();
    narrow.stream_receive_window(VarInt::from_u32(8 * 1024));
    let (_endpoint, connection) = dial_with(&fabric, narrow).await;
    let (mut send, _recv, mut asked) = open_tunnel(&connection, &agent).await;
    let talk = async {
        while send.write_all(&frame(0, b"ping")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let serve = async {
        // More than the user makes room for.
        for _ in 0..4 {
            asked.send.data(vec![b'x'; 4 * 1024].into()).await.unwrap();
        }
        let taking = async { while let Ok(Some(_)) = asked.recv.next().await {} };
        let (stopped, ()) = tokio::join!(asked.send.stopped(), taking);
        assert_eq!(stopped, Some(Code::Cancelled));
    };
    within(async { tokio::join!(talk, serve) }).await;
}

#[tokio::test]
async fn a_head_that_does_not_end_costs_its_stream() {
    let fabric = Fabric::with_limits(OwnLimits {
        head_timeout: Some(Duration::from_secs(1)),
        ..OwnLimits::default()
    })
    .await;
    let agent = fabric.agent("a1").await;
    let (_endpoint, connection) = dial(&fabric).await;
    let head = frame(1, &section(&GET));
    let (_send, mut recv) = write(&connection, &head[..head.len() - 1]).await;
    assert_eq!(reset_code(&mut recv).await, 0x10c);
    let (mut send, mut recv) = write(&connection, &head).await;
    send.finish().unwrap();
    agent.request().await.answer(200, "hello").await;
    assert!(has_status(&mut recv, "200").await);
}

#[tokio::test]
async fn websocket_is_told_at_the_deadline_that_the_edge_goes_away() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let (_endpoint, connection) = dial(&fabric).await;
    let (_send, mut recv, _asked) = open_tunnel(&connection, &agent).await;
    let (in_time, farewell) =
        tokio::join!(fabric.edge.drain(Duration::ZERO), read_frame(&mut recv));
    assert!(!in_time);
    assert_eq!(farewell, (0, vec![0x88, 2, 0x03, 0xe9]));
}

#[tokio::test]
async fn tunnels_of_other_protocols_and_of_none_are_refused_with_a_reason() {
    let fabric = Fabric::start().await;
    let (_endpoint, connection) = dial(&fabric).await;
    let mut other = CONNECT;
    other[1].1 = "connect-udp";
    let none = [CONNECT[0], CONNECT[3]];
    for (fields, status, reason) in [
        (&other[..], "501", "protocol_unknown"),
        (&none, "400", "bad_request"),
    ] {
        let (_send, mut recv) = write(&connection, &frame(1, &section(fields))).await;
        assert!(has_status(&mut recv, status).await);
        let (_, body) = read_frame(&mut recv).await;
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains(reason), "{body}");
    }
}
