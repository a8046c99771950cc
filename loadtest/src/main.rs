//! `adit-loadtest`: puts load on one URL, or on the fabric and its peers side by side.

use std::{fs, io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use loadtest::{compare, origin, population, quinn_server, run};
use runtime::{Clock, Scope, shutdown};

/// Starts GETs at a constant rate and counts what fails; latency is measured from the intended start.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Example:\n  adit-loadtest --ca control/ca.pem --connect 127.0.0.1:8443 --rate 200 --duration 30s https://hello.localhost:8443/"
)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    gets: Option<run::Gets>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Command),
    Compare(Box<compare::Command>),
    Origin(OriginArgs),
    QuinnServer(QuinnArgs),
    Population(Box<population::Command>),
}

/// An origin with events, WebSockets and gRPC: /bytes/N, /events/RATE, /echo; plain HTTP/1.1 and HTTP/2
#[derive(Debug, clap::Args)]
struct OriginArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// The other end of plain streams of QUIC, for the protocol `quinn` of scenarios
#[derive(Debug, clap::Args)]
struct QuinnArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// PEM certificate chain
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// PEM key of the certificate
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    // A connection of QUIC gains nothing from a second thread, and pays for it.
    let mut runtime = match args.command {
        Some(Command::QuinnServer(_)) => tokio::runtime::Builder::new_current_thread(),
        Some(
            Command::Run(_) | Command::Compare(_) | Command::Population(_) | Command::Origin(_),
        )
        | None => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(begin(args))
}

async fn begin(args: Args) -> anyhow::Result<ExitCode> {
    let (clock, scope) = (Clock::system(), Scope::root());
    let whole = match (args.command, args.gets) {
        (Some(Command::Run(command)), _) => command.run(&clock, &scope).await?,
        (Some(Command::Compare(command)), _) => {
            command.run(&clock, &scope).await?;
            true
        }
        (Some(Command::Origin(args)), _) => {
            stand(origin::serve(args.listen, &clock, &scope).await?, &scope).await?;
            true
        }
        (Some(Command::QuinnServer(args)), _) => {
            let read = |path: &PathBuf| {
                fs::read(path).with_context(|| format!("reading {}", path.display()))
            };
            let (certificate, key) = (read(&args.certificate)?, read(&args.key)?);
            let addr = quinn_server::serve(args.listen, &certificate, &key, &scope)?;
            stand(addr, &scope).await?;
            true
        }
        (Some(Command::Population(command)), _) => {
            return command.run(&clock, &scope).await;
        }
        (None, Some(gets)) => gets.run(&clock, &scope).await?,
        (None, None) => anyhow::bail!("a URL or a command is needed"),
    };
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Says where it listens, and stays until the process is asked to end.
async fn stand(addr: SocketAddr, scope: &Scope) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "listening on {addr}").context("printing")?;
    shutdown::signal(scope).await?;
    Ok(())
}
