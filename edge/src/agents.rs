//! Agents at one worker: who is let in, and what is said on a link while it lives.

mod listed;
mod vigil;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use model::name::{AgentId, GroupId};
use proto::tunnel::{GoAway, Ping, Welcome};
use runtime::{
    node::Role,
    tls::{PeerError, peer_identity, peer_key_sha256},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    time::{Instant, MissedTickBehavior, error::Elapsed, interval, timeout},
};
use tokio_rustls::server::TlsStream;
use tunnel::{
    Transport,
    codes::Code,
    control::{ControlReceiver, ControlSender, HandshakeError, Message, Refusal, edge_handshake},
    link::{Closed, Connection},
    quic::{EdgeEndpoint, Handshake, Knock},
    silence::LOOK_EVERY,
    tcp,
};

use listed::Listed;
use vigil::{Sight, Step, Vigil};

use crate::{
    bounds::widened,
    http3,
    link::{Link, LinkParts},
    links::{Leaving, Who},
    seats::Seats,
    serving::{TunnelTls, Worker},
    view::Membership,
};

/// Time for QUIC and TLS: two round trips, and a busy machine.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for Hello and Welcome.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);
/// An agent that enrolled a moment ago may be here before the news of it.
const NEWS_WAIT: Duration = Duration::from_secs(2);
/// Streams that an agent may say it takes; beyond, it is the transport's limit that counts.
const STREAMS_MAX: u32 = 1024;
/// What runs on a link of an agent that was moved to another group has so long to end.
const MOVE_TIME: Duration = Duration::from_secs(30);
/// Bytes of an instance that count; agents make 16.
const INSTANCE_BYTES_MAX: usize = 64;
/// Agents that try at one worker at the same time whether they are welcome.
pub(crate) const TRIALS_MAX: usize = 16;
/// How long such an agent may stay, to learn how large packets may be.
const TRIAL_TIME: Duration = Duration::from_secs(10);
/// To an agent for whose links there is no room.
const TOO_MANY_LINKS: &str = "the agent has too many links";
/// How long an agent stays away that has too many: of one that starts anew those before are known to be gone by then.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// To an agent that has another group.
const MOVED: &str = "moved to another group";
/// The last word of an edge.
const EDGE_STOPPED: &str = "edge stopped";
/// Time that the endpoint has to tell its peers that it closes.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Why an agent was not let in.
#[derive(Debug, thiserror::Error)]
enum AdmitError {
    #[error("handshake failed")]
    Handshake(#[source] Closed),
    #[error("handshake took too long")]
    TimedOut,
    #[error("reading the agent's certificate")]
    Peer(#[source] PeerError),
    #[error("{0} is no agent of this fabric")]
    Stranger(String),
    #[error("agent {0} is not known")]
    Unknown(AgentId),
    #[error("agent {0} is revoked")]
    Revoked(AgentId),
    #[error("agent {0} has been enrolled anew, with another key")]
    Superseded(AgentId),
    #[error("greeting the agent")]
    Control(#[source] HandshakeError),
}

/// Accepts agents until the worker closes its tunnel, then tells those that are left. Users who knock are let in until the
/// worker accepts nobody else.
pub(crate) async fn serve(mut endpoint: EdgeEndpoint, mut tls: TunnelTls, worker: Arc<Worker>) {
    let users_max = || widened(worker.edge.limits().connections).min(http3::CONNECTIONS_MAX);
    let mut views = worker.edge.views.subscribe();
    let mut users = Seats::new(users_max());
    let mut accepting = true;
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // Who knocks meets the settings of the moment.
            biased;
            () = worker.closing.cancelled() => break,
            () = worker.opening.cancelled(), if tls.users.is_some() => {
                if let Some(Err(error)) = tls.users.take().map(|users| endpoint.welcome_users(users)) {
                    tracing::error!(%error, "cannot serve users over http/3");
                }
            }
            () = worker.accepting.cancelled(), if accepting => {
                accepting = false;
                tls.users = None;
                endpoint.turn_users_away();
            }
            Ok(()) = views.changed() => users.resize(users_max()),
            Ok(()) = tls.agents.changed() => {
                let renewed = tls.agents.borrow_and_update().clone();
                if let Err(error) = endpoint.replace_tls(renewed) {
                    tracing::error!(%error, "cannot use the renewed certificate towards agents");
                }
            }
            _ = looks.tick() => worker.edge.links.look(worker.index).await,
            knock = endpoint.accept() => {
                let Some(knock) = knock else { break };
                let own = Arc::clone(&worker);
                match knock {
                    Knock::Agent(handshake) => worker.links.spawn("link", admit(handshake, own)),
                    // Dropped, the knock is refused: the user takes another version, which waits for its turn.
                    Knock::User(knock) => if let Some(permit) = users.try_next() {
                        worker.connections.spawn("http3", http3::serve(knock, permit, own));
                    }
                }
            }
        }
    }
    endpoint.close(Code::Draining, EDGE_STOPPED);
    // Agents that did not hear it notice by their own time-out.
    let _ = timeout(CLOSE_WAIT, endpoint.idle()).await;
}

async fn admit(handshake: Handshake, worker: Arc<Worker>) {
    let address = handshake.remote_address();
    // Boxed: what a handshake needs goes with it, and is not held by the task of every link.
    let greeting = Box::pin(async {
        let connected = timeout(HANDSHAKE_TIMEOUT, handshake.finish()).await;
        greet(connected, &worker).await
    });
    let greeted = greeting.await;
    attend(greeted, address, worker).await;
}

/// Lets in an agent whose TLS is done. Its link is a task of its own, and no user's connection.
pub(crate) async fn admit_over_tcp<S>(
    stream: TlsStream<S>,
    address: SocketAddr,
    worker: &Arc<Worker>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = tcp::Peer {
        address,
        certificates: certificates.to_vec(),
    };
    let connected = timeout(HANDSHAKE_TIMEOUT, tcp::edge(stream, peer)).await;
    let connected = connected.map(|connected| {
        connected.map(|(connection, driver)| {
            let carried = carry(driver, Arc::clone(worker));
            worker.links.spawn("tcp link", carried);
            connection
        })
    });
    let own = Arc::clone(worker);
    worker.links.spawn("link", async move {
        let greeted = Box::pin(greet(connected, &own)).await;
        attend(greeted, address, own).await;
    });
}

/// Carries a link over TCP until it ends, or the tunnel closes: what an endpoint does over QUIC.
async fn carry<S>(mut driver: tcp::Driver<S>, worker: Arc<Worker>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        () = &mut driver => return,
        () = worker.closing.cancelled() => {}
    }
    driver.close(Code::Draining, EDGE_STOPPED);
    driver.await;
}

type Greeted = Result<(Arc<Link>, Purpose, ControlSender, ControlReceiver), AdmitError>;

async fn attend(greeted: Greeted, address: SocketAddr, worker: Arc<Worker>) {
    match greeted {
        Ok((link, Purpose::Trial, ..)) => {
            tracing::debug!(agent = link.agent().as_str(), agent.address = %address, "an agent tries whether it is welcome");
            see_off(&link, &worker.trials).await;
        }
        Ok((link, Purpose::Link, sender, receiver)) => {
            tracing::info!(
                agent = link.agent().as_str(),
                group = link.group().as_str(),
                transport = link.transport().as_str(),
                worker = worker.index,
                agent.address = %address,
                "link up"
            );
            let attendance = Attendance::new(link, sender, receiver, worker);
            attendance.run().await;
        }
        Err(error) => {
            worker.edge.metrics.agent_handshake_failures.increment(1);
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::info!(%error, cause, agent.address = %address, "agent not let in");
        }
    }
}

/// What an agent comes for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    /// To serve.
    Link,
    /// To learn whether it might.
    Trial,
}

/// Lets an agent go that only wanted to know. No request finds such a link, and it replaces none.
async fn see_off(link: &Link, trials: &Semaphore) {
    let connection = link.connection();
    let Ok(_place) = trials.try_acquire() else {
        return connection.close(Code::Refused, "too many try at the same time");
    };
    if timeout(TRIAL_TIME, connection.closed()).await.is_err() {
        connection.close(Code::Timeout, "the trial is over");
    }
}

async fn greet(connected: Result<Result<Connection, Closed>, Elapsed>, worker: &Worker) -> Greeted {
    let connection = connected
        .map_err(|_| AdmitError::TimedOut)?
        .map_err(AdmitError::Handshake)?;
    let (agent, key_sha256, group) = match identify(&connection, worker).await {
        Ok(known) => known,
        Err(error) => {
            let code = match error {
                AdmitError::Revoked(_) => Code::Revoked,
                _ => Code::Refused,
            };
            connection.close(code, &error.to_string());
            return Err(error);
        }
    };
    let greeting = edge_handshake(&connection, |hello| {
        // Before the welcome: to an agent that is a link that serves, for which it lets others go.
        if !hello.trial && !worker.edge.links.has_room(&group, &agent) {
            return Err(Refusal {
                code: Code::Refused,
                reason: TOO_MANY_LINKS.to_owned(),
                retry_after: Some(RETRY_AFTER),
            });
        }
        Ok(welcome(worker))
    });
    let (hello, sender, receiver) = match timeout(CONTROL_TIMEOUT, greeting).await {
        Ok(greeted) => greeted.map_err(AdmitError::Control)?,
        Err(_) => {
            connection.close(Code::Timeout, "no Hello in time");
            return Err(AdmitError::TimedOut);
        }
    };
    let link = Link::new(LinkParts {
        load: worker.edge.links.load(&agent),
        agent,
        key_sha256,
        instance: hello
            .instance
            .slice(..hello.instance.len().min(INSTANCE_BYTES_MAX)),
        group,
        worker: worker.index,
        connection,
        streams_max: hello.streams_max.clamp(1, STREAMS_MAX),
    });
    let purpose = if hello.trial {
        Purpose::Trial
    } else {
        Purpose::Link
    };
    Ok((Arc::new(link), purpose, sender, receiver))
}

/// Who the agent is and which key it has, by its proven certificate alone, and what it serves.
async fn identify(
    connection: &Connection,
    worker: &Worker,
) -> Result<(AgentId, [u8; 32], GroupId), AdmitError> {
    let identity = peer_identity(connection.peer_certificates()).map_err(AdmitError::Peer)?;
    let agent = identity
        .agent_id()
        .filter(|_| identity.role() == Role::Agent && *identity.domain() == worker.edge.domain)
        .ok_or_else(|| AdmitError::Stranger(identity.to_string()))?;
    let key = peer_key_sha256(connection.peer_certificates()).map_err(AdmitError::Peer)?;
    match membership_soon(&agent, &key, worker).await {
        Some(Membership::Serves(member)) if member.has_key(&key) => Ok((agent, key, member.group)),
        Some(Membership::Serves(_)) => Err(AdmitError::Superseded(agent)),
        Some(Membership::Revoked) => Err(AdmitError::Revoked(agent)),
        None => Err(AdmitError::Unknown(agent)),
    }
}

/// What the agent may do; what speaks against it may be older than its enrolment, so more is waited for.
async fn membership_soon(agent: &AgentId, key: &[u8; 32], worker: &Worker) -> Option<Membership> {
    let mut news = worker.edge.views.subscribe();
    let settled = async {
        loop {
            match worker.edge.membership(agent) {
                Some(Membership::Serves(member)) if !member.has_key(key) => {}
                None => {}
                Some(Membership::Serves(_) | Membership::Revoked) => return,
            }
            if news.changed().await.is_err() {
                return;
            }
        }
    };
    // What there is by then decides.
    let _ = timeout(NEWS_WAIT, settled).await;
    worker.edge.membership(agent)
}

fn welcome(worker: &Worker) -> Welcome {
    let edge = &worker.edge;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Welcome {
        edge: edge.id.to_string(),
        worker: number(worker.index),
        workers: number(edge.workers),
        ..Welcome::default()
    }
}

/// Looks after one link while it lives.
struct Attendance {
    link: Arc<Link>,
    sender: ControlSender,
    receiver: ControlReceiver,
    worker: Arc<Worker>,
    vigil: Vigil,
    nonce: u64,
    /// The agent asked to drain and waits to hear that no stream follows.
    owes_farewell: bool,
    /// Whether it was told that the edge leaves.
    was_sent_away: bool,
    /// The agent serves another group by now, and this link until then what it has begun.
    stays_until: Option<Instant>,
}

/// How a link ended.
enum End {
    Gone(Closed),
    Closed(Code, &'static str),
}

impl Attendance {
    fn new(
        link: Arc<Link>,
        sender: ControlSender,
        receiver: ControlReceiver,
        worker: Arc<Worker>,
    ) -> Self {
        Self {
            vigil: Vigil::default(),
            link,
            sender,
            receiver,
            worker,
            nonce: 0,
            owes_farewell: false,
            was_sent_away: false,
            stays_until: None,
        }
    }

    async fn run(mut self) {
        let ended = match Listed::new(Arc::clone(&self.link), Arc::clone(&self.worker)) {
            Some(_listed) => self.attend().await,
            // Others came while this one was greeted.
            None => End::Closed(Code::Refused, TOO_MANY_LINKS),
        };
        match ended {
            End::Gone(closed) => tracing::info!(
                agent = self.link.agent().as_str(),
                transport = self.link.transport().as_str(),
                worker = self.worker.index,
                cause = %closed,
                "link down"
            ),
            End::Closed(code, why) => {
                self.link.connection().close(code, why);
                tracing::info!(
                    agent = self.link.agent().as_str(),
                    transport = self.link.transport().as_str(),
                    worker = self.worker.index,
                    code = code.as_str(),
                    why,
                    "link closed"
                );
            }
        }
    }

    async fn attend(&mut self) -> End {
        let link = Arc::clone(&self.link);
        let mut views = self.worker.edge.views.subscribe();
        // What changed since the handshake is judged at once.
        views.mark_changed();
        let mut leaving = self.worker.edge.links.leaving();
        leaving.mark_changed();
        let mut supersession = link.supersession();
        supersession.mark_changed();
        loop {
            // Every branch is cancel-safe; what they send is queued whole.
            let ended = tokio::select! {
                closed = link.connection().closed() => Some(End::Gone(closed)),
                message = self.receiver.next() => match message {
                    Ok(Some(message)) => self.hear(message).await,
                    Ok(None) => Some(End::Closed(Code::Protocol, "control stream ended")),
                    Err(_) => Some(self.unheard().await),
                },
                Ok(()) = views.changed() => self.judge().await,
                Ok(()) = leaving.changed() => {
                    let leaving = leaving.borrow_and_update().clone();
                    self.send_away(leaving).await
                }
                Ok(()) = supersession.changed() => {
                    supersession.mark_unchanged();
                    self.doubt().await
                }
                () = link.settled(), if self.owes_farewell => {
                    self.owes_farewell = false;
                    let reason = "drained".to_owned();
                    self.say_farewell(Some(GoAway { reason, ..GoAway::default() })).await
                }
                silence = link.looked() => self.look_after(silence).await,
            };
            if let Some(end) = ended {
                return end;
            }
        }
    }

    async fn hear(&mut self, message: Message) -> Option<End> {
        match message {
            Message::Ping(Ping { nonce }) => {
                self.say(Message::Pong(proto::tunnel::Pong { nonce })).await
            }
            Message::Pong(pong) => {
                if pong.nonce == self.nonce {
                    self.vigil.answered();
                    self.link.set_asked(false);
                    self.link.set_suspect(false);
                    if self.link.reinstate() {
                        tracing::warn!(
                            agent = self.link.agent().as_str(),
                            "two processes run as one agent; each needs a name of its own"
                        );
                    }
                }
                None
            }
            Message::Drain(_) => {
                self.worker.edge.links.drain(&self.link);
                self.owes_farewell = true;
                None
            }
            // Said again, or by the wrong side.
            Message::Hello(_) | Message::Welcome(_) | Message::GoAway(_) => None,
        }
    }

    /// Whether the agent may stay as it is.
    async fn judge(&mut self) -> Option<End> {
        match self.worker.edge.membership(self.link.agent()) {
            Some(Membership::Serves(member)) if !member.has_key(self.link.key_sha256()) => {
                Some(End::Closed(Code::Revoked, "enrolled anew with another key"))
            }
            Some(Membership::Serves(member)) if member.group == *self.link.group() => None,
            Some(Membership::Serves(_)) => self.move_on().await,
            Some(Membership::Revoked) | None => Some(End::Closed(Code::Revoked, "revoked")),
        }
    }

    /// The agent has another group: it makes a link for that at once, and this one takes nothing new.
    async fn move_on(&mut self) -> Option<End> {
        if self.stays_until.is_some() {
            return None;
        }
        self.stays_until = Some(self.now() + MOVE_TIME);
        self.worker.edge.links.drain(&self.link);
        let words = GoAway {
            reason: MOVED.to_owned(),
            deadline_ms: u32::try_from(MOVE_TIME.as_millis()).unwrap_or(u32::MAX),
            retry_after_ms: 0,
        };
        self.say_farewell(Some(words)).await
    }

    async fn look_after(&mut self, silence: Duration) -> Option<End> {
        if self
            .stays_until
            .is_some_and(|end| self.link.streams() == 0 || self.now() >= end)
        {
            return Some(End::Closed(Code::Draining, MOVED));
        }
        let sight = Sight {
            silence,
            is_busy: self.link.streams() > 0,
            is_suspect: self.link.is_suspect(),
            is_superseded: self.link.is_superseded(),
        };
        match self.vigil.look(sight) {
            Step::Nothing => None,
            Step::Ask => self.ask().await,
            Step::Suspect => {
                // What silenced one link most likely silenced them all: the others are asked at their next look.
                self.worker.edge.links.suspect(&self.link);
                None
            }
            Step::GiveUp(why) => Some(End::Closed(Code::Timeout, why)),
        }
    }

    /// A later start of the agent is here: whether this link lives is asked at once.
    async fn doubt(&mut self) -> Option<End> {
        if self.link.is_superseded() && !self.vigil.is_waiting() {
            self.ask().await
        } else {
            None
        }
    }

    async fn ask(&mut self) -> Option<End> {
        self.vigil.asked();
        self.link.set_asked(true);
        self.nonce += 1;
        let nonce = self.nonce;
        self.say(Message::Ping(Ping { nonce })).await
    }

    /// Says once that the edge leaves, to whom that is for.
    async fn send_away(&mut self, leaving: Option<Leaving>) -> Option<End> {
        let Leaving { words, who } = leaving?;
        let is_meant = who == Who::All || self.link.transport() == Transport::Quic;
        if !is_meant || std::mem::replace(&mut self.was_sent_away, true) {
            return None;
        }
        self.say_farewell(Some(words)).await
    }

    async fn say_farewell(&mut self, words: Option<GoAway>) -> Option<End> {
        match words {
            Some(words) => self.say(Message::GoAway(words)).await,
            None => None,
        }
    }

    async fn say(&mut self, message: Message) -> Option<End> {
        // Control messages are small and few: one that cannot be sent for so long means a dead link.
        match timeout(CONTROL_TIMEOUT, self.sender.send(message)).await {
            Ok(Ok(())) => None,
            Ok(Err(_)) | Err(_) => Some(self.unheard().await),
        }
    }

    /// The control stream failed: most often because the connection is gone, or about to go, which is then what to tell.
    async fn unheard(&self) -> End {
        match self.link.connection().last_words().await {
            Some(closed) => End::Gone(closed),
            None => End::Closed(Code::Protocol, "control stream failed"),
        }
    }

    fn now(&self) -> Instant {
        self.worker.edge.epoch.clock().now()
    }
}
