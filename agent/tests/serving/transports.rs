//! Uplinks that change from QUIC to TCP and back, with what lies between agent and edge in the test's hands.

use std::{
    collections::HashMap,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use agent::{
    agent::{Serving, serve},
    config::{ServingConfig, Transports},
    view::Views,
};
use proto::tunnel::Ping;
use runtime::{Clock, Scope, admin_port::Readiness, identity::CurrentIdentity, worker::Threads};
use tokio::{
    io::AsyncWriteExt as _,
    net::UdpSocket,
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tunnel::{Transport, codes::Code, control::Message, link::Closed, stream::Kind};

use crate::{
    ca::Ca,
    edge::{Link, ScriptedEdge, answer, app, get, soon, view},
    origin::{ScriptedOrigin, read_head},
};

/// QUIC is tried so often while TCP carries the uplink.
const CLIMB_PAUSE: Duration = Duration::from_millis(200);
/// What is promised to users.
const SERVED_OVER_TCP: Duration = Duration::from_secs(5);
/// From the last packet to the end of a link.
const FOUND_WITHIN: Duration = Duration::from_secs(5);
/// For a busy machine.
const SLACK: Duration = Duration::from_secs(1);
/// Losses are counted over half a minute; then comes a handshake.
const LOSS_FOUND: Duration = Duration::from_secs(40);
/// Long enough for an agent to try what it shall not.
const A_WHILE: Duration = Duration::from_secs(2);
const DATAGRAM_BYTES: usize = 64 * 1024;
/// Flows of agents through one gate.
const FLOWS_MAX: usize = 16;

/// Passes UDP on to an edge, or drops it in silence.
struct Gate {
    address: SocketAddr,
    to_edge: Arc<Passage>,
    to_agent: Arc<Passage>,
    _scope: Scope,
}

/// One direction through a gate.
#[derive(Debug, Default)]
struct Passage {
    came: AtomicU64,
    /// Of so many datagrams one is dropped; 0: none.
    dropped_one_in: AtomicU64,
}

impl Passage {
    fn drop_one_in(&self, number: u64) {
        self.dropped_one_in.store(number, SeqCst);
    }

    fn passes(&self) -> bool {
        let came = self.came.fetch_add(1, SeqCst);
        match self.dropped_one_in.load(SeqCst) {
            0 => true,
            number => !came.is_multiple_of(number),
        }
    }
}

impl Gate {
    async fn before(edge: SocketAddr) -> Self {
        let scope = Scope::root();
        let (to_edge, to_agent) = (Arc::<Passage>::default(), Arc::<Passage>::default());
        let inside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = inside.local_addr().unwrap();
        let (there, back, own) = (
            Arc::clone(&to_edge),
            Arc::clone(&to_agent),
            scope.child("flows"),
        );
        scope.spawn("gate", async move {
            let mut flows: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
            let mut buffer = vec![0; DATAGRAM_BYTES];
            while let Ok((length, agent)) = inside.recv_from(&mut buffer).await {
                if !there.passes() {
                    continue;
                }
                if !flows.contains_key(&agent) {
                    assert!(flows.len() < FLOWS_MAX, "agents keep their sockets");
                    let outside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                    outside.connect(edge).await.unwrap();
                    let back = bring_back(
                        Arc::clone(&outside),
                        (Arc::clone(&inside), agent),
                        Arc::clone(&back),
                    );
                    own.spawn("flow", back);
                    flows.insert(agent, outside);
                }
                let _ = flows[&agent].send(&buffer[..length]).await;
            }
        });
        Self {
            address,
            to_edge,
            to_agent,
            _scope: scope,
        }
    }

    fn set_open(&self, open: bool) {
        self.drop_one_in(u64::from(!open));
    }

    /// In both directions.
    fn drop_one_in(&self, number: u64) {
        self.to_edge.drop_one_in(number);
        self.to_agent.drop_one_in(number);
    }
}

async fn bring_back(
    outside: Arc<UdpSocket>,
    (inside, agent): (Arc<UdpSocket>, SocketAddr),
    passage: Arc<Passage>,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    while let Ok(length) = outside.recv(&mut buffer).await {
        if passage.passes() {
            let _ = inside.send_to(&buffer[..length], agent).await;
        }
    }
}

/// An agent that reaches its edge through a gate for UDP, and directly over TCP.
struct Bench {
    edge: ScriptedEdge,
    gate: Gate,
    views: Views,
    ca: Ca,
    readiness: Readiness,
    _agent: Serving,
    _scope: Scope,
}

impl Bench {
    async fn start(origin: &str, transports: Transports, udp_passes: bool) -> Self {
        runtime::tls::install_provider();
        let ca = Ca::new();
        let edge = ScriptedEdge::start(&ca, "e1");
        let gate = Gate::before(edge.address).await;
        gate.set_open(udp_passes);
        let (_, over_tcp) = edge.addresses();
        let apps = vec![app("app", &[origin])];
        let config = ServingConfig {
            transports,
            climb_pause: CLIMB_PAUSE,
            workers: Threads::Own(NonZeroUsize::MIN),
            ..ServingConfig::default()
        };
        let views = Views::new(view(apps, &[("e1", (gate.address, over_tcp))]));
        let (scope, readiness) = (Scope::root(), Readiness::new());
        let agent = serve(
            config,
            CurrentIdentity::new(ca.identity("spiffe://fabric.test/agent/a1")),
            views.clone(),
            &readiness,
            Clock::system(),
            &scope,
        )
        .await
        .unwrap();
        Self {
            edge,
            gate,
            views,
            ca,
            readiness,
            _agent: agent,
            _scope: scope,
        }
    }
}

async fn until(bench: &Bench, ready: bool) {
    while bench.readiness.is_ready() != ready {
        sleep(Duration::from_millis(5)).await;
    }
}

async fn asked(link: &Link) -> u32 {
    let (mut send, mut recv) = link.connection.open(Kind::Http).await.unwrap();
    send.queue_request(&get("/")).unwrap();
    send.end(proto::tunnel::End::default()).await.unwrap();
    soon(answer(&mut recv)).await.status()
}

async fn answering() -> ScriptedOrigin {
    ScriptedOrigin::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await
}

#[tokio::test]
async fn where_no_udp_passes_an_agent_comes_over_tcp() {
    let origin = answering().await;
    let bench = Bench::start(&origin.url(), Transports::Auto, false).await;
    let link = timeout(SERVED_OVER_TCP, bench.edge.welcome_over(Transport::Tcp));
    let link = link.await.expect("within the promised time");
    assert_eq!(asked(&link).await, 200);
}

#[tokio::test]
async fn an_uplink_over_tcp_goes_back_to_quic_and_finishes_what_runs() {
    let (reached, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (reaches, finished) = (Arc::clone(&reached), Arc::clone(&finish));
    let origin = ScriptedOrigin::start(move |mut stream, _| {
        let (reached, finish) = (Arc::clone(&reaches), Arc::clone(&finished));
        async move {
            let head = read_head(&mut stream).await.unwrap();
            if head.contains("/slow") {
                reached.notify_one();
                finish.notified().await;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    let bench = Bench::start(&origin.url(), Transports::Auto, false).await;
    let mut over_tcp = bench.edge.welcome_over(Transport::Tcp).await;
    let (mut send, mut recv) = over_tcp.connection.open(Kind::Http).await.unwrap();
    send.queue_request(&get("/slow")).unwrap();
    send.end(proto::tunnel::End::default()).await.unwrap();
    soon(reached.notified()).await;

    bench.gate.set_open(true);
    let over_quic = bench.edge.welcome_over(Transport::Quic).await;
    assert_eq!(asked(&over_quic).await, 200);
    assert!(matches!(
        soon(over_tcp.receiver.next()).await,
        Ok(Some(Message::Drain(_)))
    ));
    finish.notify_one();
    assert_eq!(soon(answer(&mut recv)).await.status(), 200);
    let drained = soon(over_tcp.connection.closed()).await;
    assert!(
        matches!(
            &drained,
            Closed::ByPeer {
                code: Code::Draining,
                ..
            }
        ),
        "{drained}"
    );
    assert!(over_quic.connection.close_reason().is_none());
}

#[tokio::test]
async fn an_uplink_whose_edge_is_elsewhere_now_serves_on_and_gets_no_better_link() {
    let origin = answering().await;
    let bench = Bench::start(&origin.url(), Transports::Auto, false).await;
    let link = bench.edge.welcome_over(Transport::Tcp).await;
    let elsewhere = ScriptedEdge::start(&bench.ca, "e1");
    let apps = vec![app("app", &[&origin.url()])];
    let edges = [("e1", elsewhere.addresses())];
    bench.views.store(view(apps, &edges));
    let closed = timeout(CLIMB_PAUSE, link.connection.closed()).await;
    assert!(closed.is_err(), "{closed:?}");
    bench.gate.set_open(true);
    let over_quic = timeout(A_WHILE, bench.edge.welcome_over(Transport::Quic));
    assert!(
        over_quic.await.is_err(),
        "it goes back to quic all the same"
    );
    assert_eq!(asked(&link).await, 200);
}

#[tokio::test]
async fn an_uplink_over_quic_that_goes_dark_is_on_tcp_within_five_seconds() {
    let origin = answering().await;
    let bench = Bench::start(&origin.url(), Transports::Auto, true).await;
    let dark = bench.edge.welcome_over(Transport::Quic).await;
    assert_eq!(asked(&dark).await, 200);
    bench.gate.set_open(false);
    let link = timeout(SERVED_OVER_TCP, bench.edge.welcome_over(Transport::Tcp));
    let link = link.await.expect("within the promised time");
    assert_eq!(asked(&link).await, 200);
    assert_eq!(link.hello.instance, dark.hello.instance);
}

#[tokio::test]
async fn an_edge_that_falls_silent_over_quic_alone_is_given_up_within_five_seconds() {
    let origin = answering().await;
    let only_quic = Transports::Only(Transport::Quic);
    let bench = Bench::start(&origin.url(), only_quic, true).await;
    let link = bench.edge.welcome_over(Transport::Quic).await;
    soon(until(&bench, true)).await;
    // The edge hears the agent, and what becomes of the link there.
    bench.gate.to_agent.drop_one_in(1);
    let began = Instant::now();
    soon(until(&bench, false)).await;
    let doubted = began.elapsed();
    assert!(
        link.connection.close_reason().is_none(),
        "not ready before the link is given up"
    );
    let closed = soon(link.connection.closed()).await;
    let took = began.elapsed();
    assert!(
        matches!(
            &closed,
            Closed::ByPeer {
                code: Code::Timeout,
                ..
            }
        ),
        "{closed:?}"
    );
    assert!(
        doubted < took && took <= FOUND_WITHIN + SLACK,
        "{doubted:?}, {took:?}"
    );
    bench.gate.set_open(true);
    let _again = bench.edge.welcome_over(Transport::Quic).await;
    soon(until(&bench, true)).await;
}

#[tokio::test]
async fn an_edge_that_falls_silent_over_tcp_is_given_up_within_five_seconds() {
    let origin = answering().await;
    let only_tcp = Transports::Only(Transport::Tcp);
    let bench = Bench::start(&origin.url(), only_tcp, true).await;
    let _frozen = bench.edge.welcome_over(Transport::Tcp).await;
    let began = Instant::now();
    bench.edge.freeze_tcp();
    let again = bench.edge.welcome_over(Transport::Tcp).await;
    let took = began.elapsed();
    assert!(took <= FOUND_WITHIN + SLACK, "{took:?}");
    assert_eq!(asked(&again).await, 200);
}

/// Longer than a silent edge is borne with.
const LONG: Duration = Duration::from_secs(8);

#[tokio::test]
async fn an_idle_link_to_an_edge_that_asks_nothing_stays() {
    let origin = answering().await;
    for transport in Transport::ALL {
        let only = Transports::Only(transport);
        let bench = Bench::start(&origin.url(), only, true).await;
        let link = bench.edge.welcome_over(transport).await;
        let closed = timeout(LONG, link.connection.closed()).await;
        assert!(closed.is_err(), "{transport}: {closed:?}");
        assert!(bench.readiness.is_ready(), "{transport}");
        assert_eq!(asked(&link).await, 200);
    }
}

#[tokio::test]
async fn an_uplink_over_quic_that_loses_a_third_goes_over_to_tcp() {
    let origin = answering().await;
    let bench = Bench::start(&origin.url(), Transports::Auto, true).await;
    let lossy = bench.edge.welcome_over(Transport::Quic).await;
    bench.gate.drop_one_in(3);
    let asking = async {
        // What is lost is counted from some traffic on; this is answered late, and answered.
        loop {
            assert_eq!(asked(&lossy).await, 200);
        }
    };
    let over_tcp = timeout(LOSS_FOUND, bench.edge.next_over(Transport::Tcp));
    let link = tokio::select! {
        link = over_tcp => link.expect("heavy loss is found out"),
        () = asking => unreachable!("it asks on"),
    };
    assert_eq!(asked(&link).await, 200);
    assert_eq!(link.hello.instance, lossy.hello.instance);
}

#[tokio::test]
async fn a_link_over_quic_that_lives_stays() {
    let origin = answering().await;
    let bench = Bench::start(&origin.url(), Transports::Auto, true).await;
    let link = bench.edge.welcome_over(Transport::Quic).await;
    let ping = Message::Ping(Ping { nonce: 1 });
    link.sender.lock().await.send(ping).await.unwrap();
    let over_tcp = timeout(SERVED_OVER_TCP, bench.edge.welcome_over(Transport::Tcp));
    assert!(over_tcp.await.is_err(), "there is nothing to mend");
    assert_eq!(asked(&link).await, 200);
}

#[tokio::test]
async fn the_transport_that_is_asked_for_is_the_only_one() {
    let origin = answering().await;
    let only_quic = Transports::Only(Transport::Quic);
    let bench = Bench::start(&origin.url(), only_quic, false).await;
    let over_tcp = timeout(A_WHILE, bench.edge.welcome_over(Transport::Tcp));
    assert!(over_tcp.await.is_err(), "it comes over tcp all the same");
    let only_tcp = Transports::Only(Transport::Tcp);
    let bench = Bench::start(&origin.url(), only_tcp, true).await;
    let link = bench.edge.welcome_over(Transport::Tcp).await;
    let over_quic = timeout(A_WHILE, bench.edge.welcome_over(Transport::Quic));
    assert!(over_quic.await.is_err(), "it comes over quic all the same");
    assert_eq!(asked(&link).await, 200);
}
