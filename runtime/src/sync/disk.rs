//! The last good snapshot on disk.
//!
//! `snapshot.bin`, 0600 because it holds keys of certificates: magic, the version of adit that wrote it and the store's id, each
//! preceded by its length (4 bytes, big endian), revision (8 bytes), then each resource's encoding preceded by its length
//! (8 bytes) in order of name, then SHA-256 of all before. A file that does not fit its digest is reported and ignored: control
//! sends everything anew.
//!
//! What another version wrote is served, but not built upon: it may lack what that version did not know, and deltas would
//! never bring it. Such a node asks for everything.

use std::{
    future,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest::{SHA256, digest};
use metrics::Counter;
use prost::Message as _;
use proto::fabric::Resource;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};

use super::{
    assembly::{STATE_BYTES_MAX, STATE_RESOURCES_MAX},
    replica::State,
};
use crate::{clock::Clock, file};

const FILE: &str = "snapshot.bin";
/// The last digit is the version of the format.
const MAGIC: &[u8; 8] = b"ADITSNP1";
const DIGEST_BYTES: usize = 32;
/// Who writes.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A file beyond this cannot be ours: the resources at their bound, lengths and header.
const FILE_BYTES_MAX: u64 = (STATE_BYTES_MAX + STATE_RESOURCES_MAX * 8 + 64 * 1024) as u64;
/// So long after a change it is written, with all that came meanwhile: a burst costs one write, and no change waits in line for
/// the write of the one before. What a crash loses of it, control sends again. A process that drains while another serves in its place learns by
/// the file what was revoked, which has 2 s in all.
const WRITE_INTERVAL: Duration = Duration::from_millis(500);

/// Keeps one file no staler than the interval.
#[derive(Debug)]
pub(super) struct Disk {
    /// None: nothing is kept.
    path: Option<PathBuf>,
    clock: Clock,
    writes: Counter,
    is_stale: bool,
    not_before: Instant,
    writing: Option<JoinHandle<io::Result<()>>>,
    /// Said once, not at every write to a full disk.
    has_failed: bool,
    /// When the file was written that was seen last.
    seen: Option<SystemTime>,
}

impl Disk {
    pub(super) fn new(directory: Option<&Path>, clock: Clock, writes: Counter) -> Self {
        Self {
            path: directory.map(|directory| directory.join(FILE)),
            not_before: clock.now(),
            clock,
            writes,
            is_stale: false,
            writing: None,
            has_failed: false,
            seen: None,
        }
    }

    /// Whether somebody else has written the file since this was last asked.
    pub(super) fn has_changed(&mut self) -> bool {
        let written = self.path.as_ref().and_then(|path| {
            let file = std::fs::metadata(path).ok()?;
            file.modified().ok()
        });
        std::mem::replace(&mut self.seen, written) != written
    }

    /// What the file holds; none if there is none or it is damaged.
    pub(super) async fn load(&self) -> Option<State> {
        let path = self.path.clone()?;
        let shown = path.display().to_string();
        let loaded = spawn_blocking(move || read(&path))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        match loaded {
            Ok(state) => Some(state),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = shown, %error, "the snapshot on disk is ignored");
                None
            }
        }
    }

    /// Notes that the file is behind.
    pub(super) fn changed(&mut self) {
        if !self.is_stale && self.path.is_some() {
            self.is_stale = true;
            self.not_before = self.clock.now() + WRITE_INTERVAL;
        }
    }

    /// Waits until a write should begin. Cancel-safe.
    pub(super) async fn due(&mut self) {
        self.finish_writing().await;
        if !self.is_stale {
            future::pending::<()>().await;
        }
        sleep_until(self.not_before).await;
    }

    /// Begins to write, off the thread that carries everything else.
    pub(super) fn begin(&mut self, state: &State) {
        self.is_stale = false;
        let Some(path) = self.path.clone() else {
            return;
        };
        self.writes.increment(1);
        let content = encode(state);
        self.writing = Some(spawn_blocking(move || write(&path, &content)));
    }

    /// Writes now what is not written yet, and waits for it.
    pub(super) async fn flush(&mut self, state: &State) {
        self.finish_writing().await;
        if self.is_stale {
            self.begin(state);
            self.finish_writing().await;
        }
    }

    async fn finish_writing(&mut self) {
        let Some(writing) = &mut self.writing else {
            return;
        };
        let written = writing
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        self.writing = None;
        match written {
            Ok(()) => self.has_failed = false,
            Err(error) => {
                self.is_stale = true;
                if !self.has_failed {
                    let file = self
                        .path
                        .as_deref()
                        .map(|path| tracing::field::display(path.display()));
                    tracing::error!(file, %error, "cannot keep the snapshot on disk; a restart without control would use an old one");
                }
                self.has_failed = true;
                self.not_before = self.clock.now() + RETRY_INTERVAL;
            }
        }
    }
}

/// A disk that failed is tried again this often.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        file::make_private_directory(directory)?;
    }
    file::replace(path, content, file::PRIVATE)
}

fn encode(state: &State) -> Vec<u8> {
    let mut content =
        Vec::with_capacity(state.bytes + state.resources.len() * 8 + state.store_id.len() + 64);
    content.extend_from_slice(MAGIC);
    for text in [VERSION, &state.store_id] {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        content.extend_from_slice(&length.to_be_bytes());
        content.extend_from_slice(text.as_bytes());
    }
    content.extend_from_slice(&state.revision.to_be_bytes());
    for resource in state.resources.values() {
        let encoded = resource.encode_to_vec();
        content.extend_from_slice(&(encoded.len() as u64).to_be_bytes());
        content.extend_from_slice(&encoded);
    }
    let digest = digest(&SHA256, &content);
    content.extend_from_slice(digest.as_ref());
    content
}

/// What a directory holds; none if there is nothing yet.
pub(super) fn kept(directory: &Path) -> io::Result<Option<State>> {
    match read(&directory.join(FILE)) {
        Ok(state) => Ok(Some(state)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> io::Result<State> {
    if std::fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(ErrorKind::FileTooLarge.into());
    }
    decode(&file::read_private(path)?)
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "damaged, or of another version"))
}

fn decode(content: &[u8]) -> Option<State> {
    let (content, expected) = content.split_at_checked(content.len().checked_sub(DIGEST_BYTES)?)?;
    if digest(&SHA256, content).as_ref() != expected {
        return None;
    }
    let mut rest = content.strip_prefix(MAGIC)?;
    let version = take_text(&mut rest)?;
    let store_id = take_text(&mut rest)?;
    let is_ours = version == VERSION;
    let mut state = State {
        store_id: if is_ours {
            store_id.to_owned()
        } else {
            String::new()
        },
        revision: u64::from_be_bytes(*take(&mut rest)?),
        ..State::default()
    };
    while !rest.is_empty() {
        let length = u64::from_be_bytes(*take(&mut rest)?);
        let (encoded, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        rest = after;
        let resource = Resource::decode(encoded).ok()?;
        state.bytes += encoded.len();
        state.resources.insert(resource.name.clone(), resource);
    }
    Some(state)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = u32::from_be_bytes(*take(rest)?);
    let (text, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn state() -> State {
        let mut state = State {
            store_id: "store".to_owned(),
            revision: 7,
            ..State::default()
        };
        for name in ["apps/a", "apps/b"] {
            let resource = Resource {
                name: name.to_owned(),
                kind: None,
            };
            state.bytes += resource.encoded_len();
            state.resources.insert(name.to_owned(), resource);
        }
        state
    }

    #[test]
    fn state_survives_the_file() {
        assert_eq!(decode(&encode(&state())), Some(state()));
        assert_eq!(decode(&encode(&State::default())), Some(State::default()));
    }

    #[test]
    fn damage_anywhere_is_noticed() {
        let whole = encode(&state());
        for index in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[index] ^= 1;
            assert_eq!(decode(&damaged), None, "byte {index}");
            assert_eq!(decode(&whole[..index]), None, "cut at {index}");
        }
    }

    #[tokio::test]
    async fn burst_of_changes_costs_one_write_and_a_flush() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("data");
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let writes = metrics::with_local_recorder(&recorder, || metrics::counter!("writes"));
        let mut disk = Disk::new(Some(&home), Clock::system(), writes);
        let mut state = state();
        for _ in 0..1_000 {
            state.revision += 1;
            disk.changed();
            let is_due = disk.due().now_or_never().is_some();
            if is_due {
                disk.begin(&state);
            }
        }
        disk.flush(&state).await;
        assert_eq!(disk.load().await, Some(state));
        let rendered = recorder.handle().render();
        let count: u32 = rendered
            .lines()
            .find_map(|line| line.strip_prefix("writes ")?.parse().ok())
            .unwrap();
        assert!((1..=3).contains(&count), "{count} writes");
    }

    #[tokio::test]
    async fn damaged_file_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), "nonsense").unwrap();
        let disk = Disk::new(Some(directory.path()), Clock::system(), Counter::noop());
        assert_eq!(disk.load().await, None);
    }

    #[test]
    fn what_another_version_wrote_is_served_and_asked_for_anew() {
        let mut content = encode(&state());
        let version = MAGIC.len() + 4;
        content[version] = b'x';
        let body = content.len() - DIGEST_BYTES;
        let renewed = digest(&SHA256, &content[..body]);
        content[body..].copy_from_slice(renewed.as_ref());
        let read = decode(&content).unwrap();
        assert_eq!(
            (read.store_id.as_str(), read.resources),
            ("", state().resources)
        );
    }
}
