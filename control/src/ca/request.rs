//! What a node asks to be certified: one name and one key, proven by a signature.

use rcgen::{
    CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PublicKeyData as _, SanType, SubjectPublicKeyInfo,
};
use runtime::node::NodeIdentity;
use rustls_pki_types::CertificateSigningRequestDer;
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer as _};

/// Largest request that is looked at; real ones have about 300 bytes.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// A request whose signature holds.
#[derive(Debug, Clone)]
pub struct NodeRequest {
    pub(super) name: NodeIdentity,
    pub(super) key: SubjectPublicKeyInfo,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Too long, no PKCS#10, or with extensions that nobody asked for.
    #[error("the certificate request cannot be read")]
    Malformed,
    /// Not signed by the key in it.
    #[error("the certificate request is not signed by its own key")]
    Signature,
    /// A key that is neither EC (P-256, P-384) nor Ed25519.
    #[error("the key must be EC P-256, EC P-384 or Ed25519")]
    Key,
    /// Not exactly one name, or not a node's.
    #[error("the certificate request must have one name only, spiffe://<domain>/<role>/<id>")]
    Name,
}

impl NodeRequest {
    /// Reads a request and proves it.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn parse(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > REQUEST_BYTES_MAX {
            return Err(RequestError::Malformed);
        }
        let request = CertificateSigningRequestDer::from(der);
        let request = CertificateSigningRequestParams::from_der(&request)
            .map_err(|error| unreadable(&error))?;
        let [SanType::URI(uri)] = &request.params.subject_alt_names[..] else {
            return Err(RequestError::Name);
        };
        let name = uri.as_str().parse().map_err(|_| RequestError::Name)?;
        Ok(Self {
            name,
            key: key(der)?,
        })
    }

    /// Who the node wants to be.
    #[must_use]
    pub fn name(&self) -> &NodeIdentity {
        &self.name
    }

    /// SHA-256 of its public key (SubjectPublicKeyInfo).
    #[must_use]
    pub fn key_sha256(&self) -> Vec<u8> {
        let info = self.key.subject_public_key_info();
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &info)
            .as_ref()
            .to_vec()
    }
}

fn unreadable(error: &rcgen::Error) -> RequestError {
    match error {
        rcgen::Error::InvalidCertificationRequestSignature => RequestError::Signature,
        rcgen::Error::UnsupportedSignatureAlgorithm => RequestError::Key,
        _ => RequestError::Malformed,
    }
}

/// The key as the request holds it: the signature's algorithm, which rcgen goes by, does not tell the curve.
fn key(der: &[u8]) -> Result<SubjectPublicKeyInfo, RequestError> {
    let (rest, request) =
        X509CertificationRequest::from_der(der).map_err(|_| RequestError::Malformed)?;
    if !rest.is_empty() {
        return Err(RequestError::Malformed);
    }
    let info = request.certification_request_info.subject_pki.raw;
    let key = SubjectPublicKeyInfo::from_der(info).map_err(|_| RequestError::Key)?;
    let good = [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
    ];
    if good.contains(&key.algorithm()) {
        Ok(key)
    } else {
        Err(RequestError::Key)
    }
}
