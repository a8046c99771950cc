//! `adit-loadtest compare`.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use runtime::{Clock, Scope, shutdown};

use super::{Options, bars, compare, outcome::Outcome, page, table};
use crate::{
    progress::Progress,
    scenario::{self, Scenario},
};

/// How long a load is on when nobody measures.
const QUICK: Duration = Duration::from_millis(400);

/// Puts the same loads on the fabric and on its peers in turns, and compares
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  adit-loadtest compare\n  adit-loadtest compare --targets adit,nginx-nginx --rounds 3 --out compared"
)]
pub struct Command {
    /// Targets to compare: names of files in --folder [default: all of them]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    targets: Vec<String>,
    /// The loads: a file, or the name of one of this project's [default: those that the bars are about]
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Only these loads of the scenario
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    loads: Vec<String>,
    /// How often each load is put on each target
    #[arg(long, default_value = "5")]
    rounds: std::num::NonZeroUsize,
    /// Where the JSON file and the page go [default: compared, beside this program's folder]
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    /// How long each load is on, whatever the scenario says
    #[arg(long, value_parser = runtime::config::duration, conflicts_with = "quick")]
    duration: Option<Duration>,
    /// Only a moment of each load: to see that everything works, not to measure
    #[arg(long)]
    quick: bool,
    /// Folder with the files of the targets
    #[arg(long, value_name = "DIRECTORY", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/targets"))]
    folder: PathBuf,
    /// File with the bars to pass [default: those of this project]
    #[arg(long, value_name = "FILE")]
    bars: Option<PathBuf>,
    /// The adit program to measure [default: built from this checkout]
    #[arg(long, value_name = "FILE")]
    adit: Option<PathBuf>,
    /// Folder that stays, for peers that have to be built [default: peers, beside this program's folder]
    #[arg(long, value_name = "DIRECTORY")]
    cache: Option<PathBuf>,
    /// Where the origin keeps its files, which come to a GiB at times [default: memory]
    #[arg(long, value_name = "DIRECTORY")]
    origin_folder: Option<PathBuf>,
}

impl Command {
    /// Compares, prints the table, and writes the files. Ends early, with all targets, when the process is asked to end.
    pub async fn run(self, clock: &Clock, scope: &Scope) -> anyhow::Result<()> {
        let bars = match &self.bars {
            Some(path) => {
                fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?
            }
            None => bars::OURS.to_owned(),
        };
        let bars = bars::parse(&bars)?;
        let scenario = self.scenario()?;
        let options = self.options()?;
        // Asked for before the first minute is spent.
        let out = self.out.clone().map_or_else(|| beside("compared"), Ok)?;
        fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;
        let progress = Progress::new();
        let outcome = tokio::select! {
            outcome = compare(&options, &scenario, &bars, clock, &progress) => outcome?,
            signal = shutdown::signal(scope) => anyhow::bail!("asked to end by {}", signal?),
        };
        drop(progress);
        write(&out, &outcome)?;
        let text = table::write(&outcome);
        writeln!(
            std::io::stdout(),
            "{text}\n{}",
            out.join("index.html").display()
        )
        .context("printing the table")
    }

    /// The loads that were asked for, as long as was asked for.
    fn scenario(&self) -> anyhow::Result<Scenario> {
        let mut scenario = match &self.scenario {
            Some(path) => scenario::read(path)?,
            None => scenario::parse(scenario::BARS)?,
        };
        scenario.select(&self.loads)?;
        let duration = if self.quick {
            Some(QUICK)
        } else {
            self.duration
        };
        for load in &mut scenario.loads {
            load.duration = duration.unwrap_or(load.duration);
        }
        Ok(scenario)
    }

    fn options(&self) -> anyhow::Result<Options> {
        let folder = |path: &Path| {
            std::path::absolute(path).with_context(|| format!("finding {}", path.display()))
        };
        Ok(Options {
            folder: folder(&self.folder)?,
            targets: self.targets.clone(),
            rounds: self.rounds.get(),
            cache: self
                .cache
                .as_deref()
                .map_or_else(|| beside("peers"), folder)?,
            adit: self.adit.as_deref().map(folder).transpose()?,
            origin_folder: self.origin_folder.as_deref().map(folder).transpose()?,
            command: std::env::args().collect::<Vec<_>>().join(" "),
        })
    }
}

/// A folder of the build: `target/NAME` for `target/release/adit-loadtest`.
fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("finding this program")?;
    let build = program.parent().and_then(Path::parent);
    Ok(build.context("this program is in no folder")?.join(name))
}

fn write(folder: &Path, outcome: &Outcome) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(outcome).context("writing the outcome as JSON")?;
    for (name, text) in [("outcome.json", json), ("index.html", page::write(outcome))] {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
