//! One trial of one edge, up to its welcome.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use model::{host::Hostname, name::EdgeId};
use proto::{fabric::EdgeRecord, tunnel::Hello};
use runtime::{
    dial::{self, DialError},
    doctor::{self, Check, Credential, Expected, Fault},
    node::edge_server_name,
    tls::{Anchor, CaPin, Presented, observed_client_config},
};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName},
};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tunnel::{
    codes::Code,
    control::{HandshakeError, VERSIONS, agent_handshake},
    link::{Closed, Connection},
    quic::{self, AgentEndpoint, ConnectError, Target},
    tcp,
};

use super::Means;

/// From the first packet to Welcome, as agents have it.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the last words over TCP may take to leave.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// How a trial ended.
pub(super) enum Outcome<W> {
    Welcome(W),
    /// The edge was heard, and has nothing to say to who shows no certificate.
    Heard,
    Failed(Check, Fault, String),
    Silent,
}

impl<W> Outcome<W> {
    fn failed(fault: Fault, found: impl Into<String>) -> Self {
        Self::Failed(Check::Link, fault, found.into())
    }
}

/// Tries one address over UDP. The connection is the caller's to close.
pub(super) async fn over_udp(
    endpoint: &AgentEndpoint,
    address: SocketAddr,
    edge: &EdgeRecord,
    means: &Means<'_>,
) -> Outcome<Connection> {
    let keys = match Keys::new(edge, means, quic::ALPN) {
        Ok(keys) => keys,
        Err((fault, found)) => return Outcome::failed(fault, found),
    };
    let target = Target {
        address,
        server_name: keys.server_name.to_str().into_owned(),
        worker: None,
    };
    let shaken = async {
        let connection = endpoint
            .connect(&target, &keys.client)
            .await
            .map_err(TrialError::Connect)?;
        greet(&connection).await?;
        Ok(connection)
    };
    match timeout(HANDSHAKE_TIMEOUT, shaken).await {
        Ok(Ok(connection)) => Outcome::Welcome(connection),
        Ok(Err(error)) => keys.judge(&error, "UDP", means),
        Err(_) => Outcome::Silent,
    }
}

/// Tries the edge's port of users over TCP, by the way that links take, and takes its leave.
pub(super) async fn over_tcp(edge: &EdgeRecord, means: &Means<'_>) -> Outcome<()> {
    let keys = match Keys::new(edge, means, tcp::ALPN) {
        Ok(keys) => keys,
        Err((fault, found)) => return Outcome::failed(fault, found),
    };
    let target = match edge.tcp_address.parse::<dial::Target>() {
        Ok(target) => target,
        Err(_) if edge.tcp_address.is_empty() => {
            return Outcome::failed(Fault::NoEdge, "the edge names no address for TCP");
        }
        Err(error) => {
            let found = format!("where it is over TCP is not known: {error}");
            return Outcome::failed(Fault::NoEdge, found);
        }
    };
    let stream = match means.way_out.connect(&target, HANDSHAKE_TIMEOUT).await {
        Ok(stream) => stream,
        Err(DialError::TimedOut(_)) => return Outcome::Silent,
        Err(error @ (DialError::Lookup { .. } | DialError::NoAddress { .. })) => {
            let found = format!("the name has no address: {}", doctor::causes(&error));
            return Outcome::Failed(Check::Dns, Fault::Dns, found);
        }
        Err(error) => {
            let found = format!("no connection over TCP: {}", doctor::causes(&error));
            return Outcome::Failed(Check::Tcp, Fault::Tcp, found);
        }
    };
    match timeout(HANDSHAKE_TIMEOUT, shake_hands_over_tcp(stream, &keys)).await {
        Ok(Ok(())) => Outcome::Welcome(()),
        Ok(Err(error)) => keys.judge(&error, "TCP", means),
        Err(_) => Outcome::Silent,
    }
}

async fn shake_hands_over_tcp(stream: dial::Stream, keys: &Keys) -> Result<(), TrialError> {
    let address = stream.peer_addr().map_err(TrialError::Tls)?;
    let stream = TlsConnector::from(Arc::clone(&keys.client))
        .connect(keys.server_name.clone(), stream)
        .await
        .map_err(TrialError::Tls)?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = tcp::Peer {
        address,
        certificates: certificates.to_vec(),
    };
    let begun = tcp::agent(stream, peer).await;
    let (connection, mut driver) = begun.map_err(TrialError::Begin)?;
    tokio::select! {
        biased;
        greeted = greet(&connection) => greeted?,
        () = &mut driver => return Err(TrialError::Begin(connection.closed().await)),
    }
    connection.close(Code::Cancelled, "the trial is over");
    // An edge that did not hear it ends the link by itself.
    let _ = timeout(FAREWELL_TIMEOUT, driver).await;
    Ok(())
}

async fn greet(connection: &Connection) -> Result<(), TrialError> {
    let hello = Hello {
        versions: VERSIONS.to_vec(),
        software: concat!("adit-doctor/", env!("CARGO_PKG_VERSION")).to_owned(),
        trial: true,
        ..Hello::default()
    };
    // The control stream may end with these halves: the edge waits for the connection.
    let (_, sender, receiver) = agent_handshake(connection, hello)
        .await
        .map_err(TrialError::Hello)?;
    drop((sender, receiver));
    Ok(())
}

/// Why there is no welcome.
#[derive(Debug, thiserror::Error)]
enum TrialError {
    #[error("connecting")]
    Connect(#[source] ConnectError),
    #[error("tls handshake")]
    Tls(#[source] io::Error),
    #[error("beginning http/2")]
    Begin(#[source] Closed),
    #[error("saying hello")]
    Hello(#[source] HandshakeError),
}

/// How an agent proves itself to an edge, and what it knows that edge by.
struct Keys {
    client: Arc<ClientConfig>,
    server_name: ServerName<'static>,
    anchor: Anchor,
    presented: Presented,
    /// It has nothing to show yet, so the edge turns it away once it has shown its own.
    is_nobody: bool,
}

impl Keys {
    fn new(edge: &EdgeRecord, means: &Means<'_>, alpn: &[u8]) -> Result<Self, (Fault, String)> {
        let (domain, anchor, client) = match means.credential {
            Credential::Certificate(identity) => {
                let roots = Anchor::Roots(identity.roots().to_vec());
                (identity.name().domain(), roots, Some(&**identity))
            }
            Credential::Token(token) => {
                let is_pinned = |shown: &&CertificateDer<'_>| CaPin::of(shown) == token.pin();
                let roots = means.chain.iter().filter(is_pinned).cloned();
                (token.domain(), Anchor::Roots(roots.collect()), None)
            }
            Credential::None => {
                return Err((Fault::Identity, "there is nothing to show".to_owned()));
            }
        };
        let made = observed_client_config(&anchor, client, &[alpn]);
        let (config, presented) =
            made.map_err(|error| (Fault::Identity, doctor::causes(&error)))?;
        Ok(Self {
            client: Arc::new(config),
            server_name: server_name(edge, domain)?,
            anchor,
            presented,
            is_nobody: client.is_none(),
        })
    }

    fn judge<W>(&self, error: &TrialError, way: &str, means: &Means<'_>) -> Outcome<W> {
        let expected = Expected {
            who: "the edge",
            anchor: &self.anchor,
            now: means.clock.wall(),
        };
        if let Some((_, fault, found)) = expected.unlike(&self.presented) {
            return Outcome::failed(fault, found);
        }
        // Over TCP the edge's refusal of who shows nothing comes with whatever is read next.
        if self.is_nobody && self.presented.is_proven() && is_turned_away(error) {
            return Outcome::Heard;
        }
        of_error(error, way)
    }
}

fn server_name(
    edge: &EdgeRecord,
    domain: &Hostname,
) -> Result<ServerName<'static>, (Fault, String)> {
    let id = edge.id.parse::<EdgeId>().ok();
    let name = id.and_then(|id| edge_server_name(domain, &id).ok());
    name.ok_or_else(|| {
        let found = "its id and the fabric's domain make no server name";
        (Fault::Refused, found.to_owned())
    })
}

/// Whether it can be the answer to a certificate that was not shown.
fn is_turned_away(error: &TrialError) -> bool {
    match error {
        TrialError::Connect(ConnectError::Handshake(closed))
        | TrialError::Hello(HandshakeError::Closed(closed)) => matches!(closed, Closed::Tls(_)),
        TrialError::Tls(_) | TrialError::Begin(_) => true,
        TrialError::Connect(_) | TrialError::Hello(_) => false,
    }
}

fn of_error<W>(error: &TrialError, way: &str) -> Outcome<W> {
    let closed = match error {
        TrialError::Connect(ConnectError::Handshake(closed))
        | TrialError::Hello(HandshakeError::Closed(closed))
        | TrialError::Begin(closed) => closed,
        TrialError::Tls(error) => {
            let found = format!("answers over {way}, and TLS fails: {error}");
            return Outcome::failed(Fault::Tls, found);
        }
        TrialError::Connect(_) | TrialError::Hello(_) => {
            return Outcome::failed(Fault::Refused, doctor::causes(error));
        }
    };
    match closed {
        Closed::Silent => Outcome::Silent,
        Closed::Tls(text) => {
            let found = format!("answers over {way}, and TLS fails: {text}");
            Outcome::failed(Fault::Tls, found)
        }
        Closed::ByPeer { code, reason } => {
            let fault = if *code == Code::Revoked {
                Fault::Revoked
            } else {
                Fault::Refused
            };
            Outcome::failed(fault, format!("does not take this agent: {reason}"))
        }
        Closed::Here | Closed::Transport(_) => {
            Outcome::failed(Fault::Refused, doctor::causes(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_that_has_not_proven_who_it_is_was_not_heard() {
        let clock = runtime::Clock::system();
        let means = Means {
            credential: &Credential::None,
            chain: &[],
            transports: crate::config::Transports::Auto,
            way_out: &dial::WayOut::default(),
            clock: &clock,
        };
        let anchor = Anchor::Roots(Vec::new());
        let ended = TrialError::Connect(ConnectError::Handshake(Closed::Tls("why".to_owned())));
        for is_nobody in [false, true] {
            let client = ClientConfig::builder_with_provider(runtime::tls::provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            let keys = Keys {
                client: Arc::new(client),
                server_name: "edge.test".try_into().unwrap(),
                anchor: anchor.clone(),
                presented: Presented::default(),
                is_nobody,
            };
            match keys.judge::<()>(&ended, "UDP", &means) {
                Outcome::Failed(_, Fault::Tls, found) => assert!(found.contains("why"), "{found}"),
                Outcome::Failed(_, fault, found) => panic!("{fault:?}: {found}"),
                Outcome::Welcome(()) | Outcome::Heard | Outcome::Silent => panic!("it is no edge"),
            }
        }
    }
}
