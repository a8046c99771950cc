//! An edge behind a load balancer that speaks the PROXY protocol.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tunnel::Transport;

use crate::{
    fabric::{Fabric, within},
    user::RawUser,
};

const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 443\r\n";

/// A user as the balancer announces it.
async fn announced(fabric: &Fabric, header: &[u8]) -> RawUser {
    let mut stream = TcpStream::connect(fabric.edge.https_address).await.unwrap();
    stream.write_all(header).await.unwrap();
    RawUser::over(fabric, stream).await
}

#[tokio::test]
async fn announced_address_is_the_user_s() {
    let fabric = Fabric::behind_proxies(&["127.0.0.0/8"]).await;
    // Over TCP it would have to announce itself as well.
    let identity = fabric.identity("a1");
    let agent = within(fabric.dial_over(Transport::Quic, &identity, b"")).await;
    let agent = agent.unwrap();
    let binary =
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x08\x0a\x00\x00\x01\x1f\x90\x01\xbb";
    for (header, address) in [
        (HEADER, "192.0.2.7"),
        (binary, "192.0.2.8"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ] {
        let mut user = announced(&fabric, header).await;
        let asking = async {
            user.get("/").await;
            user.read_to_end().await
        };
        let (answer, ()) = tokio::join!(asking, async {
            let asked = agent.request().await;
            assert_eq!(asked.field("x-forwarded-for").as_deref(), Some(address));
            asked.answer(200, "hello").await;
        });
        assert!(answer.ends_with("hello"), "{answer}");
    }
    // Users behind the balancer have their shares apart from one another: one connection each here.
    let _one = announced(&fabric, b"PROXY TCP4 192.0.2.1 10.0.0.1 1 443\r\n").await;
    let _other = announced(&fabric, b"PROXY TCP4 192.0.2.2 10.0.0.1 1 443\r\n").await;
}

#[tokio::test]
async fn connections_that_no_trusted_balancer_announces_are_closed() {
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".as_slice();
    for (network, said) in [("127.0.0.0/8", request), ("10.0.0.0/8", HEADER)] {
        let fabric = Fabric::behind_proxies(&[network]).await;
        for address in [fabric.edge.https_address, fabric.edge.http_address.unwrap()] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The edge may have closed already.
            let _ = stream.write_all(said).await;
            let mut read = Vec::new();
            let _ = within(stream.read_to_end(&mut read)).await;
            assert!(read.is_empty(), "{network}");
        }
    }
}

#[tokio::test]
async fn header_that_nobody_asked_for_is_not_believed() {
    let fabric = Fabric::start().await;
    let mut stream = TcpStream::connect(fabric.edge.https_address).await.unwrap();
    stream.write_all(HEADER).await.unwrap();
    let mut read = Vec::new();
    // What comes is a TLS alert, and the end.
    let _ = within(stream.read_to_end(&mut read)).await;
    assert!(read.len() < 16, "{read:?}");
}
