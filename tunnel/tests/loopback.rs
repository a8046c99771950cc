//! Streams, handshakes and steering over real QUIC on loopback.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "loopback/handshakes.rs"]
mod handshakes;
#[path = "loopback/pair.rs"]
mod pair;
#[path = "loopback/windows.rs"]
mod windows;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::join};
use http::HeaderMap;
use pair::{
    Bare, Certificates, Pair, dial, edge_endpoints, edge_endpoints_at, http_stream, request,
};
use proto::tunnel::{End, ErrorInfo, RequestHead, ResponseHead};
use tunnel::{
    Closed, Code, Frame, Kind, RecvError, SendError,
    frame::{FrameError, OrderError},
    quic::{AgentEndpoint, KEEP_ALIVE, Knock, ResetKey, Target},
    steering::Worker,
};

fn response() -> Frame {
    Frame::from(ResponseHead {
        status: 200,
        ..ResponseHead::default()
    })
}

fn end(body_bytes: u64) -> Frame {
    Frame::End(End {
        body_bytes,
        timings: None,
    })
}

#[tokio::test]
async fn a_request_and_its_answer_come_whole() {
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    edge.0.end(End::default()).await.unwrap();
    assert_eq!(agent.1.next().await, Ok(Some(request())));
    assert_eq!(agent.1.next().await, Ok(Some(end(0))));
    assert_eq!(agent.1.next().await, Ok(None));
    assert_eq!(agent.1.next().await, Ok(None));

    agent.0.queue(response()).unwrap();
    agent
        .0
        .queue(Frame::Data(Bytes::from_static(b"hello")))
        .unwrap();
    agent.0.queue(Frame::Trailers(HeaderMap::new())).unwrap();
    agent.0.end(End::default()).await.unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = edge.1.next().await.unwrap() {
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
async fn a_dropped_send_half_is_a_reset_and_never_an_end() {
    let pair = Pair::connect().await;
    let (edge, mut agent) = http_stream(&pair).await;
    assert_eq!(agent.1.next().await, Ok(Some(request())));
    drop(edge.0);
    let reset = Err(RecvError::Reset(Code::Unspecified));
    assert_eq!(agent.1.next().await, reset);
    assert_eq!(agent.1.next().await, reset);
}

#[tokio::test]
async fn an_end_that_was_queued_but_not_flushed_is_a_reset() {
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    assert_eq!(agent.1.next().await, Ok(Some(request())));
    edge.0.queue(end(0)).unwrap();
    drop(edge);
    assert_eq!(
        agent.1.next().await,
        Err(RecvError::Reset(Code::Unspecified))
    );
}

#[tokio::test]
async fn a_reset_carries_its_code() {
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    edge.0.reset(Code::Cancelled);
    assert_eq!(edge.0.flush().await, Err(SendError::Closed));
    loop {
        match agent.1.next().await {
            Ok(Some(frame)) => assert_eq!(frame, request()),
            outcome => return assert_eq!(outcome, Err(RecvError::Reset(Code::Cancelled))),
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_without_end_is_truncated() {
    for bytes in [
        &b"\x02\x01\x00"[..],
        b"\x02\x01\x00\x00\x02ab",
        b"\x02\x01\x00\x00\x05ab",
        b"\x02",
    ] {
        let pair = Bare::connect().await;
        let (mut send, _recv) = pair.say(bytes).await;
        send.finish().unwrap();
        let (_send, mut recv) = pair.hear().await;
        let mut outcome = recv.next().await;
        while let Ok(Some(_)) = outcome {
            outcome = recv.next().await;
        }
        assert_eq!(outcome, Err(RecvError::Truncated));
        assert_eq!(recv.next().await, Err(RecvError::Truncated));
    }
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
    assert_eq!(edge.1.next().await, Ok(Some(Frame::Error(error))));
    assert_eq!(edge.1.next().await, Ok(None));
}

#[tokio::test]
async fn a_dropped_recv_half_stops_the_peer() {
    let pair = Pair::connect().await;
    let (edge, mut agent) = http_stream(&pair).await;
    let stopped = agent.0.stopped();
    drop(edge.1);
    assert_eq!(stopped.await, Some(Code::Cancelled));
    agent.0.queue(response()).unwrap();
    assert_eq!(
        agent.0.flush().await,
        Err(SendError::Stopped(Code::Cancelled))
    );
    assert!(agent.0.is_closed());
}

#[tokio::test]
async fn an_upload_is_stopped_while_the_answer_is_read() {
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    agent.0.queue(response()).unwrap();
    agent.0.end(End::default()).await.unwrap();
    agent.1.stop(Code::BodyNotNeeded);
    assert_eq!(agent.1.next().await, Err(RecvError::Stopped));
    assert_eq!(edge.0.stopped().await, Some(Code::BodyNotNeeded));
    assert_eq!(edge.1.next().await, Ok(Some(response())));
    assert_eq!(edge.1.next().await, Ok(Some(end(0))));
    assert_eq!(edge.1.next().await, Ok(None));
}

#[tokio::test]
async fn a_stream_read_to_its_end_is_not_stopped_when_dropped() {
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    edge.0.end(End::default()).await.unwrap();
    while agent.1.next().await.unwrap().is_some() {}
    drop(agent.1);
    assert_eq!(edge.0.stopped().await, None);
}

#[tokio::test]
async fn a_reader_that_does_not_read_blocks_the_writer_at_the_window() {
    const WINDOW: u64 = 1024 * 1024;
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    let piece = Bytes::from(vec![7; 64 * 1024]);
    while edge.0.data(piece.clone()).now_or_never().is_some() {}
    let written = edge.0.body_bytes();
    assert!(
        (WINDOW..=WINDOW + 128 * 1024).contains(&written),
        "{written}"
    );

    // Another stream passes by, and the first is blocked still.
    let (mut other_edge, mut other_agent) = http_stream(&pair).await;
    other_agent.0.send(response()).await.unwrap();
    assert_eq!(other_edge.1.next().await, Ok(Some(response())));
    assert_eq!(other_agent.1.next().await, Ok(Some(request())));
    assert!(edge.0.flush().now_or_never().is_none());

    // The cancelled write stayed queued, and all of it arrives once somebody reads.
    let write = async { edge.0.end(End::default()).await.unwrap() };
    let read = async {
        let mut read = 0;
        let mut largest = 0;
        while let Some(frame) = agent.1.next().await.unwrap() {
            if let Frame::Data(data) = frame {
                read += data.len() as u64;
                largest = largest.max(data.len());
            }
        }
        (read, largest)
    };
    let ((), (read, largest)) = join(write, read).await;
    assert_eq!(read, written);
    assert!(largest > 8 * 1024, "read packet by packet: {largest}");
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    const PIECES: usize = 200;
    let pair = Pair::connect().await;
    let (edge, mut agent) = http_stream(&pair).await;
    agent.0.queue(response()).unwrap();
    let piece = Bytes::from(vec![3; 40_000]);
    let write = |mut half: tunnel::SendHalf| {
        let piece = piece.clone();
        async move {
            for _ in 0..PIECES {
                half.data(piece.clone()).await.unwrap();
            }
            half.end(End::default()).await.unwrap();
        }
    };
    let read = |mut half: tunnel::RecvHalf| async move {
        let mut bytes = 0;
        while let Some(frame) = half.next().await.unwrap() {
            if let Frame::Data(data) = frame {
                assert!(data.iter().all(|byte| *byte == 3));
                bytes += data.len();
            }
        }
        bytes
    };
    let (_, (up, down)) = join(
        join(write(edge.0), write(agent.0)),
        join(read(agent.1), read(edge.1)),
    )
    .await;
    assert_eq!((up, down), (PIECES * 40_000, PIECES * 40_000));
}

#[tokio::test]
async fn frames_out_of_order_are_not_sent() {
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    assert!(matches!(
        edge.0.send(response()).await,
        Err(SendError::Order(_))
    ));
    edge.0.end(End::default()).await.unwrap();
    assert_eq!(edge.0.queue(request()), Err(SendError::Closed));
    assert_eq!(agent.1.next().await, Ok(Some(request())));
    assert_eq!(agent.1.next().await, Ok(Some(end(0))));
}

#[tokio::test]
async fn a_full_queue_takes_no_more_until_it_is_flushed() {
    let pair = Pair::connect().await;
    let (mut edge, _agent) = http_stream(&pair).await;
    let piece = Frame::Data(vec![7; tunnel::stream::QUEUE_BYTES_MAX].into());
    edge.0.queue(piece.clone()).unwrap();
    assert_eq!(edge.0.queue(piece.clone()), Err(SendError::QueueFull));
    edge.0.flush().await.unwrap();
    edge.0.queue(piece).unwrap();
}

#[tokio::test]
async fn bytes_after_end_break_the_protocol_and_stop_the_peer() {
    let pair = Bare::connect().await;
    let (send, _recv) = pair.say(b"\x02\x01\x00\x04\x00\x00\x01x").await;
    let (_send, mut recv) = pair.hear().await;
    assert_eq!(
        recv.next().await,
        Ok(Some(Frame::from(RequestHead::default())))
    );
    assert_eq!(recv.next().await, Ok(Some(end(0))));
    assert!(matches!(
        recv.next().await,
        Err(RecvError::Protocol(FrameError::Order(
            OrderError::Misplaced { .. }
        )))
    ));
    assert_eq!(
        send.stopped().await.unwrap(),
        Some(u32::from(Code::Protocol).into())
    );
}

#[tokio::test]
async fn an_unknown_kind_of_stream_is_broken_off() {
    let pair = Bare::connect().await;
    let (send, _recv) = pair.say(b"\x3f").await;
    let accepted = pair.agent.accept().await.unwrap();
    assert!(matches!(
        accepted.kind().await,
        Err(RecvError::Protocol(FrameError::UnknownKind(0x3f)))
    ));
    assert_eq!(
        send.stopped().await.unwrap(),
        Some(u32::from(Code::Protocol).into())
    );
}

#[tokio::test]
async fn a_refused_stream_tells_its_code() {
    let pair = Pair::connect().await;
    let (mut send, mut recv) = pair.edge.open(Kind::Http).await.unwrap();
    send.send(request()).await.unwrap();
    pair.agent.accept().await.unwrap().refuse(Code::Draining);
    assert_eq!(recv.next().await, Err(RecvError::Reset(Code::Draining)));
    assert_eq!(send.stopped().await, Some(Code::Draining));
}

#[tokio::test]
async fn a_lost_connection_surfaces_on_its_streams() {
    let pair = Pair::connect().await;
    let (mut edge, _agent) = http_stream(&pair).await;
    pair.agent.close(Code::Draining, "leaving");
    let lost = Closed::ByPeer {
        code: Code::Draining,
        reason: "leaving".into(),
    };
    assert_eq!(pair.edge.closed().await, lost);
    assert_eq!(
        edge.1.next().await,
        Err(RecvError::ConnectionLost(lost.clone()))
    );
    assert_eq!(
        edge.0.end(End::default()).await,
        Err(SendError::ConnectionLost(lost.clone()))
    );
    assert_eq!(pair.edge.close_reason(), Some(lost));
    assert!(pair.edge.is_closed() && pair.agent.is_closed());
    assert_eq!(pair.agent.close_reason(), Some(Closed::Here));
}

#[tokio::test]
async fn a_dropped_read_loses_nothing() {
    let pair = Pair::connect().await;
    let (mut edge, mut agent) = http_stream(&pair).await;
    assert_eq!(agent.1.next().await, Ok(Some(request())));
    assert!(agent.1.next().now_or_never().is_none());
    edge.0.end(End::default()).await.unwrap();
    assert_eq!(agent.1.next().await, Ok(Some(end(0))));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn connections_reach_the_worker_they_ask_for() {
    let certificates = Certificates::new();
    let edges = edge_endpoints(&certificates, 2);
    for round in 0..8_u32 {
        let worker = Worker::new(round % 2, 2).unwrap();
        let edge = &edges[usize::from(worker.index())];
        let agent = AgentEndpoint::new().unwrap();
        let (at_edge, at_agent) = dial(edge, &agent, &certificates, Some(worker)).await;
        // Packets after the handshake bear the ID that the edge chose.
        let (mut send, mut recv) = at_edge.open(Kind::Probe).await.unwrap();
        send.send(request()).await.unwrap();
        let (kind, mut reply, _requests) = at_agent.accept().await.unwrap().kind().await.unwrap();
        assert_eq!(kind, Kind::Probe);
        reply.queue(response()).unwrap();
        reply.end(End::default()).await.unwrap();
        assert_eq!(recv.next().await, Ok(Some(response())));
    }
}

/// An agent's connection to an edge that then dies without a word, and where that edge was.
async fn connection_to_killed_edge(
    certificates: &Arc<Certificates>,
    agent: &AgentEndpoint,
    resets: &ResetKey,
) -> (SocketAddr, tunnel::Connection) {
    let (tell, told) = tokio::sync::oneshot::channel();
    let (shown, resets) = (Arc::clone(certificates), resets.clone());
    let edge = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let held = runtime.block_on(async {
            let anywhere = (Ipv4Addr::LOCALHOST, 0).into();
            let edge = edge_endpoints_at(anywhere, &shown, 1, &resets).pop();
            let edge = edge.unwrap();
            tell.send(edge.local_addr().unwrap()).unwrap();
            let knock = edge.accept().await.and_then(Knock::agent);
            (knock.unwrap().finish().await.unwrap(), edge)
        });
        // The tasks that would send a farewell go first.
        drop(runtime);
        drop(held);
    });
    let address = told.await.unwrap();
    let target = Target {
        address,
        server_name: "edge.test".into(),
        worker: None,
    };
    let tls = Arc::new(certificates.client_config(certificates));
    let connection = agent.connect(&target, &tls).await.unwrap();
    let ended = tokio::task::spawn_blocking(|| edge.join());
    ended.await.unwrap().unwrap();
    (address, connection)
}

#[tokio::test]
async fn an_edge_that_was_killed_resets_its_earlier_connections_by_the_kept_key() {
    let certificates = Arc::new(Certificates::new());
    let resets = ResetKey::random();
    for (key, is_reset) in [(&resets, true), (&ResetKey::random(), false)] {
        let agent = AgentEndpoint::new().unwrap();
        let (address, connection) = connection_to_killed_edge(&certificates, &agent, &resets).await;
        let _again = edge_endpoints_at(address, &certificates, 1, key);
        // Far below the idle time-out of 20 s, above the keep-alive of 2 s.
        let closed = tokio::time::timeout(Duration::from_secs(8), connection.closed()).await;
        assert_eq!(closed.ok(), is_reset.then_some(Closed::Silent));
    }
}

#[tokio::test]
async fn an_idle_connection_shows_both_sides_that_the_other_lives() {
    let pair = Pair::connect().await;
    // What settles a new connection is over by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (edge, agent) = (pair.edge.heard(), pair.agent.heard());
    tokio::time::sleep(KEEP_ALIVE + Duration::from_secs(1)).await;
    assert!(pair.edge.heard() > edge, "the agent asks");
    assert!(pair.agent.heard() > agent, "the edge answers");
}
