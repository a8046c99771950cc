//! What came of the part: what is held by those who stay.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::population::{
    outcome::{Bar, MIB, Rows, bar},
    process::Holding,
};

/// The most memory that may be held, of what was held when caches and pools had filled.
const MEMORY_AT_MOST: f64 = 1.1;
/// Files, or tasks, more than before anybody had come: what a look at an odd moment sees, such as a connection to control that is replaced.
/// What is left by users or agents comes in thousands.
const MORE_AT_MOST: f64 = 2.0;

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
            let mut held = |thing: &str, figure: f64, at_most: f64, unit| {
                let text = format!("{thing} of the {name} after {what}");
                bars.push(bar(text, figure, at_most, unit));
            };
            let memory = share(after.resident_bytes, begun.resident_bytes);
            let than_begun = "memory, against after the first tenth,";
            held(than_begun, memory, MEMORY_AT_MOST, "×");
            let files = after.descriptors as f64 - fresh.descriptors as f64;
            held("more open files and sockets", files, MORE_AT_MOST, "");
            let tasks = after.tasks - fresh.tasks;
            held("more tasks", tasks, MORE_AT_MOST, "");
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
        let (fresh, after) = (&self.fresh, &self.after);
        for (who, fresh, after) in [
            ("edge", fresh.edge, after.edge),
            ("agent", fresh.agent, after.agent),
        ] {
            let memory = share(after.resident_bytes, fresh.resident_bytes);
            row(
                &format!("memory of the {who} after all, against before"),
                format!("{memory:.2} ×"),
            );
        }
    }
}

fn share(bytes: u64, of: u64) -> f64 {
    bytes as f64 / of as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of it if the edge holds this at the end, and 40 MiB, 31 files and 21 tasks before.
    fn missed(resident_bytes: u64, descriptors: u64, tasks: f64) -> Vec<String> {
        let usual = Holding {
            resident_bytes: 40 << 20,
            descriptors: 31,
            tasks: 21.0,
        };
        let usual = Held {
            edge: usual,
            agent: usual,
        };
        let mut after = usual;
        after.edge = Holding {
            resident_bytes,
            descriptors,
            tasks,
        };
        let departures = Departures {
            aborted: 10_000,
            failed: BTreeMap::new(),
            deaths: 2_000,
            at_once: 200,
            slowest_burial_seconds: 4.0,
            fresh: usual,
            begun: usual,
            after,
            left: 0.0,
        };
        let bars = departures.bars().into_iter();
        bars.filter(|bar| !bar.met).map(|bar| bar.text).collect()
    }

    #[test]
    fn what_is_left_behind_misses_a_bar() {
        assert_eq!(missed(40 << 20, 31, 21.0), Vec::<String>::new());
        assert_eq!(missed(44 << 20, 33, 23.0), Vec::<String>::new());
        for (missed, begins) in [
            (missed(45 << 20, 31, 21.0), "memory"),
            (missed(40 << 20, 34, 21.0), "more open files"),
            (missed(40 << 20, 31, 24.0), "more tasks"),
        ] {
            let [only] = missed.as_slice() else {
                panic!("{missed:?}");
            };
            assert!(only.starts_with(begins), "{only}");
        }
    }
}
