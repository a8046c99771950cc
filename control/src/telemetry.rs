//! Names of control's metrics, and the handles that are held where they move.

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};

/// Calls answered, by `method` and gRPC `code`.
pub const REQUESTS_TOTAL: &str = "control_requests_total";
/// Nodes with an open Sync, by `role`.
pub const SYNC_NODES: &str = "control_sync_nodes";
/// From a change's commit to a node's word that it runs on it.
pub const FANOUT_LAG_SECONDS: &str = "control_fanout_lag_seconds";
/// How long a commit of the store takes, disk included.
pub const STORE_COMMIT_SECONDS: &str = "control_store_commit_seconds";
/// Attempts to enrol, by `outcome`: `enrolled` or the reason of the refusal.
pub const ENROLMENTS_TOTAL: &str = "control_enrolments_total";
/// Snapshots and deltas that a node could not use.
pub const NACKS_TOTAL: &str = "control_nacks_total";
/// TLS connections open now.
pub const CONNECTIONS: &str = "control_connections";

/// Tells the recorder what each metric means; once, at start.
pub fn describe() {
    metrics::describe_counter!(
        REQUESTS_TOTAL,
        Unit::Count,
        "calls answered by method and code"
    );
    metrics::describe_gauge!(SYNC_NODES, Unit::Count, "nodes with an open Sync by role");
    metrics::describe_histogram!(
        FANOUT_LAG_SECONDS,
        Unit::Seconds,
        "from the commit of a change to a node's acknowledgement"
    );
    metrics::describe_histogram!(
        STORE_COMMIT_SECONDS,
        Unit::Seconds,
        "duration of a commit of the store"
    );
    metrics::describe_counter!(
        ENROLMENTS_TOTAL,
        Unit::Count,
        "attempts to enrol by outcome"
    );
    metrics::describe_counter!(NACKS_TOTAL, Unit::Count, "states that a node could not use");
    metrics::describe_gauge!(CONNECTIONS, Unit::Count, "TLS connections open now");
}

pub(crate) fn store_commit_seconds() -> Histogram {
    histogram!(STORE_COMMIT_SECONDS)
}

pub(crate) fn fanout_lag_seconds() -> Histogram {
    histogram!(FANOUT_LAG_SECONDS)
}

pub(crate) fn sync_nodes(role: &'static str) -> Gauge {
    gauge!(SYNC_NODES, "role" => role)
}

pub(crate) fn enrolments(outcome: &'static str) -> Counter {
    counter!(ENROLMENTS_TOTAL, "outcome" => outcome)
}

pub(crate) fn nacks() -> Counter {
    counter!(NACKS_TOTAL)
}

pub(crate) fn connections() -> Gauge {
    gauge!(CONNECTIONS)
}
