//! Processes that run on Linux alone, as their commands say on Windows.

use std::ffi::OsString;

use runtime::doctor::{Check, Fault, Finding, Report};

use super::{CommonFlags, Failure, Screen};
use crate::cli::edge::EdgeCommand;

const WHERE: &str = "edges and control run on Linux, and so does the demo; on Windows adit is an agent, and the commands of operators";

pub(crate) const CONTROL_EXAMPLES: &str = WHERE;
pub(crate) const DEMO_EXAMPLES: &str = WHERE;
pub(crate) const EDGE_EXAMPLES: &str = WHERE;

/// Whatever such a process takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ElsewhereFlags {
    #[command(flatten)]
    common: CommonFlags,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    words: Vec<OsString>,
}

pub(crate) type ControlFlags = ElsewhereFlags;
pub(crate) type EdgeFlags = ElsewhereFlags;

/// `adit edge`, which cannot be, or what to do with joined edges.
#[derive(Debug, clap::Args)]
pub(crate) struct EdgeLine {
    #[command(flatten)]
    pub(crate) flags: EdgeFlags,
    #[command(subcommand)]
    pub(crate) command: Option<EdgeCommand>,
}

impl ElsewhereFlags {
    pub(crate) fn run(self, _screen: &mut Screen) -> std::future::Ready<Result<(), Failure>> {
        std::future::ready(Err(Failure::Elsewhere(WHERE)))
    }

    pub(crate) fn examine(self, report: &mut Report<'_>) -> std::future::Ready<()> {
        report.add(Finding::failed(
            Check::Configuration,
            Fault::Configuration,
            "",
            WHERE,
        ));
        std::future::ready(())
    }
}
