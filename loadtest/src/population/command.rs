//! `adit-loadtest population`.

use std::{io::Write as _, num::NonZeroUsize, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Args;
use runtime::{Clock, Scope, descriptors, shutdown};

use super::{Options, Part};

/// Measures one edge and one control amid simulated agents, users, edges and apps, against the bars
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  adit-loadtest population\n  adit-loadtest population --only links --agents 1000 --json\n  adit-loadtest population --only departures"
)]
pub struct Command {
    /// Parts to measure [default: all of them]
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    only: Vec<Part>,
    /// Simulated agents
    #[arg(long, default_value = "5000")]
    agents: NonZeroUsize,
    /// Users who connect to the real edge and stay
    #[arg(long, default_value = "5000")]
    users: usize,
    /// Threads that carry traffic in the real edge
    #[arg(long, default_value = "2")]
    workers: NonZeroUsize,
    /// How long the edge is watched while nothing happens
    #[arg(long, default_value = "1m", value_parser = runtime::config::duration)]
    quiet: Duration,
    /// How long a process is given to settle before its memory is read
    #[arg(long, default_value = "10s", value_parser = runtime::config::duration)]
    settle: Duration,
    /// Simulated edges
    #[arg(long, default_value = "50")]
    edges: NonZeroUsize,
    /// Apps that they hold
    #[arg(long, default_value = "10000")]
    apps: usize,
    /// Publications that are timed
    #[arg(long, default_value = "100")]
    publications: u32,
    /// From the start of one to the start of the next
    #[arg(long, default_value = "500ms", value_parser = runtime::config::duration)]
    every: Duration,
    /// Apps with which the real edge starts
    #[arg(long, default_value = "50000")]
    catalogue: usize,
    /// Downloads that are left in the middle
    #[arg(long, default_value = "10000")]
    aborts: u64,
    /// Agents that die with requests under way
    #[arg(long, default_value = "2000")]
    deaths: usize,
    /// So many at the same moment
    #[arg(long, default_value = "200")]
    dying: NonZeroUsize,
    /// The adit program to measure [default: adit, beside this program]
    #[arg(long, value_name = "FILE")]
    adit: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Measures and prints. It fails if a bar is missed. Ends early, with all that it started, when the process is asked to end.
    ///
    /// # Errors
    /// Those of [`super::run`].
    pub async fn run(self, clock: &Clock, scope: &Scope) -> anyhow::Result<ExitCode> {
        descriptors::raise().context("asking for enough file descriptors")?;
        let options = self.options()?;
        let say = |line: &str| {
            // Nobody has to watch.
            let _ = writeln!(std::io::stderr(), "{line}");
        };
        let outcome = tokio::select! {
            outcome = Box::pin(super::run(&options, clock, scope, &say)) => outcome?,
            signal = shutdown::signal(scope) => anyhow::bail!("asked to end by {}", signal?),
        };
        let text = if self.json {
            serde_json::to_string_pretty(&outcome).context("writing the outcome as JSON")?
        } else {
            outcome.to_string()
        };
        writeln!(std::io::stdout(), "{text}").context("printing the outcome")?;
        Ok(if outcome.passed() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn options(&self) -> anyhow::Result<Options> {
        let adit = match &self.adit {
            Some(adit) => std::path::absolute(adit)?,
            None => std::env::current_exe()
                .context("finding this program")?
                .with_file_name("adit"),
        };
        anyhow::ensure!(
            adit.exists(),
            "there is no {}: build it (cargo build --release) or say --adit FILE",
            adit.display()
        );
        let all = [
            Part::Departures,
            Part::Links,
            Part::Publications,
            Part::Catalogue,
        ];
        let is_wanted = |part: &Part| self.only.is_empty() || self.only.contains(part);
        Ok(Options {
            adit,
            parts: all.into_iter().filter(is_wanted).collect(),
            agents: self.agents,
            users: self.users,
            workers: self.workers,
            quiet: self.quiet,
            settle: self.settle,
            edges: self.edges,
            apps: self.apps,
            publications: self.publications,
            every: self.every,
            catalogue: self.catalogue,
            aborts: self.aborts,
            deaths: self.deaths,
            dying: self.dying,
        })
    }
}
