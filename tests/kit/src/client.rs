//! A user of a fabric: trusts its CA, and reaches every hostname at one edge.

mod http3;
pub mod raw_http3;

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use runtime::Scope;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, client::IntoClientRequest},
};

pub use http3::{Http3, Http3Answer};

/// A WebSocket of a user.
pub type WebSocket = WebSocketStream<TlsStream<TcpStream>>;

/// Body of a request.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A body of these bytes.
pub fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its version.
    pub version: Version,
    /// Its fields.
    pub fields: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the answer is text")
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the answer is JSON")
    }
}

/// Why there is no whole answer.
#[derive(Debug)]
pub enum Broken {
    /// No head came.
    NoHead(hyper::Error),
    /// The head came, but the body broke off.
    Truncated(StatusCode, hyper::Error),
}

/// Somebody with a browser, so to speak.
#[derive(Debug, Clone)]
pub struct User {
    edge: SocketAddr,
    roots: Arc<RootCertStore>,
    certificate: Option<Arc<CertifiedKey>>,
    scope: Scope,
}

impl User {
    /// Somebody who trusts these roots and reaches every host at `edge`.
    pub fn new(edge: SocketAddr, ca_pem: &str) -> Self {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            roots
                .add(root.expect("the CA file is PEM"))
                .expect("the CA is a certificate");
        }
        Self {
            edge,
            roots: Arc::new(roots),
            certificate: None,
            scope: Scope::root(),
        }
    }

    /// The same somebody at another edge.
    pub fn at(&self, edge: SocketAddr) -> Self {
        Self {
            edge,
            ..self.clone()
        }
    }

    /// The same somebody, who shows a certificate wherever one is asked for.
    pub fn showing(&self, chain_pem: &str, key_pem: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes());
        let chain = chain
            .collect::<Result<_, _>>()
            .expect("certificates are PEM");
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).expect("the key is PEM");
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider).expect("they fit");
        Self {
            certificate: Some(Arc::new(certified)),
            ..self.clone()
        }
    }

    /// A TLS connection for `host`.
    pub async fn tls(&self, host: &str, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let config = self.tls_config(alpn);
        let name = ServerName::try_from(host.to_owned()).expect("hosts of tests are names");
        let socket = TcpStream::connect(self.edge).await?;
        TlsConnector::from(Arc::new(config))
            .connect(name, socket)
            .await
    }

    fn tls_config(&self, alpn: &[u8]) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the versions")
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        if let Some(certified) = &self.certificate {
            config.client_auth_cert_resolver =
                Arc::new(SingleCertAndKey::from(Arc::clone(certified)));
        }
        config.alpn_protocols = vec![alpn.to_vec()];
        config
    }

    /// GETs `https://{host}{path}` over HTTP/1.1 on a connection of its own.
    pub async fn get(&self, host: &str, path: &str) -> Answer {
        let request = request(Method::GET, host, path, body(""));
        self.send(request).await.expect("a whole answer")
    }

    /// The status of a GET.
    pub async fn status(&self, host: &str, path: &str) -> u16 {
        self.get(host, path).await.status.as_u16()
    }

    /// Sends a request over HTTP/1.1 on a connection of its own and collects the answer.
    pub async fn send(&self, request: Request<Body>) -> Result<Answer, Broken> {
        collect(self.open(request).await.map_err(Broken::NoHead)?).await
    }

    /// Sends a request over HTTP/1.1 on a connection of its own; the connection ends with the response's body.
    pub async fn open(&self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        let host = host_of(&request);
        let socket = self
            .tls(&host, b"http/1.1")
            .await
            .expect("the edge takes connections");
        self.open_on(socket, request).await
    }

    /// Sends a request over HTTP/1.1 on a connection that is there.
    pub async fn open_on(
        &self,
        socket: TlsStream<TcpStream>,
        request: Request<Body>,
    ) -> hyper::Result<Response<Incoming>> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        self.scope.spawn("user-connection", async move {
            // A broken connection shows at its request.
            let _ = connection.with_upgrades().await;
        });
        sender.send_request(request).await
    }

    /// Sends a request over HTTP/2 and collects the answer.
    pub async fn send_h2(&self, request: Request<Body>) -> Result<Answer, Broken> {
        collect(self.open_h2(request).await.map_err(Broken::NoHead)?).await
    }

    /// Sends a request over HTTP/2 on a connection of its own.
    pub async fn open_h2(&self, mut request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        let host = host_of(&request);
        let socket = self
            .tls(&host, b"h2")
            .await
            .expect("the edge takes connections");
        let executor = TokioExecutor::new();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(executor, TokioIo::new(socket)).await?;
        self.scope.spawn("user-connection", async move {
            let _ = connection.await;
        });
        request.headers_mut().remove(header::HOST);
        let target = format!("https://{host}{}", request.uri());
        *request.uri_mut() = target.parse().expect("a path makes a URL");
        sender.send_request(request).await
    }

    /// Opens a WebSocket.
    pub async fn websocket(&self, host: &str, path: &str) -> (WebSocket, HeaderMap) {
        let url = format!("wss://{host}{path}");
        self.websocket_of(url, host).await
    }

    /// The same with these cookies.
    pub async fn websocket_as(&self, host: &str, path: &str, cookies: &str) -> WebSocket {
        let url = format!("wss://{host}{path}");
        let mut request = url.into_client_request().expect("a URL");
        let cookies = HeaderValue::from_str(cookies).expect("visible ASCII");
        request.headers_mut().insert(header::COOKIE, cookies);
        self.websocket_of(request, host).await.0
    }

    async fn websocket_of(
        &self,
        request: impl IntoClientRequest + Unpin,
        host: &str,
    ) -> (WebSocket, HeaderMap) {
        let socket = self
            .tls(host, b"http/1.1")
            .await
            .expect("the edge takes connections");
        let (socket, response) = tokio_tungstenite::client_async(request, socket)
            .await
            .expect("the WebSocket opens");
        (socket, response.into_parts().0.headers)
    }
}

/// A message of a WebSocket.
pub use tungstenite::Message;

/// A request in origin form with its `Host` field.
pub fn request(method: Method, host: &str, path: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .body(body)
        .expect("requests of tests are well formed")
}

/// Waits for the whole answer.
pub async fn collect(response: Response<Incoming>) -> Result<Answer, Broken> {
    let (head, incoming) = response.into_parts();
    let whole = incoming
        .collect()
        .await
        .map_err(|error| Broken::Truncated(head.status, error))?;
    let trailers = whole.trailers().cloned();
    let (status, version, fields) = (head.status, head.version, head.headers);
    Ok(Answer {
        status,
        version,
        fields,
        body: whole.to_bytes(),
        trailers,
    })
}

fn host_of(request: &Request<Body>) -> String {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    host.expect("requests of tests have a host")
        .split(':')
        .next()
        .unwrap_or_default()
        .to_owned()
}
