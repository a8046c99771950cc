//! What has changed for a node and has not been told yet, whatever the number of transactions that changed it.

use std::collections::BTreeMap;

use prost::Message as _;
use proto::fabric::{Delta, Resource};

use super::view::View;
use crate::store::{Batch, Revision};

/// Bytes of one delta from which on no more is gathered; the rest goes into the next.
const DELTA_BYTES: usize = 256 * 1024;
/// Largest delta that is sent as such; a snapshot comes in pieces. Half of what gRPC clients take in one message.
const DELTA_BYTES_MAX: usize = 2 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Changes {
    resources: BTreeMap<String, Change>,
    bytes: usize,
}

#[derive(Debug)]
struct Change {
    /// Whether the node has an older one.
    known: bool,
    now: Option<Resource>,
}

impl Changes {
    /// Adds what one transaction changed for a node with this view.
    pub(super) fn absorb(&mut self, view: &View, batch: &Batch) {
        for event in &*batch.events {
            let project = |value: &Option<_>| -> BTreeMap<String, Resource> {
                let resources = value
                    .iter()
                    .flat_map(|value| view.resources(&event.key, value));
                resources
                    .map(|resource| (resource.name.clone(), resource))
                    .collect()
            };
            let (before, mut after) = (project(&event.before), project(&event.after));
            for (name, old) in before {
                let now = after.remove(&name);
                if now.as_ref() != Some(&old) {
                    self.put(&name, true, now);
                }
            }
            for (name, new) in after {
                self.put(&name, false, Some(new));
            }
        }
    }

    /// Adds resources that the node has in another form.
    pub(super) fn renew(&mut self, resources: impl IntoIterator<Item = Resource>) {
        for resource in resources {
            let name = resource.name.clone();
            self.put(&name, true, Some(resource));
        }
    }

    fn put(&mut self, name: &str, known: bool, now: Option<Resource>) {
        let earlier = self.resources.remove(name);
        let known = earlier.as_ref().map_or(known, |change| change.known);
        self.bytes -= earlier.map_or(0, |change| change.bytes(name));
        // What came and went between two deltas is nothing to tell.
        if known || now.is_some() {
            let change = Change { known, now };
            self.bytes += change.bytes(name);
            self.resources.insert(name.to_owned(), change);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// Whether what is gathered should be sent before more is.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= DELTA_BYTES
    }

    /// Whether it is more than one message may hold.
    pub(super) fn is_too_large(&self) -> bool {
        self.bytes > DELTA_BYTES_MAX
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// All of it as one delta; nothing is left.
    pub(super) fn take(&mut self, from: Revision, to: Revision) -> Delta {
        let mut delta = Delta {
            from_revision: from.0,
            to_revision: to.0,
            upserts: Vec::new(),
            deletes: Vec::new(),
        };
        for (name, change) in std::mem::take(self).resources {
            match change.now {
                Some(resource) => delta.upserts.push(resource),
                None => delta.deletes.push(name),
            }
        }
        delta
    }
}

impl Change {
    fn bytes(&self, name: &str) -> usize {
        self.now.as_ref().map_or(name.len(), Resource::encoded_len)
    }
}
