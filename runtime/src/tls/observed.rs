//! Client settings that tell what the server presented, also where it is refused: for those who look for a fault.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{CaPin, PinnedCa, TlsError, owned, provider, server_verifier};
use crate::identity::Identity;

/// By what a server is known.
#[derive(Clone, Debug)]
pub enum Anchor {
    /// Certificates of the fabric's CA.
    Roots(Vec<CertificateDer<'static>>),
    /// The digest of one.
    Pin(CaPin),
}

/// The chain that the last server presented, leaf first, and what was thought of it; empty until one did.
#[derive(Clone, Debug, Default)]
pub struct Presented {
    seen: Arc<Mutex<Seen>>,
    proven: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Seen {
    chain: Vec<CertificateDer<'static>>,
    wrong: Option<CertificateError>,
}

impl Presented {
    /// The chain.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.seen().chain.clone()
    }

    /// What is wrong with it, if it was refused.
    #[must_use]
    pub fn wrong(&self) -> Option<CertificateError> {
        self.seen().wrong.clone()
    }

    /// Whether that server is known by the anchor, and has the key of its certificate: what failed later is no question of who it is.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.proven.load(Relaxed)
    }

    fn note_proof(
        &self,
        proof: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.proven.store(proof.is_ok(), Relaxed);
        proof
    }

    fn note(&self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) {
        self.proven.store(false, Relaxed);
        let chain = std::iter::once(leaf).chain(intermediates);
        let chain = chain.map(|certificate| certificate.clone().into_owned());
        *self.seen() = Seen {
            chain: chain.collect(),
            wrong: None,
        };
    }

    fn note_verdict(
        &self,
        verdict: Result<ServerCertVerified, Error>,
    ) -> Result<ServerCertVerified, Error> {
        if let Err(Error::InvalidCertificate(wrong)) = &verdict {
            self.seen().wrong = Some(wrong.clone());
        }
        verdict
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Settings that trust the anchor and nothing else. TLS 1.2 is spoken too, as those who come
/// between may know no other; whom they present is refused either way.
///
/// # Errors
/// See [`TlsError`].
pub fn observed_client_config(
    anchor: &Anchor,
    client: Option<&Identity>,
    alpn: &[&[u8]],
) -> Result<(ClientConfig, Presented), TlsError> {
    let presented = Presented::default();
    let inner = match anchor {
        Anchor::Roots(roots) => server_verifier(roots)?,
        Anchor::Pin(pin) => Arc::new(PinnedCa::new(*pin, provider())),
    };
    let verifier = Observed {
        inner,
        presented: presented.clone(),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Certificate)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match client {
        Some(identity) => builder
            .with_client_auth_cert(identity.chain().to_vec(), identity.key())
            .map_err(TlsError::Certificate)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = owned(alpn);
    Ok((config, presented))
}

/// Judges as another does, and remembers what was judged.
#[derive(Debug)]
struct Observed {
    inner: Arc<dyn ServerCertVerifier>,
    presented: Presented,
}

impl ServerCertVerifier for Observed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.presented.note(end_entity, intermediates);
        let verdict = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        self.presented.note_verdict(verdict)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Asked only of a certificate that was accepted.
        let proof = self
            .inner
            .verify_tls12_signature(message, certificate, signature);
        self.presented.note_proof(proof)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Asked only of a certificate that was accepted.
        let proof = self
            .inner
            .verify_tls13_signature(message, certificate, signature);
        self.presented.note_proof(proof)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
