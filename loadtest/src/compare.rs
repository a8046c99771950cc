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

pub use command::Command;
pub use drive::Drive;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use runtime::{Clock, Scope};
use tempfile::TempDir;
use tokio::time::{Instant, MissedTickBehavior};

use self::{
    account::{Account, AccountError},
    bars::Bar,
    launch::{Patience, Running, Started, Surroundings},
    machine::Machine,
    outcome::{Case, Moment, Outcome, Round, TargetEntry, YARDSTICK},
};

/// The file in the folder of targets that is the origin of all.
const ORIGIN: &str = "origin";
/// The name that users ask for.
const HOST: &str = "load.localhost";
/// How often a target's memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// What a load may take beyond its own duration: every request has its time-out.
const OVERTIME_MAX: Duration = Duration::from_secs(60);
/// Before each round, so that connections, caches and pools are as they are in the midst of work.
const WARM_UP_MAX: Duration = Duration::from_secs(1);
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

/// Compares. `say` is told how far it is.
pub async fn compare(
    options: &Options,
    drives: &[Drive],
    bars: &[Bar],
    clock: &Clock,
    say: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Outcome> {
    let begin = clock.now();
    let mut stage = Stage::set(options, clock, say).await?;
    let here = stage
        .targets
        .iter()
        .filter(|target| target.not_here.is_none())
        .count();
    say(&format!(
        "{} loads on {here} targets, {} rounds: about {} minutes",
        drives.len(),
        options.rounds,
        minutes(estimate(drives, here, options.rounds))
    ));
    let mut cases = Vec::new();
    for (index, drive) in drives.iter().enumerate() {
        say(&format!(
            "load {} of {}, {}: {}",
            index + 1,
            drives.len(),
            drive.name,
            drive.about
        ));
        cases.push(stage.play(drive).await?);
    }
    let targets = stage.end().await;
    Ok(Outcome {
        machine: Machine::this(clock),
        took_seconds: (clock.now() - begin).as_secs(),
        command: options.command.clone(),
        bars: bars.iter().map(|bar| bar.judge(&cases, &targets)).collect(),
        targets,
        cases,
    })
}

fn estimate(drives: &[Drive], targets: usize, rounds: usize) -> Duration {
    let targets = u32::try_from(targets).unwrap_or(u32::MAX);
    let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
    let one = |drive: &Drive| (warm_up(drive) + drive.duration) * rounds + START_GUESS;
    drives.iter().map(|drive| one(drive) * targets).sum()
}

fn minutes(time: Duration) -> u64 {
    time.as_secs().div_ceil(60)
}

fn warm_up(drive: &Drive) -> Duration {
    (drive.duration / 4).min(WARM_UP_MAX)
}

/// Everything that stands while loads come and go.
struct Stage<'a> {
    options: &'a Options,
    clock: &'a Clock,
    say: &'a (dyn Fn(&str) + Sync),
    surroundings: Surroundings,
    targets: Vec<TargetEntry>,
    origin: Running,
    _work: TempDir,
    _files: TempDir,
}

impl<'a> Stage<'a> {
    async fn set(
        options: &'a Options,
        clock: &'a Clock,
        say: &'a (dyn Fn(&str) + Sync),
    ) -> anyhow::Result<Self> {
        let work = tempfile::Builder::new()
            .prefix("adit-compare-")
            .tempdir()
            .context("making a folder")?;
        let files = files(options)?;
        fs::create_dir_all(&options.cache).context("making the cache")?;
        let mut surroundings = surroundings(options, work.path(), files.path())?;
        let mut targets = Vec::new();
        for name in names(options)? {
            say(&format!("preparing {name}"));
            let not_here = launch::prepare(&options.folder.join(&name), &surroundings).await;
            let not_here = not_here.unwrap_or_else(|error| Some(chain(&error)));
            if let Some(why) = &not_here {
                say(&format!("{name} is not here: {why}"));
            }
            targets.push(TargetEntry {
                name,
                about: None,
                not_here,
            });
        }
        let origin = match launch::start(&options.folder.join(ORIGIN), &surroundings)
            .await
            .context("starting the origin")?
        {
            Started::Running(origin) => *origin,
            Started::NotHere(why) => bail!("no origin: {why}"),
        };
        surroundings
            .variables
            .push(("ORIGIN_PORT", origin.ready.port.to_string()));
        Ok(Self {
            options,
            clock,
            say,
            surroundings,
            targets,
            origin,
            _work: work,
            _files: files,
        })
    }

    /// All rounds of one load.
    async fn play(&mut self, drive: &Drive) -> anyhow::Result<Case> {
        let mut case = Case::new(&drive.name, &drive.about);
        let mut running = self.start_all(drive, &mut case).await;
        for round in 1..=self.options.rounds {
            for (name, target) in &mut running {
                if case.failures.contains_key(name) {
                    continue;
                }
                match measure(drive, target, self.clock).await {
                    Ok(measured) => {
                        (self.say)(&format!(
                            "  round {round}, {name}: {}",
                            drive.in_short(&measured)
                        ));
                        case.rounds.entry(name.clone()).or_default().push(measured);
                    }
                    Err(error) => {
                        let why = target.ended().unwrap_or_else(|| format!("{error:#}"));
                        (self.say)(&format!("  round {round}, {name}: {why}"));
                        case.failures
                            .insert(name.clone(), format!("round {round}: {why}"));
                    }
                }
            }
            if let Some(why) = self.origin.ended() {
                bail!("the origin failed: {why}");
            }
        }
        for (_, target) in running {
            target.end().await;
        }
        case.sum_up();
        Ok(case)
    }

    async fn start_all(&mut self, drive: &Drive, case: &mut Case) -> Vec<(String, Running)> {
        let mut running = Vec::new();
        for target in self
            .targets
            .iter_mut()
            .filter(|target| target.not_here.is_none())
        {
            let file = self.options.folder.join(&target.name);
            let why = match launch::start(&file, &self.surroundings).await {
                Ok(Started::Running(started)) if started.ready.speaks.contains(&drive.speaks) => {
                    target.about.clone_from(&started.about);
                    running.push((target.name.clone(), *started));
                    continue;
                }
                Ok(Started::Running(_)) => format!("does not speak {}", drive.speaks),
                Ok(Started::NotHere(why)) => why,
                Err(error) => chain(&error),
            };
            (self.say)(&format!("  {}: {why}", target.name));
            case.failures.insert(target.name.clone(), why);
        }
        running
    }

    async fn end(self) -> Vec<TargetEntry> {
        self.origin.end().await;
        self.targets
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
        if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 && name != ORIGIN {
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

/// One round on one target.
async fn measure(drive: &Drive, target: &Running, clock: &Clock) -> anyhow::Result<Round> {
    let bounded = async |duration: Duration| {
        let scope = Scope::root();
        let run = drive.run(&target.ready, duration, clock, &scope);
        let ended = tokio::time::timeout(duration + OVERTIME_MAX, run).await;
        ended.context("the load did not end")?
    };
    bounded(warm_up(drive)).await?;
    target.account.forget_peaks()?;
    let before = target.account.read()?;
    let (measured, timeline) = watch(&target.account, clock, bounded(drive.duration)).await;
    let (mut round, timeline) = (measured?, timeline?);
    let after = target.account.read()?;
    round.cpu_seconds = after.cpu.saturating_sub(before.cpu).as_secs_f64();
    round.peak_bytes = after.peak_bytes;
    round.timeline = timeline;
    if round.answered == 0 {
        let causes: Vec<String> = round
            .failures
            .iter()
            .map(|(cause, count)| format!("{count} {cause}"))
            .collect();
        bail!("no request was answered ({})", causes.join(", "));
    }
    Ok(round)
}

/// Looks at `account` every second until `work` is done.
async fn watch<T>(
    account: &Account,
    clock: &Clock,
    work: impl Future<Output = T>,
) -> (T, Result<Vec<Moment>, AccountError>) {
    let begin = clock.now();
    let mut timeline = Ok(Vec::new());
    let mut ticks = tokio::time::interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut work = std::pin::pin!(work);
    let mut first = None;
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                look(account, begin, clock, &mut first, &mut timeline);
                return (done, timeline);
            }
            _ = ticks.tick() => look(account, begin, clock, &mut first, &mut timeline),
        }
    }
}

fn look(
    account: &Account,
    begin: Instant,
    clock: &Clock,
    first: &mut Option<Duration>,
    timeline: &mut Result<Vec<Moment>, AccountError>,
) {
    let Ok(moments) = timeline else { return };
    match account.read() {
        Ok(usage) => moments.push(Moment {
            second: (clock.now() - begin).as_secs_f64(),
            resident_bytes: usage.resident_bytes,
            cpu_seconds: usage
                .cpu
                .saturating_sub(*first.get_or_insert(usage.cpu))
                .as_secs_f64(),
        }),
        Err(error) => *timeline = Err(error),
    }
}
