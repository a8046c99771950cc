//! Certificates for users, chosen by the name they ask for: exact, then wildcard, then the domain's own.

use std::{collections::HashMap, sync::Arc};

use model::host::{HostPattern, Hostname};
use rustls::{
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::view::Views;

/// Server certificates of one view.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By the domain under the star.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// For names that have none, and for users that name nobody.
    default: Option<Arc<CertifiedKey>>,
}

/// One certificate with its key, ready for use.
#[derive(Debug)]
pub(crate) struct Certificate {
    names: Vec<HostPattern>,
    key: Arc<CertifiedKey>,
}

impl Certificate {
    /// Reads what control sent.
    pub(crate) fn read(wire: &proto::fabric::Certificate) -> Result<Self, CertificateError> {
        let pattern = |name: &String| {
            let pattern = name.parse();
            pattern.map_err(|_| CertificateError::Name { name: name.clone() })
        };
        Ok(Self {
            key: Arc::new(certified(wire)?),
            names: wire.names.iter().map(pattern).collect::<Result<_, _>>()?,
        })
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It does not fit its key, or one of them cannot be read.
    #[error("certificate and key cannot be used")]
    Unusable(#[source] rustls::Error),
    /// It is for a name that is none.
    #[error("{name:?} is no name for a certificate")]
    Name {
        /// The name.
        name: String,
    },
    /// No TLS settings can be made.
    #[error("setting up tls for users")]
    Settings(#[source] rustls::Error),
}

impl Certificates {
    /// Adds a certificate for the names that it is said to serve.
    pub(crate) fn add(&mut self, certificate: &Certificate) {
        for name in &certificate.names {
            let key = Arc::clone(&certificate.key);
            match name {
                HostPattern::Exact(host) => self.exact.insert(host.to_string(), key),
                HostPattern::Wildcard(domain) => self.wildcard.insert(domain.to_string(), key),
            };
        }
    }

    /// The domain's own certificate answers for what has none, so that users see the edge's page and not a bare alert.
    pub(crate) fn set_default(&mut self, domain: Option<&Hostname>) {
        self.default = domain.and_then(|domain| {
            let domain = domain.as_str();
            self.wildcard
                .get(domain)
                .or_else(|| self.exact.get(domain))
                .cloned()
        });
    }

    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        name.and_then(|name| self.named(name))
            .or(self.default.as_ref())
            .cloned()
    }

    fn named(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        self.exact.get(name).or_else(|| {
            let (_, domain) = name.split_once('.')?;
            self.wildcard.get(domain)
        })
    }
}

fn certified(certificate: &proto::fabric::Certificate) -> Result<CertifiedKey, CertificateError> {
    let chain = certificate
        .chain
        .iter()
        .map(|der| CertificateDer::from(der.to_vec()))
        .collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certificate.key.to_vec()));
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(CertificateError::Unusable)
}

/// Looks certificates up in the view of the moment.
#[derive(Debug)]
pub(crate) struct Resolver {
    views: Views,
}

impl Resolver {
    pub(crate) const fn new(views: Views) -> Self {
        Self { views }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls gives the name in lower case.
        self.views
            .current()?
            .certificates()
            .find(hello.server_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str]) -> proto::fabric::Certificate {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(names.clone())
            .unwrap()
            .self_signed(&key)
            .unwrap();
        proto::fabric::Certificate {
            names,
            chain: vec![certificate.der().to_vec().into()],
            key: key.serialize_der().into(),
        }
    }

    fn leaf(certificates: &Certificates, name: Option<&str>) -> Option<Vec<u8>> {
        certificates
            .find(name)
            .map(|found| found.cert[0].as_ref().to_vec())
    }

    #[test]
    fn exact_beats_wildcard_beats_default() {
        let (exact, wildcard) = (
            certificate(&["wiki.example.com"]),
            certificate(&["*.example.com", "example.com"]),
        );
        let mut certificates = Certificates::default();
        certificates.add(&Certificate::read(&exact).unwrap());
        certificates.add(&Certificate::read(&wildcard).unwrap());
        certificates.set_default(Some(&"example.com".parse().unwrap()));
        for (name, want) in [
            (Some("wiki.example.com"), &exact),
            (Some("crm.example.com"), &wildcard),
            (Some("example.com"), &wildcard),
            (Some("a.b.example.com"), &wildcard),
            (Some("elsewhere.test"), &wildcard),
            (None, &wildcard),
        ] {
            assert_eq!(
                leaf(&certificates, name),
                Some(want.chain[0].to_vec()),
                "{name:?}"
            );
        }
    }

    #[test]
    fn without_certificates_nothing_is_found() {
        assert_eq!(leaf(&Certificates::default(), Some("a.example")), None);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let mut mixed = certificate(&["a.example"]);
        mixed.key = certificate(&["a.example"]).key;
        let refused = Certificate::read(&mixed);
        assert!(matches!(refused, Err(CertificateError::Unusable(_))));
    }
}
