//! TLS towards users: what every handshake has, and what one has in which a certificate is asked for.
//!
//! Certificates are asked for at those hosts alone whose apps want them. rustls has one verifier for all of its hosts, so that while any host
//! wants certificates, each handshake gets settings of its own, which learn the host's name first: rustls looks for the server's
//! certificate before it asks for the client's, or looks at a ticket.
//!
//! Handshakes that ask are never resumed. So each of these connections proves its key anew, a certificate that a user has got meanwhile
//! is asked for at once, and no ticket has anybody's certificate in it.

use std::sync::{Arc, OnceLock};

use model::host::Hostname;
use runtime::tls;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
    client::danger::HandshakeSignatureValid,
    crypto::{aws_lc_rs::Ticketer, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        ClientHello, ProducesTickets, ResolvesServerCert, StoresServerSessions,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio_util::sync::CancellationToken;

use crate::{
    certificates::{CertificateError, Resolver},
    client_certificates::ClientCertificate,
    tickets::Tickets,
    view::Views,
};

/// HTTP/3, the only protocol for users over QUIC.
const ALPN_H3: &[u8] = b"h3";
/// Protocols for users over TCP, best first.
const ALPN: [&[u8]; 2] = [tls::ALPN_H2, b"http/1.1"];

/// Over TCP, TLS 1.2 at the least.
const OVER_TCP: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
/// Over QUIC there is no other (RFC 9001, section 4.2).
const OVER_QUIC: &[&SupportedProtocolVersion] = &[&TLS13];

/// Makes the settings of handshakes with users: tickets on, early data off.
#[derive(Debug)]
pub(crate) struct UserTls {
    views: Views,
    tcp: Arc<ServerConfig>,
    quic: Arc<ServerConfig>,
}

/// Settings of one handshake to come.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// For rustls.
    pub(crate) config: Arc<ServerConfig>,
    /// None where no host wants certificates.
    asking: Option<Arc<Asking>>,
}

/// What the two sides have agreed on about a client's certificate.
#[derive(Debug, Default)]
pub(crate) struct Greeted {
    /// The host by the client's own word; none if it named none, or one that no app can have.
    pub(crate) server_name: Option<Hostname>,
    /// Whether a certificate was asked for.
    pub(crate) was_asked: bool,
    /// The certificate, if there is one to look at.
    pub(crate) certificate: Option<Arc<ClientCertificate>>,
    /// Cancelled once the host asks for certificates, and has not here: nothing can be answered on the connection any more.
    pub(crate) outlived: CancellationToken,
}

impl UserTls {
    /// # Errors
    /// The system has no randomness for the tickets' keys, or no TLS 1.3.
    pub(crate) fn new(views: Views) -> Result<Self, CertificateError> {
        let resolver = Arc::new(Resolver::new(views.clone()));
        let own = Ticketer::new().map_err(CertificateError::Settings)?;
        let tickets: Arc<dyn ProducesTickets> = Arc::new(Tickets::new(views.clone(), own));
        let usual = |versions, alpn: &[&[u8]]| {
            let mut config = ServerConfig::builder_with_provider(tls::provider())
                .with_protocol_versions(versions)
                .map_err(CertificateError::Settings)?
                .with_no_client_auth()
                .with_cert_resolver(Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>);
            config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
            config.ticketer = Arc::clone(&tickets);
            Ok(Arc::new(config))
        };
        Ok(Self {
            tcp: usual(OVER_TCP, &ALPN)?,
            quic: usual(OVER_QUIC, &[ALPN_H3])?,
            views,
        })
    }

    /// What every handshake over QUIC has in which nothing is asked.
    pub(crate) const fn usual_quic(&self) -> &Arc<ServerConfig> {
        &self.quic
    }

    /// For the next connection over TCP.
    pub(crate) fn over_tcp(&self) -> Prepared {
        self.prepare(&self.tcp, OVER_TCP)
    }

    /// For the next connection over QUIC.
    pub(crate) fn over_quic(&self) -> Prepared {
        self.prepare(&self.quic, OVER_QUIC)
    }

    fn prepare(
        &self,
        usual: &Arc<ServerConfig>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Prepared {
        let wants_any = self
            .views
            .current()
            .is_some_and(|view| view.wants_certificates());
        let asking = wants_any.then(|| {
            Arc::new(Asking {
                views: self.views.clone(),
                usual: Arc::clone(usual),
                asked: OnceLock::new(),
            })
        });
        let config = asking.as_ref().and_then(|asking| asking.config(versions));
        Prepared {
            config: config.map_or_else(|| Arc::clone(usual), Arc::new),
            asking,
        }
    }
}

impl Prepared {
    /// Who came, with the name and the chain that rustls knows.
    pub(crate) fn greeted(
        &self,
        server_name: Option<&str>,
        chain: impl FnOnce() -> Option<Vec<CertificateDer<'static>>>,
    ) -> Greeted {
        let server_name = server_name.and_then(|name| name.parse::<Hostname>().ok());
        let was_asked = self.asking.as_ref().is_some_and(|asking| asking.asks());
        let host = server_name.clone().filter(|_| was_asked);
        let shown = host.and_then(|host| ClientCertificate::new(host, chain()?));
        Greeted {
            server_name,
            was_asked,
            certificate: shown.map(Arc::new),
            outlived: CancellationToken::new(),
        }
    }
}

/// Learns the host's name, and decides what is asked there.
#[derive(Debug)]
struct Asking {
    views: Views,
    usual: Arc<ServerConfig>,
    /// By which CAs clients choose a certificate, where the host wants one; unset until the host is known.
    asked: OnceLock<Option<Vec<DistinguishedName>>>,
}

impl Asking {
    fn config(
        self: &Arc<Self>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Option<ServerConfig> {
        let config = ServerConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(versions)
            // Those that made the usual settings.
            .ok()?;
        let mut config = config
            .with_client_cert_verifier(Arc::clone(self) as Arc<dyn ClientCertVerifier>)
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols.clone_from(&self.usual.alpn_protocols);
        config.ticketer = Arc::clone(self) as Arc<dyn ProducesTickets>;
        config.session_storage = Arc::clone(self) as Arc<dyn StoresServerSessions>;
        Some(config)
    }

    /// Whether a certificate is asked for, as far as that is known.
    fn asks(&self) -> bool {
        matches!(self.asked.get(), Some(Some(_)))
    }

    /// Whether the session may be kept, and one that was kept may go on.
    fn may_resume(&self) -> bool {
        matches!(self.asked.get(), Some(None))
    }
}

impl ResolvesServerCert for Asking {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        // After a second hello, which has the same name, the first answer stays.
        self.asked.get_or_init(|| {
            let view = self.views.current()?;
            view.wanted_at(&name?.parse().ok()?)
        });
        self.usual.cert_resolver.resolve(hello)
    }
}

/// Takes any certificate whose key is proven: whether it counts is asked with each request.
impl ClientCertVerifier for Asking {
    fn offer_client_auth(&self) -> bool {
        // Before the host is known TLS 1.2 wants to hear whether to keep what a client will sign.
        !self.may_resume()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        let asked = self.asked.get().and_then(Option::as_deref);
        asked.unwrap_or_default()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self
            .usual
            .crypto_provider()
            .signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self
            .usual
            .crypto_provider()
            .signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = &self
            .usual
            .crypto_provider()
            .signature_verification_algorithms;
        known.supported_schemes()
    }
}

impl ProducesTickets for Asking {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.usual.ticketer.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.may_resume()
            .then(|| self.usual.ticketer.encrypt(plain))?
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.may_resume()
            .then(|| self.usual.ticketer.decrypt(cipher))?
    }
}

impl StoresServerSessions for Asking {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.may_resume() && self.usual.session_storage.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.may_resume()
            .then(|| self.usual.session_storage.get(key))?
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.may_resume()
            .then(|| self.usual.session_storage.take(key))?
    }

    fn can_cache(&self) -> bool {
        self.may_resume() && self.usual.session_storage.can_cache()
    }
}
