//! One node's Sync: a snapshot or what it missed, then every change as it comes, for as long as the node lives.
//!
//! Nothing queues without end: at most one message waits for the node, chunks of a snapshot are made when it is read,
//! and changes are gathered by name until the node takes them. A node that falls behind the log gets a snapshot. A node has one
//! Sync: a new one ends the old, and so does a message that is not read in time.
//! The node's own record is watched with everything else: revoked, deleted or of another key, its Sync ends; in another group, it gets
//! the snapshot of that group. A change of the fabric's settings is a delta too, with all that follows from them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use proto::fabric::{
    Heartbeat, SnapshotChunk, SyncHello, SyncRequest, SyncResponse, sync_request,
    sync_response::Kind,
};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, timeout, timeout_at},
};
use tonic::{Status, Streaming};

use super::{
    FabricContext, ProvenNode,
    changes::Changes,
    member::{self, Member, Record},
    refusal::Refusal,
    report, snapshot,
    view::{SETTINGS_KEY, Scope, View},
};
use crate::{
    presence::{NodeId, Session as Present},
    questions::Line,
    store::{Batch, Event, Revision, StoreError, Watch, WatchError},
    telemetry,
};

/// Silence after which a node is told that control lives; also how soon a state that it refused is sent anew.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a node may take to say hello.
const HELLO_WAIT: Duration = Duration::from_secs(10);
/// How long a message may wait for a node that does not read, with a snapshot held for it; slow lines take a piece in seconds.
const UNREAD_MAX: Duration = Duration::from_secs(60);
/// Deltas whose acknowledgement is timed at once; more are not measured.
const TIMED_MAX: usize = 1_024;

/// Serves a node until it leaves, or may stay no longer; then tells it why.
pub(super) async fn run(
    context: Arc<FabricContext>,
    node: ProvenNode,
    name: String,
    mut incoming: Streaming<SyncRequest>,
    outgoing: Answers,
) {
    let served = serve(&context, &node, &mut incoming, &outgoing).await;
    tracing::info!(node = %name, reason = served.as_ref().err().map(|refusal| refusal.class().1), "sync ended");
    if let Err(refusal) = served {
        tokio::select! {
            _ = outgoing.send(Err(refusal.into())) => {}
            () = sleep(HEARTBEAT) => {}
        }
    }
}

async fn serve(
    context: &Arc<FabricContext>,
    node: &ProvenNode,
    incoming: &mut Streaming<SyncRequest>,
    outgoing: &Answers,
) -> Result<(), Refusal> {
    let Some(hello) = hello(incoming).await? else {
        return Ok(());
    };
    // Not before: a hello that is held back is of a node that may have been revoked meanwhile, and what it says to have may be of after that.
    let (member, read) = member::admit_at_revision(context, node).await?;
    let mut session = Session::open(context, node, (member.clone(), read), &hello).await?;
    tracing::info!(node = %member.id.resource_name(), version = %hello.version, revision = hello.revision, "sync began");
    report::note(context, node, member, &hello).await?;
    session.follow(node, incoming, outgoing).await
}

/// The node's first message; `None`: it left without one.
async fn hello(incoming: &mut Streaming<SyncRequest>) -> Result<Option<SyncHello>, Refusal> {
    let first = timeout(HELLO_WAIT, incoming.message())
        .await
        .map_err(|_| Refusal::Protocol("no hello within 10 s"))?;
    match first {
        Ok(Some(SyncRequest {
            kind: Some(sync_request::Kind::Hello(hello)),
        })) => Ok(Some(hello)),
        Ok(Some(_)) => Err(Refusal::Protocol("the first message must be hello")),
        Ok(None) | Err(_) => Ok(None),
    }
}

struct Session {
    context: Arc<FabricContext>,
    id: NodeId,
    /// What the node has proven to have.
    node_key_sha256: [u8; 32],
    /// That of its record.
    key: String,
    view: View,
    present: Present,
    /// What operators ask, if the node is an agent.
    line: Option<Line>,
    watch: Box<dyn Watch>,
    /// Last revision that went out or is in `chunks`.
    told: Revision,
    /// Last revision that was looked at.
    seen: Revision,
    chunks: VecDeque<SnapshotChunk>,
    changes: Changes,
    changed_since: Option<Instant>,
    /// Deltas that went out and were not acknowledged, with the time of their oldest change.
    timed: VecDeque<(Revision, Instant)>,
    /// The node refused its state: a snapshot follows at the next heartbeat, and no deltas before it.
    refused: bool,
    fanout_lag: metrics::Histogram,
}

impl Session {
    async fn open(
        context: &Arc<FabricContext>,
        node: &ProvenNode,
        (member, read): (Member, Revision),
        hello: &SyncHello,
    ) -> Result<Self, Refusal> {
        let (store, now) = (&context.store, context.clock.wall());
        let resumed = Revision(hello.revision);
        let present = context
            .presence
            .connect(member.id.clone(), &hello.version, now);
        let agent = member.id.agent();
        let line = agent.map(|id| context.questions.open(id, present.number()));
        let mut session = Self {
            context: Arc::clone(context),
            node_key_sha256: node.key_sha256,
            key: member.id.resource_name(),
            view: View::now(member.scope(), &**store).await?,
            line,
            id: member.id,
            present,
            watch: store.watch(resumed),
            told: resumed,
            seen: resumed,
            chunks: VecDeque::new(),
            changes: Changes::default(),
            changed_since: None,
            timed: VecDeque::new(),
            refused: false,
            fanout_lag: telemetry::fanout_lag_seconds(),
        };
        // Revision 0 is before the fabric's own record, so such a node has nothing to build on. Of one that is to come the watch would not tell
        // what happens to the record until then.
        if hello.store_id != store.id() || hello.revision == 0 || resumed > read {
            session.start_over().await?;
        }
        Ok(session)
    }

    async fn follow(
        &mut self,
        node: &ProvenNode,
        incoming: &mut Streaming<SyncRequest>,
        outgoing: &Answers,
    ) -> Result<(), Refusal> {
        let context = Arc::clone(&self.context);
        let life = node.expires_at.duration_since(context.clock.wall());
        let mut expiry = std::pin::pin!(sleep(life.unwrap_or(Duration::ZERO)));
        let mut beat = heartbeat(&context);
        let mut outgoing = Outgoing::new(outgoing);
        loop {
            let (may_send, may_watch) = (self.has_something(), self.may_watch());
            tokio::select! {
                () = context.scope.cancelled() => return Err(Refusal::Stopping),
                () = &mut expiry => return Err(Refusal::CertificateExpired),
                () = self.present.replaced() => return Err(Refusal::Replaced),
                said = incoming.message() => match said {
                    Ok(Some(message)) => self.hear(message)?,
                    Ok(None) | Err(_) => return Ok(()),
                },
                room = outgoing.room(context.clock.now()), if may_send => match room? {
                    Some(room) => if let Some(message) = self.next_message() {
                        room.send(Ok(message));
                        beat.reset();
                    }
                    None => return Ok(()),
                },
                () = next_question(&mut self.line), if !self.is_asked() => {}
                batch = self.watch.next(), if may_watch => self.absorb(batch).await?,
                _ = beat.tick() => self.beat(outgoing.sender).await?,
            }
        }
    }

    fn has_something(&self) -> bool {
        !self.chunks.is_empty() || !self.changes.is_empty() || self.is_asked()
    }

    fn is_asked(&self) -> bool {
        self.line.as_ref().is_some_and(Line::is_asked)
    }

    fn may_watch(&self) -> bool {
        self.chunks.is_empty() && !self.changes.is_full()
    }

    /// `None`: who wanted to ask something has given up meanwhile.
    fn next_message(&mut self) -> Option<SyncResponse> {
        let kind = if let Some(chunk) = self.chunks.pop_front() {
            Kind::Snapshot(chunk)
        } else if self.changes.is_empty() {
            // Last, so that the agent knows of what is published by now.
            Kind::SignOn(self.line.as_mut()?.take()?)
        } else {
            Kind::Delta(self.take_delta())
        };
        Some(SyncResponse { kind: Some(kind) })
    }

    fn take_delta(&mut self) -> proto::fabric::Delta {
        let delta = self.changes.take(self.told, self.seen);
        self.told = self.seen;
        if let Some(since) = self.changed_since.take()
            && self.timed.len() < TIMED_MAX
        {
            self.timed.push_back((self.told, since));
        }
        delta
    }

    async fn absorb(&mut self, batch: Result<Batch, WatchError>) -> Result<(), Refusal> {
        let batch = match batch {
            Ok(batch) => batch,
            Err(WatchError::Compacted(_)) => return self.start_over().await,
            Err(WatchError::Store(StoreError::Closed)) => return Err(Refusal::Stopping),
            Err(WatchError::Store(error)) => return Err(error.into()),
        };
        self.seen = batch.revision;
        if let Some(own) = batch.events.iter().find(|event| *event.key == *self.key)
            && self.is_moved(own)
        {
            return self.start_over().await;
        }
        let changed = |key: &str| batch.events.iter().any(|event| event.key.starts_with(key));
        // The node gets the links of all apps, or loses them.
        if let Some(prefix) = self.view.translating()
            && changed(&prefix)
        {
            return self.start_over().await;
        }
        if changed(SETTINGS_KEY) && !self.resettle(&batch).await? {
            return self.start_over().await;
        }
        self.changes.absorb(&self.view, &batch);
        if self.refused {
            // The snapshot to come holds it.
            self.changes.clear();
        }
        if self.changes.is_too_large() {
            return self.start_over().await;
        }
        if !self.changes.is_empty() {
            let clock = &self.context.clock;
            self.changed_since.get_or_insert_with(|| clock.now());
        }
        Ok(())
    }

    /// Gathers everything that follows from the fabric's settings; false: the store has moved on, so what it holds is not what
    /// the node has at this revision.
    async fn resettle(&mut self, batch: &Batch) -> Result<bool, Refusal> {
        let range = self
            .context
            .store
            .snapshot(Scope::prefixes(&self.id))
            .await?;
        if range.revision != batch.revision {
            return Ok(false);
        }
        self.view = View::of(self.view.scope().clone(), &range.entries);
        let settled = range
            .entries
            .iter()
            .filter(|entry| View::is_settled(&entry.key));
        let view = &self.view;
        let resources = settled.flat_map(|entry| view.resources(&entry.key, &entry.value));
        self.changes.renew(resources);
        Ok(true)
    }

    /// Whether the node's own record lets it see something else than before, or nothing any more.
    fn is_moved(&self, own: &Event) -> bool {
        let scope = |value: &Option<_>| {
            let record = Record::decode(&self.id, value.as_ref()?)?;
            let may_stay = record.admits(&self.key, &self.node_key_sha256).is_ok();
            may_stay.then(|| record.scope())
        };
        let now = scope(&own.after);
        now.is_none() || now != scope(&own.before)
    }

    /// Reads everything and goes on from there; refused if the node may not have it any more.
    async fn start_over(&mut self) -> Result<(), Refusal> {
        let store = Arc::clone(&self.context.store);
        let fresh = snapshot::read(&*store, &self.id, &self.node_key_sha256).await?;
        self.view = fresh.view;
        self.chunks = fresh.chunks.into();
        self.changes.clear();
        self.changed_since = None;
        self.refused = false;
        (self.told, self.seen) = (fresh.revision, fresh.revision);
        self.watch = store.watch(fresh.revision);
        Ok(())
    }

    fn hear(&mut self, message: SyncRequest) -> Result<(), Refusal> {
        self.present.seen(self.context.clock.wall());
        match message.kind {
            Some(sync_request::Kind::Ack(ack)) => self.acknowledged(Revision(ack.revision)),
            Some(sync_request::Kind::Nack(nack)) => {
                telemetry::nacks().increment(1);
                tracing::warn!(
                    node = %self.key,
                    revision = nack.revision,
                    reason = %nack.reason.chars().take(200).collect::<String>(),
                    "a node cannot use its state"
                );
                self.refused = true;
                self.changes.clear();
            }
            Some(sync_request::Kind::Presence(report)) => self.present.report(&report),
            Some(sync_request::Kind::SignOn(answer)) => {
                if let Some(line) = &mut self.line {
                    line.answer(answer);
                }
            }
            Some(sync_request::Kind::Hello(_)) => return Err(Refusal::Protocol("a second hello")),
            // Of a later release.
            None => {}
        }
        Ok(())
    }

    fn acknowledged(&mut self, revision: Revision) {
        self.present.applied(revision);
        let now = self.context.clock.now();
        while let Some((sent, since)) = self.timed.front()
            && *sent <= revision
        {
            self.fanout_lag.record((now - *since).as_secs_f64());
            self.timed.pop_front();
        }
    }

    /// Says that control lives, and which revision the node has though nothing changed for it.
    async fn beat(&mut self, outgoing: &Answers) -> Result<(), Refusal> {
        if !self.chunks.is_empty() {
            return Ok(());
        }
        if self.refused {
            return self.start_over().await;
        }
        if !self.changes.is_empty() {
            return Ok(());
        }
        // Without room the node has something to read already.
        let Ok(room) = outgoing.try_reserve() else {
            return Ok(());
        };
        let kind = if self.told < self.seen {
            Kind::Delta(self.take_delta())
        } else {
            Kind::Heartbeat(Heartbeat {
                revision: self.told.0,
            })
        };
        room.send(Ok(SyncResponse { kind: Some(kind) }));
        Ok(())
    }
}

/// Waits for an operator's question; never ends, for an edge. Cancel-safe.
async fn next_question(line: &mut Option<Line>) {
    match line {
        Some(line) => line.wait().await,
        None => std::future::pending().await,
    }
}

/// Where messages go, and since when one has been waiting for room.
struct Outgoing<'a> {
    sender: &'a Answers,
    waits_since: Option<Instant>,
}

type Answers = mpsc::Sender<Result<SyncResponse, Status>>;

impl<'a> Outgoing<'a> {
    fn new(sender: &'a Answers) -> Self {
        Self {
            sender,
            waits_since: None,
        }
    }

    /// Room for the next message; `None`: the node has left. Cancel-safe: however often it is asked again, the node has
    /// [`UNREAD_MAX`] from the first time on.
    async fn room(
        &mut self,
        now: Instant,
    ) -> Result<Option<mpsc::Permit<'a, Result<SyncResponse, Status>>>, Refusal> {
        let since = *self.waits_since.get_or_insert(now);
        let room = timeout_at(since + UNREAD_MAX, self.sender.reserve()).await;
        let room = room.map_err(|_| Refusal::Unread)?;
        self.waits_since = None;
        Ok(room.ok())
    }
}

fn heartbeat(context: &FabricContext) -> Interval {
    let mut beat = interval_at(context.clock.now() + HEARTBEAT, HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

#[cfg(test)]
mod tests {
    use runtime::Clock;

    use super::*;

    fn message() -> Result<SyncResponse, Status> {
        Ok(SyncResponse::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_reads_nothing_is_given_up_however_often_the_wait_is_interrupted() {
        let (clock, begin) = (Clock::system(), Instant::now());
        let (sender, mut reader) = mpsc::channel(1);
        let mut outgoing = Outgoing::new(&sender);
        let room = outgoing.room(clock.now()).await.expect("there is room");
        room.expect("the node is there").send(message());
        let refusal = loop {
            // As heartbeats interrupt it.
            match timeout(HEARTBEAT, outgoing.room(clock.now())).await {
                Ok(Ok(_)) => panic!("nothing was read"),
                Ok(Err(refusal)) => break refusal,
                Err(_) => assert!(begin.elapsed() <= UNREAD_MAX, "it waits on"),
            }
        };
        assert!(matches!(refusal, Refusal::Unread), "{refusal}");
        assert_eq!(begin.elapsed(), UNREAD_MAX);
        // What is read in time counts from anew.
        let mut outgoing = Outgoing::new(&sender);
        for _ in 0..5 {
            let late = timeout(UNREAD_MAX / 2, outgoing.room(clock.now())).await;
            assert!(late.is_err(), "there is no room");
            let read = reader.recv().await.expect("the sender is there");
            read.expect("a message");
            let room = outgoing.room(clock.now()).await.expect("in time");
            room.expect("the node is there").send(message());
        }
    }
}
