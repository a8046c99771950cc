use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};

use crate::{
    clock::Clock,
    identity::{Identity, NodeKey},
    node::NodeIdentity,
    tls::CaPin,
};

/// A day, as real certificates of nodes live.
pub(crate) const LIFE: Duration = Duration::from_secs(24 * 3_600);

/// The CA of a fabric that exists for one test.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "fabric under test");
        let root = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    pub(crate) fn root(&self) -> CertificateDer<'static> {
        self.root.clone()
    }

    pub(crate) fn pin(&self) -> CaPin {
        CaPin::of(&self.root)
    }

    /// Signs what the request asks for, adding the DNS name of the role.
    pub(crate) fn sign(
        &self,
        request: &[u8],
        from: SystemTime,
        life: Duration,
    ) -> Vec<CertificateDer<'static>> {
        let request = CertificateSigningRequestDer::from(request.to_vec());
        let mut request = CertificateSigningRequestParams::from_der(&request).unwrap();
        request.params.not_before = from.into();
        request.params.not_after = (from + life).into();
        let names = &mut request.params.subject_alt_names;
        let uri = names.iter().find_map(|name| match name {
            rcgen::SanType::URI(uri) => uri.as_str().parse::<NodeIdentity>().ok(),
            _ => None,
        });
        if let Some(dns) = uri.and_then(|name| name.dns_name()) {
            names.push(rcgen::SanType::DnsName(dns.try_into().unwrap()));
        }
        vec![request.signed_by(&self.issuer).unwrap().der().clone()]
    }

    /// An identity as if enrolled now.
    pub(crate) fn identity(&self, name: &str) -> Identity {
        self.identity_from(name, Clock::system().wall() - Duration::from_secs(60), LIFE)
    }

    pub(crate) fn identity_from(&self, name: &str, from: SystemTime, life: Duration) -> Identity {
        let key = NodeKey::generate().unwrap();
        let request = key.request(&name.parse().unwrap()).unwrap();
        let chain = self.sign(&request, from, life);
        Identity::new(Arc::new(key), chain, vec![self.root()]).unwrap()
    }

    /// As [`Ca::identity`], but presents the root too, as control does for those that know only the pin.
    pub(crate) fn identity_with_root(&self, name: &str) -> Identity {
        let plain = self.identity(name);
        let chain = vec![plain.chain()[0].clone(), self.root()];
        Identity::new(plain.node_key(), chain, vec![self.root()]).unwrap()
    }
}
