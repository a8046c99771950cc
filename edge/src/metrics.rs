//! Metrics of the edge. Handles are made once and held, because making one costs more than using it.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, RwLock},
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use model::{
    identity_provider::LOCAL,
    name::{AppId, GroupId},
    reason::Reason,
};
use runtime::telemetry::{Kind, Metric};
use tunnel::Transport;

use crate::client_certificates::{self, CLIENT_CERTIFICATES_TOTAL};
use crate::countries::{COUNTRY_FILE_BUILT_SECONDS, COUNTRY_FILE_FAILURES_TOTAL};
use crate::links::Count;
use crate::passage::{CONTROL_CONNECTIONS, CONTROL_CONNECTIONS_TOTAL};
use crate::probes::{APPS_FAILING, PROBES_TOTAL};
use crate::rule_counts::{ACCESS_RULES_TOTAL, RuleCounts};
use crate::sign_in::reports::SIGN_IN_EVENTS_TOTAL;

/// Apps that ever had metrics of their own; those beyond share the label "other". Each costs about 2 KiB at the exporter, which
/// forgets none.
const LABELLED_APPS_MAX: usize = 2_000;
/// Groups that ever had metrics of their own; those beyond share the label "other".
const LABELLED_GROUPS_MAX: usize = 2_000;
/// Label of what is beyond a bound.
const OTHER: &str = "other";

/// Requests by app and class of status.
const REQUESTS_TOTAL: &str = "edge_requests_total";
/// Time from a request's head to the end of its answer.
const REQUEST_SECONDS: &str = "edge_request_seconds";
/// Requests that failed, by reason.
const FAILURES_TOTAL: &str = "edge_failures_total";
/// Live links by group and transport.
const LINKS: &str = "edge_links";
/// Requests under way.
const STREAMS: &str = "edge_streams";
/// Attempts beyond the first.
const RETRIES_TOTAL: &str = "edge_retries_total";
/// Bytes of bodies by direction.
const BYTES_TOTAL: &str = "edge_bytes_total";
/// Users' connections.
const CONNECTIONS: &str = "edge_connections";
/// Connections that were closed at once, by cause.
const REFUSED_CONNECTIONS_TOTAL: &str = "edge_refused_connections_total";
/// Handshakes that came to nothing, by side.
const HANDSHAKE_FAILURES_TOTAL: &str = "edge_handshake_failures_total";

/// Resources of the snapshot in force that are left out.
const UNUSABLE_RESOURCES: &str = "edge_unusable_resources";

/// Sign-ins by who said who the user is, and what came of it.
const SIGN_INS_TOTAL: &str = "edge_sign_ins_total";

/// Users of identity providers that these were asked about again, and what came of it.
const REFRESHES_TOTAL: &str = "edge_refreshes_total";
/// Terms of use that users were asked to accept, by what came of it.
const TERMS_TOTAL: &str = "edge_terms_total";

/// Every metric of the edge, for its description and for documents.
pub const METRICS: &[Metric] = &[
    metric(
        Kind::Counter,
        REQUESTS_TOTAL,
        "requests by app and class of status",
    ),
    metric(
        Kind::Histogram,
        REQUEST_SECONDS,
        "seconds from a request's head to the end of its answer, by app",
    ),
    metric(
        Kind::Counter,
        FAILURES_TOTAL,
        "requests that failed, by reason",
    ),
    metric(
        Kind::Gauge,
        LINKS,
        "live links by group and transport, quic or tcp",
    ),
    metric(Kind::Gauge, STREAMS, "requests under way"),
    metric(Kind::Counter, RETRIES_TOTAL, "attempts on another agent"),
    metric(Kind::Counter, BYTES_TOTAL, "bytes of bodies by direction"),
    metric(Kind::Gauge, CONNECTIONS, "users' connections"),
    metric(
        Kind::Gauge,
        UNUSABLE_RESOURCES,
        "resources of the snapshot in force that cannot be used",
    ),
    metric(
        Kind::Counter,
        HANDSHAKE_FAILURES_TOTAL,
        "handshakes that came to nothing, by side",
    ),
    metric(
        Kind::Counter,
        ACCESS_RULES_TOTAL,
        "requests that an access rule is about, by rule and outcome",
    ),
    metric(
        Kind::Counter,
        CLIENT_CERTIFICATES_TOTAL,
        "certificates of devices and programs that were looked at, by what came of it",
    ),
    metric(
        Kind::Counter,
        SIGN_IN_EVENTS_TOTAL,
        "events of sign-ins, by what became of them",
    ),
    metric(
        Kind::Counter,
        REFUSED_CONNECTIONS_TOTAL,
        "connections closed at once, by cause",
    ),
    metric(
        Kind::Counter,
        PROBES_TOTAL,
        "probes of apps through agents to their origins, by outcome",
    ),
    metric(
        Kind::Gauge,
        APPS_FAILING,
        "apps that cannot be used from here, by the part that fails",
    ),
    metric(
        Kind::Counter,
        SIGN_INS_TOTAL,
        "sign-ins by identity provider and outcome",
    ),
    metric(
        Kind::Counter,
        REFRESHES_TOTAL,
        "users that identity providers were asked about again, by provider and outcome",
    ),
    metric(
        Kind::Counter,
        TERMS_TOTAL,
        "terms of use asked to be accepted, by outcome",
    ),
    metric(
        Kind::Gauge,
        COUNTRY_FILE_BUILT_SECONDS,
        "when the list of countries was made, in seconds since 1970",
    ),
    metric(
        Kind::Counter,
        COUNTRY_FILE_FAILURES_TOTAL,
        "files of countries that could not be used",
    ),
    metric(
        Kind::Gauge,
        CONTROL_CONNECTIONS,
        "connections that are passed on to control",
    ),
    metric(
        Kind::Counter,
        CONTROL_CONNECTIONS_TOTAL,
        "connections that asked for control, by what became of them",
    ),
];

const fn metric(kind: Kind, name: &'static str, help: &'static str) -> Metric {
    Metric { kind, name, help }
}

/// Counts a sign-in by the word of `provider`, one of those that are published or the fabric itself. Seldom enough to look the handle up.
pub(crate) fn sign_ins(provider: &str, outcome: &'static str) -> Counter {
    counter!(SIGN_INS_TOTAL, "provider" => provider.to_owned(), "outcome" => outcome)
}

/// Counts that a provider was asked again about a user.
pub(crate) fn refreshes(provider: &str, outcome: &'static str) -> Counter {
    counter!(REFRESHES_TOTAL, "provider" => provider.to_owned(), "outcome" => outcome)
}

/// Counts what came of asking a user to accept terms. Seldom enough to look the handle up.
pub(crate) fn terms(outcome: &'static str) -> Counter {
    counter!(TERMS_TOTAL, "outcome" => outcome)
}

/// Handles of the whole edge, and of each app.
pub(crate) struct Metrics {
    /// Requests under way.
    pub streams: Gauge,
    /// Attempts beyond the first.
    pub retries: Counter,
    /// Body bytes from users.
    pub bytes_up: Counter,
    /// Body bytes to users.
    pub bytes_down: Counter,
    /// Users' connections.
    pub connections: Gauge,
    /// Connections that no trusted proxy made, or that did not say for whom.
    pub refused_for_proxy: Counter,
    /// Connections of an address that has its share.
    pub refused_for_address: Counter,
    /// TLS handshakes with users that failed.
    pub user_handshake_failures: Counter,
    /// Handshakes with agents that failed.
    pub agent_handshake_failures: Counter,
    /// Resources of the snapshot in force that are left out.
    pub unusable_resources: Gauge,
    /// What became of access rules.
    pub rules: RuleCounts,
    failures: HashMap<Reason, Counter>,
    no_app: Arc<AppMetrics>,
    apps: RwLock<Apps>,
    groups: RwLock<Groups>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Names that were ever given a label of their own, for the life of the process: the exporter keeps their series so long.
struct Labels {
    given: HashSet<String>,
    max: usize,
}

impl Labels {
    fn up_to(max: usize) -> Self {
        Self {
            given: HashSet::new(),
            max,
        }
    }

    fn of<'a>(&mut self, name: &'a str) -> &'a str {
        if self.given.contains(name) {
            return name;
        }
        if self.given.len() >= self.max {
            return OTHER;
        }
        self.given.insert(name.to_owned());
        name
    }
}

/// Apps of the view that were asked for.
struct Apps {
    held: HashMap<AppId, Arc<AppMetrics>>,
    labels: Labels,
}

/// Groups that have links.
struct Groups {
    held: HashMap<GroupId, LinkGauges>,
    labels: Labels,
}

/// Handles of one app.
pub(crate) struct AppMetrics {
    classes: [Counter; 5],
    seconds: Histogram,
}

impl AppMetrics {
    fn new(app: &str) -> Self {
        let class = |class: &'static str| counter!(REQUESTS_TOTAL, "app" => app.to_owned(), "class" => class);
        Self {
            classes: [
                class("1xx"),
                class("2xx"),
                class("3xx"),
                class("4xx"),
                class("5xx"),
            ],
            seconds: histogram!(REQUEST_SECONDS, "app" => app.to_owned()),
        }
    }

    /// Counts one answered request.
    pub(crate) fn count(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, self.classes.len());
        self.classes[class - 1].increment(1);
        self.seconds.record(took.as_secs_f64());
    }
}

impl Metrics {
    /// Makes the handles with the recorder that is installed now.
    pub(crate) fn new() -> Self {
        Self::with_labels(LABELLED_APPS_MAX, LABELLED_GROUPS_MAX)
    }

    fn with_labels(apps_max: usize, groups_max: usize) -> Self {
        let handshake = |side: &'static str| counter!(HANDSHAKE_FAILURES_TOTAL, "side" => side);
        // Shown from the start; those of providers come with their first sign-in.
        sign_ins(LOCAL, "signed_in").increment(0);
        client_certificates::looked_at(client_certificates::GOOD).increment(0);
        terms("unavailable").increment(0);
        let refused = |cause: &'static str| counter!(REFUSED_CONNECTIONS_TOTAL, "cause" => cause);
        let bytes = |direction: &'static str| counter!(BYTES_TOTAL, "direction" => direction);
        Self {
            streams: gauge!(STREAMS),
            retries: counter!(RETRIES_TOTAL),
            bytes_up: bytes("up"),
            bytes_down: bytes("down"),
            connections: gauge!(CONNECTIONS),
            refused_for_proxy: refused("proxy"),
            refused_for_address: refused("address"),
            user_handshake_failures: handshake("user"),
            agent_handshake_failures: handshake("agent"),
            unusable_resources: gauge!(UNUSABLE_RESOURCES),
            rules: RuleCounts::default(),
            failures: Reason::ALL
                .into_iter()
                .map(|reason| {
                    (
                        reason,
                        counter!(FAILURES_TOTAL, "reason" => reason.as_str()),
                    )
                })
                .collect(),
            no_app: Arc::new(AppMetrics::new("none")),
            apps: RwLock::new(Apps {
                held: HashMap::new(),
                labels: Labels::up_to(apps_max),
            }),
            groups: RwLock::new(Groups {
                held: HashMap::new(),
                labels: Labels::up_to(groups_max),
            }),
        }
    }

    /// Counts one failure.
    pub(crate) fn failure(&self, reason: Reason) {
        if let Some(counter) = self.failures.get(&reason) {
            counter.increment(1);
        }
    }

    /// Handles of an app, or of the requests that found none.
    pub(crate) fn app(&self, app: Option<&AppId>) -> Arc<AppMetrics> {
        let Some(app) = app else {
            return Arc::clone(&self.no_app);
        };
        if let Some(held) = read(&self.apps).held.get(app) {
            return Arc::clone(held);
        }
        let Apps { held, labels } = &mut *write(&self.apps);
        let make = || Arc::new(AppMetrics::new(labels.of(app.as_str())));
        Arc::clone(held.entry(app.clone()).or_insert_with(make))
    }

    /// Forgets the handles of apps that are gone.
    pub(crate) fn retain_apps(&self, exists: impl Fn(&AppId) -> bool) {
        write(&self.apps).held.retain(|app, _| exists(app));
    }

    /// Number of links of a group.
    pub(crate) fn set_links(&self, group: &GroupId, links: Count) {
        let Groups { held, labels } = &mut *write(&self.groups);
        let make = || LinkGauges::new(labels.of(group.as_str()));
        held.entry(group.clone()).or_insert_with(make).set(links);
        if links.all() == 0 {
            held.remove(group);
        }
    }
}

/// Links of one group.
struct LinkGauges {
    quic: Gauge,
    tcp: Gauge,
    shown: Count,
}

impl LinkGauges {
    fn new(group: &str) -> Self {
        let over = |transport: Transport| gauge!(LINKS, "group" => group.to_owned(), "transport" => transport.as_str());
        Self {
            quic: over(Transport::Quic),
            tcp: over(Transport::Tcp),
            shown: Count::default(),
        }
    }

    /// By steps, as groups without a label of their own share their gauges.
    fn set(&mut self, links: Count) {
        let number = |links: usize| f64::from(u32::try_from(links).unwrap_or(u32::MAX));
        self.quic
            .increment(number(links.quic) - number(self.shown.quic));
        self.tcp
            .increment(number(links.tcp) - number(self.shown.tcp));
        self.shown = links;
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use runtime::{Scope, telemetry};

    use super::*;

    #[test]
    fn groups_without_a_label_of_their_own_add_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap();
        let _inside = runtime.enter();
        let exporter = telemetry::install_metrics(&Scope::root()).unwrap();
        let metrics = Metrics::with_labels(1, 1);
        let [one, two, three] = ["one", "two", "three"].map(|id| id.parse::<GroupId>().unwrap());
        for (group, links, others) in [
            (&one, 2, "edge_links{group=\"one\",transport=\"quic\"} 2"),
            (&two, 3, "edge_links{group=\"other\",transport=\"quic\"} 3"),
            (
                &three,
                4,
                "edge_links{group=\"other\",transport=\"quic\"} 7",
            ),
            (&two, 0, "edge_links{group=\"other\",transport=\"quic\"} 4"),
            (&one, 0, "edge_links{group=\"one\",transport=\"quic\"} 0"),
            (&two, 1, "edge_links{group=\"other\",transport=\"quic\"} 5"),
        ] {
            let links = Count {
                quic: links,
                tcp: 0,
            };
            metrics.set_links(group, links);
            let page = exporter.render();
            assert!(page.contains(others), "{others} in\n{page}");
        }
        assert_eq!(read(&metrics.groups).held.len(), 2, "only those with links");
    }

    #[test]
    fn sign_ins_are_counted_by_provider_and_outcome() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap();
        let _inside = runtime.enter();
        let exporter = telemetry::install_metrics(&Scope::root()).unwrap();
        for outcome in ["signed_in", "signed_in", "denied"] {
            sign_ins("entra", outcome).increment(1);
        }
        for outcome in ["shown", "accepted", "accepted"] {
            terms(outcome).increment(1);
        }
        let page = exporter.render();
        for line in [
            "edge_sign_ins_total{provider=\"entra\",outcome=\"signed_in\"} 2",
            "edge_sign_ins_total{provider=\"entra\",outcome=\"denied\"} 1",
            "edge_terms_total{outcome=\"accepted\"} 2",
        ] {
            assert!(page.contains(line), "{line} in\n{page}");
        }
    }

    #[test]
    fn series_are_bounded_however_many_apps_come_and_go() {
        let mut labels = Labels::up_to(2);
        let given = ["a", "b", "c", "a", "d"].map(|app| labels.of(app));
        assert_eq!(given, ["a", "b", OTHER, "a", OTHER]);
    }
}
