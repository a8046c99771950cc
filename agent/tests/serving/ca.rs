//! Certificates that exist for one test.

use std::{sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use runtime::{
    Clock,
    identity::{Identity, NodeKey},
    node::NodeIdentity,
};
use rustls_pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};

/// A CA, of a fabric or of a private network.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    pub(crate) pem: String,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "under test");
        let root = params.self_signed(&key).unwrap();
        Self {
            root: root.der().clone(),
            pem: root.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// The identity of a node, as if enrolled now.
    pub(crate) fn identity(&self, name: &str) -> Identity {
        let key = NodeKey::generate().unwrap();
        let name: NodeIdentity = name.parse().unwrap();
        let request = CertificateSigningRequestDer::from(key.request(&name).unwrap());
        let mut request = CertificateSigningRequestParams::from_der(&request).unwrap();
        let now = Clock::system().wall();
        request.params.not_before = (now - Duration::from_secs(60)).into();
        request.params.not_after = (now + Duration::from_secs(3_600)).into();
        if let Some(dns) = name.dns_name() {
            let dns = SanType::DnsName(dns.try_into().unwrap());
            request.params.subject_alt_names.push(dns);
        }
        let leaf = request.signed_by(&self.issuer).unwrap().der().clone();
        Identity::new(Arc::new(key), vec![leaf], vec![self.root.clone()]).unwrap()
    }

    /// TLS settings of a server called `name`.
    pub(crate) fn server(&self, name: &str) -> rustls::ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        rustls::ServerConfig::builder_with_provider(runtime::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap()
    }
}
