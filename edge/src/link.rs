//! One link: an agent's live connection to one worker of this edge.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::poll_immediate;
use model::{
    balance::{AgentLoad, InFlight},
    name::{AgentId, GroupId},
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tunnel::{
    link::{Connection, Transport},
    quic::STREAMS_MAX,
    silence::{LOOK_EVERY, Silence},
    stream::{Kind, RecvHalf, SendHalf},
};

use crate::failure::RequestError;

/// Longest wait for a free stream. Links below their limit give one at once; a full one should not hold a request that
/// another agent could serve.
const OPEN_WAIT: Duration = Duration::from_secs(1);

/// A link on which nothing came for so long is asked whether it lives: agents say something every two seconds, and a long path takes its time.
pub(crate) const ASK_AFTER: Duration = LOOK_EVERY.saturating_mul(7);

/// The same as a number of permits.
const SLOTS: usize = STREAMS_MAX as usize;

/// An agent's live connection.
#[derive(Debug)]
pub(crate) struct Link {
    agent: AgentId,
    key_sha256: [u8; 32],
    /// Which start of the agent's process.
    instance: Bytes,
    group: GroupId,
    worker: usize,
    connection: Connection,
    load: Arc<AgentLoad>,
    streams_max: u32,
    /// Streams that may still be opened. quinn takes a stream for closed once all of it came, read or not; the link's window
    /// is made for so many that nobody reads.
    slots: Arc<Semaphore>,
    draining: AtomicBool,
    /// The agent owes an answer to a ping.
    suspect: AtomicBool,
    suspected: Notify,
    /// A later start of the agent is here.
    superseded: watch::Sender<bool>,
    opening: AtomicU32,
    opened: Notify,
    silence: Mutex<Silence>,
    /// The agent was asked whether it lives, and has not answered.
    asked: AtomicBool,
    looked: Notify,
}

/// What a link is made of.
#[derive(Debug)]
pub(crate) struct LinkParts {
    /// Whose it is, from the proven certificate.
    pub agent: AgentId,
    /// Digest of the public key in that certificate.
    pub key_sha256: [u8; 32],
    /// Which start of its process, as it says.
    pub instance: Bytes,
    /// What it serves.
    pub group: GroupId,
    /// Worker that owns the connection.
    pub worker: usize,
    /// The connection.
    pub connection: Connection,
    /// Shared with the agent's other links.
    pub load: Arc<AgentLoad>,
    /// Requests at once that it takes on this link.
    pub streams_max: u32,
}

impl Link {
    pub(crate) fn new(parts: LinkParts) -> Self {
        let LinkParts {
            agent,
            key_sha256,
            instance,
            group,
            worker,
            connection,
            load,
            streams_max,
        } = parts;
        Self {
            silence: Mutex::new(Silence::new(connection.heard())),
            agent,
            key_sha256,
            instance,
            group,
            worker,
            connection,
            load,
            streams_max,
            slots: Arc::new(Semaphore::new(SLOTS)),
            draining: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            suspected: Notify::new(),
            superseded: watch::Sender::new(false),
            opening: AtomicU32::new(0),
            opened: Notify::new(),
            asked: AtomicBool::new(false),
            looked: Notify::new(),
        }
    }

    /// Whose it is.
    pub(crate) const fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// Digest of the public key that it was opened with.
    pub(crate) const fn key_sha256(&self) -> &[u8; 32] {
        &self.key_sha256
    }

    /// Whether both are links of one start of one agent.
    pub(crate) fn is_of_same_process(&self, other: &Self) -> bool {
        self.agent == other.agent && self.instance == other.instance
    }

    /// What it serves.
    pub(crate) const fn group(&self) -> &GroupId {
        &self.group
    }

    /// Load and health of its agent.
    pub(crate) const fn load(&self) -> &Arc<AgentLoad> {
        &self.load
    }

    /// What carries it.
    pub(crate) const fn transport(&self) -> Transport {
        self.connection.transport()
    }

    /// The connection itself.
    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Streams on it now.
    pub(crate) fn streams(&self) -> u32 {
        let taken = SLOTS - self.slots.available_permits();
        u32::try_from(taken).unwrap_or(u32::MAX)
    }

    /// Whether it takes no more streams.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(SeqCst)
    }

    /// How gladly a request on `worker` takes this link; higher is better.
    pub(crate) fn fitness(&self, worker: usize) -> u8 {
        let lively = !self.suspect.load(SeqCst);
        let has_room = self.streams() < self.streams_max;
        u8::from(lively) * 4 + u8::from(has_room) * 2 + u8::from(self.worker == worker)
    }

    /// Whether it should be passed over while the agent is silent.
    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(SeqCst)
    }

    /// Whether requests that must take this link can: it is up, and takes more streams.
    pub(crate) fn is_live(&self) -> bool {
        !self.is_draining() && !self.is_suspect() && self.connection.close_reason().is_none()
    }

    /// Whether what was asked on it may never have reached the agent: it is silent, or gone.
    pub(crate) fn is_dark(&self) -> bool {
        self.is_suspect() || self.connection.is_closed()
    }

    /// The agent owes an answer, or has given it.
    pub(crate) fn set_suspect(&self, suspect: bool) {
        self.suspect.store(suspect, SeqCst);
        if suspect {
            self.suspected.notify_waiters();
        }
    }

    /// Waits until the agent is suspected of being gone. Cancel-safe.
    pub(crate) async fn suspected(&self) {
        loop {
            let suspected = self.suspected.notified();
            if self.is_suspect() {
                return;
            }
            suspected.await;
        }
    }

    /// A later start of the agent is here: this link is most likely dead, and has to show that it is not.
    pub(crate) fn supersede(&self) {
        self.superseded.send_replace(true);
        self.set_suspect(true);
    }

    /// It showed that it lives.
    pub(crate) fn reinstate(&self) -> bool {
        self.superseded.send_replace(false)
    }

    /// Whether it has to show that it lives.
    pub(crate) fn is_superseded(&self) -> bool {
        *self.superseded.borrow()
    }

    /// Tells when it has to show that it lives.
    pub(crate) fn supersession(&self) -> watch::Receiver<bool> {
        self.superseded.subscribe()
    }

    /// Takes a look whether anything came, every [`LOOK_EVERY`]. Who looks after the link hears of it only where there may be something to
    /// do: most links are idle and live, and are many.
    pub(crate) fn look(&self) {
        let silence = self.with_silence(|silence| silence.look(self.connection.heard()));
        let is_calm = self.streams() == 0 && !self.is_suspect() && !self.is_draining();
        if !is_calm || self.asked.load(SeqCst) || silence >= ASK_AFTER {
            self.looked.notify_one();
        }
    }

    /// Waits for a look that may ask for something; says how long nothing has come. Cancel-safe.
    pub(crate) async fn looked(&self) -> Duration {
        self.looked.notified().await;
        self.with_silence(|silence| silence.lasts())
    }

    /// Whether an answer of the agent is waited for.
    pub(crate) fn set_asked(&self, asked: bool) {
        self.asked.store(asked, SeqCst);
    }

    fn with_silence<T>(&self, told: impl FnOnce(&mut Silence) -> T) -> T {
        told(&mut self.silence.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Which worker's it is.
    pub(crate) const fn worker(&self) -> usize {
        self.worker
    }

    /// Takes no more streams from now on.
    pub(crate) fn start_draining(&self) {
        self.draining.store(true, SeqCst);
    }

    /// Waits, on a draining link, until no stream is about to be opened. Cancel-safe.
    pub(crate) async fn settled(&self) {
        loop {
            let opened = self.opened.notified();
            if self.opening.load(SeqCst) == 0 {
                return;
            }
            opened.await;
        }
    }

    /// Opens a stream for one request.
    pub(crate) async fn open(self: &Arc<Self>) -> Result<OpenStream<StreamGuard>, RequestError> {
        self.open_as(Kind::Http, |slot| StreamGuard::new(self, slot))
            .await
    }

    /// Opens a stream for a probe, which is no load of the agent.
    pub(crate) async fn probe(
        self: &Arc<Self>,
    ) -> Result<OpenStream<OwnedSemaphorePermit>, RequestError> {
        self.open_as(Kind::Probe, |slot| slot).await
    }

    async fn open_as<G>(
        &self,
        kind: Kind,
        guard: impl FnOnce(OwnedSemaphorePermit) -> G,
    ) -> Result<OpenStream<G>, RequestError> {
        // Before the flag is read: whoever sets it and then sees no opening knows that none will follow.
        let _opening = Opening::new(self);
        if self.is_draining() {
            return Err(RequestError::NoStream);
        }
        let opened = async {
            let slot = Arc::clone(&self.slots).acquire_owned().await;
            let guard = guard(slot.map_err(|_| RequestError::NoStream)?);
            let opened = self.connection.open(kind).await;
            let (send, recv) = opened.map_err(RequestError::NotOpened)?;
            Ok::<_, RequestError>((send, recv, guard))
        };
        let mut opened = pin!(opened);
        // Nearly always at once, and then nothing needs to be timed.
        let opened = match poll_immediate(&mut opened).await {
            Some(opened) => opened,
            None => {
                let opened = timeout(OPEN_WAIT, opened).await;
                opened.map_err(|_| RequestError::NoStream)?
            }
        };
        let (send, recv, guard) = opened?;
        Ok(OpenStream { send, recv, guard })
    }
}

/// A stream that nothing was written to yet.
#[derive(Debug)]
pub(crate) struct OpenStream<G> {
    /// Towards the agent.
    pub send: SendHalf,
    /// From the agent.
    pub recv: RecvHalf,
    /// Counts the stream.
    pub guard: G,
}

/// Counts one stream on its link, and one request at its agent, until dropped.
#[derive(Debug)]
pub(crate) struct StreamGuard {
    _slot: OwnedSemaphorePermit,
    _in_flight: InFlight,
}

impl StreamGuard {
    fn new(link: &Link, slot: OwnedSemaphorePermit) -> Self {
        Self {
            _slot: slot,
            _in_flight: link.load.start(),
        }
    }
}

/// A stream about to be opened.
struct Opening<'a>(&'a Link);

impl<'a> Opening<'a> {
    fn new(link: &'a Link) -> Self {
        link.opening.fetch_add(1, SeqCst);
        Self(link)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.fetch_sub(1, SeqCst);
        self.0.opened.notify_waiters();
    }
}
