//! Targets side by side: each load is put on one target after the other, round after round, so that whatever else the
//! machine does falls on all of them, and every figure is also told as a multiple of the yardstick's in the same round.

pub mod account;
pub mod bars;
mod command;
mod drive;
pub mod launch;
pub mod machine;
pub mod outcome;
pub mod page;
pub mod plot;
pub mod ready;
pub mod spread;
pub mod table;
mod watch;

pub use command::Command;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use runtime::Clock;
use tempfile::TempDir;

use self::{
    bars::Bar,
    launch::{Patience, Running, Started, Surroundings},
    machine::Machine,
    outcome::{Case, Outcome, TargetEntry, YARDSTICK},
};
use crate::{
    progress::Progress,
    scenario::{Load, Scenario, Speaks},
};

/// The file in the folder of targets that is the origin of all: it serves files.
const ORIGIN: &str = "origin";
/// The origin of what a server of files cannot do.
const ORIGIN_LIVE: &str = "origin-live";
/// The name that users ask for.
const HOST: &str = "load.localhost";
/// A good guess of what starting and ending one target takes.
const START_GUESS: Duration = Duration::from_secs(2);

/// What to compare, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder with the files of the targets.
    pub folder: PathBuf,
    /// Names of targets; empty for every one in the folder.
    pub targets: Vec<String>,
    /// How often each load is put on each target.
    pub rounds: usize,
    /// Folder that stays, for what takes long to build.
    pub cache: PathBuf,
    /// The `adit` program; `None` for the one built from this checkout.
    pub adit: Option<PathBuf>,
    /// Folder for the origin's files; `None` for one in memory, where the machine has it.
    pub origin_folder: Option<PathBuf>,
    /// The command that repeats the comparison.
    pub command: String,
}

/// Compares. `progress` is told how far it is.
pub async fn compare(
    options: &Options,
    scenario: &Scenario,
    bars: &[Bar],
    clock: &Clock,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    let begin = clock.now();
    let loads = &scenario.loads;
    let mut stage = Stage::set(options, scenario, clock, progress).await?;
    let here = stage
        .targets
        .iter()
        .filter(|target| target.not_here.is_none());
    let here = here.count();
    let guess = |loads: &[Load]| minutes(estimate(loads, here, options.rounds));
    progress.say(&format!(
        "{} loads on {here} targets, {} rounds: about {} minutes",
        loads.len(),
        options.rounds,
        guess(loads)
    ));
    let mut cases = Vec::new();
    for (index, load) in loads.iter().enumerate() {
        progress.say(&format!(
            "load {} of {}, {}: {}",
            index + 1,
            loads.len(),
            load.name,
            load.about
        ));
        stage.left = format!("about {} min left", guess(&loads[index..]));
        cases.push(stage.play(load).await?);
    }
    let targets = stage.end().await;
    Ok(Outcome {
        machine: Machine::this(clock),
        took_seconds: (clock.now() - begin).as_secs(),
        command: options.command.clone(),
        seed: scenario.seed,
        bars: bars.iter().map(|bar| bar.judge(&cases, &targets)).collect(),
        targets,
        cases,
    })
}

fn estimate(loads: &[Load], targets: usize, rounds: usize) -> Duration {
    let targets = u32::try_from(targets).unwrap_or(u32::MAX);
    let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
    let one = |load: &Load| (drive::warm_up(load) + load.duration) * rounds + START_GUESS;
    loads.iter().map(|load| one(load) * targets).sum()
}

fn minutes(time: Duration) -> u64 {
    time.as_secs().div_ceil(60)
}

/// Everything that stands while loads come and go.
struct Stage<'a> {
    options: &'a Options,
    seed: u64,
    clock: &'a Clock,
    progress: &'a Progress,
    /// How long it will take, for people.
    left: String,
    surroundings: Surroundings,
    targets: Vec<TargetEntry>,
    files: Running,
    live: Option<Running>,
    _work: TempDir,
    _files: TempDir,
}

impl<'a> Stage<'a> {
    async fn set(
        options: &'a Options,
        scenario: &Scenario,
        clock: &'a Clock,
        progress: &'a Progress,
    ) -> anyhow::Result<Self> {
        let work = tempfile::Builder::new()
            .prefix("adit-compare-")
            .tempdir()
            .context("making a folder")?;
        let files = files(options)?;
        fs::create_dir_all(&options.cache).context("making the cache")?;
        let surroundings = surroundings(options, work.path(), files.path())?;
        let mut targets = Vec::new();
        for name in names(options)? {
            progress.now(&format!("preparing {name}"));
            let not_here = launch::prepare(&options.folder.join(&name), &surroundings).await;
            let not_here = not_here.unwrap_or_else(|error| Some(chain(&error)));
            if let Some(why) = &not_here {
                progress.say(&format!("{name} is not here: {why}"));
            }
            targets.push(TargetEntry {
                name,
                about: None,
                not_here,
            });
        }
        let live = scenario.loads.iter().any(|load| load.ask.is_live());
        Ok(Self {
            options,
            seed: scenario.seed,
            clock,
            progress,
            left: String::new(),
            targets,
            files: origin(options, ORIGIN, &surroundings).await?,
            live: match live {
                true => Some(origin(options, ORIGIN_LIVE, &surroundings).await?),
                false => None,
            },
            surroundings,
            _work: work,
            _files: files,
        })
    }

    /// All rounds of one load.
    async fn play(&mut self, load: &Load) -> anyhow::Result<Case> {
        let mut case = Case::new(&load.name, &load.about);
        case.sweep.clone_from(&load.sweep);
        let mut running = self.start_all(load, &mut case).await;
        for round in 1..=self.options.rounds {
            for (name, target) in &mut running {
                if case.failures.contains_key(name) {
                    continue;
                }
                self.progress.begin(&format!(
                    "{}, round {round} of {}, {name}; {}",
                    load.name, self.options.rounds, self.left
                ));
                match drive::measure(load, self.seed, target, self.clock, self.progress).await {
                    Ok(measured) => {
                        self.progress.say(&format!(
                            "  round {round}, {name}: {}",
                            drive::in_short(&measured)
                        ));
                        case.rounds.entry(name.clone()).or_default().push(measured);
                    }
                    Err(error) => {
                        let why = target.ended().unwrap_or_else(|| format!("{error:#}"));
                        self.progress
                            .say(&format!("  round {round}, {name}: {why}"));
                        case.failures
                            .insert(name.clone(), format!("round {round}: {why}"));
                    }
                }
            }
            for origin in [Some(&mut self.files), self.live.as_mut()]
                .into_iter()
                .flatten()
            {
                if let Some(why) = origin.ended() {
                    bail!("the origin failed: {why}");
                }
            }
        }
        for (_, target) in running {
            target.end().await;
        }
        case.sum_up();
        Ok(case)
    }

    async fn start_all(&mut self, load: &Load, case: &mut Case) -> Vec<(String, Running)> {
        let mut running = Vec::new();
        let surroundings = self.surroundings_of(load);
        for target in self
            .targets
            .iter_mut()
            .filter(|target| target.not_here.is_none())
        {
            self.progress.now(&format!("starting {}", target.name));
            let file = self.options.folder.join(&target.name);
            let why = match launch::start(&file, &surroundings).await {
                Ok(Started::Running(started)) if drive::fitting(load, &started.ready).is_some() => {
                    target.about.clone_from(&started.about);
                    running.push((target.name.clone(), *started));
                    continue;
                }
                Ok(Started::Running(_)) => format!("does not speak {}", load.needs()),
                Ok(Started::NotHere(why)) => why,
                Err(error) => chain(&error),
            };
            self.progress.say(&format!("  {}: {why}", target.name));
            case.failures.insert(target.name.clone(), why);
        }
        running
    }

    /// The origin that the load is about, and how it has to be asked.
    fn surroundings_of(&self, load: &Load) -> Surroundings {
        let live = self.live.as_ref().filter(|_| load.ask.is_live());
        let kind = if live.is_some() { "live" } else { "files" };
        let origin = live.unwrap_or(&self.files);
        let speaks = match load.needs() {
            Speaks::Grpc => "h2c",
            Speaks::Http1 | Speaks::Http2 | Speaks::Http3 | Speaks::Quinn => "http/1.1",
        };
        let mut surroundings = self.surroundings.clone();
        surroundings.variables.extend([
            ("ORIGIN_PORT", origin.ready.port.to_string()),
            ("ORIGIN_KIND", kind.to_owned()),
            ("ORIGIN_SPEAKS", speaks.to_owned()),
        ]);
        surroundings
    }

    async fn end(self) -> Vec<TargetEntry> {
        self.files.end().await;
        if let Some(live) = self.live {
            live.end().await;
        }
        self.targets
    }
}

async fn origin(
    options: &Options,
    name: &str,
    surroundings: &Surroundings,
) -> anyhow::Result<Running> {
    let started = launch::start(&options.folder.join(name), surroundings).await;
    match started.with_context(|| format!("starting the {name}"))? {
        Started::Running(origin) => Ok(*origin),
        Started::NotHere(why) => bail!("no {name}: {why}"),
    }
}

/// An error with what caused it, on one line.
fn chain(error: &launch::LaunchError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The targets to compare: the fabric and the yardstick first, others by name.
fn names(options: &Options) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(&options.folder)
        .with_context(|| format!("reading {}", options.folder.display()))?
    {
        let entry = entry.context("reading the folder of targets")?;
        let metadata = entry.metadata().context("looking at a target")?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if metadata.is_file()
            && metadata.permissions().mode() & 0o111 != 0
            && ![ORIGIN, ORIGIN_LIVE].contains(&name.as_str())
        {
            found.push(name);
        }
    }
    found.sort_by_key(|name| (name != "adit", name != YARDSTICK, name.clone()));
    if let Some(unknown) = options.targets.iter().find(|name| !found.contains(name)) {
        bail!("no target {unknown}; there are {}", found.join(", "));
    }
    Ok(if options.targets.is_empty() {
        found
    } else {
        options.targets.clone()
    })
}

/// The folder of the origin's files, in memory where it can be.
fn files(options: &Options) -> anyhow::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("adit-compare-");
    let made = match &options.origin_folder {
        Some(folder) => builder.tempdir_in(folder),
        None if memory.is_dir() => builder.tempdir_in(memory),
        None => builder.tempdir(),
    };
    made.context("making a folder for the origin's files")
}

fn surroundings(options: &Options, work: &Path, files: &Path) -> anyhow::Result<Surroundings> {
    let mut variables = certificates(work)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    variables.extend([
        ("HOST", HOST.to_owned()),
        ("ORIGIN_ROOT", text(files)),
        ("CACHE", text(&options.cache)),
        ("CORES", machine::cores().to_string()),
        (
            "LOADTEST",
            text(&std::env::current_exe().context("finding this program")?),
        ),
        (
            "ADIT",
            options.adit.as_deref().map(text).unwrap_or_default(),
        ),
    ]);
    if let Some((name, value)) = variables
        .iter()
        .find(|(_, value)| value.contains(char::is_whitespace))
    {
        bail!("targets cannot live with spaces in a path, and {name} is {value}");
    }
    Ok(Surroundings {
        variables,
        work: work.to_owned(),
        patience: Patience::default(),
    })
}

/// A root and a certificate for [`HOST`], as most servers have them: ECDSA on P-256.
fn certificates(work: &Path) -> anyhow::Result<Vec<(&'static str, String)>> {
    // Names of their own: OpenSSL takes a certificate that is called as its issuer for self-signed.
    let mut root = CertificateParams::default();
    root.distinguished_name
        .push(DnType::CommonName, "adit compare root");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new([HOST.to_owned()])?;
    leaf.distinguished_name.push(DnType::CommonName, HOST);
    let leaf = leaf.signed_by(&key, &root)?;
    let files = [
        ("CA", root.pem()),
        ("CERTIFICATE", leaf.pem()),
        ("KEY", key.serialize_pem()),
    ];
    let write = |(name, pem): (&'static str, String)| {
        let path = work.join(format!("{}.pem", name.to_lowercase()));
        fs::write(&path, pem).context("writing certificates")?;
        Ok((name, path.to_string_lossy().into_owned()))
    };
    files.into_iter().map(write).collect()
}
