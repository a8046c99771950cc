//! Certificates that users' devices and programs show, and whether they count.
//!
//! The handshake proves that the other side has the key of the certificate that it showed, and nothing else. What the certificate is worth is
//! decided with each request, by the CAs that the request's app names in the view of the moment: so nothing of an earlier view, and nothing
//! of a session that was resumed, is taken on trust.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use metrics::{Counter, counter};
use model::{
    app::CertificatePart,
    client_ca::{Holders, Program, Serial},
    host::Hostname,
    name::ClientCaId,
};
use proto::{client_ca::Told, fabric};
use runtime::tls;
use rustls::{
    CertificateError, DistinguishedName, RootCertStore,
    pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime},
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

mod said;

use said::Said;

/// Certificates that were looked at, by what came of it.
pub(crate) const CLIENT_CERTIFICATES_TOTAL: &str = "edge_client_certificates_total";

/// What came of one that holds.
pub(crate) const GOOD: &str = "good";

/// Longest chain that is looked at: the certificate itself, and CAs between it and the one that is known.
const CHAIN_MAX: usize = 8;
/// CAs of which one connection knows whether its certificate is theirs: all of a fabric, as one host may have many apps.
const KNOWN_MAX: usize = model::client_ca::CLIENT_CAS_MAX;
/// How long that is known before it is looked at again: certificates expire.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// A CA, ready to be asked.
#[derive(Debug)]
pub(crate) struct ClientCa {
    told: Told,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// Why a CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientCaError {
    /// What control says of it.
    #[error(transparent)]
    Told(#[from] proto::client_ca::ClientCaError),
    /// One of its certificates.
    #[error("using a certificate of a client CA")]
    Certificate(#[source] rustls::Error),
    /// It has no certificate, or one of its lists cannot be read.
    #[error("using a client CA")]
    Verifier(#[source] VerifierBuilderError),
}

/// Why a certificate is not one of a CA.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// It cannot be read.
    #[error("the certificate cannot be read")]
    Malformed,
    /// An operator has revoked it by its serial number.
    #[error("certificate {0} is revoked")]
    Revoked(Serial),
    /// TLS says so: another issuer, expired, on a list, for servers.
    #[error("checking the certificate")]
    Check(#[source] rustls::Error),
}

impl ClientCa {
    /// Reads what control sent.
    pub(crate) fn read(wire: &fabric::ClientCa) -> Result<Self, ClientCaError> {
        let told = Told::try_from(wire)?;
        let mut roots = RootCertStore::empty();
        for der in &wire.certificates {
            let added = roots.add(CertificateDer::from(der.to_vec()));
            added.map_err(ClientCaError::Certificate)?;
        }
        let crls = wire.crls.iter();
        let crls = crls.map(|der| CertificateRevocationListDer::from(der.to_vec()));
        // Of a chain whose certificates no list speaks of, nothing is taken, once there is a list.
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), tls::provider());
        let verifier = verifier.with_crls(crls).build();
        Ok(Self {
            told,
            verifier: verifier.map_err(ClientCaError::Verifier)?,
        })
    }

    pub(crate) const fn id(&self) -> &ClientCaId {
        &self.told.id
    }

    /// What its certificates are of.
    pub(crate) const fn holders(&self) -> Holders {
        self.told.holders
    }

    /// What clients choose a certificate by.
    pub(crate) fn subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn check(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<(), Refusal> {
        let (leaf, between) = chain.split_first().ok_or(Refusal::Malformed)?;
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let now = UnixTime::since_unix_epoch(since.unwrap_or_default());
        let checked = self.verifier.verify_client_cert(leaf, between, now);
        checked.map_err(Refusal::Check)?;
        let serial = serial(leaf).ok_or(Refusal::Malformed)?;
        if self.told.revoked.contains(&serial) {
            return Err(Refusal::Revoked(serial));
        }
        Ok(())
    }
}

fn serial(leaf: &[u8]) -> Option<Serial> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    Serial::from_bytes(leaf.raw_serial()).ok()
}

/// The one URI of a certificate, else its one DNS name, else its one address of e-mail, else its one common name. Of several of the kind that
/// counts none is sure.
fn name(leaf: &[u8]) -> Option<String> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let names = leaf.subject_alternative_name().ok()?;
    let names = names.map(|extension| &extension.value.general_names[..]);
    let names = names.unwrap_or_default();
    let kinds: [for<'n> fn(&GeneralName<'n>) -> Option<&'n str>; 3] = [
        |name| {
            if let GeneralName::URI(uri) = name {
                Some(uri)
            } else {
                None
            }
        },
        |name| {
            if let GeneralName::DNSName(dns) = name {
                Some(dns)
            } else {
                None
            }
        },
        |name| {
            if let GeneralName::RFC822Name(email) = name {
                Some(email)
            } else {
                None
            }
        },
    ];
    for kind in kinds {
        match names.iter().filter_map(kind).collect::<Vec<_>>()[..] {
            [] => {}
            [one] => return Some(one.to_owned()),
            [..] => return None,
        }
    }
    let common: Vec<_> = leaf.subject().iter_common_name().collect();
    match common[..] {
        [one] => one.as_str().ok().map(str::to_owned),
        _ => None,
    }
}

/// What one connection has shown, at the host that asked for it. It counts nowhere else, though the connection may carry requests for other
/// hosts.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    host: Hostname,
    chain: Vec<CertificateDer<'static>>,
    /// What the certificate calls its holder.
    name: Option<String>,
    known: Mutex<Vec<Known>>,
    /// What origins can be told of it, once one has been; nothing if it cannot be read.
    said: OnceLock<Option<Said>>,
}

/// Whether it is of a CA.
#[derive(Debug)]
struct Known {
    ca: Arc<ClientCa>,
    holds: bool,
    until: SystemTime,
}

impl ClientCertificate {
    /// The leaf first. Nothing of a chain that is too long, which costs too much to look at.
    pub(crate) fn new(host: Hostname, chain: Vec<CertificateDer<'static>>) -> Option<Self> {
        if chain.is_empty() || chain.len() > CHAIN_MAX {
            tracing::debug!(%host, certificates = chain.len(), "a chain of certificates is passed over");
            return None;
        }
        Some(Self {
            host,
            name: name(&chain[0]),
            chain,
            known: Mutex::default(),
            said: OnceLock::new(),
        })
    }

    /// Whether it was asked for there.
    pub(crate) fn is_for(&self, host: &Hostname) -> bool {
        self.host == *host
    }

    /// The first of these CAs that it is of, at that time.
    pub(crate) fn ca<'c>(
        &self,
        mut authorities: impl Iterator<Item = &'c Arc<ClientCa>>,
        now: SystemTime,
    ) -> Option<&'c Arc<ClientCa>> {
        authorities.find(|ca| self.is_of(ca, now))
    }

    /// Whose it is by the first of these CAs that it is of.
    pub(crate) fn program<'c>(
        &self,
        authorities: impl Iterator<Item = &'c Arc<ClientCa>>,
        now: SystemTime,
    ) -> Option<Program> {
        let name = self.name.as_deref()?;
        Program::new(self.ca(authorities, now)?.id(), name).ok()
    }

    /// What it says, to be told to an app that takes it for one of a CA that the app names: [`Self::ca`] finds out.
    pub(crate) fn says(&self, part: CertificatePart) -> Option<&str> {
        let said = self.said.get_or_init(|| Said::by(&self.chain[0]));
        said.as_ref().map(|said| said.part(part))
    }

    fn is_of(&self, ca: &Arc<ClientCa>, now: SystemTime) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &&Known| Arc::ptr_eq(&known.ca, ca);
        if let Some(known) = known.iter().find(same).filter(|known| now < known.until) {
            return known.holds;
        }
        let checked = ca.check(&self.chain, now);
        if let Err(error) = &checked {
            let error = error as &dyn std::error::Error;
            tracing::debug!(client_ca = %ca.id(), host = %self.host, error, "a certificate is not of the CA");
        }
        looked_at(outcome(&checked)).increment(1);
        // What was known of an earlier version of the CA goes with it.
        known.retain(|known| known.ca.id() != ca.id());
        if known.len() == KNOWN_MAX {
            known.remove(0);
        }
        known.push(Known {
            ca: Arc::clone(ca),
            holds: checked.is_ok(),
            until: now + KNOWN_FOR,
        });
        checked.is_ok()
    }
}

/// Counts certificates that were looked at. Seldom enough to look the handle up.
pub(crate) fn looked_at(outcome: &'static str) -> Counter {
    counter!(CLIENT_CERTIFICATES_TOTAL, "outcome" => outcome)
}

fn outcome(checked: &Result<(), Refusal>) -> &'static str {
    let error = match checked {
        Ok(()) => return GOOD,
        Err(Refusal::Revoked(_)) => return "revoked",
        Err(Refusal::Malformed) => return "bad",
        Err(Refusal::Check(error)) => error,
    };
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Revoked) => "revoked",
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => "unknown_issuer",
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "expired",
        _ => "bad",
    }
}
