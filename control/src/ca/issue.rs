//! What the CA signs: short certificates for nodes, longer ones for servers.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use rand::Rng as _;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber, string::Ia5String,
};
use runtime::Secret;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Ca, NodeRequest, new_key};

/// Life of a node's certificate: short, so that a lost key is of no use for long. Renewed at half.
pub const NODE_LIFE: Duration = Duration::from_secs(24 * 3_600);
/// Certificates begin this much in the past, for nodes whose clocks are behind.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// Bytes of a serial number; at least 64 random bits (CA/Browser Forum, Baseline Requirements 7.1).
const SERIAL_BYTES: usize = 16;

/// A node's certificate.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Leaf first, without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// When it ends.
    pub expires_at: SystemTime,
}

/// A server's certificate with its new key.
#[derive(Debug)]
pub struct Issued {
    /// Leaf first, without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS#8, DER.
    pub key: Secret<Vec<u8>>,
    /// When it ends.
    pub expires_at: SystemTime,
    /// When to have another: at half its life.
    pub renew_at: SystemTime,
}

impl Issued {
    /// The key as rustls takes it.
    #[must_use]
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.expose().clone().into())
    }
}

impl Ca {
    /// Certifies a node for [`NODE_LIFE`]. Of the request only name and key count.
    ///
    /// # Errors
    /// When the cryptography fails.
    pub fn sign_node(
        &self,
        request: &NodeRequest,
        now: SystemTime,
    ) -> Result<Signed, rcgen::Error> {
        let mut names = vec![uri(&request.name.to_string())?];
        if let Some(dns) = request.name.dns_name() {
            names.push(dns_name(&dns)?);
        }
        let expires_at = now + NODE_LIFE;
        let mut params = params(names, now, expires_at);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        Ok(Signed {
            chain: vec![self.sign(&params, &request.key)?],
            expires_at,
        })
    }

    /// Makes a key and certifies it for these names.
    ///
    /// # Errors
    /// When a name is none, or the cryptography fails.
    pub fn issue_server(
        &self,
        names: Vec<SanType>,
        life: Duration,
        now: SystemTime,
    ) -> Result<Issued, rcgen::Error> {
        let key = new_key()?;
        let expires_at = now + life;
        let mut params = params(names, now, expires_at);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = self.sign(&params, &key)?;
        Ok(Issued {
            chain: vec![certificate],
            key: Secret::new(key.serialize_der()),
            expires_at,
            renew_at: now + life / 2,
        })
    }

    fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<CertificateDer<'static>, rcgen::Error> {
        params.signed_by(key, &self.issuer).map(Into::into)
    }
}

fn params(names: Vec<SanType>, now: SystemTime, expires_at: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names;
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = expires_at.into();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let mut serial: [u8; SERIAL_BYTES] = rand::rng().random();
    // A serial number is positive (RFC 5280, section 4.1.2.2).
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

/// A DNS name, or a wildcard, as a certificate holds it.
pub(crate) fn dns_name(name: &str) -> Result<SanType, rcgen::Error> {
    Ia5String::try_from(name).map(SanType::DnsName)
}

/// A host as operators write it: an address or a name.
pub(crate) fn host_name(host: &str) -> Result<SanType, rcgen::Error> {
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(SanType::IpAddress(ip)),
        Err(_) => dns_name(host),
    }
}

pub(crate) fn uri(text: &str) -> Result<SanType, rcgen::Error> {
    Ia5String::try_from(text).map(SanType::URI)
}
