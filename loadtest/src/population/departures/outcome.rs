//! What came of the part: what is held by those who stay.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::population::{
    outcome::{Bar, MIB, Rows, bar},
    process::Holding,
};

/// The most of anything that may be left, of what there was.
const LEFT_AT_MOST: f64 = 1.1;

/// Users who left, and agents that died.
#[derive(Debug, Serialize)]
pub struct Departures {
    /// Downloads that were left in the middle.
    pub aborted: u64,
    /// Those that failed before, by load and cause.
    pub failed: BTreeMap<String, u64>,
    /// Agents that died.
    pub deaths: u64,
    /// So many at the same moment, with requests under way.
    pub at_once: usize,
    /// The longest from a death until the edge had given up all links of the dead.
    pub slowest_burial_seconds: f64,
    /// Before anybody had left.
    pub fresh: Held,
    /// Once the first tenth of all had.
    pub begun: Held,
    /// Once all had.
    pub after: Held,
    /// Streams and connections of users that the edge has at the end.
    pub left: f64,
}

/// What the edge and an agent hold.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Held {
    /// The edge.
    pub edge: Holding,
    /// The agent that stayed.
    pub agent: Holding,
}

impl Departures {
    pub(crate) fn bars(&self) -> Vec<Bar> {
        let what = format!("{} downloads left, {} deaths", self.aborted, self.deaths);
        let mut bars = Vec::new();
        let (fresh, begun, after) = (self.fresh, self.begun, self.after);
        for (name, fresh, begun, after) in [
            ("edge", fresh.edge, begun.edge, after.edge),
            ("agent", fresh.agent, begun.agent, after.agent),
        ] {
            let mut held = |thing: &str, figure: f64| {
                bars.push(bar(
                    format!("{thing} of the {name} after {what}"),
                    figure,
                    LEFT_AT_MOST,
                    "×",
                ));
            };
            let memory = after.resident_bytes as f64 / begun.resident_bytes as f64;
            held("memory, against after the first tenth,", memory);
            let descriptors = after.descriptors as f64 / fresh.descriptors as f64;
            held("open files and sockets", descriptors);
            held("tasks", after.tasks / fresh.tasks);
        }
        let text = "streams and connections of users that are left".to_owned();
        bars.push(bar(text, self.left, 0.0, ""));
        bars
    }

    pub(crate) fn tell(&self, rows: &mut Rows) {
        let mut row = |what: &str, figure: String| rows.push((what.to_owned(), figure));
        row("downloads left", self.aborted.to_string());
        for (cause, count) in &self.failed {
            row(&format!("failed before: {cause}"), count.to_string());
        }
        row(
            "agents that died, at once, given up after",
            format!(
                "{}, {}, {:.1} s at the longest",
                self.deaths, self.at_once, self.slowest_burial_seconds
            ),
        );
        for (when, held) in [
            ("before", &self.fresh),
            ("after the first tenth", &self.begun),
            ("after all", &self.after),
        ] {
            for (
                who,
                Holding {
                    resident_bytes,
                    descriptors,
                    tasks,
                },
            ) in [("edge", held.edge), ("agent", held.agent)]
            {
                row(
                    &format!("held by the {who} {when}"),
                    format!(
                        "{:.1} MiB, {descriptors} files, {tasks} tasks",
                        resident_bytes as f64 / MIB
                    ),
                );
            }
        }
    }
}
