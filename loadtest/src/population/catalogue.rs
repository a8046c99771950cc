//! An edge with very many apps: its start, from control and from its own disk, and its memory.

use anyhow::Context as _;
use tokio::time::sleep;

use super::{
    Options,
    fabric::Fabric,
    outcome::{Catalogue, Started, seconds},
    process::Process,
};

/// Metric of the edge: revision that it runs on.
const REVISION: &str = "sync_applied_revision";

/// Measures the part.
pub(super) async fn measure(
    fabric: &mut Fabric,
    options: &Options,
    say: &dyn Fn(&str),
) -> anyhow::Result<Catalogue> {
    say(&format!("{} apps are published", options.catalogue));
    let creation = fabric.publish_up_to(options.catalogue, say).await?;
    fabric.forget_snapshot()?;
    say("the edge starts with all of them from control");
    let (edge, from_control) = start(fabric, options).await?;
    edge.kill().await?;
    say("the edge starts with all of them from its disk");
    let (edge, from_disk) = start(fabric, options).await?;
    edge.kill().await?;
    Ok(Catalogue {
        apps: fabric.apps,
        creation_ms_per_app: creation.map(|time| seconds(time) * 1000.0),
        from_control,
        from_disk,
    })
}

async fn start(fabric: &Fabric, options: &Options) -> anyhow::Result<(Process, Started)> {
    let wanted = fabric.admin.revision().await?;
    let began = fabric.clock.now();
    let mut edge = fabric.start_edge().await?;
    edge.ready(&fabric.clock).await?;
    let ready = fabric.clock.now() - began;
    sleep(options.settle).await;
    let revision = edge
        .metric(REVISION)
        .await
        .context("the edge says no revision")?;
    anyhow::ensure!(
        revision >= wanted as f64,
        "the edge is at revision {revision} of {wanted}"
    );
    let usage = edge.usage()?;
    let started = Started {
        ready_seconds: seconds(ready),
        cpu_seconds: seconds(usage.cpu),
        resident_bytes: usage.resident_bytes,
        peak_bytes: usage.peak_bytes,
    };
    Ok((edge, started))
}
