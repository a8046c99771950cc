//! Configuration of an edge: as written, and as meant.

mod limits;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use model::name::EdgeId;
use runtime::{
    Secret, Workers,
    config::{self, Problems},
    dial::Target,
    join::TokenSource,
};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};
use tunnel::steering::WORKERS_MAX;

pub use limits::{OwnLimits, RawLimits};

/// Where Linux services keep their state.
const DEFAULT_DATA_DIRECTORY: &str = "/var/lib/adit/edge";
/// Above 1023, so that no privilege is needed; put 443 where it may be bound.
const DEFAULT_HTTPS_PORT: u16 = 8443;
/// The same for plain HTTP, which is only redirected.
const DEFAULT_HTTP_PORT: u16 = 8080;
/// On loopback: probes and scrapers of the same machine. Next to control's 7480, before the agent's 7482.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7481);
/// Most requests are over in seconds, and service managers kill after 90 s.
const DEFAULT_DRAIN_DEADLINE: Duration = Duration::from_secs(30);
/// Name of an edge that is given none: fabrics often have one.
const DEFAULT_NAME: &str = "edge-1";
/// Turns the plain HTTP listener off.
const OFF: &str = "off";

/// An edge's configuration, as written.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Where identity and snapshot are kept; `/var/lib/adit/edge`.
    pub data_dir: Option<PathBuf>,
    /// The join token itself. Others may see it; prefer the two below.
    #[serde(skip_serializing)]
    pub join_token: Option<Secret<String>>,
    /// File with the join token.
    pub join_token_file: Option<PathBuf>,
    /// Environment variable with the join token.
    pub join_token_env: Option<String>,
    /// The edge's id; `edge-1`.
    pub name: Option<String>,
    /// Address for users over TLS; `[::]:8443`, which takes IPv4 too.
    pub https: Option<String>,
    /// Address for users over plain HTTP, who are redirected, or `off`; `[::]:8080`.
    pub http: Option<String>,
    /// Address for agents, over UDP; as `https`.
    pub tunnel: Option<String>,
    /// Where agents dial, `host:port`; as `tunnel`, if that names an address.
    pub advertise: Option<String>,
    /// Where agents dial whose network lets no UDP through, `host:port`; the host of `advertise`, and `public_port`.
    pub advertise_tcp: Option<String>,
    /// Port of https as users reach it, for redirects; that of `https`.
    pub public_port: Option<u16>,
    /// Whether users are served over HTTP/3, at the tunnel's address; `true`.
    pub http3: Option<bool>,
    /// Threads that carry traffic; one for each core.
    pub workers: Option<usize>,
    /// Address of the admin port; `127.0.0.1:7481`.
    pub admin: Option<String>,
    /// How long requests may go on when the edge is asked to end; `30s`.
    pub drain_deadline: Option<String>,
    /// Log filter.
    pub log: Option<String>,
    /// Networks of load balancers whose connections of https begin with a header of the PROXY protocol; none.
    pub https_proxy_protocol: Option<Vec<String>>,
    /// The same for plain HTTP; none.
    pub http_proxy_protocol: Option<Vec<String>>,
    /// Where control is, `host:port`, for agents that reach the edge's https alone: who asks there for control by its server name is
    /// passed on to it; none.
    pub pass_control: Option<String>,
    /// File that says which country an address is in, for access rules; none.
    pub country_file: Option<PathBuf>,
    /// Bounds on what users may cost.
    pub limits: Option<RawLimits>,
}

/// An edge's configuration, as meant.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where identity and snapshot are kept.
    pub data_directory: PathBuf,
    /// Where the join token comes from; not needed once there is an identity.
    pub token: Option<TokenSource>,
    /// The edge's id, for its enrolment.
    pub id: EdgeId,
    /// Address for users over TLS.
    pub https: SocketAddr,
    /// Address for users over plain HTTP.
    pub http: Option<SocketAddr>,
    /// Address for agents.
    pub tunnel: SocketAddr,
    /// Where agents dial.
    pub advertise: Advertise,
    /// Where agents dial over TCP; none: the host of `advertise`, at the port of https.
    pub advertise_tcp: Option<String>,
    /// Port of https as users reach it; none: the one that is listened on.
    pub public_port: Option<u16>,
    /// Whether users are served over HTTP/3, at the tunnel's address.
    pub http3: bool,
    /// Threads that carry traffic.
    pub workers: NonZeroUsize,
    /// Address of the admin port.
    pub admin: SocketAddr,
    /// How long requests may go on when the edge is asked to end.
    pub drain_deadline: Duration,
    /// Log filter; `None`: the default one.
    pub log: Option<String>,
    /// Networks whose connections of https begin with a header of the PROXY protocol; others are refused. None: no headers.
    pub https_proxy_protocol: Vec<IpNet>,
    /// The same for plain HTTP.
    pub http_proxy_protocol: Vec<IpNet>,
    /// Where control is, for those who ask for it at the address for users.
    pub pass_control: Option<Target>,
    /// File that says which country an address is in, for access rules.
    pub country_file: Option<PathBuf>,
    /// Bounds on what users may cost.
    pub limits: OwnLimits,
}

/// Where agents dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advertise {
    /// At this "host:port".
    Named(String),
    /// At the address that the tunnel listens on.
    Bound,
}

impl Config {
    /// Reads what was written.
    ///
    /// # Errors
    /// Everything that is wrong with it, each problem with its key, added to `problems`.
    pub fn new(raw: RawConfig, mut problems: Problems) -> Result<Self, Problems> {
        let found = &mut problems;
        let token = token(&raw, found);
        let id = found.take("name", raw.name.as_deref().unwrap_or(DEFAULT_NAME).parse());
        let https = address(
            "https",
            raw.https.as_deref(),
            || listen_all(DEFAULT_HTTPS_PORT),
            found,
        );
        let http = http(raw.http.as_deref(), found);
        let tunnel = tunnel(raw.tunnel.as_deref(), https, found);
        let advertise = advertise(raw.advertise, tunnel, found);
        let advertise_tcp = advertise_tcp(raw.advertise_tcp, found);
        let workers = workers(raw.workers, found);
        let admin = address("admin", raw.admin.as_deref(), || DEFAULT_ADMIN, found);
        let drain_deadline = drain_deadline(raw.drain_deadline.as_deref(), found);
        let log = found.log_filter(raw.log);
        let https_proxies = networks("https_proxy_protocol", raw.https_proxy_protocol, found);
        let http_proxies = networks("http_proxy_protocol", raw.http_proxy_protocol, found);
        let pass_control = pass_control(raw.pass_control.as_deref(), &advertise, found);
        let limits = OwnLimits::new(&raw.limits.unwrap_or_default(), found);
        let data_directory = raw
            .data_dir
            .unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIRECTORY));
        let config = (|| {
            Some(Self {
                data_directory,
                token: token?,
                id: id?,
                https: https?,
                http: http?,
                tunnel: tunnel?,
                advertise: advertise?,
                advertise_tcp: advertise_tcp?,
                public_port: raw.public_port,
                http3: raw.http3.unwrap_or(true),
                workers: workers?,
                admin: admin?,
                drain_deadline: drain_deadline?,
                log,
                https_proxy_protocol: https_proxies?,
                http_proxy_protocol: http_proxies?,
                pass_control: pass_control?,
                country_file: raw.country_file,
                limits: limits?,
            })
        })();
        problems.finish(config)
    }

    /// As it could have been written, with every default; a join token that was given itself is left out.
    #[must_use]
    pub fn written(&self) -> RawConfig {
        let (join_token_file, join_token_env) = self
            .token
            .as_ref()
            .map_or((None, None), TokenSource::reference);
        RawConfig {
            data_dir: Some(self.data_directory.clone()),
            join_token: None,
            join_token_file,
            join_token_env,
            name: Some(self.id.to_string()),
            https: Some(self.https.to_string()),
            http: Some(
                self.http
                    .map_or_else(|| OFF.to_owned(), |http| http.to_string()),
            ),
            tunnel: Some(self.tunnel.to_string()),
            advertise: match &self.advertise {
                Advertise::Named(named) => Some(named.clone()),
                Advertise::Bound => None,
            },
            advertise_tcp: self.advertise_tcp.clone(),
            public_port: self.public_port,
            http3: Some(self.http3),
            workers: Some(self.workers.get()),
            admin: Some(self.admin.to_string()),
            drain_deadline: Some(config::written_duration(self.drain_deadline)),
            log: self.log.clone(),
            https_proxy_protocol: written_networks(&self.https_proxy_protocol),
            http_proxy_protocol: written_networks(&self.http_proxy_protocol),
            pass_control: self.pass_control.as_ref().map(ToString::to_string),
            country_file: self.country_file.clone(),
            limits: Some(self.limits.written()),
        }
    }
}

fn token(raw: &RawConfig, found: &mut Problems) -> Option<Option<TokenSource>> {
    let literal = raw.join_token.clone().map(TokenSource::Literal);
    let file = raw.join_token_file.clone().map(TokenSource::File);
    let variable = raw.join_token_env.clone().map(TokenSource::Variable);
    let mut sources: Vec<_> = [literal, file, variable].into_iter().flatten().collect();
    if sources.len() > 1 {
        found.add(
            "join_token",
            "give one of join_token, join_token_file and join_token_env",
        );
        return None;
    }
    Some(sources.pop())
}

fn address(
    key: &str,
    written: Option<&str>,
    default: impl FnOnce() -> SocketAddr,
    found: &mut Problems,
) -> Option<SocketAddr> {
    match written {
        Some(text) => found.address(key, text),
        None => Some(default()),
    }
}

fn http(written: Option<&str>, found: &mut Problems) -> Option<Option<SocketAddr>> {
    if written == Some(OFF) {
        return Some(None);
    }
    address("http", written, || listen_all(DEFAULT_HTTP_PORT), found).map(Some)
}

fn tunnel(
    written: Option<&str>,
    https: Option<SocketAddr>,
    found: &mut Problems,
) -> Option<SocketAddr> {
    match written {
        Some(text) => found.address("tunnel", text),
        None => https,
    }
}

fn advertise(
    written: Option<String>,
    tunnel: Option<SocketAddr>,
    found: &mut Problems,
) -> Option<Advertise> {
    let Some(named) = written else {
        if tunnel?.ip().is_unspecified() {
            found.add(
                "advertise",
                "is required when the tunnel listens on every address: the host:port that agents dial",
            );
            return None;
        }
        return Some(Advertise::Bound);
    };
    if port_of(&named).is_none() {
        found.add("advertise", "must be host:port");
        return None;
    }
    Some(Advertise::Named(named))
}

fn advertise_tcp(written: Option<String>, found: &mut Problems) -> Option<Option<String>> {
    if written
        .as_deref()
        .is_some_and(|named| port_of(named).is_none())
    {
        found.add("advertise_tcp", "must be host:port");
        return None;
    }
    Some(written)
}

/// The port of "host:port".
pub(crate) fn port_of(named: &str) -> Option<u16> {
    let (host, port) = named.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    (!host.is_empty() && port != 0).then_some(port)
}

/// An edge that leads to itself would do so without end.
fn pass_control(
    written: Option<&str>,
    advertise: &Option<Advertise>,
    found: &mut Problems,
) -> Option<Option<Target>> {
    let Some(text) = written else {
        return Some(None);
    };
    let own = match advertise {
        Some(Advertise::Named(named)) => Some(named.as_str()),
        Some(Advertise::Bound) | None => None,
    };
    if own == Some(text) {
        found.add("pass_control", "is this edge itself, not control");
        return None;
    }
    found.take("pass_control", text.parse()).map(Some)
}

fn workers(written: Option<usize>, found: &mut Problems) -> Option<NonZeroUsize> {
    let most = usize::from(WORKERS_MAX);
    let Some(count) = written else {
        let cores = Workers::default_count();
        return Some(NonZeroUsize::new(most).map_or(cores, |most| cores.min(most)));
    };
    let count = NonZeroUsize::new(count).filter(|count| count.get() <= most);
    if count.is_none() {
        found.add("workers", format_args!("must be 1 to {most}"));
    }
    count
}

fn drain_deadline(written: Option<&str>, found: &mut Problems) -> Option<Duration> {
    match written {
        Some(text) => found.take("drain_deadline", config::duration(text)),
        None => Some(DEFAULT_DRAIN_DEADLINE),
    }
}

/// Networks, or single addresses.
fn networks(key: &str, written: Option<Vec<String>>, found: &mut Problems) -> Option<Vec<IpNet>> {
    let mut networks = Vec::new();
    let mut wrong = false;
    for text in written.unwrap_or_default() {
        let network = text
            .parse()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        match network {
            Ok(network) => networks.push(network),
            Err(_) => {
                wrong = true;
                let message = "is neither an address nor a network, such as 10.0.0.0/8";
                found.add(key, format_args!("{text:?} {message}"));
            }
        }
    }
    (!wrong).then_some(networks)
}

fn written_networks(networks: &[IpNet]) -> Option<Vec<String>> {
    let written = networks.iter().map(ToString::to_string).collect();
    (!networks.is_empty()).then_some(written)
}

/// Every address of both families, or of IPv4 where the system has no IPv6.
fn listen_all(port: u16) -> SocketAddr {
    let ip = match Socket::new(Domain::IPV6, Type::STREAM, None) {
        Ok(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Err(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> RawConfig {
        RawConfig {
            advertise: Some("edge.example.com:8443".to_owned()),
            ..RawConfig::default()
        }
    }

    fn keys(raw: RawConfig) -> Vec<String> {
        let problems = Config::new(raw, Problems::new()).unwrap_err();
        problems
            .found()
            .iter()
            .map(|found| found.key.clone())
            .collect()
    }

    #[test]
    fn little_has_to_be_written() {
        let config = Config::new(raw(), Problems::new()).unwrap();
        assert_eq!(config.https.port(), DEFAULT_HTTPS_PORT);
        assert_eq!(config.tunnel, config.https);
        assert_eq!(config.http.map(|http| http.port()), Some(DEFAULT_HTTP_PORT));
        assert!(config.token.is_none());
        assert_eq!(config.id.as_str(), DEFAULT_NAME);
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let wrong = RawConfig {
            name: Some("Edge 1".to_owned()),
            https: Some("nowhere".to_owned()),
            http: Some("on".to_owned()),
            tunnel: Some("0.0.0.0:0".to_owned()),
            advertise_tcp: Some("edge.example.com".to_owned()),
            workers: Some(0),
            admin: Some("7481".to_owned()),
            drain_deadline: Some("soon".to_owned()),
            log: Some("edge=loud".to_owned()),
            https_proxy_protocol: Some(vec!["10.0.0.0/8".to_owned(), "lan".to_owned()]),
            http_proxy_protocol: Some(vec!["10.0.0.0/33".to_owned()]),
            pass_control: Some("control".to_owned()),
            join_token_file: Some("a".into()),
            join_token_env: Some("B".to_owned()),
            ..RawConfig::default()
        };
        assert_eq!(
            keys(wrong),
            [
                "join_token",
                "name",
                "https",
                "http",
                "advertise",
                "advertise_tcp",
                "workers",
                "admin",
                "drain_deadline",
                "log",
                "https_proxy_protocol",
                "http_proxy_protocol",
                "pass_control"
            ]
        );
    }

    #[test]
    fn advertise_follows_a_tunnel_that_names_its_address() {
        let bound = RawConfig {
            tunnel: Some("127.0.0.1:0".to_owned()),
            http: Some(OFF.to_owned()),
            ..RawConfig::default()
        };
        let config = Config::new(bound, Problems::new()).unwrap();
        assert_eq!(config.advertise, Advertise::Bound);
        assert_eq!(config.http, None);
        for wrong in ["edge.example.com", ":8443", "edge:0", "edge:port"] {
            let named = RawConfig {
                advertise: Some(wrong.to_owned()),
                ..RawConfig::default()
            };
            assert_eq!(keys(named), ["advertise"], "{wrong}");
        }
    }
}
