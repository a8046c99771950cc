//! Channels of two requests, as Remote Desktop Gateway (MS-TSGU) and RPC over HTTP (MS-RPCH) make them: one whose answer goes on, one
//! whose body goes on, and either may have nothing to say for long.

use std::time::Duration;

use kit::fabric::Fabric;
use runtime::Scope;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

/// What the edge gives a body that lags behind its pace: less than by default, so that nobody waits for half a minute.
const GRACE: &str = "body_grace=4s";
/// Three times that.
const SILENCE: Duration = Duration::from_secs(12);

/// What should come behind the silence comes within this.
const SOON: Duration = Duration::from_secs(20);

/// A gateway; it ends with the scope.
async fn gateway(scope: &Scope) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let own = scope.clone();
    scope.spawn("gateway", async move {
        while let Ok((socket, _)) = listener.accept().await {
            own.spawn("connection", serve(socket));
        }
    });
    format!("http://{address}")
}

async fn serve(mut socket: TcpStream) {
    let head = read_until(&mut socket, "\r\n\r\n").await;
    let method = head.split(' ').next().unwrap_or_default();
    let answer = match method {
        "RDG_OUT_DATA" => {
            let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
            let _ = socket.write_all(begun.as_bytes()).await;
            sleep(SILENCE).await;
            "4\r\nlate\r\n0\r\n\r\n"
        }
        "RDG_IN_DATA" | "RPC_IN_DATA" | "POST" => {
            read_until(&mut socket, "bye").await;
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nall in."
        }
        // Who looks whether anything is published. It speaks once on each connection.
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    };
    // The agent may be gone when a test has failed.
    let _ = socket.write_all(answer.as_bytes()).await;
    read_until(&mut socket, "nothing more").await;
}

/// What comes up to and with `end`, or until nothing comes.
async fn read_until<S: tokio::io::AsyncRead + Unpin>(socket: &mut S, end: &str) -> String {
    let mut text = String::new();
    read_on(socket, &mut text, end).await;
    text
}

async fn read_on<S: tokio::io::AsyncRead + Unpin>(socket: &mut S, text: &mut String, end: &str) {
    while !text.ends_with(end) {
        let Ok(byte) = socket.read_u8().await else {
            break;
        };
        text.push(byte.into());
    }
}

/// Asks with `head`, says `first`, is silent, says `last`; gives what came up to `end`.
async fn talk(fabric: &Fabric, head: &str, first: &str, last: &str, end: &str) -> String {
    let host = format!("desk.{}", kit::fabric::DOMAIN);
    let socket = fabric.user().tls(&host, b"http/1.1").await;
    let mut socket = socket.expect("the edge takes connections");
    let asked = format!("{head}\r\nHost: {host}\r\n\r\n{first}");
    socket.write_all(asked.as_bytes()).await.expect("a request");
    socket.flush().await.expect("a request");
    sleep(SILENCE).await;
    // Fails if the edge has given up; what it said then is read.
    let _ = socket.write_all(last.as_bytes()).await;
    let _ = socket.flush().await;
    let mut text = String::new();
    let read = timeout(SOON, read_on(&mut socket, &mut text, end)).await;
    assert!(read.is_ok(), "{head}: nothing comes behind {text:?}");
    text
}

#[tokio::test]
async fn either_half_may_be_silent_for_long() {
    let (fabric, scope) = (crate::fabric().await, Scope::root());
    let settings = ["settings", "update", "--edge-limit", GRACE];
    fabric.site().ok(&settings);
    // The edge knows the setting when it knows the app, which came later.
    fabric.publish("desk", &gateway(&scope).await).await;
    let (out, chunked, sized, other) = tokio::join!(
        talk(&fabric, "RDG_OUT_DATA / HTTP/1.1", "", "", "0\r\n\r\n"),
        talk(
            &fabric,
            "RDG_IN_DATA / HTTP/1.1\r\nTransfer-Encoding: chunked",
            "5\r\nhello\r\n",
            "3\r\nbye\r\n",
            "all in.",
        ),
        talk(
            &fabric,
            "RPC_IN_DATA / HTTP/1.1\r\nContent-Length: 1073741824",
            "hello",
            "bye",
            "all in.",
        ),
        talk(
            &fabric,
            "POST / HTTP/1.1\r\nContent-Length: 8",
            "hello",
            "bye",
            "all in.",
        ),
    );
    assert!(out.contains("ok") && out.contains("late"), "{out}");
    for answer in [chunked, sized] {
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    // What is no channel has to go on.
    assert!(other.starts_with("HTTP/1.1 408 "), "{other}");
}
