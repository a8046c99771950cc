//! Certificates of CAs of users' devices and of programs, and their lists of what was revoked: read and checked when an operator brings them,
//! so that edges can use what they are told.

use std::{sync::Arc, time::SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use model::client_ca::{CA_CERTIFICATES_MAX, CRLS_MAX};
use prost::Message as _;
use prost_types::Timestamp;
use proto::{
    admin::{CaCertificate, ClientCa, Crl},
    client_ca, fabric,
    violation::Violation,
};
use rustls::{RootCertStore, server::WebPkiClientVerifier};
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer,
    pem::{PemObject as _, SectionKind},
};
use x509_parser::{
    certificate::X509Certificate, prelude::FromDer as _,
    revocation_list::CertificateRevocationList, time::ASN1Time,
};

use crate::{hex::hex, time::unix_seconds};

const CA_FIELD: &str = "client_ca.ca_pem";
const CRL_FIELD: &str = "client_ca.crl_pem";

/// What the PEM of a CA holds.
#[derive(Debug, Clone)]
pub(crate) struct Papers {
    certificates: Vec<CertificateDer<'static>>,
    crls: Vec<CertificateRevocationListDer<'static>>,
}

impl Papers {
    /// Reads what is kept of a CA, or what an operator brings.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(ca: &ClientCa) -> Result<Self, Vec<Violation>> {
        let certificates = sections(&ca.ca_pem, SectionKind::Certificate, CA_CERTIFICATES_MAX);
        let certificates = certificates.map_err(|what| vec![violation(CA_FIELD, what)])?;
        let crls = sections(&ca.crl_pem, SectionKind::Crl, CRLS_MAX);
        let crls = crls.map_err(|what| vec![violation(CRL_FIELD, what)])?;
        if certificates.is_empty() {
            return Err(vec![violation(CA_FIELD, "must hold a certificate")]);
        }
        Ok(Self {
            certificates: certificates.into_iter().map(Into::into).collect(),
            crls: crls.into_iter().map(Into::into).collect(),
        })
    }

    /// Whether edges can use them: certificates of CAs, which have not expired, and a list for each if there is any.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn check(&self, now: SystemTime) -> Result<(), Vec<Violation>> {
        let mut found = Vec::new();
        let mut roots = RootCertStore::empty();
        let mut subjects = Vec::new();
        for der in &self.certificates {
            match authority(der, now) {
                Ok(subject) => subjects.push(subject),
                Err(what) => found.push(violation(CA_FIELD, what)),
            }
            if roots.add(der.clone()).is_err() {
                found.push(violation(CA_FIELD, "has a certificate that TLS cannot use"));
            }
        }
        found.extend(self.check_crls(&subjects));
        if !found.is_empty() {
            return Err(found);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        match verifier.with_crls(self.crls.clone()).build() {
            Ok(_) => Ok(()),
            Err(error) => Err(vec![violation(
                CRL_FIELD,
                format!("cannot be used: {error}"),
            )]),
        }
    }

    /// Each CA needs a list once there is one, as what no list speaks of is refused.
    fn check_crls(&self, subjects: &[Vec<u8>]) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut issuers = Vec::new();
        for der in &self.crls {
            match CertificateRevocationList::from_der(der) {
                Ok((_, crl)) => issuers.push(crl.issuer().as_raw().to_vec()),
                Err(_) => found.push(violation(CRL_FIELD, "has a list that cannot be read")),
            }
        }
        let has_list = |subject: &Vec<u8>| issuers.contains(subject);
        if found.is_empty() && !issuers.is_empty() && !subjects.iter().all(has_list) {
            let what = "must have a list of every CA in ca_pem: what no list speaks of is refused";
            found.push(violation(CRL_FIELD, what));
        }
        found
    }

    /// What operators are shown of the certificates.
    pub(crate) fn certificates(&self) -> Vec<CaCertificate> {
        let certificates = self.certificates.iter();
        certificates
            .filter_map(|der| {
                let (_, certificate) = X509Certificate::from_der(der).ok()?;
                Some(CaCertificate {
                    subject: certificate.subject().to_string(),
                    expire_time: Some(timestamp(certificate.validity().not_after)),
                    sha256: hex(digest(&SHA256, der).as_ref()),
                })
            })
            .collect()
    }

    /// What operators are shown of the lists.
    pub(crate) fn crls(&self) -> Vec<Crl> {
        let crls = self.crls.iter();
        crls.filter_map(|der| {
            let (_, crl) = CertificateRevocationList::from_der(der).ok()?;
            let revoked = crl.iter_revoked_certificates().count();
            Some(Crl {
                issuer: crl.issuer().to_string(),
                update_time: Some(timestamp(crl.last_update())),
                next_update_time: crl.next_update().map(timestamp),
                revoked: u32::try_from(revoked).unwrap_or(u32::MAX),
            })
        })
        .collect()
    }
}

/// What edges are told of a stored CA. Nothing of one that cannot be read: none of its certificates counts then.
pub(crate) fn told(value: &Bytes) -> Option<fabric::ClientCa> {
    let ca = ClientCa::decode(value.clone()).ok()?;
    let papers = Papers::read(&ca).ok()?;
    let certificates = papers.certificates.iter();
    let crls = papers.crls.iter();
    Some(fabric::ClientCa {
        certificates: certificates.map(|der| der.to_vec().into()).collect(),
        crls: crls.map(|der| der.to_vec().into()).collect(),
        ..client_ca::told(&ca)?
    })
}

/// The subject of a certificate that may sign others, as it is written.
fn authority(der: &[u8], now: SystemTime) -> Result<Vec<u8>, &'static str> {
    let Ok(([], certificate)) = X509Certificate::from_der(der) else {
        return Err("has a certificate that cannot be read");
    };
    if !certificate.is_ca() {
        return Err("must hold certificates of CAs only: one is of something else");
    }
    let usage = certificate
        .key_usage()
        .map_err(|_| "has a certificate that cannot be read")?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err("has a certificate that may not sign others");
    }
    if certificate.validity().not_after.timestamp() < unix_seconds(now) {
        return Err("has a certificate that has expired");
    }
    Ok(certificate.subject().as_raw().to_vec())
}

/// The sections of a PEM file, which must all be of one kind.
fn sections(pem: &str, wanted: SectionKind, max: usize) -> Result<Vec<Vec<u8>>, String> {
    let mut read = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes()) {
        let (kind, der) = section.map_err(|_| "must be PEM".to_owned())?;
        if kind != wanted {
            return Err(format!(
                "must hold nothing but {}, and no keys",
                words(wanted)
            ));
        }
        read.push(der);
        if read.len() > max {
            return Err(format!("must not hold more than {max} {}", words(wanted)));
        }
    }
    // Kinds that the reader passes over are no better.
    if pem.contains("PRIVATE KEY") || read.is_empty() != pem.trim().is_empty() {
        return Err(format!("must hold {} in PEM, and no keys", words(wanted)));
    }
    Ok(read)
}

const fn words(kind: SectionKind) -> &'static str {
    match kind {
        SectionKind::Certificate => "certificates",
        _ => "lists of revoked certificates (X509 CRL)",
    }
}

fn violation(field: &str, description: impl Into<String>) -> Violation {
    Violation {
        field: field.to_owned(),
        description: description.into(),
    }
}

fn timestamp(time: ASN1Time) -> Timestamp {
    Timestamp {
        seconds: time.timestamp(),
        nanos: 0,
    }
}
