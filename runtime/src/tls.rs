//! TLS settings, in one place: rustls on aws-lc-rs, TLS 1.3 alone between nodes.
//!
//! Nodes trust the fabric's CA and nothing else. Names and identities follow the rule in [`crate::node`]. Revocation is not
//! TLS's business here: the deny-list in every snapshot is, checked against [`peer_identity`] after the handshake. For that
//! reason sessions are never resumed on the agents' side of an edge: each handshake proves a certificate that is valid now.

mod observed;
mod peer;
mod pin;

use std::sync::{Arc, Once};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

pub use observed::{Anchor, Presented, observed_client_config};
pub use peer::{PeerError, peer_identity, peer_key_sha256};
pub use pin::{CaPin, CaPinError, PinnedCa};

use crate::identity::Identity;

/// ALPN of HTTP/2, for everything that speaks gRPC.
pub const ALPN_H2: &[u8] = b"h2";

/// Why no TLS settings could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The text holds no certificate in PEM.
    #[error("no CA certificate in the PEM text")]
    NoCertificate,
    /// A root certificate cannot be used as one.
    #[error("cannot use a root certificate")]
    Root(#[source] rustls::Error),
    /// No verifier can be built from the roots: there are none.
    #[error("cannot verify peers with these roots")]
    Verifier(#[source] VerifierBuilderError),
    /// The node's own certificate or key cannot be used.
    #[error("cannot use the node's certificate")]
    Certificate(#[source] rustls::Error),
}

/// Makes aws-lc-rs the process's cryptography. Call first; calling again does nothing.
pub fn install_provider() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // Refused only when someone installed one already; ours is named explicitly wherever it matters.
        let _ = aws_lc_rs::default_provider().install_default();
    });
}

/// Client settings of a node that proves itself by its certificate: agent to edge, any node to control.
///
/// # Errors
/// See [`TlsError`].
pub fn node_client_config(identity: &Identity, alpn: &[&[u8]]) -> Result<ClientConfig, TlsError> {
    let verifier = server_verifier(identity.roots())?;
    let mut config = tls13_client(verifier)
        .with_client_auth_cert(identity.chain().to_vec(), identity.key())
        .map_err(TlsError::Certificate)?;
    config.alpn_protocols = owned(alpn);
    Ok(config)
}

/// Server settings of a node that asks for certificates of the fabric: an edge towards agents and peers.
///
/// # Errors
/// See [`TlsError`].
pub fn agents_server_config(identity: &Identity, alpn: &[&[u8]]) -> Result<ServerConfig, TlsError> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(store(identity.roots())?), provider())
            .build()
            .map_err(TlsError::Verifier)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Certificate)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain().to_vec(), identity.key())
        .map_err(TlsError::Certificate)?;
    config.alpn_protocols = owned(alpn);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Client settings for the first contact: nothing is known of control but the digest of its CA.
#[must_use]
pub fn pinned_client_config(pin: CaPin, alpn: &[&[u8]]) -> ClientConfig {
    let mut config = tls13_client(Arc::new(PinnedCa::new(pin, provider()))).with_no_client_auth();
    config.alpn_protocols = owned(alpn);
    config
}

/// Client settings of a node that cannot prove itself by its certificate any more, towards control of its fabric.
///
/// # Errors
/// See [`TlsError`].
pub fn anonymous_client_config(
    roots: &[CertificateDer<'static>],
    alpn: &[&[u8]],
) -> Result<ClientConfig, TlsError> {
    let mut config = tls13_client(server_verifier(roots)?).with_no_client_auth();
    config.alpn_protocols = owned(alpn);
    Ok(config)
}

/// Client settings for operators, who prove themselves by a token inside: any CA given as PEM text.
///
/// # Errors
/// See [`TlsError`].
pub fn ca_client_config(ca_pem: &str, alpn: &[&[u8]]) -> Result<ClientConfig, TlsError> {
    let roots = CertificateDer::pem_slice_iter(ca_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsError::NoCertificate)?;
    if roots.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    anonymous_client_config(&roots, alpn)
}

/// The provider that every setting here names.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The roots that this system trusts, or those of the file that `SSL_CERT_FILE` names. Blocks on the disk.
#[must_use]
pub fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the system's root certificates cannot be read");
    }
    let mut store = RootCertStore::empty();
    let (added, ignored) = store.add_parsable_certificates(found.certs);
    tracing::debug!(added, ignored, "system roots read");
    store
}

/// Roots as a store.
///
/// # Errors
/// When one of them is no CA certificate.
pub fn store(roots: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(TlsError::Root)?;
    }
    Ok(store)
}

fn server_verifier(
    roots: &[CertificateDer<'static>],
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store(roots)?), provider())
        .build()
        .map_err(TlsError::Verifier)?;
    Ok(verifier)
}

fn tls13_client(
    verifier: Arc<dyn ServerCertVerifier>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has cipher suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
}

fn owned(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.to_vec()).collect()
}

#[cfg(test)]
mod tests;
