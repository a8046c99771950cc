//! Users: a raw one who writes HTTP/1 by hand, and one who speaks HTTP/2.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, combinators::BoxBody};
use hyper::{
    Request,
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::fabric::{Fabric, HOST, within};

pub(crate) type UserStream = TlsStream<TcpStream>;

/// A connection on which nothing was said yet.
pub(crate) async fn connect(fabric: &Fabric, alpn: &[u8]) -> UserStream {
    let stream = TcpStream::connect(fabric.edge.https_address).await.unwrap();
    secure(fabric, stream, alpn).await
}

async fn secure(fabric: &Fabric, stream: TcpStream, alpn: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(fabric.ca.root.clone()).unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(HOST).unwrap(), stream)
        .await
        .unwrap()
}

/// Writes and reads bytes.
pub(crate) struct RawUser {
    stream: TlsStream<TcpStream>,
}

impl RawUser {
    pub(crate) async fn connect(fabric: &Fabric) -> Self {
        let stream = within(connect(fabric, b"http/1.1")).await;
        Self { stream }
    }

    /// On a connection that the edge may not have accepted yet.
    pub(crate) async fn over(fabric: &Fabric, stream: TcpStream) -> Self {
        let stream = within(secure(fabric, stream, b"http/1.1")).await;
        Self { stream }
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.stream.write_all(bytes.as_ref())).await.unwrap();
        within(self.stream.flush()).await.unwrap();
    }

    /// A GET of `path` that closes the connection afterwards.
    pub(crate) async fn get(&mut self, path: &str) {
        self.write(format!(
            "GET {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n"
        ))
        .await;
    }

    /// Everything up to and with `end`.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        within(async {
            while !read.ends_with(end.as_bytes()) {
                read.push(self.stream.read_u8().await.expect("more to read"));
            }
        })
        .await;
        String::from_utf8(read).unwrap()
    }

    /// Says that nothing more comes.
    pub(crate) async fn finish(&mut self) {
        within(self.stream.shutdown()).await.unwrap();
    }

    pub(crate) async fn read_byte(&mut self) -> u8 {
        within(self.stream.read_u8()).await.unwrap()
    }

    /// Everything until the connection ends, however it does.
    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut read = Vec::new();
        within(async {
            // A missing close_notify is an error that hides nothing here.
            let _ = self.stream.read_to_end(&mut read).await;
        })
        .await;
        String::from_utf8(read).unwrap()
    }
}

/// Sends one GET and gives the whole answer as text.
pub(crate) async fn get(fabric: &Fabric, path: &str) -> String {
    get_of(fabric, HOST, path).await
}

/// The same of any host.
pub(crate) async fn get_of(fabric: &Fabric, host: &str, path: &str) -> String {
    let mut user = RawUser::connect(fabric).await;
    user.write(format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    ))
    .await;
    user.read_to_end().await
}

pub(crate) type UserBody = BoxBody<Bytes, std::io::Error>;

/// Sends one request over HTTP/2.
pub(crate) async fn ask_http2(
    fabric: &Fabric,
    request: Request<UserBody>,
) -> hyper::Result<Response<Incoming>> {
    within(connect_http2(fabric).await.send_request(request)).await
}

/// A connection of HTTP/2 for several requests.
pub(crate) async fn connect_http2(fabric: &Fabric) -> SendRequest<UserBody> {
    let stream = within(connect(fabric, b"h2")).await;
    let (sender, connection) =
        http2::handshake::<_, _, UserBody>(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    fabric.scope.spawn("connection of a user", async move {
        let _ = connection.await;
    });
    sender
}

/// A body without a byte.
pub(crate) fn empty() -> UserBody {
    http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed()
}
