//! `adit-loadtest`: a constant rate of GETs, and what came of them.

use std::{
    fs, io::Write as _, net::SocketAddr, num::NonZeroU32, path::PathBuf, process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use http::Uri;
use loadtest::{Load, Target, compare, population};
use runtime::{Clock, Scope};

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
    load: Option<LoadArgs>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Compare(Box<compare::Command>),
    Population(Box<population::Command>),
}

#[derive(Debug, clap::Args)]
struct LoadArgs {
    /// What to get
    url: Uri,
    /// Where to connect, whatever the URL's host resolves to
    #[arg(long, value_name = "ADDRESS:PORT")]
    connect: SocketAddr,
    /// PEM roots that the certificate is checked against
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Requests started per second
    #[arg(long, default_value = "100")]
    rate: NonZeroU32,
    /// How long requests are started
    #[arg(long, default_value = "10s", value_parser = runtime::config::duration)]
    duration: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let scope = Scope::root();
        match (args.command, args.load) {
            (Some(Command::Compare(command)), _) => {
                command.run(&Clock::system(), &scope).await?;
                Ok(ExitCode::SUCCESS)
            }
            (Some(Command::Population(command)), _) => command.run(&Clock::system(), &scope).await,
            (None, Some(load)) => put(load, &scope).await,
            (None, None) => anyhow::bail!("a URL or a command is needed"),
        }
    })
}

async fn put(args: LoadArgs, scope: &Scope) -> anyhow::Result<ExitCode> {
    let ca = args
        .ca
        .as_ref()
        .map(|path| fs::read(path).with_context(|| format!("reading {}", path.display())));
    let target = Target::new(args.url, args.connect, &ca.transpose()?.unwrap_or_default())?;
    let load = Load {
        rate: args.rate,
        duration: args.duration,
    };
    let report = loadtest::run(target, load, &Clock::system(), scope).await;
    let text = if args.json {
        report.to_json().to_string()
    } else {
        report.to_string()
    };
    writeln!(std::io::stdout(), "{text}").context("writing the report")?;
    Ok(if report.failed() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
