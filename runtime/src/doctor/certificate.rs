//! What a certificate says, for people.

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _, x509::X509Name,
};

/// What the leaf of a chain says.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// By whom it says that it was issued.
    pub(super) issuer: String,
    /// Whom it is for: its names, or its subject if it has none.
    pub(super) names: String,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// It calls its holder a node of some fabric.
    pub(super) is_node: bool,
}

impl Leaf {
    /// Reads it; none if there is none or it is no certificate.
    pub(super) fn read(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
        let names = names(&leaf);
        Some(Self {
            issuer: called(leaf.issuer()),
            is_node: names.iter().any(|name| name.starts_with("spiffe://")),
            names: if names.is_empty() {
                called(leaf.subject())
            } else {
                names.join(", ")
            },
            not_before: moment(leaf.validity().not_before.timestamp()),
            not_after: moment(leaf.validity().not_after.timestamp()),
        })
    }
}

/// The common name, as that is what administrators of inspecting proxies know; else all of it.
fn called(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().next();
    let common = common.and_then(|name| name.as_str().ok());
    common.map_or_else(|| name.to_string(), str::to_owned)
}

fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(text).collect()
}

fn moment(timestamp: i64) -> SystemTime {
    let seconds = u64::try_from(timestamp).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// When a certificate ends, given as DER; none if it cannot be read.
#[must_use]
pub fn end_of(der: &[u8]) -> Option<SystemTime> {
    Leaf::read(&[CertificateDer::from(der)]).map(|leaf| leaf.not_after)
}

/// A span as people say it: "3 days", "4 hours", "20 s".
#[must_use]
pub fn span(span: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match span.as_secs() {
        seconds if seconds >= 2 * DAY => format!("{} days", seconds / DAY),
        seconds if seconds >= 2 * HOUR => format!("{} hours", seconds / HOUR),
        seconds if seconds >= 2 * MINUTE => format!("{} minutes", seconds / MINUTE),
        seconds => format!("{seconds} s"),
    }
}
