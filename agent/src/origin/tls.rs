//! How an https origin is trusted: by the system's roots, by the app's own, or not at all.

use std::sync::{Arc, OnceLock};

use model::app::{self, OriginHost, OriginProtocol};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};

/// HTTP/1.1 (RFC 7301, section 6).
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// HTTP/2 over TLS (RFC 9113, section 3.2).
pub(super) const ALPN_HTTP2: &[u8] = b"h2";

/// Why an https origin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OriginTlsError {
    /// The app's own CA is no PEM certificate.
    #[error("the CA of {origin} is not valid PEM")]
    Pem {
        /// URL of the origin.
        origin: String,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The PEM text holds no certificate.
    #[error("the CA of {origin} holds no certificate")]
    NoCertificate {
        /// URL of the origin.
        origin: String,
    },
    /// A certificate in it cannot be a root.
    #[error("the CA of {origin} cannot be used as a root")]
    Root {
        /// URL of the origin.
        origin: String,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// No verifier can be made.
    #[error("cannot verify {origin}: there are no roots to trust")]
    Verifier {
        /// URL of the origin.
        origin: String,
        /// What is wrong.
        #[source]
        source: rustls::client::VerifierBuilderError,
    },
    /// The name to expect is none that TLS knows.
    #[error("the server name of {origin} is not valid")]
    Name {
        /// URL of the origin.
        origin: String,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::InvalidDnsNameError,
    },
    /// The TLS library refuses its own settings.
    #[error("making TLS settings for {origin}")]
    Settings {
        /// URL of the origin.
        origin: String,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
}

/// The system's roots, read at the first use and then kept. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct SystemRoots {
    store: Arc<OnceLock<Arc<RootCertStore>>>,
}

impl SystemRoots {
    fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(
            self.store
                .get_or_init(|| Arc::new(runtime::tls::system_roots())),
        )
    }
}

/// What a TLS handshake with one origin needs.
#[derive(Debug)]
pub(super) struct OriginTls {
    /// Offers what the app's protocol setting says.
    pub(super) settings: Arc<ClientConfig>,
    /// Offers HTTP/1.1 alone, for what HTTP/2 cannot do.
    pub(super) http1: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl OriginTls {
    pub(super) fn new(origin: &app::Origin, roots: &SystemRoots) -> Result<Self, OriginTlsError> {
        let verifier: Arc<dyn ServerCertVerifier> = if origin.tls.insecure {
            tracing::warn!(origin = %origin.url, "any certificate of this origin is accepted: its app is published as insecure");
            Arc::new(AnyCertificate {
                provider: runtime::tls::provider(),
            })
        } else {
            verifier(origin, roots)?
        };
        let offered: &[&[u8]] = match origin.protocol {
            OriginProtocol::Auto => &[ALPN_HTTP2, ALPN_HTTP1],
            OriginProtocol::Http1 => &[ALPN_HTTP1],
            OriginProtocol::Http2 => &[ALPN_HTTP2],
        };
        Ok(Self {
            settings: Arc::new(settings(origin, Arc::clone(&verifier), offered)?),
            http1: Arc::new(settings(origin, verifier, &[ALPN_HTTP1])?),
            name: server_name(origin)?,
        })
    }
}

fn settings(
    origin: &app::Origin,
    verifier: Arc<dyn ServerCertVerifier>,
    offered: &[&[u8]],
) -> Result<ClientConfig, OriginTlsError> {
    // Origins are often old: TLS 1.2 is spoken too.
    let mut settings = ClientConfig::builder_with_provider(runtime::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| OriginTlsError::Settings {
            origin: origin.url.to_string(),
            source,
        })?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    settings.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(settings)
}

fn verifier(
    origin: &app::Origin,
    system: &SystemRoots,
) -> Result<Arc<dyn ServerCertVerifier>, OriginTlsError> {
    let roots = match &origin.tls.ca_pem {
        Some(pem) => Arc::new(own_roots(origin, pem)?),
        None => system.store(),
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, runtime::tls::provider())
        .build()
        .map_err(|source| OriginTlsError::Verifier {
            origin: origin.url.to_string(),
            source,
        })?;
    Ok(verifier)
}

fn own_roots(origin: &app::Origin, pem: &str) -> Result<RootCertStore, OriginTlsError> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|source| OriginTlsError::Pem {
            origin: origin.url.to_string(),
            source,
        })?;
        store
            .add(certificate)
            .map_err(|source| OriginTlsError::Root {
                origin: origin.url.to_string(),
                source,
            })?;
    }
    if store.is_empty() {
        return Err(OriginTlsError::NoCertificate {
            origin: origin.url.to_string(),
        });
    }
    Ok(store)
}

fn server_name(origin: &app::Origin) -> Result<ServerName<'static>, OriginTlsError> {
    let name = match (&origin.tls.server_name, &origin.url.host) {
        (Some(name), _) | (None, OriginHost::Name(name)) => name.as_str().to_owned(),
        (None, OriginHost::Ip(ip)) => return Ok(ServerName::IpAddress((*ip).into())),
        (None, OriginHost::Socket(_)) => origin.url.authority(),
    };
    ServerName::try_from(name).map_err(|source| OriginTlsError::Name {
        origin: origin.url.to_string(),
        source,
    })
}

/// Accepts whatever certificate is shown, as long as the server holds its key.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
