//! Agents, users and one edge: what an idle link and an idle user cost, and how all agents come back.

use std::time::Duration;

use anyhow::bail;
use runtime::{Scope, identity::CurrentIdentity, node::Role};
use tokio::time::sleep;

use super::{
    Options,
    agents::{self, Agents, Plan},
    fabric::Fabric,
    outcome::{Idle, Joined, Links, Returned, seconds},
    process::{Process, Usage, own_usage},
    users,
};

/// How long all agents may take to have their links; the bar is a fraction of it.
const LINKS_WAIT: Duration = Duration::from_secs(120);
/// Pause between two looks at the number of links; figures are as coarse.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Metric of the edge.
const LINKS: &str = "edge_links";

/// Measures the part.
pub(super) async fn measure(
    fabric: &mut Fabric,
    options: &Options,
    scope: &Scope,
    say: &dyn Fn(&str),
) -> anyhow::Result<Links> {
    let (clock, count) = (fabric.clock.clone(), options.agents.get());
    say(&format!("{count} agents enrol"));
    let (began, control_before) = (clock.now(), fabric.control().usage()?);
    let folder = fabric.nodes().join("agents");
    let identities = agents::enrol(&fabric.admin, Role::Agent, count, &folder, &clock, say).await?;
    let enrolment_seconds = seconds(clock.now() - began);
    let enrolment_cpu = fabric.control().usage()?.cpu - control_before.cpu;

    let mut edge = fabric.start_edge().await?;
    edge.ready(&clock).await?;
    sleep(options.settle).await;
    let before = edge.usage()?;

    say(&format!("{count} agents dial the edge"));
    let (began, own_before) = (clock.now(), own_usage()?);
    let place = agents::edge(fabric.edge_address(), options.workers)?;
    let plan = Plan {
        edge: place,
        apps: Vec::new(),
        network: None,
    };
    let identities = identities.into_iter().map(CurrentIdentity::new).collect();
    let agents = Agents::start(identities, &plan, &clock, scope).await?;
    all_linked(&edge, count, fabric).await?;
    let joined_in = clock.now() - began;
    let (cpu, own_cpu) = (
        edge.usage()?.cpu - before.cpu,
        own_usage()?.cpu - own_before.cpu,
    );
    sleep(options.settle).await;
    let after = edge.usage()?;
    let joined = Joined {
        seconds: seconds(joined_in),
        edge_cpu_seconds: seconds(cpu),
        agents_cpu_seconds: seconds(own_cpu),
        before_bytes: before.resident_bytes,
        after_bytes: after.resident_bytes,
        peak_bytes: after.peak_bytes,
    };

    say(&format!("nothing happens for {:?}", options.quiet));
    let idle = quiet(&edge, options.quiet, count).await?;
    // Without users: none of them comes back with the agents.
    let steady = edge.usage()?;
    say(&format!("{} users connect", options.users));
    let users = users::measure(&edge, fabric, options).await?;
    say("the edge is killed and comes back");
    let (edge, returned) = killed_and_back(edge, steady, fabric, options).await?;
    agents.close().await;
    edge.kill().await?;
    Ok(Links {
        agents: count,
        links_per_agent: 1,
        edge_workers: options.workers.get(),
        enrolment_seconds,
        enrolment_control_cpu_seconds: seconds(enrolment_cpu),
        joined,
        idle,
        users,
        returned,
    })
}

/// Waits until the edge itself says that so many links are up.
async fn all_linked(edge: &Process, count: usize, fabric: &Fabric) -> anyhow::Result<()> {
    let began = fabric.clock.now();
    loop {
        let links = edge.metric(LINKS).await.unwrap_or_default();
        if links >= f64::from(u32::try_from(count)?) {
            return Ok(());
        }
        if fabric.clock.now() - began > LINKS_WAIT {
            bail!("after {LINKS_WAIT:?} the edge has {links} of {count} links");
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn quiet(edge: &Process, time: Duration, links: usize) -> anyhow::Result<Idle> {
    let before = edge.usage()?;
    sleep(time).await;
    let cpu = edge.usage()?.cpu - before.cpu;
    Ok(Idle {
        seconds: seconds(time),
        edge_cpu_seconds: seconds(cpu),
        cpu_us_per_link_minute: seconds(cpu) * 60.0 / seconds(time) / links as f64 * 1e6,
    })
}

async fn killed_and_back(
    edge: Process,
    steady: Usage,
    fabric: &Fabric,
    options: &Options,
) -> anyhow::Result<(Process, Returned)> {
    let clock = &fabric.clock;
    edge.kill().await?;
    let (began, own_before) = (clock.now(), own_usage()?);
    let mut edge = fabric.start_edge().await?;
    let ready_in = edge.ready(clock).await?;
    let share = |of_hundred: usize| (options.agents.get() * of_hundred).div_ceil(100);
    all_linked(&edge, share(50), fabric).await?;
    let half_in = clock.now() - began;
    all_linked(&edge, share(99), fabric).await?;
    let nearly_in = clock.now() - began;
    all_linked(&edge, options.agents.get(), fabric).await?;
    let back_in = clock.now() - began;
    let (usage, own) = (edge.usage()?, own_usage()?);
    sleep(options.settle).await;
    let settled = edge.usage()?;
    let returned = Returned {
        edge_ready_seconds: seconds(ready_in),
        half_back_seconds: seconds(half_in),
        nearly_back_seconds: seconds(nearly_in),
        all_back_seconds: seconds(back_in),
        links_per_second: options.agents.get() as f64 / seconds(back_in),
        edge_cpu_seconds: seconds(usage.cpu),
        agents_cpu_seconds: seconds(own.cpu - own_before.cpu),
        steady_bytes: steady.resident_bytes,
        peak_bytes: settled.peak_bytes,
        after_bytes: settled.resident_bytes,
    };
    Ok((edge, returned))
}
