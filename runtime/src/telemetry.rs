//! Logs and metrics of a process: installed once, at its start.

mod lines;
mod log;

use std::{
    io::{self, IsTerminal as _},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::ParseError, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

pub use metrics_exporter_prometheus::PrometheusHandle as Rendered;

pub use log::{Log, log, log_to};

pub use lines::{LINES_DROPPED_TOTAL, Line, Lines, flush, lines};

use crate::scope::{Scope, TASK_PANICS_TOTAL, TASKS};

/// Environment variable with the filter of logs, such as `info,edge=debug`.
pub const LOG_VARIABLE: &str = "ADIT_LOG";
/// What is logged when nobody says.
const DEFAULT_FILTER: &str = "info";
/// Histograms keep every value until this is done; five seconds of full load is some megabytes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Bounds of every histogram, all in seconds: from one hop on a machine to the longest timeout anyone sets.
const SECONDS_BUCKETS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// Metrics that every process has.
pub const METRICS: &[Metric] = &[
    Metric {
        kind: Kind::Counter,
        name: TASK_PANICS_TOTAL,
        help: "tasks that panicked and cost only themselves",
    },
    Metric {
        kind: Kind::Gauge,
        name: TASKS,
        help: "tasks that run now",
    },
    Metric {
        kind: Kind::Counter,
        name: LINES_DROPPED_TOTAL,
        help: "access lines left out because nobody took them",
    },
];

/// Why logs or metrics are not there.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("the log filter {text:?} is not valid")]
    Filter {
        /// As written.
        text: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// The thread that writes lines cannot be started.
    #[error("cannot start the writer of logs")]
    Writer(#[source] io::Error),
    /// Another recorder of metrics is installed.
    #[error("cannot install the metrics recorder")]
    Recorder(#[source] Box<BuildError>),
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people, coloured on a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// For people on a terminal, JSON elsewhere.
    #[must_use]
    pub fn of_standard_error() -> Self {
        if io::stderr().is_terminal() {
            Self::Human
        } else {
            Self::Json
        }
    }
}

/// Starts logging, to standard error unless [`log_to`] said where: for people on a terminal, JSON elsewhere. `filter` goes before [`LOG_VARIABLE`].
///
/// A second call in one process leaves the first in force.
///
/// # Errors
/// As [`install_logs_as`].
pub fn install_logs(filter: Option<&str>) -> Result<(), TelemetryError> {
    install_logs_as(filter, LogFormat::of_standard_error())
}

/// As [`install_logs`], in a format of the caller's choice.
///
/// # Errors
/// When the filter is not valid, or no thread can be started.
pub fn install_logs_as(filter: Option<&str>, format: LogFormat) -> Result<(), TelemetryError> {
    let text = filter
        .map(str::to_owned)
        .or_else(|| std::env::var(LOG_VARIABLE).ok())
        .unwrap_or_else(|| DEFAULT_FILTER.to_owned());
    let filter = filter_of(&text)?;
    let layer = tracing_subscriber::fmt::layer().with_writer(log);
    let layer = match format {
        LogFormat::Human => layer.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.with_ansi(false).json().flatten_event(true).boxed(),
    };
    // Refused only when logs are installed already, as in a process that runs several parts.
    let installed = tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init();
    if installed.is_ok() && format == LogFormat::Json {
        lines::install().map_err(TelemetryError::Writer)?;
    }
    Ok(())
}

/// Whether logs can be filtered by `text`.
///
/// # Errors
/// When the filter is not valid.
pub fn check_filter(text: &str) -> Result<(), TelemetryError> {
    filter_of(text).map(drop)
}

fn filter_of(text: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(text).map_err(|source| TelemetryError::Filter {
        text: text.to_owned(),
        source,
    })
}

/// Starts gathering metrics, with a standing task that keeps their memory bounded. Calls after the first give the same handle.
///
/// # Errors
/// When a foreign recorder is installed.
pub fn install_metrics(scope: &Scope) -> Result<PrometheusHandle, TelemetryError> {
    static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*installed {
        return Ok(handle.clone());
    }
    let recorder = |error| TelemetryError::Recorder(Box::new(error));
    let handle = PrometheusBuilder::new()
        .set_buckets(&SECONDS_BUCKETS)
        .map_err(recorder)?
        .install_recorder()
        .map_err(recorder)?;
    describe(METRICS);
    metrics::counter!(LINES_DROPPED_TOTAL).increment(0);
    describe(crate::sync::METRICS);
    describe(crate::renew::METRICS);
    scope.spawn_standing(
        "metrics upkeep",
        upkeep(handle.clone(), scope.child("metrics upkeep")),
    );
    *installed = Some(handle.clone());
    Ok(handle)
}

async fn upkeep(handle: PrometheusHandle, scope: Scope) {
    while !scope.is_cancelled() {
        tokio::select! {
            () = scope.cancelled() => {}
            () = tokio::time::sleep(UPKEEP_INTERVAL) => handle.run_upkeep(),
        }
    }
}

/// One metric, as operators read of it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// How it moves.
    pub kind: Kind,
    /// Process, noun, unit: `edge_requests_total`.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only up.
    Counter,
    /// Up and down.
    Gauge,
    /// Values sorted into fixed buckets of seconds.
    Histogram,
}

/// Describes metrics to whoever reads them. Call once per part, after the recorder is installed.
pub fn describe(described: &[Metric]) {
    for Metric { kind, name, help } in described {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, *help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn metrics_are_installed_once_described_and_bucketed() {
        let scope = Scope::root();
        let handle = install_metrics(&scope).unwrap();
        metrics::counter!(TASK_PANICS_TOTAL).increment(2);
        metrics::histogram!("test_seconds").record(0.003);
        let again = install_metrics(&scope).unwrap();
        let rendered = again.render();
        assert_eq!(scope.running(), 1);
        assert!(rendered.contains("# HELP runtime_task_panics_total tasks that panicked"));
        assert!(rendered.contains("runtime_task_panics_total 2"));
        assert!(rendered.contains("test_seconds_bucket{le=\"0.005\"} 1"));
        assert!(handle.render().contains("test_seconds_count 1"));
        assert!(scope.close(Duration::from_secs(5)).await);
    }

    #[test]
    fn bad_filter_is_named() {
        let error = install_logs(Some("edge=loud")).unwrap_err();
        assert!(error.to_string().contains("edge=loud"));
    }
}
