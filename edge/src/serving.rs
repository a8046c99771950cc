//! The part of an edge that carries traffic: workers, their listeners, and how they come to an end.
//!
//! It serves whatever view it is given, and knows nothing of control.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdTcpListener},
    sync::Arc,
    time::Duration,
};

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
    worker::{SpawnError, Threads},
};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tunnel::{
    quic::{EdgeEndpoint, EndpointError, ResetKey},
    steering::{BindError, WorkerSocket, bind_group},
};

use crate::{
    agents,
    authority::PublicPort,
    certificates::{CertificateError, users_quic_config, users_server_config},
    config::OwnLimits,
    countries::Countries,
    knock::Keys,
    links::Links,
    listener::{self, Door, Speech},
    metrics::Metrics,
    neighbours::Neighbours,
    origins::Origins,
    providers::Clients,
    proxy::Proxies,
    quotas::Quotas,
    redirect,
    retries::Budgets,
    sign_in::{Accounts, bearer::Bearers, credential::Guesses, device::Terminals, leash::Leashes},
    stall::Stalls,
    time::Epoch,
    view::{Membership, View, Views},
};

/// How often what is under way is held against the time, where a rule speaks of it; it ends within twice that.
const TIME_STEP: Duration = Duration::from_secs(1);

/// Connections that wait to be accepted; a burst of one tick of a busy listener.
const BACKLOG: i32 = 1024;
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
    /// Knows in which country an address is.
    pub countries: Countries,
    /// Bounds on what users may cost that count more than the fabric's.
    pub limits: OwnLimits,
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
    /// Cancelled when nobody else shall be let in.
    pub accepting: CancellationToken,
    /// Cancelled when connections shall end after what they do now.
    pub leaving: CancellationToken,
    /// Cancelled when the tunnel shall close.
    pub closing: CancellationToken,
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
    accepting: CancellationToken,
    leaving: CancellationToken,
    closing: CancellationToken,
    workers: Workers,
    clock: Clock,
}

/// TLS settings of the port that agents and users share.
struct TunnelTls {
    agents: watch::Receiver<Arc<ServerConfig>>,
    /// None: no users.
    users: Option<Arc<ServerConfig>>,
    resets: ResetKey,
}

/// What one worker gets to listen on.
struct Sockets {
    https: StdTcpListener,
    http: Option<StdTcpListener>,
    tunnel: WorkerSocket,
}

impl Sockets {
    /// Where users are served, where they are redirected, and where agents dial.
    fn addresses(
        &self,
        config: &ServingConfig,
    ) -> Result<(SocketAddr, Option<SocketAddr>, SocketAddr), ServeError> {
        let failed = |address| move |source| ServeError::Listen { address, source };
        let of = |listener: &StdTcpListener| listener.local_addr().map_err(failed(config.https));
        let tunnel = self.tunnel.local_addr().map_err(failed(config.tunnel))?;
        let http = self.http.as_ref().map(of).transpose()?;
        Ok((of(&self.https)?, http, tunnel))
    }
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
        let users_tls = users_server_config(views.clone()).map_err(ServeError::Tls)?;
        let sockets = bind(&config)?;
        let first = sockets.first().ok_or(ServeError::WorkerEnded)?;
        let (https_address, http_address, tunnel_address) = first.addresses(&config)?;
        let listened = PublicPort::Listened(https_address.port());
        let public_port = config.public_port.map_or(listened, PublicPort::Told);
        let https_port = public_port.number();
        let udp_port = config
            .public_udp_port
            .unwrap_or_else(|| tunnel_address.port());
        let quic_tls = config.http3.then(|| users_quic_config(&users_tls));
        let quic_tls = quic_tls.transpose().map_err(ServeError::Tls)?;
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
            bearers: Bearers::default(),
            accounts,
            clients: Clients::new(clock.clone()),
            own_limits: config.limits,
            countries: config.countries,
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
            accepting: CancellationToken::new(),
            leaving: CancellationToken::new(),
            closing: CancellationToken::new(),
            workers: Workers::start("edge", config.workers, scope).map_err(ServeError::Workers)?,
            clock,
        };
        let secure = Speech::Secure(Keys::new(users_tls, agents_tls.clone(), &serving.edge));
        let plain = Speech::Plain(redirect::Target { port: https_port });
        let door = |speech, trusted| Door {
            speech,
            proxies: Proxies::new(trusted),
        };
        let doors = (
            door(secure, &config.https_proxy_protocol),
            door(plain, &config.http_proxy_protocol),
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
        // Agents first: while users' last requests come in, agents already build links to other edges.
        self.edge.links.leave(GoAway {
            reason: "draining".to_owned(),
            deadline_ms: u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX),
            retry_after_ms: RETRY_AFTER_MS,
        });
        // Then nobody new; who knocked before is still let in.
        self.accepting.cancel();
        // Then "Connection: close" and GOAWAY, so that users take their next request elsewhere.
        self.leaving.cancel();
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
            accepting: self.accepting.clone(),
            leaving: self.leaving.clone(),
            closing: self.closing.clone(),
        });
        let (report, started) = oneshot::channel();
        let job = move |scope: Scope| async move {
            let opened = open(sockets, &tls);
            let (https, http, endpoint) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    // The starter is gone only if it was cancelled.
                    let _ = report.send(Err(error));
                    return;
                }
            };
            let _ = report.send(Ok(()));
            let users = listener::serve(https, secure, Arc::clone(&worker));
            let redirects = async {
                if let Some(http) = http {
                    listener::serve(http, plain, Arc::clone(&worker)).await;
                }
            };
            let agents = agents::serve(endpoint, tls.agents, Arc::clone(&worker));
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

    fn follow_views(&self, scope: &Scope) {
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

fn open(
    sockets: Sockets,
    tls: &TunnelTls,
) -> Result<(TcpListener, Option<TcpListener>, EdgeEndpoint), ServeError> {
    let listener =
        |listener: StdTcpListener| TcpListener::from_std(listener).map_err(ServeError::Workers);
    let https = listener(sockets.https)?;
    let http = sockets.http.map(listener).transpose()?;
    let agents_tls = tls.agents.borrow().clone();
    let mut endpoint =
        EdgeEndpoint::new(sockets.tunnel, agents_tls, &tls.resets).map_err(ServeError::Endpoint)?;
    if let Some(users) = &tls.users {
        let welcomed = endpoint.welcome_users(Arc::clone(users));
        welcomed.map_err(ServeError::Endpoint)?;
    }
    Ok((https, http, endpoint))
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

fn bind(config: &ServingConfig) -> Result<Vec<Sockets>, ServeError> {
    let count = u32::try_from(config.workers.count().get()).unwrap_or(u32::MAX);
    let tunnels = bind_group(config.tunnel, count).map_err(ServeError::Tunnel)?;
    if let Some(first) = tunnels.first() {
        tracing::info!(
            receive_bytes = first.granted.receive_bytes,
            send_bytes = first.granted.send_bytes,
            "socket buffers of the tunnel; net.core.rmem_max and wmem_max limit them"
        );
    }
    let (mut https, mut http) = (config.https, config.http);
    let mut sockets = Vec::with_capacity(tunnels.len());
    for tunnel in tunnels {
        sockets.push(Sockets {
            https: listen_shared(&mut https)?,
            http: http.as_mut().map(listen_shared).transpose()?,
            tunnel,
        });
    }
    Ok(sockets)
}

/// Listens on an address that other workers share. The first listener of port 0 decides the port for all.
fn listen_shared(address: &mut SocketAddr) -> Result<StdTcpListener, ServeError> {
    let listen = || {
        let socket = Socket::new(
            Domain::for_address(*address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            // One socket for both families.
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&(*address).into())?;
        socket.listen(BACKLOG)?;
        let listener = StdTcpListener::from(socket);
        Ok((listener.local_addr()?, listener))
    };
    let (bound, listener) = listen().map_err(|source| ServeError::Listen {
        address: *address,
        source,
    })?;
    *address = bound;
    Ok(listener)
}
