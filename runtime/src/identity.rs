//! Who this node is: a key, a certificate of the fabric's CA, the roots it trusts. Lives in one directory, renews.
//!
//! Files: `identity.key` (PKCS#8 PEM, 0600), `roots.pem`, `identity.pem` (leaf first), the last written last: without it
//! there is no identity yet, only a key that control may have certified already. A renewal keeps the key; with another key the old certificate goes first. So a crash between two
//! files never leaves a pair that does not fit.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType,
    string::Ia5String,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::sync::watch;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::{
    file,
    node::NodeIdentity,
    tls::{PeerError, peer_identity, provider},
};

/// How long after its end a certificate can be recovered by its key: a machine that stood in a cupboard for a month.
pub const RECOVERABLE: Duration = Duration::from_secs(30 * 24 * 3_600);

const KEY_FILE: &str = "identity.key";
const CHAIN_FILE: &str = "identity.pem";
const ROOTS_FILE: &str = "roots.pem";

/// Why there is no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("cannot use identity file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("identity file {} does not hold valid PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
    },
    /// No key could be made or read.
    #[error("cannot use the identity's key")]
    Key(#[source] rcgen::Error),
    /// The certificate is missing or cannot be read.
    #[error("the identity's certificate cannot be read")]
    Certificate,
    /// The certificate names no node.
    #[error("the identity's certificate names no node")]
    Name(#[source] PeerError),
    /// The certificate belongs to another key.
    #[error("the identity's certificate does not fit its key")]
    KeyMismatch(#[source] rustls::Error),
}

/// The key of a node; made here, never leaves the node.
pub struct NodeKey {
    pair: KeyPair,
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(***)")
    }
}

impl NodeKey {
    /// A new P-256 key.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Self, IdentityError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IdentityError::Key)?;
        Ok(Self { pair })
    }

    /// The key in a directory, which a first start may have left there before control answered it; else a new one, kept there
    /// before anyone is asked to certify it. Blocks on the disk.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn load_or_create(directory: &Path) -> Result<Self, IdentityError> {
        let path = directory.join(KEY_FILE);
        if path.exists() {
            return Self::load(directory);
        }
        let key = Self::generate()?;
        file::make_private_directory(directory).map_err(unusable(directory))?;
        let pem = key.pair.serialize_pem();
        file::replace(&path, pem.as_bytes(), file::PRIVATE).map_err(unusable(&path))?;
        Ok(key)
    }

    fn load(directory: &Path) -> Result<Self, IdentityError> {
        let path = directory.join(KEY_FILE);
        let key = file::read_private(&path).map_err(unusable(&path))?;
        let key = String::from_utf8(key).map_err(|_| IdentityError::Pem { path })?;
        Self::from_pem(&key)
    }

    /// A PKCS#10 request, as DER, whose only name is the node's URI.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn request(&self, name: &NodeIdentity) -> Result<Vec<u8>, IdentityError> {
        let uri = Ia5String::try_from(name.to_string()).map_err(IdentityError::Key)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(uri)];
        let request = params
            .serialize_request(&self.pair)
            .map_err(IdentityError::Key)?;
        Ok(request.der().to_vec())
    }

    fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let pair = KeyPair::from_pem(pem).map_err(IdentityError::Key)?;
        Ok(Self { pair })
    }

    fn der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.pair.serialize_der().into())
    }
}

/// A key and the certificate that fits it, with the roots of the same fabric.
#[derive(Debug)]
pub struct Identity {
    name: NodeIdentity,
    key: Arc<NodeKey>,
    chain: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Identity {
    /// Puts together a key and what control answered for it. Whether the chain leads to the roots is the caller's check.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn new(
        key: Arc<NodeKey>,
        chain: Vec<CertificateDer<'static>>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, IdentityError> {
        let name = peer_identity(&chain).map_err(IdentityError::Name)?;
        let (not_before, not_after) = validity(chain.first().ok_or(IdentityError::Certificate)?)?;
        CertifiedKey::from_der(chain.clone(), key.der(), &provider())
            .and_then(|certified| certified.keys_match())
            .map_err(IdentityError::KeyMismatch)?;
        Ok(Self {
            name,
            key,
            chain,
            roots,
            not_before,
            not_after,
        })
    }

    /// Reads the identity in a directory; `None` if the node was never enrolled.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn load(directory: &Path) -> Result<Option<Self>, IdentityError> {
        let chain_path = directory.join(CHAIN_FILE);
        if !chain_path.exists() {
            return Ok(None);
        }
        let key = NodeKey::load(directory)?;
        let chain = read_certificates(&chain_path)?;
        let roots = read_certificates(&directory.join(ROOTS_FILE))?;
        Self::new(Arc::new(key), chain, roots).map(Some)
    }

    /// Writes the identity to a directory, which is made if need be. Blocks on the disk.
    ///
    /// # Errors
    /// When the disk does; what is there then is the old identity, the new one, or none where their keys differ.
    pub fn store(&self, directory: &Path) -> Result<(), IdentityError> {
        file::make_private_directory(directory).map_err(unusable(directory))?;
        let key = self.key.pair.serialize_pem();
        remove_chain_of_another_key(directory, &key)?;
        for (name, content, mode) in [
            (KEY_FILE, key, file::PRIVATE),
            (ROOTS_FILE, pem(&self.roots), file::PUBLIC),
            (CHAIN_FILE, pem(&self.chain), file::PUBLIC),
        ] {
            let path = directory.join(name);
            file::replace(&path, content.as_bytes(), mode).map_err(unusable(&path))?;
        }
        Ok(())
    }

    /// Who the certificate says this node is.
    #[must_use]
    pub fn name(&self) -> &NodeIdentity {
        &self.name
    }

    /// Certificates to present, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Roots to trust.
    #[must_use]
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The private key, for TLS settings.
    #[must_use]
    pub fn key(&self) -> PrivateKeyDer<'static> {
        self.key.der()
    }

    /// The same key, for a renewal.
    #[must_use]
    pub fn node_key(&self) -> Arc<NodeKey> {
        Arc::clone(&self.key)
    }

    /// When the certificate begins.
    #[must_use]
    pub fn valid_from(&self) -> SystemTime {
        self.not_before
    }

    /// When the certificate ends.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.not_after
    }

    /// When it should be renewed: at half its life.
    #[must_use]
    pub fn renew_at(&self) -> SystemTime {
        let life = self
            .not_after
            .duration_since(self.not_before)
            .unwrap_or(Duration::ZERO);
        self.not_before + life / 2
    }

    /// Whether the certificate has ended at this time.
    #[must_use]
    pub fn is_expired(&self, now: SystemTime) -> bool {
        now >= self.not_after
    }
}

/// The identity in force; clones share it. A renewal replaces it, and those who hold TLS settings are told.
#[derive(Clone, Debug)]
pub struct CurrentIdentity {
    current: Arc<watch::Sender<Arc<Identity>>>,
}

impl CurrentIdentity {
    /// Starts with this one.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            current: Arc::new(watch::Sender::new(Arc::new(identity))),
        }
    }

    /// The one in force now.
    #[must_use]
    pub fn current(&self) -> Arc<Identity> {
        Arc::clone(&self.current.borrow())
    }

    /// Tells of every replacement.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Identity>> {
        self.current.subscribe()
    }

    /// Puts another in force.
    pub fn replace(&self, identity: Identity) {
        self.current.send_replace(Arc::new(identity));
    }
}

fn remove_chain_of_another_key(directory: &Path, key: &str) -> Result<(), IdentityError> {
    let key_path = directory.join(KEY_FILE);
    match std::fs::read(&key_path) {
        Ok(old) if old == key.as_bytes() => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unusable(&key_path)(error)),
    }
    let chain_path = directory.join(CHAIN_FILE);
    file::remove(&chain_path).map_err(unusable(&chain_path))
}

fn validity(leaf: &CertificateDer<'_>) -> Result<(SystemTime, SystemTime), IdentityError> {
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| IdentityError::Certificate)?;
    let moment = |timestamp: i64| {
        let since = u64::try_from(timestamp).map_err(|_| IdentityError::Certificate)?;
        Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(since))
    };
    let validity = leaf.validity();
    Ok((
        moment(validity.not_before.timestamp())?,
        moment(validity.not_after.timestamp())?,
    ))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let text = std::fs::read(path).map_err(unusable(path))?;
    let broken = || IdentityError::Pem {
        path: path.to_owned(),
    };
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| broken())?;
    if certificates.is_empty() {
        return Err(broken());
    }
    Ok(certificates)
}

fn unusable(path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::File { path, source }
}

fn pem(certificates: &[CertificateDer<'_>]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            // Lines of 64 characters (RFC 7468, section 2).
            let (line, after) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
mod tests;
