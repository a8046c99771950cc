//! `adit agent`.

use std::{
    future::pending,
    path::{Path, PathBuf},
};

use agent::{
    Config, RawConfig,
    doctor::{self, Attempt},
};
use runtime::{
    doctor::{Check, Finding, Report},
    file, service, telemetry,
};

use super::{
    CommonFlags, Failure, JoinFlags, JoinKeys, Screen, Wanted,
    life::{self, Process},
    misconfiguration, misconfigured, put,
};
use crate::cli::agent::AgentCommand;

const PROCESS: &str = "agent";

pub(crate) const AGENT_EXAMPLES: &str = "Examples:
  adit agent --join-file agent.token --data-dir ./agent
  adit agent --allow 10.0.0.0/8:8080 --allow wiki.internal:443
  adit agent --ephemeral --join-file fleet.token
  adit agent --proxy http://agent@proxy.example.com:3128 --proxy-password-file proxy.password
  adit agent --transport tcp
  adit agent --vault-key-file office.vault-key
  adit agent --kerberos-principal svc-adit@EXAMPLE.COM --kerberos-keytab /etc/adit/svc-adit.keytab";

/// `adit agent`, alone or with what to do with joined agents.
#[derive(Debug, clap::Args)]
pub(crate) struct AgentLine {
    #[command(flatten)]
    pub(crate) flags: AgentFlags,
    #[command(subcommand)]
    pub(crate) command: Option<AgentCommand>,
}

/// What an agent takes.
#[derive(Debug, clap::Args)]
pub(crate) struct AgentFlags {
    #[command(flatten)]
    common: CommonFlags,
    #[command(flatten)]
    join: JoinFlags,
    /// Keep nothing on disk: join anew at every start, by a token for many, under an id that begins with --name
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// Id of the agent, for its first start [default: made of the machine's name]
    #[arg(long, value_name = "ID")]
    name: Option<String>,
    /// Origins that may be reached, whatever is published; may be repeated [default: all but link-local ones]
    #[arg(long, value_name = "PATTERN")]
    allow: Vec<String>,
    /// Proxy through which control and edges are reached, http://, https:// or socks5://, with a user name but no password, or off [default: as HTTPS_PROXY, ALL_PROXY and NO_PROXY say]
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// File with the password for the proxy's user.
    #[arg(long, value_name = "FILE")]
    proxy_password_file: Option<PathBuf>,
    /// Domain, address or network that is reached without the proxy; may be repeated
    #[arg(long, value_name = "HOST")]
    no_proxy: Vec<String>,
    /// File with the group's vault keys, which open credentials of apps, as `adit vault-key create` writes it
    #[arg(long, value_name = "FILE")]
    vault_key_file: Option<PathBuf>,
    /// Threads that carry traffic [default: one for each core]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Uplinks with one edge, at most [default: 8]
    #[arg(long, value_name = "N")]
    uplinks_per_edge_max: Option<usize>,
    /// Requests at once on one uplink, at most [default: 1024]
    #[arg(long, value_name = "N")]
    streams_max: Option<u32>,
    /// What carries the links to edges: quic, tcp, or auto: quic where the network lets it through, tcp elsewhere [default: auto]
    #[arg(long, value_name = "auto|quic|tcp")]
    transport: Option<String>,
    /// The agent's account in a Kerberos domain, for apps with single sign-on there
    #[arg(long, value_name = "NAME@REALM")]
    kerberos_principal: Option<String>,
    /// File with the keys of that account
    #[arg(long, value_name = "FILE")]
    kerberos_keytab: Option<PathBuf>,
    /// File that says where Kerberos domains and their controllers are [default: KRB5_CONFIG, or /etc/krb5.conf]
    #[arg(long, value_name = "FILE")]
    krb5_conf: Option<PathBuf>,
    /// Address of metrics and probes [default: 127.0.0.1:7482]
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<String>,
    /// How long requests may go on when the agent is asked to end [default: 30s]
    #[arg(long, value_name = "TIME")]
    drain_deadline: Option<String>,
}

/// Where the service manager gives no standard error that anybody reads, logs lie beside the agent's state.
fn log_in(folder: &Path) -> Result<(), Failure> {
    let made = file::make_private_directory(folder);
    made.and_then(|()| telemetry::log_to(folder))
        .map_err(|error| Failure::Process {
            process: PROCESS,
            source: error.into(),
        })
}

impl AgentFlags {
    pub(crate) async fn run(mut self, screen: &mut Screen) -> Result<(), Failure> {
        let config = self.config()?;
        if self.common.answer(&config.written(), screen)? == Wanted::NoMore {
            return Ok(());
        }
        if service::is_carried()
            && let Some(folder) = &config.data_directory
        {
            log_in(folder)?;
        }
        self.common.install_logs(PROCESS, config.log.as_deref())?;
        let process = Process {
            name: PROCESS,
            drain_deadline: config.drain_deadline,
        };
        life::live(
            process,
            async |scope| agent::start(config, scope).await,
            async |_| pending().await,
            async |handle, limit| handle.is_alive(limit).await,
            async |handle, deadline| handle.drain(deadline).await,
        )
        .await
    }

    /// Looks for what keeps an agent with these flags from its work.
    pub(crate) async fn examine(mut self, report: &mut Report<'_>) {
        match self.config() {
            Ok(config) => {
                report.add(Finding::ok(Check::Configuration, "", "valid"));
                doctor::examine(&config, report).await;
            }
            Err(failure) => report.add(misconfiguration(&failure)),
        }
    }

    /// Looks whether an agent with these flags can sign a user on to an app.
    pub(crate) async fn examine_sso(mut self, attempt: &Attempt, report: &mut Report<'_>) {
        match self.config() {
            Ok(config) => doctor::examine_sso(&config, attempt, report).await,
            Err(failure) => report.add(misconfiguration(&failure)),
        }
    }

    fn config(&mut self) -> Result<Config, Failure> {
        let wrong = |error| misconfigured(PROCESS, error);
        let mut raw: RawConfig = self.common.read().map_err(wrong)?;
        self.join.take().put_into(JoinKeys {
            token: &mut raw.join_token,
            file: &mut raw.join_token_file,
            variable: &mut raw.join_token_env,
        });
        put(self.common.data_dir.take(), &mut raw.data_dir);
        put(self.common.log.take(), &mut raw.log);
        put(self.ephemeral.then_some(true), &mut raw.ephemeral);
        put(self.name.take(), &mut raw.name);
        let allow = std::mem::take(&mut self.allow);
        put((!allow.is_empty()).then_some(allow), &mut raw.allow);
        put(self.proxy.take(), &mut raw.proxy);
        put(
            self.proxy_password_file.take(),
            &mut raw.proxy_password_file,
        );
        let no_proxy = std::mem::take(&mut self.no_proxy);
        put(
            (!no_proxy.is_empty()).then_some(no_proxy),
            &mut raw.no_proxy,
        );
        put(self.vault_key_file.take(), &mut raw.vault_key_file);
        put(self.workers, &mut raw.workers);
        put(self.uplinks_per_edge_max, &mut raw.uplinks_per_edge_max);
        put(self.streams_max, &mut raw.streams_max);
        put(self.transport.take(), &mut raw.transport);
        put(self.admin.take(), &mut raw.admin);
        put(self.drain_deadline.take(), &mut raw.drain_deadline);
        self.put_kerberos(&mut raw);
        let config = Config::new(raw, self.common.problems());
        config.map_err(|problems| misconfigured(PROCESS, problems))
    }

    /// The file about Kerberos domains, as far as it can be read by now: problems are told later.
    pub(crate) fn krb5_conf(&self) -> Option<PathBuf> {
        let written = || {
            let raw: RawConfig = self.common.read().ok()?;
            raw.kerberos?.krb5_conf
        };
        self.krb5_conf.clone().or_else(written)
    }

    fn put_kerberos(&mut self, raw: &mut RawConfig) {
        let kerberos = raw.kerberos.get_or_insert_default();
        put(self.kerberos_principal.take(), &mut kerberos.principal);
        put(self.kerberos_keytab.take(), &mut kerberos.keytab);
        put(self.krb5_conf.take(), &mut kerberos.krb5_conf);
    }
}
