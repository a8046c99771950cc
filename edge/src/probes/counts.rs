//! What probes are counted by.

use metrics::{Counter, Gauge, counter, gauge};
use proto::fabric::AppPart;

use super::Board;

/// Probes, by what came of them.
pub(crate) const PROBES_TOTAL: &str = "edge_probes_total";
/// Apps that cannot be used from here, by the part that fails.
pub(crate) const APPS_FAILING: &str = "edge_apps_failing";

/// What may come of a probe.
const OUTCOMES: [&str; 4] = ["ok", "agent", "origin", "unknown"];

/// Handles, made once.
#[derive(Debug)]
pub(super) struct Counts {
    probes: [(&'static str, Counter); 4],
    failing: [(AppPart, Gauge); 2],
}

impl Counts {
    pub(super) fn new() -> Self {
        Self {
            probes: OUTCOMES.map(|outcome| (outcome, counter!(PROBES_TOTAL, "outcome" => outcome))),
            failing: [(AppPart::Agent, "agent"), (AppPart::Origin, "origin")]
                .map(|(part, word)| (part, gauge!(APPS_FAILING, "part" => word))),
        }
    }

    /// A probe is over.
    pub(super) fn probe(&self, outcome: &str) {
        let known = self.probes.iter().find(|(known, _)| *known == outcome);
        if let Some((_, counter)) = known {
            counter.increment(1);
        }
    }

    /// Shows how many apps fail.
    pub(super) fn failing(&self, board: &Board) {
        for (part, gauge) in &self.failing {
            let count = u32::try_from(board.failing(*part)).unwrap_or(u32::MAX);
            gauge.set(f64::from(count));
        }
    }
}
