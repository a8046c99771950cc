//! Looks for what keeps an agent from its work: on this machine, on the way to control and to the edges, and at the origins.

mod kept;
mod kerberos;
mod links;
mod origins;
mod sso;

use std::{collections::BTreeMap, path::Path};

use proto::fabric::{EdgeRecord, Resource, resource::Kind};
use runtime::{
    Clock,
    dial::WayOut,
    doctor::{self, Check, Credential, Fault, Finding, Report},
    node::Role,
    sync, tls,
};
use tunnel::Transport;

pub(crate) use kerberos::Account;
pub use sso::{Attempt, examine_sso};
pub(crate) use sso::{Means, UsersSide, walk};

use crate::{
    config::{Config, Transports},
    metrics::AgentMetrics,
};

/// Looks at everything that an agent with this configuration needs, in the order in which it needs it.
pub async fn examine(config: &Config, report: &mut Report<'_>) {
    tls::install_provider();
    let clock = Clock::system();
    let directory = config.data_directory.as_deref();
    if let Some(directory) = directory {
        report.add(doctor::data_directory(directory));
    }
    if config.serving.transports != Transports::Only(Transport::Tcp) {
        report.add(doctor::buffers());
    }
    report.add(doctor::descriptors());
    report.add(doctor::proxies());
    let token = config.token.as_ref();
    let Some(way_out) = way_out(config, report) else {
        return;
    };
    let whose = (Role::Agent, clock.wall());
    let trust = doctor::credential(directory, token, &way_out, whose, report);
    let snapshot = directory.map(|directory| snapshot(directory, report));
    let snapshot = snapshot.unwrap_or_default();
    kerberos::look(&account(config), &snapshot, report).await;
    let Some(trust) = trust else { return };
    let reached = doctor::reach(&trust, &clock, report).await;
    let edges = reached.edges.clone().unwrap_or_else(|| edges(&snapshot));
    match &trust.credential {
        Credential::None => {
            let why = "there is nothing to show to edges";
            report.add(Finding::skipped(Check::Link, "", why));
        }
        credential => {
            let means = links::Means {
                credential,
                chain: &reached.chain,
                transports: config.serving.transports,
                way_out: &way_out,
                clock: &clock,
            };
            links::look(&edges, &means, report).await;
        }
    }
    origins::look(&snapshot, &config.serving.allow, &clock, report).await;
}

fn account(config: &Config) -> Account {
    Account::new(
        config.serving.kerberos.clone(),
        AgentMetrics::new().kerberos,
    )
}

/// How connections leave this machine.
fn way_out(config: &Config, report: &mut Report<'_>) -> Option<WayOut> {
    let way_out = config.way_out.way_out();
    way_out
        .map_err(|error| {
            let found = doctor::causes(&error);
            report.add(Finding::failed(
                Check::Proxy,
                Fault::Configuration,
                "",
                found,
            ));
        })
        .ok()
}

/// What the agent was told last.
fn snapshot(directory: &Path, report: &mut Report<'_>) -> BTreeMap<String, Resource> {
    match sync::kept(directory) {
        Ok(kept) => kept.unwrap_or_default(),
        Err(error) => {
            let found = format!("the snapshot cannot be read, control sends another: {error}");
            let at = directory.display().to_string();
            report.add(Finding::warning(
                Check::DataDirectory,
                Fault::DataDirectory,
                at,
                found,
            ));
            BTreeMap::new()
        }
    }
}

fn edges(snapshot: &BTreeMap<String, Resource>) -> Vec<EdgeRecord> {
    let edge = |resource: &Resource| match &resource.kind {
        Some(Kind::Edge(edge)) if !edge.revoked => Some(edge.clone()),
        Some(_) | None => None,
    };
    snapshot.values().filter_map(edge).collect()
}
