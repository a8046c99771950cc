//! Streams that nobody reads leave the others their room.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use proto::tunnel::{End, ResponseHead};
use tokio::time::timeout;
use tunnel::{Frame, RecvHalf, SendHalf};

use crate::pair::{Halves, Pair, http_stream};

/// More than a connection's window of 64 MiB once held.
const UNREAD: usize = 70;
/// What a stalled stream takes at most: its window and the sender's queue.
const FILL_BYTES: usize = 1024 * 1024 + 512 * 1024;
const PIECE: Bytes = Bytes::from_static(&[0; 64 * 1024]);
/// A sender that moves nothing for so long on loopback is held up.
const HELD_UP: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends until the peer's window is full.
async fn fill(send: &mut SendHalf) {
    let mut sent = 0;
    while let Ok(result) = timeout(HELD_UP, send.data(PIECE)).await {
        result.unwrap();
        sent += PIECE.len();
        assert!(sent < FILL_BYTES, "a window holds one stream back");
    }
}

/// Sends more than one window, to someone who reads.
async fn pass(send: &mut SendHalf, recv: &mut RecvHalf) {
    let passing = async {
        let sending = async {
            for _ in 0..64 {
                send.data(PIECE).await.unwrap();
            }
            send.end(End::default()).await.unwrap();
        };
        let receiving = async {
            let mut bytes = 0;
            while let Some(frame) = recv.next().await.unwrap() {
                if let Frame::Data(data) = frame {
                    bytes += data.len();
                }
            }
            assert_eq!(bytes, 64 * PIECE.len());
        };
        tokio::join!(sending, receiving);
    };
    timeout(PATIENCE, passing).await.expect("it is not held up");
}

#[tokio::test]
async fn a_path_with_room_carries_large_packets_both_ways() {
    let pair = Pair::connect().await;
    for _ in 0..4 {
        let (mut edge, mut agent) = http_stream(&pair).await;
        pass(&mut edge.0, &mut agent.1).await;
        let (mut edge, mut agent) = answering(&pair).await;
        pass(&mut agent.0, &mut edge.1).await;
    }
    // The search ends within 20 bytes of the most that is tried (RFC 8899, section 5.3.2, leaves the step to the sender).
    for side in [&pair.edge, &pair.agent] {
        assert!(
            (6_480..=6_500).contains(&side.packet_bytes().unwrap()),
            "{side:?}"
        );
    }
}

#[tokio::test]
async fn requests_that_no_agent_reads_hold_up_no_other() {
    let pair = Pair::connect().await;
    let mut unread = Vec::new();
    for _ in 0..UNREAD {
        unread.push(http_stream(&pair).await);
    }
    join_all(unread.iter_mut().map(|(edge, _)| fill(&mut edge.0))).await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    pass(&mut edge.0, &mut agent.1).await;
}

#[tokio::test]
async fn answers_that_no_edge_reads_hold_up_no_other() {
    let pair = Pair::connect().await;
    let mut unread = Vec::new();
    for _ in 0..UNREAD {
        unread.push(answering(&pair).await);
    }
    join_all(unread.iter_mut().map(|(_, agent)| fill(&mut agent.0))).await;
    let (mut edge, mut agent) = answering(&pair).await;
    pass(&mut agent.0, &mut edge.1).await;
}

async fn answering(pair: &Pair) -> (Halves, Halves) {
    let (edge, mut agent) = http_stream(pair).await;
    agent
        .0
        .queue(ResponseHead {
            status: 200,
            body_streamed: true,
            ..Default::default()
        })
        .unwrap();
    (edge, agent)
}
