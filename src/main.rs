//! `adit`: the processes of a fabric and the commands of its operators, in one executable.

mod cli;
#[cfg(unix)]
mod demo;
#[cfg_attr(windows, path = "environment/windows.rs")]
mod environment;

use std::{io::Write as _, process::ExitCode, time::Duration};

use ::runtime::{memory, service, telemetry};
use clap::Parser as _;
use mimalloc::MiMalloc;

use self::cli::{Cli, Screen};

/// Smaller and faster than the system's under many short-lived buffers, above all on musl.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long threads that wait for others, such as a domain controller that is silent, may hold up the end of the process.
const THREADS_WAIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // Refused, it costs memory and nothing else.
    let _ = memory::refuse_huge_pages();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return told(&error),
    };
    if let Some(signing_on) = cli.signing_on()
        && let Err(error) = environment::settle(signing_on.krb5_conf.as_deref())
    {
        return failed(&format!("adit: cannot settle the environment: {error}"), 1).into();
    }
    if !cli.may_be_a_service() {
        return live(cli).into();
    }
    match service::within(|| live(cli)) {
        Ok(code) => code.into(),
        Err(error) => failed(&format!("adit: cannot be a service: {error}"), 1).into(),
    }
}

/// Does what was asked for; gives the exit code.
fn live(cli: Cli) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("adit: cannot start the runtime: {error}"), 1),
    };
    let mut screen = Screen::of_process(cli.output());
    let ended = runtime.block_on(cli.run(&mut screen));
    telemetry::flush();
    runtime.shutdown_timeout(THREADS_WAIT);
    match ended {
        Ok(()) => 0,
        Err(failure) if failure.is_broken_pipe() => 0,
        Err(failure) => failed(&failure.text(), failure.exit_code()),
    }
}

/// Help and version go to standard output and are no failure; wrong usage goes to standard error.
fn told(error: &clap::Error) -> ExitCode {
    // Whoever asked may have closed the pipe; there is nobody left to tell.
    let _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn failed(text: &str, code: u8) -> u8 {
    // As above.
    let _ = writeln!(telemetry::log(), "{text}");
    code
}
