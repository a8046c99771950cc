//! Loads that differ only in their rate: what latency and cost do as the rate rises.

use std::fmt::Write as _;

use super::{COLOURS, median};
use crate::compare::{
    outcome::{Case, Measure, Outcome, TargetEntry},
    plot::{self, Axis, Series, escape},
};

/// The plots of one sweep.
pub(super) fn section(html: &mut String, name: &str, outcome: &Outcome) {
    let cases: Vec<&Case> = outcome
        .cases
        .iter()
        .filter(|case| case.sweep.as_deref() == Some(name))
        .collect();
    let _ = write!(
        html,
        "<section><h2>{}</h2><p>The same at {} rates, from low to high.</p><div class=\"plots\">",
        escape(name),
        cases.len()
    );
    let plots = [
        (
            "Throughput against latency (p50, ms)",
            Measure::P50,
            Axis::logarithmic("p50 ms"),
        ),
        (
            "Throughput against latency (p99, ms)",
            Measure::P99,
            Axis::logarithmic("p99 ms"),
        ),
        (
            "Throughput against CPU (ms a request)",
            Measure::Cpu,
            Axis::linear("ms a request"),
        ),
        (
            "Throughput against memory (peak, MiB)",
            Measure::Memory,
            Axis::linear("MiB"),
        ),
    ];
    for (title, measure, axis) in plots {
        let x = Axis::linear(Measure::Throughput.title());
        let svg = plot::lines(&x, &axis, &series(&cases, measure, outcome));
        let _ = write!(
            html,
            "<figure><figcaption>{title}</figcaption>{svg}</figure>"
        );
    }
    html.push_str("</div></section>");
}

/// A line for each target: the medians at each rate, in the order of the rates.
fn series(cases: &[&Case], measure: Measure, outcome: &Outcome) -> Vec<Series> {
    let targets = outcome.targets.iter().enumerate();
    let of_target = |(index, target): (usize, &TargetEntry)| {
        let points = cases.iter().filter_map(|case| {
            let rounds = case.rounds.get(&target.name)?;
            median(rounds, Measure::Throughput).zip(median(rounds, measure))
        });
        Series {
            name: target.name.clone(),
            colour: index % COLOURS,
            points: points.collect(),
        }
    };
    targets
        .map(of_target)
        .filter(|series| !series.points.is_empty())
        .collect()
}
