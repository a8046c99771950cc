//! Who may speak: certificates, the mark of agents, Hello and Welcome.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use futures_util::future::{Either, join, join_all, select};
use proto::tunnel::{Hello, Ping, Pong, Welcome};
use quinn::crypto::rustls::QuicClientConfig;
use tunnel::{
    Closed, Code, Kind,
    control::{self, HandshakeError, Message, Refusal},
    quic::{
        AgentEndpoint, ConnectError, EdgeEndpoint, EndpointError, HANDSHAKES_UNVALIDATED_MAX,
        Knock, ResetKey, Target, TlsError,
    },
    steering::{Generation, bind_group},
};

use crate::pair::{Certificates, Pair, dial, edge_endpoints, request};

fn hello(versions: &[u32]) -> Hello {
    Hello {
        versions: versions.to_vec(),
        streams_max: 5,
        ..Hello::default()
    }
}

#[tokio::test]
async fn hello_and_welcome_make_a_link() {
    let pair = Pair::connect().await;
    let welcome = Welcome {
        edge: "e1".into(),
        ..Welcome::default()
    };
    let (edge, agent) = join(
        control::edge_handshake(&pair.edge, |hello| {
            assert_eq!(hello.streams_max, 5);
            Ok(welcome)
        }),
        control::agent_handshake(&pair.agent, hello(&[2, 1])),
    )
    .await;
    let (_, mut edge_sender, mut edge_receiver) = edge.unwrap();
    let (welcome, mut agent_sender, mut agent_receiver) = agent.unwrap();
    assert_eq!((welcome.version, welcome.edge.as_str()), (1, "e1"));

    let ping = Message::Ping(Ping { nonce: 9 });
    edge_sender.send(ping.clone()).await.unwrap();
    assert_eq!(agent_receiver.next().await, Ok(Some(ping)));
    let pong = Message::Pong(Pong { nonce: 9 });
    agent_sender.send(pong.clone()).await.unwrap();
    agent_sender.finish().await.unwrap();
    assert_eq!(edge_receiver.next().await, Ok(Some(pong)));
    assert_eq!(edge_receiver.next().await, Ok(None));
}

/// What an agent hears that is refused so.
async fn heard_of(refusal: &Refusal) -> HandshakeError {
    let pair = Pair::connect().await;
    let (edge, agent) = join(
        control::edge_handshake(&pair.edge, |_| Err(refusal.clone())),
        control::agent_handshake(&pair.agent, hello(&[1])),
    )
    .await;
    assert_eq!(edge.unwrap_err(), HandshakeError::Refused(refusal.clone()));
    agent.unwrap_err()
}

#[tokio::test]
async fn a_refused_agent_hears_why() {
    let refusal = Refusal {
        code: Code::Revoked,
        reason: "agent is revoked".into(),
        retry_after: None,
    };
    assert_eq!(
        heard_of(&refusal).await,
        HandshakeError::Closed(Closed::ByPeer {
            code: refusal.code,
            reason: refusal.reason
        })
    );
}

#[tokio::test]
async fn a_refused_agent_hears_when_to_come_back() {
    let refusal = Refusal {
        code: Code::Refused,
        reason: "too many links".into(),
        retry_after: Some(Duration::from_secs(5)),
    };
    assert_eq!(
        heard_of(&refusal).await,
        HandshakeError::SentAway {
            reason: refusal.reason,
            retry_after: Duration::from_secs(5),
        }
    );
}

#[tokio::test]
async fn an_agent_without_a_common_version_is_refused() {
    let pair = Pair::connect().await;
    let (edge, agent) = join(
        control::edge_handshake(&pair.edge, |_| panic!("not asked")),
        control::agent_handshake(&pair.agent, hello(&[7])),
    )
    .await;
    assert!(matches!(
        edge,
        Err(HandshakeError::Refused(Refusal {
            code: Code::Protocol,
            ..
        }))
    ));
    assert!(matches!(
        agent,
        Err(HandshakeError::Closed(Closed::ByPeer { .. }))
    ));
}

#[tokio::test]
async fn an_edge_whose_first_stream_is_not_control_is_left() {
    let pair = Pair::connect().await;
    let (mut send, _recv) = pair.edge.open(Kind::Http).await.unwrap();
    send.send(request()).await.unwrap();
    let agent = control::agent_handshake(&pair.agent, hello(&[1])).await;
    assert!(matches!(agent, Err(HandshakeError::Protocol(_))));
    assert!(matches!(
        pair.edge.closed().await,
        Closed::ByPeer {
            code: Code::Protocol,
            ..
        }
    ));
}

#[tokio::test]
async fn both_sides_know_the_proven_certificate_of_the_other() {
    let pair = Pair::connect().await;
    assert_eq!(
        pair.edge.peer_certificates()[0],
        pair.certificates.agent_leaf
    );
    assert_eq!(
        pair.agent.peer_certificates()[0],
        pair.certificates.edge_leaf
    );
    assert!(pair.edge.remote_address().ip().is_loopback());
}

#[tokio::test]
async fn an_agent_of_another_fabric_is_refused() {
    let ours = Certificates::new();
    let theirs = Certificates::new();
    let edge = edge_endpoints(&ours, 1).pop().unwrap();
    let agent = AgentEndpoint::new().unwrap();
    let target = Target {
        address: edge.local_addr().unwrap(),
        server_name: "edge.test".into(),
        worker: None,
    };
    // It trusts our edge, but shows a certificate of its own fabric.
    let tls = Arc::new(ours.client_config(&theirs));
    let (accepted, dialled) = join(
        async {
            edge.accept()
                .await
                .and_then(Knock::agent)
                .unwrap()
                .finish()
                .await
        },
        async {
            match agent.connect(&target, &tls).await {
                Ok(connection) => connection.closed().await,
                Err(ConnectError::Handshake(closed)) => closed,
                Err(error) => panic!("{error}"),
            }
        },
    )
    .await;
    assert!(matches!(accepted, Err(Closed::Tls(_))), "{accepted:?}");
    assert!(matches!(dialled, Closed::Tls(_)), "{dialled:?}");
}

#[tokio::test]
async fn new_tls_settings_serve_the_next_handshake() {
    let (old, new) = (Certificates::new(), Certificates::new());
    let mut edge = edge_endpoints(&old, 1).pop().unwrap();
    edge.replace_tls(Arc::new(new.server_config())).unwrap();
    let agent = AgentEndpoint::new().unwrap();
    let (_at_edge, at_agent) = dial(&edge, &agent, &new, None).await;
    assert_eq!(at_agent.peer_certificates()[0], new.edge_leaf);
}

#[tokio::test]
async fn in_a_flood_addresses_prove_themselves_first() {
    let certificates = Certificates::new();
    let edge = edge_endpoints(&certificates, 1).pop().unwrap();
    let agent = AgentEndpoint::new().unwrap();
    let target = Target {
        address: edge.local_addr().unwrap(),
        server_name: "edge.test".into(),
        worker: None,
    };
    let tls = Arc::new(certificates.client_config(&certificates));
    let dials = (0..=HANDSHAKES_UNVALIDATED_MAX).map(|_| agent.connect(&target, &tls));
    let hold = async {
        let mut handshakes = Vec::new();
        while handshakes.len() <= HANDSHAKES_UNVALIDATED_MAX {
            handshakes.push(edge.accept().await.and_then(Knock::agent).unwrap());
        }
        handshakes
    };
    let (dialled, handshakes) = join(join_all(dials), hold).await;
    assert!(dialled.iter().all(Result::is_ok));
    let proven = handshakes
        .iter()
        .filter(|handshake| handshake.is_address_proven());
    assert_eq!(proven.count(), 1);
}

#[tokio::test]
async fn a_dial_without_the_mark_of_agents_is_refused() {
    let certificates = Certificates::new();
    let edge = edge_endpoints(&certificates, 1).pop().unwrap();
    let crypto = QuicClientConfig::try_from(certificates.client_config(&certificates)).unwrap();
    let client = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let dial = client
        .connect_with(
            quinn::ClientConfig::new(Arc::new(crypto)),
            edge.local_addr().unwrap(),
            "edge.test",
        )
        .unwrap();
    let outcome = select(Box::pin(edge.accept()), dial).await;
    let Either::Right((Err(quinn::ConnectionError::ConnectionClosed(close)), _)) = outcome else {
        panic!("not refused");
    };
    assert_eq!(
        close.error_code,
        quinn::TransportErrorCode::CONNECTION_REFUSED
    );
}

#[test]
fn tls_settings_without_the_protocol_are_refused() {
    let certificates = Certificates::new();
    let mut tls = certificates.server_config();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let socket = bind_group((Ipv4Addr::LOCALHOST, 0).into(), 1, Generation::Even)
        .unwrap()
        .pop()
        .unwrap();
    assert!(matches!(
        EdgeEndpoint::new(socket, Arc::new(tls), &ResetKey::random()),
        Err(EndpointError::Tls(TlsError::Alpn))
    ));
}
