//! Long because all tests share it: a fabric for one test, a CA, an edge that serves a given view, and agents that do as they are told.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use edge::{
    Accounts, Countries, OwnLimits, Question, Reports, Serving, ServingConfig, View, Views,
};
use proto::{
    fabric::{
        AccessKind, AgentRecord, AssertionKey, AssertionKeys, Certificate, EdgeApp, FabricSettings,
        Resource, SealingKey, SealingKeys, Timeouts, resource::Kind,
    },
    tunnel::{End, ErrorInfo, Hello, Pong, RequestHead, ResponseHead},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
    SanType,
};
use runtime::{
    Clock, Scope,
    identity::{Identity, NodeKey},
    node::NodeIdentity,
    tls,
    worker::Threads,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tunnel::{
    Transport,
    codes::Code,
    control::{ControlReceiver, ControlSender, HandshakeError, Message, VERSIONS, agent_handshake},
    frame::Frame,
    link::{Closed, Connection},
    quic::{ALPN, AgentEndpoint, ResetKey, Target},
    stream::{Kind as StreamKind, RecvHalf, SendHalf},
    tcp,
};

use crate::sign_in::provider_refreshes::Control as RefreshControl;

pub(crate) const HOST: &str = "wiki.example.com";
/// Longer than anything here takes; reached only when something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What does not come within this does not come.
const NOTHING_COMES: Duration = Duration::from_secs(1);

pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) root: CertificateDer<'static>,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    pub(crate) fn identity(&self, name: &str) -> Identity {
        let name: NodeIdentity = name.parse().unwrap();
        let key = NodeKey::generate().unwrap();
        let request = CertificateSigningRequestDer::from(key.request(&name).unwrap());
        let mut request = CertificateSigningRequestParams::from_der(&request).unwrap();
        if let Some(dns) = name.dns_name() {
            let names = &mut request.params.subject_alt_names;
            names.push(SanType::DnsName(dns.try_into().unwrap()));
        }
        let leaf = request.signed_by(&self.issuer).unwrap().der().clone();
        Identity::new(Arc::new(key), vec![leaf], vec![self.root.clone()]).unwrap()
    }

    fn certificate(&self, names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names.clone()).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Certificate {
            names,
            chain: vec![leaf.der().to_vec().into()],
            key: key.serialize_der().into(),
        }
    }
}

pub(crate) struct Fabric {
    pub(crate) ca: Ca,
    pub(crate) edge: Serving,
    pub(crate) views: Views,
    pub(crate) scope: Scope,
    pub(crate) resources: BTreeMap<String, Resource>,
    pub(crate) clock: Clock,
    /// What the edge asks control about users; none once a test has taken it.
    pub(crate) questions: Option<mpsc::Receiver<Question>>,
    /// What the edge has to tell control of users.
    pub(crate) reports: Reports,
    /// What control does with sessions that are to be refreshed.
    pub(crate) refreshes: RefreshControl,
    /// Knows no country until a test gives it a file.
    pub(crate) countries: Countries,
    _tls: watch::Sender<Arc<rustls::ServerConfig>>,
}

impl Fabric {
    /// One app at [`HOST`] for group "office", to which agents a1 and a2 belong; a3 belongs to another.
    pub(crate) async fn start() -> Self {
        Self::with_timeouts(patient()).await
    }

    pub(crate) async fn with_timeouts(timeouts: Timeouts) -> Self {
        Self::with(timeouts, |_| {}).await
    }

    pub(crate) async fn with_limits(limits: OwnLimits) -> Self {
        let timeouts = Timeouts {
            connect_ms: 1_000,
            response_ms: 10_000,
            idle_ms: 30_000,
            ..Default::default()
        };
        Self::with(timeouts, |config| config.limits = limits).await
    }

    /// Behind load balancers in `networks`, with one connection for each user.
    pub(crate) async fn behind_proxies(networks: &[&str]) -> Self {
        let proxies = networks.iter().map(|network| network.parse().unwrap());
        let proxies: Vec<ipnet::IpNet> = proxies.collect();
        Self::with(patient(), |config| {
            config.limits.client_connections = Some(1);
            config.https_proxy_protocol.clone_from(&proxies);
            config.http_proxy_protocol = proxies;
        })
        .await
    }

    /// With users over HTTP/3, or without.
    pub(crate) async fn with_http3(http3: bool) -> Self {
        Self::with(patient(), |config| config.http3 = http3).await
    }

    /// As if users reached everything at this port.
    pub(crate) async fn with_public_port(http3: bool, port: u16) -> Self {
        Self::with(patient(), |config| {
            config.http3 = http3;
            config.public_port = Some(port);
            config.public_udp_port = Some(port);
        })
        .await
    }

    /// That leads to this control who asks for control.
    pub(crate) async fn passing_control(control: &str) -> Self {
        let control = control.parse().unwrap();
        Self::with(patient(), |config| config.pass_control = Some(control)).await
    }

    async fn with(timeouts: Timeouts, change: impl FnOnce(&mut ServingConfig)) -> Self {
        tls::install_provider();
        let ca = Ca::new();
        let scope = Scope::root();
        let views = Views::default();
        let identity = ca.identity("spiffe://example.com/edge/e1");
        let settings = tls::agents_server_config(&identity, &[ALPN]).unwrap();
        let (sender, settings) = watch::channel(Arc::new(settings));
        let countries = Countries::default();
        let mut config = ServingConfig {
            id: "e1".parse().unwrap(),
            domain: "example.com".parse().unwrap(),
            https: loopback(),
            http: Some(loopback()),
            tunnel: loopback(),
            public_port: None,
            http3: true,
            public_udp_port: None,
            resets: ResetKey::random(),
            workers: Threads::Own(NonZeroUsize::new(2).unwrap()),
            https_proxy_protocol: Vec::new(),
            http_proxy_protocol: Vec::new(),
            pass_control: None,
            countries: countries.clone(),
            limits: OwnLimits::default(),
            network: None,
            generation: tunnel::steering::Generation::Even,
        };
        change(&mut config);
        let (accounts, questions) = Accounts::channel();
        let reports = accounts.reports().clone();
        let clock = Clock::starting_at(Clock::system().wall());
        let edge = Serving::start(
            config,
            views.clone(),
            settings,
            accounts,
            clock.clone(),
            &scope,
        )
        .await
        .unwrap();
        let mut fabric = Self {
            resources: BTreeMap::new(),
            ca,
            edge,
            views,
            scope,
            clock,
            questions: Some(questions),
            reports,
            refreshes: RefreshControl::default(),
            countries,
            _tls: sender,
        };
        let certificate = fabric.ca.certificate(&["*.example.com"]);
        fabric.set(
            "fabric",
            Kind::Fabric(FabricSettings {
                domain: "example.com".to_owned(),
                roots: vec![],
                ..Default::default()
            }),
        );
        fabric.set("certificates/default", Kind::Certificate(certificate));
        fabric.set("apps/wiki", app("wiki", HOST, timeouts));
        for (id, group) in [("a1", "office"), ("a2", "office"), ("a3", "lab")] {
            fabric.set_agent(id, group, false);
        }
        fabric.publish(1);
        fabric
    }

    /// Any resource, for the next [`publish`](Self::publish).
    pub(crate) fn set(&mut self, name: &str, kind: Kind) {
        let resource = Resource {
            name: name.to_owned(),
            kind: Some(kind),
        };
        self.resources.insert(name.to_owned(), resource);
    }

    /// Another app of the same group, for the next [`publish`](Self::publish).
    pub(crate) fn add_app(&mut self, id: &str, host: &str) {
        self.set(&format!("apps/{id}"), app(id, host, patient()));
    }

    /// Changes the app, for the next [`publish`](Self::publish).
    pub(crate) fn change_app(&mut self, change: impl FnOnce(&mut EdgeApp)) {
        let resource = self.resources.get_mut("apps/wiki");
        let Some(Kind::EdgeApp(app)) = resource.and_then(|resource| resource.kind.as_mut()) else {
            panic!("apps/wiki is there from the start");
        };
        change(app);
    }

    /// What control tells of users' costs, for the next [`publish`](Self::publish).
    pub(crate) fn set_edge_limits(&mut self, limits: proto::fabric::EdgeLimits) {
        self.set(
            "fabric",
            Kind::Fabric(FabricSettings {
                domain: "example.com".to_owned(),
                edge_limits: Some(limits),
                ..Default::default()
            }),
        );
    }

    /// How users of HTTP/1.1 get names of fields, for the next [`publish`](Self::publish).
    pub(crate) fn set_title_case(&mut self, title_case: bool) {
        self.set(
            "fabric",
            Kind::Fabric(FabricSettings {
                domain: "example.com".to_owned(),
                title_case,
                ..Default::default()
            }),
        );
    }

    /// Stops every app, for the next [`publish`](Self::publish).
    pub(crate) fn stop_all(&mut self) {
        self.set(
            "fabric",
            Kind::Fabric(FabricSettings {
                domain: "example.com".to_owned(),
                stopped: true,
                ..Default::default()
            }),
        );
    }

    /// The one app takes so much.
    pub(crate) async fn with_app_limits(limits: proto::fabric::Limits) -> Self {
        let mut fabric = Self::start().await;
        fabric.change_app(|app| app.limits = Some(limits));
        fabric.publish(2);
        fabric
    }

    /// The edge has bounds, and the one app takes so much.
    pub(crate) async fn with_app_limits_of(edge: OwnLimits, app: proto::fabric::Limits) -> Self {
        let mut fabric = Self::with_limits(edge).await;
        fabric.change_app(|wiki| wiki.limits = Some(app));
        fabric.publish(2);
        fabric
    }

    /// Requests of the one app take so long in all.
    pub(crate) async fn with_total_timeout(total: Duration) -> Self {
        let mut fabric = Self::start().await;
        fabric.change_app(|app| {
            let timeouts = app.timeouts.as_mut().unwrap();
            timeouts.total_ms = u64::try_from(total.as_millis()).unwrap();
        });
        fabric.publish(2);
        fabric
    }

    /// Keys of session tickets, each of its number alone; the first seals.
    pub(crate) fn set_ticket_keys(&mut self, numbers: &[u8]) {
        self.set("ticketKeys", Kind::TicketKeys(sealing_keys(numbers)));
    }

    /// The same for sessions.
    pub(crate) fn set_session_keys(&mut self, numbers: &[u8]) {
        self.set("sessionKeys", Kind::SessionKeys(sealing_keys(numbers)));
    }

    /// Keys of what origins are told, each with the time from which it signs.
    pub(crate) fn set_assertion_keys(&mut self, signs_from: &[i64]) {
        let keys = signs_from.iter().map(|signs_from| AssertionKey {
            pkcs8: KeyPair::generate().unwrap().serialize_der().into(),
            signs_from: *signs_from,
        });
        let keys = AssertionKeys {
            keys: keys.collect(),
        };
        self.set("assertionKeys", Kind::AssertionKeys(keys));
    }

    pub(crate) fn set_agent(&mut self, id: &str, group: &str, revoked: bool) {
        let record = AgentRecord {
            id: id.to_owned(),
            group: group.to_owned(),
            revoked,
            ..AgentRecord::default()
        };
        self.set(&format!("agents/{id}"), Kind::Agent(record));
    }

    /// An agent of group "office" that has these keys, for the next [`publish`](Self::publish).
    pub(crate) fn set_keys(&mut self, id: &str, keys: &[&Identity]) {
        let digest = |identity: &&Identity| tls::peer_key_sha256(identity.chain()).unwrap();
        let record = AgentRecord {
            id: id.to_owned(),
            group: "office".to_owned(),
            revoked: false,
            key_sha256: keys.iter().map(|key| digest(key).to_vec().into()).collect(),
        };
        self.set(&format!("agents/{id}"), Kind::Agent(record));
    }

    /// What an agent's certificate and key are made of.
    pub(crate) fn identity(&self, id: &str) -> Identity {
        let name = format!("spiffe://example.com/agent/{id}");
        self.ca.identity(&name)
    }

    pub(crate) fn publish(&self, revision: u64) {
        self.views.replace(View::build(revision, &self.resources));
    }

    /// An agent with one link that is up.
    pub(crate) async fn agent(&self, id: &str) -> Agent {
        self.agent_started_as(id, b"").await
    }

    /// The same, of a certain start of the agent.
    pub(crate) async fn agent_started_as(&self, id: &str, instance: &'static [u8]) -> Agent {
        let before = self.edge.link_count();
        let agent = self.dial_as(id, instance).await.unwrap();
        while self.edge.link_count() == before {
            tokio::task::yield_now().await;
        }
        agent
    }

    pub(crate) async fn dial(&self, id: &str) -> Result<Agent, Closed> {
        self.dial_as(id, b"").await
    }

    async fn dial_as(&self, id: &str, instance: &'static [u8]) -> Result<Agent, Closed> {
        self.dial_with(&self.identity(id), instance).await
    }

    /// Dials with a certificate that the caller has.
    pub(crate) async fn dial_with(
        &self,
        identity: &Identity,
        instance: &'static [u8],
    ) -> Result<Agent, Closed> {
        self.dial_over(tested_transport(), identity, instance).await
    }

    /// Dials over a transport of the test's choice.
    pub(crate) async fn dial_over(
        &self,
        transport: Transport,
        identity: &Identity,
        instance: &'static [u8],
    ) -> Result<Agent, Closed> {
        let (endpoint, connection) = match transport {
            Transport::Quic => self.connect_over_quic(identity).await,
            Transport::Tcp => self.connect_over_tcp(identity).await,
        };
        let hello = Hello {
            versions: VERSIONS.to_vec(),
            streams_max: 100,
            instance: Bytes::from_static(instance),
            ..Hello::default()
        };
        let (welcome, sender, receiver) = match agent_handshake(&connection, hello).await {
            Ok(welcomed) => welcomed,
            // What is told of that comes before the close, with the time.
            Err(HandshakeError::SentAway {
                reason,
                retry_after,
            }) => {
                assert!(!retry_after.is_zero());
                let code = Code::Refused;
                return Err(Closed::ByPeer { code, reason });
            }
            Err(_) => return Err(connection.closed().await),
        };
        assert_eq!(welcome.edge, "e1");
        Ok(Agent::new(
            &self.scope,
            endpoint,
            connection,
            sender,
            receiver,
        ))
    }

    async fn connect_over_quic(&self, identity: &Identity) -> (Option<AgentEndpoint>, Connection) {
        let settings = Arc::new(tls::node_client_config(identity, &[ALPN]).unwrap());
        let endpoint = AgentEndpoint::new().unwrap();
        let target = Target {
            address: self.edge.tunnel_address,
            server_name: AGENTS_NAME.to_owned(),
            worker: None,
        };
        let connection = endpoint.connect(&target, &settings).await.unwrap();
        (Some(endpoint), connection)
    }

    async fn connect_over_tcp(&self, identity: &Identity) -> (Option<AgentEndpoint>, Connection) {
        let settings = Arc::new(tls::node_client_config(identity, &[tcp::ALPN]).unwrap());
        let stream = TcpStream::connect(self.edge.https_address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = AGENTS_NAME.try_into().unwrap();
        let stream = TlsConnector::from(settings).connect(name, stream).await;
        let stream = stream.unwrap();
        let peer = tcp::Peer {
            address: self.edge.https_address,
            certificates: stream.get_ref().1.peer_certificates().unwrap().to_vec(),
        };
        let (connection, driver) = tcp::agent(stream, peer).await.unwrap();
        self.scope.spawn("tcp agent", driver);
        (None, connection)
    }
}

/// What agents ask for in TLS.
pub(crate) const AGENTS_NAME: &str = "e1.edge.example.com.adit.internal";

/// What carries the links of tests that are about something else: QUIC, unless the environment says `tcp`.
fn tested_transport() -> Transport {
    match std::env::var("ADIT_TEST_TRANSPORT").as_deref() {
        Ok("tcp") => Transport::Tcp,
        _ => Transport::Quic,
    }
}

fn app(id: &str, host: &str, timeouts: Timeouts) -> Kind {
    Kind::EdgeApp(EdgeApp {
        id: id.to_owned(),
        hosts: vec![host.to_owned()],
        path: "/".to_owned(),
        group: "office".to_owned(),
        access: AccessKind::Passthrough.into(),
        timeouts: Some(timeouts),
        ..Default::default()
    })
}

fn patient() -> Timeouts {
    Timeouts {
        connect_ms: 1_000,
        response_ms: 10_000,
        idle_ms: 10_000,
        ..Default::default()
    }
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// An agent whose every stream a test takes in hand. Its control stream is answered by itself.
pub(crate) struct Agent {
    _endpoint: Option<AgentEndpoint>,
    pub(crate) connection: Connection,
    /// What the edge said on the control stream, pings left out.
    pub(crate) heard: mpsc::Receiver<Message>,
    say: mpsc::Sender<Message>,
    silent: Arc<AtomicBool>,
}

impl Agent {
    fn new(
        scope: &Scope,
        endpoint: Option<AgentEndpoint>,
        connection: Connection,
        mut sender: ControlSender,
        mut receiver: ControlReceiver,
    ) -> Self {
        let (hearing, heard) = mpsc::channel(16);
        let (say, mut said) = mpsc::channel(16);
        let silent = Arc::new(AtomicBool::new(false));
        let is_silent = Arc::clone(&silent);
        scope.spawn("control of a scripted agent", async move {
            loop {
                let message = tokio::select! {
                    message = receiver.next() => match message {
                        Ok(Some(Message::Ping(_))) if is_silent.load(SeqCst) => continue,
                        Ok(Some(Message::Ping(ping))) => Message::Pong(Pong { nonce: ping.nonce }),
                        Ok(Some(message)) => {
                            let _ = hearing.try_send(message);
                            continue;
                        }
                        _ => return,
                    },
                    message = said.recv() => match message {
                        Some(message) => message,
                        None => return,
                    },
                };
                if sender.send(message).await.is_err() {
                    return;
                }
            }
        });
        Self {
            _endpoint: endpoint,
            connection,
            heard,
            say,
            silent,
        }
    }

    /// Answers no more pings.
    pub(crate) fn fall_silent(&self) {
        self.silent.store(true, SeqCst);
    }

    /// Drops its control stream; the connection stays.
    pub(crate) fn hang_up(&mut self) {
        (self.say, _) = mpsc::channel(1);
    }

    pub(crate) async fn say(&self, message: Message) {
        self.say.send(message).await.unwrap();
    }

    /// The next request.
    pub(crate) async fn request(&self) -> Asked {
        within(next_request(&self.connection)).await
    }

    /// The next request, which the edge breaks off; none if nothing of it went out. HTTP/2 takes even its beginning back.
    pub(crate) async fn broken_request(&self) -> Option<(SendHalf, RecvHalf)> {
        let accepted = timeout(NOTHING_COMES, self.connection.accept()).await;
        let (_, send, recv) = within(accepted.ok()?.unwrap().kind()).await.ok()?;
        Some((send, recv))
    }

    /// Answers every request from now on: with a body, or with the reason why there is none.
    pub(crate) fn serve(
        &self,
        scope: &Scope,
        answer: fn(&RequestHead) -> Result<&'static str, &'static str>,
    ) {
        let connection = self.connection.clone();
        scope.spawn("requests of a scripted agent", async move {
            loop {
                let asked = next_request(&connection).await;
                match answer(&asked.head) {
                    Ok(body) => asked.answer(200, body).await,
                    Err(reason) => asked.fail(Code::OriginConnect, reason, true).await,
                }
            }
        });
    }
}

pub(crate) async fn next_request(connection: &Connection) -> Asked {
    let accepted = connection.accept().await.unwrap();
    let (kind, send, mut recv) = accepted.kind().await.unwrap();
    assert_eq!(kind, StreamKind::Http);
    let Some(Frame::Request(head)) = recv.next().await.unwrap() else {
        panic!("a stream begins with REQUEST");
    };
    Asked {
        head: *head,
        send,
        recv,
    }
}

/// A request at a scripted agent.
pub(crate) struct Asked {
    pub(crate) head: RequestHead,
    pub(crate) send: SendHalf,
    pub(crate) recv: RecvHalf,
}

impl Asked {
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let fields = tunnel::fields::decode(self.head.fields.clone()).unwrap();
        let value = fields.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    }

    /// The rest of the request's body.
    pub(crate) async fn body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(frame) = within(self.recv.next()).await.unwrap() {
            match frame {
                Frame::Data(data) => body.extend_from_slice(&data),
                Frame::End(_) | Frame::Trailers(_) => {}
                other => panic!("{} in a body", other.name()),
            }
        }
        body
    }

    /// A whole answer in one write.
    pub(crate) async fn answer(mut self, status: u32, body: &'static str) {
        let head = ResponseHead {
            status,
            body_length: Some(body.len() as u64),
            ..ResponseHead::default()
        };
        self.send.queue(head).unwrap();
        self.send.queue(Frame::Data(Bytes::from(body))).unwrap();
        self.send.end(End::default()).await.unwrap();
        // Kept until the edge has it all.
        self.send.stopped().await;
    }

    /// No answer, with a reason.
    pub(crate) async fn fail(mut self, code: Code, reason: &str, retry_safe: bool) {
        let error = ErrorInfo {
            code: code.into(),
            reason: reason.to_owned(),
            retry_safe,
            detail: String::new(),
        };
        self.send.error(error).await.unwrap();
        self.send.stopped().await;
    }
}

/// A streamed head.
pub(crate) fn streamed(status: u32) -> ResponseHead {
    ResponseHead {
        status,
        body_streamed: true,
        ..ResponseHead::default()
    }
}

/// Fails a test that hangs.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it ends in time")
}

fn sealing_keys(numbers: &[u8]) -> SealingKeys {
    let keys = numbers.iter().map(|number| SealingKey {
        name: vec![*number; 16].into(),
        key: vec![*number; 32].into(),
    });
    SealingKeys {
        keys: keys.collect(),
    }
}
