//! A trial link to every edge, up to its welcome: the only proof that UDP passes both ways.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use model::{host::Hostname, name::EdgeId};
use proto::{fabric::EdgeRecord, tunnel::Hello};
use runtime::{
    Clock,
    dial::{self, WayOut},
    doctor::{self, Check, Credential, Fault, Finding, Report},
    node::edge_server_name,
    tls::{self, Anchor, CaPin, Presented, observed_client_config},
};
use rustls::pki_types::CertificateDer;
use tokio::time::{sleep, timeout};
use tunnel::{
    Transport,
    codes::Code,
    control::{HandshakeError, VERSIONS, agent_handshake},
    link::{Closed, Connection},
    quic::{ALPN, AgentEndpoint, ConnectError, Target},
};

use crate::config::Transports;

/// Edges that are tried.
const EDGES_MAX: usize = 32;
/// From the first packet to Welcome, as agents have it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long larger packets are tried after that: some round trips.
const PACKETS_WAIT: Duration = Duration::from_secs(2);
/// Pause between two looks at how large packets may be.
const PACKETS_LOOK: Duration = Duration::from_millis(50);
/// Packets that every path carries; QUIC begins with them (RFC 9000, section 14).
const PACKET_BYTES_MIN: u16 = 1_200;
/// Packets that an ordinary path carries, less some tunnel below.
const PACKET_BYTES_USUAL: u16 = 1_400;

/// What a trial is made with.
#[derive(Debug)]
pub(super) struct Means<'a> {
    pub(super) credential: &'a Credential,
    /// What control showed.
    pub(super) chain: &'a [CertificateDer<'static>],
    /// What the agent may use.
    pub(super) transports: Transports,
    /// How links over TCP leave this machine.
    pub(super) way_out: &'a WayOut,
    pub(super) clock: &'a Clock,
}

/// How a trial ended.
enum Outcome {
    Welcome(Connection),
    /// The edge was heard, and has nothing to say to who shows no certificate.
    Heard,
    Failed(Fault, String),
    Silent,
}

/// Tries every edge.
pub(super) async fn look(edges: &[EdgeRecord], means: &Means<'_>, report: &mut Report<'_>) {
    if edges.is_empty() {
        let found = "neither control nor the snapshot names an edge";
        report.add(Finding::failed(Check::Link, Fault::NoEdge, "", found));
        return;
    }
    let endpoint = match AgentEndpoint::new() {
        Ok(endpoint) => endpoint,
        Err(error) => {
            let found = format!("this machine gives no UDP socket: {error}");
            report.add(Finding::failed(Check::Link, Fault::UdpBlocked, "", found));
            return;
        }
    };
    for edge in edges.iter().take(EDGES_MAX) {
        try_edge(&endpoint, edge, means, report).await;
    }
    endpoint.close(Code::Cancelled, "the trial is over");
    // An edge that did not hear it ends the link by itself.
    let _ = timeout(PACKETS_WAIT, endpoint.idle()).await;
}

async fn try_edge(
    endpoint: &AgentEndpoint,
    edge: &EdgeRecord,
    means: &Means<'_>,
    report: &mut Report<'_>,
) {
    let subject = format!("{} ({})", edge.id, edge.tunnel_address);
    let addresses = match doctor::look_up(&edge.tunnel_address).await {
        Ok(addresses) => addresses,
        Err(finding) => return report.add(finding),
    };
    report.add(Finding::ok(
        Check::Dns,
        edge.tunnel_address.as_str(),
        doctor::list(&addresses),
    ));
    let began = means.clock.now();
    let mut outcome = Outcome::Silent;
    for address in &addresses {
        outcome = attempt(endpoint, *address, edge, means).await;
        if !matches!(outcome, Outcome::Silent) {
            break;
        }
    }
    let took = (means.clock.now() - began).as_millis();
    match outcome {
        Outcome::Welcome(connection) => {
            let found = format!("welcome after {took} ms over UDP");
            report.add(Finding::ok(Check::Link, subject.as_str(), found));
            report.add(packets(&connection, &subject).await);
            connection.close(Code::Cancelled, "the trial is over");
        }
        Outcome::Heard => {
            let found = "answers over UDP; it lets this agent in once that has a certificate";
            report.add(Finding::ok(Check::Link, subject, found));
        }
        Outcome::Failed(fault, found) => {
            report.add(Finding::failed(Check::Link, fault, subject, found));
        }
        Outcome::Silent => report.add(silent(subject, edge, &addresses, means).await),
    }
}

async fn attempt(
    endpoint: &AgentEndpoint,
    address: SocketAddr,
    edge: &EdgeRecord,
    means: &Means<'_>,
) -> Outcome {
    let Settings {
        client,
        domain,
        presented,
    } = match settings(means.credential, means.chain) {
        Ok(settings) => settings,
        Err(found) => return Outcome::Failed(Fault::Identity, found),
    };
    let name = edge.id.parse::<EdgeId>().ok();
    let name = name.and_then(|id| edge_server_name(&domain, &id).ok());
    let Some(name) = name else {
        let found = "its id and the fabric's domain make no server name";
        return Outcome::Failed(Fault::Refused, found.to_owned());
    };
    let target = Target {
        address,
        server_name: name.to_str().into_owned(),
        worker: None,
    };
    match timeout(HANDSHAKE_TIMEOUT, shake_hands(endpoint, &target, &client)).await {
        Ok(Ok(connection)) => Outcome::Welcome(connection),
        Ok(Err(error)) => judge(&error, presented.as_ref()),
        Err(_) => Outcome::Silent,
    }
}

/// How an agent proves itself to edges.
struct Settings {
    client: Arc<rustls::ClientConfig>,
    /// The fabric's.
    domain: Hostname,
    /// What an edge presents to an agent that can show nothing yet.
    presented: Option<Presented>,
}

fn settings(
    credential: &Credential,
    chain: &[CertificateDer<'static>],
) -> Result<Settings, String> {
    match credential {
        Credential::Certificate(identity) => {
            let client = tls::node_client_config(identity, &[ALPN]);
            Ok(Settings {
                client: Arc::new(client.map_err(|error| doctor::causes(&error))?),
                domain: identity.name().domain().clone(),
                presented: None,
            })
        }
        Credential::Token(token) => {
            let is_pinned = |shown: &&CertificateDer<'_>| CaPin::of(shown) == token.pin();
            let roots: Vec<_> = chain.iter().filter(is_pinned).cloned().collect();
            let made = observed_client_config(&Anchor::Roots(roots), None, &[ALPN]);
            let (client, presented) = made.map_err(|error| doctor::causes(&error))?;
            Ok(Settings {
                client: Arc::new(client),
                domain: token.domain().clone(),
                presented: Some(presented),
            })
        }
        Credential::None => Err("there is nothing to show".to_owned()),
    }
}

/// Why there is no welcome.
#[derive(Debug, thiserror::Error)]
enum TrialError {
    #[error("connecting")]
    Connect(#[source] ConnectError),
    #[error("saying hello")]
    Hello(#[source] HandshakeError),
}

async fn shake_hands(
    endpoint: &AgentEndpoint,
    target: &Target,
    settings: &Arc<rustls::ClientConfig>,
) -> Result<Connection, TrialError> {
    let connection = endpoint
        .connect(target, settings)
        .await
        .map_err(TrialError::Connect)?;
    let hello = Hello {
        versions: VERSIONS.to_vec(),
        software: concat!("adit-doctor/", env!("CARGO_PKG_VERSION")).to_owned(),
        trial: true,
        ..Hello::default()
    };
    // The control stream may end with these halves: the edge waits for the connection.
    let (_, sender, receiver) = agent_handshake(&connection, hello)
        .await
        .map_err(TrialError::Hello)?;
    drop((sender, receiver));
    Ok(connection)
}

/// `presented`: to an agent that has no certificate, which an edge turns away once it has shown its own.
fn judge(error: &TrialError, presented: Option<&Presented>) -> Outcome {
    let closed = match error {
        TrialError::Connect(ConnectError::Handshake(closed))
        | TrialError::Hello(HandshakeError::Closed(closed)) => closed,
        TrialError::Connect(_) | TrialError::Hello(_) => {
            return Outcome::Failed(Fault::Refused, doctor::causes(error));
        }
    };
    match closed {
        Closed::Silent => Outcome::Silent,
        Closed::Tls(_) if presented.is_some_and(Presented::is_proven) => Outcome::Heard,
        Closed::Tls(text) => {
            let found = format!("answers over UDP, and TLS fails: {text}");
            Outcome::Failed(Fault::Tls, found)
        }
        Closed::ByPeer { code, reason } => {
            let fault = if *code == Code::Revoked {
                Fault::Revoked
            } else {
                Fault::Refused
            };
            Outcome::Failed(fault, format!("does not take this agent: {reason}"))
        }
        Closed::Here | Closed::Transport(_) => {
            Outcome::Failed(Fault::Refused, doctor::causes(error))
        }
    }
}

/// An edge that is silent over UDP and not over TCP is behind a firewall; one that is silent over both may be down. Where its port of users
/// takes connections, links go there.
async fn silent(
    subject: String,
    edge: &EdgeRecord,
    addresses: &[SocketAddr],
    means: &Means<'_>,
) -> Finding {
    let silence = format!("no answer over UDP within {HANDSHAKE_TIMEOUT:?}");
    if takes_tcp(edge, means).await {
        let way = &edge.tcp_address;
        let found = format!("{silence}; {way} takes TCP, so links go there");
        return Finding::warning(Check::Link, Fault::UdpBlocked, subject, found);
    }
    let tcp = match doctor::first_tcp(addresses).await {
        Ok(_) => "TCP to the same port passes, so UDP is blocked on the way",
        Err(_) => "TCP to the same port does not pass either: it may be down",
    };
    let found = format!("{silence}; {tcp}");
    Finding::failed(Check::Link, Fault::UdpBlocked, subject, found)
}

/// Whether a link over TCP could begin.
async fn takes_tcp(edge: &EdgeRecord, means: &Means<'_>) -> bool {
    match means.transports {
        Transports::Auto | Transports::Only(Transport::Tcp) => {}
        Transports::Only(Transport::Quic) => return false,
    }
    let Ok(target) = edge.tcp_address.parse::<dial::Target>() else {
        return false;
    };
    let connected = means.way_out.connect(&target, HANDSHAKE_TIMEOUT).await;
    connected.is_ok()
}

/// Waits until packets have grown as far as the path lets them.
async fn packets(connection: &Connection, subject: &str) -> Finding {
    let looks = PACKETS_WAIT.as_millis() / PACKETS_LOOK.as_millis();
    for _ in 0..looks {
        if connection.packet_bytes() > Some(PACKET_BYTES_USUAL) {
            break;
        }
        sleep(PACKETS_LOOK).await;
    }
    // It is one of QUIC, which knows.
    let bytes = connection.packet_bytes().unwrap_or_default();
    let found = format!("the path carries packets of {bytes} bytes");
    if bytes <= PACKET_BYTES_MIN {
        let found = format!("{found}, and none that are larger");
        return Finding::warning(Check::Packets, Fault::Packets, subject, found);
    }
    Finding::ok(Check::Packets, subject, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_that_has_not_proven_who_it_is_was_not_heard() {
        let ended = || TrialError::Connect(ConnectError::Handshake(Closed::Tls("why".to_owned())));
        let stranger = Presented::default();
        for presented in [None, Some(&stranger)] {
            match judge(&ended(), presented) {
                Outcome::Failed(Fault::Tls, found) => assert!(found.contains("why"), "{found}"),
                Outcome::Failed(fault, found) => panic!("{fault:?}: {found}"),
                Outcome::Welcome(_) | Outcome::Heard | Outcome::Silent => panic!("it is no edge"),
            }
        }
    }
}
