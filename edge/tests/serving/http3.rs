//! Users over HTTP/3.

mod by_hand;
mod slow_line;

use std::{
    future::poll_fn,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use proto::tunnel::{End, ResponseHead};
use quinn::{ClientConfig, Endpoint, TransportConfig, VarInt, crypto::rustls::QuicClientConfig};
use rustls::RootCertStore;
use tunnel::{codes::Code, frame::Frame, stream::RecvError};

use crate::{
    fabric::{Agent, Fabric, HOST, streamed, within},
    user::{self, RawUser},
};

/// Nothing comes any more after so long.
const STILL: Duration = Duration::from_millis(300);

type Stream = h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// Speaks through h3.
pub(crate) struct User {
    connection: quinn::Connection,
    sender: h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
    _endpoint: Endpoint,
}

async fn dial(fabric: &Fabric) -> (Endpoint, quinn::Connection) {
    dial_with(fabric, TransportConfig::default()).await
}

async fn dial_with(fabric: &Fabric, transport: TransportConfig) -> (Endpoint, quinn::Connection) {
    dial_at(fabric, fabric.edge.tunnel_address, transport).await
}

async fn dial_at(
    fabric: &Fabric,
    address: SocketAddr,
    transport: TransportConfig,
) -> (Endpoint, quinn::Connection) {
    let mut roots = RootCertStore::empty();
    roots.add(fabric.ca.root.clone()).unwrap();
    let mut tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    dial_as(address, tls, transport).await
}

async fn dial_as(
    address: SocketAddr,
    tls: rustls::ClientConfig,
    transport: TransportConfig,
) -> (Endpoint, quinn::Connection) {
    let crypto = QuicClientConfig::try_from(tls).unwrap();
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let dial = endpoint.connect_with(config, address, HOST).unwrap();
    let connection = within(dial).await.unwrap();
    (endpoint, connection)
}

/// How many requests a user may have under way at once.
pub(crate) async fn streams_granted(fabric: &Fabric) -> usize {
    let (_endpoint, connection) = dial(fabric).await;
    let mut streams = Vec::new();
    while let Ok(stream) = tokio::time::timeout(STILL, connection.open_bi()).await {
        streams.push(stream.unwrap());
    }
    streams.len()
}

impl User {
    pub(crate) async fn connect(fabric: &Fabric) -> Self {
        let address = fabric.edge.tunnel_address;
        Self::connect_at(fabric, address, TransportConfig::default()).await
    }

    /// With settings of TLS of the caller's.
    pub(crate) async fn connect_as(fabric: &Fabric, tls: rustls::ClientConfig) -> Self {
        let address = fabric.edge.tunnel_address;
        let dialled = dial_as(address, tls, TransportConfig::default()).await;
        Self::over(fabric, dialled).await
    }

    async fn connect_at(fabric: &Fabric, address: SocketAddr, transport: TransportConfig) -> Self {
        Self::over(fabric, dial_at(fabric, address, transport).await).await
    }

    async fn over(fabric: &Fabric, (endpoint, connection): (Endpoint, quinn::Connection)) -> Self {
        let transport = h3_quinn::Connection::new(connection.clone());
        let (mut driver, sender) = within(h3::client::new(transport)).await.unwrap();
        fabric.scope.spawn("connection of a user", async move {
            poll_fn(|context| driver.poll_close(context)).await;
        });
        Self {
            connection,
            sender,
            _endpoint: endpoint,
        }
    }

    /// Sends a head; its body is still to be sent, or to be finished.
    async fn begin(&mut self, request: Request<()>) -> Stream {
        within(self.sender.send_request(request)).await.unwrap()
    }

    /// Waits until the edge has ended the connection in good order.
    pub(crate) async fn sent_away(&self) {
        let closed = within(self.connection.closed()).await;
        assert!(
            matches!(closed, quinn::ConnectionError::ApplicationClosed(_)),
            "{closed:?}"
        );
    }

    /// Sends a request without a body and gives its answer.
    pub(crate) async fn ask(&mut self, request: Request<()>) -> (Response<()>, String) {
        let mut stream = self.begin(request).await;
        within(stream.finish()).await.unwrap();
        let response = within(stream.recv_response()).await.unwrap();
        (response, text(&mut stream).await)
    }
}

fn get(path: &str) -> Request<()> {
    request(Method::GET, path)
}

fn request(method: Method, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("https://{HOST}{path}"))
        .body(())
        .unwrap()
}

/// The rest of an answer's body.
async fn text(stream: &mut Stream) -> String {
    let mut text = Vec::new();
    while let Some(mut data) = within(stream.recv_data()).await.unwrap() {
        text.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    String::from_utf8(text).unwrap()
}

async fn start() -> (Fabric, Agent, User) {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let user = User::connect(&fabric).await;
    (fabric, agent, user)
}

#[tokio::test]
async fn a_request_and_its_answer_pass() {
    let (_fabric, agent, mut user) = start().await;
    for round in 0..3 {
        let path = format!("/a%20b?c=%2F&d={round}");
        let (answer, ()) = tokio::join!(user.ask(get(&path)), async {
            let asked = agent.request().await;
            assert_eq!(asked.head.method, "GET");
            assert_eq!(asked.head.path_and_query, path.as_str());
            assert_eq!(asked.head.authority, HOST);
            assert_eq!(asked.head.http_version, 30);
            assert!(asked.head.body_length.is_none() && !asked.head.body_streamed);
            let peer = asked.head.peer.as_ref().unwrap();
            assert_eq!(peer.tls_version, "1.3");
            assert_eq!(asked.field("x-forwarded-for").unwrap(), "127.0.0.1");
            asked.answer(200, "hello").await;
        });
        assert_eq!(answer.0.status(), 200);
        assert_eq!(answer.0.headers()["content-length"], "5");
        assert!(answer.0.headers().contains_key("date"));
        assert_eq!(answer.1, "hello");
    }
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways() {
    let (_fabric, agent, mut user) = start().await;
    let big = Bytes::from(vec![7; 3 << 20]);
    let ask = async {
        let mut stream = user.begin(request(Method::POST, "/up")).await;
        within(stream.send_data(big.clone())).await.unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("21"));
        within(stream.send_trailers(trailers)).await.unwrap();
        within(stream.finish()).await.unwrap();
        let response = within(stream.recv_response()).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = text(&mut stream).await;
        let trailers = within(stream.recv_trailers()).await.unwrap().unwrap();
        (body.len(), trailers["grpc-status"].clone())
    };
    let serve = async {
        let mut asked = agent.request().await;
        assert!(asked.head.body_streamed);
        let (mut bytes, mut trailers) = (0, None);
        while let Some(frame) = within(asked.recv.next()).await.unwrap() {
            match frame {
                Frame::Data(data) => bytes += data.len(),
                Frame::Trailers(fields) => trailers = Some(fields),
                _ => {}
            }
        }
        assert_eq!(bytes, big.len());
        assert_eq!(trailers.unwrap()["x-sum"], "21");
        asked.send.send(streamed(200)).await.unwrap();
        for _ in 0..64 {
            asked.send.data(vec![b'x'; 50_000].into()).await.unwrap();
        }
        let mut fields = HeaderMap::new();
        fields.insert("grpc-status", HeaderValue::from_static("0"));
        asked.send.send(Frame::Trailers(fields)).await.unwrap();
        asked.send.end(End::default()).await.unwrap();
        asked.send.stopped().await;
    };
    let ((bytes, status), ()) = tokio::join!(ask, serve);
    assert_eq!(bytes, 64 * 50_000);
    assert_eq!(status, "0");
}

#[tokio::test]
async fn answers_without_a_body_keep_their_rules() {
    let (_fabric, agent, mut user) = start().await;
    for (method, status, length, told) in [
        (Method::HEAD, 200, Some("5"), Some("5")),
        (Method::GET, 204, None, None),
        (Method::GET, 304, Some("5"), Some("5")),
        (Method::GET, 204, Some("5"), None),
    ] {
        let (answer, ()) = tokio::join!(user.ask(request(method.clone(), "/")), async {
            let mut asked = agent.request().await;
            let mut fields = HeaderMap::new();
            if let Some(length) = length {
                fields.insert("content-length", HeaderValue::from_static(length));
            }
            let head = ResponseHead {
                status,
                fields: tunnel::fields::encode(&fields).unwrap(),
                ..ResponseHead::default()
            };
            asked.send.queue(head).unwrap();
            asked.send.end(End::default()).await.unwrap();
            asked.send.stopped().await;
        });
        assert_eq!(u32::from(answer.0.status().as_u16()), status);
        let said = answer.0.headers().get("content-length");
        assert_eq!(
            said.map(|value| value.to_str().unwrap()),
            told,
            "{method} {status}"
        );
        assert_eq!(answer.1, "");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_reset_and_never_ends() {
    let (_fabric, agent, mut user) = start().await;
    let mut stream = user.begin(get("/")).await;
    within(stream.finish()).await.unwrap();
    let mut asked = agent.request().await;
    asked.send.send(streamed(200)).await.unwrap();
    asked.send.data("half".into()).await.unwrap();
    within(stream.recv_response()).await.unwrap();
    let data = within(stream.recv_data()).await.unwrap().unwrap();
    assert_eq!(data.remaining(), 4);
    drop(data);
    asked.fail(Code::OriginReset, "origin_reset", false).await;
    let Err(error) = within(stream.recv_data()).await.map(drop) else {
        panic!("it looks whole");
    };
    assert!(
        format!("{error:?}").contains("H3_INTERNAL_ERROR"),
        "{error:?}"
    );
    // The connection goes on.
    let (answer, ()) = tokio::join!(user.ask(get("/")), async {
        agent.request().await.answer(200, "again").await;
    });
    assert_eq!(answer.1, "again");
}

#[tokio::test]
async fn a_user_who_leaves_cancels_its_request() {
    let (_fabric, agent, mut user) = start().await;
    // Before the head, and in the midst of the body.
    for headed in [false, true] {
        let mut stream = user.begin(get("/")).await;
        within(stream.finish()).await.unwrap();
        let mut asked = agent.request().await;
        if headed {
            asked.send.send(streamed(200)).await.unwrap();
            asked.send.data("half".into()).await.unwrap();
            within(stream.recv_response()).await.unwrap();
        }
        stream.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
        assert_eq!(
            within(asked.send.stopped()).await,
            Some(Code::Cancelled),
            "headed: {headed}"
        );
    }
}

#[tokio::test]
async fn a_body_of_another_length_than_said_is_no_whole_request() {
    let (_fabric, agent, mut user) = start().await;
    for body in ["four", "sixteen and more"] {
        let mut asking = request(Method::POST, "/");
        asking
            .headers_mut()
            .insert("content-length", HeaderValue::from_static("10"));
        let ask = async {
            let mut stream = user.begin(asking).await;
            within(stream.send_data(body.into())).await.unwrap();
            // The edge may have stopped it by now.
            let _ = within(stream.finish()).await;
            within(stream.recv_response()).await.unwrap().status()
        };
        let serve = async {
            // Nothing of it may have gone out before it proved wrong.
            let Some((_send, mut recv)) = agent.broken_request().await else {
                return;
            };
            loop {
                match within(recv.next()).await {
                    Ok(Some(Frame::Request(_) | Frame::Data(_))) => {}
                    Err(RecvError::Reset(Code::Cancelled)) => return,
                    other => panic!("{other:?}"),
                }
            }
        };
        let (status, ()) = tokio::join!(ask, serve);
        assert_eq!(status, 400);
    }
}

#[tokio::test]
async fn permission_for_a_body_is_given_once_the_agent_asks_for_it() {
    let (_fabric, agent, mut user) = start().await;
    let mut asking = request(Method::PUT, "/");
    asking
        .headers_mut()
        .insert("expect", HeaderValue::from_static("100-continue"));
    let ask = async {
        let mut stream = user.begin(asking).await;
        let first = within(stream.recv_response()).await.unwrap().status();
        within(stream.send_data("body".into())).await.unwrap();
        within(stream.finish()).await.unwrap();
        let last = within(stream.recv_response()).await.unwrap().status();
        (first.as_u16(), last.as_u16())
    };
    let serve = async {
        let mut asked = agent.request().await;
        assert!(asked.head.flags.unwrap().expect_continue);
        asked.send.send(Frame::Continue).await.unwrap();
        assert_eq!(asked.body().await, b"body");
        asked.answer(201, "").await;
    };
    let (statuses, ()) = tokio::join!(ask, serve);
    assert_eq!(statuses, (100, 201));
}

#[tokio::test]
async fn heads_before_the_final_one_reach_the_user() {
    let (mut fabric, agent, mut user) = start().await;
    fabric.change_app(|app| {
        let rules = app.answer_rules.get_or_insert_default();
        rules.remove.push("x-inner".to_owned());
    });
    fabric.publish(2);
    // The last one comes in one write with the answer.
    let ask = async {
        let mut stream = user.begin(get("/")).await;
        within(stream.finish()).await.unwrap();
        let mut heads = Vec::new();
        for _ in 0..4 {
            let head = within(stream.recv_response()).await.unwrap();
            let link = head.headers().get("link").cloned();
            assert!(!head.headers().contains_key("x-inner"));
            heads.push((head.status().as_u16(), link));
        }
        (heads, text(&mut stream).await)
    };
    let serve = async {
        let mut asked = agent.request().await;
        let mut fields = HeaderMap::new();
        fields.insert("link", HeaderValue::from_static("</a.css>; rel=preload"));
        fields.insert("x-inner", HeaderValue::from_static("1"));
        let hint = |status| ResponseHead {
            status,
            fields: tunnel::fields::encode(&fields).unwrap(),
            ..ResponseHead::default()
        };
        asked.send.send(hint(103)).await.unwrap();
        asked.send.send(hint(102)).await.unwrap();
        asked.send.queue(hint(103)).unwrap();
        asked.answer(200, "hello").await;
    };
    let ((heads, body), ()) = tokio::join!(ask, serve);
    let link = || Some(HeaderValue::from_static("</a.css>; rel=preload"));
    let want = [(103, link()), (102, link()), (103, link()), (200, None)];
    assert_eq!(heads, want);
    assert_eq!(body, "hello");
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_turns_the_rest_away() {
    let (fabric, agent, mut user) = start().await;
    let mut stream = user.begin(get("/slow")).await;
    within(stream.finish()).await.unwrap();
    let asked = agent.request().await;
    let drain = fabric.edge.drain(Duration::from_secs(20));
    let finish = async {
        // Told that nothing more is taken, the library sends nothing more.
        while user.sender.send_request(get("/late")).await.is_ok() {
            tokio::task::yield_now().await;
        }
        asked.answer(200, "late but whole").await;
        let response = within(stream.recv_response()).await.unwrap();
        (response.status(), text(&mut stream).await)
    };
    let (in_time, (status, body)) = within(async { tokio::join!(drain, finish) }).await;
    assert!(in_time);
    assert_eq!((status.as_u16(), body.as_str()), (200, "late but whole"));
    let closed = within(user.connection.closed()).await;
    assert!(
        matches!(&closed, quinn::ConnectionError::ApplicationClosed(close)
            if close.error_code == VarInt::from_u32(0x100)),
        "{closed:?}"
    );
}

#[tokio::test]
async fn other_versions_are_told_of_it_only_while_it_is_served() {
    for http3 in [true, false] {
        let fabric = Fabric::with_http3(http3).await;
        let agent = fabric.agent("a1").await;
        let (answer, ()) = tokio::join!(user::get(&fabric, "/"), async {
            agent.request().await.answer(200, "hello").await;
        });
        let port = fabric.edge.tunnel_address.port();
        let told = format!("alt-svc: h3=\":{port}\"; ma=3600\r\n");
        // Here https has another port of its own.
        assert!(!answer.contains("alt-svc"), "{answer}");
        drop(fabric);
        let fabric = Fabric::with_public_port(http3, 443).await;
        let agent = fabric.agent("a1").await;
        let (answer, ()) = tokio::join!(user::get(&fabric, "/"), async {
            agent.request().await.answer(200, "hello").await;
        });
        let told = told.replace(&port.to_string(), "443");
        assert_eq!(answer.contains(&told), http3, "{answer}");
    }
}

#[tokio::test]
async fn an_edge_that_serves_it_not_refuses_users_and_lets_agents_in() {
    let fabric = Fabric::with_http3(false).await;
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let mut tls = rustls::ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = QuicClientConfig::try_from(tls).unwrap();
    let dial = endpoint
        .connect_with(
            ClientConfig::new(Arc::new(crypto)),
            fabric.edge.tunnel_address,
            HOST,
        )
        .unwrap();
    assert!(matches!(
        within(dial).await,
        Err(quinn::ConnectionError::ConnectionClosed(_))
    ));
    let agent = fabric.agent("a1").await;
    let mut user = RawUser::connect(&fabric).await;
    user.get("/").await;
    let (answer, ()) = tokio::join!(user.read_to_end(), async {
        agent.request().await.answer(200, "hello").await;
    });
    assert!(answer.ends_with("hello"), "{answer}");
}
