//! Edges that break the protocol: it costs the stream, never the link.

use std::{net::SocketAddr, sync::Arc};

use agent::{agent::serve, allow::AllowList, config::ServingConfig, view::Views};
use prost::Message as _;
use quinn::crypto::rustls::QuicServerConfig;
use runtime::{
    Clock, Scope, admin_port::Readiness, identity::CurrentIdentity, tls::agents_server_config,
    worker::Threads,
};
use tunnel::quic::ALPN;

use crate::{
    ca::Ca,
    edge::{app, get, soon, view},
    origin::ScriptedOrigin,
};

/// Length, Welcome: version 1, edge "e1", worker 0 of 1.
const WELCOME: &[u8] = &[10, 0x12, 8, 0x08, 1, 0x12, 2, b'e', b'1', 0x20, 1];
/// Kinds of streams.
const CONTROL: u8 = 1;
const HTTP: u8 = 2;
/// Far above what an agent answers here.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A stream that begins with `bytes` and says no more; what came back, if it ended well.
async fn said(connection: &quinn::Connection, bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut send, mut recv) = soon(connection.open_bi()).await.unwrap();
    // The agent may stop it before all is written.
    let _ = send.write_all(bytes).await;
    let _ = send.finish();
    soon(recv.read_to_end(ANSWER_BYTES_MAX)).await.ok()
}

#[tokio::test]
async fn an_edge_that_breaks_the_protocol_loses_the_stream_and_keeps_the_link() {
    runtime::tls::install_provider();
    let origin =
        ScriptedOrigin::answering("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell").await;
    let ca = Ca::new();
    let tls = agents_server_config(&ca.identity("spiffe://fabric.test/edge/e1"), &[ALPN]).unwrap();
    let crypto = QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let edge = quinn::Endpoint::server(config, any).unwrap();
    let address = edge.local_addr().unwrap();
    let scope = Scope::root();
    let _agent = serve(
        ServingConfig {
            allow: AllowList::all(),
            workers: Threads::Own(std::num::NonZeroUsize::MIN),
            ..ServingConfig::default()
        },
        CurrentIdentity::new(ca.identity("spiffe://fabric.test/agent/a1")),
        Views::new(view(
            vec![app("app", &[&origin.url()])],
            &[("e1", (address, None))],
        )),
        &Readiness::new(),
        Clock::system(),
        &scope,
    )
    .await
    .unwrap();
    let incoming = soon(edge.accept()).await.unwrap();
    let connection = soon(incoming.accept().unwrap()).await.unwrap();
    let (mut control, mut hello) = soon(connection.open_bi()).await.unwrap();
    control.write_all(&[CONTROL]).await.unwrap();
    soon(hello.read_exact(&mut [0; 1])).await.unwrap();
    control.write_all(WELCOME).await.unwrap();

    for (name, bytes) in [
        ("DATA before REQUEST", &[HTTP, 0x00, 2, b'h', b'i'][..]),
        ("REQUEST of junk", &[HTTP, 0x01, 2, 0xff, 0xff]),
        ("REQUEST without anything", &[HTTP, 0x01, 0]),
        ("REQUEST that is too long", &[HTTP, 0x01, 0x80, 0x02, 0, 0]),
        ("RESPONSE from an edge", &[HTTP, 0x02, 0]),
        ("a low type that is unknown", &[HTTP, 0x20, 0]),
        ("half a frame", &[HTTP, 0x01, 5, 1]),
        ("a stream of no kind", &[]),
        ("a kind that is unknown", &[63]),
        ("a kind that is not served", &[3]),
    ] {
        let answer = said(&connection, bytes).await;
        let text = answer.as_deref().map(String::from_utf8_lossy);
        assert!(!text.is_some_and(|text| text.contains("well")), "{name}");
    }
    let head = get("/").encode_to_vec();
    let length = u8::try_from(head.len()).unwrap();
    // Two bytes hold lengths from 64 (RFC 9000, section 16).
    let request = [&[HTTP, 0x01, 0x40, length][..], &head, &[0x04, 0]].concat();
    let answer = said(&connection, &request).await.expect("a whole answer");
    assert!(
        String::from_utf8_lossy(&answer).contains("well"),
        "{answer:?}"
    );
    assert!(connection.close_reason().is_none());
}
