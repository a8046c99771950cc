//! Whether the process can do its work now: named conditions, all of which must hold.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Named conditions; ready when all hold. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<BTreeMap<&'static str, bool>>>,
}

/// One condition, to be set by the part that knows. It stays as it was set last.
#[derive(Clone, Debug)]
pub struct Condition {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// With no condition yet, and so ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition, which does not hold until it is set.
    #[must_use]
    pub fn condition(&self, name: &'static str) -> Condition {
        self.set(name, false);
        Condition {
            name,
            readiness: self.clone(),
        }
    }

    /// Whether all conditions hold.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.failing().is_empty()
    }

    /// Names of the conditions that do not hold, in alphabetical order.
    #[must_use]
    pub fn failing(&self) -> Vec<&'static str> {
        let conditions = self
            .conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        conditions
            .iter()
            .filter_map(|(name, holds)| (!holds).then_some(*name))
            .collect()
    }

    fn set(&self, name: &'static str, holds: bool) {
        self.conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, holds);
    }
}

impl Condition {
    /// The condition holds.
    pub fn met(&self) {
        self.readiness.set(self.name, true);
    }

    /// The condition does not hold.
    pub fn unmet(&self) {
        self.readiness.set(self.name, false);
    }
}
