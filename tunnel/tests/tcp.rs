//! The tunnel over HTTP/2 on loopback: what holds over QUIC, and what HTTP/2 makes different.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "tcp/pair.rs"]
mod pair;
#[path = "tcp/rude.rs"]
mod rude;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{join, join_all},
};
use http::HeaderMap;
use pair::{Pair, end, http_stream, nobody, request, response};
use proto::tunnel::{End, ErrorInfo, Hello, Ping, Welcome};
use tokio::time::{sleep, timeout};
use tunnel::{
    Closed, Code, Frame, Kind, RecvError, RecvHalf, SendError, SendHalf, Transport,
    control::{self, HandshakeError, Message},
    quic, tcp,
};

/// Nothing on loopback takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// A sender that moves nothing for so long on loopback is held up.
const HELD_UP: Duration = Duration::from_millis(300);
const STREAM_WINDOW: u64 = 1024 * 1024;
/// What a stalled stream takes at most: its window, and what waits at the sender.
const FILL_BYTES: u64 = STREAM_WINDOW + 512 * 1024;
const PIECE: Bytes = Bytes::from_static(&[7; 64 * 1024]);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it hangs")
}

/// Everything up to the end, or what ended it; the bytes of DATA are counted.
async fn read_all(recv: &mut RecvHalf) -> (u64, Result<(), RecvError>) {
    let mut bytes = 0;
    loop {
        match soon(recv.next()).await {
            Ok(Some(Frame::Data(data))) => bytes += data.len() as u64,
            Ok(Some(_)) => {}
            Ok(None) => return (bytes, Ok(())),
            Err(error) => return (bytes, Err(error)),
        }
    }
}

/// Sends until the peer's window is full.
async fn fill(send: &mut SendHalf) -> u64 {
    while timeout(HELD_UP, send.data(PIECE)).await.is_ok() {
        assert!(send.body_bytes() < FILL_BYTES, "no window holds it back");
    }
    send.body_bytes()
}

#[tokio::test]
async fn a_request_and_its_answer_come_whole() {
    let pair = Pair::connect().await;
    assert_eq!(pair.edge.transport(), Transport::Tcp);
    let (mut edge, mut agent) = http_stream(&pair).await;
    edge.0.end(End::default()).await.unwrap();
    assert_eq!(agent.1.next().await, Ok(Some(request())));
    assert_eq!(agent.1.next().await, Ok(Some(end(0))));
    assert_eq!(agent.1.next().await, Ok(None));
    agent.0.queue(response()).unwrap();
    agent
        .0
        .queue(Frame::Data(Bytes::from_static(b"hello")))
        .unwrap();
    agent.0.queue(Frame::Trailers(HeaderMap::new())).unwrap();
    agent.0.end(End::default()).await.unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = soon(edge.1.next()).await.unwrap() {
        frames.push(frame);
    }
    let body = Frame::Data(Bytes::from_static(b"hello"));
    assert_eq!(
        frames,
        [response(), body, Frame::Trailers(HeaderMap::new()), end(5)]
    );
    assert_eq!(agent.0.stopped().await, None);
}

#[tokio::test]
async fn hello_and_welcome_make_a_link() {
    let pair = Pair::connect().await;
    let hello = Hello {
        versions: vec![1],
        ..Hello::default()
    };
    let (edge, agent) = soon(join(
        control::edge_handshake(&pair.edge, |_| Ok(Welcome::default())),
        control::agent_handshake(&pair.agent, hello),
    ))
    .await;
    let (_, mut edge_sender, _edge_receiver) = edge.unwrap();
    let (welcome, _agent_sender, mut agent_receiver) = agent.unwrap();
    assert_eq!(welcome.version, 1);
    let ping = Message::Ping(Ping { nonce: 9 });
    edge_sender.send(ping.clone()).await.unwrap();
    assert_eq!(soon(agent_receiver.next()).await, Ok(Some(ping)));
}

#[tokio::test]
async fn resets_carry_their_codes_both_ways_and_end_both_halves() {
    for code in Code::ALL {
        if code == Code::Truncated {
            continue;
        }
        let pair = Pair::connect().await;
        let (mut edge, mut agent) = http_stream(&pair).await;
        edge.0.reset(code);
        assert_eq!(edge.0.flush().await, Err(SendError::Closed));
        assert_eq!(read_all(&mut agent.1).await.1, Err(RecvError::Reset(code)));
        assert_eq!(soon(agent.0.stopped()).await, Some(code));
        agent.0.queue(response()).unwrap();
        assert_eq!(agent.0.flush().await, Err(SendError::Stopped(code)));

        let (mut edge, mut agent) = http_stream(&pair).await;
        agent.0.reset(code);
        assert_eq!(read_all(&mut edge.1).await.1, Err(RecvError::Reset(code)));
        assert_eq!(soon(edge.0.stopped()).await, Some(code));
    }
}

#[tokio::test]
async fn a_truncated_upload_leaves_the_answer_as_it_is() {
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    edge.0.data(PIECE).await.unwrap();
    edge.0.reset(Code::Truncated);
    assert_eq!(
        read_all(&mut agent.1).await,
        (PIECE.len() as u64, Err(RecvError::Truncated))
    );
    agent.0.queue(response()).unwrap();
    agent.0.end(End::default()).await.unwrap();
    assert_eq!(read_all(&mut edge.1).await, (0, Ok(())));
}

#[tokio::test]
async fn a_dropped_send_half_is_a_reset_and_never_an_end() {
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    edge.0.queue(end(0)).unwrap();
    drop(edge);
    let reset = Err(RecvError::Reset(Code::Unspecified));
    assert_eq!(read_all(&mut agent.1).await.1, reset);
}

#[tokio::test]
async fn error_surfaces_with_its_reason() {
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    let error = ErrorInfo {
        code: Code::OriginConnect.into(),
        reason: "origin_refused".into(),
        ..ErrorInfo::default()
    };
    agent.0.error(error.clone()).await.unwrap();
    assert_eq!(soon(edge.1.next()).await, Ok(Some(Frame::Error(error))));
    assert_eq!(soon(edge.1.next()).await, Ok(None));
}

#[tokio::test]
async fn a_reader_who_leaves_after_the_request_stops_the_answer_with_its_code() {
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    edge.0.end(End::default()).await.unwrap();
    assert_eq!(read_all(&mut agent.1).await, (0, Ok(())));
    agent.0.queue(response()).unwrap();
    fill(&mut agent.0).await;
    edge.1.stop(Code::Cancelled);
    assert_eq!(edge.1.next().await, Err(RecvError::Stopped));
    assert_eq!(soon(agent.0.stopped()).await, Some(Code::Cancelled));
    let sent = soon(agent.0.data(PIECE)).await;
    assert_eq!(sent, Err(SendError::Stopped(Code::Cancelled)));
}

#[tokio::test]
async fn a_reader_who_leaves_early_ends_the_upload_too() {
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    edge.1.stop(Code::Cancelled);
    assert_eq!(soon(agent.0.stopped()).await, Some(Code::Cancelled));
    let cancelled = Err(RecvError::Reset(Code::Cancelled));
    assert_eq!(read_all(&mut agent.1).await.1, cancelled);
    assert!(edge.0.data(PIECE).await.is_err());
}

#[tokio::test]
async fn an_upload_that_is_not_needed_is_taken_until_the_answer_ends() {
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    agent.0.send(response()).await.unwrap();
    agent.1.stop(Code::BodyNotNeeded);
    assert_eq!(agent.1.next().await, Err(RecvError::Stopped));
    // Far more than a window: what nobody reads is thrown away.
    for _ in 0..64 {
        soon(edge.0.data(PIECE)).await.unwrap();
    }
    agent.0.data(PIECE).await.unwrap();
    agent.0.end(End::default()).await.unwrap();
    drop(agent);
    assert_eq!(
        read_all(&mut edge.1).await,
        (PIECE.len() as u64, Ok(())),
        "the answer is whole although its stream was reset behind it"
    );
    assert_eq!(soon(edge.0.stopped()).await, Some(Code::BodyNotNeeded));
}

#[tokio::test]
async fn a_reader_that_does_not_read_blocks_the_writer_at_the_window_and_nobody_else() {
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    let written = fill(&mut edge.0).await;
    assert!((STREAM_WINDOW..FILL_BYTES).contains(&written), "{written}");
    let (mut other_edge, mut other_agent) = http_stream(&pair).await;
    other_agent.0.send(response()).await.unwrap();
    assert_eq!(soon(other_edge.1.next()).await, Ok(Some(response())));
    assert!(edge.0.flush().now_or_never().is_none());
    // The cancelled write stayed queued, and all of it arrives once somebody reads.
    let write = async { edge.0.end(End::default()).await.unwrap() };
    let ((), (read, ended)) = soon(join(write, read_all(&mut agent.1))).await;
    assert_eq!((read, ended), (written, Ok(())));
}

#[tokio::test]
async fn streams_that_nobody_reads_leave_the_others_their_room() {
    const UNREAD: usize = 70;
    let pair = Pair::connect().await;
    let mut unread = Vec::new();
    for _ in 0..UNREAD {
        unread.push(http_stream(&pair).await);
    }
    join_all(unread.iter_mut().map(|(_, agent)| async {
        agent.0.queue(response()).unwrap();
        fill(&mut agent.0).await
    }))
    .await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    agent.0.queue(response()).unwrap();
    let sending = async {
        for _ in 0..64 {
            agent.0.data(PIECE).await.unwrap();
        }
        agent.0.end(End::default()).await.unwrap();
    };
    let ((), (bytes, ended)) = soon(join(sending, read_all(&mut edge.1))).await;
    assert_eq!((bytes, ended), (64 * PIECE.len() as u64, Ok(())));
}

#[tokio::test]
async fn a_refused_stream_tells_its_code() {
    let pair = Pair::connect().await;
    let (mut send, mut recv) = pair.edge.open(Kind::Http).await.unwrap();
    send.send(request()).await.unwrap();
    soon(pair.agent.accept())
        .await
        .unwrap()
        .refuse(Code::Draining);
    assert_eq!(
        soon(recv.next()).await,
        Err(RecvError::Reset(Code::Draining))
    );
    assert_eq!(soon(send.stopped()).await, Some(Code::Draining));
}

#[tokio::test]
async fn each_side_hears_why_the_other_closes() {
    for agent_closes in [false, true] {
        let pair = Pair::connect().await;
        let (mut edge, mut agent) = http_stream(&pair).await;
        let (closing, other) = if agent_closes {
            (&pair.agent, &pair.edge)
        } else {
            (&pair.edge, &pair.agent)
        };
        closing.close(Code::Draining, "leaving");
        closing.close(Code::Internal, "too late");
        let lost = Closed::ByPeer {
            code: Code::Draining,
            reason: "leaving".into(),
        };
        assert_eq!(soon(other.closed()).await, lost);
        assert_eq!(closing.close_reason(), Some(Closed::Here));
        let heard = if agent_closes {
            read_all(&mut edge.1).await.1
        } else {
            read_all(&mut agent.1).await.1
        };
        assert_eq!(heard, Err(RecvError::ConnectionLost(lost.clone())));
        assert!(other.open(Kind::Http).await.is_err());
        assert!(soon(pair.agent.accept()).await.is_err());
        soon(pair.over()).await;
    }
}

/// As on a busy machine: the other side was gone before this one came to read.
#[tokio::test]
async fn a_farewell_is_heard_though_the_end_came_with_it() {
    for agent_closes in [false, true] {
        let (edge, agent) = pair::sockets().await;
        let (edge, mut edge_driver) = tcp::edge(edge, nobody()).await.unwrap();
        let begun = tokio::select! {
            begun = tcp::agent(agent, nobody()) => begun,
            () = &mut edge_driver => panic!("the edge is gone"),
        };
        let (agent, agent_driver) = begun.unwrap();
        let (closing, slow) = if agent_closes {
            ((agent, agent_driver), (edge, edge_driver))
        } else {
            ((edge, edge_driver), (agent, agent_driver))
        };
        closing.0.close(Code::Refused, "too many links");
        soon(closing.1).await;
        soon(slow.1).await;
        let heard = Closed::ByPeer {
            code: Code::Refused,
            reason: "too many links".into(),
        };
        assert_eq!(slow.0.close_reason(), Some(heard), "{agent_closes}");
    }
}

#[tokio::test]
async fn an_agent_that_is_turned_away_hears_why_though_its_control_stream_broke_off_first() {
    let pair = Pair::connect().await;
    let turning_away = async {
        drop(pair.edge.open(Kind::Control).await.unwrap());
        sleep(HELD_UP).await;
        pair.edge.close(Code::Refused, "too many links");
    };
    let hello = control::agent_handshake(&pair.agent, Hello::default());
    let (welcomed, ()) = soon(join(hello, turning_away)).await;
    let refused = matches!(
        &welcomed,
        Err(HandshakeError::Closed(Closed::ByPeer {
            code: Code::Refused,
            ..
        }))
    );
    assert!(refused, "{welcomed:?}");
}

#[tokio::test]
async fn what_was_written_arrives_before_the_farewell() {
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    agent.0.queue(response()).unwrap();
    for _ in 0..12 {
        agent.0.data(PIECE).await.unwrap();
    }
    agent.0.end(End::default()).await.unwrap();
    pair.agent.close(Code::Draining, "drained");
    soon(pair.edge.closed()).await;
    assert_eq!(
        read_all(&mut edge.1).await,
        (12 * PIECE.len() as u64, Ok(()))
    );
}

#[tokio::test]
async fn a_connection_that_nobody_holds_closes() {
    let Pair {
        edge,
        agent,
        drivers,
    } = Pair::connect().await;
    drop(edge);
    let gone = Closed::ByPeer {
        code: Code::Unspecified,
        reason: String::new(),
    };
    assert_eq!(soon(agent.closed()).await, gone);
    drop(agent);
    for driver in drivers {
        soon(driver).await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_lost_for_all_its_streams() {
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    for driver in &pair.drivers {
        driver.abort();
    }
    assert!(matches!(
        soon(pair.edge.closed()).await,
        Closed::Transport(_)
    ));
    assert!(matches!(
        read_all(&mut edge.1).await.1,
        Err(RecvError::ConnectionLost(Closed::Transport(_)))
    ));
    assert!(matches!(
        agent.0.send(response()).await,
        Err(SendError::ConnectionLost(Closed::Transport(_)))
    ));
}

#[tokio::test]
async fn thousands_of_readers_may_leave() {
    const LEAVERS: usize = 3_000;
    let pair = Pair::connect().await;
    for _ in 0..LEAVERS {
        let (mut edge, mut agent) = http_stream(&pair).await;
        edge.0.end(End::default()).await.unwrap();
        agent.0.queue(response()).unwrap();
        agent.0.data(PIECE).await.unwrap();
        drop(edge);
    }
    let (mut edge, mut agent) = http_stream(&pair).await;
    agent.0.send(response()).await.unwrap();
    assert_eq!(soon(edge.1.next()).await, Ok(Some(response())));
}

#[tokio::test]
async fn an_idle_connection_shows_both_sides_that_the_other_lives() {
    let pair = Pair::connect().await;
    sleep(HELD_UP).await;
    let (edge, agent) = (pair.edge.heard(), pair.agent.heard());
    sleep(quic::KEEP_ALIVE + HELD_UP).await;
    assert!(pair.edge.heard() > edge, "the agent asks");
    assert!(pair.agent.heard() > agent, "the edge answers");
    assert!(pair.edge.heard() - edge <= 2, "and no more than that");
}
