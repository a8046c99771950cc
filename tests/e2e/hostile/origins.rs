//! Origins that lie: what users get is one answer, whole or broken off, and never part of another.

use std::time::Duration;

use http::Method;
use kit::{
    client::{Broken, body, request},
    rude::{Rude, Script},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::Table;

/// How long a lie may keep a user waiting.
const SOON: Duration = Duration::from_secs(20);

/// What a user gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gets {
    /// 200 with this body.
    Body(&'static str),
    /// 502 for this reason.
    Refusal(&'static str),
    /// A head, and a body that breaks off.
    Cut,
}

use Gets::{Body, Cut, Refusal};

type Case = (&'static str, &'static [u8], Gets);

const CASES: &[Case] = &[
    ("two heads", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", Body("ok")),
    ("a second answer in the first one's fields", b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nContent-Length: 4\r\n\r\nevil", Body("Content-Length: 4\r\n\r\nevil")),
    ("CR in a value", b"HTTP/1.1 200 OK\r\nX-A: b\rSet-Cookie: c=d\r\nContent-Length: 2\r\n\r\nok", Refusal("origin_protocol")),
    ("NUL in a value", b"HTTP/1.1 200 OK\r\nX-A: b\0c\r\nContent-Length: 2\r\n\r\nok", Refusal("origin_protocol")),
    ("space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 9\r\nContent-Length: 2\r\n\r\nok", Refusal("origin_protocol")),
    ("a value that goes on in the next line", b"HTTP/1.1 200 OK\r\nX-A: b\r\n Set-Cookie: c=d\r\nContent-Length: 2\r\n\r\nok", Refusal("origin_protocol")),
    ("no colon", b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\nok", Refusal("origin_protocol")),
    ("length and chunks", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Refusal("origin_protocol")),
    ("chunks and length", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2\r\nok\r\n0\r\n\r\n", Refusal("origin_protocol")),
    ("gzip, chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Refusal("origin_protocol")),
    ("chunked twice", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Refusal("origin_protocol")),
    ("identity", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok", Refusal("origin_protocol")),
    ("chunks in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Refusal("origin_protocol")),
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\nokok", Refusal("origin_protocol")),
    ("a length with a sign", b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", Refusal("origin_protocol")),
    ("a length beyond 64 bits", b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok", Refusal("origin_protocol")),
    ("a length that is too large", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nok", Cut),
    ("a length that is too small", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", Body("ok")),
    ("chunks with a bad size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n", Cut),
    ("chunks with LF", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n", Cut),
    ("chunks with a size beyond 64 bits", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nF0000000000000002\r\nok\r\n0\r\n\r\n", Cut),
    ("101 unasked", b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", Refusal("origin_protocol")),
    ("100 unasked, then an answer", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Body("ok")),
    ("HTTP/0.9", b"<html>evil</html>", Refusal("origin_protocol")),
    ("HTTP/2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", Refusal("origin_protocol")),
    ("a status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok", Refusal("origin_protocol")),
    ("a status below 100", b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok", Refusal("origin_protocol")),
    ("fields about the connection stay behind", b"HTTP/1.1 200 OK\r\nConnection: close, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nok", Body("ok")),
];

/// What a user gets of an origin that says this, and the names of the fields.
async fn tell(
    fabric: &kit::fabric::Fabric,
    id: &str,
    bytes: &'static [u8],
) -> (String, Vec<String>) {
    let origin = Rude::start(Script::SendAndClose(bytes)).await;
    let host = fabric.publish_unseen(id, &origin.url(), &[]).await;
    let asked = fabric
        .user()
        .send(request(Method::POST, &host, "/", body("x")));
    match timeout(SOON, asked).await.expect("the lie costs no time") {
        Ok(answer) if answer.status == 502 => {
            let reason = answer.json()["reason"].as_str().map(str::to_owned);
            (format!("502 {}", reason.unwrap_or_default()), Vec::new())
        }
        Ok(answer) => {
            let names = answer.fields.keys().map(ToString::to_string).collect();
            (
                format!("{} {}", answer.status.as_u16(), answer.text()),
                names,
            )
        }
        Err(Broken::Truncated(status, _)) => (format!("{} cut", status.as_u16()), Vec::new()),
        // hyper closes without a head when the body broke before the head was written.
        Err(Broken::NoHead(_)) => ("200 cut".to_owned(), Vec::new()),
    }
}

#[tokio::test]
async fn answers_that_lie_are_refused_or_cut() {
    let fabric = crate::fabric().await;
    let mut differ = Vec::new();
    let mut table = Table::new("the origin said");
    for (number, (name, bytes, want)) in CASES.iter().enumerate() {
        let (told, names) = tell(&fabric, &format!("lie-{number}"), bytes).await;
        let said = String::from_utf8_lossy(bytes).into_owned();
        table.row(name, &told.replace("\r\n", " "), &[said]);
        let wanted = match want {
            Body(body) => format!("200 {body}"),
            Refusal(reason) => format!("502 {reason}"),
            Cut => "200 cut".to_owned(),
        };
        let private = ["x-private", "keep-alive", "upgrade"];
        let leaks = names.iter().any(|name| private.contains(&name.as_str()));
        if told != wanted || leaks {
            differ.push(format!("{name}: {told:?}, wanted {wanted:?}; {names:?}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[tokio::test]
async fn protocols_are_switched_to_one_that_was_asked_for() {
    let fabric = crate::fabric().await;
    for (id, answer, told) in [
        (
            "one-of-two",
            &b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: second\r\n\r\n"[..],
            "101 second",
        ),
        (
            "another",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: third\r\n\r\n",
            "502 ",
        ),
        (
            "two",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: first\r\nUpgrade: second\r\n\r\n",
            "502 ",
        ),
    ] {
        let origin = Rude::start(Script::SendAndClose(answer)).await;
        let host = fabric.publish_unseen(id, &origin.url(), &[]).await;
        let socket = fabric.user().tls(&host, b"http/1.1").await;
        let mut socket = socket.expect("the edge takes connections");
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: upgrade\r\nUpgrade: first, second\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.expect("open");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.expect("a whole head"));
        }
        let head = String::from_utf8(head).expect("our heads are ASCII");
        let protocols = head.lines().filter_map(|line| line.strip_prefix("upgrade: "));
        let protocols = protocols.collect::<Vec<_>>().join(", ");
        assert_eq!(format!("{} {protocols}", &head[9..12]), told, "{head}");
    }
}
