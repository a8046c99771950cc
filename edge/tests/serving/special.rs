//! Upgrades, and the plain listener.

use std::time::Duration;

use edge::OwnLimits;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt as _;
use hyper::{Request, Response, body::Incoming, ext::Protocol};
use hyper_util::rt::TokioIo;
use proto::tunnel::{End, ResponseHead};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tunnel::frame::Frame;

use crate::{
    fabric::{Asked, Fabric, HOST, within},
    user::{RawUser, connect_http2, empty},
};

/// A connection that hears nothing for so long on loopback was let in.
const STILL: Duration = Duration::from_millis(250);

const HANDSHAKE: &str = "connection: Upgrade\r\nupgrade: websocket\r\n\r\n";

async fn upgraded(
    fabric: &Fabric,
    agent: &crate::fabric::Agent,
    protocol: &'static str,
) -> (RawUser, Asked) {
    let mut user = RawUser::connect(fabric).await;
    user.write(format!(
        "GET /socket HTTP/1.1\r\nhost: {HOST}\r\nconnection: Upgrade\r\nupgrade: {protocol}\r\n\r\n"
    ))
    .await;
    let mut asked = agent.request().await;
    assert_eq!(asked.head.upgrade, protocol);
    let head = ResponseHead {
        status: 101,
        upgraded: true,
        ..ResponseHead::default()
    };
    asked.send.send(head).await.unwrap();
    let head = user.read_until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains(&format!("upgrade: {protocol}\r\n")), "{head}");
    (user, asked)
}

#[tokio::test]
async fn a_websocket_counts_among_the_connections_of_its_address() {
    let fabric = Fabric::with_limits(OwnLimits {
        client_connections: Some(1),
        ..OwnLimits::default()
    })
    .await;
    let agent = fabric.agent("a1").await;
    let (mut user, asked) = upgraded(&fabric, &agent, "websocket").await;
    for _ in 0..3 {
        let mut other = TcpStream::connect(fabric.edge.https_address).await.unwrap();
        assert_eq!(within(other.read(&mut [0])).await.unwrap_or(0), 0);
    }
    drop(asked);
    user.read_to_end().await;
    drop(user);
    within(async {
        while let Ok(read) = timeout(STILL, connection_read(&fabric)).await {
            assert_eq!(read, 0);
        }
    })
    .await;
}

/// What a connection is told that says nothing: its end, if it is refused.
async fn connection_read(fabric: &Fabric) -> usize {
    let mut stream = TcpStream::connect(fabric.edge.https_address).await.unwrap();
    stream.read(&mut [0]).await.unwrap_or(0)
}

#[tokio::test]
async fn websocket_bytes_pass_both_ways_and_each_side_ends_by_itself() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let (mut user, mut asked) = upgraded(&fabric, &agent, "websocket").await;
    user.write("ping").await;
    assert_eq!(
        within(asked.recv.next()).await,
        Ok(Some(Frame::Data("ping".into())))
    );
    asked.send.data("pong".into()).await.unwrap();
    user.read_until("pong").await;
    asked.send.end(End::default()).await.unwrap();
    assert_eq!(user.read_to_end().await, "");
    user.finish().await;
    assert!(matches!(
        within(asked.recv.next()).await,
        Ok(Some(Frame::End(_)))
    ));
}

#[tokio::test]
async fn websocket_is_told_at_the_deadline_that_the_edge_goes_away() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let (mut user, _asked) = upgraded(&fabric, &agent, "websocket").await;
    let drained = fabric.edge.drain(Duration::ZERO);
    let (in_time, farewell) = tokio::join!(drained, async {
        let mut farewell = Vec::new();
        for _ in 0..4 {
            farewell.push(user.read_byte().await);
        }
        farewell
    });
    assert!(!in_time);
    assert_eq!(farewell, [0x88, 2, 0x03, 0xe9]);
}

#[tokio::test]
async fn other_protocols_are_told_no_farewell_that_they_would_take_for_data() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let (mut user, _asked) = upgraded(&fabric, &agent, "tcp").await;
    let drained = fabric.edge.drain(Duration::ZERO);
    let (_, farewell) = tokio::join!(drained, user.read_to_end());
    assert_eq!(farewell, "");
}

#[tokio::test]
async fn refused_upgrade_is_an_ordinary_answer() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let ask = async {
        let mut user = RawUser::connect(&fabric).await;
        user.write(format!(
            "GET /socket HTTP/1.1\r\nhost: {HOST}\r\n{HANDSHAKE}"
        ))
        .await;
        user.read_until("\r\n\r\nno").await
    };
    let (answer, ()) = tokio::join!(ask, async { agent.request().await.answer(403, "no").await });
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn plain_http_is_sent_to_https() {
    let fabric = Fabric::start().await;
    for (host, status) in [(HOST, "308"), ("elsewhere.test", "404")] {
        let address = fabric.edge.http_address.unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /a?b HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        let port = fabric.edge.https_address.port();
        let location = format!("location: https://{HOST}:{port}/a?b\r\n");
        assert_eq!(answer.contains(&location), status == "308", "{answer}");
    }
}

/// Asks for a tunnel over HTTP/2 and gives the answer.
async fn connect(fabric: &Fabric, protocol: Option<&'static str>) -> Response<Incoming> {
    let mut sender = connect_http2(fabric).await;
    let request = |method: Method, uri: &str| {
        Request::builder()
            .method(method)
            .uri(uri)
            .body(empty())
            .unwrap()
    };
    // Its answer comes behind the edge's settings, which allow what follows.
    let nothing = request(Method::GET, "https://elsewhere.test/");
    assert_eq!(
        within(sender.send_request(nothing)).await.unwrap().status(),
        404
    );
    let mut request = match protocol {
        Some(_) => request(Method::CONNECT, &format!("https://{HOST}/socket?a=b")),
        None => request(Method::CONNECT, &format!("{HOST}:443")),
    };
    if let Some(protocol) = protocol {
        request
            .extensions_mut()
            .insert(Protocol::from_static(protocol));
    }
    within(sender.send_request(request)).await.unwrap()
}

/// A scripted agent's yes to a handshake over CONNECT.
async fn grant(asked: &mut Asked) {
    let mut fields = HeaderMap::new();
    fields.insert("sec-websocket-protocol", HeaderValue::from_static("chat"));
    fields.insert("set-cookie", HeaderValue::from_static("a="));
    let head = ResponseHead {
        status: 200,
        upgraded: true,
        fields: tunnel::fields::encode(&fields).unwrap(),
        ..ResponseHead::default()
    };
    asked.send.send(head).await.unwrap();
}

#[tokio::test]
async fn websocket_over_http2_is_a_tunnel_of_its_own() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let (answer, mut asked) = tokio::join!(connect(&fabric, Some("websocket")), async {
        let mut asked = agent.request().await;
        assert_eq!(asked.head.method, "CONNECT");
        assert_eq!(asked.head.upgrade, "websocket");
        assert_eq!(asked.head.path_and_query, "/socket?a=b");
        assert_eq!(asked.head.http_version, 20);
        grant(&mut asked).await;
        asked
    });
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
    assert_eq!(answer.headers()["set-cookie"], "a=");
    let upgraded = within(hyper::upgrade::on(answer)).await.unwrap();
    let mut tunnel = TokioIo::new(upgraded);
    tunnel.write_all(b"ping").await.unwrap();
    assert_eq!(
        within(asked.recv.next()).await,
        Ok(Some(Frame::Data("ping".into())))
    );
    asked.send.data("pong".into()).await.unwrap();
    let mut pong = [0; 4];
    within(tunnel.read_exact(&mut pong)).await.unwrap();
    assert_eq!(&pong, b"pong");
    within(tunnel.shutdown()).await.unwrap();
    assert!(matches!(
        within(asked.recv.next()).await,
        Ok(Some(Frame::End(_)))
    ));
    asked.send.end(End::default()).await.unwrap();
    assert_eq!(within(tunnel.read(&mut pong)).await.unwrap(), 0);
}

#[tokio::test]
async fn websocket_over_http2_goes_on_when_its_origin_has_nothing_more_to_say() {
    const IDLE: Duration = Duration::from_secs(1);
    let fabric = Fabric::with_limits(OwnLimits {
        idle_timeout: Some(IDLE),
        ..OwnLimits::default()
    })
    .await;
    let agent = fabric.agent("a1").await;
    let (answer, mut asked) = tokio::join!(connect(&fabric, Some("websocket")), async {
        let mut asked = agent.request().await;
        grant(&mut asked).await;
        asked
    });
    let upgraded = within(hyper::upgrade::on(answer)).await.unwrap();
    let mut tunnel = TokioIo::new(upgraded);
    asked.send.end(End::default()).await.unwrap();
    assert_eq!(within(tunnel.read(&mut [0])).await.unwrap(), 0);
    for _ in 0..12 {
        tokio::time::sleep(IDLE / 3).await;
        within(tunnel.write_all(b"on")).await.unwrap();
        let heard = within(asked.recv.next()).await;
        assert_eq!(heard, Ok(Some(Frame::Data("on".into()))));
    }
}

#[tokio::test]
async fn tunnels_of_other_protocols_and_of_none_are_refused_with_a_reason() {
    let fabric = Fabric::start().await;
    for (protocol, status, reason) in [
        (Some("connect-udp"), 501, "protocol_unknown"),
        (Some("webtransport"), 501, "protocol_unknown"),
        (None, 400, "bad_request"),
    ] {
        let answer = connect(&fabric, protocol).await;
        assert_eq!(answer.status(), status, "{protocol:?}");
        let body = within(answer.into_body().collect()).await.unwrap();
        let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        assert!(body.contains(reason), "{body}");
    }
}

#[tokio::test]
async fn refused_websocket_over_http2_is_an_ordinary_answer() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let (answer, ()) = tokio::join!(connect(&fabric, Some("websocket")), async {
        agent.request().await.answer(403, "no").await;
    });
    assert_eq!(answer.status(), 403);
    let body = within(answer.into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes(), "no");
}

#[tokio::test]
async fn success_that_opens_no_tunnel_is_not_passed_off_as_one() {
    let fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let (answer, ()) = tokio::join!(connect(&fabric, Some("websocket")), async {
        agent.request().await.answer(200, "a page").await;
    });
    assert_eq!(answer.status(), 502);
}
