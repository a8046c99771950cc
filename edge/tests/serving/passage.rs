//! Control at the port of users: who asks for it by its name is passed on, as they are, and nobody else.

use std::{sync::Arc, time::Duration};

use runtime::{node::CONTROL_SERVER_NAME, tls::agents_server_config};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream, server};

use crate::{
    fabric::{Fabric, within},
    user::RawUser,
};

/// Connections that may shake hands with control at once, in all and from one network.
const BEGINNING_MAX: u8 = 200;
const BEGINNING_OF_NETWORK_MAX: u8 = 20;

/// An edge that leads to a control of which only TLS and an echo are real.
async fn with_control() -> (Fabric, TcpListener) {
    let control = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = control.local_addr().unwrap().to_string();
    (Fabric::passing_control(&address).await, control)
}

fn trusting(fabric: &Fabric) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(fabric.ca.root.clone()).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

async fn ask_for(fabric: &Fabric, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(fabric.edge.https_address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(trusting(fabric));
    within(connector.connect(name, stream)).await
}

/// Ends TLS as control would, with no certificate asked for, and sends back what comes.
async fn answer(fabric: &Fabric, control: &TcpListener) -> server::TlsStream<TcpStream> {
    let identity = fabric.ca.identity("spiffe://example.com/control/c1");
    let asking = agents_server_config(&identity, &[]).unwrap();
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&asking.cert_resolver));
    config.send_tls13_tickets = 0;
    let (stream, _) = control.accept().await.unwrap();
    let mut stream = TlsAcceptor::from(Arc::new(config))
        .accept(stream)
        .await
        .unwrap();
    let mut said = [0; 5];
    stream.read_exact(&mut said).await.unwrap();
    stream.write_all(&said).await.unwrap();
    stream
}

#[tokio::test]
async fn who_asks_for_control_gets_control_itself_and_users_get_the_edge() {
    let (fabric, control) = with_control().await;
    let asking = async {
        let mut line = ask_for(&fabric, CONTROL_SERVER_NAME).await.unwrap();
        line.write_all(b"hello").await.unwrap();
        let mut back = Vec::new();
        line.read_to_end(&mut back).await.unwrap();
        back
    };
    let echoing = Box::pin(async {
        let mut stream = answer(&fabric, &control).await;
        stream.shutdown().await.unwrap();
    });
    let (back, ()) = tokio::join!(Box::pin(within(asking)), echoing);
    assert_eq!(back, b"hello");
    let mut user = RawUser::connect(&fabric).await;
    user.get("/").await;
    let answer = user.read_to_end().await;
    assert!(answer.contains("no_agent"), "the edge answers: {answer}");
    let silent = tokio::time::timeout(Duration::from_millis(50), control.accept()).await;
    assert!(silent.is_err(), "a user is not passed on");
}

#[tokio::test]
async fn a_hello_in_pieces_is_passed_on_whole() {
    let (fabric, control) = with_control().await;
    let name = ServerName::try_from(CONTROL_SERVER_NAME).unwrap();
    let mut client = rustls::ClientConnection::new(trusting(&fabric), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let mut stream = TcpStream::connect(fabric.edge.https_address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in hello.chunks(100) {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let (mut passed, _) = within(control.accept()).await.unwrap();
    let mut heard = vec![0; hello.len()];
    within(passed.read_exact(&mut heard)).await.unwrap();
    assert!(heard == hello, "control hears what was said");
    // The end of one side is the end of the other.
    drop(stream);
    assert_eq!(within(passed.read(&mut [0; 8])).await.unwrap(), 0);
}

#[tokio::test]
async fn without_a_passage_and_without_control_the_connection_ends() {
    let fabric = Fabric::start().await;
    assert!(ask_for(&fabric, CONTROL_SERVER_NAME).await.is_err());
    let (fabric, control) = with_control().await;
    drop(control);
    let refused = ask_for(&fabric, CONTROL_SERVER_NAME).await.unwrap_err();
    assert_ne!(refused.kind(), std::io::ErrorKind::TimedOut);
}

/// Says hello to control, and nothing else, from this address of the machine's own.
async fn knock_from(fabric: &Fabric, address: [u8; 4]) -> TcpStream {
    let name = ServerName::try_from(CONTROL_SERVER_NAME).unwrap();
    let mut client = rustls::ClientConnection::new(trusting(fabric), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let mut stream = connect_from(fabric, address).await;
    stream.write_all(&hello).await.unwrap();
    stream
}

async fn connect_from(fabric: &Fabric, address: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    socket.connect(fabric.edge.https_address).await.unwrap()
}

async fn assert_sent_away(mut stream: TcpStream) {
    let mut nothing = Vec::new();
    // An end, or a reset, as bytes of its hello may wait.
    let _ = within(stream.read_to_end(&mut nothing)).await;
    assert!(nothing.is_empty());
}

#[tokio::test]
async fn strangers_in_their_handshake_are_bounded_and_users_are_not_kept_out() {
    let (fabric, control) = with_control().await;
    let (mut knocking, mut passed) = (Vec::new(), Vec::new());
    for network in 0..BEGINNING_MAX / BEGINNING_OF_NETWORK_MAX {
        let address = [127, 0, 1, network];
        for _ in 0..BEGINNING_OF_NETWORK_MAX {
            knocking.push(knock_from(&fabric, address).await);
            passed.push(within(control.accept()).await.unwrap());
        }
        assert_sent_away(knock_from(&fabric, address).await).await;
    }
    // There was room for every other network until now.
    assert_sent_away(knock_from(&fabric, [127, 0, 2, 1]).await).await;
    RawUser::connect(&fabric).await;
    // Who gives up makes room.
    knocking.clear();
    passed.clear();
    within(async {
        loop {
            let _again = knock_from(&fabric, [127, 0, 2, 1]).await;
            let wait = Duration::from_millis(50);
            if tokio::time::timeout(wait, control.accept()).await.is_ok() {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn who_has_shaken_hands_with_control_begins_no_longer() {
    let (fabric, control) = with_control().await;
    let mut lines = Vec::new();
    // More than may begin at once, and none of them ends.
    for _ in 0..=BEGINNING_OF_NETWORK_MAX {
        let asking = async {
            let mut line = ask_for(&fabric, CONTROL_SERVER_NAME).await.unwrap();
            line.write_all(b"hello").await.unwrap();
            let mut back = [0; 5];
            line.read_exact(&mut back).await.unwrap();
            line
        };
        let answering = Box::pin(answer(&fabric, &control));
        lines.push(within(async { tokio::join!(Box::pin(asking), answering) }).await);
    }
}

#[tokio::test]
async fn lines_to_control_do_not_hold_up_a_drain() {
    let (fabric, control) = with_control().await;
    let name = ServerName::try_from(CONTROL_SERVER_NAME).unwrap();
    let mut client = rustls::ClientConnection::new(trusting(&fabric), name).unwrap();
    let mut stream = TcpStream::connect(fabric.edge.https_address).await.unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    stream.write_all(&hello).await.unwrap();
    let (mut passed, _) = within(control.accept()).await.unwrap();
    within(passed.read_exact(&mut vec![0; hello.len()]))
        .await
        .unwrap();
    assert!(within(fabric.edge.drain(Duration::from_secs(10))).await);
    assert_eq!(within(stream.read(&mut [0; 8])).await.unwrap(), 0);
}
