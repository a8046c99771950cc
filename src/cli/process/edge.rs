//! `adit edge`.

use std::path::PathBuf;

use edge::{Config, RawConfig};

use super::{CommonFlags, Failure, JoinFlags, JoinKeys, Screen, Wanted, life, misconfigured, put};
use crate::cli::edge::EdgeCommand;

const PROCESS: &str = "edge";

pub(crate) const EDGE_EXAMPLES: &str = "Examples:
  adit edge --join-file edge.token --advertise edge.example.com:8443
  adit edge --data-dir ./edge --https 127.0.0.1:8443 --http off";

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

impl EdgeFlags {
    pub(crate) async fn run(mut self, screen: &mut Screen) -> Result<(), Failure> {
        let config = self.config()?;
        if self.common.answer(&config.written(), screen)? == Wanted::NoMore {
            return Ok(());
        }
        self.common.install_logs(PROCESS, config.log.as_deref())?;
        let deadline = config.drain_deadline;
        life::live(
            PROCESS,
            async |scope| edge::start(config, scope).await,
            async |handle| handle.drain(deadline).await,
        )
        .await
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
        put(self.workers, &mut raw.workers);
        put(self.admin.take(), &mut raw.admin);
        put(self.drain_deadline.take(), &mut raw.drain_deadline);
        put(self.country_file.take(), &mut raw.country_file);
        let config = Config::new(raw, self.common.problems());
        config.map_err(|problems| misconfigured(PROCESS, problems))
    }
}
