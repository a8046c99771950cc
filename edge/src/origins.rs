//! How the origins of each app do behind each agent: a broken app costs itself, and not the other apps of its agents.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use model::{
    balance::{AppHealth, Failure, Outcome},
    name::{AgentId, AppId},
};

/// Apps and agents that saw a failure; no more than there are in the view.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    apps: RwLock<HashMap<AppId, HashMap<AgentId, AppHealth>>>,
}

impl Origins {
    /// Agents behind which the app's origins failed too much lately. Allocates only if there are some.
    pub(crate) fn failing(&self, app: &AppId, now: impl FnOnce() -> Duration) -> Vec<AgentId> {
        let apps = self.apps.read().unwrap_or_else(PoisonError::into_inner);
        let Some(agents) = apps.get(app) else {
            return Vec::new();
        };
        let now = now();
        let agents = agents.iter();
        agents
            .filter(|(_, health)| health.is_ejected(now))
            .map(|(agent, _)| agent.clone())
            .collect()
    }

    /// Notes how a request for the app went behind the agent.
    pub(crate) fn record(&self, app: &AppId, agent: &AgentId, now: Duration, outcome: Outcome) {
        let apps = self.apps.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(health) = apps.get(app).and_then(|agents| agents.get(agent)) {
            return health.record(now, outcome);
        }
        drop(apps);
        // Nothing is kept of apps that never fail.
        if outcome == Outcome::Failure(Failure::Origin) {
            let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
            let agents = apps.entry(app.clone()).or_default();
            agents
                .entry(agent.clone())
                .or_default()
                .record(now, outcome);
        }
    }

    /// Forgets apps and agents that are gone.
    pub(crate) fn retain(
        &self,
        has_app: impl Fn(&AppId) -> bool,
        has_agent: impl Fn(&AgentId) -> bool,
    ) {
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        apps.retain(|app, agents| {
            agents.retain(|agent, _| has_agent(agent));
            has_app(app) && !agents.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(3600);

    #[test]
    fn failures_of_an_app_are_its_own_and_are_forgotten_with_it() {
        let origins = Origins::default();
        let (wiki, crm): (AppId, AppId) = ("wiki".parse().unwrap(), "crm".parse().unwrap());
        let agent: AgentId = "a1".parse().unwrap();
        for _ in 0..5 {
            origins.record(&wiki, &agent, NOW, Outcome::Failure(Failure::Origin));
            origins.record(&crm, &agent, NOW, Outcome::Head(Duration::ZERO));
        }
        assert_eq!(origins.failing(&wiki, || NOW), std::slice::from_ref(&agent));
        assert_eq!(origins.failing(&crm, || NOW), []);
        assert_eq!(origins.failing(&wiki, || NOW + Duration::from_secs(5)), []);
        origins.retain(|app| *app == wiki, |_| true);
        assert_eq!(origins.failing(&wiki, || NOW), [agent]);
        origins.retain(|_| true, |_| false);
        assert_eq!(origins.failing(&wiki, || NOW), []);
    }
}
