//! Who answers in another's place, by the certificate that it presents.

use std::time::SystemTime;

use rustls::CertificateError;

use super::{
    Check, Fault,
    certificate::{Leaf, span},
};
use crate::tls::{Anchor, Presented};

/// Who was expected to answer, and by what it is known.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// In plain words: "control", "the edge".
    pub who: &'a str,
    /// By what it is known.
    pub anchor: &'a Anchor,
    /// By this machine's clock.
    pub now: SystemTime,
}

impl Expected<'_> {
    /// What is wrong with what was presented; none if nothing was, or nothing is.
    #[must_use]
    pub fn unlike(&self, presented: &Presented) -> Option<(Check, Fault, String)> {
        let wrong = presented.wrong()?;
        let leaf = Leaf::read(&presented.chain())?;
        Some(match wrong {
            CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
            | CertificateError::Expired
            | CertificateError::ExpiredContext { .. } => {
                (Check::Clock, Fault::Clock, self.off(&leaf))
            }
            // By another key under the same name, the signature does not fit.
            CertificateError::UnknownIssuer | CertificateError::BadSignature if leaf.is_node => {
                let found = format!(
                    "a node of another fabric answers, {}, certified by {:?}; {}",
                    leaf.names,
                    leaf.issuer,
                    self.wanted()
                );
                (Check::Tls, Fault::WrongCa, found)
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                let found = format!(
                    "the certificate (for {}) is issued by {:?}, not by the fabric's own CA; {}",
                    leaf.names,
                    leaf.issuer,
                    self.wanted()
                );
                (Check::Tls, Fault::TlsInterception, found)
            }
            wrong => {
                let found = format!("what answers is {}, not {}: {wrong}", leaf.names, self.who);
                (Check::Tls, Fault::Tls, found)
            }
        })
    }

    fn wanted(&self) -> String {
        match self.anchor {
            Anchor::Roots(roots) => {
                let issuer = Leaf::read(roots)
                    .map(|root| root.issuer)
                    .unwrap_or_default();
                format!("this node trusts {issuer:?}")
            }
            Anchor::Pin(pin) => format!("the join token is pinned to the CA {pin}"),
        }
    }

    fn off(&self, leaf: &Leaf) -> String {
        let who = self.who;
        match leaf.not_before.duration_since(self.now) {
            Ok(ahead) => format!(
                "{who}'s certificate begins in {} by this machine's clock, which is behind",
                span(ahead)
            ),
            Err(_) => format!(
                "{who}'s certificate ended {} ago by this machine's clock, which is ahead unless that of {who} is wrong",
                span(self.now.duration_since(leaf.not_after).unwrap_or_default())
            ),
        }
    }
}
