//! Asking edges over https: one request a connection, small answers, one time limit.

use std::{fmt, fs, io, net::Ipv4Addr, path::Path, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header, uri::Authority};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use model::host::Hostname;
use runtime::{
    Secret,
    tls::{self, TlsError},
};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Largest answer that is read: a token of some kilobytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Challenges of one answer that are looked at.
const CHALLENGES_MAX: usize = 8;
/// Port of https.
const PORT: u16 = 443;

/// An `https` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address(Uri);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Files and people leave the scheme out.
        let whole = if text.contains("://") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        let uri: Uri = whole.parse().map_err(|_| "is no address".to_owned())?;
        let authority = uri.authority().ok_or("names no host")?;
        if uri.scheme_str() != Some("https") {
            return Err("must begin with https://".to_owned());
        }
        if authority.as_str().contains('@') {
            return Err("must not name a user".to_owned());
        }
        authority
            .host()
            .to_ascii_lowercase()
            .parse::<Hostname>()
            .map_err(|fault| format!("has a host that {fault}"))?;
        Ok(Self(uri))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Address {
    /// Host and port, as in an address.
    pub(super) fn authority(&self) -> String {
        let authority = self.0.authority().map(Authority::as_str);
        authority.unwrap_or_default().to_ascii_lowercase()
    }

    /// Host alone.
    pub(super) fn host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }

    fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(PORT)
    }

    /// Another path at the same place.
    pub(super) fn with_path(&self, path: &'static str) -> Self {
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static(path));
        Self(Uri::from_parts(parts).unwrap_or_else(|_| self.0.clone()))
    }
}

/// Why an edge could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    /// The certificates to trust cannot be read.
    #[error("cannot read the certificates to trust")]
    Ca(#[source] io::Error),
    /// They cannot be used.
    #[error("cannot use the certificates to trust")]
    Tls(#[source] TlsError),
    /// TLS has no settings for them.
    #[error("cannot set up TLS")]
    Settings(#[source] rustls::Error),
    /// It is not reached, or not trusted.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The exchange broke off.
    #[error("the exchange broke off")]
    Http(#[source] hyper::Error),
    /// The answer is longer than any should be, or broke off.
    #[error("cannot read the answer: {0}")]
    Body(String),
    /// The request cannot be written.
    #[error("cannot write the request")]
    Request(#[source] http::Error),
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    TooLate(Duration),
}

/// What an edge answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Values of `WWW-Authenticate`.
    pub(super) challenges: Vec<String>,
    /// Null, if it is no JSON.
    pub(super) body: Value,
}

/// Asks edges.
#[derive(Clone)]
pub(super) struct Web {
    settings: Arc<ClientConfig>,
    timeout: Duration,
}

impl Web {
    /// One that trusts the certificates in a file, or else the system's.
    pub(super) fn new(ca: Option<&Path>, timeout: Duration) -> Result<Self, WebError> {
        let settings = match ca {
            Some(path) => {
                let pem = fs::read_to_string(path).map_err(WebError::Ca)?;
                tls::ca_client_config(&pem, &[b"http/1.1"]).map_err(WebError::Tls)?
            }
            None => of_system()?,
        };
        Ok(Self {
            settings: Arc::new(settings),
            timeout,
        })
    }

    pub(super) async fn get(&self, at: &Address) -> Result<Reply, WebError> {
        self.ask(Method::GET, at, None, String::new()).await
    }

    pub(super) async fn post(
        &self,
        at: &Address,
        token: Option<&Secret<String>>,
        form: &[(&str, &str)],
    ) -> Result<Reply, WebError> {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        self.ask(Method::POST, at, token, body.finish()).await
    }

    async fn ask(
        &self,
        method: Method,
        at: &Address,
        token: Option<&Secret<String>>,
        body: String,
    ) -> Result<Reply, WebError> {
        let target = at.0.path_and_query().map_or("/", |target| target.as_str());
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, at.authority())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(body)))
            .map_err(WebError::Request)?;
        if let Some(token) = token {
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
            let mut value = value.map_err(|error| WebError::Request(error.into()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let asking = Box::pin(self.exchange(at, request));
        let answered = tokio::time::timeout(self.timeout, asking).await;
        answered.unwrap_or(Err(WebError::TooLate(self.timeout)))
    }

    async fn exchange(
        &self,
        at: &Address,
        request: Request<Full<Bytes>>,
    ) -> Result<Reply, WebError> {
        let host = at.host().to_ascii_lowercase();
        let socket = connect(&host, at.port()).await.map_err(WebError::Connect)?;
        let name = ServerName::try_from(host)
            .map_err(|_| WebError::Connect(io::Error::other("the host is no name of a server")))?;
        let connector = TlsConnector::from(Arc::clone(&self.settings));
        let stream = connector
            .connect(name, socket)
            .await
            .map_err(WebError::Connect)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(WebError::Http)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(WebError::Http)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| WebError::Body(error.to_string()))?;
            let challenges = head.headers.get_all(header::WWW_AUTHENTICATE).iter();
            let challenges = challenges.filter_map(|value| value.to_str().ok());
            Ok(Reply {
                status: head.status.as_u16(),
                challenges: challenges.take(CHALLENGES_MAX).map(str::to_owned).collect(),
                body: serde_json::from_slice(&body.to_bytes()).unwrap_or_default(),
            })
        };
        // Driven beside the exchange; how it ends, the exchange tells.
        let driven = async {
            let _ = connection.await;
            std::future::pending().await
        };
        tokio::select! {
            biased;
            answer = answer => answer,
            answer = driven => answer,
        }
    }
}

/// Names below `localhost` are this machine (RFC 6761, section 6.3), which not every resolver knows.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    if host == "localhost" || host.ends_with(".localhost") {
        return TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    }
    TcpStream::connect((host, port)).await
}

fn of_system() -> Result<ClientConfig, WebError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some of a system's are none that this library takes.
    roots.add_parsable_certificates(found.certs);
    let settings = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(WebError::Settings)?;
    let mut settings = settings.with_root_certificates(roots).with_no_client_auth();
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_https_and_name_a_host() {
        for (text, want) in [
            ("https://wiki.example.com", Ok("wiki.example.com")),
            ("wiki.example.com/x?y", Ok("wiki.example.com")),
            (
                "https://Wiki.Example.com:8443/x",
                Ok("wiki.example.com:8443"),
            ),
            ("http://wiki.example.com", Err("must begin with https://")),
            ("https://", Err("is no address")),
            (
                "https://alice@wiki.example.com",
                Err("must not name a user"),
            ),
            ("ftp://x", Err("must begin with https://")),
        ] {
            let read = text.parse::<Address>().map(|address| address.authority());
            let read = read.as_deref().map_err(|fault| &**fault);
            assert_eq!(read, want, "{text}");
        }
        let address: Address = "https://wiki.example.com:8443/x?y".parse().unwrap();
        let other = address.with_path("/device/token");
        assert_eq!(
            other.to_string(),
            "https://wiki.example.com:8443/device/token"
        );
    }

    #[tokio::test]
    async fn who_is_not_there_is_told() {
        let web = Web::new(None, Duration::from_secs(5)).unwrap();
        // A port that nobody has, as it is in use by a listener that is gone.
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let at: Address = format!("https://gone.localhost:{port}").parse().unwrap();
        let asked = web.get(&at).await;
        assert!(matches!(asked, Err(WebError::Connect(_))), "{asked:?}");
        let missing = Web::new(Some(Path::new("/nonexistent.pem")), Duration::from_secs(5));
        assert!(matches!(missing.err(), Some(WebError::Ca(_))));
    }
}
