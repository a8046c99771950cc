//! Origins that speak HTTP/2, with TLS and without.

use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use model::app::{AgentApp, OriginProtocol, OriginTls};
use proto::tunnel::RequestHead;
use runtime::Scope;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::{Notify, mpsc},
};
use tokio_rustls::TlsAcceptor;
use tunnel::{codes::Code, fields, frame::Frame, stream::RecvHalf};

use crate::{
    ca::Ca,
    edge::{Bench, Ending, answer, app, final_head, get, post, soon},
    origin::{ScriptedOrigin, read_body, read_head},
};

type Respond = SendResponse<Bytes>;

/// Answers every stream of every connection as `script` says; it is given the connection's number too.
async fn origin<S, F>(script: S) -> ScriptedOrigin
where
    S: Fn(Request<RecvStream>, Respond, usize) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    ScriptedOrigin::start(move |stream, number| serve(stream, number, script.clone())).await
}

async fn serve<T, S, F>(stream: T, number: usize, script: S)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Request<RecvStream>, Respond, usize) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let scope = Scope::root();
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        scope.spawn("stream", script(request, respond, number));
    }
}

fn speaking(protocol: OriginProtocol, url: &str) -> Vec<AgentApp> {
    let mut app = app("app", &[url]);
    app.origins[0].protocol = protocol;
    vec![app]
}

async fn h2c(origin: &ScriptedOrigin) -> Bench {
    Bench::with(speaking(OriginProtocol::Http2, &origin.url())).await
}

fn head(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}

fn grpc_status(status: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static(status),
    )])
}

async fn next_data(body: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let data = body.data().await?;
    if let Ok(data) = &data {
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    Some(data)
}

async fn read_all(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = next_data(body).await {
        all.extend_from_slice(&data?);
    }
    Ok(all)
}

/// Waits until the agent resets the stream, and says why.
async fn reset_of(send: &mut SendStream<Bytes>) -> Reason {
    soon(poll_fn(|context| send.poll_reset(context)))
        .await
        .unwrap()
}

fn with_fields(head: RequestHead, rows: &[(&'static str, &'static str)]) -> RequestHead {
    let mut map = HeaderMap::new();
    for (name, value) in rows {
        map.append(*name, HeaderValue::from_static(value));
    }
    RequestHead {
        fields: fields::encode(&map).unwrap(),
        ..head
    }
}

async fn data(recv: &mut RecvHalf) -> Bytes {
    match soon(recv.next()).await.unwrap() {
        Some(Frame::Data(data)) => data,
        other => panic!("{other:?} instead of data"),
    }
}

#[tokio::test]
async fn a_request_is_written_as_http2_wants_it() {
    let origin = origin(|mut request, mut respond, _| async move {
        let mut seen = format!("{} {}\n", request.method(), request.uri());
        for (name, value) in request.headers() {
            seen += &format!("{name}: {}\n", value.to_str().unwrap());
        }
        seen += &String::from_utf8(read_all(request.body_mut()).await.unwrap()).unwrap();
        let mut send = respond.send_response(head(200), false).unwrap();
        send.send_data(seen.into(), true).unwrap();
    })
    .await;
    let bench = h2c(&origin).await;
    let request = with_fields(
        post("/a%2fb//c?x=%20", Some(4)),
        &[
            ("te", "trailers"),
            ("cookie", "a=1"),
            ("grpc-timeout", "5S"),
        ],
    );
    let answer = bench.ask(request, b"body").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.text(),
        format!(
            "POST {}/a%2fb//c?x=%20\ncookie: a=1\ngrpc-timeout: 5S\nte: trailers\n\
             content-length: 4\nbody",
            origin.url()
        )
    );
}

#[tokio::test]
async fn exchanges_share_one_connection_and_no_more_than_it_allows() {
    let (reached, mut reaches) = mpsc::channel(8);
    let (go_on, _) = tokio::sync::broadcast::channel::<()>(1);
    let gate = go_on.clone();
    let origin = ScriptedOrigin::start(move |stream, _| {
        let (reached, gate) = (reached.clone(), gate.clone());
        async move {
            let scope = Scope::root();
            let mut connection = h2::server::Builder::new()
                .max_concurrent_streams(2)
                .handshake::<_, Bytes>(stream)
                .await
                .unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut gate = gate.subscribe();
                let reached = reached.clone();
                scope.spawn("stream", async move {
                    reached.send(()).await.unwrap();
                    gate.recv().await.unwrap();
                    respond.send_response(head(204), true).unwrap();
                });
            }
        }
    })
    .await;
    let bench = h2c(&origin).await;
    let first = async {
        assert_eq!(bench.get("/").await.status(), 204);
    };
    let open = async {
        soon(reaches.recv()).await.unwrap();
        go_on.send(()).unwrap();
    };
    tokio::join!(first, open);
    let asks = futures_util::future::join_all((0..4).map(|_| bench.get("/")));
    let open = async {
        for _ in 0..4 {
            soon(reaches.recv()).await.unwrap();
        }
        go_on.send(()).unwrap();
    };
    let (answers, ()) = tokio::join!(asks, open);
    assert!(answers.iter().all(|answer| answer.status() == 204));
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn streams_flow_both_ways_at_once() {
    let origin = origin(|mut request, mut respond, _| async move {
        let mut send = respond.send_response(head(200), false).unwrap();
        while let Some(data) = next_data(request.body_mut()).await {
            send.send_data(data.unwrap(), false).unwrap();
        }
        let trailers = request.body_mut().trailers().await.unwrap().unwrap();
        assert_eq!(trailers["x-up"], "7");
        send.send_trailers(grpc_status("0")).unwrap();
    })
    .await;
    let bench = h2c(&origin).await;
    let (mut send, mut recv) = bench.open(post("/chat", None)).await;
    assert_eq!(final_head(&mut recv).await.status, 200);
    for word in [&b"one"[..], b"two", b"three"] {
        soon(send.data(Bytes::from_static(word))).await.unwrap();
        assert_eq!(data(&mut recv).await, word);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-up", HeaderValue::from_static("7"));
    send.queue(Frame::Trailers(trailers)).unwrap();
    soon(send.end(Default::default())).await.unwrap();
    let rest = soon(answer(&mut recv)).await;
    assert!(matches!(rest.end, Ending::End), "{rest:?}");
    assert_eq!(rest.trailers.unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn errors_of_grpc_come_through_with_and_without_a_body() {
    let origin = origin(|request, mut respond, _| async move {
        if request.uri().path() == "/only" {
            let mut head = head(200);
            head.headers_mut().extend(grpc_status("5"));
            respond.send_response(head, true).unwrap();
        } else {
            let mut send = respond.send_response(head(200), false).unwrap();
            send.send_data(Bytes::from_static(b"half"), false).unwrap();
            send.send_trailers(grpc_status("13")).unwrap();
        }
    })
    .await;
    let bench = h2c(&origin).await;
    let only = bench.ask(post("/only", None), b"x").await;
    assert_eq!((only.status(), only.body.len()), (200, 0));
    assert_eq!(only.fields()["grpc-status"], "5");
    let late = bench.ask(post("/late", None), b"x").await;
    assert_eq!((late.status(), late.text()), (200, "half".to_owned()));
    assert_eq!(late.trailers.unwrap()["grpc-status"], "13");
}

#[tokio::test]
async fn a_user_who_leaves_resets_the_stream_and_not_the_connection() {
    let (left, mut leaves) = mpsc::channel(1);
    let origin = origin(move |request, mut respond, _| {
        let left = left.clone();
        async move {
            match request.uri().path() {
                "/head" => {
                    let reason = poll_fn(|context| respond.poll_reset(context))
                        .await
                        .unwrap();
                    left.send(reason).await.unwrap();
                }
                "/body" => {
                    let mut send = respond.send_response(head(200), false).unwrap();
                    left.send(reset_of(&mut send).await).await.unwrap();
                }
                _ => drop(respond.send_response(head(204), true).unwrap()),
            }
        }
    })
    .await;
    let bench = h2c(&origin).await;
    for (path, answered) in [("/head", false), ("/body", true)] {
        for request in [get(path), post(path, None)] {
            let whole = !request.body_streamed;
            let (mut send, mut recv) = bench.open(request).await;
            if whole {
                soon(send.end(Default::default())).await.unwrap();
            }
            if answered {
                final_head(&mut recv).await;
            } else {
                // Nothing tells that the request has arrived but its own reset.
                assert_eq!(bench.get("/").await.status(), 204);
            }
            recv.stop(Code::Cancelled);
            assert_eq!(soon(leaves.recv()).await, Some(Reason::CANCEL), "{path}");
        }
    }
    assert_eq!(bench.get("/").await.status(), 204);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn an_answer_that_the_origin_resets_never_ends_well() {
    for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let go_on = Arc::new(Notify::new());
        let signal = Arc::clone(&go_on);
        let origin = origin(move |_, mut respond, _| {
            let go_on = Arc::clone(&signal);
            async move {
                let mut send = respond.send_response(head(200), false).unwrap();
                send.send_data(Bytes::from_static(b"half"), false).unwrap();
                go_on.notified().await;
                send.send_reset(reason);
            }
        })
        .await;
        let bench = h2c(&origin).await;
        let (mut send, mut recv) = bench.open(get("/")).await;
        soon(send.end(Default::default())).await.unwrap();
        final_head(&mut recv).await;
        assert_eq!(data(&mut recv).await, "half");
        go_on.notify_one();
        let answer = soon(answer(&mut recv)).await;
        assert_eq!(answer.error().reason, "origin_reset", "{reason:?}");
    }
}

#[tokio::test]
async fn an_early_answer_that_stops_the_upload_is_whole() {
    let origin = origin(|_, mut respond, _| async move {
        let mut send = respond.send_response(head(200), false).unwrap();
        // Without a look at the body, which resets the stream with NO_ERROR.
        send.send_data(Bytes::from_static(b"early"), true).unwrap();
    })
    .await;
    let bench = h2c(&origin).await;
    let (_send, mut recv) = bench.open(post("/", None)).await;
    let answer = soon(answer(&mut recv)).await;
    assert_eq!((answer.status(), answer.text()), (200, "early".to_owned()));
}

#[tokio::test]
async fn refused_streams_are_asked_again_elsewhere_with_their_bodies() {
    let origin = origin(|mut request, mut respond, number| async move {
        if number == 0 && request.uri().path() == "/refused" {
            // After some of the body was sent.
            next_data(request.body_mut()).await;
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        }
        let body = read_all(request.body_mut()).await.unwrap();
        let mut send = respond.send_response(head(200), false).unwrap();
        send.send_data(body.into(), true).unwrap();
    })
    .await;
    let bench = h2c(&origin).await;
    assert_eq!(bench.get("/").await.status(), 200);
    let answer = bench.ask(post("/refused", Some(4)), b"body").await;
    assert_eq!((answer.status(), answer.text()), (200, "body".to_owned()));
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_says_goodbye_is_left_without_a_loss() {
    // Each connection answers once, and says goodbye when the next request comes: that one was not looked at.
    let origin = ScriptedOrigin::start(|stream, _| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let mut send: SendStream<Bytes> = respond.send_response(head(200), false).unwrap();
        send.send_data(Bytes::from_static(b"ok"), true).unwrap();
        let Some(Ok((_, respond))) = connection.accept().await else {
            return;
        };
        drop(respond);
        connection.abrupt_shutdown(Reason::NO_ERROR);
        let _ = poll_fn(|context| connection.poll_closed(context)).await;
    })
    .await;
    let bench = h2c(&origin).await;
    for _ in 0..20 {
        assert_eq!(bench.get("/").await.text(), "ok");
    }
}

#[tokio::test]
async fn permission_to_send_is_asked_of_the_origin() {
    let origin = origin(|mut request, mut respond, _| async move {
        assert_eq!(request.headers()["expect"], "100-continue");
        respond.send_informational(head(103)).unwrap();
        respond.send_informational(head(100)).unwrap();
        let body = read_all(request.body_mut()).await.unwrap();
        let mut send = respond.send_response(head(200), false).unwrap();
        send.send_data(body.into(), true).unwrap();
    })
    .await;
    let bench = h2c(&origin).await;
    let (mut send, mut recv) = bench
        .open(RequestHead {
            flags: Some(proto::tunnel::RequestFlags {
                expect_continue: true,
                ..Default::default()
            }),
            ..post("/", Some(4))
        })
        .await;
    let hint = soon(recv.next()).await.unwrap();
    assert!(
        matches!(&hint, Some(Frame::Response(head)) if head.status == 103),
        "{hint:?}"
    );
    assert_eq!(soon(recv.next()).await.unwrap(), Some(Frame::Continue));
    send.queue(Frame::Data(Bytes::from_static(b"body")))
        .unwrap();
    soon(send.end(Default::default())).await.unwrap();
    assert_eq!(soon(answer(&mut recv)).await.text(), "body");
}

/// Speaks what the handshake agrees on; says which that was, and switches protocols over HTTP/1.1.
async fn negotiating(ca: &Ca, offered: &[&[u8]]) -> ScriptedOrigin {
    let mut settings = ca.server("127.0.0.1");
    settings.alpn_protocols = offered.iter().map(|one| one.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(settings));
    ScriptedOrigin::start(move |stream, number| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                serve(stream, number, |request, mut respond, _| async move {
                    if request.uri().path() == "/http1" {
                        respond.send_reset(Reason::HTTP_1_1_REQUIRED);
                        return;
                    }
                    let mut send = respond.send_response(head(200), false).unwrap();
                    send.send_data(Bytes::from_static(b"h2"), true).unwrap();
                })
                .await;
                return;
            }
            while let Some(head) = read_head(&mut stream).await {
                let answer = if head.contains("upgrade: chat") {
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n"
                } else {
                    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh1"
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
                if head.contains("upgrade: chat") {
                    let ping = read_body(&mut stream, 4).await;
                    stream.write_all(&ping).await.unwrap();
                }
            }
        }
    })
    .await
}

fn secure(ca: &Ca, origin: &ScriptedOrigin, protocol: OriginProtocol) -> Vec<AgentApp> {
    let mut apps = speaking(protocol, &format!("https://127.0.0.1:{}", origin.port()));
    apps[0].origins[0].tls = OriginTls {
        ca_pem: Some(Arc::from(ca.pem.as_str())),
        ..OriginTls::default()
    };
    apps
}

#[tokio::test]
async fn https_origins_are_spoken_to_as_the_handshake_agrees() {
    let ca = Ca::new();
    let (both, old) = ([&b"h2"[..], b"http/1.1"], [&b"http/1.1"[..]]);
    for (offered, protocol, want) in [
        (&both[..], OriginProtocol::Auto, Some("h2")),
        (&both, OriginProtocol::Http1, Some("h1")),
        (&both, OriginProtocol::Http2, Some("h2")),
        (&old, OriginProtocol::Auto, Some("h1")),
        (&[], OriginProtocol::Auto, Some("h1")),
        (&[], OriginProtocol::Http2, None),
    ] {
        let origin = negotiating(&ca, offered).await;
        let bench = Bench::with(secure(&ca, &origin, protocol)).await;
        let answer = bench.get("/").await;
        match want {
            Some(want) => assert_eq!((answer.status(), answer.text()), (200, want.to_owned())),
            None => assert_eq!(answer.error().reason, "origin_protocol"),
        }
    }
}

#[tokio::test]
async fn what_http2_cannot_do_goes_over_a_connection_of_http1() {
    let ca = Ca::new();
    let origin = negotiating(&ca, &[b"h2", b"http/1.1"]).await;
    let bench = Bench::with(secure(&ca, &origin, OriginProtocol::Auto)).await;
    assert_eq!(bench.get("/").await.text(), "h2");
    let upgrade = RequestHead {
        upgrade: "chat".into(),
        ..get("/chat")
    };
    let (mut send, mut recv) = bench.open(upgrade).await;
    assert!(final_head(&mut recv).await.upgraded);
    soon(send.data(Bytes::from_static(b"ping"))).await.unwrap();
    assert_eq!(data(&mut recv).await, "ping");
    assert_eq!(bench.get("/http1").await.text(), "h1");
    assert_eq!(bench.get("/").await.text(), "h2");
}
