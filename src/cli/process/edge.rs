//! `adit edge`.

use std::{
    env::{args_os, current_exe},
    io,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use edge::{Config, RawConfig, StartError, doctor};
use runtime::doctor::{Check, Finding, Report};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use super::{
    CommonFlags, Failure, JoinFlags, JoinKeys, Screen, Wanted,
    life::{self, Process},
    misconfiguration, misconfigured, put,
};
use crate::cli::edge::EdgeCommand;

const PROCESS: &str = "edge";

pub(crate) const EDGE_EXAMPLES: &str = "Examples:
  adit edge --join-file edge.token --advertise edge.example.com:8443
  adit edge --data-dir ./edge --https 127.0.0.1:8443 --http off
  adit edge --pass-control control.internal:7443";

/// `adit edge`, alone or with what to do with joined edges.
#[derive(Debug, clap::Args)]
pub(crate) struct EdgeLine {
    #[command(flatten)]
    pub(crate) flags: EdgeFlags,
    #[command(subcommand)]
    pub(crate) command: Option<EdgeCommand>,
}

/// What an edge takes.
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "IPv6 addresses in help texts look like links"
)]
#[derive(Debug, clap::Args)]
pub(crate) struct EdgeFlags {
    #[command(flatten)]
    common: CommonFlags,
    #[command(flatten)]
    join: JoinFlags,
    /// Id of the edge, for its first start [default: edge-1]
    #[arg(long, value_name = "ID")]
    name: Option<String>,
    /// Address for users over TLS [default: [::]:8443]
    #[arg(long, value_name = "ADDRESS:PORT")]
    https: Option<String>,
    /// Address for users over plain HTTP, who are redirected, or off [default: [::]:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: Option<String>,
    /// Address for agents, over UDP [default: that of --https]
    #[arg(long, value_name = "ADDRESS:PORT")]
    tunnel: Option<String>,
    /// Where agents dial, host:port; needed where the tunnel listens on every address.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Where agents dial whose network lets no UDP through [default: the host of --advertise, at --public-port]
    #[arg(long, value_name = "HOST:PORT")]
    advertise_tcp: Option<String>,
    /// Port of https as users reach it, for redirects [default: that of --https]
    #[arg(long, value_name = "PORT")]
    public_port: Option<u16>,
    /// Serve users over TCP alone, not over HTTP/3 on the tunnel's address
    #[arg(long)]
    no_http3: bool,
    /// Where control is, host:port, for agents that reach this edge's https alone: who asks there for control is passed on to it.
    #[arg(long, value_name = "HOST:PORT")]
    pass_control: Option<String>,
    /// Threads that carry traffic [default: one for each core]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Address of metrics and probes [default: 127.0.0.1:7481]
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<String>,
    /// How long requests may go on when the edge is asked to end [default: 30s]
    #[arg(long, value_name = "TIME")]
    drain_deadline: Option<String>,
    /// File that says which country an address is in (MaxMind DB format), for access rules; read again when it changes
    #[arg(long, value_name = "FILE")]
    country_file: Option<PathBuf>,
}

/// Waits until another process has taken over: one that was started beside this one, or one that SIGUSR2 asks this one to start.
async fn superseded(handle: &edge::Handle, mut asked: Signal) {
    let mut successor = Successor::default();
    loop {
        tokio::select! {
            () = handle.superseded() => return,
            heard = asked.recv() => match heard {
                Some(()) => successor.start(),
                None => return handle.superseded().await,
            },
            () = sleep(LOOK_INTERVAL) => successor.look(),
        }
    }
}

fn deaf(error: io::Error) -> Failure {
    Failure::Process {
        process: PROCESS,
        source: error.into(),
    }
}

/// How often it is looked whether a process that was to take over has failed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The first process of a container, whose end is that of all others.
const FIRST_PROCESS: u32 = 1;

/// A process of the program that is at this one's place now, perhaps a newer one, with the same arguments.
#[derive(Default)]
struct Successor(Option<Child>);

impl Successor {
    /// Tells if it has ended, which it should not before this process.
    fn look(&mut self) {
        if let Some(child) = &mut self.0
            && let Ok(Some(status)) = child.try_wait()
        {
            tracing::error!(%status, "the process that was to take over has failed");
            self.0 = None;
        }
    }

    fn start(&mut self) {
        if std::process::id() == FIRST_PROCESS {
            tracing::error!("no other process can take over from the first one of a container");
            return;
        }
        if let Some(child) = &mut self.0
            && matches!(child.try_wait(), Ok(None))
        {
            tracing::warn!(
                pid = child.id(),
                "a process that is to take over runs already"
            );
            return;
        }
        match program().and_then(|program| successor(&program).spawn()) {
            Ok(child) => {
                tracing::info!(pid = child.id(), "started a process to take over");
                self.0 = Some(child);
            }
            Err(error) => tracing::error!(%error, "cannot start a process to take over"),
        }
    }
}

/// The watchdog is meant for whoever is the main process, not for this one alone.
fn successor(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(args_os().skip(1)).env_remove("WATCHDOG_PID");
    command
}

/// Where this program is, also once its file was replaced.
fn program() -> io::Result<PathBuf> {
    let running = current_exe()?;
    let path = running.to_string_lossy();
    Ok(path
        .strip_suffix(DELETED)
        .map_or_else(|| running.clone(), PathBuf::from))
}

/// What Linux adds to the path of a program whose file is another one now (proc(5)).
const DELETED: &str = " (deleted)";

impl EdgeFlags {
    pub(crate) async fn run(mut self, screen: &mut Screen) -> Result<(), Failure> {
        let config = self.config()?;
        if self.common.answer(&config.written(), screen)? == Wanted::NoMore {
            return Ok(());
        }
        self.common.install_logs(PROCESS, config.log.as_deref())?;
        let process = Process {
            name: PROCESS,
            drain_deadline: config.drain_deadline,
        };
        // From the start: a signal that nobody hears would end the process.
        let asked = signal(SignalKind::user_defined2()).map_err(deaf)?;
        life::live(
            process,
            async |scope| {
                let handle = edge::start(config, scope).await?;
                handle.serves().await;
                Ok::<_, StartError>(handle)
            },
            async |handle| superseded(handle, asked).await,
            async |handle, limit| handle.is_alive(limit).await,
            async |handle, deadline| handle.drain(deadline).await,
        )
        .await
    }

    /// Looks for what keeps an edge with these flags from its work.
    pub(crate) async fn examine(mut self, report: &mut Report<'_>) {
        match self.config() {
            Ok(config) => {
                report.add(Finding::ok(Check::Configuration, "", "valid"));
                doctor::examine(&config, report).await;
            }
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
        put(self.name.take(), &mut raw.name);
        put(self.https.take(), &mut raw.https);
        put(self.http.take(), &mut raw.http);
        put(self.tunnel.take(), &mut raw.tunnel);
        put(self.advertise.take(), &mut raw.advertise);
        put(self.advertise_tcp.take(), &mut raw.advertise_tcp);
        put(self.public_port, &mut raw.public_port);
        put(self.no_http3.then_some(false), &mut raw.http3);
        put(self.pass_control.take(), &mut raw.pass_control);
        put(self.workers, &mut raw.workers);
        put(self.admin.take(), &mut raw.admin);
        put(self.drain_deadline.take(), &mut raw.drain_deadline);
        put(self.country_file.take(), &mut raw.country_file);
        let config = Config::new(raw, self.common.problems());
        config.map_err(|problems| misconfigured(PROCESS, problems))
    }
}
