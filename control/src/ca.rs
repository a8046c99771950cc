//! The fabric's certificate authority: one P-256 key and its certificate, in two files of the data directory.
//!
//! It signs what nodes ask for at enrolment and renewal, control's own server certificate, and the certificates that
//! edges show to users until real ones come. Whoever holds `ca.key` is the fabric: it never leaves the directory.

mod issue;
mod request;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use model::host::Hostname;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
};
use runtime::{file, tls::CaPin};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::secret_file::{self, SecretFileError};

pub use issue::{CLOCK_SKEW, Issued, NODE_LIFE, Signed};
pub(crate) use issue::{dns_name, host_name, uri};
pub use request::{NodeRequest, RequestError};

/// Name of the CA's private key (PKCS#8 PEM).
pub const KEY_FILE: &str = "ca.key";
/// Name of the CA's certificate (PEM): what operators and users may trust.
pub const CERTIFICATE_FILE: &str = "ca.pem";
/// Life of the CA's certificate: replacing it means that every node and operator learns a new one.
const LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// The CA of a fabric.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    root_pem: String,
    expires_at: SystemTime,
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca")
            .field("pin", &self.pin())
            .finish_non_exhaustive()
    }
}

/// Why there is no CA.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// Its key cannot be read or written.
    #[error("cannot use the CA's key")]
    Key(#[source] SecretFileError),
    /// Its certificate cannot be read or written.
    #[error("cannot use {}", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The certificate's file holds none.
    #[error("{} holds no CA certificate", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// The two files are not of one CA.
    #[error("{} does not fit the key beside it", path.display())]
    Mismatch {
        /// The certificate.
        path: PathBuf,
    },
    /// The cryptography failed.
    #[error("making a CA certificate")]
    Crypto(#[from] rcgen::Error),
}

impl Ca {
    /// Makes the CA of a new fabric, or goes on where a first start was interrupted.
    ///
    /// # Errors
    /// See [`CaError`].
    pub fn found(directory: &Path, domain: &Hostname, now: SystemTime) -> Result<Self, CaError> {
        let key =
            secret_file::load_or_create_key(&directory.join(KEY_FILE)).map_err(CaError::Key)?;
        let path = directory.join(CERTIFICATE_FILE);
        if !path.exists() {
            let pem = root(domain, &key, now)?.pem();
            file::replace(&path, pem.as_bytes(), file::PUBLIC)
                .map_err(|source| CaError::Certificate { path, source })?;
        }
        Self::load(directory)
    }

    /// Reads the CA of a fabric that exists.
    ///
    /// # Errors
    /// See [`CaError`]. A missing file is one: a new CA would cut off every node.
    pub fn load(directory: &Path) -> Result<Self, CaError> {
        let key = secret_file::load_key(&directory.join(KEY_FILE)).map_err(CaError::Key)?;
        let path = directory.join(CERTIFICATE_FILE);
        let root_pem = std::fs::read_to_string(&path).map_err(|source| CaError::Certificate {
            path: path.clone(),
            source,
        })?;
        let malformed = || CaError::Malformed { path: path.clone() };
        let root = CertificateDer::from_pem_slice(root_pem.as_bytes()).map_err(|_| malformed())?;
        let (_, parsed) = X509Certificate::from_der(&root).map_err(|_| malformed())?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(CaError::Mismatch { path });
        }
        let expiry = u64::try_from(parsed.validity().not_after.timestamp());
        let expires_at = SystemTime::UNIX_EPOCH + Duration::from_secs(expiry.unwrap_or_default());
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&root, key)?,
            root,
            root_pem,
            expires_at,
        })
    }

    /// The CA's certificate, which every node trusts.
    #[must_use]
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// The same as text.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// What join tokens carry of it.
    #[must_use]
    pub fn pin(&self) -> CaPin {
        CaPin::of(&self.root)
    }

    /// When the CA ends, and the fabric with it.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at
    }
}

fn root(
    domain: &Hostname,
    key: &KeyPair,
    now: SystemTime,
) -> Result<rcgen::Certificate, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + LIFE).into();
    // The CA signs leaves only.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "adit");
    name.push(DnType::CommonName, format!("adit fabric {domain}"));
    params.distinguished_name = name;
    params.self_signed(key)
}

/// A key of the only kind that control makes.
pub(crate) fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

#[cfg(test)]
mod tests;
