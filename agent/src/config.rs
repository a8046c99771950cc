//! How an agent is set up: what was written, and what is meant.

mod kerberos;

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use model::name::{AgentId, ID_BYTES_MAX};
use runtime::{
    Secret, Workers,
    config::{self, Problems},
    dial::{RawWayOut, WayOut, WayOutSettings},
    file,
    join::TokenSource,
    system,
    vault::Keyring,
    worker::Threads,
};
use serde::{Deserialize, Serialize};
use tunnel::{Transport, quic::Network};

pub use kerberos::{KerberosConfig, RawKerberos};

use crate::{
    allow::{AllowList, AllowPattern, PATTERNS_MAX},
    request::chain,
    uplink::CLIMB_PAUSE,
};

/// Beside the fabric's other processes on one machine, each with a port of its own.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7482);

/// Where Linux keeps what services own.
const DEFAULT_DATA_DIRECTORY: &str = if cfg!(windows) {
    r"C:\ProgramData\adit\agent"
} else {
    "/var/lib/adit/agent"
};

/// One uplink reaches one worker of an edge; machines with more cores than this share.
const DEFAULT_UPLINKS_PER_EDGE_MAX: usize = 8;

/// As many as the tunnel grants.
const DEFAULT_STREAMS_MAX: u32 = tunnel::quic::STREAMS_MAX;

/// What init systems give a service before they kill it is 90 s; most answers end within a few.
const DEFAULT_DRAIN_DEADLINE: Duration = Duration::from_secs(30);

/// Workers and uplinks beyond this are a slip of the pen.
const COUNT_MAX: usize = 256;

/// An agent's configuration, as written.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Where identity and snapshot are kept; `/var/lib/adit/agent`.
    pub data_dir: Option<PathBuf>,
    /// Keep nothing: join anew at every start, under an id that begins with `name`; `false`.
    pub ephemeral: Option<bool>,
    /// The join token itself. Others may see it; prefer the two below.
    #[serde(skip_serializing)]
    pub join_token: Option<Secret<String>>,
    /// File with the join token.
    pub join_token_file: Option<PathBuf>,
    /// Environment variable with the join token.
    pub join_token_env: Option<String>,
    /// The agent's id; made of the machine's name and a few random characters.
    pub name: Option<String>,
    /// URL of the proxy through which control and edges are reached, `http://`, `https://` or `socks5://`, with a user name but no
    /// password, or `off`; as `HTTPS_PROXY` and its like say.
    pub proxy: Option<String>,
    /// File with the password for the proxy.
    pub proxy_password_file: Option<PathBuf>,
    /// Environment variable with the password for the proxy.
    pub proxy_password_env: Option<String>,
    /// Domains, addresses and networks that are reached without the proxy; none.
    pub no_proxy: Option<Vec<String>>,
    /// File with the keys of the group by which credentials of apps are opened, as `adit vault-key create` writes it; none.
    pub vault_key_file: Option<PathBuf>,
    /// Origins that may be reached; all but link-local addresses.
    pub allow: Option<Vec<String>>,
    /// Threads that carry traffic; one for each core.
    pub workers: Option<usize>,
    /// Uplinks with one edge; 8.
    pub uplinks_per_edge_max: Option<usize>,
    /// Requests at once on one uplink; 1024.
    pub streams_max: Option<u32>,
    /// What carries uplinks: `quic`, `tcp`, or `auto`, which is QUIC where the network lets it through; `auto`.
    pub transport: Option<String>,
    /// Address of the admin port; `127.0.0.1:7482`.
    pub admin: Option<String>,
    /// How long requests may go on when the agent is asked to end; `30s`.
    pub drain_deadline: Option<String>,
    /// Log filter.
    pub log: Option<String>,
    /// The agent's account in a Kerberos domain, for apps with single sign-on there; none.
    pub kerberos: Option<RawKerberos>,
}

/// An agent's configuration, as meant.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where identity and snapshot are kept; `None`: nowhere, the agent joins anew at every start.
    pub data_directory: Option<PathBuf>,
    /// Where the join token comes from; not needed once there is an identity.
    pub token: Option<TokenSource>,
    /// How control is reached.
    pub way_out: WayOutSettings,
    /// The agent's id, for its enrolment; `None`: made of the machine's name.
    pub id: Option<AgentId>,
    /// Address of the admin port.
    pub admin: SocketAddr,
    /// How long requests may go on when the agent is asked to end.
    pub drain_deadline: Duration,
    /// Log filter; `None`: the default one.
    pub log: Option<String>,
    /// Where the keys that open credentials were read.
    pub vault_key_file: Option<PathBuf>,
    /// What serving needs.
    pub serving: ServingConfig,
}

/// The part of the configuration that traffic needs.
#[derive(Clone, Debug)]
pub struct ServingConfig {
    /// Origins that may be reached.
    pub allow: AllowList,
    /// Opens credentials of apps; none: no app that needs one can be used.
    pub keyring: Option<Arc<Keyring>>,
    /// Threads that carry traffic.
    pub workers: Threads,
    /// Uplinks with one edge.
    pub uplinks_per_edge_max: NonZeroUsize,
    /// Requests at once on one uplink.
    pub streams_max: u32,
    /// How edges are reached over TCP.
    pub way_out: WayOut,
    /// Where edges are dialled over QUIC; none: in the system's network.
    pub network: Option<Arc<dyn Network>>,
    /// What carries uplinks.
    pub transports: Transports,
    /// Longest pause between tries of QUIC while TCP carries an uplink.
    pub climb_pause: Duration,
    /// The agent's account in a Kerberos domain.
    pub kerberos: Option<KerberosConfig>,
}

/// What may carry uplinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transports {
    /// QUIC, and TCP where and while that does not work.
    #[default]
    Auto,
    /// This one alone.
    Only(Transport),
}

impl Transports {
    /// The word for it in a configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Only(transport) => transport.as_str(),
        }
    }
}

impl FromStr for Transports {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "quic" => Ok(Self::Only(Transport::Quic)),
            "tcp" => Ok(Self::Only(Transport::Tcp)),
            _ => Err("must be auto, quic or tcp"),
        }
    }
}

impl Default for ServingConfig {
    fn default() -> Self {
        Self {
            allow: AllowList::all(),
            keyring: None,
            workers: Threads::Own(Workers::default_count()),
            uplinks_per_edge_max: NonZeroUsize::new(DEFAULT_UPLINKS_PER_EDGE_MAX)
                .unwrap_or(NonZeroUsize::MIN),
            streams_max: DEFAULT_STREAMS_MAX,
            way_out: WayOut::default(),
            network: None,
            transports: Transports::Auto,
            climb_pause: CLIMB_PAUSE,
            kerberos: None,
        }
    }
}

impl Config {
    /// Reads what was written.
    ///
    /// # Errors
    /// Everything that is wrong with it, each problem with its key, added to `problems`.
    pub fn new(raw: RawConfig, mut problems: Problems) -> Result<Self, Problems> {
        let found = &mut problems;
        let token = token(&raw, found);
        let id = id(raw.name.as_deref(), found);
        let way_out = way_out(&raw, found);
        let admin = admin(raw.admin.as_deref(), found);
        let drain_deadline = drain_deadline(raw.drain_deadline.as_deref(), found);
        let serving = serving(&raw, found);
        let vault_key_file = raw.vault_key_file.clone();
        let kerberos = kerberos::read(raw.kerberos.as_ref(), found);
        let log = found.log_filter(raw.log);
        let data_directory = data_directory(raw.ephemeral, raw.data_dir, &token, found);
        let config = (|| {
            Some(Self {
                data_directory: data_directory?,
                token: token?,
                id: id?,
                way_out: way_out?,
                admin: admin?,
                drain_deadline: drain_deadline?,
                log,
                vault_key_file,
                serving: ServingConfig {
                    kerberos: kerberos?,
                    ..serving?
                },
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
        let (proxy_password_file, proxy_password_env) = self.way_out.written_password();
        RawConfig {
            data_dir: self.data_directory.clone(),
            ephemeral: Some(self.data_directory.is_none()),
            join_token: None,
            join_token_file,
            join_token_env,
            name: self.id.as_ref().map(ToString::to_string),
            proxy: self.way_out.written_proxy(),
            proxy_password_file,
            proxy_password_env,
            no_proxy: self.way_out.written_unproxied(),
            vault_key_file: self.vault_key_file.clone(),
            allow: Some(self.serving.allow.to_strings()),
            workers: Some(self.serving.workers.count().get()),
            uplinks_per_edge_max: Some(self.serving.uplinks_per_edge_max.get()),
            streams_max: Some(self.serving.streams_max),
            transport: Some(self.serving.transports.as_str().to_owned()),
            admin: Some(self.admin.to_string()),
            drain_deadline: Some(config::written_duration(self.drain_deadline)),
            log: self.log.clone(),
            kerberos: self.serving.kerberos.as_ref().map(KerberosConfig::written),
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

fn data_directory(
    ephemeral: Option<bool>,
    written: Option<PathBuf>,
    token: &Option<Option<TokenSource>>,
    found: &mut Problems,
) -> Option<Option<PathBuf>> {
    if ephemeral != Some(true) {
        let default = || PathBuf::from(DEFAULT_DATA_DIRECTORY);
        return Some(Some(written.unwrap_or_else(default)));
    }
    if written.is_some() {
        found.add(
            "data_dir",
            "is of no use to an ephemeral agent, which keeps nothing",
        );
    }
    if matches!(token, Some(None)) {
        found.add(
            "join_token_file",
            "an ephemeral agent joins anew at every start, by a token",
        );
    }
    Some(None)
}

fn way_out(raw: &RawConfig, found: &mut Problems) -> Option<WayOutSettings> {
    let written = RawWayOut {
        proxy: raw.proxy.as_deref(),
        password_file: raw.proxy_password_file.as_deref(),
        password_env: raw.proxy_password_env.as_deref(),
        unproxied: raw.no_proxy.as_deref(),
    };
    WayOutSettings::new(written, found)
}

fn id(name: Option<&str>, found: &mut Problems) -> Option<Option<AgentId>> {
    match name {
        Some(name) => found.take("name", name.parse()).map(Some),
        None => Some(None),
    }
}

fn admin(text: Option<&str>, found: &mut Problems) -> Option<SocketAddr> {
    text.map_or(Some(DEFAULT_ADMIN), |text| found.address("admin", text))
}

fn drain_deadline(text: Option<&str>, found: &mut Problems) -> Option<Duration> {
    text.map_or(Some(DEFAULT_DRAIN_DEADLINE), |text| {
        found.take("drain_deadline", config::duration(text))
    })
}

fn serving(raw: &RawConfig, found: &mut Problems) -> Option<ServingConfig> {
    let default = ServingConfig::default();
    let allow = allow(raw.allow.as_deref(), default.allow, found);
    let keyring = keyring(raw.vault_key_file.as_deref(), found);
    let workers = count("workers", raw.workers, default.workers.count(), found);
    let uplinks = count(
        "uplinks_per_edge_max",
        raw.uplinks_per_edge_max,
        default.uplinks_per_edge_max,
        found,
    );
    let streams = streams_max(raw.streams_max.unwrap_or(DEFAULT_STREAMS_MAX), found);
    let transports = raw.transport.as_deref().unwrap_or("auto").parse();
    let transports = found.take("transport", transports);
    Some(ServingConfig {
        allow: allow?,
        keyring: keyring?,
        workers: Threads::Own(workers?),
        uplinks_per_edge_max: uplinks?,
        streams_max: streams?,
        way_out: default.way_out,
        network: None,
        transports: transports?,
        climb_pause: default.climb_pause,
        kerberos: default.kerberos,
    })
}

fn keyring(path: Option<&Path>, found: &mut Problems) -> Option<Option<Arc<Keyring>>> {
    let Some(path) = path else {
        return Some(None);
    };
    let keyring = Keyring::read(path).map(|keys| Some(Arc::new(keys)));
    let keyring = keyring.map_err(|error| format!("{}: {}", path.display(), chain(&error)));
    found.take("vault_key_file", keyring)
}

fn streams_max(streams: u32, found: &mut Problems) -> Option<u32> {
    if (1..=DEFAULT_STREAMS_MAX).contains(&streams) {
        return Some(streams);
    }
    found.add(
        "streams_max",
        format_args!("must be 1 to {DEFAULT_STREAMS_MAX}"),
    );
    None
}

fn count(
    key: &str,
    written: Option<usize>,
    default: NonZeroUsize,
    found: &mut Problems,
) -> Option<NonZeroUsize> {
    let Some(count) = written else {
        return Some(default);
    };
    let count = NonZeroUsize::new(count).filter(|count| count.get() <= COUNT_MAX);
    if count.is_none() {
        found.add(key, format_args!("must be 1 to {COUNT_MAX}"));
    }
    count
}

fn allow(texts: Option<&[String]>, default: AllowList, found: &mut Problems) -> Option<AllowList> {
    let Some(texts) = texts else {
        return Some(default);
    };
    if texts.len() > PATTERNS_MAX {
        found.add(
            "allow",
            format_args!("must have at most {PATTERNS_MAX} patterns"),
        );
        return None;
    }
    let patterns: Vec<Option<AllowPattern>> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| found.take(&format!("allow[{index}]"), text.parse()))
        .collect();
    patterns
        .into_iter()
        .collect::<Option<_>>()
        .map(AllowList::new)
}

/// Where an id that nobody chose is kept: a start whose answer was lost on the way asks for the same one again.
const ID_FILE: &str = "agent.id";

/// The id that an agent had at its first start, if nobody chose one.
pub(crate) fn kept_id(directory: &Path) -> String {
    let path = directory.join(ID_FILE);
    let kept = file::read_private(&path).ok();
    let kept = kept.and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some(id) = kept.filter(|id| id.parse::<AgentId>().is_ok()) {
        return id;
    }
    let id = default_id();
    // A folder that cannot be written stops the enrolment a moment later, which tells more about it.
    let _ = file::make_private_directory(directory)
        .and_then(|()| file::replace(&path, id.as_bytes(), file::PRIVATE));
    id
}

/// An id for one start, beginning with the name that was chosen, or the machine's.
pub(crate) fn passing_id(name: Option<&AgentId>) -> String {
    let prefix = name.map_or_else(machine_name, ToString::to_string);
    let suffix: u32 = rand::random();
    let room = ID_BYTES_MAX - "-ffffffff".len();
    let prefix: String = prefix.chars().take(room).collect();
    format!("{}-{suffix:08x}", prefix.trim_end_matches('-'))
}

/// Machines cloned from one image share their name, so a few random digits follow it.
fn default_id() -> String {
    let suffix: u16 = rand::random();
    format!("{}-{suffix:04x}", machine_name())
}

fn machine_name() -> String {
    id_like(&system::machine_name().unwrap_or_default())
}

/// The part of a name that an id may have.
fn id_like(name: &str) -> String {
    let first_label = name.trim().split('.').next().unwrap_or_default();
    let plain: String = first_label
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(ID_BYTES_MAX - "-ffff".len())
        .collect();
    match plain.trim_matches('-') {
        "" => "agent".to_owned(),
        plain => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_written_means_the_defaults() {
        let config = Config::new(RawConfig::default(), Problems::new()).unwrap();
        assert_eq!(config.admin, DEFAULT_ADMIN);
        assert_eq!(config.drain_deadline, DEFAULT_DRAIN_DEADLINE);
        assert_eq!(config.serving.allow, AllowList::all());
        assert!(config.token.is_none());
    }

    #[test]
    fn every_problem_is_told_with_its_key() {
        let raw = RawConfig {
            join_token: Some(Secret::new("t".to_owned())),
            join_token_file: Some("/t".into()),
            name: Some("Not An Id".to_owned()),
            proxy: Some("http://ann:pw@proxy:3128".to_owned()),
            allow: Some(vec!["wiki:80".to_owned(), "wiki".to_owned()]),
            workers: Some(0),
            uplinks_per_edge_max: Some(1_000),
            streams_max: Some(0),
            transport: Some("udp".to_owned()),
            admin: Some("here".to_owned()),
            drain_deadline: Some("soon".to_owned()),
            log: Some("agent=loud".to_owned()),
            ..RawConfig::default()
        };
        let problems = Config::new(raw, Problems::new()).unwrap_err();
        let keys: Vec<_> = problems.found().iter().map(|p| p.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "join_token",
                "name",
                "proxy",
                "admin",
                "drain_deadline",
                "allow[1]",
                "workers",
                "uplinks_per_edge_max",
                "streams_max",
                "transport",
                "log",
            ]
        );
    }

    #[test]
    fn an_ephemeral_agent_has_a_token_and_nothing_else_to_keep() {
        let ephemeral = || RawConfig {
            ephemeral: Some(true),
            ..RawConfig::default()
        };
        let told = |raw| {
            let problems = Config::new(raw, Problems::new()).unwrap_err();
            let keys = problems.found().iter().map(|found| found.key.clone());
            keys.collect::<Vec<_>>()
        };
        assert_eq!(told(ephemeral()), ["join_token_file"]);
        let wrong = RawConfig {
            data_dir: Some("agent".into()),
            join_token_file: Some("token".into()),
            ..ephemeral()
        };
        assert_eq!(told(wrong), ["data_dir"]);
        let right = RawConfig {
            join_token_file: Some("token".into()),
            ..ephemeral()
        };
        let config = Config::new(right, Problems::new()).unwrap();
        assert_eq!(config.data_directory, None);
        assert_eq!(config.written().ephemeral, Some(true));
        let long: AgentId = "x".repeat(ID_BYTES_MAX).parse().unwrap();
        for name in [None, Some(&"web".parse().unwrap()), Some(&long)] {
            let (one, other) = (passing_id(name), passing_id(name));
            assert!(one.parse::<AgentId>().is_ok(), "{one}");
            assert_ne!(one, other);
        }
    }

    #[test]
    fn every_hostname_gives_an_id() {
        for (hostname, want) in [
            ("web-1.example.com\n", "web-1"),
            ("WEB_1", "web-1"),
            ("", "agent"),
            ("--", "agent"),
            (&"x".repeat(100), &"x".repeat(58)),
        ] {
            assert_eq!(id_like(hostname), want);
        }
        assert!(default_id().parse::<AgentId>().is_ok());
        let folder = tempfile::tempdir().unwrap();
        let first = kept_id(&folder.path().join("agent"));
        assert_eq!(kept_id(&folder.path().join("agent")), first);
    }
}
