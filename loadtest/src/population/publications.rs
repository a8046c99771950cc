//! From a publication to its use at many edges.

use std::{collections::BTreeSet, time::Duration};

use anyhow::bail;
use hdrhistogram::Histogram;
use runtime::{Scope, node::Role};
use tokio::time::{Instant, interval, sleep, timeout_at};

use super::admin::resource_name;
use super::{
    Options, agents,
    edges::{Edges, Wanted},
    fabric::Fabric,
    outcome::{Publications, Quantiles, seconds},
    process::own_usage,
};

/// How long the edges may take to have everything at first.
const FIRST_WAIT: Duration = Duration::from_secs(120);
/// How long an edge may take to use one publication before it counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Times are kept from 1 us to this, with three digits.
const TIME_US_MAX: u64 = 60_000_000;
/// Every so many publications are of new apps; the others change one that is there.
const NEW_EVERY: u32 = 2;

/// Measures the part.
pub(super) async fn measure(
    fabric: &mut Fabric,
    options: &Options,
    scope: &Scope,
    say: &dyn Fn(&str),
) -> anyhow::Result<Publications> {
    let clock = fabric.clock.clone();
    say(&format!("{} apps are published", options.apps));
    let creation = fabric.publish_up_to(options.apps, say).await?;
    let count = options.edges.get();
    say(&format!(
        "{count} edges enrol and take {} apps",
        fabric.apps
    ));
    let folder = fabric.nodes().join("edges");
    let identities = agents::enrol(&fabric.admin, Role::Edge, count, &folder, &clock, say).await?;
    let began = clock.now();
    let mut edges = Edges::start(
        identities,
        &fabric.control_addresses(),
        &folder,
        &clock,
        scope,
    );
    all_have(&edges, fabric).await?;
    let first = clock.now() - began;
    sleep(options.settle).await;

    say(&format!(
        "{} publications, one every {:?}",
        options.publications, options.every
    ));
    let (control_before, own_before) = (fabric.control().usage()?, own_usage()?);
    let mut times = Times::new();
    let mut due = interval(options.every);
    for number in 0..options.publications {
        due.tick().await;
        one(number, fabric, &mut edges, &mut times).await?;
    }
    let (control_cpu, own_cpu) = (
        fabric.control().usage()?.cpu - control_before.cpu,
        own_usage()?.cpu - own_before.cpu,
    );
    edges.close().await;
    Ok(Publications {
        edges: count,
        apps: fabric.apps,
        publications: options.publications,
        creation_ms_per_app: creation.map(|time| seconds(time) * 1000.0),
        first_snapshot_seconds: seconds(first),
        call_ms: Quantiles::of(&times.call),
        from_start_ms: Quantiles::of(&times.from_start),
        from_answer_ms: Quantiles::of(&times.from_answer),
        lost: times.lost,
        control_cpu_ms_per_publication: seconds(control_cpu) * 1000.0
            / f64::from(options.publications),
        edge_cpu_ms_per_publication: seconds(own_cpu) * 1000.0
            / f64::from(options.publications)
            / count as f64,
    })
}

struct Times {
    call: Histogram<u64>,
    from_start: Histogram<u64>,
    from_answer: Histogram<u64>,
    lost: u64,
}

impl Times {
    fn new() -> Self {
        let empty = || Histogram::new_with_max(TIME_US_MAX, 3).expect("the bounds are in range");
        Self {
            call: empty(),
            from_start: empty(),
            from_answer: empty(),
            lost: 0,
        }
    }
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    let us = u64::try_from(time.as_micros()).unwrap_or(TIME_US_MAX);
    histogram.saturating_record(us.min(TIME_US_MAX));
}

async fn all_have(edges: &Edges, fabric: &Fabric) -> anyhow::Result<()> {
    let wanted = fabric.admin.revision().await?;
    let began = fabric.clock.now();
    while edges.revision() < wanted {
        if fabric.clock.now() - began > FIRST_WAIT {
            bail!(
                "after {FIRST_WAIT:?} an edge is at revision {} of {wanted}",
                edges.revision()
            );
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Publishes once and waits until every edge uses it.
async fn one(
    number: u32,
    fabric: &mut Fabric,
    edges: &mut Edges,
    times: &mut Times,
) -> anyhow::Result<()> {
    let display_name = format!("Publication {number}");
    let app = if number.is_multiple_of(NEW_EVERY) {
        fabric.apps
    } else {
        usize::try_from(number)?
    };
    let wanted = Wanted {
        name: resource_name(app),
        display_name: display_name.clone(),
    };
    edges.want(wanted.clone());
    let began = fabric.clock.now();
    let call = async {
        if app == fabric.apps {
            fabric.admin.create(app, &display_name).await?;
        } else {
            fabric.admin.rename(app, &display_name).await?;
        }
        anyhow::Ok(fabric.clock.now())
    };
    let (answered, in_force) = tokio::join!(call, everywhere(edges, &wanted, began + LOST_AFTER));
    let answered = answered?;
    fabric.apps = fabric.apps.max(app + 1);
    record(&mut times.call, answered - began);
    for at in &in_force {
        record(&mut times.from_start, *at - began);
        record(
            &mut times.from_answer,
            at.saturating_duration_since(answered),
        );
    }
    times.lost += (edges.count() - in_force.len()) as u64;
    Ok(())
}

/// When each edge had it, as far as they had it in time.
async fn everywhere(edges: &mut Edges, wanted: &Wanted, until: Instant) -> Vec<Instant> {
    let mut done = BTreeSet::new();
    let mut times = Vec::new();
    while done.len() < edges.count() {
        let Ok(Some(report)) = timeout_at(until, edges.next()).await else {
            break;
        };
        // A later revision shows the same app again.
        if report.what == *wanted && done.insert(report.edge) {
            times.push(report.at);
        }
    }
    times
}
