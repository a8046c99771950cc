//! What fails now, by app and agent.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use model::{
    app::App,
    name::{AgentId, AppId},
    reason::Reason,
};
use proto::fabric::{AppFault, AppPart};
use tokio::sync::watch;

use crate::link::Link;

/// Faults that control is told; of more, the first ones by name of app.
const TOLD_MAX: usize = 1_000;

/// One thing that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) part: AppPart,
    pub(super) reason: Reason,
    pub(super) detail: String,
    /// When it was first seen to fail so.
    pub(super) since: SystemTime,
}

/// What fails of one app.
#[derive(Debug, Default)]
struct Standing {
    /// Agents with a link.
    agents: usize,
    /// That there is none.
    unlinked: Option<Fault>,
    by_agent: BTreeMap<AgentId, Fault>,
}

impl Standing {
    fn is_fine(&self) -> bool {
        self.unlinked.is_none() && self.by_agent.is_empty()
    }

    /// Whether another agent serves the app.
    fn is_partly(&self) -> bool {
        self.unlinked.is_none() && self.by_agent.len() < self.agents
    }

    /// The part that fails, if the app cannot be used from here.
    fn part(&self) -> Option<AppPart> {
        let first = self.unlinked.as_ref();
        let first = first.or_else(|| self.by_agent.values().next());
        first.filter(|_| !self.is_partly()).map(|fault| fault.part)
    }
}

/// What fails now.
#[derive(Debug)]
pub(crate) struct Board {
    apps: Mutex<BTreeMap<AppId, Standing>>,
    changed: watch::Sender<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            apps: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Board {
    /// Tells of every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Apps that cannot be used from here, because this part fails.
    pub(crate) fn failing(&self, part: AppPart) -> usize {
        let apps = self.lock();
        apps.values().filter(|app| app.part() == Some(part)).count()
    }

    /// As control is told.
    pub(crate) fn faults(&self) -> Vec<AppFault> {
        let apps = self.lock();
        let rows = apps.iter().flat_map(|(app, standing)| {
            let partly = standing.is_partly();
            let unlinked = standing.unlinked.iter().map(|fault| (String::new(), fault));
            let by_agent = standing.by_agent.iter();
            let by_agent = by_agent.map(|(agent, fault)| (agent.to_string(), fault));
            unlinked
                .chain(by_agent)
                .map(move |(agent, fault)| AppFault {
                    app: app.to_string(),
                    agent,
                    part: fault.part.into(),
                    reason: fault.reason.as_str().to_owned(),
                    detail: fault.detail.clone(),
                    partly,
                    since_ms: unix_ms(fault.since),
                })
        });
        rows.take(TOLD_MAX).collect()
    }

    /// Forgets apps that are published no more.
    pub(super) fn keep(&self, apps: &[Arc<App>]) {
        let known: HashSet<&AppId> = apps.iter().map(|app| &app.id).collect();
        self.change(|held| {
            let before = held.values().filter(|standing| !standing.is_fine()).count();
            held.retain(|app, _| known.contains(app));
            held.values().filter(|standing| !standing.is_fine()).count() != before
        });
    }

    /// These agents have a link; if none has, that is a fault.
    pub(super) fn agents(&self, app: &AppId, links: &[Arc<Link>], none: impl FnOnce() -> Fault) {
        self.change(|held| {
            let standing = held.entry(app.clone()).or_default();
            let before = (
                standing.unlinked.is_some(),
                standing.by_agent.len(),
                standing.agents,
            );
            standing.agents = links.len();
            standing
                .by_agent
                .retain(|agent, _| links.iter().any(|link| link.agent() == agent));
            if links.is_empty() {
                standing.unlinked.get_or_insert_with(none);
            } else {
                standing.unlinked = None;
            }
            let after = (
                standing.unlinked.is_some(),
                standing.by_agent.len(),
                standing.agents,
            );
            before != after && (before.0 || before.1 > 0 || !standing.is_fine())
        });
    }

    /// What the last probe by this agent found; none: it works.
    pub(super) fn set(&self, app: &AppId, agent: &AgentId, fault: Option<Fault>) {
        self.change(|held| {
            let Some(standing) = held.get_mut(app) else {
                return false;
            };
            let Some(fault) = fault else {
                return standing.by_agent.remove(agent).is_some();
            };
            let known = standing.by_agent.get(agent);
            let known =
                known.filter(|known| (known.part, known.reason) == (fault.part, fault.reason));
            let since = known.map_or(fault.since, |known| known.since);
            let fault = Fault { since, ..fault };
            let changed = known != Some(&fault);
            standing.by_agent.insert(agent.clone(), fault);
            changed
        });
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<AppId, Standing>) -> bool) {
        let changed = change(&mut self.lock());
        if changed {
            self.changed.send_modify(|changes| *changes += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppId, Standing>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.as_ref().map_or(0, Duration::as_millis);
    i64::try_from(since).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(reason: Reason, since_s: u64) -> Option<Fault> {
        Some(Fault {
            part: AppPart::Origin,
            reason,
            detail: String::new(),
            since: SystemTime::UNIX_EPOCH + Duration::from_secs(since_s),
        })
    }

    fn board(agents: usize) -> (Board, AppId) {
        let (board, app): (_, AppId) = (Board::default(), "wiki".parse().unwrap());
        let standing = Standing {
            agents,
            ..Standing::default()
        };
        board.lock().insert(app.clone(), standing);
        (board, app)
    }

    #[test]
    fn an_app_fails_once_it_does_by_every_agent() {
        let (board, app) = board(2);
        let [a1, a2]: [AgentId; 2] = ["a1", "a2"].map(|id| id.parse().unwrap());
        board.set(&app, &a1, fault(Reason::OriginConnect, 1));
        let told = board.faults();
        assert_eq!((told.len(), told[0].partly), (1, true));
        assert_eq!(board.failing(AppPart::Origin), 0);
        board.set(&app, &a2, fault(Reason::OriginConnect, 2));
        assert!(board.faults().iter().all(|fault| !fault.partly));
        assert_eq!(board.failing(AppPart::Origin), 1);
        board.set(&app, &a1, None);
        board.set(&app, &a2, None);
        assert_eq!(board.faults(), []);
    }

    #[test]
    fn a_fault_is_as_old_as_its_reason_and_news_are_told_once() {
        let (board, app) = board(1);
        let agent: AgentId = "a1".parse().unwrap();
        let mut changes = board.subscribe();
        for (reason, at, since_ms, is_news) in [
            (Reason::OriginConnect, 1, 1_000, true),
            (Reason::OriginConnect, 5, 1_000, false),
            (Reason::OriginTls, 9, 9_000, true),
        ] {
            board.set(&app, &agent, fault(reason, at));
            assert_eq!(board.faults()[0].since_ms, since_ms);
            assert_eq!(
                changes.has_changed().unwrap(),
                is_news,
                "{reason:?} at {at}"
            );
            changes.mark_unchanged();
        }
    }

    #[test]
    fn an_app_without_agents_fails_by_its_agents() {
        let (board, app) = board(1);
        let agent: AgentId = "a1".parse().unwrap();
        board.set(&app, &agent, fault(Reason::OriginTls, 1));
        board.agents(&app, &[], || Fault {
            part: AppPart::Agent,
            ..fault(Reason::NoAgent, 2).unwrap()
        });
        let told = board.faults();
        assert_eq!((told.len(), told[0].agent.as_str()), (1, ""));
        assert_eq!(board.failing(AppPart::Agent), 1);
        board.keep(&[]);
        assert_eq!(board.faults(), []);
    }
}
