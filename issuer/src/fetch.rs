//! Asking a provider over HTTPS: one question, one connection, and nothing that it answers leads elsewhere.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::{
    app::{OriginHost, Scheme},
    identity_provider::ProviderUrl,
};
use runtime::Secret;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::address;

/// From the question to the whole answer: people wait for it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Questions to one provider under way at a time, beside what it publishes; who waits for longer than the time for an answer gets none. So nobody
/// makes an edge ask without end by coming back with codes that are none.
const ASKING_MAX: usize = 16;
/// Time for one of several addresses to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Longest answer.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Why a provider gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Its certificates cannot be used.
    #[error("using the provider's ca: {0}")]
    Ca(&'static str),
    /// Its name is none that certificates can be for.
    #[error("the name of its host")]
    Name(#[source] InvalidDnsNameError),
    /// Its name has no address.
    #[error("resolving its name")]
    Resolve(#[source] io::Error),
    /// Its name leads to where it must not be.
    #[error("its address {0} is not public, and its publication does not say private_network")]
    Private(SocketAddr),
    /// None of its addresses can be reached, or its certificate is not trusted.
    #[error("connecting to it")]
    Connect(#[source] io::Error),
    /// It breaks HTTP, or broke off.
    #[error("talking http to it")]
    Http(#[source] hyper::Error),
    /// The question cannot be put.
    #[error("writing the question")]
    Question(#[source] http::Error),
    /// Its answer is longer than any that is of use.
    #[error("its answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// It took too long.
    #[error("it did not answer within {} s", FETCH_TIMEOUT.as_secs())]
    Slow,
    /// It answers, but not what it was asked for; it may be another place that it names, which is not gone to.
    #[error("it answered with status {0}")]
    Status(u16),
    /// Its answer is no JSON of the form that it must have.
    #[error("reading its answer")]
    Json(#[source] serde_json::Error),
}

/// A question.
#[derive(Debug)]
pub struct Ask<'a> {
    /// To whom.
    pub url: &'a ProviderUrl,
    /// A form to be sent; none: something is only asked for.
    pub form: Option<Secret<String>>,
    /// Who asks.
    pub authorization: Option<Authorization>,
}

/// Who asks.
#[derive(Debug)]
pub enum Authorization {
    /// A client with its secret, both already escaped (RFC 6749, section 2.3.1).
    Basic(String, Secret<String>),
    /// Whoever has the token.
    Bearer(Secret<String>),
}

impl Authorization {
    fn field(&self) -> Result<HeaderValue, http::Error> {
        let text = match self {
            Self::Basic(id, secret) => {
                let pair = format!("{id}:{}", secret.expose());
                format!("Basic {}", BASE64_STANDARD.encode(pair))
            }
            Self::Bearer(token) => format!("Bearer {}", token.expose()),
        };
        let mut value = HeaderValue::try_from(text)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl<'a> Ask<'a> {
    /// Asks for what is there.
    pub const fn get(url: &'a ProviderUrl) -> Self {
        Self {
            url,
            form: None,
            authorization: None,
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Whether it is what was asked for.
    pub status: StatusCode,
    /// Its fields.
    pub fields: HeaderMap,
    /// All of it.
    pub body: Bytes,
}

impl Answer {
    /// The answer, if it is one to what was asked.
    pub fn granted(self) -> Result<Self, FetchError> {
        if self.status == StatusCode::OK {
            Ok(self)
        } else {
            Err(FetchError::Status(self.status.as_u16()))
        }
    }
}

/// The system's roots, read at the first use and then kept.
#[derive(Debug, Default)]
pub struct Trust(OnceLock<Arc<RootCertStore>>);

impl Trust {
    fn system(&self) -> Arc<RootCertStore> {
        let read = || {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(%error, "some of the system's root certificates cannot be read");
            }
            let mut store = RootCertStore::empty();
            let (added, ignored) = store.add_parsable_certificates(found.certs);
            tracing::debug!(added, ignored, "system roots read");
            Arc::new(store)
        };
        Arc::clone(self.0.get_or_init(read))
    }
}

/// The way to one provider.
pub struct Fetcher {
    tls: Arc<ClientConfig>,
    private_network: bool,
    places: Semaphore,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher")
            .field("private_network", &self.private_network)
            .finish_non_exhaustive()
    }
}

impl Fetcher {
    /// To a provider that is trusted by the certificates in `ca_pem`, or else by the system's.
    ///
    /// # Errors
    /// There is no certificate in `ca_pem`, or one that is none.
    pub fn new(ca_pem: &str, private_network: bool, trust: &Trust) -> Result<Self, FetchError> {
        let roots = match ca_pem {
            "" => trust.system(),
            pem => Arc::new(own_roots(pem)?),
        };
        let mut tls = ClientConfig::builder_with_provider(runtime::tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(|_| FetchError::Ca("the settings of tls"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: Arc::new(tls),
            private_network,
            places: Semaphore::new(ASKING_MAX),
        })
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    /// Every [`FetchError`] but those of what the answer says.
    pub async fn ask(&self, ask: Ask<'_>) -> Result<Answer, FetchError> {
        let placed = async {
            // Never closed.
            let _place = self.places.acquire().await.ok();
            self.carry(ask).await
        };
        // Boxed: users' requests, which seldom ask, would carry its size.
        timeout(FETCH_TIMEOUT, Box::pin(placed))
            .await
            .map_err(|_| FetchError::Slow)?
    }

    /// The same for what the provider publishes, of which each is asked for once at a time: strangers' codes do not take its place.
    ///
    /// # Errors
    /// As [`Fetcher::ask`].
    pub async fn document(&self, url: &ProviderUrl) -> Result<Answer, FetchError> {
        timeout(FETCH_TIMEOUT, self.carry(Ask::get(url)))
            .await
            .map_err(|_| FetchError::Slow)?
    }

    async fn carry(&self, ask: Ask<'_>) -> Result<Answer, FetchError> {
        let request = request(&ask).map_err(FetchError::Question)?;
        let origin = ask.url.origin();
        let stream = self.connect(ask.url).await?;
        match origin.scheme {
            Scheme::Http => talk(stream, request).await,
            Scheme::Https => {
                let name = server_name(&origin.host).map_err(FetchError::Name)?;
                let connector = TlsConnector::from(Arc::clone(&self.tls));
                let secured = connector.connect(name, stream).await;
                talk(secured.map_err(FetchError::Connect)?, request).await
            }
        }
    }

    /// To the first address that answers. What is connected to is what was looked at, whatever the name says next.
    async fn connect(&self, url: &ProviderUrl) -> Result<TcpStream, FetchError> {
        let mut failed = None;
        for address in resolve(url).await?.into_iter().take(ADDRESSES_MAX) {
            if !address::is_fitting(address.ip(), self.private_network) {
                failed.get_or_insert(FetchError::Private(address));
                continue;
            }
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = Some(FetchError::Connect(error)),
                Err(_) => failed = Some(FetchError::Connect(io::ErrorKind::TimedOut.into())),
            }
        }
        let none = || FetchError::Resolve(io::Error::other("no address"));
        Err(failed.unwrap_or_else(none))
    }
}

async fn resolve(url: &ProviderUrl) -> Result<Vec<SocketAddr>, FetchError> {
    let origin = url.origin();
    match &origin.host {
        OriginHost::Ip(ip) => Ok(vec![SocketAddr::new(*ip, origin.port)]),
        OriginHost::Name(name) => {
            let found = lookup_host((name.as_str(), origin.port)).await;
            Ok(found.map_err(FetchError::Resolve)?.collect())
        }
        OriginHost::Socket(_) => Ok(Vec::new()),
    }
}

fn server_name(host: &OriginHost) -> Result<ServerName<'static>, InvalidDnsNameError> {
    match host {
        OriginHost::Ip(ip) => Ok(ServerName::from(*ip)),
        OriginHost::Name(_) | OriginHost::Socket(_) => ServerName::try_from(host.to_string()),
    }
}

fn own_roots(pem: &str) -> Result<RootCertStore, FetchError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| FetchError::Ca("it is no PEM"))?;
        let added = roots.add(certificate);
        added.map_err(|_| FetchError::Ca("a certificate in it cannot be a root"))?;
    }
    if roots.is_empty() {
        return Err(FetchError::Ca("there is no certificate in it"));
    }
    Ok(roots)
}

fn request(ask: &Ask<'_>) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut request = Request::builder()
        .uri(ask.url.target())
        .header(header::HOST, ask.url.origin().authority())
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "adit");
    if let Some(authorization) = &ask.authorization {
        request = request.header(header::AUTHORIZATION, authorization.field()?);
    }
    match &ask.form {
        None => request.body(Full::default()),
        Some(form) => request
            .method(Method::POST)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form.expose().clone())),
    }
}

async fn talk<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, FetchError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut settings = http1::Builder::new();
    settings.max_buf_size(HEAD_BYTES_MAX);
    let handshake = settings.handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(FetchError::Http)?;
    let asking = async {
        let response = sender.send_request(request).await;
        let (head, body) = response.map_err(FetchError::Http)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => FetchError::Http(*error),
            Err(error) => {
                debug_assert!(error.is::<LengthLimitError>(), "there is no other");
                FetchError::TooLong
            }
        })?;
        Ok(Answer {
            status: head.status,
            fields: head.headers,
            body: body.to_bytes(),
        })
    };
    // What has arrived when the connection ends is still read.
    let carrying = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        biased;
        answer = asking => answer,
        never = carrying => never,
    }
}
