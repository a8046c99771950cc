//! Origins that fail, and requests that are not served: each has its reason.

use std::time::Duration;

use agent::allow::AllowList;
use model::app::{AgentApp, Timeouts};
use proto::tunnel::RequestHead;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tunnel::codes::Code;

use crate::{
    edge::{Answer, Bench, app, get, post},
    origin::{ScriptedOrigin, nobody, read_head, read_to_close},
};

#[track_caller]
fn check(answer: &Answer, reason: &str, retry_safe: bool) {
    let error = answer.error();
    assert_eq!(error.reason, reason, "{error:?}");
    assert_eq!(error.retry_safe, retry_safe, "{error:?}");
}

#[tokio::test]
async fn an_app_that_the_agent_does_not_know_is_refused() {
    let bench = Bench::of(&nobody().await).await;
    let head = RequestHead {
        app: "other".to_owned(),
        ..get("/")
    };
    let answer = bench.ask(head, b"").await;
    check(&answer, "agent_refused", true);
    assert_eq!(Code::from(answer.error().code), Code::Refused);
}

#[tokio::test]
async fn an_origin_outside_the_allow_list_is_not_dialled() {
    let origin = ScriptedOrigin::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for (pattern, allowed) in [
        (format!("127.0.0.1:{}", origin.port()), true),
        (format!("127.0.0.0/8:{}", origin.port()), true),
        ("10.0.0.0/8:*".to_owned(), false),
        ("127.0.0.1:1".to_owned(), false),
    ] {
        let before = origin.connections();
        let allow = AllowList::new(vec![pattern.parse().unwrap()]);
        let bench = Bench::allowing(vec![app("app", &[&origin.url()])], allow).await;
        let answer = bench.get("/").await;
        if allowed {
            assert_eq!(answer.status(), 200, "{pattern}");
        } else {
            check(&answer, "agent_refused", true);
            assert_eq!(origin.connections(), before, "{pattern}");
        }
    }
}

#[tokio::test]
async fn metadata_addresses_are_not_dialled() {
    let bench = Bench::of("http://169.254.169.254").await;
    check(&bench.get("/").await, "agent_refused", true);
}

#[tokio::test]
async fn an_origin_that_is_not_there_is_told_of() {
    let bench = Bench::of(&nobody().await).await;
    check(&bench.get("/").await, "origin_connect", true);
}

#[tokio::test]
async fn a_name_without_an_address_is_told_of() {
    let bench = Bench::of("http://nowhere.invalid").await;
    check(&bench.get("/").await, "origin_connect", true);
}

/// Closes with a reset instead of an end.
fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}

#[tokio::test]
async fn an_origin_that_breaks_off_before_its_answer_is_told_of() {
    for resets in [false, true] {
        let origin = ScriptedOrigin::start(move |mut stream, _| async move {
            read_head(&mut stream).await.unwrap();
            if resets {
                reset(stream);
            }
        })
        .await;
        let bench = Bench::of(&origin.url()).await;
        check(&bench.get("/").await, "origin_reset", false);
    }
}

#[tokio::test]
async fn an_origin_that_speaks_no_http_is_told_of() {
    for answer in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    ] {
        let origin = ScriptedOrigin::answering(answer).await;
        let bench = Bench::of(&origin.url()).await;
        check(&bench.get("/").await, "origin_protocol", false);
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_short_never_ends_well() {
    for (answer, resets, reason) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
            false,
            "origin_protocol",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
            true,
            "origin_reset",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            false,
            "origin_reset",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzzz\r\n",
            false,
            "origin_protocol",
        ),
    ] {
        let origin = ScriptedOrigin::start(move |mut stream, _| async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            if resets {
                reset(stream);
            }
        })
        .await;
        let bench = Bench::of(&origin.url()).await;
        let got = bench.get("/").await;
        check(&got, reason, false);
    }
}

fn with_timeouts(url: &str, timeouts: Timeouts) -> Vec<AgentApp> {
    vec![AgentApp {
        timeouts,
        ..app("app", &[url])
    }]
}

/// Short enough for a test, long enough for loopback.
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn an_origin_that_does_not_answer_runs_out_of_time() {
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        read_to_close(&mut stream).await;
    })
    .await;
    let timeouts = Timeouts {
        response: SHORT,
        ..Timeouts::default()
    };
    let bench = Bench::with(with_timeouts(&origin.url(), timeouts)).await;
    check(&bench.get("/").await, "origin_timeout", false);
    check(
        &bench.ask(post("/", Some(4)), b"body").await,
        "origin_timeout",
        false,
    );
}

#[tokio::test]
async fn the_edges_own_patience_counts_too() {
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        read_to_close(&mut stream).await;
    })
    .await;
    let bench = Bench::of(&origin.url()).await;
    let head = RequestHead {
        deadline_ms: 200,
        ..get("/")
    };
    check(&bench.ask(head, b"").await, "origin_timeout", false);
}

#[tokio::test]
async fn an_answer_that_stops_in_its_midst_runs_out_of_time() {
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
        stream.write_all(begun).await.unwrap();
        read_to_close(&mut stream).await;
    })
    .await;
    let timeouts = Timeouts {
        idle: SHORT,
        ..Timeouts::default()
    };
    let bench = Bench::with(with_timeouts(&origin.url(), timeouts)).await;
    let answer = bench.get("/").await;
    assert_eq!(answer.text(), "abc");
    check(&answer, "origin_timeout", false);
}

#[tokio::test]
async fn a_user_who_stops_in_the_midst_of_an_upload_runs_out_of_time() {
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        read_to_close(&mut stream).await;
    })
    .await;
    let timeouts = Timeouts {
        idle: SHORT,
        ..Timeouts::default()
    };
    let bench = Bench::with(with_timeouts(&origin.url(), timeouts)).await;
    let (mut send, mut recv) = bench.open(post("/", Some(10))).await;
    send.data(bytes::Bytes::from_static(b"half")).await.unwrap();
    let answer = crate::edge::soon(crate::edge::answer(&mut recv)).await;
    check(&answer, "user_timeout", false);
}

#[tokio::test]
async fn an_answer_with_a_head_too_large_is_told_of() {
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(80 * 1024));
        stream.write_all(large.as_bytes()).await.unwrap();
        read_to_close(&mut stream).await;
    })
    .await;
    let bench = Bench::of(&origin.url()).await;
    check(&bench.get("/").await, "origin_protocol", false);
}

#[tokio::test]
async fn an_answer_that_ends_in_two_places_is_refused() {
    for framing in [
        "transfer-encoding: chunked\r\ncontent-length: 3",
        "content-length: 3\r\ntransfer-encoding: chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: identity",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        let origin = ScriptedOrigin::answering(answer).await;
        let bench = Bench::of(&origin.url()).await;
        check(&bench.get("/").await, "origin_protocol", false);
    }
}

#[tokio::test]
async fn as_many_fields_as_the_tunnel_carries_are_read() {
    for (fields, fits) in [(256, true), (257, false)] {
        let mut answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n".to_owned();
        for field in 1..fields {
            answer.push_str(&format!("x-{field}: y\r\n"));
        }
        let origin = ScriptedOrigin::answering(answer + "\r\n").await;
        let bench = Bench::of(&origin.url()).await;
        let answer = bench.get("/").await;
        if fits {
            assert_eq!(answer.status(), 200);
        } else {
            check(&answer, "origin_protocol", false);
        }
    }
}

#[tokio::test]
async fn hints_without_end_are_no_answer() {
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        // Until the agent hangs up.
        while stream
            .write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            .await
            .is_ok()
        {}
    })
    .await;
    let bench = Bench::of(&origin.url()).await;
    check(&bench.get("/").await, "origin_protocol", false);
}

#[tokio::test]
async fn an_origin_that_takes_no_connection_is_given_up_in_time() {
    const CONNECT: Duration = Duration::from_secs(1);
    // Nobody accepts, and nobody else has room to wait: the kernel answers no more.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(CONNECT / 4, TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 16, "the queue has an end");
    }
    let mut slow = app("app", &[&format!("http://{address}")]);
    slow.timeouts.connect = CONNECT;
    let bench = Bench::with(vec![slow]).await;
    let clock = runtime::Clock::system();
    let began = clock.now();
    check(&bench.get("/").await, "origin_connect", true);
    let took = clock.now() - began;
    assert!(took >= CONNECT && took < CONNECT * 3, "{took:?}");
}
