//! Everything a node may know, in pieces.

use prost::Message as _;
use proto::{fabric::SnapshotChunk, snapshot::Digest};

use super::{
    member::Record,
    refusal::Refusal,
    view::{Scope, View},
};
use crate::{
    presence::NodeId,
    store::{Range, Revision, Store},
};

/// Bytes of a chunk from which on the next one begins.
const CHUNK_BYTES: usize = 256 * 1024;

/// All that a node may know at one revision.
pub(super) struct Fresh {
    pub(super) revision: Revision,
    pub(super) view: View,
    /// At least one, the last one with the digest.
    pub(super) chunks: Vec<SnapshotChunk>,
}

/// Reads the own record of a node with this key and what follows from it, all at one revision.
pub(super) async fn read(
    store: &dyn Store,
    id: &NodeId,
    key_sha256: &[u8; 32],
) -> Result<Fresh, Refusal> {
    let name = id.resource_name();
    let mut prefixes = Scope::prefixes(id).to_vec();
    prefixes.push(&name);
    let range = store.snapshot(&prefixes).await?;
    let own = range.entries.iter().find(|entry| *entry.key == *name);
    let own = own.ok_or_else(|| Refusal::NodeUnknown(name.clone()))?;
    let record = Record::decode(id, &own.value).ok_or_else(|| Refusal::Corrupt(name.clone()))?;
    record.admits(&name, key_sha256)?;
    let view = View::of(record.scope(), &range.entries);
    Ok(Fresh {
        revision: range.revision,
        chunks: chunks(store.id(), &view, &range),
        view,
    })
}

fn chunks(store_id: &str, view: &View, range: &Range) -> Vec<SnapshotChunk> {
    let resources = range
        .entries
        .iter()
        .flat_map(|entry| view.resources(&entry.key, &entry.value));
    let mut resources: Vec<_> = resources.collect();
    resources.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let mut digest = Digest::default();
    let empty = || SnapshotChunk {
        store_id: store_id.to_owned(),
        revision: range.revision.0,
        ..SnapshotChunk::default()
    };
    let mut chunks = Vec::new();
    let (mut chunk, mut bytes) = (empty(), 0);
    for resource in resources {
        let resource = resource.encode_to_vec();
        digest.add(&resource);
        bytes += resource.len();
        chunk.resources.push(resource.into());
        if bytes >= CHUNK_BYTES {
            chunks.push(std::mem::replace(&mut chunk, empty()));
            bytes = 0;
        }
    }
    chunk.digest = digest.finish().to_vec().into();
    chunk.last = true;
    chunks.push(chunk);
    chunks
}
