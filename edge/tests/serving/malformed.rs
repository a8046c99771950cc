//! Agents that break the protocol: it costs the request, never the link.

use std::{net::SocketAddr, sync::Arc};

use quinn::{ConnectionId, crypto::rustls::QuicClientConfig};
use runtime::tls;
use tunnel::quic::ALPN;

use crate::{
    fabric::{Fabric, within},
    user::{RawUser, get},
};

/// Length, Hello: version 1, 100 streams.
const HELLO: &[u8] = &[7, 0x0a, 5, 0x0a, 1, 1, 0x20, 100];
/// RESPONSE with status 200 and a streamed body.
const RESPONSE: &[u8] = &[0x02, 5, 0x08, 0xc8, 0x01, 0x20, 1];
/// END after two bytes.
const END: &[u8] = &[0x04, 2, 0x08, 2];

/// An agent that speaks bare QUIC, and so can say what none would.
struct BareAgent {
    connection: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

impl BareAgent {
    async fn connect(fabric: &Fabric) -> Self {
        let identity = fabric.ca.identity("spiffe://example.com/agent/a1");
        let tls = tls::node_client_config(&identity, &[ALPN]).unwrap();
        let crypto = QuicClientConfig::try_from(tls).unwrap();
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.initial_dst_cid_provider(Arc::new(|| {
            let mut id: [u8; 16] = rand::random();
            id[4..8].copy_from_slice(b"adit");
            ConnectionId::new(&id)
        }));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = quinn::Endpoint::client(any).unwrap();
        let name = "e1.edge.example.com.adit.internal";
        let connecting = endpoint.connect_with(config, fabric.edge.tunnel_address, name);
        let connection = within(connecting.unwrap()).await.unwrap();
        let (mut send, recv) = within(connection.accept_bi()).await.unwrap();
        send.write_all(HELLO).await.unwrap();
        fabric
            .scope
            .spawn("control of a bare agent", answer_pings(send, recv));
        within(async {
            while fabric.edge.link_count() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        Self {
            connection,
            _endpoint: endpoint,
        }
    }

    /// The next request; what it says is of no interest here.
    async fn request(&self) -> (quinn::SendStream, quinn::RecvStream) {
        within(self.connection.accept_bi()).await.unwrap()
    }
}

async fn answer_pings(mut send: quinn::SendStream, mut recv: quinn::RecvStream) {
    let mut kind = [0];
    if recv.read_exact(&mut kind).await.is_err() {
        return;
    }
    loop {
        // All messages of an edge are short here, so their length is one byte.
        let mut length = [0];
        if recv.read_exact(&mut length).await.is_err() {
            return;
        }
        let mut message = vec![0; usize::from(length[0])];
        if recv.read_exact(&mut message).await.is_err() {
            return;
        }
        const PING: u8 = 0x1a;
        const PONG: u8 = 0x22;
        if message[0] == PING {
            message[0] = PONG;
            let answer = [&length[..], &message].concat();
            if send.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn agent_that_breaks_the_protocol_fails_one_request_and_keeps_its_link() {
    let fabric = Fabric::start().await;
    let agent = BareAgent::connect(&fabric).await;
    let mut patient = RawUser::connect(&fabric).await;
    patient.get("/patient").await;
    let (mut going_on, _recv) = agent.request().await;
    going_on.write_all(RESPONSE).await.unwrap();
    patient.read_until("\r\n\r\n").await;
    for (name, bytes, reason) in [
        (
            "DATA before RESPONSE",
            &[0x00, 2, b'h', b'i'][..],
            "tunnel_protocol",
        ),
        (
            "RESPONSE of junk",
            &[0x02, 2, 0xff, 0xff],
            "tunnel_protocol",
        ),
        (
            "RESPONSE that is too long",
            &[0x02, 0x80, 0x02, 0, 0],
            "tunnel_protocol",
        ),
        ("REQUEST from an agent", &[0x01, 0], "tunnel_protocol"),
        ("a low type that is unknown", &[0x20, 0], "tunnel_protocol"),
        ("END without RESPONSE", &[0x04, 0], "tunnel_protocol"),
        ("half a frame", &[0x02, 5, 0x08], "agent_lost"),
        ("nothing", &[], "agent_lost"),
    ] {
        let (answer, _open) = tokio::join!(get(&fabric, "/"), async {
            let (mut send, recv) = agent.request().await;
            // The edge may stop it before all is written.
            let _ = send.write_all(bytes).await;
            let _ = send.finish();
            (send, recv)
        });
        assert!(answer.starts_with("HTTP/1.1 502 "), "{name}: {answer}");
        assert!(answer.contains(reason), "{name}: {answer}");
    }
    going_on.write_all(&[0x00, 2, b'o', b'k']).await.unwrap();
    going_on.write_all(END).await.unwrap();
    going_on.finish().unwrap();
    let rest = patient.read_to_end().await;
    assert!(rest.contains("ok") && rest.ends_with("0\r\n\r\n"), "{rest}");
    assert_eq!(fabric.edge.link_count(), 1);
}
