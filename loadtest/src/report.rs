//! What came of a run.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies are kept from 1 us to this, with three digits.
const LATENCY_US_MAX: u64 = 60_000_000;

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection, or no TLS on it.
    Connect,
    /// The request could not be made.
    Request,
    /// The connection broke before the response's head.
    Broken,
    /// The body broke off.
    Truncated,
    /// A status other than 2xx.
    Status(u16),
    /// No complete answer in time.
    Timeout,
    /// Too many requests were under way already.
    NoPlace,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Request => f.write_str("request"),
            Self::Broken => f.write_str("broken"),
            Self::Truncated => f.write_str("truncated"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Timeout => f.write_str("timeout"),
            Self::NoPlace => f.write_str("no place"),
        }
    }
}

/// Counts and latencies of a run.
#[derive(Debug, Clone)]
pub struct Report {
    answered: u64,
    failures: BTreeMap<Failure, u64>,
    latency_us: Histogram<u64>,
}

/// The report as numbers.
#[derive(Debug, Serialize)]
struct Summary {
    answered: u64,
    failed: u64,
    failures: BTreeMap<String, u64>,
    latency_ms: BTreeMap<&'static str, f64>,
}

impl Report {
    pub(crate) fn new() -> Self {
        let latency_us =
            Histogram::new_with_max(LATENCY_US_MAX, 3).expect("the bounds are in range");
        Self {
            answered: 0,
            failures: BTreeMap::new(),
            latency_us,
        }
    }

    pub(crate) fn count(&mut self, outcome: Result<Duration, Failure>) {
        match outcome {
            Ok(latency) => {
                self.answered += 1;
                let us = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_US_MAX);
                self.latency_us.saturating_record(us.min(LATENCY_US_MAX));
            }
            Err(failure) => *self.failures.entry(failure).or_default() += 1,
        }
    }

    /// Requests with a complete 2xx answer.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Requests without one.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// The whole report as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self.summary()).expect("numbers and plain keys are JSON")
    }

    fn summary(&self) -> Summary {
        let ms = |quantile| self.latency_us.value_at_quantile(quantile) as f64 / 1000.0;
        Summary {
            answered: self.answered,
            failed: self.failed(),
            failures: self
                .failures
                .iter()
                .map(|(failure, count)| (failure.to_string(), *count))
                .collect(),
            latency_ms: [
                ("p50", ms(0.5)),
                ("p90", ms(0.9)),
                ("p99", ms(0.99)),
                ("max", ms(1.0)),
            ]
            .into(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = self.summary();
        writeln!(f, "answered   {}", summary.answered)?;
        write!(f, "failed     {}", summary.failed)?;
        for (failure, count) in &summary.failures {
            write!(f, "  ({count} {failure})")?;
        }
        writeln!(f)?;
        let latency = |quantile| {
            summary
                .latency_ms
                .get(quantile)
                .copied()
                .unwrap_or_default()
        };
        let (p50, p90, p99, max) = (
            latency("p50"),
            latency("p90"),
            latency("p99"),
            latency("max"),
        );
        write!(
            f,
            "latency    p50 {p50:.1} ms, p90 {p90:.1} ms, p99 {p99:.1} ms, max {max:.1} ms"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_cause() {
        let mut report = Report::new();
        report.count(Ok(Duration::from_millis(2)));
        report.count(Err(Failure::Status(503)));
        report.count(Err(Failure::Status(503)));
        report.count(Err(Failure::Timeout));
        assert_eq!((report.answered(), report.failed()), (1, 3));
        assert_eq!(report.to_json()["failures"]["status 503"], 2);
        assert!(report.to_string().contains("p50 2.0 ms"), "{report}");
    }
}
