//! Hours that pass in seconds: an edge and an agent on one thread, under a clock that jumps to the next thing to happen.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap, future::Future, net::SocketAddr, num::NonZeroUsize, sync::Arc,
    time::Duration,
};

use agent::{
    agent::Serving as AgentServing,
    allow::AllowList,
    config::ServingConfig as AgentConfig,
    origin::SystemRoots,
    view::{Edge, ViewBuilder, Views as AgentViews},
};
use edge::{
    Accounts, Serving as EdgeServing, ServingConfig as EdgeConfig, View, Views as EdgeViews,
};
use futures_util::{SinkExt as _, StreamExt as _};
use kit::{
    client::{Message, User},
    origin::Origin,
};
use model::app::{self, AgentApp, Timeouts};
use proto::fabric::{
    AccessKind, AgentRecord, Certificate, EdgeApp, FabricSettings, Resource, resource::Kind,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use runtime::{
    Clock, Scope,
    admin_port::Readiness,
    identity::{CurrentIdentity, Identity, NodeKey},
    node::NodeIdentity,
    tls,
    worker::Threads,
};
use rustls::pki_types::CertificateSigningRequestDer;
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::watch,
    time::{Instant, sleep},
};

const HOST: &str = "wiki.example.com";
const HOUR: Duration = Duration::from_secs(3600);

/// Under a paused clock each pass over the sockets may take as long as the next timer is away. With this one running a packet
/// takes 5 ms at the most, as over a real network.
const STEP: Duration = Duration::from_millis(5);

/// Runs a story under a clock of its own.
fn simulate<F: Future<Output = ()> + 'static>(story: F) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build_local(LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let steps = async {
            loop {
                sleep(STEP).await;
            }
        };
        tokio::select! {
            () = story => {}
            () = steps => {}
        }
    });
}

/// A fabric without control: one edge, one agent, one app.
struct Simulated {
    user: User,
    scope: Scope,
    _edge: EdgeServing,
    _agent: AgentServing,
    _tls: watch::Sender<Arc<rustls::ServerConfig>>,
}

impl Simulated {
    async fn start(origin: &str, timeouts: Timeouts) -> Self {
        tls::install_provider();
        let (ca, scope) = (Ca::new(), Scope::root());
        let identity = ca.identity("spiffe://example.com/edge/e1");
        let settings = tls::agents_server_config(&identity, &[tunnel::quic::ALPN]).unwrap();
        let (sender, settings) = watch::channel(Arc::new(settings));
        let config = EdgeConfig {
            id: "e1".parse().unwrap(),
            domain: "example.com".parse().unwrap(),
            https: loopback(),
            http: None,
            tunnel: loopback(),
            public_port: None,
            http3: false,
            public_udp_port: None,
            resets: tunnel::quic::ResetKey::random(),
            workers: Threads::Current(NonZeroUsize::MIN),
            https_proxy_protocol: Vec::new(),
            http_proxy_protocol: Vec::new(),
            countries: edge::Countries::default(),
            limits: edge::OwnLimits::default(),
        };
        let views = EdgeViews::default();
        views.replace(View::build(1, &resources(&ca, &timeouts)));
        let (accounts, _) = Accounts::channel();
        let edge = EdgeServing::start(config, views, settings, accounts, Clock::system(), &scope)
            .await
            .unwrap();
        let readiness = Readiness::new();
        let agent = start_agent(&ca, origin, timeouts, &edge, &readiness, &scope).await;
        while !readiness.is_ready() {
            sleep(STEP).await;
        }
        Self {
            user: User::new(edge.https_address, &ca.pem),
            scope,
            _edge: edge,
            _agent: agent,
            _tls: sender,
        }
    }

    async fn end(self) {
        self.scope.close(Duration::from_secs(1)).await;
    }
}

async fn start_agent(
    ca: &Ca,
    origin: &str,
    timeouts: Timeouts,
    edge: &EdgeServing,
    readiness: &Readiness,
    scope: &Scope,
) -> AgentServing {
    let app = AgentApp {
        timeouts,
        ..AgentApp::new(
            "wiki".parse().unwrap(),
            vec![app::Origin::new(origin.parse().unwrap())],
        )
    };
    let edge = Edge {
        id: "e1".parse().unwrap(),
        address: edge.tunnel_address.to_string(),
        tcp_address: Some(edge.https_address.to_string()),
        workers: 1,
    };
    let view = ViewBuilder::new(SystemRoots::default())
        .of_apps(vec![app], vec![edge])
        .unwrap();
    let config = AgentConfig {
        allow: AllowList::all(),
        workers: Threads::Current(NonZeroUsize::MIN),
        ..AgentConfig::default()
    };
    agent::agent::serve(
        config,
        CurrentIdentity::new(ca.identity("spiffe://example.com/agent/a1")),
        AgentViews::new(view),
        readiness,
        Clock::system(),
        scope,
    )
    .await
    .unwrap()
}

fn resources(ca: &Ca, timeouts: &Timeouts) -> BTreeMap<String, Resource> {
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap();
    let app = EdgeApp {
        id: "wiki".to_owned(),
        hosts: vec![HOST.to_owned()],
        path: "/".to_owned(),
        group: "office".to_owned(),
        access: AccessKind::Passthrough.into(),
        timeouts: Some(proto::fabric::Timeouts {
            connect_ms: millis(timeouts.connect),
            response_ms: millis(timeouts.response),
            idle_ms: millis(timeouts.idle),
            ..Default::default()
        }),
        ..EdgeApp::default()
    };
    let settings = FabricSettings {
        domain: "example.com".to_owned(),
        ..FabricSettings::default()
    };
    let agent = AgentRecord {
        id: "a1".to_owned(),
        group: "office".to_owned(),
        revoked: false,
        ..AgentRecord::default()
    };
    [
        ("fabric", Kind::Fabric(settings)),
        ("certificates/default", Kind::Certificate(ca.certificate())),
        ("apps/wiki", Kind::EdgeApp(app)),
        ("agents/a1", Kind::Agent(agent)),
    ]
    .into_iter()
    .map(|(name, kind)| {
        let resource = Resource {
            name: name.to_owned(),
            kind: Some(kind),
        };
        (name.to_owned(), resource)
    })
    .collect()
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A fabric's CA that exists for one story.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    root: rustls::pki_types::CertificateDer<'static>,
    pem: String,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&key).unwrap();
        Self {
            root: root.der().clone(),
            pem: root.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    fn identity(&self, name: &str) -> Identity {
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

    fn certificate(&self) -> Certificate {
        let names = vec![HOST.to_owned()];
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

#[test]
fn a_websocket_that_only_pings_lives_for_two_hours() {
    simulate(async {
        let origin = Origin::start().await;
        let fabric = Simulated::start(&origin.url(), Timeouts::default()).await;
        let (mut socket, _) = fabric.user.websocket(HOST, "/websocket").await;
        let began = Instant::now();
        // Just below the idle time-out of 5 minutes.
        let pause = Timeouts::default().idle - Duration::from_secs(10);
        let mut pongs = 0;
        while began.elapsed() < 2 * HOUR {
            sleep(pause).await;
            socket
                .send(Message::Ping("still here".into()))
                .await
                .unwrap();
            match socket.next().await.unwrap().unwrap() {
                Message::Pong(echo) if echo == "still here" => pongs += 1,
                other => panic!("a pong is due, not {other:?}"),
            }
        }
        assert_eq!(pongs, 25);
        socket.send(Message::text("as good as new")).await.unwrap();
        let echo = socket.next().await.unwrap().unwrap();
        assert_eq!(echo, Message::text("as good as new"));
        fabric.end().await;
    });
}

#[test]
fn a_websocket_that_says_nothing_is_closed_after_the_idle_time() {
    simulate(async {
        let origin = Origin::start().await;
        let fabric = Simulated::start(&origin.url(), Timeouts::default()).await;
        let (mut socket, _) = fabric.user.websocket(HOST, "/websocket").await;
        let began = Instant::now();
        while let Some(Ok(_)) = socket.next().await {}
        let idle = Timeouts::default().idle;
        let lived = began.elapsed();
        // The edge gives the agent a few seconds more than the app's time, in which the agent ends it first.
        assert!(
            lived >= idle && lived < idle + Duration::from_secs(10),
            "{lived:?}"
        );
        fabric.end().await;
    });
}
