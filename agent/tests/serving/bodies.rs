//! Bodies: large, early, late and broken off.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::Response;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use proto::tunnel::RequestHead;
use tokio::{
    io::AsyncWriteExt as _,
    sync::{Notify, mpsc},
};
use tunnel::{
    codes::Code,
    frame::Frame,
    stream::{RecvHalf, SendHalf},
};

use crate::{
    edge::{Bench, Ending, answer, final_head, get, post, soon, stopped},
    origin::{ScriptedOrigin, read_body, read_head, read_to_close},
};

/// Far more than every window and buffer on the way together.
const LARGE_BYTES: u64 = 32 * 1024 * 1024;

/// Not a divisor of any frame.
const PIECE_BYTES: usize = 50_021;

/// Bytes that differ by position.
fn piece(offset: u64) -> Bytes {
    let left = usize::try_from(LARGE_BYTES - offset).unwrap();
    (offset..)
        .take(left.min(PIECE_BYTES))
        .map(|at| at.wrapping_mul(31).to_be_bytes()[6])
        .collect::<Vec<_>>()
        .into()
}

async fn send_large(send: &mut SendHalf) -> Vec<u8> {
    let mut digest = Context::new(&SHA256);
    let mut offset = 0;
    while offset < LARGE_BYTES {
        let piece = piece(offset);
        offset += piece.len() as u64;
        digest.update(&piece);
        send.data(piece).await.unwrap();
    }
    send.end(Default::default()).await.unwrap();
    digest.finish().as_ref().to_vec()
}

async fn receive_large(recv: &mut RecvHalf) -> (u64, Vec<u8>) {
    let mut digest = Context::new(&SHA256);
    let mut bytes = 0;
    while let Some(frame) = recv.next().await.unwrap() {
        if let Frame::Data(data) = frame {
            digest.update(&data);
            bytes += data.len() as u64;
        }
    }
    (bytes, digest.finish().as_ref().to_vec())
}

async fn echo() -> ScriptedOrigin {
    ScriptedOrigin::start(|stream, _| async move {
        let service = service_fn(|request: http::Request<Incoming>| async move {
            Ok::<_, std::convert::Infallible>(Response::new(request.into_body()))
        });
        let served = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
        drop(served);
    })
    .await
}

#[tokio::test]
async fn large_bodies_pass_unchanged_both_ways_at_once() {
    let origin = echo().await;
    let bench = Bench::of(&origin.url()).await;
    for length in [Some(LARGE_BYTES), None] {
        let (mut send, mut recv) = bench.open(post("/", length)).await;
        let (sent, (bytes, received)) =
            soon(async { tokio::join!(send_large(&mut send), receive_large(&mut recv)) }).await;
        assert_eq!(bytes, LARGE_BYTES);
        assert_eq!(sent, received);
    }
}

#[tokio::test]
async fn an_early_answer_stops_the_upload_and_arrives_whole() {
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge";
        stream.write_all(answer).await.unwrap();
        read_to_close(&mut stream).await;
    })
    .await;
    let bench = Bench::of(&origin.url()).await;
    let (mut send, mut recv) = bench.open(post("/", Some(LARGE_BYTES))).await;
    soon(send.data(piece(0))).await.unwrap();
    let answer = soon(answer(&mut recv)).await;
    assert_eq!((answer.status(), answer.text()), (413, "large".to_owned()));
    assert_eq!(stopped(&send).await, Some(Code::BodyNotNeeded));
}

#[tokio::test]
async fn an_early_answer_survives_an_origin_that_closes_on_the_upload() {
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        let answer =
            b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\nconnection: close\r\n\r\nlarge";
        stream.write_all(answer).await.unwrap();
        // Unread bytes make this close a reset.
    })
    .await;
    let bench = Bench::of(&origin.url()).await;
    for _ in 0..20 {
        let (mut send, mut recv) = bench.open(post("/", Some(LARGE_BYTES))).await;
        let upload = async {
            let mut offset = 0;
            while offset < LARGE_BYTES {
                let piece = piece(offset);
                offset += piece.len() as u64;
                if send.data(piece).await.is_err() {
                    return;
                }
            }
        };
        let (answer, ()) = soon(async { tokio::join!(answer(&mut recv), upload) }).await;
        // The kernel may drop what was not read yet when the reset comes; then it must be an error, never half an answer.
        match &answer.end {
            Ending::End => assert_eq!((answer.status(), answer.text()), (413, "large".to_owned())),
            _ => assert_eq!(answer.error().reason, "origin_reset"),
        }
    }
}

#[tokio::test]
async fn a_user_who_leaves_ends_the_origins_request() {
    let (reached, mut reaches) = mpsc::channel(1);
    let (left, mut leaves) = mpsc::channel(1);
    let origin = ScriptedOrigin::start(move |mut stream, _| {
        let (reached, left) = (reached.clone(), left.clone());
        async move {
            read_head(&mut stream).await.unwrap();
            reached.send(()).await.unwrap();
            left.send(read_to_close(&mut stream).await).await.unwrap();
        }
    })
    .await;
    let bench = Bench::of(&origin.url()).await;
    let (mut send, mut recv) = bench.open(get("/slow")).await;
    soon(send.end(Default::default())).await.unwrap();
    soon(reaches.recv()).await.unwrap();
    recv.stop(Code::Cancelled);
    assert_eq!(soon(leaves.recv()).await, Some(0));
}

#[tokio::test]
async fn a_user_who_leaves_in_the_midst_of_an_answer_ends_it() {
    let (left, mut leaves) = mpsc::channel(1);
    let origin = ScriptedOrigin::start(move |mut stream, _| {
        let left = left.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n.\r\n";
            stream.write_all(head).await.unwrap();
            left.send(read_to_close(&mut stream).await).await.unwrap();
        }
    })
    .await;
    let bench = Bench::of(&origin.url()).await;
    let (mut send, mut recv) = bench.open(get("/hang")).await;
    soon(send.end(Default::default())).await.unwrap();
    assert_eq!(final_head(&mut recv).await.status, 200);
    recv.stop(Code::Cancelled);
    assert_eq!(soon(leaves.recv()).await, Some(0));
}

#[tokio::test]
async fn half_an_upload_is_never_a_whole_one() {
    for length in [Some(10), None] {
        let (got, mut gets) = mpsc::channel(1);
        let origin = ScriptedOrigin::start(move |mut stream, _| {
            let got = got.clone();
            async move {
                let head = read_head(&mut stream).await.unwrap();
                let chunked = head.contains("chunked");
                let first = if chunked { "4\r\nhalf\r\n" } else { "half" };
                read_body(&mut stream, first.len()).await;
                got.send(None).await.unwrap();
                // Not even the last chunk, which would make it whole.
                got.send(Some(read_to_close(&mut stream).await))
                    .await
                    .unwrap();
            }
        })
        .await;
        let bench = Bench::of(&origin.url()).await;
        let (mut send, mut recv) = bench.open(post("/", length)).await;
        soon(send.data(Bytes::from_static(b"half"))).await.unwrap();
        assert_eq!(soon(gets.recv()).await, Some(None));
        send.reset(Code::Cancelled);
        assert_eq!(soon(gets.recv()).await, Some(Some(0)));
        let answer = soon(answer(&mut recv)).await;
        assert!(!matches!(answer.end, Ending::End), "{answer:?}");
    }
}

#[tokio::test]
async fn an_upload_of_another_length_than_told_is_broken_off() {
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        read_to_close(&mut stream).await;
    })
    .await;
    let bench = Bench::of(&origin.url()).await;
    for body in [&b"short"[..], b"much too long"] {
        let answer = bench.ask(post("/", Some(8)), body).await;
        assert_eq!(answer.error().reason, "tunnel_protocol");
    }
}

#[tokio::test]
async fn a_user_who_reads_nothing_holds_the_origin_back() {
    let written = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (counted, stuck) = (Arc::clone(&written), Arc::new(Notify::new()));
    let signal = Arc::clone(&stuck);
    let origin = ScriptedOrigin::start(move |mut stream, _| {
        let (written, stuck) = (Arc::clone(&counted), Arc::clone(&signal));
        async move {
            read_head(&mut stream).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE_BYTES}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut offset = 0;
            while offset < LARGE_BYTES {
                let piece = piece(offset);
                let mut write = std::pin::pin!(stream.write_all(&piece));
                tokio::select! {
                    biased;
                    outcome = &mut write => outcome.unwrap(),
                    () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {
                        stuck.notify_one();
                        write.await.unwrap();
                    }
                }
                offset += piece.len() as u64;
                written.store(offset, std::sync::atomic::Ordering::SeqCst);
            }
        }
    })
    .await;
    let bench = Bench::of(&origin.url()).await;
    let (mut send, mut recv) = bench.open(get("/")).await;
    soon(send.end(Default::default())).await.unwrap();
    soon(stuck.notified()).await;
    let taken = written.load(std::sync::atomic::Ordering::SeqCst);
    // A stream's window, two buffers of the agent and those of the kernel.
    assert!(taken < 24 * 1024 * 1024, "{taken} bytes were taken unread");
    let (bytes, _) = soon(receive_large(&mut recv)).await;
    assert_eq!(bytes, LARGE_BYTES);
}

#[tokio::test]
async fn long_bodies_of_remote_desktops_flow_both_ways_for_as_long_as_they_like() {
    // Remote Desktop Gateway: one request whose answer never ends, one whose body never ends, each with a method of its own.
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
            .await
            .unwrap();
        if head.starts_with("rdg_in_data ") {
            // What comes in goes out, chunk by chunk, while neither side has ended.
            loop {
                let start = read_body(&mut stream, 5).await;
                if start == b"0\r\n\r\n" {
                    break;
                }
                let chunk = [start, read_body(&mut stream, 4).await].concat();
                stream.write_all(&chunk).await.unwrap();
            }
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
        read_to_close(&mut stream).await;
    })
    .await;
    let bench = Bench::of(&origin.url()).await;
    let named = |method: &'static str, head: RequestHead| RequestHead {
        method: method.into(),
        ..head
    };
    let (mut out, mut out_answer) = bench.open(named("RDG_OUT_DATA", get("/"))).await;
    soon(out.end(Default::default())).await.unwrap();
    assert_eq!(final_head(&mut out_answer).await.status, 200);
    let (mut send, mut recv) = bench.open(named("RDG_IN_DATA", post("/", None))).await;
    assert_eq!(final_head(&mut recv).await.status, 200);
    assert_eq!(data(&mut recv).await, "ok");
    for word in [&b"ping"[..], b"pong"] {
        soon(send.data(Bytes::from_static(word))).await.unwrap();
        assert_eq!(data(&mut recv).await, word);
    }
    assert_eq!(data(&mut out_answer).await, "ok");
    soon(send.end(Default::default())).await.unwrap();
    let rest = soon(answer(&mut recv)).await;
    assert!(matches!(rest.end, Ending::End), "{rest:?}");
}

async fn data(recv: &mut RecvHalf) -> Bytes {
    match soon(recv.next()).await.unwrap() {
        Some(Frame::Data(data)) => data,
        other => panic!("{other:?} instead of data"),
    }
}

#[tokio::test]
async fn answers_without_a_length_end_with_the_connection() {
    for answer in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall of it",
        "HTTP/1.0 200 OK\r\n\r\nall of it",
        "HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\nall of it",
    ] {
        let origin = ScriptedOrigin::start(move |mut stream, _| async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let bench = Bench::of(&origin.url()).await;
        for _ in 0..2 {
            let got = bench.get("/").await;
            assert_eq!((got.status(), got.text()), (200, "all of it".to_owned()));
        }
        assert_eq!(origin.connections(), 2, "{answer}");
    }
}
