//! Who the other side of a handshake is.

use aws_lc_rs::digest;
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
    let leaf = leaf(chain)?;
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

/// SHA-256 of the public key (SubjectPublicKeyInfo) in the leaf of a chain that TLS has verified: what tells a node from whoever
/// had its name before.
///
/// # Errors
/// See [`PeerError`].
pub fn peer_key_sha256(chain: &[CertificateDer<'_>]) -> Result<[u8; 32], PeerError> {
    let leaf = leaf(chain)?;
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest::digest(&digest::SHA256, leaf.public_key().raw).as_ref());
    Ok(sha256)
}

fn leaf<'a>(chain: &'a [CertificateDer<'_>]) -> Result<X509Certificate<'a>, PeerError> {
    let leaf = chain.first().ok_or(PeerError::NoCertificate)?;
    let (rest, leaf) = X509Certificate::from_der(leaf).map_err(|_| PeerError::Malformed)?;
    if rest.is_empty() {
        Ok(leaf)
    } else {
        Err(PeerError::Malformed)
    }
}
