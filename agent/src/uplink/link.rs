//! A link that is up: takes streams, talks on the control stream, and leaves in good order.

use std::{cell::Cell, convert::Infallible, rc::Rc, time::Duration};

use model::name::EdgeId;
use proto::tunnel::{Drain, GoAway, Pong};
use runtime::{Scope, scope::boxed};
use tokio::{
    sync::{Notify, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};
use tunnel::{
    codes::Code,
    control::{ControlReceiver, ControlSender, Message},
    link::{Accepted, Closed, Connection},
    silence::{LOOK_EVERY, SILENCE_MAX, Silence},
    stream::Kind,
};

use super::{Plan, dial::Link};
use crate::{
    probe, request,
    uplinks::{Phase, Up},
    worker::Worker,
};

/// How long an edge may take to answer Drain. Afterwards it is taken to know.
const DRAIN_ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// Streams that were opened before the edge knew arrive within this; they are served.
const DRAIN_GRACE: Duration = Duration::from_millis(200);

/// How much longer than it said an edge may keep a link it sent away.
const GO_AWAY_GRACE: Duration = Duration::from_secs(5);

/// A link on which nothing came for so long does not make the agent ready: what it sends every two seconds was not answered. An edge that
/// speaks and does not hear closes the link, for its own part, as soon as this side would.
const DOUBT_AFTER: Duration = LOOK_EVERY.saturating_mul(8);

/// How long what runs on a link may go on once there is a better one: WebSockets, for the most part.
const RETIRED_MAX: Duration = Duration::from_secs(3_600);

/// Messages that wait to be sent: answers to Pings, and one Drain.
const REPLIES_WAITING_MAX: usize = 8;

/// Streams of one link.
#[derive(Debug, Default)]
struct Streams {
    count: Cell<u32>,
    changed: Notify,
}

/// One stream, as long as this lives.
#[derive(Debug)]
struct Taken {
    streams: Rc<Streams>,
}

impl Streams {
    fn take(self: &Rc<Self>) -> Taken {
        self.count.set(self.count.get() + 1);
        Taken {
            streams: Rc::clone(self),
        }
    }

    async fn none(&self) {
        while self.count.get() > 0 {
            self.changed.notified().await;
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let streams = &self.streams;
        streams.count.set(streams.count.get().saturating_sub(1));
        streams.changed.notify_one();
    }
}

/// Whether new streams are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Open,
    Closed,
}

/// What ties a link to who keeps the uplink.
pub(super) struct Ties {
    /// Hears if the edge sends us away.
    pub(super) told: oneshot::Sender<GoAway>,
    /// Dropped when the link is gone.
    pub(super) over: oneshot::Sender<Infallible>,
    /// Tells that there is a better link.
    pub(super) retired: oneshot::Receiver<()>,
}

/// What the parts of a link share.
struct Shared {
    worker: Rc<Worker>,
    /// Who has proven to be at the other end.
    edge: EdgeId,
    connection: Connection,
    streams: Rc<Streams>,
    door: Cell<Door>,
    up: Up,
    /// This side is the one that leaves.
    leaves: Cell<bool>,
    /// What the edge said when it sent us away.
    sent_away: watch::Sender<Option<GoAway>>,
}

/// Serves a link until it is gone.
pub(super) async fn serve(worker: Rc<Worker>, plan: Plan, link: Link, ties: Ties) {
    let Ties {
        told,
        over: _over,
        retired,
    } = ties;
    let (edge, edge_worker) = (plan.edge.id.clone(), link.edge_worker);
    let transport = link.connection.transport();
    tracing::info!(%edge, worker = edge_worker, %transport, "uplink is up");
    let shared = Shared {
        connection: link.connection,
        streams: Rc::default(),
        door: Cell::new(Door::Open),
        up: worker.shared.links.up(&plan, transport),
        leaves: Cell::new(false),
        sent_away: watch::Sender::new(None),
        edge: edge.clone(),
        worker,
    };
    let closed = shared
        .live(&plan.life, (link.sender, link.receiver), told, retired)
        .await;
    let packet_bytes = shared.connection.packet_bytes();
    tracing::info!(%edge, worker = edge_worker, %transport, packet_bytes, %closed, "uplink is down");
}

impl Shared {
    async fn live(
        &self,
        life: &Scope,
        (sender, receiver): (ControlSender, ControlReceiver),
        told: oneshot::Sender<GoAway>,
        retired: oneshot::Receiver<()>,
    ) -> Closed {
        let (reply, replies) = tokio::sync::mpsc::channel(REPLIES_WAITING_MAX);
        // Each part ends by itself only when the connection must end; the others are dropped with it.
        tokio::select! {
            closed = self.take_streams() => return closed,
            () = self.hear(receiver, told, &reply) => {}
            () = speak(sender, replies) => {}
            () = self.leave(retired, &reply) => {}
            () = self.overstay() => {}
            () = self.listen() => {
                self.connection.close(Code::Timeout, "the edge is silent");
            }
            () = life.cancelled() => {
                self.connection.close(Code::Cancelled, "the edge is not in the agent's snapshot");
            }
            () = self.worker.scope.cancelled() => {
                self.connection.close(Code::Cancelled, "the agent ends");
            }
        }
        // Whoever did not say why lost the control stream; the edge may have closed.
        tokio::select! {
            closed = self.take_streams() => return closed,
            _ = self.connection.last_words() => {}
        }
        self.connection
            .close(Code::Protocol, "control stream ended");
        self.connection.closed().await
    }

    async fn take_streams(&self) -> Closed {
        loop {
            match self.connection.accept().await {
                Ok(accepted) => self.take(accepted),
                Err(closed) => return closed,
            }
        }
    }

    fn take(&self, accepted: Accepted) {
        if self.door.get() == Door::Closed {
            return accepted.refuse(Code::Draining);
        }
        if self.streams.count.get() >= self.worker.shared.streams_max {
            return accepted.refuse(Code::Refused);
        }
        let (worker, taken) = (Rc::clone(&self.worker), self.streams.take());
        let edge = self.edge.clone();
        let stream = boxed(|| async move {
            let _taken = taken;
            serve_stream(&worker, &edge, accepted).await;
        });
        self.worker.scope.spawn_local("stream", stream);
    }

    async fn hear(
        &self,
        mut receiver: ControlReceiver,
        told: oneshot::Sender<GoAway>,
        reply: &tokio::sync::mpsc::Sender<Message>,
    ) {
        let mut told = Some(told);
        loop {
            let message = match receiver.next().await {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "control stream failed");
                    return;
                }
            };
            match message {
                Message::Ping(ping) => {
                    let pong = Message::Pong(Pong { nonce: ping.nonce });
                    // A full queue means that the edge does not read; it has no use for another answer.
                    let _ = reply.try_send(pong);
                }
                Message::GoAway(away) => {
                    tracing::info!(reason = away.reason, "the edge sends the agent away");
                    self.up.shut();
                    self.sent_away.send_replace(Some(away.clone()));
                    if let Some(told) = told.take() {
                        // Nobody listens while the agent itself drains.
                        let _ = told.send(away);
                    }
                }
                Message::Hello(_) | Message::Welcome(_) | Message::Pong(_) | Message::Drain(_) => {
                    tracing::debug!("a control message that means nothing from an edge");
                }
            }
        }
    }

    /// Notes whether anything came lately; ends when the edge has been silent for too long.
    async fn listen(&self) {
        let mut silence = Silence::new(self.connection.heard());
        loop {
            sleep(LOOK_EVERY).await;
            let lasts = silence.look(self.connection.heard());
            if lasts >= SILENCE_MAX {
                return;
            }
            if lasts >= DOUBT_AFTER {
                self.up.doubt();
            } else {
                self.up.prove();
            }
        }
    }

    /// The agent's drain, or the move to a better link, seen from one link.
    async fn leave(
        &self,
        retired: oneshot::Receiver<()>,
        reply: &tokio::sync::mpsc::Sender<Message>,
    ) {
        let (deadline, reason) = tokio::select! {
            deadline = self.draining() => (deadline, "the agent is stopping"),
            () = has_retired(retired) => {
                (self.worker.clock.now() + RETIRED_MAX, "the agent has a better link")
            }
        };
        self.leaves.set(true);
        self.up.shut();
        // 1. The edge opens no more streams here once it has heard this.
        let reason = reason.to_owned();
        let _ = reply.try_send(Message::Drain(Drain { reason }));
        // 2. What it opened before it heard is still served: until it answers, and as long as such streams travel.
        self.answered().await;
        sleep(DRAIN_GRACE).await;
        // 3. What comes now was opened against our word. It is refused, which is safe to try elsewhere.
        self.door.set(Door::Closed);
        // 4. What runs ends by itself, or at the deadline.
        let in_time = tokio::select! {
            () = self.streams.none() => true,
            () = sleep_until(deadline) => false,
            () = self.drained() => false,
        };
        // 5. The last word says which it was.
        if in_time {
            self.connection
                .close(Code::Draining, "the agent has drained");
        } else {
            let streams = self.streams.count.get();
            tracing::warn!(
                streams,
                "streams are broken off: the drain deadline has passed"
            );
            self.connection
                .close(Code::Draining, "the agent's drain deadline has passed");
        }
    }

    async fn draining(&self) -> Instant {
        let mut phase = self.worker.shared.phase.clone();
        loop {
            if let Phase::Draining { deadline } = *phase.borrow_and_update() {
                return deadline;
            }
            if phase.changed().await.is_err() {
                // The agent is gone without a drain; its scope ends this link.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until the agent's own drain is over.
    async fn drained(&self) {
        sleep_until(self.draining().await).await;
    }

    async fn answered(&self) {
        let mut sent_away = self.sent_away.subscribe();
        tokio::select! {
            // Fails only when the sender is gone, and we hold it.
            _ = sent_away.wait_for(Option::is_some) => {}
            () = sleep(DRAIN_ANSWER_TIMEOUT) => {}
        }
    }

    /// An edge that sent us away closes the link by its deadline; if it does not, we do.
    async fn overstay(&self) {
        let mut sent_away = self.sent_away.subscribe();
        let deadline = match sent_away.wait_for(Option::is_some).await {
            Ok(away) => away.as_ref().map_or(0, |away| away.deadline_ms),
            Err(_) => std::future::pending().await,
        };
        if self.leaves.get() {
            // It only answers us: our own deadline counts.
            std::future::pending::<()>().await;
        }
        sleep(Duration::from_millis(u64::from(deadline)) + GO_AWAY_GRACE).await;
        self.connection
            .close(Code::Timeout, "the edge's own deadline has passed");
    }
}

/// Waits until there is a better link. Whoever keeps the uplink may be gone; the link then stays as it is.
async fn has_retired(retired: oneshot::Receiver<()>) {
    if retired.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Sends what the other parts want said; ends with the stream.
async fn speak(mut sender: ControlSender, mut replies: tokio::sync::mpsc::Receiver<Message>) {
    while let Some(message) = replies.recv().await {
        if let Err(error) = sender.send(message).await {
            tracing::debug!(%error, "control stream failed");
            return;
        }
    }
}

async fn serve_stream(worker: &Worker, edge: &EdgeId, accepted: Accepted) {
    match accepted.kind().await {
        Ok((Kind::Http, send, recv)) => request::serve(worker, edge, send, recv).await,
        Ok((Kind::Probe, send, recv)) => probe::serve(worker, send, recv).await,
        Ok((kind, mut send, mut recv)) => {
            tracing::debug!(
                kind = kind.as_str(),
                "a kind of stream that this agent does not serve"
            );
            send.reset(Code::Refused);
            recv.stop(Code::Refused);
        }
        Err(error) => tracing::debug!(%error, "stream without a kind"),
    }
}
