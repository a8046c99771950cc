//! One load of a comparison, and how it is put on a target.

use std::{fs, net::Ipv4Addr, num::NonZeroU32, time::Duration};

use anyhow::Context as _;
use http::{Uri, uri::PathAndQuery};
use runtime::{Clock, Scope};

use super::{
    outcome::{Measure, Round},
    ready::{Ready, Speaks},
    spread::figure,
};
use crate::{Load, Report, Target};

/// Bytes of a file of roots.
const CA_BYTES_MAX: u64 = 1024 * 1024;

/// A load that is put on each target.
#[derive(Debug, Clone)]
pub struct Drive {
    /// Its name, by which bars find it.
    pub name: String,
    /// What it does, for people.
    pub about: String,
    /// How users speak.
    pub speaks: Speaks,
    /// How long it is on.
    pub duration: Duration,
    /// What is asked for.
    pub path: PathAndQuery,
    /// Requests started each second.
    pub rate: NonZeroU32,
}

/// The loads of a whole comparison, or a moment of each.
pub(super) fn standard(quick: bool) -> Vec<Drive> {
    vec![Drive {
        name: "rate-400".into(),
        about: "1 KiB GET over HTTP/1.1, 400 requests/s".into(),
        speaks: Speaks::Http1,
        duration: if quick {
            Duration::from_millis(400)
        } else {
            Duration::from_secs(8)
        },
        path: PathAndQuery::from_static("/1k"),
        rate: const { NonZeroU32::new(400).unwrap() },
    }]
}

impl Drive {
    /// Puts the load on a target for `duration`.
    pub(super) async fn run(
        &self,
        ready: &Ready,
        duration: Duration,
        clock: &Clock,
        scope: &Scope,
    ) -> anyhow::Result<Round> {
        let target = self.target(ready)?;
        let begin = clock.now();
        let load = Load {
            rate: self.rate,
            duration,
        };
        let report = crate::run(target, load, clock, scope).await;
        Ok(round(&report, (clock.now() - begin).as_secs_f64()))
    }

    fn target(&self, ready: &Ready) -> anyhow::Result<Target> {
        let ca = match &ready.ca {
            None => Vec::new(),
            Some(path) => {
                let length = fs::metadata(path)
                    .with_context(|| format!("reading {}", path.display()))?
                    .len();
                anyhow::ensure!(
                    length <= CA_BYTES_MAX,
                    "{} is no file of roots",
                    path.display()
                );
                fs::read(path).with_context(|| format!("reading {}", path.display()))?
            }
        };
        let mut parts = ready.url.clone().into_parts();
        parts.path_and_query = Some(self.path.clone());
        let url = Uri::from_parts(parts).context("putting the path on the target's URL")?;
        Ok(Target::new(
            url,
            (Ipv4Addr::LOCALHOST, ready.port).into(),
            &ca,
        )?)
    }

    /// A round on one line.
    pub(super) fn in_short(&self, round: &Round) -> String {
        let shown = Measure::ALL.map(|measure| {
            Some(format!(
                "{} {}",
                figure(measure.of(round)?),
                measure.title()
            ))
        });
        shown.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

fn round(report: &Report, seconds: f64) -> Round {
    let json = report.to_json();
    let ms = |name: &str| json["latency_ms"][name].as_f64().unwrap_or_default();
    let failures = json["failures"].as_object().into_iter().flatten();
    Round {
        answered: report.answered(),
        failures: failures
            .map(|(cause, count)| (cause.clone(), count.as_u64().unwrap_or_default()))
            .collect(),
        seconds,
        latency_ms: vec![
            (50.0, ms("p50")),
            (90.0, ms("p90")),
            (99.0, ms("p99")),
            (100.0, ms("max")),
        ],
        ..Round::default()
    }
}
