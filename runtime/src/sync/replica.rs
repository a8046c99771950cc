//! What the node holds: applied as a whole or not at all.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use metrics::Gauge;
use prost::Message as _;
use proto::fabric::{Delta, Resource};
use tokio::sync::watch;

use super::{
    Apply, Changed, Update,
    assembly::{STATE_BYTES_MAX, STATE_RESOURCES_MAX},
    disk::Disk,
    measures,
};
use crate::{clock::Clock, node::Role};

/// Everything the node knows at one revision of one store.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct State {
    /// Empty: nothing is known.
    pub(super) store_id: String,
    pub(super) revision: u64,
    pub(super) resources: BTreeMap<String, Resource>,
    /// Encoded size of all resources.
    pub(super) bytes: usize,
}

/// What became of a delta.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The node runs on this revision now.
    Applied(u64),
    /// The node refused this revision and runs on what it had.
    Refused(u64, String),
    /// It does not follow from what the node has.
    Gap,
}

/// The state, the node that uses it, and the disk that keeps it.
pub(super) struct Replica {
    state: State,
    apply: Arc<Apply>,
    applied: watch::Sender<u64>,
    applied_gauge: Gauge,
    disk: Disk,
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("revision", &self.state.revision)
            .finish_non_exhaustive()
    }
}

impl Replica {
    pub(super) fn new(
        directory: Option<&Path>,
        apply: Arc<Apply>,
        applied: watch::Sender<u64>,
        role: Role,
        clock: Clock,
    ) -> Self {
        Self {
            state: State::default(),
            apply,
            applied,
            applied_gauge: measures::applied_revision(role),
            disk: Disk::new(directory, clock, measures::snapshot_writes(role)),
        }
    }

    /// Offers the node what the disk holds, if anything.
    pub(super) async fn start_from_disk(&mut self) {
        let Some(state) = self.disk.load().await else {
            return;
        };
        match self.offer(&state) {
            Ok(()) => {
                tracing::info!(revision = state.revision, "running on the snapshot on disk");
                self.state = state;
                self.tell();
            }
            Err(reason) => {
                tracing::warn!(revision = state.revision, %reason, "the snapshot on disk is not usable");
            }
        }
    }

    /// Takes what another process of the node has written to the disk since.
    pub(super) async fn follow_disk(&mut self) {
        if !self.disk.has_changed() {
            return;
        }
        let Some(state) = self.disk.load().await else {
            return;
        };
        // What this process had from control itself may not have come to the disk.
        if state.store_id == self.state.store_id && state.revision <= self.state.revision {
            return;
        }
        match self.offer(&state) {
            Ok(()) => {
                self.state = state;
                self.tell();
            }
            Err(reason) => {
                tracing::warn!(revision = state.revision, %reason, "the snapshot of the node's other process is not usable");
            }
        }
    }

    pub(super) fn store_id(&self) -> &str {
        &self.state.store_id
    }

    pub(super) fn revision(&self) -> u64 {
        self.state.revision
    }

    /// Takes a whole snapshot in place of what is there.
    pub(super) fn take_snapshot(&mut self, state: State) -> Taken {
        let revision = state.revision;
        match self.offer(&state) {
            Ok(()) => {
                self.state = state;
                self.keep();
                Taken::Applied(revision)
            }
            Err(reason) => Taken::Refused(revision, reason),
        }
    }

    /// Takes what changed. The resources are changed in place and changed back if the node refuses them.
    pub(super) fn take_delta(&mut self, delta: Delta) -> Taken {
        let follows = !self.state.store_id.is_empty()
            && delta.from_revision == self.state.revision
            && delta.to_revision > delta.from_revision;
        if !follows {
            return Taken::Gap;
        }
        let revision = delta.to_revision;
        let undo = self.state.change(delta);
        let changed: Vec<&str> = undo.iter().map(|(name, _)| name.as_str()).collect();
        let update = Update {
            resources: &self.state.resources,
            revision,
            changed: Changed::Only(&changed),
        };
        let outcome = self.state.check_bounds();
        let outcome = outcome.and_then(|()| (self.apply)(&update));
        match outcome {
            Ok(()) => {
                self.state.revision = revision;
                self.keep();
                Taken::Applied(revision)
            }
            Err(reason) => {
                self.state.undo(undo);
                Taken::Refused(revision, reason)
            }
        }
    }

    fn offer(&self, state: &State) -> Result<(), String> {
        (self.apply)(&Update {
            resources: &state.resources,
            revision: state.revision,
            changed: Changed::Any,
        })
    }

    /// Waits until the disk should be written, and begins it. Cancel-safe.
    pub(super) async fn write_when_due(&mut self) {
        self.disk.due().await;
        self.disk.begin(&self.state);
    }

    /// Writes what the disk does not hold yet.
    pub(super) async fn flush(&mut self) {
        self.disk.flush(&self.state).await;
    }

    fn keep(&mut self) {
        self.disk.changed();
        self.tell();
    }

    fn tell(&self) {
        self.applied.send_replace(self.state.revision);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a float; revisions stay far below 2^53"
        )]
        self.applied_gauge.set(self.state.revision as f64);
    }
}

/// What stood under each changed name, in the order of the changes.
type Undo = Vec<(String, Option<Resource>)>;

impl State {
    fn change(&mut self, delta: Delta) -> Undo {
        let mut undo = Vec::with_capacity(delta.upserts.len() + delta.deletes.len());
        for name in delta.deletes {
            let old = self.put(&name, None);
            undo.push((name, old));
        }
        for resource in delta.upserts {
            let name = resource.name.clone();
            let old = self.put(&name, Some(resource));
            undo.push((name, old));
        }
        undo
    }

    fn undo(&mut self, undo: Undo) {
        for (name, old) in undo.into_iter().rev() {
            self.put(&name, old);
        }
    }

    fn put(&mut self, name: &str, resource: Option<Resource>) -> Option<Resource> {
        let added = resource.as_ref().map_or(0, Resource::encoded_len);
        let old = match resource {
            Some(resource) => self.resources.insert(name.to_owned(), resource),
            None => self.resources.remove(name),
        };
        let removed = old.as_ref().map_or(0, Resource::encoded_len);
        self.bytes = (self.bytes + added).saturating_sub(removed);
        old
    }

    fn check_bounds(&self) -> Result<(), String> {
        if self.bytes > STATE_BYTES_MAX || self.resources.len() > STATE_RESOURCES_MAX {
            return Err("there is more than a node holds".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Resource {
        Resource {
            name: name.to_owned(),
            kind: None,
        }
    }

    #[test]
    fn bytes_are_counted_through_change_and_undo() {
        let mut state = State::default();
        state.put("a", Some(named("a")));
        let before = state.clone();
        assert_eq!(before.bytes, named("a").encoded_len());
        let undo = state.change(Delta {
            upserts: vec![named("b"), named("a"), named("b")],
            deletes: vec!["a".to_owned(), "absent".to_owned()],
            ..Delta::default()
        });
        assert_eq!(state.bytes, 2 * named("a").encoded_len());
        state.undo(undo);
        assert_eq!(state, before);
    }
}
