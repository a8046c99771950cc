//! Puts the chunks of one snapshot together.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use proto::{
    fabric::{Resource, SnapshotChunk},
    snapshot::Digest,
};

use super::replica::State;

/// Most bytes of encoded resources that a node holds: far above a large fabric, far below a machine's memory.
pub(super) const STATE_BYTES_MAX: usize = 1 << 30;
/// Most resources that a node holds.
pub(super) const STATE_RESOURCES_MAX: usize = 2_000_000;

/// A snapshot that is not complete yet.
#[derive(Debug)]
pub(super) struct Assembly {
    state: State,
    digest: Digest,
}

impl Assembly {
    /// Begins with the first chunk's store and revision.
    pub(super) fn of(chunk: &SnapshotChunk) -> Self {
        Self {
            state: State {
                store_id: chunk.store_id.clone(),
                revision: chunk.revision,
                resources: BTreeMap::new(),
                bytes: 0,
            },
            digest: Digest::default(),
        }
    }

    /// Adds a chunk. An error means that control broke the protocol.
    pub(super) fn add(&mut self, resources: Vec<Bytes>) -> Result<(), &'static str> {
        let state = &mut self.state;
        for encoded in resources {
            self.digest.add(&encoded);
            let resource = Resource::decode(encoded).map_err(|_| "the snapshot cannot be read")?;
            let last = state.resources.last_key_value().map(|(name, _)| name);
            if last.is_some_and(|last| *last >= resource.name) {
                return Err("the snapshot is not in order of name");
            }
            state.bytes = state.bytes.saturating_add(resource.encoded_len());
            if state.bytes > STATE_BYTES_MAX || state.resources.len() >= STATE_RESOURCES_MAX {
                return Err("the snapshot is larger than a node holds");
            }
            state.resources.insert(resource.name.clone(), resource);
        }
        Ok(())
    }

    /// Whether a chunk continues this snapshot.
    pub(super) fn fits(&self, chunk: &SnapshotChunk) -> bool {
        self.state.store_id == chunk.store_id && self.state.revision == chunk.revision
    }

    /// The whole snapshot, if it is what control meant.
    pub(super) fn finish(self, digest: &[u8]) -> Result<State, &'static str> {
        if self.digest.finish() != digest {
            return Err("the snapshot does not match its digest");
        }
        Ok(self.state)
    }
}
