//! What control is told of users who come and go: kept here until control has it, as far as there is room.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderMap, Response, header};
use metrics::{Counter, counter};
use model::{
    access::{Denial, RuleDenial},
    name::{AccessRuleId, AppId},
    reason::Reason,
    route::Site,
    user::User,
};
use proto::fabric::{ReportSignInsRequest, SignInEvent, SignInKind};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::{
    came_by,
    credential::Credential,
    session::{Errand, milliseconds},
};
use crate::{id::RequestId, request::Visit, view::View};

/// Events that wait for control; more are lost, and counted. A quarter of an hour of five sign-ins a second, about 2 MB.
const WAITING_MAX: usize = 4_096;
/// Events of one report.
const REPORT_MAX: usize = 256;
/// How long an event waits for others to go with it.
const GATHER: Duration = Duration::from_secs(1);
/// Between two attempts while control does not answer.
pub(super) const RETRY: Duration = Duration::from_secs(10);
/// Who is refused at an app again and again is told of once in so long, so that nobody fills the log by reloading.
const DENIED_PAUSE: Duration = Duration::from_secs(60);
/// Users, apps and reasons, and networks and names, that are remembered for that; then all are forgotten.
const DENIED_MAX: usize = 4_096;
/// Reason where a terminal came or went.
pub(super) const TERMINAL: &str = "terminal";
/// Reason where the identity provider signed a user out.
pub(super) const PROVIDER: &str = "provider";
/// Bytes of what a browser says it is.
const USER_AGENT_BYTES_MAX: usize = 256;

/// Events, by what became of them.
pub(crate) const SIGN_IN_EVENTS_TOTAL: &str = "edge_sign_in_events_total";

/// Where events wait. Clones are the same.
#[derive(Clone)]
pub struct Reports(Arc<Inner>);

struct Inner {
    waiting: Mutex<Waiting>,
    added: Notify,
    reported: Counter,
    lost: Counter,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<SignInEvent>,
    denied: HashMap<(String, AppId, Reason), Instant>,
    /// By a keyed hash of the network, the reason and the name that was typed: people type passwords there.
    refused: HashMap<u64, Instant>,
    names: RandomState,
}

/// Where somebody comes from, as far as it is told.
#[derive(Clone, Debug)]
pub(crate) struct Origin<'a> {
    /// Address of the user.
    pub client: String,
    /// Of the request.
    pub fields: &'a HeaderMap,
    /// Of the request.
    pub request_id: String,
}

impl std::fmt::Debug for Reports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reports")
    }
}

impl Default for Reports {
    fn default() -> Self {
        let events = |outcome: &'static str| counter!(SIGN_IN_EVENTS_TOTAL, "outcome" => outcome);
        Self(Arc::new(Inner {
            waiting: Mutex::default(),
            added: Notify::new(),
            reported: events("reported"),
            lost: events("lost"),
        }))
    }
}

impl Reports {
    /// Tells of `event`, at the next opportunity.
    pub(crate) fn add(&self, origin: &Origin<'_>, at: std::time::SystemTime, event: SignInEvent) {
        let agent = origin.fields.get(header::USER_AGENT);
        let agent = agent
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or_default();
        let id: [u8; 16] = rand::random();
        let event = SignInEvent {
            id: id.to_vec().into(),
            at_ms: milliseconds(at),
            client: origin.client.clone(),
            user_agent: agent.chars().take(USER_AGENT_BYTES_MAX).collect(),
            request_id: origin.request_id.clone(),
            ..event
        };
        let mut waiting = self.waiting();
        if waiting.events.len() >= WAITING_MAX {
            self.0.lost.increment(1);
            return;
        }
        waiting.events.push_back(event);
        drop(waiting);
        self.0.added.notify_one();
    }

    /// Whether it is time to tell again that a user may not use an app for this reason.
    pub(crate) fn is_denial_news(
        &self,
        user: &User,
        (app, reason): (&AppId, Reason),
        now: Instant,
    ) -> bool {
        let mut waiting = self.waiting();
        let key = (user.id.to_string(), app.clone(), reason);
        let last = waiting.denied.get(&key);
        if last.is_some_and(|last| now.duration_since(*last) < DENIED_PAUSE) {
            return false;
        }
        if waiting.denied.len() >= DENIED_MAX {
            waiting.denied.clear();
        }
        waiting.denied.insert(key, now);
        true
    }

    /// Whether it is time to tell again that a sign-in came to nothing for a reason: once in so long for a network and a name, and where no name
    /// was looked at, for the network, or the IPv6 /48, alone.
    pub(crate) fn is_refusal_news(
        &self,
        client: IpAddr,
        (reason, user): (&str, &str),
        now: Instant,
    ) -> bool {
        let bits = if user.is_empty() { 48 } else { 64 };
        let network = match client.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let prefix = address.to_bits() & !(u128::MAX >> bits);
                IpAddr::V6(Ipv6Addr::from_bits(prefix))
            }
        };
        let mut waiting = self.waiting();
        let key = waiting.names.hash_one((network, reason, user));
        let last = waiting.refused.get(&key);
        if last.is_some_and(|last| now.duration_since(*last) < DENIED_PAUSE) {
            return false;
        }
        if waiting.refused.len() >= DENIED_MAX {
            let is_recent = |last: &Instant| now.duration_since(*last) < DENIED_PAUSE;
            waiting.refused.retain(|_, last| is_recent(last));
        }
        if waiting.refused.len() >= DENIED_MAX {
            waiting.refused.clear();
        }
        waiting.refused.insert(key, now);
        true
    }

    /// The oldest that wait, without taking them away: they go when control has them.
    #[must_use]
    pub fn oldest(&self) -> ReportSignInsRequest {
        let waiting = self.waiting();
        ReportSignInsRequest {
            events: waiting.events.iter().take(REPORT_MAX).cloned().collect(),
        }
    }

    /// Control has the oldest `count`.
    pub fn done(&self, count: usize) {
        let mut waiting = self.waiting();
        let count = count.min(waiting.events.len());
        waiting.events.drain(..count);
        self.0
            .reported
            .increment(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// What there is to tell next; waits for it, and a moment longer for what may go with it.
    pub(crate) async fn next(&self) -> ReportSignInsRequest {
        loop {
            let report = self.oldest();
            if !report.events.is_empty() {
                return report;
            }
            self.0.added.notified().await;
            sleep(GATHER).await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Origin<'a> {
    /// Of a request.
    pub(crate) fn of(visit: &Visit, fields: &'a HeaderMap, id: RequestId) -> Self {
        Self {
            client: visit.user.address.ip().to_canonical().to_string(),
            fields,
            request_id: id.to_string(),
        }
    }
}

/// That a session came to an app's host; rides on the answer that makes it, until it is told.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    /// Whose.
    pub user: Arc<User>,
    /// Path and query that they come for.
    pub target: String,
    /// Id of the app that they came by; empty: the target tells.
    pub app: String,
}

/// Tells that a session came to an app, if `answer` is where it did.
pub(crate) fn tell_opened<B>(
    visit: &Visit,
    site: &Site,
    answer: &Response<B>,
    origin: &Origin<'_>,
) {
    let Some(Opened { user, target, app }) = answer.extensions().get() else {
        return;
    };
    let edge = &visit.worker.edge;
    let event = SignInEvent {
        app: came_by::named(site, app, target)
            .map(|app| app.id.to_string())
            .unwrap_or_default(),
        ..of_user(SignInKind::AppOpened, user)
    };
    edge.accounts
        .reports()
        .add(origin, edge.epoch.clock().wall(), event);
}

/// Tells that a user may not use an app, or has to show more for it, unless it was told a moment ago: in a browser, a terminal or an app that shows
/// a token. Programs have no part in the log.
pub(crate) fn tell_denied(
    visit: &Visit,
    (denial, credential): (&Denial, Option<&Credential>),
    app: &AppId,
    (fields, id): (&HeaderMap, RequestId),
) {
    let Some(session) = credential.and_then(Credential::session) else {
        return;
    };
    let Some((reason, rule)) = grounds(denial) else {
        return;
    };
    let edge = &visit.worker.edge;
    let (reports, clock) = (edge.accounts.reports(), edge.epoch.clock());
    if !reports.is_denial_news(&session.user, (app, reason), clock.now()) {
        return;
    }
    let event = SignInEvent {
        app: app.to_string(),
        reason: reason.as_str().to_owned(),
        rule: rule.map(ToString::to_string).unwrap_or_default(),
        ..of_user(SignInKind::AppDenied, &session.user)
    };
    reports.add(&Origin::of(visit, fields, id), clock.wall(), event);
}

/// Why a user is refused, and by which rule; `None` where it is nothing about the user.
fn grounds(denial: &Denial) -> Option<(Reason, Option<&AccessRuleId>)> {
    match denial {
        Denial::NotAssigned(_) => Some((Reason::NotAssigned, None)),
        Denial::Blocked(RuleDenial { rule, .. }) => Some((Reason::Blocked, Some(rule))),
        Denial::Lacking { denial, needs } => {
            let reason = if needs.device_certificate {
                Reason::DeviceRequired
            } else if needs.are_terms_alone() {
                Reason::TermsRequired
            } else {
                Reason::StepUpRequired
            };
            Some((reason, Some(&denial.rule)))
        }
        Denial::NotSignedIn
        | Denial::OtherProvider
        | Denial::ServiceNotAssigned(_)
        | Denial::ProgramNotAssigned(_)
        | Denial::UnreadableRule => None,
    }
}

/// The app that an errand is for; empty if there is none.
pub(crate) fn app_of(view: &View, errand: Option<&Errand>) -> String {
    let Some(Errand(errand)) = errand else {
        return String::new();
    };
    let app = came_by::app_of(view, errand);
    app.map(|app| app.id.to_string()).unwrap_or_default()
}

/// What is told of a user who has signed in.
pub(crate) fn of_user(kind: SignInKind, user: &User) -> SignInEvent {
    let authentication = &user.authentication;
    let provider = authentication.provider.as_ref();
    SignInEvent {
        kind: kind.into(),
        user: user.id.to_string(),
        methods: authentication.methods.clone(),
        provider: provider.map(ToString::to_string).unwrap_or_default(),
        ..SignInEvent::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use model::access::needs::Needs;

    use super::*;

    fn add(reports: &Reports, user: &str) {
        let mut fields = HeaderMap::new();
        fields.insert(header::USER_AGENT, "x".repeat(1_000).parse().unwrap());
        let origin = Origin {
            client: "192.0.2.1".to_owned(),
            fields: &fields,
            request_id: "1".to_owned(),
        };
        let user = User::new(user.parse().unwrap());
        let event = of_user(SignInKind::SignedIn, &user);
        reports.add(&origin, SystemTime::UNIX_EPOCH, event);
    }

    #[test]
    fn what_is_beyond_the_bound_is_lost_and_the_rest_stays() {
        let reports = Reports::default();
        for number in 0..WAITING_MAX + 10 {
            add(&reports, &format!("u{number}"));
        }
        let mut told = 0;
        loop {
            let count = reports.oldest().events.len();
            if count == 0 {
                break;
            }
            assert!(count <= REPORT_MAX);
            reports.done(count);
            told += count;
        }
        assert_eq!(told, WAITING_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn events_go_together_and_stay_until_control_has_them() {
        let reports = Reports::default();
        let later = reports.clone();
        let users = |report: &ReportSignInsRequest| {
            let events = report.events.iter();
            events.map(|event| event.user.clone()).collect::<Vec<_>>()
        };
        let add_two = async {
            add(&later, "alice");
            sleep(GATHER / 2).await;
            add(&later, "bob");
        };
        let (report, ()) = tokio::join!(reports.next(), add_two);
        assert_eq!(users(&report), ["alice", "bob"]);
        assert_eq!(report.events[0].user_agent.len(), USER_AGENT_BYTES_MAX);
        // Nobody answered: they are told again, and what came meanwhile with them.
        add(&reports, "carol");
        assert_eq!(users(&reports.next().await), ["alice", "bob", "carol"]);
        reports.done(2);
        assert_eq!(users(&reports.next().await), ["carol"]);
        reports.done(9);
        let nothing = tokio::time::timeout(RETRY, reports.next()).await;
        assert!(nothing.is_err(), "there is nothing more to tell");
    }

    #[test]
    fn refusals_of_rules_name_the_rule_and_faults_of_the_fabric_are_nobodys() {
        let denial = || RuleDenial {
            rule: "office-only".parse().unwrap(),
            message: String::new(),
        };
        let lacking = |device_certificate| Denial::Lacking {
            denial: denial(),
            needs: Needs {
                device_certificate,
                ..Needs::default()
            },
        };
        for (denial, want) in [
            (Denial::Blocked(denial()), Some("blocked")),
            (lacking(false), Some("step_up_required")),
            (lacking(true), Some("device_required")),
            (Denial::UnreadableRule, None),
            (Denial::NotSignedIn, None),
            (Denial::OtherProvider, None),
        ] {
            let found = grounds(&denial).map(|(reason, rule)| {
                let rule = rule.expect("a rule refuses");
                assert_eq!(rule.as_str(), "office-only");
                reason.as_str()
            });
            assert_eq!(found, want, "{denial:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_reloads_a_refusal_is_told_of_once_a_minute() {
        let reports = Reports::default();
        let (alice, bob) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let (alice, bob) = (User::new(alice), User::new(bob));
        let app = "wiki".parse().unwrap();
        let refused = |user, reason| reports.is_denial_news(user, (&app, reason), Instant::now());
        let news = |user| refused(user, Reason::NotAssigned);
        assert_eq!(
            (news(&alice), news(&alice), news(&bob)),
            (true, false, true)
        );
        assert!(refused(&alice, Reason::Blocked), "another reason is news");
        sleep(DENIED_PAUSE).await;
        assert!(news(&alice));
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_of_a_network_are_told_once_a_minute() {
        let reports = Reports::default();
        let news = |client: &str, user: &str| {
            let client = client.parse().unwrap();
            let reason = if user.is_empty() { "too_many" } else { "wrong" };
            reports.is_refusal_news(client, (reason, user), Instant::now())
        };
        for (client, user, want) in [
            ("2001:db8:1:1::1", "alice", true),
            ("2001:db8:1:1::2", "alice", false),
            ("2001:db8:1:2::1", "alice", true),
            ("2001:db8:1:1::1", "bob", true),
            ("2001:db8:1:1::1", "", true),
            ("2001:db8:1:2::1", "", false),
            ("2001:db8:2:1::1", "", true),
            ("192.0.2.1", "", true),
            ("192.0.2.2", "", true),
        ] {
            assert_eq!(news(client, user), want, "{client} {user}");
        }
        let other = ("wrong_passkey", "");
        let client = "192.0.2.1".parse().unwrap();
        assert!(reports.is_refusal_news(client, other, Instant::now()));
        assert!(!reports.is_refusal_news(client, other, Instant::now()));
        sleep(DENIED_PAUSE).await;
        assert!(news("2001:db8:1:1::1", "alice"));
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_were_typed_are_not_kept() {
        let reports = Reports::default();
        let client = "192.0.2.1".parse().unwrap();
        assert!(reports.is_refusal_news(client, ("wrong", "hunter2hunter2"), Instant::now()));
        let kept = format!("{:?}", reports.waiting().refused);
        assert!(!kept.contains("hunter2"), "{kept}");
    }
}
