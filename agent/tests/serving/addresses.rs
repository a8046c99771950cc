//! Edges whose names have several addresses, some of them dead, or none at the moment.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent::{
    agent::{Serving, serve},
    config::{ServingConfig, Transports},
    origin::SystemRoots,
    view::{Edge, ViewBuilder, Views},
};
use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime};
use runtime::{Clock, Scope, admin_port::Readiness, identity::CurrentIdentity, worker::Threads};
use tokio::{net::UdpSocket, time::timeout};
use tunnel::{Transport, codes::Code, quic::Network};

use crate::{ca::Ca, edge::ScriptedEdge};

/// By which the agent knows its edge over QUIC, and over TCP.
const QUIC_NAME: &str = "edge.test:4433";
const TCP_NAME: &str = "edge.test:443";
/// Two staggers of 250 ms, a handshake, and a busy machine: far less than one attempt that nobody answers.
const SOON: Duration = Duration::from_secs(3);

/// Loopback, with names as the test says.
#[derive(Clone, Debug, Default)]
struct Names(Arc<Mutex<HashMap<&'static str, Vec<SocketAddr>>>>);

impl Names {
    fn tell(&self, name: &'static str, addresses: Vec<SocketAddr>) {
        self.0.lock().unwrap().insert(name, addresses);
    }

    /// Nobody answers for the name any more.
    fn forget(&self, name: &str) {
        self.0.lock().unwrap().remove(name);
    }

    fn find(&self, name: &str) -> Option<Vec<SocketAddr>> {
        self.0.lock().unwrap().get(name).cloned()
    }
}

impl Network for Names {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(std::net::UdpSocket::bind(address)?)
    }

    fn look_up(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        self.find(address)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// An agent that knows its edge by name.
struct Bench {
    edge: ScriptedEdge,
    _agent: Serving,
    _scope: Scope,
}

impl Bench {
    async fn start(ca: &Ca, edge: ScriptedEdge, names: &Names, transport: Transport) -> Self {
        let config = ServingConfig {
            transports: Transports::Only(transport),
            workers: Threads::Own(NonZeroUsize::MIN),
            network: Some(Arc::new(names.clone())),
            ..ServingConfig::default()
        };
        let known = Edge {
            id: "e1".parse().unwrap(),
            address: QUIC_NAME.to_owned(),
            tcp_address: Some(TCP_NAME.to_owned()),
            workers: 1,
        };
        let view = ViewBuilder::new(SystemRoots::default()).of_apps([], vec![known]);
        let scope = Scope::root();
        let agent = serve(
            config,
            CurrentIdentity::new(ca.identity("spiffe://fabric.test/agent/a1")),
            Views::new(view.unwrap()),
            &Readiness::new(),
            Clock::system(),
            &scope,
        )
        .await
        .unwrap();
        Self {
            edge,
            _agent: agent,
            _scope: scope,
        }
    }
}

fn scripted() -> (Ca, ScriptedEdge) {
    runtime::tls::install_provider();
    let ca = Ca::new();
    let edge = ScriptedEdge::start(&ca, "e1");
    (ca, edge)
}

#[tokio::test]
async fn dead_addresses_of_an_edge_hold_nobody_up_over_quic() {
    let (ca, edge) = scripted();
    // Nobody reads there, and nobody says so.
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dead = nobody.local_addr().unwrap();
    let names = Names::default();
    names.tell(QUIC_NAME, vec![dead, dead, edge.address]);
    let bench = Bench::start(&ca, edge, &names, Transport::Quic).await;
    let link = timeout(SOON, bench.edge.welcome_over(Transport::Quic));
    let link = link
        .await
        .expect("the live address is tried beside the dead");
    assert!(link.connection.close_reason().is_none());
}

/// A link that is lost while nobody answers for the edge's name.
async fn lost_without_names(transport: Transport, name: &'static str) {
    let (ca, edge) = scripted();
    let (over_quic, over_tcp) = edge.addresses();
    let address = match transport {
        Transport::Quic => over_quic,
        Transport::Tcp => over_tcp.unwrap(),
    };
    let names = Names::default();
    names.tell(name, vec![address]);
    let bench = Bench::start(&ca, edge, &names, transport).await;
    let link = bench.edge.welcome_over(transport).await;
    names.forget(name);
    link.connection.close(Code::Internal, "the test breaks it");
    let again = timeout(SOON, bench.edge.welcome_over(transport)).await;
    assert!(again.is_ok(), "{transport}: it is where it was");
}

#[tokio::test]
async fn an_edge_whose_name_is_lost_is_dialled_where_it_was() {
    lost_without_names(Transport::Quic, QUIC_NAME).await;
    lost_without_names(Transport::Tcp, TCP_NAME).await;
}

#[tokio::test]
async fn an_edge_that_moved_is_dialled_where_it_is() {
    let (ca, edge) = scripted();
    let (_, over_tcp) = edge.addresses();
    let names = Names::default();
    names.tell(TCP_NAME, vec!["127.0.0.1:1".parse().unwrap()]);
    let bench = Bench::start(&ca, edge, &names, Transport::Tcp).await;
    let early = timeout(SOON / 4, bench.edge.welcome_over(Transport::Tcp)).await;
    assert!(early.is_err(), "nobody is there");
    names.tell(TCP_NAME, vec![over_tcp.unwrap()]);
    let link = timeout(SOON, bench.edge.welcome_over(Transport::Tcp)).await;
    assert!(link.is_ok(), "the name says where it is now");
}
