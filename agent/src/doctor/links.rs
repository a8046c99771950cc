//! A trial link to every edge, up to its welcome: the only proof that what carries links passes both ways.

mod trial;

use std::{net::SocketAddr, time::Duration};

use proto::fabric::EdgeRecord;
use runtime::{
    Clock,
    dial::WayOut,
    doctor::{self, Check, Credential, Fault, Finding, Report, Verdict},
};
use rustls::pki_types::CertificateDer;
use tokio::time::{sleep, timeout};
use tunnel::{Transport, codes::Code, link::Connection, quic::AgentEndpoint};

use crate::config::Transports;
use trial::{HANDSHAKE_TIMEOUT, Outcome};

/// Edges that are tried.
const EDGES_MAX: usize = 32;
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

/// Tries every edge, over what the agent may use: TCP alone, or UDP first, and TCP where that is silent.
pub(super) async fn look(edges: &[EdgeRecord], means: &Means<'_>, report: &mut Report<'_>) {
    if edges.is_empty() {
        let found = "neither control nor the snapshot names an edge";
        report.add(Finding::failed(Check::Link, Fault::NoEdge, "", found));
        return;
    }
    let edges = edges.iter().take(EDGES_MAX);
    if means.transports == Transports::Only(Transport::Tcp) {
        for edge in edges {
            report.add(over_tcp(edge, means).await);
        }
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
    for edge in edges {
        over_udp(&endpoint, edge, means, report).await;
    }
    endpoint.close(Code::Cancelled, "the trial is over");
    // An edge that did not hear it ends the link by itself.
    let _ = timeout(PACKETS_WAIT, endpoint.idle()).await;
}

async fn over_udp(
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
        outcome = trial::over_udp(endpoint, *address, edge, means).await;
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
        Outcome::Failed(check, fault, found) => {
            report.add(Finding::failed(check, fault, subject, found));
        }
        Outcome::Silent => silent(subject, edge, &addresses, means, report).await,
    }
}

async fn over_tcp(edge: &EdgeRecord, means: &Means<'_>) -> Finding {
    let subject = format!("{} ({})", edge.id, edge.tcp_address);
    let began = means.clock.now();
    let outcome = trial::over_tcp(edge, means).await;
    let took = (means.clock.now() - began).as_millis();
    match outcome {
        Outcome::Welcome(()) => {
            let found = format!("welcome after {took} ms over TCP");
            Finding::ok(Check::Link, subject, found)
        }
        Outcome::Heard => {
            let found = "answers over TCP; it lets this agent in once that has a certificate";
            Finding::ok(Check::Link, subject, found)
        }
        Outcome::Failed(check, fault, found) => Finding::failed(check, fault, subject, found),
        Outcome::Silent => {
            let found = format!("no answer over TCP within {HANDSHAKE_TIMEOUT:?}");
            Finding::failed(Check::Tcp, Fault::Tcp, subject, found)
        }
    }
}

/// An edge that is silent over UDP and not over TCP is behind a firewall; one that is silent over both may be down. Where it gives a
/// welcome over TCP, links go there.
async fn silent(
    subject: String,
    edge: &EdgeRecord,
    addresses: &[SocketAddr],
    means: &Means<'_>,
    report: &mut Report<'_>,
) {
    let silence = format!("no answer over UDP within {HANDSHAKE_TIMEOUT:?}");
    let over_tcp = match means.transports {
        Transports::Auto if !edge.tcp_address.is_empty() => Some(over_tcp(edge, means).await),
        Transports::Auto | Transports::Only(_) => None,
    };
    if over_tcp
        .as_ref()
        .is_some_and(|other| other.verdict == Verdict::Ok)
    {
        let found = format!("{silence}; links go over TCP");
        report.add(Finding::warning(
            Check::Link,
            Fault::UdpBlocked,
            subject,
            found,
        ));
    } else {
        let tcp = match doctor::first_tcp(addresses).await {
            Ok(_) => "TCP to the same port passes, so UDP is blocked on the way",
            Err(_) => "TCP to the same port does not pass either: it may be down",
        };
        let found = format!("{silence}; {tcp}");
        report.add(Finding::failed(
            Check::Link,
            Fault::UdpBlocked,
            subject,
            found,
        ));
    }
    if let Some(other) = over_tcp {
        report.add(other);
    }
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
