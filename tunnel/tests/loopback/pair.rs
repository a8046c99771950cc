//! An edge and an agent of one small fabric, connected on loopback.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use futures_util::future::join;
use proto::tunnel::RequestHead;
use quinn::crypto::rustls::QuicServerConfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use tunnel::{
    Connection, Frame, Kind, RecvHalf, SendHalf,
    quic::{ALPN, AgentEndpoint, EdgeEndpoint, Knock, ResetKey, Target},
    steering::{self, Worker},
};

/// The certificates of one fabric.
pub(crate) struct Certificates {
    authority: CertificateDer<'static>,
    pub(crate) edge_leaf: CertificateDer<'static>,
    edge_key: PrivateKeyDer<'static>,
    pub(crate) agent_leaf: CertificateDer<'static>,
    agent_key: PrivateKeyDer<'static>,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let leaf = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new([name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap();
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            (certificate.der().clone(), key)
        };
        let (edge_leaf, edge_key) = leaf("edge.test");
        let (agent_leaf, agent_key) = leaf("agent.test");
        Self {
            authority: authority.der().clone(),
            edge_leaf,
            edge_key,
            agent_leaf,
            agent_key,
        }
    }

    pub(crate) fn server_config(&self) -> rustls::ServerConfig {
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider())
            .build()
            .unwrap();
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.edge_leaf.clone()], self.edge_key.clone_key())
            .unwrap();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config
    }

    /// Trusts this fabric, and shows the agent's certificate of `agent`.
    pub(crate) fn client_config(&self, agent: &Self) -> rustls::ClientConfig {
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(vec![agent.agent_leaf.clone()], agent.agent_key.clone_key())
            .unwrap();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        Arc::new(roots)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A connection seen from both sides. The endpoints live as long as it does.
pub(crate) struct Pair {
    pub(crate) edge: Connection,
    pub(crate) agent: Connection,
    pub(crate) certificates: Certificates,
    _endpoints: (EdgeEndpoint, AgentEndpoint),
}

impl Pair {
    pub(crate) async fn connect() -> Self {
        let certificates = Certificates::new();
        let edge_endpoint = edge_endpoints(&certificates, 1).pop().unwrap();
        let agent_endpoint = AgentEndpoint::new().unwrap();
        let (edge, agent) = dial(&edge_endpoint, &agent_endpoint, &certificates, None).await;
        Self {
            edge,
            agent,
            certificates,
            _endpoints: (edge_endpoint, agent_endpoint),
        }
    }
}

pub(crate) fn edge_endpoints(certificates: &Certificates, workers: u32) -> Vec<EdgeEndpoint> {
    let anywhere = (Ipv4Addr::LOCALHOST, 0).into();
    edge_endpoints_at(anywhere, certificates, workers, &ResetKey::random())
}

pub(crate) fn edge_endpoints_at(
    address: SocketAddr,
    certificates: &Certificates,
    workers: u32,
    resets: &ResetKey,
) -> Vec<EdgeEndpoint> {
    let tls = Arc::new(certificates.server_config());
    steering::bind_group(address, workers, steering::Generation::Even)
        .unwrap()
        .into_iter()
        .map(|socket| EdgeEndpoint::new(socket, Arc::clone(&tls), resets).unwrap())
        .collect()
}

/// Connects `agent` to `edge`; both handles of the connection, the edge's first.
pub(crate) async fn dial(
    edge: &EdgeEndpoint,
    agent: &AgentEndpoint,
    certificates: &Certificates,
    worker: Option<Worker>,
) -> (Connection, Connection) {
    let target = Target {
        address: edge.local_addr().unwrap(),
        server_name: "edge.test".into(),
        worker,
    };
    let tls = Arc::new(certificates.client_config(certificates));
    let (at_edge, at_agent) = join(
        async {
            edge.accept()
                .await
                .and_then(Knock::agent)
                .unwrap()
                .finish()
                .await
        },
        agent.connect(&target, &tls),
    )
    .await;
    (at_edge.unwrap(), at_agent.unwrap())
}

/// One half each way.
pub(crate) type Halves = (SendHalf, RecvHalf);

/// A stream of kind http, with an empty request head sent: the edge's halves and the agent's.
pub(crate) async fn http_stream(pair: &Pair) -> (Halves, Halves) {
    let mut edge = pair.edge.open(Kind::Http).await.unwrap();
    edge.0.send(request()).await.unwrap();
    let accepted = pair.agent.accept().await.unwrap();
    let (kind, send, recv) = accepted.kind().await.unwrap();
    assert_eq!(kind, Kind::Http);
    (edge, (send, recv))
}

/// The head that every stream of these tests opens with.
pub(crate) fn request() -> Frame {
    Frame::from(RequestHead {
        app: "wiki".into(),
        ..RequestHead::default()
    })
}

/// An agent connected to a bare QUIC server, which can say what no edge would.
pub(crate) struct Bare {
    pub(crate) edge: quinn::Connection,
    pub(crate) agent: Connection,
    _endpoints: (quinn::Endpoint, AgentEndpoint),
}

impl Bare {
    pub(crate) async fn connect() -> Self {
        let certificates = Certificates::new();
        let crypto = QuicServerConfig::try_from(certificates.server_config()).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let server = quinn::Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let target = Target {
            address: server.local_addr().unwrap(),
            server_name: "edge.test".into(),
            worker: None,
        };
        let client = AgentEndpoint::new().unwrap();
        let tls = Arc::new(certificates.client_config(&certificates));
        let (edge, agent) = join(
            async { server.accept().await.unwrap().await.unwrap() },
            client.connect(&target, &tls),
        )
        .await;
        Self {
            edge,
            agent: agent.unwrap(),
            _endpoints: (server, client),
        }
    }

    /// Opens a stream that begins with `bytes`.
    pub(crate) async fn say(&self, bytes: &[u8]) -> (quinn::SendStream, quinn::RecvStream) {
        let (mut send, recv) = self.edge.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        (send, recv)
    }

    /// The agent's halves of the stream.
    pub(crate) async fn hear(&self) -> Halves {
        let (_, send, recv) = self.agent.accept().await.unwrap().kind().await.unwrap();
        (send, recv)
    }
}
