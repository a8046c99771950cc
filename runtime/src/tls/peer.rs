//! Who the other side of a handshake is.

use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use crate::node::{NodeIdentity, NodeIdentityError};

/// Why a proven chain names no node.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The peer presented no certificate.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// The leaf cannot be read.
    #[error("cannot read the peer's certificate")]
    Malformed,
    /// The leaf has no URI name, or more than one.
    #[error("the peer's certificate must have exactly one URI name, it has {count}")]
    UriNames {
        /// How many it has.
        count: usize,
    },
    /// The URI names no node.
    #[error("the peer's certificate names no node")]
    Name(#[source] NodeIdentityError),
}

/// Reads the identity from the leaf of a chain that TLS has verified. Nothing else says who a peer is.
///
/// # Errors
/// See [`PeerError`].
pub fn peer_identity(chain: &[CertificateDer<'_>]) -> Result<NodeIdentity, PeerError> {
    let leaf = chain.first().ok_or(PeerError::NoCertificate)?;
    let (rest, leaf) = X509Certificate::from_der(leaf).map_err(|_| PeerError::Malformed)?;
    if !rest.is_empty() {
        return Err(PeerError::Malformed);
    }
    let names = leaf
        .subject_alternative_name()
        .map_err(|_| PeerError::Malformed)?
        .map(|extension| &extension.value.general_names);
    let uris: Vec<&str> = names
        .into_iter()
        .flatten()
        .filter_map(|name| {
            if let GeneralName::URI(uri) = name {
                Some(*uri)
            } else {
                None
            }
        })
        .collect();
    let [uri] = uris[..] else {
        return Err(PeerError::UriNames { count: uris.len() });
    };
    uri.parse().map_err(PeerError::Name)
}
