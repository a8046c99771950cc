//! `adit control|edge|agent`: the processes of a fabric.

mod agent;
#[cfg(unix)]
mod control;
#[cfg(unix)]
mod edge;
#[cfg(windows)]
mod elsewhere;
mod life;

use std::{env, io, path::PathBuf};

use runtime::{
    Secret,
    config::{self, Problems, ReadError},
    doctor::{self, Check, Fault, Finding},
    telemetry::{self, LogFormat},
};
use serde::{Serialize, de::DeserializeOwned};

pub(crate) use self::agent::{AGENT_EXAMPLES, AgentFlags, AgentLine};
#[cfg(windows)]
pub(crate) use self::elsewhere::{
    CONTROL_EXAMPLES, ControlFlags, DEMO_EXAMPLES, EDGE_EXAMPLES, EdgeFlags, EdgeLine,
};
#[cfg(unix)]
pub(crate) use self::{
    control::{CONTROL_EXAMPLES, ControlFlags},
    edge::{EDGE_EXAMPLES, EdgeFlags, EdgeLine},
};
use super::{failure::Failure, screen::Screen};

/// Environment variable with a join token, used where nothing else gives one.
pub(super) const JOIN_TOKEN_VARIABLE: &str = "ADIT_JOIN_TOKEN";

/// What every process takes.
#[derive(Debug, clap::Args)]
struct CommonFlags {
    /// TOML file with the settings below; flags go before it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration and end.
    #[arg(long)]
    check_config: bool,
    /// Print the configuration that is meant, with all defaults, as --config takes it, and end.
    #[arg(long)]
    print_config: bool,
    /// Where everything that lasts is kept.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// What is logged, such as info or info,edge=debug [default: ADIT_LOG, or info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How logs are written [default: human on a terminal, json elsewhere]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogWord>,
}

/// Words for how logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogWord {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// How a node joins. Not needed once it has joined.
#[derive(Debug, Default, clap::Args)]
struct JoinFlags {
    /// Join token; others on this machine can see it, so prefer --join-file or ADIT_JOIN_TOKEN.
    #[arg(long, value_name = "TOKEN", conflicts_with = "join_file")]
    join: Option<String>,
    /// File with the join token.
    #[arg(long, value_name = "FILE")]
    join_file: Option<PathBuf>,
}

/// The three keys of a join token in a configuration.
struct JoinKeys<'a> {
    token: &'a mut Option<Secret<String>>,
    file: &'a mut Option<PathBuf>,
    variable: &'a mut Option<String>,
}

/// Whether the process shall run, or was only asked about its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Run,
    NoMore,
}

impl CommonFlags {
    /// What the file says, or nothing where there is none.
    fn read<R: DeserializeOwned + Default>(&self) -> Result<R, ReadError> {
        let read = self.config.as_deref().map(config::read);
        read.unwrap_or_else(|| Ok(R::default()))
    }

    /// No problems yet, in what the file says.
    fn problems(&self) -> Problems {
        let file = self.config.as_deref();
        file.map_or_else(Problems::new, Problems::of_file)
    }

    /// Answers --check-config and --print-config; `written` is the configuration as a file could say it.
    fn answer(&self, written: &impl Serialize, screen: &mut Screen) -> Result<Wanted, Failure> {
        if self.print_config {
            screen.raw(as_toml(written)?.as_bytes())?;
        } else if self.check_config {
            screen.line("The configuration is valid.")?;
        } else {
            return Ok(Wanted::Run);
        }
        Ok(Wanted::NoMore)
    }

    /// Starts logging; `filter` is the configuration's.
    fn install_logs(&self, process: &'static str, filter: Option<&str>) -> Result<(), Failure> {
        let format = match self.log_format {
            None => LogFormat::of_standard_error(),
            Some(LogWord::Human) => LogFormat::Human,
            Some(LogWord::Json) => LogFormat::Json,
        };
        let installed = telemetry::install_logs_as(filter, format);
        installed.map_err(|error| misconfigured(process, error))
    }
}

impl JoinFlags {
    /// Leaves nothing behind.
    fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Puts what the command line or the environment gives in the place of what the file says.
    fn put_into(self, keys: JoinKeys<'_>) {
        let JoinKeys {
            token,
            file,
            variable,
        } = keys;
        if self.join.is_some() || self.join_file.is_some() {
            *token = self.join.map(Secret::new);
            *file = self.join_file;
            *variable = None;
        } else if token.is_none() && file.is_none() && variable.is_none() {
            let is_set = env::var_os(JOIN_TOKEN_VARIABLE).is_some_and(|value| !value.is_empty());
            *variable = is_set.then(|| JOIN_TOKEN_VARIABLE.to_owned());
        }
    }
}

fn as_toml(written: &impl Serialize) -> Result<String, Failure> {
    toml::to_string(written).map_err(|error| Failure::Output(io::Error::other(error)))
}

/// Puts what a flag gives in the place of what the file says.
fn put<T>(flag: Option<T>, key: &mut Option<T>) {
    if flag.is_some() {
        *key = flag;
    }
}

fn misconfigured(
    process: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> Failure {
    Failure::Configuration {
        process,
        source: Box::new(source),
    }
}

/// What the doctor says of a configuration that cannot be used.
fn misconfiguration(failure: &Failure) -> Finding {
    let found = doctor::causes(failure);
    Finding::failed(Check::Configuration, Fault::Configuration, "", found)
}

#[cfg(test)]
mod tests {
    // Our own modules of these names are private and say nothing of configurations.
    use ::{agent, control, edge};

    use super::*;

    fn keys_after(flags: JoinFlags, file: Option<&str>) -> (bool, Option<PathBuf>, Option<String>) {
        let (mut token, mut path, mut variable) = (None, file.map(PathBuf::from), None);
        flags.put_into(JoinKeys {
            token: &mut token,
            file: &mut path,
            variable: &mut variable,
        });
        (token.is_some(), path, variable)
    }

    #[test]
    fn command_line_goes_before_the_file() {
        let none = || JoinFlags {
            join: None,
            join_file: None,
        };
        let literal = JoinFlags {
            join: Some("token".to_owned()),
            ..none()
        };
        let file = JoinFlags {
            join_file: Some("b".into()),
            ..none()
        };
        assert_eq!(
            keys_after(none(), Some("a")),
            (false, Some("a".into()), None)
        );
        assert_eq!(keys_after(literal, Some("a")), (true, None, None));
        assert_eq!(keys_after(file, Some("a")), (false, Some("b".into()), None));
    }

    #[test]
    fn printed_configuration_can_be_fed_back_and_holds_no_secret() {
        let join_token = Some(Secret::new("hunter2".to_owned()));
        let edge_raw = edge::RawConfig {
            join_token: join_token.clone(),
            advertise: Some("edge.example.com:8443".to_owned()),
            http: Some("off".to_owned()),
            drain_deadline: Some("90s".to_owned()),
            country_file: Some("countries.mmdb".into()),
            ..Default::default()
        };
        let edge = |raw| edge::Config::new(raw, Problems::new()).unwrap().written();
        fed_back(&edge(edge_raw), edge);
        let agent_raw = agent::RawConfig {
            join_token,
            allow: Some(vec!["10.0.0.0/8:80".to_owned(), "[fd00::/8]:*".to_owned()]),
            kerberos: Some(agent::config::RawKerberos {
                principal: Some("svc-adit@EXAMPLE.COM".to_owned()),
                keytab: Some("agent.keytab".into()),
                krb5_conf: None,
            }),
            ..Default::default()
        };
        let agent = |raw| agent::Config::new(raw, Problems::new()).unwrap().written();
        fed_back(&agent(agent_raw), agent);
        let control_raw = control::RawConfig {
            domain: Some("example.com".to_owned()),
            log: Some("info,control=debug".to_owned()),
            ..Default::default()
        };
        let control = |raw: control::RawConfig| raw.into_config(None).unwrap().written();
        fed_back(&control(control_raw), control);
    }

    fn fed_back<R: Serialize + DeserializeOwned>(written: &R, meant: impl Fn(R) -> R) {
        let printed = as_toml(written).unwrap();
        assert!(printed.contains("data_dir = "), "{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
        let again = meant(toml::from_str(&printed).unwrap());
        assert_eq!(as_toml(&again).unwrap(), printed);
    }

    #[test]
    fn token_references_are_printed() {
        let raw = agent::RawConfig {
            join_token_file: Some("agent.token".into()),
            ..Default::default()
        };
        let config = agent::Config::new(raw, Problems::new()).unwrap();
        let printed = as_toml(&config.written()).unwrap();
        assert!(
            printed.contains("join_token_file = \"agent.token\""),
            "{printed}"
        );
    }

    #[test]
    fn flags_go_before_keys() {
        let mut key = Some(1);
        put(None, &mut key);
        assert_eq!(key, Some(1));
        put(Some(2), &mut key);
        assert_eq!(key, Some(2));
    }
}
