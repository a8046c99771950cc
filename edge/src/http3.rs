//! Users over HTTP/3 (RFC 9114), on the port that agents use too.
//!
//! The wire is written here, on quinn, and not taken from a library: what there is cannot carry WebSockets (RFC 9220), holds heads of any
//! length in memory, passes over repeated pseudo fields, and ends answers that broke off as if they were whole.
//!
//! A connection is a task, each of its requests another; all run on the worker that accepted it. A request that breaks HTTP costs its
//! stream; one that breaks HTTP/3 costs its connection. The path of a request is that of every version: `request.rs`.

mod body;
mod code;
mod control;
mod delivery;
mod exchange;
mod frame;
mod head;
mod inbound;
mod qpack;
mod reply;
mod source;
mod tunnel;

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use ::tunnel::quic::{UserHandshake, UserKnock};
use model::settings::EdgeLimits;
use quinn::{Connection, RecvStream, SendStream, crypto::rustls::HandshakeData};
use runtime::scope::boxed;
use rustls::pki_types::CertificateDer;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

pub(crate) use body::{Body, BodyError};
pub(crate) use exchange::OnTunnel;
pub(crate) use tunnel::Tunnel;

use code::Code;
use control::{Control, Opened};
use exchange::{Exchange, Outcome};
use qpack::Bounds;

use crate::{
    bounds::widened,
    listener::User,
    neighbours::Network,
    request::{self, Visit},
    serving::Worker,
    sign_in::recall::Recall,
    stall::watched,
    ties::Ties,
    user_tls::{Greeted, Prepared},
};

/// Connections of one worker. At some 100 KB each, for quinn keeps room for every stream that is granted, 4,000 take 400 MB.
pub(crate) const CONNECTIONS_MAX: usize = 4_000;

/// Pseudo fields of a request: what the other versions do not count among its fields.
const PSEUDO_FIELDS: usize = 5;

/// Shortest wait for requests that were on their way when the edge began to leave.
const GRACE_MIN: Duration = Duration::from_millis(50);
/// Longest: a round trip of a slow phone.
const GRACE_MAX: Duration = Duration::from_secs(1);

/// Requests that a user may break off beyond those it lets be answered: opening and resetting streams is cheap for it alone
/// (as CVE-2023-44487 of HTTP/2). Browsers break off some when people click faster than pages come.
const BROKEN_OFF_MAX: u64 = 200;

/// A GOAWAY that still takes every request: the last stream that a client can open.
const ALL_STREAMS: u64 = (1 << 62) - 4;

/// Streams of requests have every fourth number (RFC 9000, section 2.1).
const STREAM_STEP: u64 = 4;

/// Serves one user from its first packet to the end of its connection.
pub(crate) async fn serve(knock: UserKnock, permit: OwnedSemaphorePermit, worker: Arc<Worker>) {
    let _permit = permit;
    let (edge, address) = (&worker.edge, knock.remote_address());
    let limits = edge.limits();
    let network = Network::of(address.ip());
    if !edge.neighbours.has_room(network) {
        return turn_away(&worker, address);
    }
    let prepared = edge.user_tls.over_quic();
    let tls = Arc::clone(&prepared.config);
    let shaken = match knock.answer(limits.streams, tls) {
        Some(handshake) => shake(handshake, limits.handshake_timeout).await,
        None => None,
    };
    let Some(connection) = shaken else {
        edge.metrics.user_handshake_failures.increment(1);
        tracing::debug!(user.address = %address, "quic handshake with user failed");
        return;
    };
    // Counted only now: before its handshake an address may be anybody's invention, and would use up what its owner may.
    let Some(_neighbour) = edge.neighbours.admit(network) else {
        connection.close(Code::ExcessiveLoad.to_wire(), b"too many connections");
        return turn_away(&worker, address);
    };
    edge.metrics.connections.increment(1.0);
    let user = Arc::new(User {
        address,
        tls_version: "1.3",
        ties: Ties::new(),
        recall: Recall::default(),
        greeted: greeted(&connection, &prepared),
        presence: Arc::default(),
        limits,
    });
    let visit = Visit {
        worker: Arc::clone(&worker),
        user,
    };
    Conversation::new(connection, visit).run().await;
    edge.metrics.connections.decrement(1.0);
}

/// What quinn knows of the handshake.
fn greeted(connection: &Connection, prepared: &Prepared) -> Greeted {
    let data = connection.handshake_data();
    let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
    let server_name = data.and_then(|data| data.server_name);
    let chain = || {
        let chain = connection.peer_identity()?;
        chain
            .downcast::<Vec<CertificateDer<'static>>>()
            .ok()
            .map(|chain| *chain)
    };
    prepared.greeted(server_name.as_deref(), chain)
}

fn turn_away(worker: &Worker, address: SocketAddr) {
    worker.edge.metrics.refused_for_address.increment(1);
    tracing::debug!(user.address = %address, "address has its share of connections");
}

async fn shake(handshake: UserHandshake, patience: Duration) -> Option<Connection> {
    timeout(patience, handshake.finish()).await.ok()?.ok()
}

/// One connection.
struct Conversation {
    connection: Connection,
    visit: Visit,
    /// Requests under way.
    open: TaskTracker,
    /// Requests so far.
    begun: u64,
    /// How many more requests were broken off than answered.
    broken_off: Arc<AtomicU64>,
}

impl Conversation {
    fn new(connection: Connection, visit: Visit) -> Self {
        let open = TaskTracker::new();
        // Its end can be waited for whenever nothing is under way.
        open.close();
        Self {
            connection,
            visit,
            open,
            begun: 0,
            broken_off: Arc::default(),
        }
    }

    async fn run(mut self) {
        let limits = &self.visit.user.limits;
        let (patience, idle_max) = (limits.handshake_timeout, limits.idle_timeout);
        let opening = Control::open(&self.connection, widened(limits.head_bytes));
        let Ok(Ok(mut control)) = timeout(patience, opening).await else {
            return;
        };
        self.listen();
        let visit = self.visit.clone();
        let mut leaving = pin!(request::sent_away(&visit.worker, &visit.user));
        loop {
            // Every branch is cancel-safe.
            tokio::select! {
                biased;
                () = &mut leaving => return self.leave(&mut control).await,
                accepted = self.connection.accept_bi() => match accepted {
                    Ok((send, recv)) => self.begin(send, recv),
                    Err(_) => return,
                },
                () = idle(&self.open, idle_max) => return,
            }
            if self.broken_off.load(Relaxed) > BROKEN_OFF_MAX {
                self.close(Code::ExcessiveLoad, "too many requests broken off");
                return;
            }
        }
    }

    /// Hears the streams in one direction that the user opens.
    fn listen(&self) {
        let (connection, scope) = (
            self.connection.clone(),
            self.visit.worker.connections.clone(),
        );
        let opened = Arc::new(Opened::default());
        scope.clone().spawn("http3 control", async move {
            while let Ok(stream) = connection.accept_uni().await {
                let (connection, opened) = (connection.clone(), Arc::clone(&opened));
                scope.spawn("http3 control stream", async move {
                    control::listen(connection, stream, &opened).await;
                });
            }
        });
    }

    fn begin(&mut self, send: SendStream, recv: RecvStream) {
        self.begun += 1;
        let exchange = Exchange {
            visit: self.visit.clone(),
            connection: self.connection.clone(),
            open: self.open.token(),
        };
        let stalls = Arc::clone(&self.visit.worker.edge.stalls);
        let longest = self.visit.user.limits.stall_timeout;
        let (broken_off, present) = (Arc::clone(&self.broken_off), self.open.token());
        self.visit
            .worker
            .connections
            .spawn("http3 stream", async move {
                // Dropped, the stream is reset.
                let outcome = watched(boxed(|| exchange.run(send, recv)), longest, &stalls).await;
                // Fails at zero: answers are not saved up.
                let _ = broken_off.fetch_update(Relaxed, Relaxed, |count| match outcome {
                    Some(Outcome::Answered) => count.checked_sub(1),
                    Some(Outcome::BrokenOff) | None => Some(count + 1),
                });
                drop(present);
            });
    }

    /// Ends in good order (RFC 9114, section 5.2): what is on its way still comes in, what is under way is finished.
    async fn leave(mut self, control: &mut Control) {
        if control.go_away(ALL_STREAMS).await.is_err() {
            return;
        }
        let round_trips: Duration = self.connection.rtt() * 2;
        let grace = round_trips.clamp(GRACE_MIN, GRACE_MAX);
        let _ = timeout(grace, async {
            while let Ok((send, recv)) = self.connection.accept_bi().await {
                self.begin(send, recv);
            }
        })
        .await;
        if control.go_away(self.begun * STREAM_STEP).await.is_err() {
            return;
        }
        tokio::select! {
            () = self.open.wait() => {}
            () = self.reject() => {}
        }
    }

    /// Turns requests away until the connection is gone. They may be made elsewhere: nothing of them was processed.
    async fn reject(&self) {
        while let Ok((mut send, mut recv)) = self.connection.accept_bi().await {
            // Either fails only when the user has given the stream up.
            let _ = send.reset(Code::RequestRejected.to_wire());
            let _ = recv.stop(Code::RequestRejected.to_wire());
        }
    }

    fn close(&self, code: Code, why: &str) {
        self.connection.close(code.to_wire(), why.as_bytes());
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // Does nothing to a connection that is closed.
        self.close(Code::None, "");
    }
}

/// Waits until nothing has been under way for `idle_max`.
async fn idle(open: &TaskTracker, idle_max: Duration) {
    open.wait().await;
    sleep(idle_max).await;
}

/// Bounds of a field section.
fn bounds(limits: &EdgeLimits) -> Bounds {
    Bounds {
        bytes: widened(limits.head_bytes),
        lines: widened(limits.head_fields) + PSEUDO_FIELDS,
    }
}
