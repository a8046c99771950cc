//! Who the node is, or by what it becomes somebody.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use super::{Check, Fault, Finding, Report, causes, certificate::span};
use crate::{
    control_client::ControlAddresses,
    dial::WayOut,
    identity::{Identity, RECOVERABLE},
    join::{self, JoinToken, TokenSource},
    node::Role,
    tls::Anchor,
};

/// What a node shows to control.
#[derive(Debug)]
pub enum Credential {
    /// The certificate that it has.
    Certificate(Box<Identity>),
    /// The token by which it will get one.
    Token(JoinToken),
    /// Nothing that holds now; who is asked, and how control is known, is still told by what is left.
    None,
}

/// How control is found and known.
#[derive(Debug)]
pub struct Trust {
    /// Where it is, and how to get there.
    pub control: ControlAddresses,
    /// By what it is known.
    pub anchor: Anchor,
    /// What the node shows.
    pub credential: Credential,
}

/// Looks at what the node has to show, and says how control is found and known; none if nothing tells.
pub fn credential(
    directory: Option<&Path>,
    token: Option<&TokenSource>,
    way_out: &WayOut,
    (role, now): (Role, SystemTime),
    report: &mut Report<'_>,
) -> Option<Trust> {
    let at = directory.map_or_else(|| "memory".to_owned(), |at| at.display().to_string());
    let kept = directory.map_or(Ok(None), |directory| join::kept(directory, way_out));
    let kept = match kept {
        Ok(kept) => kept,
        Err(error) => {
            let found = causes(&error);
            report.add(Finding::failed(Check::Identity, Fault::Identity, at, found));
            return None;
        }
    };
    match (kept, token) {
        (Some(kept), token) => of_identity(kept, token, (role, now), report),
        (None, Some(token)) => of_token(token, way_out, (role, now), report),
        (None, None) => {
            let found = format!("nobody has joined with {at}, and there is no join token");
            report.add(Finding::failed(
                Check::Identity,
                Fault::NoIdentity,
                "",
                found,
            ));
            None
        }
    }
}

fn of_identity(
    kept: join::Enrolled,
    token: Option<&TokenSource>,
    (role, now): (Role, SystemTime),
    report: &mut Report<'_>,
) -> Option<Trust> {
    let join::Enrolled { identity, control } = kept;
    let name = identity.name().to_string();
    let found = identity.name().role();
    if found != role {
        let found = format!("the identity that is kept is for an {found}, not for an {role}");
        report.add(Finding::failed(
            Check::Identity,
            Fault::Identity,
            name,
            found,
        ));
        return None;
    }
    let anchor = Anchor::Roots(identity.roots().to_vec());
    if identity.is_expired(now) {
        let ago = now.duration_since(identity.expires_at());
        let ago = ago.unwrap_or_default();
        report.add(expired(name, ago, token));
        // At its start, too, the token is read only if the key is good no longer.
        return match token.filter(|_| ago > RECOVERABLE) {
            Some(token) => of_token(token, &control.way_out, (role, now), report),
            None => Some(Trust {
                control,
                anchor,
                credential: Credential::None,
            }),
        };
    }
    report.add(validity(&identity, &name, now));
    Some(Trust {
        control,
        anchor,
        credential: Credential::Certificate(Box::new(identity)),
    })
}

fn expired(name: String, ago: Duration, token: Option<&TokenSource>) -> Finding {
    let found = format!("the certificate ran out {} ago", span(ago));
    let fault = Fault::CertificateExpired;
    if ago <= RECOVERABLE {
        let found = format!("{found}; the node comes back by its key once it reaches control");
        return Finding::warning(Check::Identity, fault, name, found);
    }
    if token.is_some() {
        let found = format!("{found}; the join token brings another");
        return Finding::warning(Check::Identity, fault, name, found);
    }
    Finding::failed(Check::Identity, fault, name, found)
}

fn validity(identity: &Identity, name: &str, now: SystemTime) -> Finding {
    if let Ok(ahead) = identity.valid_from().duration_since(now)
        && !ahead.is_zero()
    {
        let found = format!(
            "the certificate begins in {}: this machine's clock is behind",
            span(ahead)
        );
        return Finding::failed(Check::Clock, Fault::Clock, name, found);
    }
    let left = span(
        identity
            .expires_at()
            .duration_since(now)
            .unwrap_or_default(),
    );
    if now
        > identity.renew_at()
            + (identity
                .expires_at()
                .duration_since(identity.renew_at())
                .unwrap_or_default()
                / 2)
    {
        let found = format!("the certificate ends in {left} and should have been renewed long ago");
        return Finding::warning(Check::Identity, Fault::CertificateExpired, name, found);
    }
    Finding::ok(
        Check::Identity,
        name,
        format!("the certificate is good for {left}"),
    )
}

fn of_token(
    source: &TokenSource,
    way_out: &WayOut,
    (role, now): (Role, SystemTime),
    report: &mut Report<'_>,
) -> Option<Trust> {
    const SUBJECT: &str = "join token";
    let token = match source.read() {
        Ok(token) => token,
        Err(error) => {
            let found = causes(&error);
            report.add(Finding::failed(
                Check::Identity,
                Fault::Token,
                SUBJECT,
                found,
            ));
            return None;
        }
    };
    let trust = |credential| Trust {
        control: ControlAddresses {
            addresses: token.control().to_vec(),
            way_out: way_out.clone(),
        },
        anchor: Anchor::Pin(token.pin()),
        credential,
    };
    if token.role() != role {
        let found = format!("it is for an {}, not for an {role}", token.role());
        report.add(Finding::failed(
            Check::Identity,
            Fault::Token,
            SUBJECT,
            found,
        ));
        return Some(trust(Credential::None));
    }
    if let Ok(ago) = now.duration_since(token.expires_at()) {
        let found = format!("it ran out {} ago", span(ago));
        report.add(Finding::failed(
            Check::Identity,
            Fault::TokenExpired,
            SUBJECT,
            found,
        ));
        return Some(trust(Credential::None));
    }
    let left = span(token.expires_at().duration_since(now).unwrap_or_default());
    let found = format!(
        "of the fabric {}, good for {left}; control is at {}",
        token.domain(),
        token.control().join(", ")
    );
    report.add(Finding::ok(Check::Identity, SUBJECT, found));
    Some(trust(Credential::Token(token.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_certificate_that_ran_out_is_a_fault_once_the_key_is_good_no_longer() {
        let token = TokenSource::Variable("ADIT_TEST_IS_NOT_SET".to_owned());
        let second = Duration::from_secs(1);
        for (ago, token, verdict, says) in [
            (second, None, Verdict::Warning, "by its key"),
            (RECOVERABLE, Some(&token), Verdict::Warning, "by its key"),
            (RECOVERABLE + second, None, Verdict::Failed, "ran out"),
            (
                RECOVERABLE + second,
                Some(&token),
                Verdict::Warning,
                "the join token brings another",
            ),
        ] {
            let finding = expired("a1".to_owned(), ago, token);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert_eq!(finding.fault, Some(Fault::CertificateExpired));
            assert!(finding.found.contains(says), "{finding:?}");
        }
    }
}
