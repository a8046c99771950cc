//! What control is told at start. What it publishes is not here: that lives in its store.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use model::host::Hostname;
use runtime::config::Problems;
use serde::{Deserialize, Serialize};

/// On every address: nodes and operators come from elsewhere, and all of it is TLS.
pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7443);
/// On loopback: metrics and probes are for this machine unless said otherwise.
pub const ADMIN_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7480);
/// Where a package keeps the state of a service (FHS 3.0, section 5.8).
pub const DATA_DIR: &str = "/var/lib/adit/control";
/// Addresses to advertise, at most: all of them go into every join token.
pub const ADVERTISED_MAX: usize = 8;

/// As written in a file or on the command line.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Where everything is kept.
    pub data_dir: Option<PathBuf>,
    /// Domain of the fabric; needed at the first start only.
    pub domain: Option<String>,
    /// Address and port of the listener.
    pub listen: Option<String>,
    /// Where nodes dial, each "host:port".
    pub advertise: Option<Vec<String>>,
    /// Address and port of metrics and probes.
    pub admin: Option<String>,
    /// Log filter.
    pub log: Option<String>,
}

/// As meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Domain of the fabric; `None`: that of the last start.
    pub domain: Option<Hostname>,
    /// Address and port of the listener; port 0: any free one.
    pub listen: SocketAddr,
    /// Where nodes dial, each "host:port"; empty: where control listens.
    pub advertise: Vec<String>,
    /// Address and port of metrics and probes; port 0: any free one.
    pub admin_port: SocketAddr,
    /// Log filter; `None`: the default one.
    pub log: Option<String>,
}

impl RawConfig {
    /// What was meant, or everything that is wrong. `file` is where it was written, if in a file.
    ///
    /// # Errors
    /// All problems at once.
    pub fn into_config(self, file: Option<&Path>) -> Result<Config, Problems> {
        let mut problems = file.map_or_else(Problems::new, Problems::of_file);
        let domain = match &self.domain {
            Some(text) => problems.take("domain", text.parse()).map(Some),
            None => Some(None),
        };
        let mut address = |key: &str, text: Option<String>, default| match text {
            Some(text) => problems.address(key, &text),
            None => Some(default),
        };
        let listen = address("listen", self.listen, LISTEN);
        let admin_port = address("admin", self.admin, ADMIN_PORT);
        let advertise = advertised(self.advertise.unwrap_or_default(), &mut problems);
        let log = problems.log_filter(self.log);
        let config = domain.zip(listen).zip(admin_port);
        let config = config.map(|((domain, listen), admin_port)| Config {
            data_dir: self.data_dir.unwrap_or_else(|| DATA_DIR.into()),
            domain,
            listen,
            advertise,
            admin_port,
            log,
        });
        problems.finish(config)
    }
}

impl Config {
    /// As it could have been written, with every default.
    #[must_use]
    pub fn written(&self) -> RawConfig {
        RawConfig {
            data_dir: Some(self.data_dir.clone()),
            domain: self.domain.as_ref().map(ToString::to_string),
            listen: Some(self.listen.to_string()),
            advertise: Some(self.advertise.clone()),
            admin: Some(self.admin_port.to_string()),
            log: self.log.clone(),
        }
    }
}

fn advertised(addresses: Vec<String>, problems: &mut Problems) -> Vec<String> {
    if addresses.len() > ADVERTISED_MAX {
        problems.add(
            "advertise",
            format_args!("must not be more than {ADVERTISED_MAX}"),
        );
    }
    for address in &addresses {
        if !is_address(address) {
            problems.add(
                "advertise",
                format_args!("{address:?} must be host:port, such as control.example.com:7443"),
            );
        }
    }
    addresses
}

fn is_address(address: &str) -> bool {
    if address
        .parse::<SocketAddr>()
        .is_ok_and(|address| address.port() != 0)
    {
        return true;
    }
    address.rsplit_once(':').is_some_and(|(host, port)| {
        host.parse::<Hostname>().is_ok() && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_written_means_the_defaults() {
        let config = RawConfig::default().into_config(None).expect("valid");
        assert_eq!(config.data_dir, Path::new(DATA_DIR));
        assert_eq!((config.listen, config.admin_port), (LISTEN, ADMIN_PORT));
        assert_eq!((config.domain, config.advertise), (None, Vec::new()));
    }

    #[test]
    fn every_problem_is_named() {
        let raw = RawConfig {
            domain: Some("10.0.0.1".to_owned()),
            listen: Some("7443".to_owned()),
            admin: Some("localhost".to_owned()),
            log: Some("control=loud".to_owned()),
            advertise: Some(vec![
                "control.example.com".to_owned(),
                "[::1]:7443".to_owned(),
            ]),
            ..RawConfig::default()
        };
        let problems = raw.into_config(None).expect_err("all wrong");
        let keys: Vec<_> = problems
            .found()
            .iter()
            .map(|found| found.key.as_str())
            .collect();
        assert_eq!(keys, ["domain", "listen", "admin", "advertise", "log"]);
    }
}
