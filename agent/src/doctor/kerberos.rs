//! The agent's account in a Kerberos domain: library, keytab, domain controllers, and its own ticket.

use std::{collections::BTreeMap, time::Duration};

use kerberos::{Bounds, Failure, Kerberos, Kind, LoadError};
use model::{
    app::{AgentApp, Sso},
    name::AppId,
};
use proto::fabric::{Resource, resource};
use runtime::doctor::{self, Check, Fault, Finding, Report, span};
use tokio::sync::OnceCell;

use crate::{
    config::KerberosConfig,
    metrics::KerberosMetrics,
    sign_on::{UseError, load},
};

/// How long what a domain says is good for: a walk or two. What is mended is to show at once.
const FRESH_FOR: Duration = Duration::from_secs(2);
/// Exchanges at one time: one that a silent controller holds up goes on for a minute.
const EXCHANGES_MAX: usize = 4;

/// The agent's account as doctors use it: of its own, so that they neither see nor disturb what is kept for requests. It lasts, as the library
/// keeps a little of each that was ever used.
#[derive(Debug)]
pub(crate) struct Account {
    config: Option<KerberosConfig>,
    metrics: KerberosMetrics,
    loaded: OnceCell<Kerberos>,
}

impl Account {
    /// Nothing is loaded yet.
    pub(crate) fn new(config: Option<KerberosConfig>, metrics: KerberosMetrics) -> Self {
        Self {
            config,
            metrics,
            loaded: OnceCell::new(),
        }
    }
}

/// Looks at the account; without one, whether an app needs it.
pub(super) async fn look(
    account: &Account,
    snapshot: &BTreeMap<String, Resource>,
    report: &mut Report<'_>,
) {
    match &account.config {
        Some(config) => {
            account.usable(config, report).await;
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
    account: &Account,
    app: &AppId,
    report: &mut Report<'_>,
) -> Option<Kerberos> {
    let Some(config) = &account.config else {
        report.add(missing(app.resource_name()));
        return None;
    };
    account.usable(config, report).await
}

impl Account {
    async fn usable(&self, config: &KerberosConfig, report: &mut Report<'_>) -> Option<Kerberos> {
        let subject = config.principal.to_string();
        let bounds = Bounds {
            exchanges_max: EXCHANGES_MAX,
            age_max: FRESH_FOR,
            refused_for: FRESH_FOR,
            timed_out_for: FRESH_FOR,
            ..Bounds::default()
        };
        let loaded = self
            .loaded
            .get_or_try_init(|| load(config, bounds, &self.metrics));
        let kerberos = match loaded.await {
            Ok(kerberos) => kerberos.clone(),
            Err(error) => {
                let fault = match &error {
                    UseError::Load(LoadError::Library(_) | LoadError::System) => {
                        Fault::KerberosLibrary
                    }
                    UseError::Load(LoadError::Keytab(_)) => Fault::Keytab,
                    UseError::Load(LoadError::Principal(_)) | UseError::Bug => {
                        Fault::KerberosAccount
                    }
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
