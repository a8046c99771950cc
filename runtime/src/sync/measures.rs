//! What operators can see of distribution.

use metrics::{Counter, Gauge};

use crate::{
    node::Role,
    telemetry::{Kind, Metric},
};

/// Metric: 1 while control is on the line.
pub const CONNECTED: &str = "sync_connected";
/// Metric: revision that the node runs on.
pub const APPLIED_REVISION: &str = "sync_applied_revision";
/// Metric: snapshots written to disk.
pub const SNAPSHOT_WRITES_TOTAL: &str = "sync_snapshot_writes_total";

/// All metrics of this module. The label `role` is `agent` or `edge`.
pub const METRICS: &[Metric] = &[
    Metric {
        kind: Kind::Gauge,
        name: CONNECTED,
        help: "1 while control is on the line, else 0",
    },
    Metric {
        kind: Kind::Gauge,
        name: APPLIED_REVISION,
        help: "revision of the store that the node runs on",
    },
    Metric {
        kind: Kind::Counter,
        name: SNAPSHOT_WRITES_TOTAL,
        help: "snapshots written to disk",
    },
];

pub(super) fn connected(role: Role) -> Gauge {
    metrics::gauge!(CONNECTED, "role" => role.as_str())
}

pub(super) fn applied_revision(role: Role) -> Gauge {
    metrics::gauge!(APPLIED_REVISION, "role" => role.as_str())
}

pub(super) fn snapshot_writes(role: Role) -> Counter {
    metrics::counter!(SNAPSHOT_WRITES_TOTAL, "role" => role.as_str())
}
