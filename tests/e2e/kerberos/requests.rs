//! Requests of every kind get one token, and arrive as they were sent: at Apache, which speaks HTTP/1.1.

use std::convert::Infallible;

use bytes::Bytes;
use http::Version;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use kit::origin::{pattern, sha256};

use super::*;

/// Bodies of requests, in bytes: what is kept for another try, and what is longer than that.
const BODIES: [usize; 2] = [3, 300_000];
/// One that is longer than any buffer on the way.
const LARGE: usize = 4_000_000;
/// Such uploads to an app that refuses tickets.
const UPLOADS_REFUSED: usize = 2;
/// Bytes of a piece of those that come in pieces.
const PIECE_BYTES: usize = 50_000;
/// What a user sends to sign on by other means.
const OWN: [(&str, &str); 1] = [("authorization", "NTLM TlRMTVNTUAABAAAAB4IIAA==")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_gets_a_token_of_its_user_and_arrives_as_it_was_sent() {
    let (crowd, socket) = (crowd::CROWD.to_string(), Origin::start().await);
    let socket = socket.addr().to_string();
    let settings = [("LAB_CROWD", &*crowd), ("LAB_SOCKET", &socket)];
    let Some(lab) = Lab::start_with(&settings) else {
        return;
    };
    let domain = Domain::start(lab, &[]).await;
    // The one gets a token with each request, and the other where it asks for one.
    let app = domain.publish_of("app", App::App, &[]);
    let lazy = domain.publish_of("lazy", App::App, &ON_CHALLENGE);
    domain.fabric.served(&app).await;
    domain.fabric.served(&lazy).await;
    let mut alice = domain.user("alice@lab.test", &app).await;
    one_token_goes_and_nothing_of_the_users_own(&domain, &mut alice, &app).await;
    for host in [&app, &lazy] {
        assert_eq!(alice.get(host, "/public").await.status, 200);
        let cookies = alice.cookies(host);
        bodies_arrive_whole_with_and_without_length(&domain, &cookies, host).await;
        websockets_open_behind_the_sign_in(&domain, &cookies, host).await;
    }
    a_ticket_that_is_refused_is_told_in_the_midst_of_an_upload(&domain, &mut alice).await;
    crowd::nobody_is_ever_taken_for_another(&domain, &[app, lazy]).await;
}

async fn one_token_goes_and_nothing_of_the_users_own(
    domain: &Domain,
    alice: &mut Visitor,
    app: &str,
) {
    let answer = alice.post(app, "/echo", b"abc".to_vec(), &OWN).await;
    for line in ["user=alice", "authorization-scheme=Negotiate"] {
        assert!(answer.text().contains(line), "{}", answer.text());
    }
    let recorder = Recorder::start().await;
    let of_user = ["--sso-identity", "user"];
    let spn = domain.lab.spn(App::App);
    let recorded = domain.publish("recorded", &recorder.url(), spn, &of_user);
    domain.fabric.served(&recorded).await;
    assert_eq!(alice.get(&recorded, "/").await.status, 200);
    recorder.take();
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket"), OWN[0]];
    alice.get_with(&recorded, "/", &upgrade).await;
    alice.post(&recorded, "/", b"abc".to_vec(), &OWN).await;
    let heard = recorder.take();
    assert_eq!(heard.len(), 2, "{heard:?}");
    let mut seen_before = Vec::new();
    for message in heard {
        let Heard::Whole(message) = message else {
            panic!("{message:?}");
        };
        let tokens: Vec<_> = message
            .fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
            .collect();
        assert_eq!(tokens.len(), 1, "{message:?}");
        let token = tokens[0].1.clone();
        assert!(token.starts_with("Negotiate Y"), "{message:?}");
        assert!(!seen_before.contains(&token), "a token goes once");
        seen_before.push(token);
    }
}

async fn bodies_arrive_whole_with_and_without_length(domain: &Domain, cookies: &str, host: &str) {
    for length in BODIES {
        for make in [whole, in_pieces] {
            arrives(domain, (host, cookies), (length, make), Version::HTTP_11).await;
        }
        users_of_http2_reach_an_app_of_http1(domain, cookies, host, length).await;
    }
    arrives(
        domain,
        (host, cookies),
        (LARGE, in_pieces),
        Version::HTTP_11,
    )
    .await;
}

async fn users_of_http2_reach_an_app_of_http1(
    domain: &Domain,
    cookies: &str,
    host: &str,
    length: usize,
) {
    for make in [whole, in_pieces] {
        arrives(domain, (host, cookies), (length, make), Version::HTTP_2).await;
    }
}

/// The app answers before it has read the body, and then closes the connection.
async fn a_ticket_that_is_refused_is_told_in_the_midst_of_an_upload(
    domain: &Domain,
    alice: &mut Visitor,
) {
    let stale = domain.publish_of("stale", App::Stale, &[]);
    domain.fabric.served(&stale).await;
    refused(&alice.get(&stale, "/whoami").await, 502, "sso_failed");
    let (user, bytes) = (domain.fabric.user(), pattern(0, LARGE));
    for make in [whole, in_pieces] {
        for _ in 0..UPLOADS_REFUSED {
            let mut asked = request(Method::POST, &stale, "/whoami", make(&bytes));
            put(asked.headers_mut(), &[("cookie", &alice.cookies(&stale))]);
            let answer = user.send_h2(asked).await.expect("a whole answer");
            refused(&answer, 502, "sso_failed");
        }
    }
}

/// The app sees the user, and the body byte for byte, by HTTP/1.1.
async fn arrives(
    domain: &Domain,
    (host, cookies): (&str, &str),
    (length, make): (usize, fn(&Bytes) -> Body),
    version: Version,
) {
    let (user, bytes) = (domain.fabric.user(), pattern(0, length));
    let mut asked = request(Method::POST, host, "/echo", make(&bytes));
    put(asked.headers_mut(), &[("cookie", cookies)]);
    let answer = match version {
        Version::HTTP_2 => user.send_h2(asked).await,
        _ => user.send(asked).await,
    };
    let answer = answer.expect("a whole answer");
    assert_eq!(answer.version, version);
    for line in [
        "user=alice\\@lab.test@LAB.TEST",
        "method=POST",
        "protocol=HTTP/1.1",
        &format!("body-bytes={length}\n"),
        &format!("body-sha256={}", sha256(&bytes)),
    ] {
        assert!(answer.text().contains(line), "{line}: {}", answer.text());
    }
}

fn whole(bytes: &Bytes) -> Body {
    body(bytes.clone())
}

/// A body that does not say how long it is.
fn in_pieces(bytes: &Bytes) -> Body {
    let pieces: Vec<_> = bytes
        .chunks(PIECE_BYTES)
        .map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    StreamBody::new(futures_util::stream::iter(pieces))
        .map_err(|never| match never {})
        .boxed_unsync()
}

async fn websockets_open_behind_the_sign_in(domain: &Domain, cookies: &str, host: &str) {
    let opened = || {
        let log = domain.lab.access_log();
        let opened = log.lines().filter(|line| {
            line.contains(" alice") && line.contains(" 101 ") && line.contains("GET /socket")
        });
        opened.count()
    };
    assert_eq!(domain.lab.visit(App::App, "/socket", None).status, 401);
    let before = opened();
    let user = domain.fabric.user();
    let mut socket = user.websocket_as(host, "/socket", cookies).await;
    for said in ["hello", "and again"] {
        let sent = socket.send(Message::text(said)).await;
        sent.expect("it is open");
        let echoed = socket.next().await.expect("it echoes").expect("a message");
        assert_eq!(echoed, Message::text(said));
    }
    socket.close(None).await.expect("it was open");
    // Apache logs it at its end.
    drop(socket);
    eventually("the app has known whose WebSocket it is", async || {
        opened() > before
    })
    .await;
}
