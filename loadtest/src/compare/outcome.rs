//! What came of a comparison, as it stands in the JSON file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{bars::Verdict, machine::Machine, spread::Spread};

/// The target that others are compared with.
pub const YARDSTICK: &str = "nginx-nginx";
const MIB: f64 = 1024.0 * 1024.0;

/// A whole comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Where it ran.
    pub machine: Machine,
    /// Seconds that it took.
    pub took_seconds: u64,
    /// The command that repeats it.
    pub command: String,
    /// Where chance began.
    pub seed: u64,
    /// Every target that was asked for.
    pub targets: Vec<TargetEntry>,
    /// Every load.
    pub cases: Vec<Case>,
    /// Every bar.
    pub bars: Vec<Verdict>,
}

/// A target of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetEntry {
    /// The name of its file.
    pub name: String,
    /// The versions that were measured.
    pub about: Option<String>,
    /// Why it could not be had on this machine.
    pub not_here: Option<String>,
}

/// One load on all targets.
#[derive(Debug, Clone, Serialize)]
pub struct Case {
    /// The name of the load.
    pub name: String,
    /// What it does, for people.
    pub about: String,
    /// The sweep of rates that it is a part of.
    pub sweep: Option<String>,
    /// The rounds of each target, first to last.
    pub rounds: BTreeMap<String, Vec<Round>>,
    /// Why a target has no rounds, or has fewer.
    pub failures: BTreeMap<String, String>,
    /// What `rounds` comes to.
    pub summary: BTreeMap<String, BTreeMap<Measure, Entry>>,
}

/// One target under one load, once.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Round {
    /// Complete answers.
    pub answered: u64,
    /// Requests without one, by cause.
    pub failures: BTreeMap<String, u64>,
    /// Bytes of bodies, both ways.
    pub body_bytes: u64,
    /// How long the load was on.
    pub seconds: f64,
    /// Latency in ms by percentile, ascending.
    pub latency_ms: Vec<(f64, f64)>,
    /// Processor time of the target's processes.
    pub cpu_seconds: f64,
    /// The sum of the highest memory of its processes.
    pub peak_bytes: u64,
    /// Its memory while the load was on.
    pub timeline: Vec<Moment>,
}

/// A target's account at one moment of a round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Moment {
    /// Seconds since the load began.
    pub second: f64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Processor time since the load began.
    pub cpu_seconds: f64,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Complete answers a second.
    Throughput,
    /// Bytes of bodies a second, in MB.
    Transfer,
    /// Half of the requests are quicker than this many ms.
    P50,
    /// 99 of 100 requests are quicker.
    P99,
    /// 999 of 1,000 requests are quicker.
    P999,
    /// Processor time for each answer, in ms.
    Cpu,
    /// The highest memory, in MiB.
    Memory,
}

impl Measure {
    /// All, in the order of the reports.
    pub const ALL: [Self; 7] = [
        Self::Throughput,
        Self::Transfer,
        Self::P50,
        Self::P99,
        Self::P999,
        Self::Cpu,
        Self::Memory,
    ];

    /// What a report calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Throughput => "requests/s",
            Self::Transfer => "MB/s",
            Self::P50 => "p50 ms",
            Self::P99 => "p99 ms",
            Self::P999 => "p99.9 ms",
            Self::Cpu => "CPU ms a request",
            Self::Memory => "peak MiB",
        }
    }

    /// Its figure in a round; `None` when the round has none.
    pub fn of(self, round: &Round) -> Option<f64> {
        let answered = round.answered as f64;
        let figure = match self {
            Self::Throughput => answered / round.seconds,
            Self::Transfer => round.body_bytes as f64 / 1e6 / round.seconds,
            Self::P50 => round.latency(50.0)?,
            Self::P99 => round.latency(99.0)?,
            Self::P999 => round.latency(99.9)?,
            Self::Cpu => round.cpu_seconds * 1000.0 / answered,
            Self::Memory => round.peak_bytes as f64 / MIB,
        };
        (round.answered > 0 && figure.is_finite()).then_some(figure)
    }
}

impl Round {
    /// The latency at `percentile`, or at the next one that is known.
    pub(super) fn latency(&self, percentile: f64) -> Option<f64> {
        let found = self.latency_ms.iter().find(|(at, _)| *at >= percentile);
        found.map(|(_, ms)| *ms)
    }
}

/// A target's figures under one load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Entry {
    /// The figures themselves.
    pub figure: Spread,
    /// As multiples of the yardstick's in the same round; `None` without it.
    pub ratio: Option<Spread>,
}

impl Case {
    /// A case without rounds yet.
    pub fn new(name: &str, about: &str) -> Self {
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
            sweep: None,
            rounds: BTreeMap::new(),
            failures: BTreeMap::new(),
            summary: BTreeMap::new(),
        }
    }

    /// Works out the summary of all rounds.
    pub fn sum_up(&mut self) {
        let entries = |target: &str| {
            let entry = |measure| Some((measure, self.entry(target, measure)?));
            Measure::ALL.into_iter().filter_map(entry).collect()
        };
        self.summary = self
            .rounds
            .keys()
            .map(|target| (target.clone(), entries(target)))
            .collect();
    }

    fn entry(&self, target: &str, measure: Measure) -> Option<Entry> {
        let rounds = self.rounds.get(target)?.iter();
        Some(Entry {
            figure: Spread::of(rounds.map(|round| measure.of(round).unwrap_or(f64::NAN)))?,
            ratio: self.ratio(target, YARDSTICK, measure),
        })
    }

    /// A target's figures as multiples of those of `against`, worked out within each round.
    pub fn ratio(&self, target: &str, against: &str, measure: Measure) -> Option<Spread> {
        let (ours, theirs) = (self.rounds.get(target)?, self.rounds.get(against)?);
        let ratios = ours.iter().zip(theirs).map(|(our, their)| {
            let ratio = measure.of(our).zip(measure.of(their));
            ratio.map_or(f64::NAN, |(our, their)| our / their)
        });
        Spread::of(ratios)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::compare) fn round(answered: u64, cpu_seconds: f64, p99: f64) -> Round {
        Round {
            answered,
            body_bytes: answered * 1_000,
            seconds: 2.0,
            latency_ms: vec![
                (50.0, p99 / 2.0),
                (99.0, p99),
                (99.9, p99 * 2.0),
                (100.0, p99 * 3.0),
            ],
            cpu_seconds,
            peak_bytes: 10 * 1024 * 1024,
            timeline: vec![Moment {
                second: 1.0,
                resident_bytes: 9 * 1024 * 1024,
                cpu_seconds,
            }],
            ..Round::default()
        }
    }

    #[test]
    fn measures_come_from_a_round() {
        let round = round(1_000, 0.5, 8.0);
        let figures = Measure::ALL.map(|measure| measure.of(&round).unwrap());
        assert_eq!(figures, [500.0, 0.5, 4.0, 8.0, 16.0, 0.5, 10.0]);
        let empty = Round {
            seconds: 1.0,
            ..Round::default()
        };
        assert!(
            Measure::ALL
                .iter()
                .all(|measure| measure.of(&empty).is_none())
        );
    }

    #[test]
    fn ratios_are_worked_out_within_each_round() {
        let mut case = Case::new("case", "");
        // The machine is half as fast in the second round; the ratio does not care.
        case.rounds.insert(
            "adit".into(),
            vec![round(3_000, 1.0, 1.0), round(1_500, 1.0, 1.0)],
        );
        case.rounds.insert(
            YARDSTICK.into(),
            vec![round(2_000, 1.0, 1.0), round(1_000, 1.0, 1.0)],
        );
        case.sum_up();
        let entry = case.summary["adit"][&Measure::Throughput];
        assert_eq!(
            entry.ratio,
            Some(Spread {
                median: 1.5,
                min: 1.5,
                max: 1.5
            })
        );
        assert_eq!(
            entry.figure,
            Spread {
                median: 1_125.0,
                min: 750.0,
                max: 1_500.0
            }
        );
        case.rounds.remove(YARDSTICK);
        case.sum_up();
        assert_eq!(case.summary["adit"][&Measure::Throughput].ratio, None);
    }
}
