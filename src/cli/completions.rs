//! `adit completions`: what a shell needs to complete our commands.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, failure::Failure, screen::Screen};

/// Prints the script for a shell.
pub(crate) fn print(shell: Shell, screen: &mut Screen) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "adit", &mut script);
    screen.raw(&script)
}
