//! Control's own certificate: issued by its own CA, replaced at half its life without a restart.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use runtime::{
    Clock,
    node::NodeIdentity,
    tls::{self, ALPN_H2, TlsError},
};
use rustls::{
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError,
        WebPkiClientVerifier,
    },
    sign::CertifiedKey,
    version::TLS13,
};
use tokio::time::sleep;

use super::ServerConfig;
use crate::ca::{Ca, Issued, dns_name, host_name, uri};

/// Life of the certificate; as users' ones.
const LIFE: Duration = Duration::from_secs(90 * 24 * 3_600);
/// Longest sleep between looks at the clock, which may be set.
const LOOK: Duration = Duration::from_secs(3_600);
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(60);

/// Why control has no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A host is none, or the cryptography failed.
    #[error("issuing control's certificate")]
    Issue(#[from] rcgen::Error),
    /// TLS does not take it.
    #[error("using control's certificate")]
    Use(#[from] rustls::Error),
    /// The CA's certificate is no root.
    #[error("trusting the fabric's CA")]
    Roots(#[from] TlsError),
    /// Nodes' certificates cannot be checked.
    #[error("checking certificates of nodes")]
    Verifier(#[from] VerifierBuilderError),
}

/// The certificate in force and what it takes to replace it.
pub(super) struct Own {
    ca: Arc<Ca>,
    clock: Clock,
    name: NodeIdentity,
    hosts: Vec<String>,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current {
    certified: ArcSwap<CertifiedKey>,
    issued: ArcSwap<Issued>,
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified.load_full())
    }
}

impl Own {
    pub(super) fn issue(config: &ServerConfig) -> Result<Self, CertificateError> {
        let (ca, clock) = (Arc::clone(&config.ca), config.clock.clone());
        let (name, hosts) = (config.name.clone(), config.hosts.clone());
        let issued = issue(&ca, &clock, &name, &hosts)?;
        let certified = certify(&ca, &issued)?;
        let current = Arc::new(Current {
            certified: ArcSwap::from_pointee(certified),
            issued: ArcSwap::from_pointee(issued),
        });
        Ok(Self {
            ca,
            clock,
            name,
            hosts,
            current,
        })
    }

    /// Certificates of clients are asked for and, when given, must be of the fabric: operators have none.
    pub(super) fn tls(&self) -> Result<Arc<rustls::ServerConfig>, CertificateError> {
        let roots = tls::store(&[self.ca.root().clone()])?;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
            .allow_unauthenticated()
            .build()?;
        let mut config = rustls::ServerConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        // No resumption: each handshake proves a certificate that is valid now.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// Replaces the certificate at half its life, for as long as control runs.
    pub(super) async fn renew(self) {
        loop {
            let due = self.current.issued.load().renew_at;
            match due.duration_since(self.clock.wall()) {
                Ok(left) => sleep(left.min(LOOK)).await,
                Err(_) => {
                    if let Err(error) = self.replace() {
                        tracing::error!(%error, "control's certificate cannot be renewed");
                        sleep(RETRY).await;
                    }
                }
            }
        }
    }

    fn replace(&self) -> Result<(), CertificateError> {
        let issued = issue(&self.ca, &self.clock, &self.name, &self.hosts)?;
        let certified = certify(&self.ca, &issued)?;
        self.current.certified.store(Arc::new(certified));
        self.current.issued.store(Arc::new(issued));
        tracing::info!("control's certificate renewed");
        Ok(())
    }
}

fn issue(
    ca: &Ca,
    clock: &Clock,
    name: &NodeIdentity,
    hosts: &[String],
) -> Result<Issued, rcgen::Error> {
    let mut names = vec![uri(&name.to_string())?];
    if let Some(dns) = name.dns_name() {
        names.push(dns_name(&dns)?);
    }
    for host in hosts {
        names.push(host_name(host)?);
    }
    ca.issue_server(names, LIFE, clock.wall())
}

/// With the root in the chain, by which nodes that hold a join token only know it.
fn certify(ca: &Ca, issued: &Issued) -> Result<CertifiedKey, rustls::Error> {
    let mut chain = issued.chain.clone();
    chain.push(ca.root().clone());
    CertifiedKey::from_der(chain, issued.private_key(), &tls::provider())
}
