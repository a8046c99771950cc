//! Who the node is, or by what it becomes somebody.

use std::{path::Path, time::SystemTime};

use super::{Check, Fault, Finding, Report, causes, certificate::span};
use crate::{
    control_client::ControlAddresses,
    dial::WayOut,
    identity::Identity,
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
        let ago = span(
            now.duration_since(identity.expires_at())
                .unwrap_or_default(),
        );
        let found = format!("the certificate ran out {ago} ago");
        let Some(token) = token else {
            report.add(Finding::failed(
                Check::Identity,
                Fault::CertificateExpired,
                name,
                found,
            ));
            return Some(Trust {
                control,
                anchor,
                credential: Credential::None,
            });
        };
        let found = format!("{found}; the join token brings another");
        report.add(Finding::warning(
            Check::Identity,
            Fault::CertificateExpired,
            name,
            found,
        ));
        return of_token(token, &control.way_out, (role, now), report);
    }
    report.add(validity(&identity, &name, now));
    Some(Trust {
        control,
        anchor,
        credential: Credential::Certificate(Box::new(identity)),
    })
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
