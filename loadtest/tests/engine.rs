//! Every driver against servers in this process: what they count is what was served.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use loadtest::{Crew, CrewError, Load, Tally, Target, origin, quinn_server, run, scenario};
use quinn::{Endpoint, ServerConfig, crypto::rustls::QuicServerConfig};
use runtime::{Clock, Scope};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// On a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

fn load(keys: &str) -> Load {
    let text = format!("[[load]]\nname = 'a'\nduration = '200ms'\n{keys}");
    let mut scenario = scenario::parse(&text).unwrap_or_else(|error| panic!("{keys}: {error}"));
    scenario.loads.remove(0)
}

async fn put(target: &Target, load: &Load, scope: &Scope) -> Result<Tally, CrewError> {
    let putting = async {
        let crew = Crew::assemble(target, load, 7, &Clock::system(), scope).await?;
        // Twice, as a comparison does: connections stay.
        crew.put(load.duration).await?;
        crew.put(load.duration).await
    };
    tokio::time::timeout(PATIENCE, putting).await.unwrap()
}

fn plain(addr: SocketAddr) -> Target {
    let url = format!("http://load.localhost:{}/1k", addr.port());
    Target::new(url.parse().unwrap(), addr, b"").unwrap()
}

async fn against_origin(keys: &str) -> Tally {
    let tally = whatever_origin_says(keys).await;
    assert_eq!(tally.failed(), 0, "{keys}: {tally}");
    tally
}

async fn whatever_origin_says(keys: &str) -> Tally {
    let scope = Scope::root();
    let addr = origin::serve(LOOPBACK, &Clock::system(), &scope)
        .await
        .unwrap();
    let tally = put(&plain(addr), &load(keys), &scope).await.unwrap();
    assert!(tally.answered() > 0, "{keys}: {tally}");
    tally
}

#[tokio::test(flavor = "multi_thread")]
async fn gets_over_http1_and_http2_bring_whole_bodies() {
    for keys in [
        "connections = 4",
        "connections = 4\nthreads = 3",
        "connections = 2\nkeep_alive = false",
        "connections = 2\nprotocol = 'h2'\nstreams = 3",
        "connections = 2\nprotocol = 'h2'\nkeep_alive = false",
    ] {
        let keys = format!("loop = 'closed'\npath = '/1k'\nbytes = 1024\n{keys}");
        let tally = against_origin(&keys).await;
        assert_eq!(tally.body_bytes(), tally.answered() * 1024, "{keys}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_goes_both_ways() {
    for protocol in ["h1", "h2"] {
        let keys = format!("loop = 'closed'\nprotocol = '{protocol}'\nbytes = '3MiB'\n");
        for ask in ["path = '/bytes/3145728'", "ask = 'put'\npath = '/x'"] {
            let tally = against_origin(&format!("{keys}{ask}")).await;
            assert_eq!(tally.body_bytes(), tally.answered() * 3_145_728);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_who_leave_early_wait_for_no_more() {
    for protocol in ["h1", "h2"] {
        // The whole of one would take far longer than the test.
        let keys = "loop = 'closed'\nbytes = '100GiB'\nleave_after = '64KiB'\npath = '/bytes/107374182400'";
        let tally = whatever_origin_says(&format!("{keys}\nprotocol = '{protocol}'")).await;
        // Servers end connections of HTTP/2 on which very many requests are broken off.
        assert!(tally.failed() * 20 <= tally.answered(), "{tally}");
        assert!(tally.body_bytes() >= tally.answered() * 65_536, "{tally}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_back_and_events_arrive() {
    against_origin(
        "ask = 'websocket'\nloop = 'closed'\nconnections = 3\npath = '/echo'\nbytes = 70000",
    )
    .await;
    against_origin(
        "ask = 'websocket'\nloop = 'open'\nrate = 100\nconnections = 3\npath = '/echo'\nbytes = 5",
    )
    .await;
    against_origin("ask = 'grpc'\nloop = 'closed'\nstreams = 3\npath = '/a.B/C'\nbytes = 100")
        .await;
    for protocol in ["h1", "h2"] {
        let keys = format!(
            "ask = 'events'\nprotocol = '{protocol}'\nloop = 'closed'\nconnections = 3\npath = '/events/100'"
        );
        let tally = against_origin(&keys).await;
        let (_, slowest) = *tally.latency_ms().last().unwrap();
        // From sent to seen, not from one to the next, on a machine that may be busy.
        assert!(slowest < 5_000.0, "{tally}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_starts_as_many_as_its_rate_says() {
    for (arrivals, about) in [("constant", 40..=40), ("poisson", 20..=65)] {
        let keys = format!(
            "loop = 'open'\nrate = 200\narrivals = '{arrivals}'\nconnections = 4\nthreads = 2\npath = '/1k'"
        );
        let tally = against_origin(&keys).await;
        assert!(about.contains(&tally.answered()), "{arrivals}: {tally}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_streams_of_quic_bring_what_was_asked() {
    let scope = Scope::root();
    let made = rcgen::generate_simple_self_signed(["load.localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let addr =
        quinn_server::serve(LOOPBACK, certificate.as_bytes(), key.as_bytes(), &scope).unwrap();
    let url = format!("https://load.localhost:{}", addr.port());
    let target = Target::new(url.parse().unwrap(), addr, certificate.as_bytes()).unwrap();
    for keys in ["bytes = 1024\nstreams = 8", "ask = 'put'\nbytes = '2MiB'"] {
        let load = load(&format!("protocol = 'quinn'\nloop = 'closed'\n{keys}"));
        let tally = put(&target, &load, &scope).await.unwrap();
        assert_eq!(tally.failed(), 0, "{tally}");
        assert!(tally.answered() > 0);
        assert_eq!(tally.body_bytes(), tally.answered() * load.bytes.unwrap());
    }
}

/// An origin that speaks HTTP/3: `length` bytes for everything, after the whole upload.
fn http3(length: usize, scope: &Scope) -> Target {
    let made = rcgen::generate_simple_self_signed(["load.localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = QuicServerConfig::try_from(tls).unwrap();
    let endpoint = Endpoint::server(ServerConfig::with_crypto(Arc::new(crypto)), LOOPBACK).unwrap();
    let addr = endpoint.local_addr().unwrap();
    let connections = scope.child("connections");
    scope.spawn("accept", async move {
        while let Some(knock) = endpoint.accept().await {
            let streams = connections.child("streams");
            connections.spawn("connection", async move {
                let transport = h3_quinn::Connection::new(knock.await.unwrap());
                let mut connection = h3::server::Connection::new(transport).await.unwrap();
                while let Ok(Some(request)) = connection.accept().await {
                    streams.spawn("stream", async move {
                        let (_, mut stream) = request.resolve_request().await.unwrap();
                        while stream.recv_data().await.unwrap().is_some() {}
                        stream.send_response(http::Response::new(())).await.unwrap();
                        stream
                            .send_data(Bytes::from(vec![0; length]))
                            .await
                            .unwrap();
                        stream.finish().await.unwrap();
                    });
                }
            });
        }
    });
    let url = format!("https://load.localhost:{}", addr.port());
    Target::new(url.parse().unwrap(), addr, made.cert.pem().as_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn http3_brings_whole_bodies_and_takes_uploads() {
    let scope = Scope::root();
    let target = http3(3_000, &scope);
    for (keys, bytes) in [
        ("bytes = 3000\nstreams = 3", 3_000),
        ("bytes = 3000\nkeep_alive = false", 3_000),
        ("ask = 'put'\nbytes = '1MiB'", 1_048_576 + 3_000),
    ] {
        let load = load(&format!("protocol = 'h3'\nloop = 'closed'\n{keys}"));
        let tally = put(&target, &load, &scope).await.unwrap();
        assert_eq!(tally.failed(), 0, "{keys}: {tally}");
        assert!(tally.answered() > 0, "{keys}");
        assert_eq!(tally.body_bytes(), tally.answered() * bytes, "{keys}");
    }
}

/// A server that reads a head and then writes `answer`, whatever was asked; then it ends the connection if it is told to.
async fn server(answer: &'static [u8], keeps: Keeps, scope: &Scope) -> Target {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let connections = scope.child("connections");
    scope.spawn("accept", async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            connections.spawn("connection", async move {
                let mut head = vec![0; 4096];
                while socket.read(&mut head).await.is_ok_and(|read| read > 0) {
                    // In pieces, so that nothing can count on whole ones.
                    for piece in answer.chunks(7) {
                        if socket.write_all(piece).await.is_err() {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                    if keeps == Keeps::Nothing {
                        return;
                    }
                }
            });
        }
    });
    plain(addr)
}

#[derive(Clone, Copy, PartialEq)]
enum Keeps {
    Connections,
    Nothing,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_end_a_body_is_understood() {
    let answers: [(&[u8], Keeps); 5] = [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", Keeps::Connections),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nx: y\r\n\r\n",
            Keeps::Connections,
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", Keeps::Nothing),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello", Keeps::Nothing),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", Keeps::Nothing),
    ];
    for (answer, keeps) in answers {
        let scope = Scope::root();
        let target = server(answer, keeps, &scope).await;
        let load = load("loop = 'closed'\nconnections = 2\npath = '/x'\nbytes = 5");
        let tally = put(&target, &load, &scope).await.unwrap();
        let shown = String::from_utf8_lossy(answer);
        assert_eq!(tally.failed(), 0, "{shown}: {tally}");
        assert!(tally.answered() > 0, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_counted_by_what_went_wrong() {
    let cases: [(&[u8], Keeps, &str); 6] = [
        (
            b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\nno",
            Keeps::Connections,
            "status 503",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfour",
            Keeps::Connections,
            "length",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell",
            Keeps::Nothing,
            "truncated",
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            Keeps::Connections,
            "nonsense",
        ),
        (b"HTTP/1.1 200", Keeps::Nothing, "broken"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", Keeps::Connections, "nonsense"),
    ];
    for (answer, keeps, expected) in cases {
        let scope = Scope::root();
        let target = server(answer, keeps, &scope).await;
        let load = load("loop = 'closed'\nconnections = 2\npath = '/x'\nbytes = 5");
        let tally = put(&target, &load, &scope).await.unwrap();
        let causes: Vec<String> = tally.failures().into_keys().collect();
        assert_eq!((tally.answered(), causes), (0, vec![expected.to_owned()]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_given_up_and_charged_for_who_waited() {
    let scope = Scope::root();
    let target = server(b"", Keeps::Connections, &scope).await;
    let load = load("loop = 'open'\nrate = 100\ntimeout = '300ms'\nconnections = 2\npath = '/x'");
    let tally = put(&target, &load, &scope).await.unwrap();
    let causes: Vec<_> = tally.failures().into_iter().collect();
    assert_eq!(causes, [("timeout".to_owned(), 20)], "{tally}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_dies_costs_what_was_under_way_and_nobody_waits() {
    let (scope, dying) = (Scope::root(), Scope::root());
    let addr = origin::serve(LOOPBACK, &Clock::system(), &dying)
        .await
        .unwrap();
    let load = load("loop = 'closed'\nconnections = 4\npath = '/1k'");
    let crew = Crew::assemble(&plain(addr), &load, 7, &Clock::system(), &scope)
        .await
        .unwrap();
    let (tally, ()) = tokio::join!(crew.put(Duration::from_millis(600)), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        dying.close(Duration::from_millis(1)).await;
    });
    let tally = tally.unwrap();
    assert!(tally.answered() > 0 && tally.failed() > 0, "{tally}");
    assert!(tally.failures().contains_key("connect"), "{tally}");
    // Nobody is there any more.
    let gone = Crew::assemble(&plain(addr), &load, 7, &Clock::system(), &scope).await;
    assert!(matches!(gone, Err(CrewError::Connect(_))), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_closed_while_idle_costs_nothing() {
    let scope = Scope::root();
    let target = server(
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        Keeps::Nothing,
        &scope,
    )
    .await;
    // The server promises to keep connections and does not; the next request comes a while later.
    let rate = NonZeroU32::new(20).unwrap();
    let load = run::gets(&target, rate, NonZeroUsize::MIN, Duration::from_millis(500));
    let tally = put(&target, &load, &scope).await.unwrap();
    assert_eq!((tally.answered(), tally.failed()), (10, 0), "{tally}");
}
