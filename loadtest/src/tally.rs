//! What came of requests: counts and latencies.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies are kept from 1 us to this, with three digits.
const LATENCY_US_MAX: u64 = 120_000_000;
/// Percentiles of reports.
const PERCENTILES: [f64; 7] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0];

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection, no TLS on it, or not the protocol that was asked for.
    Connect,
    /// The connection broke before the response's head.
    Broken,
    /// The body broke off.
    Truncated,
    /// The body has another length than the load says.
    Length,
    /// A status other than 2xx.
    Status(u16),
    /// A status of gRPC other than 0, or none.
    Grpc,
    /// What came back is not what was sent.
    Echo,
    /// What came is not of the protocol.
    Nonsense,
    /// No complete answer in time.
    Timeout,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Broken => f.write_str("broken"),
            Self::Truncated => f.write_str("truncated"),
            Self::Length => f.write_str("length"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Grpc => f.write_str("grpc status"),
            Self::Echo => f.write_str("echo"),
            Self::Nonsense => f.write_str("nonsense"),
            Self::Timeout => f.write_str("timeout"),
        }
    }
}

/// A complete answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Bytes of bodies, both ways.
    pub body_bytes: u64,
    /// Where the answer itself says how long it took, as an event does that carries when it was sent.
    pub took: Option<Duration>,
}

/// Counts and latencies of a load.
#[derive(Debug, Clone)]
pub struct Tally {
    answered: u64,
    body_bytes: u64,
    failures: BTreeMap<Failure, u64>,
    latency_us: Histogram<u64>,
    seconds: f64,
}

/// A tally as numbers.
#[derive(Debug, Serialize)]
struct Summary {
    answered: u64,
    failed: u64,
    failures: BTreeMap<String, u64>,
    seconds: f64,
    requests_per_second: f64,
    body_megabytes_per_second: f64,
    latency_ms: BTreeMap<String, f64>,
}

impl Default for Tally {
    fn default() -> Self {
        let latency_us =
            Histogram::new_with_max(LATENCY_US_MAX, 3).expect("the bounds are in range");
        Self {
            answered: 0,
            body_bytes: 0,
            failures: BTreeMap::new(),
            latency_us,
            seconds: 0.0,
        }
    }
}

impl Tally {
    pub(crate) fn answer(&mut self, answer: Answer, latency: Duration) {
        self.answered += 1;
        self.body_bytes += answer.body_bytes;
        let us = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_US_MAX);
        self.latency_us.saturating_record(us.min(LATENCY_US_MAX));
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        *self.failures.entry(failure).or_default() += 1;
    }

    /// Takes in the tally of another thread.
    pub(crate) fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.body_bytes += other.body_bytes;
        for (failure, count) in &other.failures {
            *self.failures.entry(*failure).or_default() += count;
        }
        self.latency_us
            .add(&other.latency_us)
            .expect("all have the same bounds");
        self.seconds = self.seconds.max(other.seconds);
    }

    pub(crate) fn lasted(&mut self, time: Duration) {
        self.seconds = time.as_secs_f64();
    }

    /// Requests with a complete answer.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Requests without one.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Requests without one, by cause.
    pub fn failures(&self) -> BTreeMap<String, u64> {
        let failures = self.failures.iter();
        failures
            .map(|(failure, count)| (failure.to_string(), *count))
            .collect()
    }

    /// Bytes of bodies of complete answers and of what was sent for them.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// From the first moment until the last answer.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Latency in ms by percentile, ascending; the last is the highest.
    pub fn latency_ms(&self) -> Vec<(f64, f64)> {
        let ms = |percentile| self.latency_us.value_at_percentile(percentile) as f64 / 1000.0;
        PERCENTILES
            .map(|percentile| (percentile, ms(percentile)))
            .into()
    }

    /// The whole tally as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self.summary()).expect("numbers and plain keys are JSON")
    }

    fn summary(&self) -> Summary {
        let per_second = |amount: u64| amount as f64 / self.seconds.max(f64::EPSILON);
        let named = |(percentile, ms): (f64, f64)| match percentile {
            100.0.. => ("max".to_owned(), ms),
            below => (format!("p{below}"), ms),
        };
        Summary {
            answered: self.answered,
            failed: self.failed(),
            failures: self.failures(),
            seconds: self.seconds,
            requests_per_second: per_second(self.answered),
            body_megabytes_per_second: per_second(self.body_bytes) / 1e6,
            latency_ms: self.latency_ms().into_iter().map(named).collect(),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = self.summary();
        writeln!(
            f,
            "answered   {} in {:.1} s: {:.0} requests/s, {:.1} MB/s",
            summary.answered,
            summary.seconds,
            summary.requests_per_second,
            summary.body_megabytes_per_second
        )?;
        write!(f, "failed     {}", summary.failed)?;
        for (failure, count) in &summary.failures {
            write!(f, "  ({count} {failure})")?;
        }
        writeln!(f)?;
        let latency = |name: &str| summary.latency_ms.get(name).copied().unwrap_or_default();
        let [p50, p90, p99, p999, max] = ["p50", "p90", "p99", "p99.9", "max"].map(latency);
        write!(
            f,
            "latency    p50 {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, max {max:.1} ms"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: Answer = Answer {
        body_bytes: 1_000,
        took: None,
    };

    #[test]
    fn failures_are_counted_by_cause() {
        let mut tally = Tally::default();
        tally.answer(ANSWER, Duration::from_millis(2));
        tally.fail(Failure::Status(503));
        tally.fail(Failure::Status(503));
        tally.fail(Failure::Timeout);
        assert_eq!((tally.answered(), tally.failed()), (1, 3));
        assert_eq!(tally.to_json()["failures"]["status 503"], 2);
        assert!(tally.to_string().contains("p50 2.00 ms"), "{tally}");
    }

    #[test]
    fn tallies_of_threads_add_up() {
        let mut all = Tally::default();
        for (ms, seconds) in [(1, 2), (3, 4)] {
            let mut one = Tally::default();
            one.answer(ANSWER, Duration::from_millis(ms));
            one.fail(Failure::Echo);
            one.lasted(Duration::from_secs(seconds));
            all.add(&one);
        }
        let json = all.to_json();
        assert_eq!((all.answered(), all.failed()), (2, 2));
        assert_eq!(json["requests_per_second"], 0.5);
        assert_eq!(json["body_megabytes_per_second"], 0.0005);
        assert_eq!(json["latency_ms"]["max"], 3.001);
    }

    #[test]
    fn a_tally_without_requests_has_figures_too() {
        let json = Tally::default().to_json();
        assert_eq!(json["requests_per_second"], 0.0);
        assert_eq!(json["latency_ms"]["p99.9"], 0.0);
    }
}
