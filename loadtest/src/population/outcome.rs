//! What came of it: figures, and whether they pass the bars.

use std::{fmt, time::Duration};

use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::departures::Departures;

const KIB: f64 = 1024.0;
pub(super) const MIB: f64 = 1024.0 * KIB;

/// Figures of every part that was measured, and the bars that they are held against.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    /// Agents and their links.
    pub links: Option<Links>,
    /// From a publication to its use.
    pub publications: Option<Publications>,
    /// An edge with very many apps.
    pub catalogue: Option<Catalogue>,
    /// Users who leave and agents that die.
    pub departures: Option<Departures>,
    /// Every bar that belongs to what was measured.
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Debug, Clone, Serialize)]
pub struct Bar {
    /// What is measured.
    pub text: String,
    /// What was found.
    pub figure: f64,
    /// The most that passes.
    pub at_most: f64,
    /// Unit of both.
    pub unit: &'static str,
    /// Whether it passes.
    pub met: bool,
}

/// Agents and their links with one edge.
#[derive(Debug, Serialize)]
pub struct Links {
    /// Simulated agents.
    pub agents: usize,
    /// Links of each.
    pub links_per_agent: usize,
    /// Threads that carry traffic in the edge.
    pub edge_workers: usize,
    /// Time for all agents to enrol.
    pub enrolment_seconds: f64,
    /// Processor time of control meanwhile.
    pub enrolment_control_cpu_seconds: f64,
    /// All agents dial at once.
    pub joined: Joined,
    /// Nothing happens.
    pub idle: Idle,
    /// Users come and stay.
    pub users: Users,
    /// The edge was killed and came back.
    pub returned: Returned,
}

/// From no link to all of them.
#[derive(Debug, Serialize)]
pub struct Joined {
    /// Until the edge had all links.
    pub seconds: f64,
    /// Processor time of the edge meanwhile.
    pub edge_cpu_seconds: f64,
    /// Processor time of all agents meanwhile.
    pub agents_cpu_seconds: f64,
    /// Memory of the edge without links; it knows every agent already.
    pub before_bytes: u64,
    /// Memory of the edge with all links, a while after the last one came.
    pub after_bytes: u64,
    /// Its peak.
    pub peak_bytes: u64,
}

/// Links that carry nothing but their keep-alive.
#[derive(Debug, Serialize)]
pub struct Idle {
    /// How long.
    pub seconds: f64,
    /// Processor time of the edge.
    pub edge_cpu_seconds: f64,
    /// The same for one link and a minute.
    pub cpu_us_per_link_minute: f64,
}

/// Users with one connection each, who asked once and wait.
#[derive(Debug, Serialize)]
pub struct Users {
    /// How many there are.
    pub users: usize,
    /// Until all of them had their first answer.
    pub seconds: f64,
    /// Processor time of the edge meanwhile: most of it is TLS handshakes.
    pub edge_cpu_seconds: f64,
    /// Memory of the edge before them.
    pub before_bytes: u64,
    /// Memory of the edge with all of them, a while after the last one came.
    pub after_bytes: u64,
}

impl Users {
    /// Memory that one user added, in KiB; 0 without users.
    #[must_use]
    pub fn kib_per_user(&self) -> f64 {
        let added = self.after_bytes as f64 - self.before_bytes as f64;
        added / KIB / self.users.max(1) as f64
    }
}

/// All agents come back to an edge that was killed and started again at once.
#[derive(Debug, Serialize)]
pub struct Returned {
    /// From its start until the edge was ready.
    pub edge_ready_seconds: f64,
    /// From its start until it had half of the links.
    pub half_back_seconds: f64,
    /// From its start until it had 99 of 100.
    pub nearly_back_seconds: f64,
    /// From its start until it had all links.
    pub all_back_seconds: f64,
    /// Links by that time.
    pub links_per_second: f64,
    /// Processor time of the edge since its start.
    pub edge_cpu_seconds: f64,
    /// Processor time of all agents meanwhile.
    pub agents_cpu_seconds: f64,
    /// Memory of the edge before it was killed.
    pub steady_bytes: u64,
    /// Peak of the one that came back.
    pub peak_bytes: u64,
    /// Its memory a while after the last link came.
    pub after_bytes: u64,
}

/// From publications to their use.
#[derive(Debug, Serialize)]
pub struct Publications {
    /// Simulated edges.
    pub edges: usize,
    /// Apps at the end.
    pub apps: usize,
    /// Publications that were timed.
    pub publications: u32,
    /// Time to publish each of the apps before, many at once.
    pub creation_ms_per_app: Option<f64>,
    /// Until all edges had all apps for the first time.
    pub first_snapshot_seconds: f64,
    /// How long the calls of the admin API took.
    pub call_ms: Quantiles,
    /// From the start of the call to the use at an edge, over all edges.
    pub from_start_ms: Quantiles,
    /// From the answer to the call to the use at an edge, over all edges.
    pub from_answer_ms: Quantiles,
    /// Edges that did not use a publication in time, over all publications.
    pub lost: u64,
    /// Processor time of control.
    pub control_cpu_ms_per_publication: f64,
    /// Processor time of one simulated edge, all it does meanwhile included.
    pub edge_cpu_ms_per_publication: f64,
}

/// How times are spread.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Quantiles {
    /// Half of them are shorter.
    pub p50: f64,
    /// Nine of ten are shorter.
    pub p90: f64,
    /// All but one of a hundred are shorter.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Quantiles {
    /// Of times in microseconds, as milliseconds.
    pub(super) fn of(us: &Histogram<u64>) -> Self {
        let ms = |quantile| us.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            p50: ms(0.5),
            p90: ms(0.9),
            p99: ms(0.99),
            max: us.max() as f64 / 1000.0,
        }
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p90, p99, max } = self;
        write!(
            f,
            "p50 {p50:.1}, p90 {p90:.1}, p99 {p99:.1}, max {max:.1} ms"
        )
    }
}

/// An edge with very many apps.
#[derive(Debug, Serialize)]
pub struct Catalogue {
    /// Apps.
    pub apps: usize,
    /// Time to publish each of those that were not there, many at once.
    pub creation_ms_per_app: Option<f64>,
    /// A start with nothing but an identity, or not even that.
    pub from_control: Started,
    /// A start with the last snapshot on disk.
    pub from_disk: Started,
}

/// A start of the edge.
#[derive(Debug, Serialize)]
pub struct Started {
    /// From the start of the process until it was ready.
    pub ready_seconds: f64,
    /// Processor time until it had settled.
    pub cpu_seconds: f64,
    /// Memory once it had settled.
    pub resident_bytes: u64,
    /// Its peak.
    pub peak_bytes: u64,
}

impl Links {
    /// Memory that one link added, in KiB.
    #[must_use]
    pub fn kib_per_link(&self) -> f64 {
        let added = self.joined.after_bytes as f64 - self.joined.before_bytes as f64;
        added / KIB / (self.agents * self.links_per_agent) as f64
    }

    fn bars(&self) -> Vec<Bar> {
        let Returned {
            all_back_seconds,
            steady_bytes,
            peak_bytes,
            ..
        } = self.returned;
        let what = format!("{} agents", self.agents);
        vec![
            bar(
                format!("memory of an idle link at the edge, {what}"),
                self.kib_per_link(),
                60.0,
                "KiB",
            ),
            bar(
                format!("{what} are back at an edge that was killed"),
                all_back_seconds,
                15.0,
                "s",
            ),
            bar(
                "peak memory of that edge against steady memory".to_owned(),
                peak_bytes as f64 / steady_bytes as f64,
                2.0,
                "×",
            ),
        ]
    }
}

impl Publications {
    fn bars(&self) -> Vec<Bar> {
        let what = format!("{} edges with {} apps", self.edges, self.apps);
        vec![
            bar(
                format!("publication to use at {what}, p99 from the start of the call"),
                self.from_start_ms.p99,
                200.0,
                "ms",
            ),
            bar(
                "publications that an edge did not use".to_owned(),
                self.lost as f64,
                0.0,
                "",
            ),
        ]
    }
}

impl Catalogue {
    fn bars(&self) -> Vec<Bar> {
        let starts = [("control", &self.from_control), ("disk", &self.from_disk)];
        let bars = starts.into_iter().flat_map(|(whence, started)| {
            [
                bar(
                    format!("start of an edge with {} apps, from {whence}", self.apps),
                    started.ready_seconds,
                    10.0,
                    "s",
                ),
                bar(
                    format!("memory of that edge, from {whence}"),
                    started.resident_bytes as f64 / MIB,
                    500.0,
                    "MiB",
                ),
            ]
        });
        bars.collect()
    }
}

impl Outcome {
    /// Holds the figures against the bars.
    pub(super) fn judge(&mut self) {
        let links = self.links.iter().flat_map(Links::bars);
        let publications = self.publications.iter().flat_map(Publications::bars);
        let catalogue = self.catalogue.iter().flat_map(Catalogue::bars);
        let departures = self.departures.iter().flat_map(Departures::bars);
        let bars = links.chain(publications).chain(catalogue);
        self.bars = bars.chain(departures).collect();
    }

    /// Whether all bars are met.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.bars.iter().all(|bar| bar.met)
    }
}

pub(super) fn bar(text: String, figure: f64, at_most: f64, unit: &'static str) -> Bar {
    Bar {
        text,
        figure,
        at_most,
        unit,
        met: figure <= at_most,
    }
}

pub(super) fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Vec::new();
        self.links.iter().for_each(|links| links.tell(&mut rows));
        self.publications
            .iter()
            .for_each(|found| found.tell(&mut rows));
        self.catalogue
            .iter()
            .for_each(|found| found.tell(&mut rows));
        self.departures
            .iter()
            .for_each(|found| found.tell(&mut rows));
        let mut figures = table();
        figures.set_header(["", "figure"]);
        for (what, figure) in rows {
            figures.add_row([what, figure]);
        }
        let mut bars = table();
        bars.set_header(["bar", "at most", "figure", ""]);
        for bar in &self.bars {
            bars.add_row([
                bar.text.clone(),
                format!("{} {}", bar.at_most, bar.unit),
                format!("{:.2} {}", bar.figure, bar.unit),
                if bar.met { "met" } else { "MISSED" }.to_owned(),
            ]);
        }
        for column in bars.column_iter_mut().skip(1).take(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        write!(f, "{figures}\n\n{bars}")
    }
}

pub(super) type Rows = Vec<(String, String)>;

impl Links {
    fn tell(&self, rows: &mut Rows) {
        let Self {
            joined,
            idle,
            users,
            returned,
            ..
        } = self;
        let mut row = |what: &str, figure: String| rows.push((what.to_owned(), figure));
        row(
            "agents, links of each, workers of the edge",
            format!(
                "{}, {}, {}",
                self.agents, self.links_per_agent, self.edge_workers
            ),
        );
        row(
            "enrolment",
            format!(
                "{:.1} s, {:.1} s CPU of control",
                self.enrolment_seconds, self.enrolment_control_cpu_seconds
            ),
        );
        row(
            "all dial at once",
            format!(
                "{:.1} s, {:.1} s CPU of the edge, {:.1} s of the agents",
                joined.seconds, joined.edge_cpu_seconds, joined.agents_cpu_seconds
            ),
        );
        row(
            "memory of the edge before, after, peak",
            format!(
                "{:.1}, {:.1}, {:.1} MiB",
                joined.before_bytes as f64 / MIB,
                joined.after_bytes as f64 / MIB,
                joined.peak_bytes as f64 / MIB
            ),
        );
        row(
            "memory of a link",
            format!("{:.1} KiB", self.kib_per_link()),
        );
        row(
            "keep-alives",
            format!(
                "{:.2} s CPU of the edge in {:.0} s, {:.0} us a link and minute",
                idle.edge_cpu_seconds, idle.seconds, idle.cpu_us_per_link_minute
            ),
        );
        users.tell(rows);
        let mut row = |what: &str, figure: String| rows.push((what.to_owned(), figure));
        row(
            "killed and started: ready, half, 99 %, all back",
            format!(
                "{:.2} s, {:.1} s, {:.1} s, {:.1} s ({:.0} links/s), {:.1} s CPU of the edge, {:.1} s of the agents",
                returned.edge_ready_seconds,
                returned.half_back_seconds,
                returned.nearly_back_seconds,
                returned.all_back_seconds,
                returned.links_per_second,
                returned.edge_cpu_seconds,
                returned.agents_cpu_seconds
            ),
        );
        row(
            "memory of the edge before, peak, after",
            format!(
                "{:.1}, {:.1}, {:.1} MiB",
                returned.steady_bytes as f64 / MIB,
                returned.peak_bytes as f64 / MIB,
                returned.after_bytes as f64 / MIB
            ),
        );
    }
}

impl Users {
    fn tell(&self, rows: &mut Rows) {
        rows.push((
            "users who connect".to_owned(),
            format!(
                "{}: {:.1} s, {:.1} s CPU of the edge",
                self.users, self.seconds, self.edge_cpu_seconds
            ),
        ));
        rows.push((
            "memory of a user".to_owned(),
            format!("{:.1} KiB", self.kib_per_user()),
        ));
    }
}

impl Publications {
    fn tell(&self, rows: &mut Rows) {
        let mut row = |what: &str, figure: String| rows.push((what.to_owned(), figure));
        row(
            "edges, apps, publications",
            format!("{}, {}, {}", self.edges, self.apps, self.publications),
        );
        row("publishing many at once", each(self.creation_ms_per_app));
        row(
            "all edges have all apps for the first time",
            format!("{:.1} s", self.first_snapshot_seconds),
        );
        row("call of the admin API", self.call_ms.to_string());
        row(
            "start of the call to use at an edge",
            self.from_start_ms.to_string(),
        );
        row(
            "answer to the call to use at an edge",
            self.from_answer_ms.to_string(),
        );
        row(
            "CPU of a publication",
            format!(
                "{:.1} ms of control, {:.1} ms of each edge",
                self.control_cpu_ms_per_publication, self.edge_cpu_ms_per_publication
            ),
        );
    }
}

impl Catalogue {
    fn tell(&self, rows: &mut Rows) {
        rows.push(("apps".to_owned(), self.apps.to_string()));
        rows.push((
            "publishing many at once".to_owned(),
            each(self.creation_ms_per_app),
        ));
        for (whence, started) in [("control", &self.from_control), ("disk", &self.from_disk)] {
            rows.push((
                format!("start from {whence}: ready, CPU, memory, peak"),
                format!(
                    "{:.2} s, {:.2} s, {:.1} MiB, {:.1} MiB",
                    started.ready_seconds,
                    started.cpu_seconds,
                    started.resident_bytes as f64 / MIB,
                    started.peak_bytes as f64 / MIB
                ),
            ));
        }
    }
}

fn each(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2} ms an app"))
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(resident_bytes: u64) -> Outcome {
        let started = || Started {
            ready_seconds: 1.0,
            cpu_seconds: 1.0,
            resident_bytes,
            peak_bytes: resident_bytes,
        };
        let mut outcome = Outcome {
            catalogue: Some(Catalogue {
                apps: 50_000,
                creation_ms_per_app: None,
                from_control: started(),
                from_disk: started(),
            }),
            ..Outcome::default()
        };
        outcome.judge();
        outcome
    }

    #[test]
    fn a_bar_is_met_up_to_its_bound() {
        let mib = 1024 * 1024;
        assert!(catalogue(500 * mib).passed());
        let missed = catalogue(501 * mib);
        assert!(!missed.passed());
        assert!(missed.to_string().contains("MISSED"), "{missed}");
    }
}
