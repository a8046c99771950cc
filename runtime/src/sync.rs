//! The node's side of `Fabric.Sync`: what is published, kept current, kept on disk, and used when control is away.
//!
//! At start the last good snapshot is read from disk and offered to the node at once; then control is asked for what changed
//! since. A node that refuses a change says why (nack) and goes on with what it had. What is applied is written to disk
//! soon after. While control is away the node keeps what it has. That does not end, but what it is good for does: the certificates
//! of nodes live for 24 h and are renewed at half of that, by control (see [`crate::renew`]). After 12 to 24 h without control the first nodes
//! are refused by the others.

mod assembly;
mod disk;
mod line;
mod measures;
mod question;
mod replica;
mod session;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use proto::fabric::{PresenceReport, Resource};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

pub use question::Asked;

pub use measures::{APPLIED_REVISION, CONNECTED, METRICS, SNAPSHOT_WRITES_TOTAL};

use crate::{
    clock::Clock, control_client::ControlAddresses, identity::CurrentIdentity, scope::Scope,
};
use line::Line;
use replica::Replica;

/// How often the disk is looked at for what the node's other process wrote. With the half second after which that writes, what is revoked is
/// known within a second.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);

/// What the node's side of distribution needs.
#[derive(Debug)]
pub struct SyncConfig {
    /// Who the node is; each new connection uses the one in force.
    pub identity: CurrentIdentity,
    /// Where control is.
    pub control: ControlAddresses,
    /// Where the last good snapshot is kept; `None`: in memory alone.
    pub data_directory: Option<PathBuf>,
    /// Version of this program.
    pub version: String,
    /// Edges: where agents shall dial, "host:port". Agents: empty.
    pub tunnel_address: String,
    /// Where agents dial over TCP, as `host:port`; empty for an agent.
    pub tcp_address: String,
    /// Edges: number of workers. Agents: 0.
    pub workers: u32,
    /// Edges: the agents that hold links here. Whoever sends keeps to one change in 500 ms.
    pub presence: Option<watch::Receiver<PresenceReport>>,
    /// Agents: where questions go; one that finds no room is answered so.
    pub questions: Option<mpsc::Sender<Asked>>,
    /// When this process is the one that speaks with control.
    pub turn: Turn,
    /// The time.
    pub clock: Clock,
}

/// When a process is the one of its node that speaks with control: while one takes over from another, one of the two does, and the other
/// runs on what that one writes to the disk. Clones are the same turn.
#[derive(Clone, Debug)]
pub struct Turn {
    speaks: Arc<watch::Sender<bool>>,
}

impl Turn {
    /// One that has begun.
    #[must_use]
    pub fn now() -> Self {
        Self {
            speaks: Arc::new(watch::Sender::new(true)),
        }
    }

    /// One that has not.
    #[must_use]
    pub fn later() -> Self {
        Self {
            speaks: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Begins it, also anew.
    pub fn begin(&self) {
        self.speaks.send_replace(true);
    }

    /// Ends it. What is not on the disk yet is written.
    pub fn end(&self) {
        self.speaks.send_replace(false);
    }

    /// Waits until it has begun. Cancel-safe.
    pub async fn begun(&self) {
        self.becomes(true).await;
    }

    /// Waits until it is over, or has not begun. Cancel-safe.
    pub async fn over(&self) {
        self.becomes(false).await;
    }

    async fn becomes(&self, wanted: bool) {
        // Fails only when the sender is gone, and we hold it.
        let _ = self
            .speaks
            .subscribe()
            .wait_for(|speaks| *speaks == wanted)
            .await;
    }
}

/// How distribution stands. Clones see the same.
#[derive(Clone, Debug)]
pub struct SyncStatus {
    /// Revision that the node runs on; 0 until there is one.
    pub applied_revision: watch::Receiver<u64>,
    /// Whether control is on the line now.
    pub connected: watch::Receiver<bool>,
    /// Whether control said last that it knows no such node: an operator has deleted it, or it was gone for too long.
    pub unknown: watch::Receiver<bool>,
}

/// What a node is asked to run on.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// Everything that it may know, by name.
    pub resources: &'a BTreeMap<String, Resource>,
    /// Revision of the store that they show.
    pub revision: u64,
    /// What differs from the last update that the node took.
    pub changed: Changed<'a>,
}

/// Which resources of an update may be other than before.
#[derive(Clone, Copy, Debug)]
pub enum Changed<'a> {
    /// All of them.
    Any,
    /// Those of these names: made, changed or gone.
    Only(&'a [&'a str]),
}

/// The last good snapshot of the node whose data directory this is, by name; none if it has none yet. Blocks on the disk.
///
/// # Errors
/// What is there cannot be read, or is damaged.
pub fn kept(directory: &Path) -> io::Result<Option<BTreeMap<String, Resource>>> {
    Ok(disk::kept(directory)?.map(|state| state.resources))
}

/// How a node takes what is published. An error is told to control; the node then runs on what it took before.
pub type Apply = dyn Fn(&Update<'_>) -> Result<(), String> + Send + Sync;

/// Starts distribution as a standing task. `apply` is called in it, first with what the disk holds, so it may not block long.
pub fn start<A>(config: SyncConfig, apply: A, scope: &Scope) -> SyncStatus
where
    A: Fn(&Update<'_>) -> Result<(), String> + Send + Sync + 'static,
{
    let (applied, applied_revision) = watch::channel(0);
    let (on_line, connected) = watch::channel(false);
    let (deleted, unknown) = watch::channel(false);
    let role = config.identity.current().name().role();
    let replica = Replica::new(
        config.data_directory.as_deref(),
        Arc::new(apply),
        applied,
        role,
        config.clock.clone(),
    );
    let turn = config.turn.clone();
    let line = Line::new(config, on_line, deleted, role);
    scope.spawn_standing("sync", run(line, replica, turn, scope.child("sync")));
    SyncStatus {
        applied_revision,
        connected,
        unknown,
    }
}

async fn run(mut line: Line, mut replica: Replica, turn: Turn, scope: Scope) {
    replica.start_from_disk().await;
    while !scope.is_cancelled() {
        tokio::select! {
            () = scope.cancelled() => return,
            () = turn.begun() => {}
            () = sleep(FOLLOW_INTERVAL) => {
                replica.follow_disk().await;
                continue;
            }
        }
        tokio::select! {
            () = hold(&mut line, &mut replica, &scope) => {}
            () = turn.over() => {}
        }
        line.closed();
        replica.flush().await;
    }
}

/// Speaks with control until the scope ends.
async fn hold(line: &mut Line, replica: &mut Replica, scope: &Scope) {
    while !scope.is_cancelled() {
        tokio::select! {
            () = scope.cancelled() => {}
            // Dropped at any point: the replica changes only between awaits, and is whole then.
            () = line.hold_once(replica) => {}
        }
        line.closed();
        replica.flush().await;
        tokio::select! {
            () = scope.cancelled() => {}
            () = line.pause() => {}
        }
    }
}

#[cfg(test)]
mod tests;
