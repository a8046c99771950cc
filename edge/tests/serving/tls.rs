//! TLS towards users: what is agreed on, and sessions that are resumed.

use std::sync::Arc;

use rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    pki_types::ServerName, version,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::fabric::{Fabric, HOST, within};

/// A user who trusts these fabrics, and remembers its sessions.
fn user(fabrics: &[&Fabric], versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for fabric in fabrics {
        roots.add(fabric.ca.root.clone()).unwrap();
    }
    let config = ClientConfig::builder_with_protocol_versions(versions)
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// What the user and the edge agreed on.
#[derive(Debug)]
struct Agreed {
    kind: HandshakeKind,
    version: ProtocolVersion,
    exchange: Option<String>,
}

/// One connection to its end, so that the user has got its tickets.
async fn visit(fabric: &Fabric, user: &Arc<ClientConfig>) -> Agreed {
    within(async {
        let stream = TcpStream::connect(fabric.edge.https_address).await.unwrap();
        let name = ServerName::try_from(HOST).unwrap();
        let connector = TlsConnector::from(Arc::clone(user));
        let mut stream = connector.connect(name, stream).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: none.example.com\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        let (_, session) = stream.get_ref();
        Agreed {
            kind: session.handshake_kind().unwrap(),
            version: session.protocol_version().unwrap(),
            exchange: session
                .negotiated_key_exchange_group()
                .map(|group| format!("{:?}", group.name())),
        }
    })
    .await
}

async fn edge_with_keys(keys: &[u8]) -> Fabric {
    let mut fabric = Fabric::start().await;
    fabric.set_ticket_keys(keys);
    fabric.publish(2);
    fabric
}

#[tokio::test]
async fn newest_version_and_post_quantum_keys_are_agreed_on_and_1_2_is_still_spoken() {
    let fabric = Fabric::start().await;
    let both = user(&[&fabric], &[&version::TLS12, &version::TLS13]);
    let agreed = visit(&fabric, &both).await;
    assert_eq!(agreed.version, ProtocolVersion::TLSv1_3);
    assert_eq!(agreed.exchange.as_deref(), Some("X25519MLKEM768"));
    let old = user(&[&fabric], &[&version::TLS12]);
    assert_eq!(visit(&fabric, &old).await.version, ProtocolVersion::TLSv1_2);
}

#[tokio::test]
async fn session_is_resumed_at_every_worker_and_at_every_edge_with_the_keys() {
    for version in [&version::TLS12, &version::TLS13] {
        let (one, other) = (edge_with_keys(&[1]).await, edge_with_keys(&[2, 1]).await);
        let user = user(&[&one, &other], &[version]);
        assert_eq!(visit(&one, &user).await.kind, HandshakeKind::Full);
        // Two workers: the kernel spreads these over both.
        for _ in 0..8 {
            assert_eq!(visit(&one, &user).await.kind, HandshakeKind::Resumed);
        }
        assert_eq!(visit(&other, &user).await.kind, HandshakeKind::Resumed);
    }
}

#[tokio::test]
async fn ticket_of_a_key_that_is_gone_or_unknown_is_not_taken() {
    let mut one = edge_with_keys(&[1]).await;
    let other = edge_with_keys(&[2]).await;
    let user = user(&[&one, &other], &[&version::TLS13]);
    assert_eq!(visit(&one, &user).await.kind, HandshakeKind::Full);
    assert_eq!(visit(&other, &user).await.kind, HandshakeKind::Full);
    assert_eq!(visit(&other, &user).await.kind, HandshakeKind::Resumed);
    one.set_ticket_keys(&[3]);
    one.publish(3);
    assert_eq!(visit(&one, &user).await.kind, HandshakeKind::Full);
}

#[tokio::test]
async fn without_shared_keys_an_edge_resumes_its_own_sessions_alone() {
    let (one, other) = (Fabric::start().await, Fabric::start().await);
    let user = user(&[&one, &other], &[&version::TLS13]);
    assert_eq!(visit(&one, &user).await.kind, HandshakeKind::Full);
    for _ in 0..8 {
        assert_eq!(visit(&one, &user).await.kind, HandshakeKind::Resumed);
    }
    assert_eq!(visit(&other, &user).await.kind, HandshakeKind::Full);
}
