//! `adit control`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use control::{Config, FirstStart, RawConfig, StartError};

use std::future::pending;

use super::{
    CommonFlags, Failure, Screen, Wanted,
    life::{self, Process},
    misconfigured, put,
};

const PROCESS: &str = "control";
/// Calls of the admin API take milliseconds, and nodes connect again elsewhere or later.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

pub(crate) const CONTROL_EXAMPLES: &str = "The first start makes everything that is needed in the data directory and says what to do next.

Examples:
  adit control --domain example.com --data-dir ./control
  adit control --config /etc/adit/control.toml --check-config";

/// `adit control`.
#[derive(Debug, clap::Args)]
pub(crate) struct ControlFlags {
    #[command(flatten)]
    common: CommonFlags,
    /// Domain of the fabric, under which apps are published; needed at the first start only.
    #[arg(long)]
    domain: Option<String>,
    /// Address for nodes and operators [default: 0.0.0.0:7443]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where nodes and operators reach control, host:port; may be repeated.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Vec<String>,
    /// Address of metrics and probes [default: 127.0.0.1:7480]
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<String>,
}

impl ControlFlags {
    pub(crate) async fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        let config = self.config()?;
        if self.common.answer(&config.written(), screen)? == Wanted::NoMore {
            return Ok(());
        }
        self.common.install_logs(PROCESS, config.log.as_deref())?;
        let process = Process {
            name: PROCESS,
            drain_deadline: DRAIN_DEADLINE,
        };
        life::live(
            process,
            async |scope| {
                let handle = control::start(config, scope).await?;
                if let Some(first) = &handle.first_start {
                    greet(first, screen);
                }
                Ok::<_, StartError>(handle)
            },
            async |_| pending().await,
            async |handle, limit| handle.is_alive(limit).await,
            async |handle, deadline| handle.drain(deadline).await,
        )
        .await
    }

    fn config(&self) -> Result<Config, Failure> {
        let wrong = |error| misconfigured(PROCESS, error);
        let mut raw: RawConfig = self.common.read().map_err(wrong)?;
        put(self.common.data_dir.clone(), &mut raw.data_dir);
        put(self.common.log.clone(), &mut raw.log);
        put(self.domain.clone(), &mut raw.domain);
        put(self.listen.clone(), &mut raw.listen);
        put(self.admin.clone(), &mut raw.admin);
        let advertise = (!self.advertise.is_empty()).then(|| self.advertise.clone());
        put(advertise, &mut raw.advertise);
        let config = raw.into_config(self.common.config.as_deref());
        config.map_err(|problems| misconfigured(PROCESS, problems))
    }
}

fn greet(first: &FirstStart, screen: &mut Screen) {
    // A process goes on when nobody reads what it says.
    if let Err(failure) = screen.line(greeting(first)) {
        tracing::debug!(error = %failure, "nobody reads the greeting");
    }
}

/// One screen: what was made, and what to do next, to be copied as it stands.
fn greeting(first: &FirstStart) -> String {
    let FirstStart {
        domain,
        control,
        profile_path,
        ca_path,
        group,
    } = first;
    // The next terminal may be in another directory.
    let (profile, ca) = (absolute(profile_path), absolute(ca_path));
    let (profile, ca) = (profile.display(), ca.display());
    let group = crate::cli::table::id(group);
    format!(
        "\
The fabric {domain} is made. Control is at {control}.

  {profile}
      your profile; it holds the only admin token, so keep it private
  {ca}
      the fabric's CA; users trust it until there are other certificates

Next, in another terminal on this machine:

  export ADIT_PROFILE={profile}
  adit token create --role edge > edge.token
  adit edge --join-file edge.token --data-dir ./edge --advertise 127.0.0.1:8443

  adit token create --group {group} > agent.token
  adit agent --join-file agent.token --data-dir ./agent

  adit app publish hello --host hello.{domain} --origin http://127.0.0.1:3000 --access passthrough
  adit status
  curl --cacert {ca} --resolve hello.{domain}:8443:127.0.0.1 https://hello.{domain}:8443/
"
    )
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn commands_of_the_greeting_work_as_printed() {
        let first = FirstStart {
            domain: "example.com".parse().unwrap(),
            control: "control.example.com:7443".to_owned(),
            profile_path: "/data/operator.toml".into(),
            ca_path: "/data/ca.pem".into(),
            group: "groups/default",
        };
        let text = greeting(&first);
        let commands: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("  adit "))
            .collect();
        assert_eq!(commands.len(), 6, "{text}");
        for command in commands {
            let words = command.split(" > ").next().unwrap().split_whitespace();
            assert!(Cli::try_parse_from(words).is_ok(), "{command}");
        }
    }
}
