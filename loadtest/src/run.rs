//! Puts loads on one URL: a rate of GETs without a subcommand, the loads of a scenario by `adit-loadtest run`.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use http::Uri;
use runtime::{Clock, Scope};
use serde::Serialize;

use crate::{
    Load, Tally, Target, engine,
    progress::Progress,
    scenario::{self, Arrivals, Ask, Pacing, Speaks},
};

/// How long after it was due a request is given up.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where a target is.
#[derive(Debug, Args)]
struct Place {
    /// Where to connect, whatever the URL's host resolves to
    #[arg(long, value_name = "ADDRESS:PORT")]
    connect: SocketAddr,
    /// PEM roots that the certificate is checked against
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Place {
    fn target(&self, url: &Uri) -> anyhow::Result<Target> {
        let read =
            |path: &PathBuf| fs::read(path).with_context(|| format!("reading {}", path.display()));
        let ca = self.ca.as_ref().map(read).transpose()?;
        Ok(Target::new(
            url.clone(),
            self.connect,
            &ca.unwrap_or_default(),
        )?)
    }
}

/// A constant rate of GETs.
#[derive(Debug, Args)]
pub struct Gets {
    /// What to get
    url: Uri,
    // Not as a `Place`: clap overlooks an optional group in which another one is.
    /// Where to connect, whatever the URL's host resolves to
    #[arg(long, value_name = "ADDRESS:PORT")]
    connect: SocketAddr,
    /// PEM roots that the certificate is checked against
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Requests started per second
    #[arg(long, default_value = "100")]
    rate: NonZeroU32,
    /// How long requests are started
    #[arg(long, default_value = "10s", value_parser = runtime::config::duration)]
    duration: Duration,
    /// Connections that take turns; when all of them wait for answers, the next request is late, and charged for it
    #[arg(long, default_value = "100")]
    connections: NonZeroUsize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Gets {
    /// Puts the load and prints the report. Whether every request was answered.
    pub async fn run(self, clock: &Clock, scope: &Scope) -> anyhow::Result<bool> {
        let (connect, ca) = (self.connect, self.ca);
        let target = Place { connect, ca }.target(&self.url)?;
        let load = gets(&target, self.rate, self.connections, self.duration);
        let tally = engine::run(&target, &load, 1, clock, scope).await?;
        let text = if self.json {
            tally.to_json().to_string()
        } else {
            tally.to_string()
        };
        print(&text)?;
        Ok(tally.failed() == 0)
    }
}

/// GETs of the target's own path over HTTP/1.1, at a constant rate.
pub fn gets(
    target: &Target,
    rate: NonZeroU32,
    connections: NonZeroUsize,
    duration: Duration,
) -> Load {
    Load {
        name: "gets".into(),
        about: String::new(),
        protocol: Speaks::Http1,
        ask: Ask::Get,
        pacing: Pacing::Open {
            rate: rate.get().into(),
            arrivals: Arrivals::Constant,
        },
        connections,
        streams: NonZeroUsize::MIN,
        threads: NonZeroUsize::MIN,
        duration,
        timeout: TIMEOUT,
        paths: vec![target.path()],
        bytes: None,
        leave_after: None,
        keep_alive: true,
        resume: true,
        sweep: None,
    }
}

/// Puts the loads of a scenario on one URL
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  adit-loadtest run bars --url https://hello.localhost:8443 --connect 127.0.0.1:8443 --ca control/ca.pem"
)]
pub struct Command {
    /// The scenario: a file, or the name of one of this project's, bars or wide
    scenario: PathBuf,
    /// Scheme, host and port of what is asked; the paths are the scenario's
    #[arg(long)]
    url: Uri,
    #[command(flatten)]
    place: Place,
    /// Only these loads of the scenario
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    loads: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What came of one load.
#[derive(Debug, Serialize)]
struct Line {
    name: String,
    about: String,
    seed: u64,
    tally: serde_json::Value,
}

impl Command {
    /// Puts the loads and prints a report of each. Whether every request was answered.
    pub async fn run(self, clock: &Clock, scope: &Scope) -> anyhow::Result<bool> {
        let target = self.place.target(&self.url)?;
        let mut scenario = scenario::read(Path::new(&self.scenario))?;
        scenario.select(&self.loads)?;
        let progress = Progress::new();
        let (mut lines, mut failed) = (Vec::new(), 0);
        for load in &scenario.loads {
            progress.begin(&format!("{} for {:?}", load.name, load.duration));
            let tally = put(&target, load, scenario.seed, clock, scope, &progress).await;
            let tally = tally.with_context(|| format!("the load {}", load.name))?;
            failed += tally.failed();
            if self.json {
                lines.push(Line {
                    name: load.name.clone(),
                    about: load.about.clone(),
                    seed: scenario.seed,
                    tally: tally.to_json(),
                });
            } else {
                progress.now("");
                print(&format!("{}: {}\n{tally}\n", load.name, load.about))?;
            }
        }
        if self.json {
            print(&serde_json::to_string_pretty(&lines).context("writing JSON")?)?;
        }
        Ok(failed == 0)
    }
}

async fn put(
    target: &Target,
    load: &Load,
    seed: u64,
    clock: &Clock,
    scope: &Scope,
    progress: &Progress,
) -> anyhow::Result<Tally> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut run = std::pin::pin!(engine::run(target, load, seed, clock, scope));
    loop {
        tokio::select! {
            tally = &mut run => return Ok(tally?),
            _ = ticks.tick() => progress.tick(),
        }
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("printing")
}
