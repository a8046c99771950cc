//! A side that does not keep to the rules costs its own connection and nothing else.

use std::future::poll_fn;

use bytes::Bytes;
use h2::{Reason, client::SendRequest};
use http::{Method, Request, Response, StatusCode};
use tokio::{io::AsyncWriteExt as _, task::JoinHandle};
use tunnel::{Closed, Code, Connection, Frame, Kind, RecvError, frame::FrameError, tcp};

use crate::{
    pair::{nobody, request, sockets, spawn},
    soon,
};

/// An agent whose edge is a bare client of HTTP/2, which can say what no edge would.
struct BareEdge {
    requests: SendRequest<Bytes>,
    agent: Connection,
    _farewell: h2::SendStream<Bytes>,
}

impl BareEdge {
    async fn connect() -> Self {
        let (edge, agent) = sockets().await;
        let dialling = spawn_agent(agent);
        let (requests, client) = h2::client::handshake(edge).await.unwrap();
        spawn(async { drop(client.await) });
        let (_, farewell) = open(&requests, Method::POST).await.unwrap();
        Self {
            requests,
            agent: soon(dialling).await.unwrap(),
            _farewell: farewell,
        }
    }

    /// Opens a stream that begins with `bytes`.
    async fn say(&self, bytes: &'static [u8]) -> h2::SendStream<Bytes> {
        let (_, mut send) = open(&self.requests, Method::POST).await.unwrap();
        send.send_data(Bytes::from_static(bytes), false).unwrap();
        send
    }
}

#[expect(clippy::disallowed_methods, reason = "the test owns it")]
fn spawn_agent(socket: tokio::net::TcpStream) -> JoinHandle<Connection> {
    tokio::spawn(async {
        let (agent, driver) = tcp::agent(socket, nobody()).await.unwrap();
        spawn(driver);
        agent
    })
}

async fn open(
    requests: &SendRequest<Bytes>,
    method: Method,
) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>), h2::Error> {
    let mut requests = requests.clone();
    poll_fn(|context| requests.poll_ready(context)).await?;
    let request = Request::builder()
        .method(method)
        .uri("https://edge.test/")
        .body(())
        .unwrap();
    requests.send_request(request, false)
}

async fn reset_of(mut send: h2::SendStream<Bytes>) -> Reason {
    soon(poll_fn(|context| send.poll_reset(context)))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_stream_that_ends_without_end_is_truncated() {
    for bytes in [
        &b"\x02\x01\x00"[..],
        b"\x02\x01\x00\x00\x02ab",
        b"\x02\x01\x00\x00\x05ab",
        b"\x02",
    ] {
        let pair = BareEdge::connect().await;
        let mut send = pair.say(bytes).await;
        send.send_data(Bytes::new(), true).unwrap();
        let accepted = soon(pair.agent.accept()).await.unwrap();
        let (_, _send, mut recv) = accepted.kind().await.unwrap();
        let mut outcome = soon(recv.next()).await;
        while let Ok(Some(_)) = outcome {
            outcome = soon(recv.next()).await;
        }
        assert_eq!(outcome, Err(RecvError::Truncated));
    }
}

#[tokio::test]
async fn an_unknown_kind_of_stream_is_broken_off() {
    let pair = BareEdge::connect().await;
    let send = pair.say(b"\x3f").await;
    let accepted = soon(pair.agent.accept()).await.unwrap();
    assert!(matches!(
        accepted.kind().await,
        Err(RecvError::Protocol(FrameError::UnknownKind(0x3f)))
    ));
    let reason = u32::from(reset_of(send).await);
    assert_eq!(reason, 0x100 + u32::from(Code::Protocol));
}

#[tokio::test]
async fn what_is_no_stream_of_the_tunnel_is_reset_and_the_others_go_on() {
    let pair = BareEdge::connect().await;
    let (_, send) = open(&pair.requests, Method::GET).await.unwrap();
    let reason = u32::from(reset_of(send).await);
    assert_eq!(reason, 0x100 + u32::from(Code::Protocol));
    let _send = pair.say(b"\x02\x01\x00").await;
    let accepted = soon(pair.agent.accept()).await.unwrap();
    assert_eq!(accepted.kind().await.unwrap().0, Kind::Http);
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Opens a stream with `POST https://e/`, by the static table of RFC 7541.
fn opening(stream: u32) -> Vec<u8> {
    frame(0x1, 0x4, stream, b"\x83\x87\x84\x41\x01e")
}

#[tokio::test]
async fn a_flood_of_resets_costs_the_connection() {
    const FAR_MORE_THAN_MAY_WAIT: u32 = 3_000;
    let (mut edge, agent) = sockets().await;
    let dialling = spawn_agent(agent);
    let mut words = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    words.extend(frame(0x4, 0, 0, b""));
    words.extend(opening(1));
    edge.write_all(&words).await.unwrap();
    let agent = soon(dialling).await.unwrap();
    let streams = (0..FAR_MORE_THAN_MAY_WAIT).map(|number| 3 + 2 * number);
    let flood = streams.flat_map(|stream| {
        let reset = frame(0x3, 0, stream, &8_u32.to_be_bytes());
        [opening(stream), reset].concat()
    });
    // The agent breaks off in the middle of it.
    let _ = edge.write_all(&flood.collect::<Vec<_>>()).await;
    let Closed::Transport(why) = soon(agent.closed()).await else {
        panic!("it bears the flood");
    };
    assert!(why.contains("excessive load"), "{why}");
}

#[tokio::test]
async fn more_streams_than_are_granted_wait_for_their_turn() {
    const GRANTED: usize = 1024;
    let pair = BareEdge::connect().await;
    let mut held = Vec::new();
    // One more than granted, beside the farewell.
    for _ in 0..=GRANTED {
        held.push(pair.say(b"\x02\x01\x00").await);
    }
    let mut accepted = Vec::new();
    while let Ok(stream) = tokio::time::timeout(crate::HELD_UP, pair.agent.accept()).await {
        accepted.push(stream.unwrap());
    }
    assert_eq!(accepted.len(), GRANTED);
    accepted.clear();
    drop(held);
}

#[tokio::test]
async fn an_agent_that_answers_otherwise_is_not_believed() {
    let (edge, agent) = sockets().await;
    let serving = async {
        let mut server = h2::server::handshake(agent).await.unwrap();
        let mut held = Vec::new();
        while let Some(Ok((request, mut respond))) = server.accept().await {
            let status = if held.is_empty() {
                StatusCode::OK
            } else {
                StatusCode::NOT_FOUND
            };
            let response = Response::builder().status(status).body(()).unwrap();
            held.push((request, respond.send_response(response, false).unwrap()));
        }
    };
    let _serving = spawn(serving);
    let (edge, driver) = tcp::edge(edge, nobody()).await.unwrap();
    spawn(driver);
    let (mut send, mut recv) = edge.open(Kind::Http).await.unwrap();
    send.send(request()).await.unwrap();
    let heard: Result<Option<Frame>, _> = soon(recv.next()).await;
    assert_eq!(heard, Err(RecvError::Reset(Code::Protocol)));
}

#[tokio::test]
async fn a_client_that_opens_nothing_is_no_edge() {
    let (edge, agent) = sockets().await;
    let (requests, client) = h2::client::handshake::<_>(edge).await.unwrap();
    let client = spawn(async { drop(client.await) });
    let dialling = tcp::agent(agent, nobody());
    drop(requests);
    assert!(soon(dialling).await.is_err());
    soon(client).await.unwrap();
}
