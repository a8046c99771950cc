//! Control's API at the port of users: connections that ask for control by its server name in TLS are passed on to it, so that an agent
//! needs one port of one machine.
//!
//! The edge reads the ClientHello, as it does anyway, and from then on carries bytes: TLS is between the node and control, and the edge
//! could neither read nor write inside it. It leads to the one address that its operator named, and needs no snapshot for it.

mod handshake;
mod recorded;

use std::{fmt, io, sync::Arc, time::Duration};

use metrics::{Counter, Gauge, counter, gauge};
use runtime::dial::{DialError, Target, WayOut};
use tokio::{
    io::{
        AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split,
    },
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use handshake::Handshake;
pub(crate) use recorded::Recorded;

use crate::neighbours::{Neighbour, Neighbours, Network};

/// Connections that are passed on now.
pub(crate) const CONTROL_CONNECTIONS: &str = "edge_control_connections";
/// Connections that asked for control, by what became of them.
pub(crate) const CONTROL_CONNECTIONS_TOTAL: &str = "edge_control_connections_total";

/// Connections at once: each is one agent's line, and two descriptors here.
const CONNECTIONS_MAX: usize = 5_000;
/// Of those, such as shake hands with control, and have done so for no longer than [`BEGINNING`]. Below the 500 that control lets one
/// address do, so that strangers who come through here leave room for the edge's own line.
const BEGINNING_MAX: usize = 200;
/// Of those, such as come from one network: a stranger leaves room for nodes, and a fleet behind one address needs no more at once, as
/// a handshake is over in a few round trips.
const BEGINNING_OF_NETWORK_MAX: u32 = 20;
/// Control ends handshakes after as long.
const BEGINNING: Duration = Duration::from_secs(10);
/// Time for control to accept a connection; it is near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that carries nothing for so long is over: nodes ask every 20 s whether control lives.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Bytes that are carried at once in each direction; snapshots come in chunks of 256 KiB.
const BUFFER_BYTES: usize = 16 * 1024;

/// The way to control. Clones share its bounds.
#[derive(Clone, Debug)]
pub(crate) struct Passage {
    control: Target,
    places: Arc<Semaphore>,
    beginning: Arc<Semaphore>,
    networks: Arc<Neighbours>,
    counts: Counts,
}

#[derive(Clone)]
struct Counts {
    open: Gauge,
    passed: Counter,
    full: Counter,
    unreachable: Counter,
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counts")
    }
}

impl Passage {
    /// Leads to `control` and nowhere else.
    pub(crate) fn new(control: Target) -> Self {
        let outcome =
            |outcome: &'static str| counter!(CONTROL_CONNECTIONS_TOTAL, "outcome" => outcome);
        Self {
            control,
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            beginning: Arc::new(Semaphore::new(BEGINNING_MAX)),
            networks: Neighbours::new(BEGINNING_OF_NETWORK_MAX),
            counts: Counts {
                open: gauge!(CONTROL_CONNECTIONS),
                passed: outcome("passed"),
                full: outcome("full"),
                unreachable: outcome("unreachable"),
            },
        }
    }

    /// Carries a connection until one side ends it, nothing moves for too long, or `leaving` is cancelled: nodes come back elsewhere, or
    /// when this edge does.
    pub(crate) async fn carry<S>(
        &self,
        node: Recorded<S>,
        network: Network,
        leaving: &CancellationToken,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some((_place, beginning)) = self.admit(network) else {
            self.counts.full.increment(1);
            tracing::debug!("no place for another connection to control");
            return;
        };
        let carried = async {
            let control = WayOut::default()
                .connect(&self.control, CONNECT_TIMEOUT)
                .await?;
            self.counts.passed.increment(1);
            let _open = Open::new(&self.counts.open);
            let handshake = Handshake::default();
            let begun = async {
                // Control ends it if it takes longer.
                let _ = timeout(BEGINNING, handshake.over()).await;
                drop(beginning);
                std::future::pending().await
            };
            tokio::select! {
                () = carry(node, control, &handshake) => {}
                () = begun => {}
            }
            Ok::<_, DialError>(())
        };
        tokio::select! {
            carried = carried => if let Err(error) = carried {
                self.counts.unreachable.increment(1);
                tracing::debug!(%error, control = %self.control, "control is not reached for a node");
            },
            () = leaving.cancelled() => {}
        }
    }

    fn admit(&self, network: Network) -> Option<(OwnedSemaphorePermit, Beginning)> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let beginning = Beginning {
            _of_network: self.networks.admit(network)?,
            _of_all: Arc::clone(&self.beginning).try_acquire_owned().ok()?,
        };
        Some((place, beginning))
    }
}

/// The places of a connection that begins.
struct Beginning {
    _of_network: Neighbour,
    _of_all: OwnedSemaphorePermit,
}

async fn carry<A, B>(mut node: Recorded<A>, mut control: B, handshake: &Handshake)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let Some(said) = node.replay() else {
        return;
    };
    if control.write_all(&said).await.is_err() {
        return;
    }
    drop(said);
    let (from_node, to_node) = split(node);
    let (from_control, to_control) = split(control);
    let moved = Notify::new();
    let by_node = |bytes| {
        handshake.node_said(bytes);
        moved.notify_one();
    };
    let by_control = |bytes| {
        handshake.control_said(bytes);
        moved.notify_one();
    };
    let both = async {
        tokio::try_join!(
            copy(from_node, to_control, by_node),
            copy(from_control, to_node, by_control),
        )
    };
    let silent = async { while timeout(IDLE_TIMEOUT, moved.notified()).await.is_ok() {} };
    tokio::select! {
        // Whichever side broke off: the other hears it when its socket closes.
        _ = both => {}
        () = silent => {}
    }
}

/// Copies to the end. What was read is `said` before the other side can answer it.
async fn copy<R, W>(
    mut from: ReadHalf<R>,
    mut to: WriteHalf<W>,
    said: impl Fn(usize),
) -> io::Result<()>
where
    R: AsyncRead,
    W: AsyncWrite,
{
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        said(read);
        to.write_all(&buffer[..read]).await?;
    }
}

/// One more connection, until it is dropped.
struct Open<'a>(&'a Gauge);

impl<'a> Open<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
