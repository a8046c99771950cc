//! How often an app's requests may be tried on another agent.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use model::{balance::RetryBudget, name::AppId};
use tokio::time::Instant;

use crate::time::Epoch;

/// Attempts of one request after the first. A third failure says that the group is the problem, not the agent.
pub(crate) const RETRIES_MAX: usize = 2;

/// Budgets by app; as many as there are apps in the view.
#[derive(Debug)]
pub(crate) struct Budgets {
    epoch: Epoch,
    apps: RwLock<HashMap<AppId, Arc<RetryBudget>>>,
}

impl Budgets {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            apps: RwLock::default(),
        }
    }

    /// Notes a new request, which came then.
    pub(crate) fn deposit(&self, app: &AppId, came: Instant) {
        self.budget(app).deposit(self.epoch.at(came));
    }

    /// Takes one retry, if the app has one left.
    pub(crate) fn withdraw(&self, app: &AppId) -> bool {
        self.budget(app).withdraw(self.epoch.since())
    }

    /// Forgets apps that are gone.
    pub(crate) fn retain_apps(&self, exists: impl Fn(&AppId) -> bool) {
        self.apps
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|app, _| exists(app));
    }

    fn budget(&self, app: &AppId) -> Arc<RetryBudget> {
        let apps = self.apps.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(budget) = apps.get(app) {
            return Arc::clone(budget);
        }
        drop(apps);
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(RetryBudget::new(self.epoch.since()));
        Arc::clone(apps.entry(app.clone()).or_insert_with(fresh))
    }
}
