//! Looks for what keeps a node from its work, one thing after the other, and says of each what it found and what to do about it.
//!
//! Everything here is what the node itself does, done once: the same settings, the same TLS, the same names. Nothing is changed by it,
//! and a node that runs beside it is not disturbed.

mod certificate;
mod control;
mod credential;
mod fault;
mod machine;
mod stranger;

use std::fmt;

use serde::Serialize;

pub use certificate::{end_of, span};
pub use control::{Reached, first_tcp, list, look_up, reach};
pub use credential::{Credential, Trust, credential};
pub use fault::Fault;
pub use machine::{buffers, data_directory, descriptors, proxies};
pub use stranger::Expected;

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The configuration.
    Configuration,
    /// The directory that holds what lasts.
    DataDirectory,
    /// The node's certificate, or its join token.
    Identity,
    /// The address of a name.
    Dns,
    /// A TCP connection.
    Tcp,
    /// Who answers, by its certificate.
    Tls,
    /// What control says of this node.
    Control,
    /// This machine's clock.
    Clock,
    /// A link to an edge, up to its welcome.
    Link,
    /// How large packets may be.
    Packets,
    /// Buffers of UDP sockets.
    Buffers,
    /// How many connections the process may have.
    Descriptors,
    /// Variables that name an HTTP proxy.
    Proxy,
    /// A private server.
    Origin,
    /// The agent's account in a Kerberos domain.
    Kerberos,
    /// A user at an app with single sign-on.
    SignOn,
    /// What a user is signed in to an app with.
    Credential,
    /// A port to listen on.
    Port,
    /// Certificates that users are shown.
    Certificate,
    /// A public name.
    Host,
}

impl Check {
    /// As it is printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::DataDirectory => "data directory",
            Self::Identity => "identity",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Control => "control",
            Self::Clock => "clock",
            Self::Link => "link",
            Self::Packets => "packets",
            Self::Buffers => "buffers",
            Self::Descriptors => "descriptors",
            Self::Proxy => "proxy",
            Self::Origin => "origin",
            Self::Kerberos => "kerberos",
            Self::SignOn => "sign-on",
            Self::Credential => "credential",
            Self::Port => "port",
            Self::Certificate => "certificate",
            Self::Host => "host",
        }
    }
}

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Not looked at, because of something before it.
    Skipped,
    /// The node works, but not as well as it could.
    Warning,
    /// The node, or a part of what it is for, does not work.
    Failed,
}

impl Verdict {
    /// As it is printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }

    /// Higher is worse.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Skipped => 1,
            Self::Warning => 2,
            Self::Failed => 3,
        }
    }
}

/// What was found about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// Which one of its kind: a path, an address, a name; empty where there is only one.
    pub subject: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// What was found, in plain words.
    pub found: String,
}

impl Finding {
    /// It is as it should be.
    #[must_use]
    pub fn ok(check: Check, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, subject, Verdict::Ok, None, found)
    }

    /// It was not looked at.
    #[must_use]
    pub fn skipped(check: Check, subject: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(check, subject, Verdict::Skipped, None, why)
    }

    /// It works, but not as well as it could.
    #[must_use]
    pub fn warning(
        check: Check,
        fault: Fault,
        subject: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::new(check, subject, Verdict::Warning, Some(fault), found)
    }

    /// It does not work.
    #[must_use]
    pub fn failed(
        check: Check,
        fault: Fault,
        subject: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::new(check, subject, Verdict::Failed, Some(fault), found)
    }

    fn new(
        check: Check,
        subject: impl Into<String>,
        verdict: Verdict,
        fault: Option<Fault>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            check,
            subject: subject.into(),
            verdict,
            fault,
            found: found.into(),
        }
    }

    /// The same as a warning: something else does what this cannot.
    #[must_use]
    pub fn softened(mut self) -> Self {
        if self.verdict == Verdict::Failed {
            self.verdict = Verdict::Warning;
        }
        self
    }
}

/// All findings, in the order in which they were made.
pub struct Report<'a> {
    findings: Vec<Finding>,
    tell: Box<dyn FnMut(&Finding) + Send + 'a>,
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("findings", &self.findings)
            .finish_non_exhaustive()
    }
}

impl<'a> Report<'a> {
    /// Nothing yet; each finding is told as soon as it is made.
    pub fn new(tell: impl FnMut(&Finding) + Send + 'a) -> Self {
        Self {
            findings: Vec::new(),
            tell: Box::new(tell),
        }
    }

    /// Notes a finding.
    pub fn add(&mut self, finding: Finding) {
        (self.tell)(&finding);
        self.findings.push(finding);
    }

    /// Everything that was found.
    #[must_use]
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }
}

/// How it all stands: as the worst of it does.
#[must_use]
pub fn worst(findings: &[Finding]) -> Verdict {
    let verdicts = findings.iter().map(|finding| finding.verdict);
    verdicts
        .max_by_key(|verdict| verdict.rank())
        .unwrap_or(Verdict::Ok)
}

/// The fault to mend first, if it is as bad as that: the first of the worst, as what comes later often follows from it.
#[must_use]
pub fn first_fault(findings: &[Finding], least: Verdict) -> Option<Fault> {
    let worst = worst(findings);
    if worst.rank() < least.rank() {
        return None;
    }
    let first = findings.iter().find(|finding| finding.verdict == worst)?;
    first.fault
}

/// A cause with what lies under it, in one line.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_worst_is_to_be_mended_first() {
        let mut told = 0;
        let mut report = Report::new(|_| told += 1);
        report.add(Finding::warning(
            Check::Buffers,
            Fault::Buffers,
            "",
            "small",
        ));
        report.add(Finding::ok(Check::Dns, "a:1", "found"));
        let early = report.findings.clone();
        report.add(Finding::failed(Check::Tcp, Fault::Tcp, "a:1", "refused"));
        report.add(Finding::failed(Check::Link, Fault::NoEdge, "", "none"));
        let findings = report.into_findings();
        assert_eq!(told, 4);
        assert_eq!(first_fault(&findings, Verdict::Failed), Some(Fault::Tcp));
        assert_eq!(first_fault(&early, Verdict::Failed), None);
        assert_eq!(first_fault(&early, Verdict::Warning), Some(Fault::Buffers));
        assert_eq!(worst(&[]), Verdict::Ok);
    }
}
