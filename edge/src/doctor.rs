//! Looks for what keeps an edge from its work: on this machine, on the way to control, and in what it shows to users.

mod ports;
mod published;

use runtime::{
    Clock,
    dial::WayOut,
    doctor::{self, Check, Fault, Finding, Report},
    node::Role,
    sync, tls,
};

use crate::config::{Advertise, Config};

/// Looks at everything that an edge with this configuration needs, in the order in which it needs it.
pub async fn examine(config: &Config, report: &mut Report<'_>) {
    tls::install_provider();
    let clock = Clock::system();
    let directory = &config.data_directory;
    report.add(doctor::data_directory(directory));
    report.add(doctor::buffers());
    report.add(doctor::descriptors());
    report.add(doctor::proxies());
    ports::look(config, report);
    let token = config.token.as_ref();
    let whose = (Role::Edge, clock.wall());
    let trust = doctor::credential(Some(directory), token, &WayOut::default(), whose, report);
    if let Some(trust) = trust {
        doctor::reach(&trust, &clock, report).await;
    }
    advertised(config, report).await;
    match sync::kept(directory) {
        Ok(Some(snapshot)) => published::look(&snapshot, clock.wall(), report).await,
        Ok(None) => {
            let why =
                "what is published is not known before the edge has been connected to control";
            report.add(Finding::skipped(Check::Host, "", why));
        }
        Err(error) => {
            let found = format!("the snapshot cannot be read, control sends another: {error}");
            let at = directory.display().to_string();
            let fault = Fault::DataDirectory;
            report.add(Finding::warning(Check::DataDirectory, fault, at, found));
        }
    }
}

/// Where agents dial must have an address, for them at least.
async fn advertised(config: &Config, report: &mut Report<'_>) {
    let Advertise::Named(address) = &config.advertise else {
        return;
    };
    report.add(match doctor::look_up(address).await {
        Ok(addresses) => {
            let found = format!("agents dial {}", doctor::list(&addresses));
            Finding::ok(Check::Dns, address.as_str(), found)
        }
        // Agents may know the name from another resolver.
        Err(finding) => finding.softened(),
    });
}
