//! The way to control, step by step: name, connection, who answers, and what it says of this node.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use proto::fabric::{EdgeRecord, ExamineRequest, ExamineResponse, fabric_client::FabricClient};
use rustls::{ClientConfig, pki_types::CertificateDer};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::{
    Check, Credential, Expected, Fault, Finding, Report, Trust, Verdict, causes,
    certificate::{Leaf, span},
};
use crate::{
    clock::Clock,
    control_client::{self, ControlAddresses},
    dial::{Stream, Target},
    node::control_server_name,
    tls::{ALPN_H2, Presented, observed_client_config},
};

/// Time for one step of the way.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Addresses of control that are looked at.
const CONTROLS_MAX: usize = 16;
/// A clock that is further off than this makes certificates and tokens fail at their ends, and one-time codes at once.
const SKEW_MAX: Duration = Duration::from_secs(30);

/// What control said.
#[derive(Debug, Default)]
pub struct Reached {
    /// Where the edges are that an agent keeps links with; none: control did not say.
    pub edges: Option<Vec<EdgeRecord>>,
    /// What control that is known showed, its CA among it: edges do not show that.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Looks at the way to every address of control. One that works is enough: what is wrong with the others is a warning then.
pub async fn reach(trust: &Trust, clock: &Clock, report: &mut Report<'_>) -> Reached {
    let mut reached = Reached::default();
    let mut findings = Vec::new();
    let mut works = false;
    for address in trust.control.addresses.iter().take(CONTROLS_MAX) {
        let way = way(address, trust, clock).await;
        let is_whole = way
            .findings
            .iter()
            .all(|finding| finding.verdict != Verdict::Failed);
        works |= is_whole;
        if let Some(edges) = way.edges {
            reached.edges.get_or_insert(edges);
        }
        if reached.chain.is_empty() {
            reached.chain = way.chain;
        }
        findings.extend(way.findings);
    }
    for finding in findings {
        report.add(if works { finding.softened() } else { finding });
    }
    reached
}

/// One address of control.
#[derive(Default)]
struct Way {
    findings: Vec<Finding>,
    edges: Option<Vec<EdgeRecord>>,
    chain: Vec<CertificateDer<'static>>,
}

async fn way(address: &str, trust: &Trust, clock: &Clock) -> Way {
    let mut way = Way::default();
    if let Some(tls) = way.connect(address, trust, clock).await {
        way.ask(address, trust, tls, clock).await;
    }
    way
}

impl Way {
    /// Up to TLS; gives the settings under which control is what it should be.
    async fn connect(
        &mut self,
        address: &str,
        trust: &Trust,
        clock: &Clock,
    ) -> Option<Arc<ClientConfig>> {
        let way_out = &trust.control.way_out;
        let target = address.parse::<Target>().ok();
        let proxied = target.filter(|target| way_out.proxy_to(target).is_some());
        let began = clock.now();
        let connected = match &proxied {
            // The proxy looks the name up.
            Some(target) => {
                let connected = way_out.connect(target, STEP_TIMEOUT).await;
                connected.map_err(|error| causes(&error))
            }
            None => {
                let addresses = match look_up(address).await {
                    Ok(addresses) => addresses,
                    Err(finding) => {
                        self.findings.push(finding);
                        return None;
                    }
                };
                self.findings
                    .push(Finding::ok(Check::Dns, address, list(&addresses)));
                let connected = first_tcp(&addresses).await.map(Stream::Plain);
                connected.map_err(|error| error.to_string())
            }
        };
        let tcp = match connected {
            Ok(tcp) => tcp,
            Err(error) => {
                let found = format!("no connection: {error}");
                self.findings
                    .push(Finding::failed(Check::Tcp, Fault::Tcp, address, found));
                return None;
            }
        };
        let took = (clock.now() - began).as_millis();
        let proxy = proxied.as_ref().and_then(|target| way_out.proxy_to(target));
        let through = proxy.map(|proxy| format!(" through {proxy}"));
        let found = format!("connected in {took} ms{}", through.unwrap_or_default());
        self.findings.push(Finding::ok(Check::Tcp, address, found));
        self.shake_hands(address, trust, tcp, clock.wall()).await
    }

    async fn shake_hands(
        &mut self,
        address: &str,
        trust: &Trust,
        tcp: Stream,
        now: SystemTime,
    ) -> Option<Arc<ClientConfig>> {
        let client = match &trust.credential {
            Credential::Certificate(identity) => Some(&**identity),
            Credential::Token(_) | Credential::None => None,
        };
        let made = observed_client_config(&trust.anchor, client, &[ALPN_H2]);
        let (config, presented) = match made {
            Ok(made) => made,
            Err(error) => {
                let found = causes(&error);
                self.findings.push(Finding::failed(
                    Check::Identity,
                    Fault::Identity,
                    address,
                    found,
                ));
                return None;
            }
        };
        let config = Arc::new(config);
        let connector = TlsConnector::from(Arc::clone(&config));
        let shaken = timeout(STEP_TIMEOUT, connector.connect(control_server_name(), tcp)).await;
        let shaken = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let finding = match shaken {
            Ok(_) => {
                self.chain = presented.chain();
                known(address, &presented)
            }
            Err(error) => unknown(address, &error, &presented, trust, now),
        };
        let is_known = finding.verdict == Verdict::Ok;
        self.findings.push(finding);
        is_known.then_some(config)
    }

    /// What control says of this node, and of the time.
    async fn ask(&mut self, address: &str, trust: &Trust, tls: Arc<ClientConfig>, clock: &Clock) {
        let token = match &trust.credential {
            Credential::Certificate(_) => String::new(),
            Credential::Token(token) => token.text().expose().clone(),
            Credential::None => {
                let why = "there is nothing to show to it";
                self.findings
                    .push(Finding::skipped(Check::Control, address, why));
                return;
            }
        };
        let began = clock.now();
        let control = ControlAddresses {
            addresses: vec![address.to_owned()],
            way_out: trust.control.way_out.clone(),
        };
        let answer = examine(&control, token, tls).await;
        let took = clock.now() - began;
        match answer {
            Ok(answer) => {
                let found = format!("lets this node in; answered in {} ms", took.as_millis());
                self.findings
                    .push(Finding::ok(Check::Control, address, found));
                let control =
                    Duration::from_millis(u64::try_from(answer.time_ms).unwrap_or_default());
                // The answer is half a round trip old.
                let control = SystemTime::UNIX_EPOCH + control + took / 2;
                self.findings.push(skew(address, control, clock.wall()));
                self.edges = Some(answer.edges);
            }
            Err(status) => self.findings.push(refusal(address, &status)),
        }
    }
}

async fn examine(
    control: &ControlAddresses,
    token: String,
    tls: Arc<ClientConfig>,
) -> Result<ExamineResponse, Status> {
    let asked = async {
        let channel = control_client::connect(control, tls).await;
        let channel = channel.map_err(|error| Status::unavailable(causes(&error)))?;
        let answer = FabricClient::new(channel)
            .examine(ExamineRequest { token })
            .await?;
        Ok(answer.into_inner())
    };
    let answered = timeout(STEP_TIMEOUT, asked).await;
    answered.unwrap_or_else(|_| {
        Err(Status::deadline_exceeded(format!(
            "no answer within {STEP_TIMEOUT:?}"
        )))
    })
}

/// The addresses of a "host:port".
pub async fn look_up(address: &str) -> Result<Vec<SocketAddr>, Finding> {
    let failed = |found: String| Finding::failed(Check::Dns, Fault::Dns, address, found);
    let found = timeout(STEP_TIMEOUT, lookup_host(address)).await;
    let found =
        found.map_err(|_| failed(format!("the resolver is silent for {STEP_TIMEOUT:?}")))?;
    let found = found.map_err(|error| failed(format!("the name has no address: {error}")))?;
    let addresses: Vec<_> = found.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() {
        return Err(failed("the name has no address".to_owned()));
    }
    Ok(addresses)
}

/// The first of several addresses that accepts.
pub async fn first_tcp(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match timeout(STEP_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = error,
            Err(_) => {
                let text = format!("no answer within {STEP_TIMEOUT:?}");
                last = io::Error::new(io::ErrorKind::TimedOut, text);
            }
        }
    }
    Err(last)
}

/// Addresses without their port, for people.
#[must_use]
pub fn list(addresses: &[SocketAddr]) -> String {
    let ips: Vec<_> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    ips.join(", ")
}

fn known(address: &str, presented: &Presented) -> Finding {
    let leaf = Leaf::read(&presented.chain());
    let found = leaf.map_or_else(
        || "control answers".to_owned(),
        |leaf| format!("control answers, certified by {:?}", leaf.issuer),
    );
    Finding::ok(Check::Tls, address, found)
}

/// Why TLS came to nothing.
fn unknown(
    address: &str,
    error: &io::Error,
    presented: &Presented,
    trust: &Trust,
    now: SystemTime,
) -> Finding {
    let expected = Expected {
        who: "control",
        anchor: &trust.anchor,
        now,
    };
    let (check, fault, found) = expected.unlike(presented).unwrap_or_else(|| {
        let (fault, found) = if presented.chain().is_empty() || presented.wrong().is_some() {
            let found = format!("what answers does not speak TLS as control does: {error}");
            (Fault::Tls, found)
        } else {
            // Our own certificate is what the other side speaks of.
            let found = format!("control breaks the handshake off: {error}");
            (Fault::Refused, found)
        };
        (Check::Tls, fault, found)
    });
    Finding::failed(check, fault, address, found)
}

fn skew(address: &str, control: SystemTime, here: SystemTime) -> Finding {
    let (off, way) = match here.duration_since(control) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if off > SKEW_MAX {
        let found = format!("this machine's clock is {} {way} control's", span(off));
        return Finding::failed(Check::Clock, Fault::Clock, address, found);
    }
    let found = format!("within {} ms of control's", off.as_millis());
    Finding::ok(Check::Clock, address, found)
}

fn refusal(address: &str, status: &Status) -> Finding {
    let details = status.get_error_details();
    let word = details.error_info().map_or("", |info| info.reason.as_str());
    let fault = match word {
        "NODE_REVOKED" => Fault::Revoked,
        "TOKEN_EXPIRED" => Fault::TokenExpired,
        "TOKEN_INVALID" | "TOKEN_UNKNOWN" | "TOKEN_REVOKED" | "TOKEN_USED_UP" => Fault::Token,
        _ => Fault::Refused,
    };
    let found = format!("does not let this node in: {}", status.message());
    Finding::failed(Check::Control, fault, address, found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_clock_is_off_from_half_a_minute_in_either_direction() {
        let control = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        for (ahead_seconds, wanted) in [
            (0, None),
            (30, None),
            (-30, None),
            (31, Some("ahead of")),
            (-31, Some("behind")),
            (86_400, Some("ahead of")),
            (-86_400, Some("behind")),
        ] {
            let off = Duration::from_secs(i64::unsigned_abs(ahead_seconds));
            let here = if ahead_seconds < 0 {
                control - off
            } else {
                control + off
            };
            let finding = skew("control.example.com:7443", control, here);
            assert_eq!(finding.check, Check::Clock, "{ahead_seconds} s");
            match wanted {
                None => assert_eq!(finding.verdict, Verdict::Ok, "{ahead_seconds} s"),
                Some(way) => {
                    assert_eq!(finding.verdict, Verdict::Failed, "{ahead_seconds} s");
                    assert_eq!(finding.fault, Some(Fault::Clock), "{ahead_seconds} s");
                    let found = &finding.found;
                    assert!(found.contains(way), "{ahead_seconds} s: {found}");
                }
            }
        }
    }
}
