use rustls_pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::{
    double::ca::{Ca, LIFE},
    node::{NodeIdentity, control_server_name, edge_server_name},
};

/// What each side found out: the error text, or for the server who the client is.
struct Outcome {
    client: Result<(), String>,
    server: Result<NodeIdentity, String>,
}

async fn handshake(
    client: ClientConfig,
    server: ServerConfig,
    name: ServerName<'static>,
) -> Outcome {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let connect = async {
        let mut stream = TlsConnector::from(Arc::new(client))
            .connect(name, near)
            .await
            .map_err(|error| error.to_string())?;
        // In TLS 1.3 a refused client certificate shows at the first read.
        let mut byte = [0];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut byte)
            .await
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let accept = async {
        let mut stream = TlsAcceptor::from(Arc::new(server))
            .accept(far)
            .await
            .map_err(|error| error.to_string())?;
        let written = tokio::io::AsyncWriteExt::write_all(&mut stream, b"x").await;
        written.map_err(|error| error.to_string())?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        peer_identity(chain).map_err(|error| error.to_string())
    };
    let (client, server) = tokio::join!(connect, accept);
    Outcome { client, server }
}

fn open_server(identity: &Identity) -> ServerConfig {
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(identity.chain().to_vec(), identity.key())
        .unwrap()
}

fn edge_name() -> ServerName<'static> {
    edge_server_name(&"example.com".parse().unwrap(), &"e1".parse().unwrap()).unwrap()
}

#[tokio::test]
async fn agent_and_edge_of_one_fabric_know_each_other() {
    let ca = Ca::new();
    let agent = ca.identity("spiffe://example.com/agent/a1");
    let edge = ca.identity("spiffe://example.com/edge/e1");
    let outcome = handshake(
        node_client_config(&agent, &[b"adit/1"]).unwrap(),
        agents_server_config(&edge, &[b"adit/1"]).unwrap(),
        edge_name(),
    )
    .await;
    assert_eq!(outcome.client, Ok(()));
    assert_eq!(outcome.server.as_ref(), Ok(agent.name()));
}

#[tokio::test]
async fn agent_of_another_fabric_is_refused_by_the_edge() {
    let (ca, other) = (Ca::new(), Ca::new());
    let stranger = other.identity("spiffe://example.com/agent/a1");
    let stranger = Identity::new(
        stranger.node_key(),
        stranger.chain().to_vec(),
        vec![ca.root()],
    )
    .unwrap();
    let edge = ca.identity("spiffe://example.com/edge/e1");
    let outcome = handshake(
        node_client_config(&stranger, &[]).unwrap(),
        agents_server_config(&edge, &[]).unwrap(),
        edge_name(),
    )
    .await;
    assert!(outcome.server.is_err());
    assert!(outcome.client.is_err());
}

#[tokio::test]
async fn expired_agent_is_refused_by_the_edge() {
    let ca = Ca::new();
    let long_ago = crate::clock::Clock::system().wall() - 2 * LIFE;
    let agent = ca.identity_from("spiffe://example.com/agent/a1", long_ago, LIFE);
    let edge = ca.identity("spiffe://example.com/edge/e1");
    let outcome = handshake(
        node_client_config(&agent, &[]).unwrap(),
        agents_server_config(&edge, &[]).unwrap(),
        edge_name(),
    )
    .await;
    let refusal = outcome.server.unwrap_err();
    assert!(refusal.contains("expired"), "{refusal}");
}

#[tokio::test]
async fn client_without_certificate_is_refused_by_the_edge() {
    let ca = Ca::new();
    let edge = ca.identity_with_root("spiffe://example.com/edge/e1");
    let outcome = handshake(
        pinned_client_config(ca.pin(), &[]),
        agents_server_config(&edge, &[]).unwrap(),
        edge_name(),
    )
    .await;
    assert!(outcome.server.is_err());
}

#[tokio::test]
async fn an_observer_knows_who_turned_it_away_and_who_only_seemed_to() {
    let (ca, other) = (Ca::new(), Ca::new());
    for (server, is_proven) in [
        (ca.identity_with_root("spiffe://example.com/edge/e1"), true),
        (ca.identity_with_root("spiffe://example.com/edge/e2"), false),
        (
            other.identity_with_root("spiffe://example.com/edge/e1"),
            false,
        ),
    ] {
        let (client, presented) =
            observed_client_config(&Anchor::Pin(ca.pin()), None, &[]).unwrap();
        assert!(!presented.is_proven());
        let server = agents_server_config(&server, &[]).unwrap();
        let outcome = handshake(client, server, edge_name()).await;
        assert!(outcome.client.is_err() && outcome.server.is_err());
        assert!(!presented.chain().is_empty());
        assert_eq!(presented.is_proven(), is_proven);
    }
}

#[tokio::test]
async fn another_edge_is_refused_by_the_agent() {
    let ca = Ca::new();
    let agent = ca.identity("spiffe://example.com/agent/a1");
    let edge = ca.identity("spiffe://example.com/edge/e2");
    let outcome = handshake(
        node_client_config(&agent, &[]).unwrap(),
        agents_server_config(&edge, &[]).unwrap(),
        edge_name(),
    )
    .await;
    assert!(outcome.client.unwrap_err().contains("not valid for name"));
}

#[tokio::test]
async fn pinned_control_is_trusted() {
    let ca = Ca::new();
    let control = ca.identity_with_root("spiffe://example.com/control/c1");
    let config = pinned_client_config(ca.pin(), &[]);
    let outcome = handshake(config, open_server(&control), control_server_name()).await;
    assert_eq!(outcome.client, Ok(()));
}

#[tokio::test]
async fn control_with_another_ca_or_a_borrowed_root_is_refused() {
    let (ca, other) = (Ca::new(), Ca::new());
    let stranger = other.identity_with_root("spiffe://example.com/control/c1");
    let borrowed = vec![stranger.chain()[0].clone(), ca.root()];
    let borrowing = Identity::new(stranger.node_key(), borrowed, vec![ca.root()]).unwrap();
    for liar in [&stranger, &borrowing] {
        let config = pinned_client_config(ca.pin(), &[]);
        let outcome = handshake(config, open_server(liar), control_server_name()).await;
        assert!(outcome.client.is_err());
    }
}

#[tokio::test]
async fn agent_under_the_pinned_ca_cannot_pose_as_control() {
    let ca = Ca::new();
    let agent = ca.identity_with_root("spiffe://example.com/agent/a1");
    let config = pinned_client_config(ca.pin(), &[]);
    let outcome = handshake(config, open_server(&agent), control_server_name()).await;
    assert!(outcome.client.is_err());
}

#[tokio::test]
async fn operators_trust_the_ca_they_name() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let control = ca.identity("spiffe://example.com/control/c1");
    control.store(directory.path()).unwrap();
    let pem = std::fs::read_to_string(directory.path().join("roots.pem")).unwrap();
    let config = ca_client_config(&pem, &[]).unwrap();
    let outcome = handshake(config, open_server(&control), control_server_name()).await;
    assert_eq!(outcome.client, Ok(()));
    assert!(matches!(
        ca_client_config("nothing", &[]),
        Err(TlsError::NoCertificate)
    ));
}

#[test]
fn certificate_without_a_uri_names_nobody() {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["example.com".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let named = peer_identity(&[certificate]);
    assert!(matches!(named, Err(PeerError::UriNames { count: 0 })));
    assert!(matches!(peer_identity(&[]), Err(PeerError::NoCertificate)));
}
