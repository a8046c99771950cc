//! Everything a node needs to know at one revision of the store, and what leads from one revision to a later one.
//!
//! Rules: a snapshot is changed by whole deltas only, a delta fits exactly one revision, and revisions only grow. So a
//! node that missed a delta, or got one twice, notices instead of drifting from the store.

use std::collections::BTreeMap;

/// All resources at one revision, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot<R> {
    /// Revision of the store; 0 is before the first write.
    pub revision: u64,
    /// The resources by their names, such as `apps/wiki`.
    pub resources: BTreeMap<String, R>,
}

/// What leads from one revision to a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta<R> {
    /// The only revision that it fits.
    pub from: u64,
    /// The revision that it leads to.
    pub to: u64,
    /// Resources that are new or have changed.
    pub upserts: Vec<(String, R)>,
    /// Names of those that are gone.
    pub deletes: Vec<String>,
}

/// Why a delta was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// It is for another revision than the one held.
    #[error("the delta is from revision {from}, but revision {held} is held")]
    WrongFrom {
        /// Revision held.
        held: u64,
        /// Revision that the delta fits.
        from: u64,
    },
    /// It does not lead to a later revision.
    #[error("the delta leads from revision {from} to {to}, which is not later")]
    NotForward {
        /// Revision that the delta fits.
        from: u64,
        /// Revision that it leads to.
        to: u64,
    },
}

impl<R> Default for Snapshot<R> {
    /// What there is before the first write: nothing.
    fn default() -> Self {
        Self {
            revision: 0,
            resources: BTreeMap::new(),
        }
    }
}

impl<R> Snapshot<R> {
    /// Moves to the delta's revision, or changes nothing.
    ///
    /// Deletes come before upserts; deleting what is not there is no error, as a delta may sum up several revisions.
    pub fn apply(&mut self, delta: Delta<R>) -> Result<(), DeltaError> {
        let Delta {
            from,
            to,
            upserts,
            deletes,
        } = delta;
        if from != self.revision {
            let held = self.revision;
            return Err(DeltaError::WrongFrom { held, from });
        }
        if to <= from {
            return Err(DeltaError::NotForward { from, to });
        }
        for name in &deletes {
            self.resources.remove(name);
        }
        self.resources.extend(upserts);
        self.revision = to;
        Ok(())
    }
}

impl<R: Clone + PartialEq> Snapshot<R> {
    /// What leads from here to `target`, in order of name. It can be applied only if `target` is later.
    pub fn diff(&self, target: &Self) -> Delta<R> {
        let changed =
            |(name, resource): &(&String, &R)| self.resources.get(*name) != Some(*resource);
        let gone = |name: &&String| !target.resources.contains_key(*name);
        Delta {
            from: self.revision,
            to: target.revision,
            upserts: target
                .resources
                .iter()
                .filter(changed)
                .map(|(name, resource)| (name.clone(), resource.clone()))
                .collect(),
            deletes: self.resources.keys().filter(gone).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;

    fn resources() -> impl Strategy<Value = BTreeMap<String, u8>> {
        // Few names and values, so that two maps share some.
        collection::btree_map("[a-h]", 0_u8..3, 0..8)
    }

    fn snapshot(revision: u64, resources: BTreeMap<String, u8>) -> Snapshot<u8> {
        Snapshot {
            revision,
            resources,
        }
    }

    proptest! {
        #[test]
        fn diff_then_apply_gives_the_target(
            (from, ahead) in (0_u64..1000, 1_u64..1000),
            (before, after) in (resources(), resources()),
        ) {
            let mut held = snapshot(from, before);
            let target = snapshot(from + ahead, after);
            let delta = held.diff(&target);
            prop_assert_eq!(held.apply(delta.clone()), Ok(()));
            prop_assert_eq!(&held, &target);
            let again = Err(DeltaError::WrongFrom { held: from + ahead, from });
            prop_assert_eq!(held.apply(delta), again);
            prop_assert_eq!(held, target);
        }

        #[test]
        fn a_diff_says_only_what_changed(before in resources(), after in resources()) {
            let (held, target) = (snapshot(1, before), snapshot(2, after));
            let delta = held.diff(&target);
            for (name, resource) in &delta.upserts {
                prop_assert_ne!(held.resources.get(name), Some(resource));
            }
            for name in &delta.deletes {
                prop_assert!(held.resources.contains_key(name));
            }
        }
    }

    #[test]
    fn a_delta_that_does_not_fit_changes_nothing() {
        let held = snapshot(7, BTreeMap::from([("a".to_owned(), 1)]));
        for (from, to, why) in [
            (6, 8, DeltaError::WrongFrom { held: 7, from: 6 }),
            (8, 9, DeltaError::WrongFrom { held: 7, from: 8 }),
            (7, 7, DeltaError::NotForward { from: 7, to: 7 }),
            (7, 6, DeltaError::NotForward { from: 7, to: 6 }),
        ] {
            let mut changed = held.clone();
            let delta = Delta {
                from,
                to,
                upserts: vec![("b".to_owned(), 2)],
                deletes: vec!["a".to_owned()],
            };
            assert_eq!(changed.apply(delta), Err(why));
            assert_eq!(changed, held);
        }
    }
}
