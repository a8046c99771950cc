//! An edge and an agent, connected over TCP on loopback; TLS is not the tunnel's there.

use std::net::Ipv4Addr;

use futures_util::future::join;
use proto::tunnel::{End, RequestHead, ResponseHead};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tunnel::{
    Connection, Frame, Kind, RecvHalf, SendHalf,
    tcp::{self, Peer},
};

/// A connection seen from both sides.
pub(crate) struct Pair {
    pub(crate) edge: Connection,
    pub(crate) agent: Connection,
    /// What carries it, until it is over.
    pub(crate) drivers: [JoinHandle<()>; 2],
}

impl Pair {
    pub(crate) async fn connect() -> Self {
        let (edge, agent) = sockets().await;
        let (edge, edge_driver) = tcp::edge(edge, nobody()).await.unwrap();
        // The agent waits for the farewell's stream.
        let edge_driver = spawn(edge_driver);
        let (agent, agent_driver) = tcp::agent(agent, nobody()).await.unwrap();
        Self {
            edge,
            agent,
            drivers: [edge_driver, spawn(agent_driver)],
        }
    }

    /// Waits until nothing is left of it.
    pub(crate) async fn over(self) {
        for driver in self.drivers {
            driver.await.unwrap();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the test owns it")]
pub(crate) fn spawn(driver: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(driver)
}

/// The edge's and the agent's.
pub(crate) async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap());
    let (agent, accepted) = join(dialled, listener.accept()).await;
    let (edge, agent) = (accepted.unwrap().0, agent.unwrap());
    edge.set_nodelay(true).unwrap();
    agent.set_nodelay(true).unwrap();
    (edge, agent)
}

pub(crate) fn nobody() -> Peer {
    Peer {
        address: (Ipv4Addr::LOCALHOST, 1).into(),
        certificates: Vec::new(),
    }
}

/// One half each way.
pub(crate) type Halves = (SendHalf, RecvHalf);

/// A stream of kind http, with an empty request head sent: the edge's halves and the agent's.
pub(crate) async fn http_stream(pair: &Pair) -> (Halves, Halves) {
    let mut edge = pair.edge.open(Kind::Http).await.unwrap();
    edge.0.send(request()).await.unwrap();
    let accepted = pair.agent.accept().await.unwrap();
    let (kind, send, recv) = accepted.kind().await.unwrap();
    assert_eq!(kind, Kind::Http);
    (edge, (send, recv))
}

/// The head that every stream of these tests opens with.
pub(crate) fn request() -> Frame {
    Frame::from(RequestHead {
        app: "wiki".into(),
        ..RequestHead::default()
    })
}

pub(crate) fn response() -> Frame {
    Frame::from(ResponseHead {
        status: 200,
        ..ResponseHead::default()
    })
}

pub(crate) fn end(body_bytes: u64) -> Frame {
    Frame::End(End {
        body_bytes,
        timings: None,
    })
}
