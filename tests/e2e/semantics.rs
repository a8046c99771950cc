//! A request through the fabric means what it would mean to the origin itself.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Method, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use kit::{
    client::{Broken, Message, body, collect, request},
    fabric::DOMAIN,
    origin::{Origin, pattern, sha256},
    process::eventually,
};
use runtime::Scope;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
    time::timeout,
};

/// How long an answer that should be there at once may take.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn requests_arrive_as_they_were_sent() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    for h2 in [false, true] {
        let mut ask = request(
            Method::from_bytes(b"PROPFIND").expect("a method"),
            &host,
            "/echo?q=a%20b&&x=%2F",
            body("payload"),
        );
        let fields = ask.headers_mut();
        fields.append("x-twice", HeaderValue::from_static("one"));
        fields.append("x-twice", HeaderValue::from_static("two"));
        fields.insert(header::COOKIE, HeaderValue::from_static("a=; b=2"));
        fields.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
        fields.insert("x-forwarded-proto", HeaderValue::from_static("gopher"));
        fields.insert("forwarded", HeaderValue::from_static("for=6.6.6.6"));
        let answer = if h2 {
            fabric.user().send_h2(ask).await
        } else {
            fabric.user().send(ask).await
        };
        let seen = answer.expect("a whole answer").json();
        assert_eq!(
            (seen["method"].as_str(), seen["target"].as_str()),
            (Some("PROPFIND"), Some("/echo?q=a%20b&&x=%2F"))
        );
        assert_eq!(seen["body_sha256"], sha256(b"payload"));
        let all = |name: &str| -> Vec<String> {
            let fields = seen["fields"].as_array().expect("a list");
            fields
                .iter()
                .filter(|field| field[0] == name)
                .map(|field| field[1].as_str().unwrap_or_default().to_owned())
                .collect()
        };
        assert_eq!(all("x-twice"), ["one", "two"]);
        assert_eq!(all("cookie"), ["a=; b=2"]);
        assert_eq!(all("host"), [origin.addr().to_string()]);
        assert_eq!(all("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(all("x-forwarded-proto"), ["https"]);
        assert_eq!(all("x-forwarded-host"), [host.as_str()]);
        assert_eq!(
            all("forwarded"),
            [format!("for=127.0.0.1;host=\"{host}\";proto=https")]
        );
        assert_eq!(all("x-request-id")[0].len(), 32);
    }
}

#[tokio::test]
async fn bodies_stream_both_ways_with_and_without_a_length() {
    const BYTES: u64 = 5 * 1024 * 1024 + 7;
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("files", &origin.url()).await;
    let whole = pattern(0, usize::try_from(BYTES).expect("a few MiB"));
    for path in [format!("/bytes/{BYTES}"), format!("/stream/{BYTES}")] {
        let answer = fabric.user().get(&host, &path).await;
        assert_eq!(sha256(&answer.body), sha256(&whole), "{path}");
        let answer = fabric
            .user()
            .send_h2(request(Method::GET, &host, &path, body("")))
            .await
            .expect("whole");
        assert_eq!(sha256(&answer.body), sha256(&whole), "{path} over h2");
    }
    let pieces: Vec<_> = whole
        .chunks(10_000)
        .map(|piece| Ok(Frame::data(whole.slice_ref(piece))))
        .collect();
    let chunked = StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync();
    for upload in [body(whole.clone()), chunked] {
        let answer = fabric
            .user()
            .send(request(Method::POST, &host, "/echo", upload))
            .await
            .expect("whole");
        assert_eq!(answer.json()["body_sha256"], sha256(&whole));
    }
}

#[tokio::test]
async fn answers_without_a_body_stay_without_one() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    for (method, path, status, length) in [
        (Method::HEAD, "/bytes/1000", 200, Some("1000")),
        (Method::GET, "/status/204", 204, None),
        (Method::GET, "/status/304", 304, None),
        (Method::HEAD, "/status/500", 500, Some("3")),
    ] {
        for h2 in [false, true] {
            let ask = request(method.clone(), &host, path, body(""));
            let answer = if h2 {
                fabric.user().send_h2(ask).await
            } else {
                fabric.user().send(ask).await
            };
            let answer = answer.expect("a whole answer");
            assert_eq!(
                (answer.status.as_u16(), answer.body.len()),
                (status, 0),
                "{method} {path}"
            );
            let said = answer
                .fields
                .get(header::CONTENT_LENGTH)
                .and_then(|length| length.to_str().ok());
            assert_eq!(said, length, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_websocket_talks_both_ways_and_keeps_the_cookie_of_its_101() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("chat", &origin.url()).await;
    let (mut socket, fields) = fabric.user().websocket(&host, "/websocket").await;
    assert_eq!(
        fields.get(header::SET_COOKIE).map(HeaderValue::as_bytes),
        Some(&b"on-101=kept; Path=/"[..])
    );
    for message in [Message::text("hello"), Message::binary(pattern(0, 300_000))] {
        socket
            .send(message.clone())
            .await
            .expect("the socket is open");
        let echo = timeout(SOON, socket.next())
            .await
            .expect("in time")
            .expect("open");
        assert_eq!(echo.expect("a message"), message);
    }
    socket.close(None).await.expect("the socket is open");
    let last = timeout(SOON, socket.next()).await.expect("in time");
    assert!(
        matches!(last, Some(Ok(Message::Close(_))) | None),
        "{last:?}"
    );
}

#[tokio::test]
async fn server_sent_events_arrive_one_by_one() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("clock", &origin.url()).await;
    let response = fabric
        .user()
        .open(request(Method::GET, &host, "/events", body("")))
        .await
        .expect("a head");
    let mut events = response.into_body();
    for count in 0..5 {
        let frame = timeout(SOON, events.frame())
            .await
            .expect("the event is not held back");
        let data = frame
            .expect("not the end")
            .expect("not broken")
            .into_data()
            .expect("data");
        assert_eq!(data, format!("data: {count}\n\n"));
        origin.tick();
    }
}

#[tokio::test]
async fn trailers_reach_http2_users_and_origins() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("rpc", &origin.url()).await;
    let mut ask = request(Method::GET, &host, "/trailers", body(""));
    ask.headers_mut()
        .insert(header::TE, HeaderValue::from_static("trailers"));
    let answer = fabric.user().send_h2(ask).await.expect("a whole answer");
    assert_eq!(answer.text(), "body");
    let trailers = answer.trailers.expect("trailers");
    assert_eq!(trailers.get("x-sum"), Some(&HeaderValue::from_static("42")));
    let sent = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("x-check"),
        HeaderValue::from_static("7"),
    )]);
    let frames = [Ok(Frame::data("abc".into())), Ok(Frame::trailers(sent))];
    let upload = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    let mut ask = request(Method::POST, &host, "/echo", upload);
    // To an HTTP/1.1 origin only announced trailers can go.
    ask.headers_mut()
        .insert(header::TRAILER, HeaderValue::from_static("x-check"));
    let seen = fabric.user().send_h2(ask).await.expect("whole").json();
    assert_eq!(seen["trailers"][0], serde_json::json!(["x-check", "7"]));
}

#[tokio::test]
async fn an_answer_may_come_before_the_upload_ends() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("early", &origin.url()).await;
    let (more, pieces) = mpsc::channel::<bytes::Bytes>(1);
    let pieces = futures_util::stream::unfold(pieces, |mut pieces| async {
        pieces
            .recv()
            .await
            .map(|piece| (Ok(Frame::data(piece)), pieces))
    });
    more.send(pattern(0, 1000)).await.expect("the body is read");
    let ask = request(
        Method::POST,
        &host,
        "/early",
        StreamBody::new(pieces).boxed_unsync(),
    );
    let answer = timeout(SOON, fabric.user().send_h2(ask))
        .await
        .expect("without waiting for the upload");
    assert_eq!(answer.expect("a whole answer").text(), "early");
    drop(more);
}

#[tokio::test]
async fn a_user_who_leaves_ends_the_request_at_the_origin() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("slow", &origin.url()).await;
    for h2 in [false, true] {
        let ask = request(Method::GET, &host, "/hang", body(""));
        let response = if h2 {
            fabric.user().open_h2(ask).await
        } else {
            fabric.user().open(ask).await
        };
        let mut response = response.expect("a head");
        response
            .body_mut()
            .frame()
            .await
            .expect("a byte")
            .expect("not broken");
        assert_eq!(origin.hanging(), 1);
        drop(response);
        eventually("the origin's side ends", async || origin.hanging() == 0).await;
    }
}

#[tokio::test]
async fn a_body_is_asked_for_by_100_continue() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("upload", &origin.url()).await;
    let mut socket = fabric
        .user()
        .tls(&host, b"http/1.1")
        .await
        .expect("a connection");
    let head = format!(
        "POST /echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.expect("open");
    let mut interim = [0; 25];
    timeout(SOON, socket.read_exact(&mut interim))
        .await
        .expect("100 comes before the body")
        .expect("open");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(b"hello").await.expect("open");
    let mut answer = String::new();
    timeout(SOON, socket.read_to_string(&mut answer))
        .await
        .expect("in time")
        .expect("closed in good order");
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(&sha256(b"hello")),
        "{answer}"
    );
    // Nobody asks for the body of a request that goes nowhere.
    let mut socket = fabric
        .user()
        .tls(&host, b"http/1.1")
        .await
        .expect("a connection");
    let head = format!(
        "POST / HTTP/1.1\r\nHost: nowhere.{DOMAIN}\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.expect("open");
    let mut answer = String::new();
    timeout(SOON, socket.read_to_string(&mut answer))
        .await
        .expect("in time")
        .expect("closed in good order");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test]
async fn plain_http_is_sent_to_https_and_unknown_hosts_are_not() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let port = fabric.site().https().port();
    for (host, status, location) in [
        (
            host.as_str(),
            "308",
            Some(format!("location: https://{host}:{port}/a?b=c")),
        ),
        ("unknown.example", "404", None),
    ] {
        let mut socket = tokio::net::TcpStream::connect(fabric.site().http())
            .await
            .expect("the edge listens");
        let head = format!("GET /a?b=c HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        socket.write_all(head.as_bytes()).await.expect("open");
        let mut answer = String::new();
        socket
            .read_to_string(&mut answer)
            .await
            .expect("closed in good order");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        if let Some(location) = location {
            assert!(answer.to_lowercase().contains(&location), "{answer}");
        }
    }
}

#[tokio::test]
async fn an_upload_that_breaks_off_never_looks_complete_to_the_origin() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("upload", &origin.url()).await;
    let broken = [
        Ok(Frame::data(pattern(0, 1000))),
        Err("the user's disk failed".into()),
    ];
    let upload = StreamBody::new(futures_util::stream::iter(broken)).boxed_unsync();
    let answer = fabric
        .user()
        .send_h2(request(Method::POST, &host, "/echo", upload))
        .await;
    assert!(
        !matches!(&answer, Ok(answer) if answer.status.is_success()),
        "{answer:?}"
    );
}

#[tokio::test]
async fn an_https_origin_is_checked_unless_told_otherwise() {
    let fabric = crate::fabric().await;
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["inner.example".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
        .expect("the certificate fits the key");
    let origin = Origin::start_tls(tls).await;
    let ca = fabric.site().folder().join("inner.pem");
    std::fs::write(&ca, certificate.pem()).expect("the folder can be written");
    let ca = ca.to_str().expect("UTF-8");
    for (id, more, status) in [
        ("unknown-root", &[][..], 502),
        ("wrong-name", &["--origin-ca", ca][..], 502),
        (
            "checked",
            &["--origin-ca", ca, "--origin-server-name", "inner.example"][..],
            200,
        ),
        ("unchecked", &["--origin-insecure"][..], 200),
    ] {
        let host = fabric.publish_with(id, &origin.url(), more).await;
        let answer = fabric.user().get(&host, "/").await;
        assert_eq!(answer.status.as_u16(), status, "{id}");
        if status == 502 {
            assert_eq!(answer.json()["reason"], "origin_tls", "{id}");
        }
    }
}

#[tokio::test]
async fn a_request_can_be_repeated_on_one_connection() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let before = origin.connections();
    let mut socket = fabric
        .user()
        .tls(&host, b"http/1.1")
        .await
        .expect("a connection");
    for _ in 0..20 {
        let head = format!("GET /status/200 HTTP/1.1\r\nHost: {host}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.expect("open");
        let mut answer = Vec::new();
        while !answer.ends_with(b"200") {
            assert!(
                timeout(SOON, socket.read_buf(&mut answer))
                    .await
                    .expect("in time")
                    .expect("open")
                    > 0
            );
        }
    }
    assert!(
        origin.connections() - before <= 2,
        "the agent keeps its connections to the origin"
    );
}

#[tokio::test]
async fn a_broken_answer_is_never_whole() {
    // Shown here for both versions of HTTP; the ways an origin can break are in `faults`.
    let fabric = crate::fabric().await;
    let script = kit::rude::Script::SendAndClose(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    );
    let origin = kit::rude::Rude::start(script).await;
    let host = fabric.publish_unseen("cut", &origin.url(), &[]).await;
    for h2 in [false, true] {
        let ask = request(Method::GET, &host, "/x", body(""));
        let response = if h2 {
            fabric.user().open_h2(ask).await
        } else {
            fabric.user().open(ask).await
        };
        let outcome = match response {
            Ok(response) => collect(response).await,
            Err(error) => Err(Broken::NoHead(error)),
        };
        assert!(
            matches!(outcome, Err(Broken::Truncated(..) | Broken::NoHead(_))),
            "{outcome:?}"
        );
    }
}

/// An origin of raw bytes: answers each request with its head, as it was written, under fields of curious case.
async fn spelling_origin(scope: &Scope) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let own = scope.clone();
    scope.spawn("origin", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            own.spawn("connection", async move {
                while let Some(head) = read_head(&mut stream).await {
                    let length = head.len();
                    let fields = "SOAPAction: b\r\nx-oDD: 1\r\nX-Odd: 2\r\nETag: \"c\"";
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-length: {length}\r\n{fields}\r\n\r\n{head}"
                    );
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("http://{address}")
}

/// A head as it was written; none at the end.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

#[tokio::test]
async fn names_of_fields_keep_their_case_between_http1_and_http1_where_an_app_says_so() {
    let scope = Scope::root();
    let (fabric, origin) = (crate::fabric().await, spelling_origin(&scope).await);
    let asked = "GET / HTTP/1.1\r\nHOST: {host}\r\nSOAPAction: a\r\nX-oNE: 1\r\nx-One: 2\r\nX-Real-ip: 1\r\n\r\n";
    for (id, keep) in [("kept", &["--keep-field-case"][..]), ("plain", &[])] {
        let host = fabric.publish_with(id, &origin, keep).await;
        let user = fabric.user().tls(&host, b"http/1.1").await;
        let mut user = user.expect("a connection");
        // Twice on one connection: names are those of each head.
        for _ in 0..2 {
            let head = asked.replace("{host}", &host);
            user.write_all(head.as_bytes()).await.expect("it is taken");
            let read = timeout(SOON, async {
                (read_head(&mut user).await, read_head(&mut user).await)
            });
            let (Some(answer), Some(seen)) = read.await.expect("in time") else {
                panic!("the edge closed");
            };
            let is_kept = keep.len() == 1;
            for (text, name) in [
                (&seen, "\r\nHOST: "),
                (&seen, "\r\nSOAPAction: a\r\n"),
                (&seen, "\r\nX-oNE: 1\r\nx-One: 2\r\n"),
                (&answer, "\r\nContent-length: "),
                (&answer, "\r\nSOAPAction: b\r\n"),
                (&answer, "\r\nx-oDD: 1\r\nX-Odd: 2\r\n"),
                (&answer, "\r\nETag: "),
            ] {
                assert_eq!(text.contains(name), is_kept, "{name:?} in {text}");
                let lower = text.to_ascii_lowercase();
                assert!(
                    lower.contains(&name.to_ascii_lowercase()),
                    "{name:?} in {text}"
                );
            }
            // What the edge adds has no other case to keep.
            assert!(seen.contains("\r\nx-forwarded-for: "), "{seen}");
        }
        let answer = fabric
            .user()
            .send_h2(request(Method::GET, &host, "/", body("")))
            .await;
        let seen = answer.expect("a whole answer");
        assert!(
            seen.text().contains("\r\nhost: ")
                || seen.text().starts_with("GET / HTTP/1.1\r\nhost: ")
        );
    }
}
