//! The part of an edge that carries traffic: workers, their listeners, and how they come to an end.
//!
//! It serves whatever view it is given, and knows nothing of control.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::HeaderValue;
use ipnet::IpNet;
use model::{
    host::Hostname,
    name::{AgentId, EdgeId},
    settings::EdgeLimits,
};
use proto::tunnel::GoAway;
use runtime::{
    Clock, Scope, Workers,
    dial::Target,
    worker::{SpawnError, Threads},
};
use rustls::ServerConfig;
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tunnel::{
    quic::{EndpointError, Network, ResetKey},
    steering::{BindError, Generation},
};

use crate::{
    agents,
    authority::PublicPort,
    certificates::CertificateError,
    config::OwnLimits,
    countries::Countries,
    knock::Keys,
    links::{Links, Who},
    listener::{self, Door, Speech},
    metrics::Metrics,
    neighbours::Neighbours,
    origins::Origins,
    passage::Passage,
    providers::Clients,
    proxy::Proxies,
    quotas::Quotas,
    redirect,
    retries::Budgets,
    sign_in::{
        Accounts, bearer::Bearers, credential::Guesses, device::Terminals, leash::Leashes, refresh,
        strangers::Strangers,
    },
    sockets::{self, Sockets},
    stall::Stalls,
    time::Epoch,
    user_tls::UserTls,
    view::{Membership, View, Views},
};

/// How often what is under way is held against the time, where a rule speaks of it; it ends within twice that.
const TIME_STEP: Duration = Duration::from_secs(1);

/// How long browsers remember that there is HTTP/3: an edge that serves it no longer is asked in vain for so long, once a
/// visit.
const ALT_SVC_SECONDS: u32 = 3_600;
/// Time for upgraded connections to take their farewell, past the deadline.
const FAREWELL_WAIT: Duration = Duration::from_secs(2);
/// How long agents stay away from an edge that leaves: a restart's worth.
const RETRY_AFTER_MS: u32 = 5_000;

/// Where and as whom to serve.
#[derive(Clone, Debug)]
pub struct ServingConfig {
    /// This edge's id, shown to agents and in logs.
    pub id: EdgeId,
    /// Domain of the fabric: agents of another are refused.
    pub domain: Hostname,
    /// Users over TLS.
    pub https: SocketAddr,
    /// Users over plain HTTP, who are redirected; none: no such listener.
    pub http: Option<SocketAddr>,
    /// Agents over QUIC.
    pub tunnel: SocketAddr,
    /// Port of https as users reach it; none: the one that is listened on.
    pub public_port: Option<u16>,
    /// Whether users are served over HTTP/3 too, where agents dial.
    pub http3: bool,
    /// UDP port of the tunnel as users reach it; none: the one that is listened on.
    pub public_udp_port: Option<u16>,
    /// What ends connections of an earlier life of this edge.
    pub resets: ResetKey,
    /// Threads that carry traffic.
    pub workers: Threads,
    /// Networks whose connections of https begin with a header of the PROXY protocol; others are refused. None: no headers.
    pub https_proxy_protocol: Vec<IpNet>,
    /// The same for plain HTTP.
    pub http_proxy_protocol: Vec<IpNet>,
    /// Where control is, for those who ask for it by its server name where users come; none: it is not to be had there.
    pub pass_control: Option<Target>,
    /// Knows in which country an address is.
    pub countries: Countries,
    /// Bounds on what users may cost that count more than the fabric's.
    pub limits: OwnLimits,
    /// Where agents dial this edge, which has one worker then; none: in the system's network.
    pub network: Option<Arc<dyn Network>>,
    /// Of this process.
    pub generation: Generation,
}

/// Why traffic cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A TCP address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The tunnel's address cannot be listened on.
    #[error("cannot listen for agents")]
    Tunnel(#[source] BindError),
    /// The tunnel cannot be set up.
    #[error("cannot set up the tunnel")]
    Endpoint(#[source] EndpointError),
    /// TLS towards users cannot be set up.
    #[error("cannot set up tls for users")]
    Tls(#[source] CertificateError),
    /// The system gives no threads.
    #[error("cannot start workers")]
    Workers(#[source] io::Error),
    /// A worker did not take its work.
    #[error("cannot give a worker its listeners")]
    Job(#[source] SpawnError),
    /// A worker ended before it served.
    #[error("a worker ended at its start")]
    WorkerEnded,
}

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub id: EdgeId,
    pub domain: Hostname,
    pub workers: usize,
    pub views: Views,
    pub links: Arc<Links>,
    pub origins: Origins,
    pub budgets: Budgets,
    pub metrics: Arc<Metrics>,
    pub stalls: Arc<Stalls>,
    pub quotas: Quotas,
    /// Connections of each network.
    pub neighbours: Arc<Neighbours>,
    /// What goes on under users' sessions, by worker.
    pub leashes: Vec<Arc<Leashes>>,
    /// Tokens and codes that do not hold, by network.
    pub guesses: Guesses,
    /// What terminals ask that have nothing to show, by network.
    pub terminals: Terminals,
    /// What people ask who have shown nothing yet, by network.
    pub strangers: Strangers,
    /// Tokens of identity providers that hold.
    pub bearers: Bearers,
    /// Asks control about users with accounts.
    pub accounts: Accounts,
    /// The fabric as a client of identity providers.
    pub clients: Clients,
    /// Request bodies of each network that lag behind and are waited for.
    pub resting: Arc<Neighbours>,
    pub own_limits: OwnLimits,
    /// Knows in which country an address is.
    pub countries: Countries,
    /// Settings of handshakes with users.
    pub user_tls: UserTls,
    /// Where users come.
    pub public_port: PublicPort,
    pub epoch: Epoch,
    /// What tells users of the other versions that HTTP/3 is served.
    pub alt_svc: Option<HeaderValue>,
}

impl Shared {
    /// What an agent may do now.
    pub(crate) fn membership(&self, agent: &AgentId) -> Option<Membership> {
        self.views.current()?.membership(agent).cloned()
    }

    /// What users may cost now. A connection keeps the limits that it began with.
    pub(crate) fn limits(&self) -> EdgeLimits {
        match self.views.current() {
            Some(view) => self.own_limits.over(view.edge_limits()),
            None => self.own_limits.over(&EdgeLimits::default()),
        }
    }

    /// Tells what the view lacks, forgets what it no longer knows, and counts by its limits.
    fn follow(&self, view: &View) {
        let faults = u32::try_from(view.faults().len()).unwrap_or(u32::MAX);
        self.metrics.unusable_resources.set(f64::from(faults));
        let limits = self.own_limits.over(view.edge_limits());
        self.stalls.bound(limits.stalled_max);
        self.neighbours.bound(limits.client_connections);
        self.resting.bound(limits.client_resting);
        self.clients.retain(view.providers());
        self.links.retain_known(view);
        let is_known = |agent: &AgentId| view.membership(agent).is_some();
        self.origins.retain(|app| view.has_app(app), is_known);
        self.budgets.retain_apps(|app| view.has_app(app));
        self.quotas.retain_apps(|app| view.has_app(app));
        self.metrics.retain_apps(|app| view.has_app(app));
        self.metrics.rules.retain(view.rules());
        self.countries.follow(view.rules().needs_country());
        let now = self.epoch.clock().wall();
        for leashes in &self.leashes {
            leashes.follow(view, now);
        }
    }

    /// Ends what no rule lets go on at this time.
    fn follow_time(&self, view: &View) {
        let now = self.epoch.clock().wall();
        for leashes in &self.leashes {
            leashes.follow_time(view, now);
        }
    }
}

/// What everything on one worker shares.
#[derive(Debug)]
pub(crate) struct Worker {
    pub edge: Arc<Shared>,
    pub index: usize,
    /// Owner of users' connections.
    pub connections: Scope,
    /// Owner of what outlives a request's head: uploads and upgraded connections.
    pub streams: Scope,
    /// Owner of agents' links.
    pub links: Scope,
    /// Cancelled when users are let in.
    pub opening: CancellationToken,
    /// Cancelled when nobody else shall be let in.
    pub accepting: CancellationToken,
    /// Cancelled when connections shall end after what they do now.
    pub leaving: CancellationToken,
    /// Cancelled when the tunnel shall close.
    pub closing: CancellationToken,
    /// Agents that try whether they are welcome.
    pub trials: Semaphore,
}

impl Worker {
    /// Waits until users are let in, or nobody is any more.
    async fn open(&self) {
        tokio::select! {
            () = self.opening.cancelled() => {}
            () = self.accepting.cancelled() => {}
        }
    }
}

/// A running data plane.
#[derive(Debug)]
pub struct Serving {
    /// Where users are served.
    pub https_address: SocketAddr,
    /// Where users are redirected.
    pub http_address: Option<SocketAddr>,
    /// Where agents dial.
    pub tunnel_address: SocketAddr,
    edge: Arc<Shared>,
    connections: Scope,
    streams: Scope,
    links: Scope,
    refreshes: Scope,
    opening: CancellationToken,
    accepting: CancellationToken,
    leaving: CancellationToken,
    closing: CancellationToken,
    workers: Workers,
    clock: Clock,
}

/// TLS settings of the port that agents and users share.
pub(crate) struct TunnelTls {
    pub agents: watch::Receiver<Arc<ServerConfig>>,
    /// None: no users.
    pub users: Option<Arc<ServerConfig>>,
    pub resets: ResetKey,
}

impl Serving {
    /// Starts to serve `views` with the tunnel's TLS settings in `agents_tls`, which may be replaced later. Passwords are checked by
    /// whoever answers `accounts`.
    ///
    /// # Errors
    /// Every [`ServeError`]; nothing is left running then but in `scope`.
    pub async fn start(
        config: ServingConfig,
        views: Views,
        agents_tls: watch::Receiver<Arc<ServerConfig>>,
        accounts: Accounts,
        clock: Clock,
        scope: &Scope,
    ) -> Result<Self, ServeError> {
        let sockets = sockets::bind(&config)?;
        let serving =
            Self::start_on(sockets, config, views, agents_tls, accounts, clock, scope).await?;
        serving.open();
        Ok(serving)
    }

    /// The same on sockets that are bound. Users wait to be let in by [`open`](Self::open).
    pub(crate) async fn start_on(
        sockets: Vec<Sockets>,
        config: ServingConfig,
        views: Views,
        agents_tls: watch::Receiver<Arc<ServerConfig>>,
        accounts: Accounts,
        clock: Clock,
        scope: &Scope,
    ) -> Result<Self, ServeError> {
        let user_tls = UserTls::new(views.clone()).map_err(ServeError::Tls)?;
        let first = sockets.first().ok_or(ServeError::WorkerEnded)?;
        let (https_address, http_address, tunnel_address) = first.addresses(&config)?;
        let listened = PublicPort::Listened(https_address.port());
        let public_port = config.public_port.map_or(listened, PublicPort::Told);
        let https_port = public_port.number();
        let own_port = || tunnel_address.port();
        let udp_port = config.public_udp_port.unwrap_or_else(own_port);
        let quic_tls = config.http3.then(|| Arc::clone(user_tls.usual_quic()));
        let (epoch, metrics) = (Epoch::new(clock.clone()), Arc::new(Metrics::new()));
        let workers = config.workers.count().get();
        let limits = config.limits.over(&EdgeLimits::default());
        let edge = Arc::new(Shared {
            id: config.id,
            domain: config.domain,
            workers,
            views,
            links: Arc::new(Links::new(workers, Arc::clone(&metrics), epoch.clone())),
            origins: Origins::default(),
            budgets: Budgets::new(epoch.clone()),
            metrics,
            stalls: Stalls::new(limits.stalled_max),
            quotas: Quotas::new(epoch.clone()),
            neighbours: Neighbours::new(limits.client_connections),
            resting: Neighbours::new(limits.client_resting),
            leashes: (0..workers).map(|_| Arc::default()).collect(),
            guesses: Guesses::new(epoch.clone()),
            terminals: Terminals::new(epoch.clone()),
            strangers: Strangers::new(epoch.clone()),
            bearers: Bearers::default(),
            accounts,
            clients: Clients::new(clock.clone(), scope),
            own_limits: config.limits,
            countries: config.countries,
            user_tls,
            public_port,
            epoch,
            alt_svc: quic_tls
                .as_ref()
                .and_then(|_| announcement(https_port, udp_port)),
        });
        let serving = Self {
            https_address,
            http_address,
            tunnel_address,
            edge,
            connections: scope.child("connections"),
            streams: scope.child("streams"),
            links: scope.child("links"),
            refreshes: scope.child("refreshes"),
            opening: CancellationToken::new(),
            accepting: CancellationToken::new(),
            leaving: CancellationToken::new(),
            closing: CancellationToken::new(),
            workers: Workers::start("edge", config.workers, scope).map_err(ServeError::Workers)?,
            clock,
        };
        let passage = config.pass_control.map(Passage::new);
        let keys = Keys::new(agents_tls.clone(), passage, &serving.edge);
        let doors = doors(
            Speech::Secure(keys),
            Speech::Plain(redirect::Target { port: https_port }),
            (&config.https_proxy_protocol, &config.http_proxy_protocol),
        );
        let tunnel_tls = || TunnelTls {
            agents: agents_tls.clone(),
            users: quic_tls.clone(),
            resets: config.resets.clone(),
        };
        for (index, sockets) in sockets.into_iter().enumerate() {
            serving
                .start_worker(index, sockets, doors.clone(), tunnel_tls())
                .await?;
        }
        serving.follow_views(scope);
        Ok(serving)
    }

    /// Lets users in.
    pub(crate) fn open(&self) {
        self.opening.cancel();
    }

    /// What lets users in when it is cancelled.
    pub(crate) fn opening(&self) -> CancellationToken {
        self.opening.clone()
    }

    /// Sends agents to the process that takes over, which has this one's address.
    pub(crate) fn send_agents_over(&self) {
        let words = GoAway {
            reason: "another process takes over".to_owned(),
            deadline_ms: u32::MAX,
            retry_after_ms: 0,
        };
        self.edge.links.leave(words, Who::OverQuic);
    }

    /// Keeps those agents that come back, as nobody takes over.
    pub(crate) fn keep_agents(&self) {
        self.edge.links.stay();
    }

    /// Tells of links that come and go, with the number of links of each agent at any time.
    #[must_use]
    pub(crate) fn links(&self) -> Arc<Links> {
        Arc::clone(&self.edge.links)
    }

    /// Number of workers.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        self.workers.count()
    }

    /// Whether every worker answers within `limit`.
    pub async fn is_alive(&self, limit: Duration) -> bool {
        self.workers.are_alive(limit).await
    }

    /// Number of links that agents have to this edge now.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.edge
            .links
            .counts()
            .values()
            .map(|count| count.all())
            .sum()
    }

    /// Ends in good order; see the crate's page for the steps before and after.
    ///
    /// True if everything had ended by the deadline.
    pub async fn drain(&self, deadline: Duration) -> bool {
        let end: Instant = self.clock.now() + deadline;
        // Agents first: while users' last requests come in, agents already build links to other edges. Those that were sent over to
        // another process of this edge are there.
        let is_superseded = self.edge.links.has_sent_over();
        let words = GoAway {
            reason: "draining".to_owned(),
            deadline_ms: u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX),
            retry_after_ms: if is_superseded { 0 } else { RETRY_AFTER_MS },
        };
        self.edge.links.leave(words, Who::All);
        // Then nobody new; who knocked before is still let in.
        self.accepting.cancel();
        // Then "Connection: close" and GOAWAY, so that users take their next request elsewhere.
        self.leaving.cancel();
        // What providers are being asked is heard, and told to control.
        self.refreshes.cancel();
        // Requests, uploads and upgraded connections finish.
        let in_time = timeout_at(end, async {
            self.connections.ended().await;
            self.streams.ended().await;
        })
        .await
        .is_ok();
        // At the deadline upgraded connections are told that the edge goes away; the rest is cut off.
        self.streams.close(FAREWELL_WAIT).await;
        self.connections.close(Duration::ZERO).await;
        self.refreshes.close(refresh::FINISH_WAIT).await;
        // Only now, for their streams carried what finished above, the links: agents hear a code, not silence.
        self.closing.cancel();
        self.links.close(FAREWELL_WAIT).await;
        in_time
    }

    async fn start_worker(
        &self,
        index: usize,
        sockets: Sockets,
        (secure, plain): (Door, Door),
        tls: TunnelTls,
    ) -> Result<(), ServeError> {
        let worker = Arc::new(Worker {
            edge: Arc::clone(&self.edge),
            index,
            connections: self.connections.clone(),
            streams: self.streams.clone(),
            links: self.links.clone(),
            opening: self.opening.clone(),
            accepting: self.accepting.clone(),
            leaving: self.leaving.clone(),
            closing: self.closing.clone(),
            trials: Semaphore::new(agents::TRIALS_MAX),
        });
        let (report, started) = oneshot::channel();
        let job = move |scope: Scope| async move {
            let opened = sockets.open(&tls);
            let (https, http, endpoint) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    // The starter is gone only if it was cancelled.
                    let _ = report.send(Err(error));
                    return;
                }
            };
            let _ = report.send(Ok(()));
            let users = async {
                worker.open().await;
                listener::serve(https, secure, Arc::clone(&worker)).await;
            };
            let redirects = async {
                if let Some(http) = http {
                    worker.open().await;
                    listener::serve(http, plain, Arc::clone(&worker)).await;
                }
            };
            let agents = agents::serve(endpoint, tls, Arc::clone(&worker));
            tokio::select! {
                _ = async { tokio::join!(users, redirects, agents) } => {}
                () = scope.cancelled() => {}
            }
        };
        self.workers
            .spawn_standing_on(index, "listeners", job)
            .map_err(ServeError::Job)?;
        started.await.map_err(|_| ServeError::WorkerEnded)?
    }

    /// What is done without a request, as the view in force says.
    fn follow_views(&self, scope: &Scope) {
        refresh::start(&self.edge, self.refreshes.clone());
        let (edge, own) = (Arc::clone(&self.edge), scope.child("following"));
        let mut changes = edge.views.subscribe();
        // One may be in force already: that from the disk.
        changes.mark_changed();
        scope.spawn_standing("following", async move {
            loop {
                tokio::select! {
                    () = own.cancelled() => return,
                    changed = changes.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(TIME_STEP) => {
                        if let Some(view) = edge.views.current() {
                            edge.follow_time(&view);
                        }
                        continue;
                    }
                }
                if let Some(view) = edge.views.current() {
                    edge.follow(&view);
                }
            }
        });
    }
}

/// The doors for https and for plain HTTP, each with who may speak for others there.
fn doors(secure: Speech, plain: Speech, trusted: (&[IpNet], &[IpNet])) -> (Door, Door) {
    let door = |speech, trusted| Door {
        speech,
        proxies: Proxies::new(trusted),
    };
    (door(secure, trusted.0), door(plain, trusted.1))
}

/// Tells browsers of HTTP/3, where it is behind the port that they know; they go to no other (RFC 7838 would let them).
fn announcement(https_port: u16, udp_port: u16) -> Option<HeaderValue> {
    if https_port != udp_port {
        tracing::info!(
            https_port,
            udp_port,
            "http/3 is served, but not announced: it is at another port than https"
        );
        return None;
    }
    HeaderValue::try_from(format!("h3=\":{udp_port}\"; ma={ALT_SVC_SECONDS}")).ok()
}
