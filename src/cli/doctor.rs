//! `adit doctor`: looks for faults on the machine where a node runs, and says what to do about them.

use agent::doctor::Attempt;
use model::name::AppId;
use runtime::doctor::{self, Finding, Report, Verdict};
use serde::Serialize;

use super::{
    failure::Failure,
    process::{AgentFlags, EdgeFlags},
    screen::{Output, Screen, Shade},
    table,
};

const AGENT_EXAMPLES: &str = "It takes the flags and the file of `adit agent`, changes nothing, and may run beside it. The exit code names the first fault: docs/operating.md has the table.

Examples:
  adit doctor agent --config /etc/adit/agent.toml
  adit doctor agent --join-file agent.token --data-dir ./agent
  adit doctor agent --data-dir ./agent --json";

const EDGE_EXAMPLES: &str = "It takes the flags and the file of `adit edge`, changes nothing, and may run beside it. The exit code names the first fault: docs/operating.md has the table.

Examples:
  adit doctor edge --config /etc/adit/edge.toml
  adit doctor edge --data-dir ./edge --advertise edge.example.com:8443 --strict";

const SSO_EXAMPLES: &str = "Run it beside an agent of the app's group, as the agent's user, with the flags and the file of `adit agent`. It asks the domain for tickets in the
user's name, and the app's origins for a page as that user: nothing else is changed. The exit code names the first fault: docs/operating.md has the table.

Examples:
  adit doctor sso --config /etc/adit/agent.toml --app wiki --user alice@corp.example
  adit doctor sso --data-dir ./agent --kerberos-principal svc-adit@CORP.EXAMPLE \\
    --kerberos-keytab agent.keytab --app wiki --user alice@corp.example --json";

/// `adit doctor`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum DoctorCommand {
    /// Configuration, identity, the way to control and to the edges, and every origin.
    #[command(after_help = AGENT_EXAMPLES)]
    Agent(Examination<AgentFlags>),
    /// A user at an app with single sign-on: library, keytab, domain controllers, both tickets, and what the app says to them.
    #[command(after_help = SSO_EXAMPLES)]
    Sso(SsoExamination),
    /// Configuration, identity, ports, the way to control, certificates, and published names.
    #[command(after_help = EDGE_EXAMPLES)]
    Edge(Examination<EdgeFlags>),
}

/// What to examine, and how to tell.
#[derive(Debug, clap::Args)]
#[command(mut_arg("check_config", |arg| arg.hide(true)), mut_arg("print_config", |arg| arg.hide(true)))]
pub(crate) struct Examination<F: clap::Args> {
    #[command(flatten)]
    flags: F,
    /// Tell everything as one JSON document, as --output json does
    #[arg(long)]
    json: bool,
    /// Take warnings for faults, in the exit code too
    #[arg(long)]
    strict: bool,
}

/// Whom to sign on where, by an agent with these flags.
#[derive(Debug, clap::Args)]
pub(crate) struct SsoExamination {
    #[command(flatten)]
    examination: Examination<AgentFlags>,
    /// Id of the app
    #[arg(long, value_name = "ID")]
    app: AppId,
    /// What names the user to the app: the value that its publication chooses, such as alice@corp.example
    #[arg(long, value_name = "NAME")]
    user: String,
    /// What the app is asked for; its root may be open to anybody [default: the path of its health check, or /]
    #[arg(long, value_name = "PATH", value_parser = path)]
    path: Option<String>,
}

fn path(text: &str) -> Result<String, &'static str> {
    if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err("must begin with /")
    }
}

/// Whose faults are looked for.
struct Manner {
    process: &'static str,
    output: Output,
    /// What counts as a fault.
    least: Verdict,
}

impl<F: clap::Args> Examination<F> {
    fn split(self, process: &'static str, screen: &Screen) -> (F, Manner) {
        let output = if self.json {
            Output::Json
        } else {
            screen.output
        };
        let least = if self.strict {
            Verdict::Warning
        } else {
            Verdict::Failed
        };
        let manner = Manner {
            process,
            output,
            least,
        };
        (self.flags, manner)
    }
}

impl DoctorCommand {
    /// The flags of an agent, if one is examined.
    pub(crate) fn of_agent(&self) -> Option<&AgentFlags> {
        match self {
            Self::Agent(examination) => Some(&examination.flags),
            Self::Sso(sso) => Some(&sso.examination.flags),
            Self::Edge(_) => None,
        }
    }

    /// Looks, tells, and fails if something is to be mended.
    pub(crate) async fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Agent(examination) => {
                let (flags, manner) = examination.split("agent", screen);
                manner
                    .run(screen, async |report| flags.examine(report).await)
                    .await
            }
            Self::Sso(sso) => {
                let (flags, manner) = sso.examination.split("single sign-on", screen);
                let attempt = Attempt::new(sso.app, sso.user, sso.path);
                manner
                    .run(screen, async |report| {
                        flags.examine_sso(&attempt, report).await
                    })
                    .await
            }
            Self::Edge(examination) => {
                let (flags, manner) = examination.split("edge", screen);
                manner
                    .run(screen, async |report| flags.examine(report).await)
                    .await
            }
        }
    }
}

impl Manner {
    async fn run(
        &self,
        screen: &mut Screen,
        examine: impl AsyncFnOnce(&mut Report<'_>),
    ) -> Result<(), Failure> {
        let mut told = Ok(());
        let mut report = Report::new(|finding| {
            if self.output == Output::Table && told.is_ok() {
                told = tell(&Told::from(finding), screen);
            }
        });
        examine(&mut report).await;
        let findings = report.into_findings();
        told?;
        self.conclude(&findings, screen)
    }

    fn conclude(&self, findings: &[Finding], screen: &mut Screen) -> Result<(), Failure> {
        let first = doctor::first_fault(findings, self.least);
        if self.output == Output::Json {
            screen.json(&ReportView {
                process: self.process,
                verdict: doctor::worst(findings),
                fault: first.map(doctor::Fault::as_str),
                exit_code: first.map_or(0, doctor::Fault::exit_code),
                findings: findings.iter().map(FindingView::from).collect(),
            })?;
        }
        let count = |verdict| {
            let of_it = findings.iter().filter(|finding| finding.verdict == verdict);
            of_it.count()
        };
        let (warnings, faults) = (count(Verdict::Warning), count(Verdict::Failed));
        match first {
            Some(first) => Err(Failure::Unwell {
                process: self.process,
                count: if self.least == Verdict::Failed {
                    faults
                } else {
                    faults + warnings
                },
                first,
            }),
            None if self.output == Output::Json => Ok(()),
            None => screen.note(format!(
                "The {} is well: {} ok, {warnings} warnings.",
                self.process,
                count(Verdict::Ok)
            )),
        }
    }
}

/// A finding as it is printed.
pub(super) struct Told<'a> {
    pub(super) verdict: Verdict,
    pub(super) check: &'a str,
    pub(super) subject: &'a str,
    pub(super) found: &'a str,
    /// Its word, and what to do about it.
    pub(super) fault: Option<(&'a str, &'a str)>,
}

impl<'a> From<&'a Finding> for Told<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            verdict: finding.verdict,
            check: finding.check.as_str(),
            subject: &finding.subject,
            found: &finding.found,
            fault: finding.fault.map(|fault| (fault.as_str(), fault.fix())),
        }
    }
}

/// One line, and another with what to do.
pub(super) fn tell(told: &Told<'_>, screen: &mut Screen) -> Result<(), Failure> {
    let Told {
        verdict,
        check,
        subject,
        found,
        fault,
    } = told;
    let shade = match verdict {
        Verdict::Ok => Shade::Green,
        Verdict::Skipped => Shade::Dim,
        Verdict::Warning => Shade::Yellow,
        Verdict::Failed => Shade::Red,
    };
    let word = screen.shaded(shade, &format!("{:<8}", verdict.as_str()));
    let lead = table::printable(&format!("{check:<15}"));
    let about = if subject.is_empty() {
        String::new()
    } else {
        format!("{subject}: ")
    };
    let text = table::printable(&format!("{about}{found}"));
    table::behind(screen, &format!("{word} {lead} "), LEAD_COLUMNS, &text)?;
    match fault {
        Some((fault, fix)) => {
            let text = table::printable(&format!("{fault}: {fix}"));
            let lead = " ".repeat(LEAD_COLUMNS);
            table::behind(screen, &lead, LEAD_COLUMNS, &text)
        }
        None => Ok(()),
    }
}

/// What stands before what was found: how it stands, and what was looked at.
const LEAD_COLUMNS: usize = 25;

/// Keys of a report in JSON.
#[derive(Debug, Serialize)]
struct ReportView {
    process: &'static str,
    verdict: Verdict,
    fault: Option<&'static str>,
    exit_code: u8,
    findings: Vec<FindingView>,
}

/// Keys of a finding in JSON.
#[derive(Debug, Serialize)]
struct FindingView {
    #[serde(flatten)]
    finding: Finding,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'static str>,
}

impl From<&Finding> for FindingView {
    fn from(finding: &Finding) -> Self {
        Self {
            fix: finding.fault.map(doctor::Fault::fix),
            finding: finding.clone(),
        }
    }
}
