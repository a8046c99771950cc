//! What an agent counts. Handles are made once and held: making one looks its name up each time.

mod kept;
mod kerberos;

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use model::reason::Reason;
use runtime::telemetry::{self, Kind, Metric};
use tunnel::Transport;

pub use kept::KEPT_SIGN_ONS_TOTAL;
use kept::KeptMetrics;
pub(crate) use kept::KeptOutcome;
pub use kerberos::KerberosMetrics;

/// Requests that ended, by outcome: `ok`, or the reason of the failure.
pub const REQUESTS_TOTAL: &str = "agent_requests_total";
/// Time from the request's head to the last byte of the answer.
pub const REQUEST_SECONDS: &str = "agent_request_seconds";
/// Body bytes, by direction: `to_origin` or `from_origin`.
pub const BYTES_TOTAL: &str = "agent_bytes_total";
/// Requests in progress.
pub const UPLINK_STREAMS: &str = "agent_uplink_streams";
/// Uplinks, by state (`up` or `connecting`) and transport (`quic` or `tcp`).
pub const UPLINKS: &str = "agent_uplinks";
/// Attempts to connect to an edge, by transport and outcome.
pub const UPLINK_CONNECTS_TOTAL: &str = "agent_uplink_connects_total";
/// Fresh connections to origins, by outcome.
pub const ORIGIN_CONNECTS_TOTAL: &str = "agent_origin_connects_total";
/// Connections to origins, idle ones included.
pub const ORIGIN_CONNECTIONS: &str = "agent_origin_connections";
/// Looks at origins that are published with a health check, by outcome: `ok` or `failed`.
pub const HEALTH_CHECKS_TOTAL: &str = "agent_health_checks_total";
/// Origins that fail their health check now.
pub const ORIGINS_UNHEALTHY: &str = "agent_origins_unhealthy";
/// Requests for apps none of whose origins passes its health check.
pub const ORIGIN_PANICS_TOTAL: &str = "agent_origin_panics_total";
/// Connections to origins that belong to one user's connection each.
pub const PINNED_CONNECTIONS: &str = "agent_pinned_connections";
/// Exchanges with domain controllers, and what apps said of tickets, by stage and outcome.
pub const KERBEROS_EXCHANGES_TOTAL: &str = "agent_kerberos_exchanges_total";
/// Time of an exchange with a domain controller.
pub const KERBEROS_EXCHANGE_SECONDS: &str = "agent_kerberos_exchange_seconds";
/// Time that a request waited for its token.
pub const KERBEROS_TOKEN_SECONDS: &str = "agent_kerberos_token_seconds";
/// Tickets kept, each of one user for one app.
pub const KERBEROS_TICKETS: &str = "agent_kerberos_tickets";
/// Whether no domain controller is asked, as none has answered.
pub const KERBEROS_BREAKER_OPEN: &str = "agent_kerberos_breaker_open";
/// How long the agent's own ticket lives yet.
pub const KERBEROS_TICKET_LEFT_SECONDS: &str = "agent_kerberos_ticket_left_seconds";

/// All metrics of this crate.
pub const METRICS: &[Metric] = &[
    Metric {
        kind: Kind::Counter,
        name: REQUESTS_TOTAL,
        help: "requests that ended, by outcome: ok, or the reason of the failure",
    },
    Metric {
        kind: Kind::Histogram,
        name: REQUEST_SECONDS,
        help: "time from the head of an answered request to the last byte of its answer",
    },
    Metric {
        kind: Kind::Counter,
        name: BYTES_TOTAL,
        help: "body bytes, by direction: to_origin or from_origin",
    },
    Metric {
        kind: Kind::Gauge,
        name: UPLINK_STREAMS,
        help: "requests in progress",
    },
    Metric {
        kind: Kind::Gauge,
        name: UPLINKS,
        help: "uplinks, by state (up or connecting) and transport (quic or tcp)",
    },
    Metric {
        kind: Kind::Counter,
        name: UPLINK_CONNECTS_TOTAL,
        help: "attempts to connect to an edge, by transport and outcome",
    },
    Metric {
        kind: Kind::Counter,
        name: ORIGIN_CONNECTS_TOTAL,
        help: "attempts to connect to an origin, by outcome",
    },
    Metric {
        kind: Kind::Gauge,
        name: ORIGIN_CONNECTIONS,
        help: "connections to origins, idle ones included",
    },
    Metric {
        kind: Kind::Counter,
        name: HEALTH_CHECKS_TOTAL,
        help: "looks at origins, by outcome: ok or failed",
    },
    Metric {
        kind: Kind::Gauge,
        name: ORIGINS_UNHEALTHY,
        help: "origins that fail their health check now",
    },
    Metric {
        kind: Kind::Counter,
        name: ORIGIN_PANICS_TOTAL,
        help: "requests for apps none of whose origins passes its health check",
    },
    Metric {
        kind: Kind::Gauge,
        name: PINNED_CONNECTIONS,
        help: "connections to origins that belong to one user's connection each, for NTLM and Negotiate",
    },
    kept::METRIC,
    Metric {
        kind: Kind::Counter,
        name: KERBEROS_EXCHANGES_TOTAL,
        help: "exchanges with domain controllers, and what apps said of tickets, by stage and outcome",
    },
    Metric {
        kind: Kind::Histogram,
        name: KERBEROS_EXCHANGE_SECONDS,
        help: "time of an exchange with a domain controller",
    },
    Metric {
        kind: Kind::Histogram,
        name: KERBEROS_TOKEN_SECONDS,
        help: "time that a request waited for its token",
    },
    Metric {
        kind: Kind::Gauge,
        name: KERBEROS_TICKETS,
        help: "tickets kept, each of one user for one app",
    },
    Metric {
        kind: Kind::Gauge,
        name: KERBEROS_BREAKER_OPEN,
        help: "1 while no domain controller is asked, as none has answered",
    },
    Metric {
        kind: Kind::Gauge,
        name: KERBEROS_TICKET_LEFT_SECONDS,
        help: "how long the agent's own ticket lives yet",
    },
];

/// Handles of everything that the agent counts. Clones count into the same.
#[derive(Clone, Debug)]
pub struct AgentMetrics {
    ok: Counter,
    failed: Vec<Counter>,
    pub(crate) request_seconds: Histogram,
    pub(crate) to_origin_bytes: Counter,
    pub(crate) from_origin_bytes: Counter,
    pub(crate) uplink_streams: Gauge,
    uplinks_over_quic: UplinkMetrics,
    uplinks_over_tcp: UplinkMetrics,
    origin_connects: Vec<Counter>,
    pub(crate) origin_connections: Gauge,
    pub(crate) checks_ok: Counter,
    pub(crate) checks_failed: Counter,
    pub(crate) origins_unhealthy: Gauge,
    pub(crate) origin_panics: Counter,
    pub(crate) pinned_connections: Gauge,
    kept: KeptMetrics,
    pub(crate) kerberos: KerberosMetrics,
}

impl AgentMetrics {
    /// Describes the metrics and makes the handles. Call after the recorder is installed.
    #[must_use]
    pub fn new() -> Self {
        telemetry::describe(METRICS);
        Self {
            ok: counter!(REQUESTS_TOTAL, "outcome" => "ok"),
            failed: Reason::ALL
                .iter()
                .map(|reason| counter!(REQUESTS_TOTAL, "outcome" => reason.as_str()))
                .collect(),
            request_seconds: histogram!(REQUEST_SECONDS),
            to_origin_bytes: counter!(BYTES_TOTAL, "direction" => "to_origin"),
            from_origin_bytes: counter!(BYTES_TOTAL, "direction" => "from_origin"),
            uplink_streams: gauge!(UPLINK_STREAMS),
            uplinks_over_quic: UplinkMetrics::new(Transport::Quic),
            uplinks_over_tcp: UplinkMetrics::new(Transport::Tcp),
            origin_connects: DialOutcome::ALL
                .iter()
                .map(|outcome| counter!(ORIGIN_CONNECTS_TOTAL, "outcome" => outcome.as_str()))
                .collect(),
            origin_connections: gauge!(ORIGIN_CONNECTIONS),
            checks_ok: counter!(HEALTH_CHECKS_TOTAL, "outcome" => "ok"),
            checks_failed: counter!(HEALTH_CHECKS_TOTAL, "outcome" => "failed"),
            origins_unhealthy: gauge!(ORIGINS_UNHEALTHY),
            origin_panics: counter!(ORIGIN_PANICS_TOTAL),
            pinned_connections: gauge!(PINNED_CONNECTIONS),
            kept: KeptMetrics::new(),
            kerberos: KerberosMetrics::new(),
        }
    }

    /// A request was answered whole.
    pub(crate) fn request_ok(&self, took: Duration) {
        self.ok.increment(1);
        self.request_seconds.record(took);
    }

    /// Counts a sign-in at an app by a credential that is kept.
    pub(crate) fn kept_sign_on(&self, outcome: KeptOutcome) {
        self.kept.count(outcome);
    }

    /// A request failed.
    pub(crate) fn request_failed(&self, reason: Reason) {
        let row = Reason::ALL.iter().position(|known| *known == reason);
        if let Some(counter) = row.and_then(|row| self.failed.get(row)) {
            counter.increment(1);
        }
    }

    pub(crate) fn uplinks_up(&self, transport: Transport) -> &Gauge {
        &self.over(transport).up
    }

    pub(crate) fn uplinks_connecting(&self, transport: Transport) -> &Gauge {
        &self.over(transport).connecting
    }

    pub(crate) fn uplink_connect(&self, transport: Transport, outcome: LinkOutcome) {
        if let Some(counter) = self.over(transport).connects.get(outcome as usize) {
            counter.increment(1);
        }
    }

    const fn over(&self, transport: Transport) -> &UplinkMetrics {
        match transport {
            Transport::Quic => &self.uplinks_over_quic,
            Transport::Tcp => &self.uplinks_over_tcp,
        }
    }

    pub(crate) fn origin_connect(&self, outcome: DialOutcome) {
        if let Some(counter) = self.origin_connects.get(outcome as usize) {
            counter.increment(1);
        }
    }
}

/// Handles of uplinks over one transport.
#[derive(Clone, Debug)]
struct UplinkMetrics {
    up: Gauge,
    connecting: Gauge,
    /// In order of [`LinkOutcome`].
    connects: Vec<Counter>,
}

impl UplinkMetrics {
    fn new(transport: Transport) -> Self {
        let over = transport.as_str();
        let connects = LinkOutcome::ALL.iter().map(|outcome| {
            counter!(UPLINK_CONNECTS_TOTAL, "transport" => over, "outcome" => outcome.as_str())
        });
        Self {
            up: gauge!(UPLINKS, "state" => "up", "transport" => over),
            connecting: gauge!(UPLINKS, "state" => "connecting", "transport" => over),
            connects: connects.collect(),
        }
    }
}

impl Default for AgentMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// How an attempt to connect to an edge ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum LinkOutcome {
    Welcome,
    Lookup,
    Refused,
    Tls,
    Timeout,
    Transport,
}

impl LinkOutcome {
    const ALL: [Self; 6] = [
        Self::Welcome,
        Self::Lookup,
        Self::Refused,
        Self::Tls,
        Self::Timeout,
        Self::Transport,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::Lookup => "lookup",
            Self::Refused => "refused",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Transport => "transport",
        }
    }
}

/// How an attempt to connect to an origin ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum DialOutcome {
    Ok,
    Lookup,
    NotAllowed,
    Connect,
    Tls,
    Http,
    Proxy,
    Timeout,
}

impl DialOutcome {
    const ALL: [Self; 8] = [
        Self::Ok,
        Self::Lookup,
        Self::NotAllowed,
        Self::Connect,
        Self::Tls,
        Self::Http,
        Self::Proxy,
        Self::Timeout,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Lookup => "lookup",
            Self::NotAllowed => "not_allowed",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Proxy => "proxy",
            Self::Timeout => "timeout",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_stand_at_their_own_index() {
        for (index, outcome) in LinkOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
        for (index, outcome) in DialOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
    }
}
