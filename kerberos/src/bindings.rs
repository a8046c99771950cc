//! Channel bindings: a token that holds for one TLS connection's server only ("extended protection" in IIS).

use std::{fmt, sync::Arc};

use aws_lc_rs::digest::{self, Algorithm, SHA256, SHA384, SHA512};
use thiserror::Error;

use crate::der::{self, Elements, NotDer};

/// Why a certificate gives no bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BindingsError {
    /// It is not a certificate.
    #[error("the certificate of the server cannot be read")]
    Certificate,
    /// RFC 5929, section 4.1: of a signature that has no hash, or several, the bindings are undefined.
    #[error("the certificate of the server is signed in a way that has no channel bindings")]
    Undefined,
}

/// What a token is bound to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Bindings(Arc<[u8]>);

impl Bindings {
    /// `tls-server-end-point` of RFC 5929, section 4: the hash of the server's certificate, by that of its signature, but by SHA-256
    /// where that is MD5 or SHA-1.
    pub fn tls_server_end_point(certificate: &[u8]) -> Result<Self, BindingsError> {
        let hash = signature_hash(certificate)?;
        let hash = digest::digest(hash, certificate);
        Ok(Self(
            [b"tls-server-end-point:", hash.as_ref()].concat().into(),
        ))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Bindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bindings(tls-server-end-point)")
    }
}

fn signature_hash(certificate: &[u8]) -> Result<&'static Algorithm, BindingsError> {
    let (oid, parameters) =
        signature_algorithm(certificate).map_err(|_| BindingsError::Certificate)?;
    let hash = match oid {
        PSS => pss_hash(parameters).ok().flatten(),
        oid => hash_of(SIGNATURES, oid),
    };
    hash.ok_or(BindingsError::Undefined)
}

/// RFC 5280, section 4.1: what is signed, by what, and the signature.
fn signature_algorithm(certificate: &[u8]) -> Result<(&[u8], &[u8]), NotDer> {
    let mut parts = Elements::of(der::only(certificate, der::SEQUENCE)?);
    parts.one(der::SEQUENCE)?;
    let mut algorithm = Elements::of(parts.one(der::SEQUENCE)?);
    let oid = algorithm.one(der::OID)?;
    let parameters = algorithm.optional(der::SEQUENCE)?;
    Ok((oid, parameters.unwrap_or_default()))
}

/// RFC 8017, section A.2.3: the hash is a parameter, SHA-1 unless it is said.
fn pss_hash(parameters: &[u8]) -> Result<Option<&'static Algorithm>, NotDer> {
    let Some(hash) = Elements::of(parameters).optional(der::context(0))? else {
        return Ok(Some(&SHA256));
    };
    let oid = Elements::of(der::only(hash, der::SEQUENCE)?).one(der::OID)?;
    Ok(hash_of(HASHES, oid))
}

fn hash_of(table: Table, oid: &[u8]) -> Option<&'static Algorithm> {
    let row = table.iter().find(|(known, _)| *known == oid)?;
    Some(row.1)
}

/// Object identifiers, as DER has them, with the hash of bindings.
type Table = &'static [(&'static [u8], &'static Algorithm)];

/// `id-RSASSA-PSS`.
const PSS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";

/// Signatures that have one hash.
const SIGNATURES: Table = &[
    // RSA with MD5, SHA-1, SHA-256, 384, 512; RFC 8017, section A.2.4.
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04", &SHA256),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05", &SHA256),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b", &SHA256),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c", &SHA384),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d", &SHA512),
    // ECDSA with SHA-1, SHA-256, 384, 512; RFC 5758, section 3.2.
    (b"\x2a\x86\x48\xce\x3d\x04\x01", &SHA256),
    (b"\x2a\x86\x48\xce\x3d\x04\x03\x02", &SHA256),
    (b"\x2a\x86\x48\xce\x3d\x04\x03\x03", &SHA384),
    (b"\x2a\x86\x48\xce\x3d\x04\x03\x04", &SHA512),
];

/// Hashes, as PSS names them: SHA-1, SHA-256, 384, 512.
const HASHES: Table = &[
    (b"\x2b\x0e\x03\x02\x1a", &SHA256),
    (b"\x60\x86\x48\x01\x65\x03\x04\x02\x01", &SHA256),
    (b"\x60\x86\x48\x01\x65\x03\x04\x02\x02", &SHA384),
    (b"\x60\x86\x48\x01\x65\x03\x04\x02\x03", &SHA512),
];

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

    use super::*;

    fn certificate(by: &'static SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(by).expect("a key");
        let params = CertificateParams::new(["app.lab.test".to_owned()]).expect("a name");
        params
            .self_signed(&key)
            .expect("a certificate")
            .der()
            .to_vec()
    }

    #[test]
    fn bindings_take_the_hash_of_the_signature() {
        for (by, hash) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, &SHA256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, &SHA384),
            (&rcgen::PKCS_ECDSA_P521_SHA512, &SHA512),
        ] {
            let certificate = certificate(by);
            let hash = digest::digest(hash, &certificate);
            let expected = [b"tls-server-end-point:", hash.as_ref()].concat();
            let found = Bindings::tls_server_end_point(&certificate).expect("bindings");
            assert_eq!(found.as_bytes(), expected);
        }
    }

    #[test]
    fn a_signature_without_a_hash_has_no_bindings() {
        let found = Bindings::tls_server_end_point(&certificate(&rcgen::PKCS_ED25519));
        assert_eq!(found, Err(BindingsError::Undefined));
    }

    /// A certificate in nothing but its shape.
    fn shaped(oid: &[u8], parameters: &[u8]) -> Vec<u8> {
        let oid = der::element(der::OID, &[oid]);
        let algorithm = der::element(der::SEQUENCE, &[&oid, parameters]);
        let signed = der::element(der::SEQUENCE, &[b"\x02\x01\x01"]);
        der::element(der::SEQUENCE, &[&signed, &algorithm, b"\x03\x01\x00"])
    }

    #[test]
    fn weak_hashes_are_replaced_and_pss_says_its_own() {
        let null: &[u8] = b"\x05\x00";
        let pss = |hash: Option<&[u8]>| {
            let hash = hash.map(|oid| {
                let oid = der::element(der::OID, &[oid]);
                der::element(
                    der::context(0),
                    &[&der::element(der::SEQUENCE, &[&oid, null])],
                )
            });
            let salt = der::element(der::context(2), &[b"\x02\x01\x20"]);
            shaped(
                PSS,
                &der::element(der::SEQUENCE, &[&hash.unwrap_or_default(), &salt]),
            )
        };
        for (certificate, expected) in [
            (shaped(SIGNATURES[0].0, null), Some(&SHA256)),
            (shaped(SIGNATURES[1].0, null), Some(&SHA256)),
            (shaped(SIGNATURES[3].0, null), Some(&SHA384)),
            (pss(None), Some(&SHA256)),
            (pss(Some(HASHES[0].0)), Some(&SHA256)),
            (pss(Some(HASHES[3].0)), Some(&SHA512)),
            (pss(Some(b"\x2a\x03")), None),
            (shaped(PSS, b""), Some(&SHA256)),
            (shaped(b"\x2a\x03", null), None),
        ] {
            assert_eq!(signature_hash(&certificate).ok(), expected);
        }
    }

    #[test]
    fn what_is_no_certificate_gives_none() {
        let whole = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        for cut in 0..whole.len() {
            let found = Bindings::tls_server_end_point(&whole[..cut]);
            assert_eq!(found, Err(BindingsError::Certificate), "{cut}");
        }
    }
}
