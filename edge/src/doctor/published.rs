//! What users meet: certificates, and the names that lead here.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt as _, stream};
use model::host::HostPattern;
use proto::fabric::{Certificate, EdgeApp, Resource, resource::Kind};
use runtime::doctor::{self, Check, Fault, Finding, Report};

/// Names that are looked up.
const HOSTS_MAX: usize = 200;
/// Those at the same time.
const AT_ONCE_MAX: usize = 16;
/// A certificate that ends within this was not renewed when it should have been.
const ENDS_SOON: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Stands for any name under a wildcard.
const ANY: &str = "adit-doctor";

/// Looks at the certificates, and at every published name.
pub(super) async fn look(
    snapshot: &BTreeMap<String, Resource>,
    now: SystemTime,
    report: &mut Report<'_>,
) {
    let mut covered = Vec::new();
    let mut hosts = BTreeSet::new();
    for (name, resource) in snapshot {
        match &resource.kind {
            Some(Kind::Certificate(certificate)) => {
                report.add(validity(name, certificate, now));
                covered.extend(
                    certificate
                        .names
                        .iter()
                        .filter_map(|name| name.parse().ok()),
                );
            }
            Some(Kind::EdgeApp(app)) => hosts.extend(published(app)),
            Some(_) | None => {}
        }
    }
    if hosts.is_empty() {
        report.add(Finding::ok(Check::Host, "", "no app is published"));
    }
    uncovered(&hosts, &covered, report);
    leads(&hosts, report).await;
}

fn published(app: &EdgeApp) -> impl Iterator<Item = String> {
    let segments = app.segments.iter().flat_map(|segment| &segment.hosts);
    app.hosts.iter().chain(segments).cloned()
}

fn validity(name: &str, certificate: &Certificate, now: SystemTime) -> Finding {
    let subject = format!("{name} ({})", certificate.names.join(", "));
    let end = certificate
        .chain
        .first()
        .and_then(|der| doctor::end_of(der));
    let Some(end) = end else {
        let found = "cannot be read";
        return Finding::failed(Check::Certificate, Fault::Certificate, subject, found);
    };
    match end.duration_since(now) {
        Ok(left) if left > ENDS_SOON => {
            let found = format!("good for {}", doctor::span(left));
            Finding::ok(Check::Certificate, subject, found)
        }
        Ok(left) => {
            let found = format!("ends in {} and was not renewed", doctor::span(left));
            Finding::warning(Check::Certificate, Fault::Certificate, subject, found)
        }
        Err(error) => {
            let found = format!("ended {} ago", doctor::span(error.duration()));
            Finding::failed(Check::Certificate, Fault::Certificate, subject, found)
        }
    }
}

/// Names for which no certificate is.
fn uncovered(hosts: &BTreeSet<String>, covered: &[HostPattern], report: &mut Report<'_>) {
    for host in hosts {
        if !covered.iter().any(|pattern| covers(pattern, host)) {
            let found = "no certificate is for this name: browsers warn";
            let fault = Fault::Certificate;
            report.add(Finding::failed(
                Check::Certificate,
                fault,
                host.as_str(),
                found,
            ));
        }
    }
}

fn covers(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Exact(name) => name.as_str() == host,
        // One label, and a wildcard by the same one (RFC 9525, section 6.3).
        HostPattern::Wildcard(domain) => host
            .split_once('.')
            .is_some_and(|(_, rest)| rest == domain.as_str()),
    }
}

async fn leads(hosts: &BTreeSet<String>, report: &mut Report<'_>) {
    let looks = stream::iter(hosts.iter().take(HOSTS_MAX)).map(|host| resolves(host));
    let findings: Vec<_> = looks.buffered(AT_ONCE_MAX).collect().await;
    for finding in findings {
        report.add(finding);
    }
    if let Some(more) = hosts.len().checked_sub(HOSTS_MAX).filter(|more| *more > 0) {
        let why = format!("{more} more names were not looked up");
        report.add(Finding::skipped(Check::Host, "", why));
    }
}

async fn resolves(host: &str) -> Finding {
    let name = match host.strip_prefix("*.") {
        Some(domain) => format!("{ANY}.{domain}"),
        None => host.to_owned(),
    };
    match doctor::look_up(&format!("{name}:443")).await {
        Ok(addresses) => Finding::ok(
            Check::Host,
            host,
            format!("leads to {}", doctor::list(&addresses)),
        ),
        // Users may know the name from another resolver.
        Err(finding) => Finding::warning(Check::Host, Fault::HostDns, host, finding.found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_cover_one_label() {
        let pattern: HostPattern = "*.example.com".parse().unwrap();
        for (host, is_covered) in [
            ("wiki.example.com", true),
            ("*.example.com", true),
            ("a.wiki.example.com", false),
            ("example.com", false),
        ] {
            assert_eq!(covers(&pattern, host), is_covered, "{host}");
        }
    }
}
