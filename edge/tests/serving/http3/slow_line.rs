//! Users over HTTP/3 behind lines that are slower than what they ask for.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use edge::OwnLimits;
use quinn::TransportConfig;
use runtime::Scope;
use tokio::{net::UdpSocket, time::interval};

use super::{User, get, text};
use crate::fabric::{Fabric, streamed, within};
use proto::tunnel::End;

/// Time between two packets to the user: with those of the edge some 100 KB a second.
const PACKET_EVERY: Duration = Duration::from_millis(12);
/// Packets that wait on the line; more are lost.
const QUEUE_MAX: usize = 64;
/// So much takes longer than anything that used to be waited for.
const ANSWER_BYTES: usize = 800 * 1024;

/// A line to `edge` for one user, slow towards the user.
async fn slow_line(scope: &Scope, edge: SocketAddr) -> SocketAddr {
    let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    far.connect(edge).await.unwrap();
    let address = near.local_addr().unwrap();
    scope.spawn("slow line", async move {
        let mut user = None;
        let mut queue = VecDeque::new();
        let mut tick = interval(PACKET_EVERY);
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                Ok((bytes, from)) = near.recv_from(&mut up) => {
                    user = Some(from);
                    let _ = far.send(&up[..bytes]).await;
                }
                Ok(bytes) = far.recv(&mut down) => {
                    if queue.len() < QUEUE_MAX {
                        queue.push_back(down[..bytes].to_vec());
                    }
                }
                _ = tick.tick() => {
                    if let (Some(packet), Some(user)) = (queue.pop_front(), user) {
                        let _ = near.send_to(&packet, user).await;
                    }
                }
            }
        }
    });
    address
}

/// Asks for something long over a slow line; `meanwhile` begins when all of it has left the agent.
async fn ask_slowly(fabric: &Fabric, meanwhile: impl AsyncFnOnce(&Fabric)) {
    let agent = fabric.agent("a1").await;
    let line = slow_line(&fabric.scope, fabric.edge.tunnel_address).await;
    let mut user = User::connect_at(fabric, line, TransportConfig::default()).await;
    let ask = async {
        let mut stream = user.begin(get("/")).await;
        within(stream.finish()).await.unwrap();
        within(stream.recv_response()).await.unwrap();
        text(&mut stream).await.len()
    };
    let serve = async {
        let mut asked = agent.request().await;
        asked.send.queue(streamed(200)).unwrap();
        let piece = bytes::Bytes::from(vec![b'x'; ANSWER_BYTES / 16]);
        for _ in 0..16 {
            within(asked.send.data(piece.clone())).await.unwrap();
        }
        within(asked.send.end(End::default())).await.unwrap();
        within(asked.send.stopped()).await;
        meanwhile(fabric).await;
    };
    let (bytes, ()) = tokio::join!(ask, serve);
    assert_eq!(bytes, ANSWER_BYTES);
}

#[tokio::test]
async fn a_long_answer_arrives_whole_however_short_idle_connections_live() {
    let fabric = Fabric::with_limits(OwnLimits {
        idle_timeout: Some(Duration::from_secs(1)),
        ..OwnLimits::default()
    })
    .await;
    ask_slowly(&fabric, async |_| {}).await;
}

#[tokio::test]
async fn a_drain_waits_for_what_is_on_a_slow_line() {
    let fabric = Fabric::start().await;
    ask_slowly(&fabric, async |fabric| {
        assert!(fabric.edge.drain(Duration::from_secs(20)).await);
    })
    .await;
}
