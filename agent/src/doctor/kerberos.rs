//! The agent's account in a Kerberos domain: library, keytab, domain controllers, and its own ticket.

use std::collections::BTreeMap;

use kerberos::{Failure, Kerberos, Kind, LoadError};
use model::{
    app::{AgentApp, Sso},
    name::AppId,
};
use proto::fabric::{Resource, resource};
use runtime::doctor::{self, Check, Fault, Finding, Report, span};

use crate::{
    config::KerberosConfig,
    metrics::AgentMetrics,
    sign_on::{UseError, load},
};

/// Looks at the account; without one, whether an app needs it.
pub(super) async fn look(
    account: Option<&KerberosConfig>,
    snapshot: &BTreeMap<String, Resource>,
    report: &mut Report<'_>,
) {
    match account {
        Some(account) => {
            usable(account, report).await;
        }
        None => {
            if let Some(finding) = missed(snapshot) {
                report.add(finding);
            }
        }
    }
}

/// The account with a ticket of its own, for an app that needs it.
pub(super) async fn opened(
    account: Option<&KerberosConfig>,
    app: &AppId,
    report: &mut Report<'_>,
) -> Option<Kerberos> {
    let Some(account) = account else {
        report.add(missing(app.resource_name()));
        return None;
    };
    usable(account, report).await
}

async fn usable(account: &KerberosConfig, report: &mut Report<'_>) -> Option<Kerberos> {
    let subject = account.principal.to_string();
    let loaded = load(account, &AgentMetrics::new().kerberos).await;
    let kerberos = match loaded {
        Ok(kerberos) => kerberos,
        Err(error) => {
            let fault = match &error {
                UseError::Load(LoadError::Library(_)) => Fault::KerberosLibrary,
                UseError::Load(LoadError::Keytab(_)) => Fault::Keytab,
                UseError::Load(LoadError::Principal(_)) | UseError::Bug => Fault::KerberosAccount,
            };
            let found = doctor::causes(&error);
            report.add(Finding::failed(Check::Kerberos, fault, subject, found));
            return None;
        }
    };
    match kerberos.agent_ticket().await {
        Ok(left) => {
            let found = format!("has a ticket of its own, for {}", span(left));
            report.add(Finding::ok(Check::Kerberos, subject, found));
            Some(kerberos)
        }
        Err(failure) => {
            let found = format!("no ticket: {failure}; {}", failure.hint);
            report.add(Finding::failed(
                Check::Kerberos,
                fault(&failure),
                subject,
                found,
            ));
            None
        }
    }
}

fn fault(failure: &Failure) -> Fault {
    match failure.kind {
        Kind::Unreachable | Kind::Timeout | Kind::Busy | Kind::Broken => Fault::Kdc,
        Kind::NoUser
        | Kind::NoService
        | Kind::Policy
        | Kind::NotAllowed
        | Kind::Revoked
        | Kind::Credential
        | Kind::Expired
        | Kind::Skew
        | Kind::Refused
        | Kind::NotKerberos
        | Kind::Unproven
        | Kind::Other => Fault::KerberosAccount,
    }
}

/// An agent without an account, where an app's users are signed on by one.
fn missed(snapshot: &BTreeMap<String, Resource>) -> Option<Finding> {
    let needs = |resource: &Resource| match &resource.kind {
        Some(resource::Kind::AgentApp(app)) => {
            AgentApp::try_from(app).is_ok_and(|app| matches!(app.sso, Some(Sso::Kerberos(_))))
        }
        _ => false,
    };
    let app = snapshot.values().find(|resource| needs(resource))?;
    Some(missing(app.name.clone()))
}

fn missing(app: String) -> Finding {
    let found = "its users are signed on by kerberos, and this agent has no account for that: set kerberos.principal and kerberos.keytab";
    Finding::failed(Check::Kerberos, Fault::KerberosAccount, app, found)
}
