//! Edges and agents without control, on one thread: whoever runs them tells them what is published.

use std::{collections::BTreeMap, net::Ipv4Addr, num::NonZeroUsize, sync::Arc, time::Duration};

use agent::{
    agent::Serving as AgentServing,
    allow::AllowList,
    config::{ServingConfig as AgentConfig, Transports},
    origin::SystemRoots,
    view::{View as AgentView, ViewBuilder, Views as AgentViews},
};
use edge::{
    Accounts, Serving as EdgeServing, ServingConfig as EdgeConfig, View, Views as EdgeViews,
};
use kit::{client::User, net::Host};
use model::app::{AgentApp, Timeouts};
use proto::fabric::{Certificate, FabricSettings, Resource, resource::Kind};
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
use tokio::sync::watch;
use tunnel::{Transport, quic::ResetKey, steering::Generation};

/// Domain of the fabric.
pub(super) const DOMAIN: &str = "example.com";

/// Where agents dial an edge on a simulated host.
const TUNNEL_PORT: u16 = 443;

/// What an edge knows, by name.
pub(super) type Resources = BTreeMap<String, Resource>;

/// An edge. Its users come over the machine's own loopback, its agents over the network it is given.
pub(super) struct EdgeNode {
    pub(super) user: User,
    serving: EdgeServing,
    views: EdgeViews,
    scope: Scope,
    _tls: watch::Sender<Arc<rustls::ServerConfig>>,
}

impl EdgeNode {
    /// Starts one on a host. It knows the `resets` of its earlier life.
    pub(super) async fn start(ca: &Ca, id: &str, host: &Host, resets: &ResetKey) -> Self {
        tls::install_provider();
        let scope = Scope::root();
        let identity = ca.identity(&format!("spiffe://{DOMAIN}/edge/{id}"));
        let settings = tls::agents_server_config(&identity, &[tunnel::quic::ALPN]).unwrap();
        let (sender, settings) = watch::channel(Arc::new(settings));
        let config = EdgeConfig {
            id: id.parse().unwrap(),
            domain: DOMAIN.parse().unwrap(),
            https: (Ipv4Addr::LOCALHOST, 0).into(),
            http: None,
            tunnel: (host.address(), TUNNEL_PORT).into(),
            public_port: None,
            http3: false,
            public_udp_port: None,
            resets: resets.clone(),
            workers: Threads::Current(NonZeroUsize::MIN),
            https_proxy_protocol: Vec::new(),
            http_proxy_protocol: Vec::new(),
            pass_control: None,
            countries: edge::Countries::default(),
            limits: edge::OwnLimits::default(),
            generation: Generation::Even,
            network: Some(Arc::new(host.clone())),
        };
        let views = EdgeViews::default();
        let (accounts, _) = Accounts::channel();
        let serving = EdgeServing::start(
            config,
            views.clone(),
            settings,
            accounts,
            Clock::system(),
            &scope,
        )
        .await
        .unwrap();
        Self {
            user: User::new(serving.https_address, &ca.pem),
            serving,
            views,
            scope,
            _tls: sender,
        }
    }

    /// Puts a revision in force.
    pub(super) fn tell(&self, revision: u64, resources: &Resources) {
        let view = View::build(revision, resources);
        assert!(view.faults().is_empty(), "{:?}", view.faults());
        self.views.replace(view);
    }

    /// Links that agents have to it, as it knows.
    pub(super) fn links(&self) -> usize {
        self.serving.link_count()
    }

    /// Takes its leave as on SIGTERM.
    pub(super) async fn drain(self, deadline: Duration) {
        self.serving.drain(deadline).await;
        self.end().await;
    }

    /// Ends at once.
    pub(super) async fn end(self) {
        self.scope.close(Duration::ZERO).await;
    }
}

/// An agent.
pub(super) struct AgentNode {
    pub(super) readiness: Readiness,
    serving: AgentServing,
    views: AgentViews,
    builder: ViewBuilder,
    scope: Scope,
}

impl AgentNode {
    /// Starts one on a host.
    pub(super) async fn start(ca: &Ca, id: &str, host: &Host) -> Self {
        tls::install_provider();
        let (scope, readiness) = (Scope::root(), Readiness::new());
        let config = AgentConfig {
            allow: AllowList::all(),
            workers: Threads::Current(NonZeroUsize::MIN),
            network: Some(Arc::new(host.clone())),
            transports: Transports::Only(Transport::Quic),
            ..AgentConfig::default()
        };
        let views = AgentViews::new(AgentView::default());
        let identity = ca.identity(&format!("spiffe://{DOMAIN}/agent/{id}"));
        let serving = agent::agent::serve(
            config,
            CurrentIdentity::new(identity),
            views.clone(),
            &readiness,
            Clock::system(),
            &scope,
        )
        .await
        .unwrap();
        Self {
            readiness,
            serving,
            views,
            builder: ViewBuilder::new(SystemRoots::default()),
            scope,
        }
    }

    /// Puts other apps and edges in force.
    pub(super) fn tell(
        &mut self,
        apps: impl IntoIterator<Item = AgentApp>,
        edges: Vec<agent::view::Edge>,
    ) {
        self.views.store(self.builder.of_apps(apps, edges).unwrap());
    }

    /// Takes its leave as on SIGTERM.
    pub(super) async fn drain(self, deadline: Duration) {
        self.serving.drain(deadline).await;
        self.scope.close(Duration::ZERO).await;
    }

    /// Ends at once.
    pub(super) async fn end(self) {
        self.scope.close(Duration::ZERO).await;
    }
}

/// How an agent finds an edge.
pub(super) fn edge_at(id: &str, host: &Host) -> agent::view::Edge {
    agent::view::Edge {
        id: id.parse().unwrap(),
        address: format!("{}:{TUNNEL_PORT}", host.name()),
        tcp_address: None,
        workers: 1,
    }
}

/// How time-outs come to an edge.
pub(super) fn written(timeouts: &Timeouts) -> proto::fabric::Timeouts {
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap();
    proto::fabric::Timeouts {
        connect_ms: millis(timeouts.connect),
        response_ms: millis(timeouts.response),
        idle_ms: millis(timeouts.idle),
        ..Default::default()
    }
}

/// What every edge knows, whatever is published.
pub(super) fn settings(ca: &Ca) -> Resources {
    let settings = FabricSettings {
        domain: DOMAIN.to_owned(),
        ..FabricSettings::default()
    };
    resources([
        ("fabric".to_owned(), Kind::Fabric(settings)),
        (
            "certificates/default".to_owned(),
            Kind::Certificate(ca.certificate()),
        ),
    ])
}

pub(super) fn resources(kinds: impl IntoIterator<Item = (String, Kind)>) -> Resources {
    let resource = |(name, kind): (String, Kind)| {
        let resource = Resource {
            name: name.clone(),
            kind: Some(kind),
        };
        (name, resource)
    };
    kinds.into_iter().map(resource).collect()
}

/// A fabric's CA that exists for one story.
pub(super) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    root: rustls::pki_types::CertificateDer<'static>,
    pem: String,
}

impl Ca {
    pub(super) fn new() -> Self {
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
        let names = vec![format!("*.{DOMAIN}")];
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
