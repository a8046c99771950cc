//! Agents that come over TCP, at the port of users.

use std::{sync::Arc, time::Duration};

use runtime::tls;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tunnel::{Transport, quic, tcp};

use crate::{
    fabric::{AGENTS_NAME, Fabric, HOST, within},
    user::get,
};

async fn shake_hands(
    fabric: &Fabric,
    config: rustls::ClientConfig,
    name: &'static str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(fabric.edge.https_address).await?;
    let name = name.try_into().unwrap();
    within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

/// Whether the edge lets the connection live: in TLS 1.3 a client learns of a refusal only when it reads.
async fn is_let_in(mut stream: TlsStream<TcpStream>) -> bool {
    use tokio::io::AsyncReadExt as _;
    let read = timeout(Duration::from_secs(5), stream.read(&mut [0; 1])).await;
    // The edge is the one to speak first: SETTINGS.
    matches!(read, Ok(Ok(1..)))
}

#[tokio::test]
async fn an_agent_over_tcp_serves_users_and_takes_no_users_place() {
    let fabric = Fabric::start().await;
    let identity = fabric.identity("a1");
    let agent = within(fabric.dial_over(Transport::Tcp, &identity, b"")).await;
    let agent = agent.unwrap();
    assert_eq!(agent.connection.transport(), Transport::Tcp);
    let (answer, ()) = tokio::join!(get(&fabric, "/"), async {
        agent.request().await.answer(200, "over tcp").await;
    });
    assert!(answer.ends_with("over tcp"), "{answer}");
}

#[tokio::test]
async fn who_asks_for_the_agents_name_must_show_a_certificate_of_the_fabric() {
    let fabric = Fabric::start().await;
    let identity = fabric.identity("a1");
    let agent = || tls::node_client_config(&identity, &[tcp::ALPN]).unwrap();
    let welcome = shake_hands(&fabric, agent(), AGENTS_NAME).await.unwrap();
    assert!(is_let_in(welcome).await);

    let mut roots = rustls::RootCertStore::empty();
    roots.add(fabric.ca.root.clone()).unwrap();
    let mut nobody = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    nobody.alpn_protocols = vec![tcp::ALPN.to_vec()];
    let other = Fabric::start().await;
    let stranger = tls::node_client_config(&other.identity("a1"), &[tcp::ALPN]).unwrap();
    // It would not trust the edge, which does not matter here.
    let mut stranger_who_trusts = nobody.clone();
    stranger_who_trusts.client_auth_cert_resolver = stranger.client_auth_cert_resolver;
    for config in [nobody, stranger_who_trusts] {
        if let Ok(stream) = shake_hands(&fabric, config, AGENTS_NAME).await {
            assert!(!is_let_in(stream).await);
        }
    }
    for protocols in [&[quic::ALPN][..], &[b"http/1.1"], &[]] {
        let config = tls::node_client_config(&identity, protocols).unwrap();
        if let Ok(stream) = shake_hands(&fabric, config, AGENTS_NAME).await {
            assert!(!is_let_in(stream).await, "{protocols:?}");
        }
    }
    // Under any other name there is no tunnel.
    let config = agent();
    let stream = shake_hands(&fabric, config, HOST).await.unwrap();
    let (_, session) = stream.get_ref();
    assert_eq!(
        session.alpn_protocol(),
        Some(tcp::ALPN),
        "users speak it too"
    );
    let peer = tcp::Peer {
        address: fabric.edge.https_address,
        certificates: Vec::new(),
    };
    assert!(within(tcp::agent(stream, peer)).await.is_err());
}

#[tokio::test]
async fn a_request_on_a_dark_link_moves_to_the_same_agents_link_over_tcp() {
    let fabric = Fabric::start().await;
    let identity = fabric.identity("a1");
    let dark = fabric.dial_over(Transport::Quic, &identity, b"one start");
    let dark = within(dark).await.unwrap();
    let serve = async {
        let _lost = dark.request().await;
        dark.fall_silent();
        let over_tcp = fabric.dial_over(Transport::Tcp, &identity, b"one start");
        let over_tcp = within(over_tcp).await.unwrap();
        // Before the dark link would be given up by itself.
        let asked = timeout(Duration::from_secs(3), over_tcp.request()).await;
        asked.expect("in time").answer(200, "moved").await;
        over_tcp
    };
    let (answer, over_tcp) = tokio::join!(get(&fabric, "/"), serve);
    assert!(answer.ends_with("moved"), "{answer}");
    // The next one does not try the dark link first.
    let (answer, ()) = tokio::join!(get(&fabric, "/"), async {
        over_tcp.request().await.answer(200, "at once").await;
    });
    assert!(answer.ends_with("at once"), "{answer}");
}
