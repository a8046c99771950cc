//! A run as a file: loads, one after the other, with everything that is needed to repeat them.

mod keys;

use std::{fmt, fs, num::NonZeroUsize, path::Path, time::Duration};

use anyhow::Context as _;
use http::uri::PathAndQuery;
use toml::Table;

pub use self::keys::Fault;
use self::keys::Keys;

/// Loads of one scenario; one that takes longer than a night helps nobody.
const LOADS_MAX: usize = 200;
/// Users of one load: connections times streams.
const USERS_MAX: u64 = 20_000;
/// Threads of the generator.
const THREADS_MAX: u64 = 64;
/// Bodies, messages and answers.
const BYTES_MAX: u64 = 1 << 40;
/// Messages of WebSockets and gRPC are held whole.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
/// Requests a second.
const RATE_MAX: f64 = 1e6;
/// How long a load may be on.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// What a load is on for unless it says.
const DURATION: Duration = Duration::from_secs(8);
/// How long after it was due a request is given up, unless the load says.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The loads that the bars of this project are about.
pub const BARS: &str = include_str!("../scenarios/bars.toml");

/// More than the bars: every protocol, new connections, live streams, and latency at rising rates.
pub const WIDE: &str = include_str!("../scenarios/wide.toml");

/// Users who leave in the middle, for `adit-loadtest population`.
pub const DEPARTURES: &str = include_str!("../scenarios/departures.toml");

/// Loads, and the seed of all chance in them.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Where chance begins.
    pub seed: u64,
    /// The loads, in their order.
    pub loads: Vec<Load>,
}

/// One load.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Its name, by which bars find it.
    pub name: String,
    /// What it does, for people.
    pub about: String,
    /// How users speak.
    pub protocol: Speaks,
    /// What they do.
    pub ask: Ask,
    /// When they do it.
    pub pacing: Pacing,
    /// Connections, over all threads.
    pub connections: NonZeroUsize,
    /// Requests at once on each of them.
    pub streams: NonZeroUsize,
    /// Threads that users are spread over.
    pub threads: NonZeroUsize,
    /// How long requests are started.
    pub duration: Duration,
    /// How long after it was due a request is given up.
    pub timeout: Duration,
    /// What is asked for; each request picks one by chance. Never empty.
    pub paths: Vec<PathAndQuery>,
    /// Bytes that a get has to bring, that a put brings, or of a message that is echoed.
    pub bytes: Option<u64>,
    /// Bytes of an answer after which the user of a get leaves: the rest is wanted no more. It counts as answered.
    pub leave_after: Option<u64>,
    /// Whether connections serve one request after the other, or only one.
    pub keep_alive: bool,
    /// Whether new connections resume a TLS session.
    pub resume: bool,
    /// The name of the sweep that it is a part of.
    pub sweep: Option<String>,
}

/// A protocol, as users speak it and targets offer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
    /// gRPC over HTTP/2, which not everything that speaks HTTP/2 forwards.
    Grpc,
    /// Streams of QUIC without HTTP, as `adit-loadtest quinn-server` takes them.
    Quinn,
}

impl fmt::Display for Speaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
            Self::Grpc => "gRPC",
            Self::Quinn => "plain streams of QUIC",
        })
    }
}

/// What users do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// GET, to the end of the body.
    Get,
    /// PUT with a body of known length.
    Put,
    /// Reads server-sent events; each counts as an answer.
    Events,
    /// Sends a message over a WebSocket and waits for its echo.
    WebSocket,
    /// Calls a unary method of gRPC that echoes.
    Grpc,
}

impl Ask {
    /// The method of HTTP.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Get | Self::Events | Self::WebSocket => "GET",
            Self::Put => "PUT",
            Self::Grpc => "POST",
        }
    }

    /// Whether the origin has to be one that answers while it is asked, which a server of files does not.
    pub fn is_live(self) -> bool {
        match self {
            Self::Get | Self::Put => false,
            Self::Events | Self::WebSocket | Self::Grpc => true,
        }
    }
}

/// When requests start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pacing {
    /// Each user asks again as soon as it has an answer.
    Closed,
    /// At a rate, whether or not there are answers.
    Open {
        /// Requests a second, of all users together.
        rate: f64,
        /// How they are spread.
        arrivals: Arrivals,
    },
}

/// How the starts of an open loop are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrivals {
    /// Evenly.
    Constant,
    /// By chance, as those of many users who do not know of each other.
    Poisson,
}

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It is no TOML.
    #[error("the scenario is no TOML")]
    Toml(#[source] toml::de::Error),
    /// Keys that are missing, unknown, or hold what they must not.
    #[error("the scenario has faults:{}", .0.iter().map(|fault| format!("\n  {fault}")).collect::<String>())]
    Faults(Vec<Fault>),
}

impl Scenario {
    /// Keeps the loads that are named, and those of sweeps that are; all of them without names.
    pub fn select(&mut self, names: &[String]) -> anyhow::Result<()> {
        let meant =
            |load: &Load, name: &String| load.name == *name || load.sweep.as_ref() == Some(name);
        let nobody = |name: &&String| !self.loads.iter().any(|load| meant(load, name));
        if let Some(unknown) = names.iter().find(nobody) {
            let known: Vec<&str> = self.loads.iter().map(|load| load.name.as_str()).collect();
            anyhow::bail!("no load {unknown}; there are {}", known.join(", "));
        }
        self.loads
            .retain(|load| names.is_empty() || names.iter().any(|name| meant(load, name)));
        Ok(())
    }
}

impl Load {
    /// Bytes of the body that each request brings.
    pub(crate) fn upload_bytes(&self) -> u64 {
        match self.ask {
            Ask::Put => self.bytes.unwrap_or(0),
            Ask::Get | Ask::Events | Ask::WebSocket | Ask::Grpc => 0,
        }
    }

    /// Bytes of the body that each answer has to have, where that is known.
    pub(crate) fn answer_bytes(&self) -> Option<u64> {
        match self.ask {
            Ask::Get if self.leave_after.is_none() => self.bytes,
            Ask::Get => None,
            Ask::Put | Ask::Events | Ask::WebSocket | Ask::Grpc => None,
        }
    }

    /// Bytes of a message that is echoed.
    pub(crate) fn message_bytes(&self) -> u32 {
        u32::try_from(self.bytes.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// What a target has to offer for it.
    pub fn needs(&self) -> Speaks {
        match self.ask {
            Ask::Grpc => Speaks::Grpc,
            Ask::Get | Ask::Put | Ask::Events | Ask::WebSocket => self.protocol,
        }
    }

    /// Requests that may be under way at once.
    pub fn users(&self) -> usize {
        self.connections.get() * self.streams.get()
    }

    /// The same work as plain streams of QUIC on one connection; `None` where that would not be the same.
    #[must_use]
    pub fn plain(&self) -> Option<Self> {
        let is_whole = self.bytes.is_some() && self.leave_after.is_none();
        let whole = is_whole && matches!(self.ask, Ask::Get | Ask::Put);
        (whole && self.keep_alive).then(|| Self {
            protocol: Speaks::Quinn,
            connections: NonZeroUsize::MIN,
            streams: self.connections.saturating_mul(self.streams),
            threads: NonZeroUsize::MIN,
            ..self.clone()
        })
    }
}

/// Reads the scenario in a file; a bare name is that of one of this project's.
pub fn read(path: &Path) -> anyhow::Result<Scenario> {
    let ours = [("bars", BARS), ("wide", WIDE)];
    if let Some((_, text)) = ours.iter().find(|(name, _)| path == Path::new(name)) {
        return Ok(parse(text)?);
    }
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(parse(&text)?)
}

/// Reads a scenario. All faults are told at once.
pub fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    let table: Table = toml::from_str(text).map_err(ScenarioError::Toml)?;
    let mut faults = Vec::new();
    let mut keys = Keys::new(table, String::new());
    let seed = keys.whole("seed", 0..=u64::MAX).unwrap_or(1);
    let tables = keys.tables("load");
    if !(1..=LOADS_MAX).contains(&tables.len()) {
        keys.fault("load", format!("between 1 and {LOADS_MAX} are needed"));
    }
    faults.append(&mut keys.end());
    let mut loads: Vec<Load> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let mut keys = Keys::new(table, place(index));
        for load in read_load(&mut keys) {
            if loads.iter().any(|other| other.name == load.name) {
                keys.fault("name", format!("there is another load {}", load.name));
            }
            loads.push(load);
        }
        faults.append(&mut keys.end());
    }
    if faults.is_empty() {
        Ok(Scenario { seed, loads })
    } else {
        Err(ScenarioError::Faults(faults))
    }
}

/// Where a load stands in its file, for people.
fn place(index: usize) -> String {
    format!("load {}: ", index + 1)
}

/// The loads of one table: one, or one for each rate of a sweep.
fn read_load(keys: &mut Keys) -> Vec<Load> {
    let name = keys.required("name", "", Keys::text).unwrap_or_default();
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if !name.bytes().all(fine) {
        keys.fault("name", "has to be letters, digits, - and .");
    }
    let ask = ask(keys);
    let protocol = protocol(keys, ask);
    let one = NonZeroUsize::MIN;
    let load = Load {
        about: keys.text("about").unwrap_or_default(),
        protocol,
        ask,
        pacing: Pacing::Closed,
        connections: keys.count("connections", USERS_MAX).unwrap_or(one),
        streams: keys.count("streams", USERS_MAX).unwrap_or(one),
        threads: keys.count("threads", THREADS_MAX).unwrap_or(one),
        duration: keys.time("duration", DURATION_MAX).unwrap_or(DURATION),
        timeout: keys.time("timeout", DURATION_MAX).unwrap_or(TIMEOUT),
        paths: paths(keys),
        bytes: keys.size("bytes", BYTES_MAX),
        leave_after: keys.size("leave_after", BYTES_MAX),
        keep_alive: keys.flag("keep_alive").unwrap_or(true),
        resume: keys.flag("resume").unwrap_or(true),
        sweep: None,
        name,
    };
    check(keys, &load);
    paced(keys, load)
}

fn ask(keys: &mut Keys) -> Ask {
    keys.word(
        "ask",
        &[
            ("get", Ask::Get),
            ("put", Ask::Put),
            ("events", Ask::Events),
            ("websocket", Ask::WebSocket),
            ("grpc", Ask::Grpc),
        ],
    )
    .unwrap_or(Ask::Get)
}

fn protocol(keys: &mut Keys, ask: Ask) -> Speaks {
    let known = [
        ("h1", Speaks::Http1),
        ("h2", Speaks::Http2),
        ("h3", Speaks::Http3),
        ("quinn", Speaks::Quinn),
    ];
    let written = keys.word("protocol", &known);
    let only = match ask {
        Ask::WebSocket => Some(Speaks::Http1),
        Ask::Grpc => Some(Speaks::Http2),
        Ask::Get | Ask::Put | Ask::Events => None,
    };
    match (written, only) {
        (Some(written), Some(only)) if written != only => {
            keys.fault("protocol", format!("this is asked over {only} only"));
            only
        }
        (written, only) => written.or(only).unwrap_or(Speaks::Http1),
    }
}

fn paths(keys: &mut Keys) -> Vec<PathAndQuery> {
    let written = keys.texts("path");
    let mut paths = Vec::new();
    for text in written.unwrap_or_else(|| vec!["/".into()]) {
        match text.parse() {
            Ok(path) if text.starts_with('/') => paths.push(path),
            _ => keys.fault("path", format!("{text:?} is no path")),
        }
    }
    if paths.is_empty() {
        paths.push(PathAndQuery::from_static("/"));
    }
    paths
}

/// What the keys of a load must be to each other.
fn check(keys: &mut Keys, load: &Load) {
    let echoed = matches!(load.ask, Ask::WebSocket | Ask::Grpc);
    if echoed && load.bytes.is_none_or(|bytes| bytes > MESSAGE_BYTES_MAX) {
        keys.fault(
            "bytes",
            format!("a message of up to {MESSAGE_BYTES_MAX} bytes is needed"),
        );
    }
    if load.ask == Ask::Put && load.bytes.is_none() {
        keys.fault("bytes", "is missing: how much is put");
    }
    if load.ask == Ask::Events && load.bytes.is_some() {
        keys.fault("bytes", "events have no length");
    }
    if load.ask != Ask::Get && load.leave_after.is_some() {
        keys.fault("leave_after", "only gets are left in the middle");
    }
    if load.protocol == Speaks::Quinn && load.plain().is_none() {
        keys.fault(
            "protocol",
            "plain streams need get or put, bytes and keep_alive, to the end",
        );
    }
    if load.paths.len() > 1 && (load.bytes.is_some() || load.ask.is_live()) {
        keys.fault("path", "only gets without bytes may have several");
    }
    let alone = load.protocol == Speaks::Http1 || !load.keep_alive;
    if alone && load.streams.get() > 1 {
        keys.fault("streams", "this connection has one request at a time");
    }
    if load.users() as u64 > USERS_MAX {
        keys.fault("connections", format!("times streams may be {USERS_MAX}"));
    }
    if !load.keep_alive && load.ask.is_live() {
        keys.fault("keep_alive", "only gets and puts can do without");
    }
}

/// The loads that come of `load` by its pace.
fn paced(keys: &mut Keys, load: Load) -> Vec<Load> {
    let arrivals = keys.word(
        "arrivals",
        &[
            ("constant", Arrivals::Constant),
            ("poisson", Arrivals::Poisson),
        ],
    );
    let kinds = [("closed", false), ("open", true)];
    let kind = keys.required("loop", ": closed or open", |keys, key| {
        keys.word(key, &kinds)
    });
    let rates = keys.numbers("rate", RATE_MAX);
    let Some(open) = kind else {
        return vec![load];
    };
    match (open, rates) {
        (false, rates) => {
            if rates.is_some() {
                keys.fault("rate", "a closed loop has none");
            }
            if arrivals.is_some() {
                keys.fault("arrivals", "a closed loop has none");
            }
            vec![load]
        }
        (true, None) => {
            keys.fault("rate", "is missing: an open loop needs it");
            vec![load]
        }
        (true, Some(_)) if load.ask == Ask::Events => {
            keys.fault("loop", "events come when they come: closed");
            vec![load]
        }
        (true, Some(rates)) => swept(&load, &rates, arrivals.unwrap_or(Arrivals::Constant)),
    }
}

fn swept(load: &Load, rates: &[f64], arrivals: Arrivals) -> Vec<Load> {
    let alone = rates.len() == 1;
    let at = |rate: &f64| {
        let pacing = Pacing::Open {
            rate: *rate,
            arrivals,
        };
        if alone {
            return Load {
                pacing,
                ..load.clone()
            };
        }
        Load {
            pacing,
            name: format!("{}-{rate}", load.name),
            about: format!("{}, {rate}/s", load.about),
            sweep: Some(load.name.clone()),
            ..load.clone()
        }
    };
    rates.iter().map(at).collect()
}

#[cfg(test)]
mod tests;
