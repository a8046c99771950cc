//! Names of control's metrics, and the handles that are held where they move.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use runtime::telemetry::{Kind, Metric};

use crate::admin::ADMIN_REQUESTS_TOTAL;

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
/// Connections closed at once, because too many of their kind are open.
pub const REFUSED_CONNECTIONS_TOTAL: &str = "control_refused_connections_total";

/// Passwords that edges had checked, by `result`.
pub const PASSWORD_CHECKS_TOTAL: &str = "control_password_checks_total";

/// What users showed or changed besides a password, by `result`.
pub const SECOND_FACTOR_CHECKS_TOTAL: &str = "control_second_factor_checks_total";

/// Sessions that identity providers are asked about again.
pub const REFRESHABLE_SESSIONS: &str = "control_refreshable_sessions";
/// Sessions that ended by that, by `reason`.
pub const REFRESH_ENDS_TOTAL: &str = "control_refresh_ends_total";

/// Terms of use that edges had written to be accepted, by `result`.
pub const TERMS_ACCEPTANCES_TOTAL: &str = "control_terms_acceptances_total";

/// Credentials of apps that users kept or removed, by `result`.
pub const CREDENTIALS_TOTAL: &str = "control_credentials_total";

/// Questions to identity providers for their keys, by `outcome`.
pub const PROVIDER_KEY_FETCHES_TOTAL: &str = "control_provider_key_fetches_total";

/// All of them, to be described at start.
pub const METRICS: [Metric; 15] = [
    metric(
        Kind::Counter,
        ADMIN_REQUESTS_TOTAL,
        "calls of the admin API by method and code",
    ),
    metric(Kind::Gauge, SYNC_NODES, "nodes with an open Sync by role"),
    metric(
        Kind::Histogram,
        FANOUT_LAG_SECONDS,
        "from the commit of a change to a node's acknowledgement",
    ),
    metric(
        Kind::Histogram,
        STORE_COMMIT_SECONDS,
        "duration of a commit of the store",
    ),
    metric(
        Kind::Counter,
        ENROLMENTS_TOTAL,
        "attempts to enrol by outcome",
    ),
    metric(
        Kind::Counter,
        NACKS_TOTAL,
        "states that a node could not use",
    ),
    metric(Kind::Gauge, CONNECTIONS, "TLS connections open now"),
    metric(
        Kind::Counter,
        REFUSED_CONNECTIONS_TOTAL,
        "connections closed at once, as too many of their kind were open",
    ),
    metric(
        Kind::Counter,
        PASSWORD_CHECKS_TOTAL,
        "passwords that edges had checked by result",
    ),
    metric(
        Kind::Counter,
        SECOND_FACTOR_CHECKS_TOTAL,
        "second factors that edges had checked or changed by result",
    ),
    metric(
        Kind::Gauge,
        REFRESHABLE_SESSIONS,
        "sessions that identity providers are asked about again",
    ),
    metric(
        Kind::Counter,
        REFRESH_ENDS_TOTAL,
        "sessions that ended as their provider was asked about them, by reason",
    ),
    metric(
        Kind::Counter,
        TERMS_ACCEPTANCES_TOTAL,
        "acceptances of terms of use by result",
    ),
    metric(
        Kind::Counter,
        CREDENTIALS_TOTAL,
        "credentials of apps that users kept or removed by result",
    ),
    metric(
        Kind::Counter,
        PROVIDER_KEY_FETCHES_TOTAL,
        "questions to identity providers for their keys by outcome",
    ),
];

const fn metric(kind: Kind, name: &'static str, help: &'static str) -> Metric {
    Metric { kind, name, help }
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

/// Shows at zero what moves only when something is wrong: an alert cannot see the first step of a counter out of nothing.
pub(crate) fn show_at_zero() {
    nacks().increment(0);
    refused_connections().increment(0);
    for reason in ["refresh_refused", "refresh_changed", "refresh_unanswered"] {
        refresh_ends(reason).increment(0);
    }
    for result in ["wrong", "too_many", "busy"] {
        password_checks(result).increment(0);
    }
    for result in ["wrong", "too_many", "locked"] {
        second_factor_checks(result).increment(0);
    }
    terms_acceptances("outdated").increment(0);
    credentials("refused").increment(0);
    provider_key_fetches("failed").increment(0);
}

pub(crate) fn refreshable_sessions() -> Gauge {
    gauge!(REFRESHABLE_SESSIONS)
}

pub(crate) fn refresh_ends(reason: &'static str) -> Counter {
    counter!(REFRESH_ENDS_TOTAL, "reason" => reason)
}

pub(crate) fn nacks() -> Counter {
    counter!(NACKS_TOTAL)
}

pub(crate) fn refused_connections() -> Counter {
    counter!(REFUSED_CONNECTIONS_TOTAL)
}

pub(crate) fn connections() -> Gauge {
    gauge!(CONNECTIONS)
}

pub(crate) fn password_checks(result: &'static str) -> Counter {
    counter!(PASSWORD_CHECKS_TOTAL, "result" => result)
}

pub(crate) fn second_factor_checks(result: &'static str) -> Counter {
    counter!(SECOND_FACTOR_CHECKS_TOTAL, "result" => result)
}

pub(crate) fn terms_acceptances(result: &'static str) -> Counter {
    counter!(TERMS_ACCEPTANCES_TOTAL, "result" => result)
}

pub(crate) fn credentials(result: &'static str) -> Counter {
    counter!(CREDENTIALS_TOTAL, "result" => result)
}

pub(crate) fn provider_key_fetches(outcome: &'static str) -> Counter {
    counter!(PROVIDER_KEY_FETCHES_TOTAL, "outcome" => outcome)
}
