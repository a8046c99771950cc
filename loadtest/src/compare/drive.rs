//! How a load is put on a target, once.

use std::{fs, net::Ipv4Addr, path::Path, time::Duration};

use anyhow::Context as _;
use runtime::{Clock, Scope};
use tokio::time::timeout;

use super::{
    launch::Running,
    outcome::{Measure, Round},
    ready::Ready,
    spread::figure,
    watch::watch,
};
use crate::{Crew, Load, Tally, Target, progress::Progress, scenario::Speaks};

/// Bytes of a file of roots.
const CA_BYTES_MAX: u64 = 1024 * 1024;
/// What a load may take beyond its own duration and the time-out of its last request.
const OVERTIME_MAX: Duration = Duration::from_secs(30);
/// Before each round, so that connections, caches and pools are as they are in the midst of work.
const WARM_UP_MAX: Duration = Duration::from_secs(1);

/// The warm-up before each round of a load.
pub(super) fn warm_up(load: &Load) -> Duration {
    (load.duration / 4).min(WARM_UP_MAX)
}

/// The load as it is put on a target that is `ready`; `None` when it does not speak what is needed.
pub(super) fn fitting(load: &Load, ready: &Ready) -> Option<Load> {
    if ready.speaks.contains(&load.needs()) {
        return Some(load.clone());
    }
    let plain = ready.speaks.contains(&Speaks::Quinn);
    plain.then(|| load.plain()).flatten()
}

/// One round: connects, warms up, and measures on the same connections.
pub(super) async fn measure(
    load: &Load,
    seed: u64,
    running: &Running,
    clock: &Clock,
    progress: &Progress,
) -> anyhow::Result<Round> {
    let fitting = fitting(load, &running.ready);
    let load = &fitting.with_context(|| format!("does not speak {}", load.needs()))?;
    let scope = Scope::root();
    let patience = load.timeout + OVERTIME_MAX;
    let target = target(&running.ready)?;
    let assembled = Crew::assemble(&target, load, seed, clock, &scope);
    let crew = timeout(patience, assembled).await;
    let crew = crew.context("connections take too long")??;
    let put = async |duration: Duration| {
        let put = timeout(duration + patience, crew.put(duration)).await;
        anyhow::Ok(put.context("the load did not end")??)
    };
    put(warm_up(load)).await?;
    running.account.forget_peaks()?;
    let before = running.account.read()?;
    let (tally, timeline) = watch(&running.account, clock, progress, put(load.duration)).await;
    let after = running.account.read()?;
    Ok(Round {
        cpu_seconds: after.cpu.saturating_sub(before.cpu).as_secs_f64(),
        peak_bytes: after.peak_bytes,
        timeline: timeline?,
        ..round(&tally?)?
    })
}

fn round(tally: &Tally) -> anyhow::Result<Round> {
    if tally.answered() == 0 {
        let failures = tally.failures();
        let causes = failures
            .iter()
            .map(|(cause, count)| format!("{count} {cause}"));
        let causes: Vec<String> = causes.collect();
        anyhow::bail!("no request was answered ({})", causes.join(", "));
    }
    Ok(Round {
        answered: tally.answered(),
        failures: tally.failures(),
        body_bytes: tally.body_bytes(),
        seconds: tally.seconds(),
        latency_ms: tally.latency_ms(),
        ..Round::default()
    })
}

fn target(ready: &Ready) -> anyhow::Result<Target> {
    let ca = ready.ca.as_deref().map(roots).transpose()?;
    let addr = (Ipv4Addr::LOCALHOST, ready.port).into();
    let target = Target::new(ready.url.clone(), addr, &ca.unwrap_or_default())?;
    Ok(target.shown(ready.cookie.clone()))
}

fn roots(path: &Path) -> anyhow::Result<Vec<u8>> {
    let reading = || format!("reading {}", path.display());
    let length = fs::metadata(path).with_context(reading)?.len();
    anyhow::ensure!(
        length <= CA_BYTES_MAX,
        "{} is no file of roots",
        path.display()
    );
    fs::read(path).with_context(reading)
}

/// A round on one line.
pub(super) fn in_short(round: &Round) -> String {
    let shown = Measure::ALL.map(|measure| {
        let figure = figure(measure.of(round)?);
        Some(format!("{figure} {}", measure.title()))
    });
    let mut shown: Vec<String> = shown.into_iter().flatten().collect();
    let failures = round.failures.iter();
    shown.extend(failures.map(|(cause, count)| format!("{count} failed: {cause}")));
    shown.join(", ")
}
