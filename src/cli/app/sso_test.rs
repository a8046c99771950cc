//! `adit app sso`: single sign-on tried out, by the agents of an app.

use std::time::Duration;

use model::name::{AgentId, AppId, IdentityProviderId, UserId};
use proto::admin::{
    SignOnFinding, SignOnReport, SignOnVerdict, TestSingleSignOnRequest, TestSingleSignOnResponse,
};
use runtime::doctor::Verdict;
use serde::Serialize;

use crate::cli::{
    client::Control,
    doctor::{Told, tell},
    failure::Failure,
    screen::{Output, Screen},
};

/// Agents have ten seconds, whatever the operator's patience is otherwise.
const PATIENCE_MIN: Duration = Duration::from_secs(15);

const EXAMPLES: &str = "Each connected agent of the app's group goes through what single sign-on does for that user, and says how each stage went: \
the number, the words of the domain or the app, and what to look at. With Kerberos it gets tickets in the user's name and asks each origin for a page with them. \
A credential is looked at; only with --sign-in one of the agents sends it to the app, once, as a request of the user's would. \
What an agent cannot tell, such as by a page that is not for this user, is a warning. It needs the role admin, and is in the audit log.

Where a claim or an address of e-mail names users to the app, control does not know it before they sign in: say it with --name.

Exit code: 0, nothing failed; 1, a stage failed at any agent, or nothing could be tried; 2, wrong usage.

Examples:
  adit app sso test wiki --user alice
  adit app sso test hr --user alice --name alice@corp.example
  adit app sso test wiki --user alice --agent berlin-1 --path /reports --json
  adit app sso test admin --user alice --sign-in";

/// What to do about single sign-on.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum SsoCommand {
    /// Try out whether a user is signed on to an app, and if not, at which stage it fails.
    #[command(after_help = EXAMPLES)]
    Test(SsoTest),
}

/// `adit app sso test`.
#[derive(Debug, clap::Args)]
pub(crate) struct SsoTest {
    /// Id of the app.
    id: AppId,
    /// Id of the user, as they sign in.
    #[arg(long, value_name = "ID")]
    user: UserId,
    /// What names the user to the app, if that is not the id: the value of the claim, such as alice@corp.example.
    #[arg(
        long,
        value_name = "VALUE",
        default_value = "",
        hide_default_value = true
    )]
    name: String,
    /// Identity provider that says who the user is, or local [default: whose users the app takes, or the fabric itself]
    #[arg(long, value_name = "ID")]
    provider: Option<IdentityProviderId>,
    /// Ask this agent alone [default: all that are connected, at most 8]
    #[arg(long, value_name = "ID")]
    agent: Option<AgentId>,
    /// What the app is asked for, as it is inside; its root may be open to anybody. Not for forms, nor for Basic without --sign-in [default:
    /// the path of its health check, or where it begins]
    #[arg(
        long,
        value_name = "PATH",
        default_value = "",
        hide_default_value = true
    )]
    path: String,
    /// Send the credential to the app, once, by one agent; wrong ones may count there towards a lock.
    #[arg(long)]
    sign_in: bool,
    /// Tell everything as one JSON document, as --output json does.
    #[arg(long)]
    json: bool,
}

impl SsoCommand {
    pub(super) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let Self::Test(test) = self;
        test.run(&control.patient(PATIENCE_MIN), screen).await
    }
}

impl SsoTest {
    async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let app = self.id.resource_name();
        let provider = self.provider.map(|id| id.resource_name());
        let request = TestSingleSignOnRequest {
            name: app.clone(),
            user: self.user.resource_name(),
            identity_provider: provider.unwrap_or_default(),
            identity_value: self.name,
            agent: self.agent.map(|id| id.resource_name()).unwrap_or_default(),
            path: self.path,
            sign_in: self.sign_in,
        };
        let doing = format!("test the sign-on to {app}");
        let tested = control
            .call(doing, control.apps().test_single_sign_on(request))
            .await
            .map_err(|failure| failure.naming(flag))?;
        let output = if self.json {
            Output::Json
        } else {
            screen.output
        };
        let view = TestView::new(app, &self.user, tested);
        match output {
            Output::Json => screen.json(&view)?,
            Output::Table => view.tell(screen)?,
        }
        view.conclude(output, screen)
    }
}

/// The flag of a field of the request.
fn flag(field: &str) -> Option<&'static str> {
    match field {
        "user" => Some("--user"),
        "identity_provider" => Some("--provider"),
        "identity_value" => Some("--name"),
        "agent" => Some("--agent"),
        "path" => Some("--path"),
        "sign_in" => Some("--sign-in"),
        _ => None,
    }
}

/// Keys of a test in JSON.
#[derive(Debug, Serialize)]
struct TestView {
    app: String,
    user: String,
    verdict: Verdict,
    /// What control says by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<StageView>,
    agents: Vec<AgentView>,
}

/// Keys of what one agent says.
#[derive(Debug, Serialize)]
struct AgentView {
    agent: String,
    verdict: Verdict,
    findings: Vec<StageView>,
}

/// Keys of a stage in JSON.
#[derive(Debug, Serialize)]
struct StageView {
    check: String,
    subject: String,
    verdict: Verdict,
    #[serde(skip_serializing_if = "String::is_empty")]
    fault: String,
    found: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    fix: String,
}

impl TestView {
    fn new(app: String, user: &UserId, tested: TestSingleSignOnResponse) -> Self {
        let agents: Vec<_> = tested.reports.into_iter().map(AgentView::from).collect();
        let findings: Vec<_> = tested.findings.into_iter().map(StageView::from).collect();
        let verdicts = agents.iter().map(|agent| agent.verdict);
        let verdict = if agents.iter().any(AgentView::was_asked) {
            worst(verdicts.chain(findings.iter().map(|stage| stage.verdict)))
        } else {
            Verdict::Failed
        };
        Self {
            app,
            user: user.to_string(),
            verdict,
            findings,
            agents,
        }
    }

    fn tell(&self, screen: &mut Screen) -> Result<(), Failure> {
        for stage in &self.findings {
            stage.tell(screen)?;
        }
        for agent in &self.agents {
            screen.line(format_args!("{}:", agent.agent))?;
            for stage in &agent.findings {
                stage.tell(screen)?;
            }
        }
        Ok(())
    }

    fn conclude(&self, output: Output, screen: &mut Screen) -> Result<(), Failure> {
        if self.verdict == Verdict::Failed {
            let failed = |agent: &&AgentView| agent.verdict == Verdict::Failed;
            let failed = self.agents.iter().filter(failed).count();
            let total = self.agents.iter().filter(|it| it.was_asked()).count();
            if total == 0 {
                return Err(Failure::NothingTried {
                    user: self.user.clone(),
                    app: self.app.clone(),
                });
            }
            return Err(Failure::NotSignedOn {
                user: self.user.clone(),
                app: self.app.clone(),
                failed,
                total,
            });
        }
        match output {
            Output::Json => Ok(()),
            Output::Table => {
                let (user, app) = (&self.user, &self.app);
                match self.verdict {
                    Verdict::Warning => screen.note(format_args!(
                        "It is not sure that {user} is signed on to {app}: see the warnings."
                    )),
                    Verdict::Skipped => screen.note(format_args!(
                        "As far as it was looked, nothing keeps {user} from {app}."
                    )),
                    Verdict::Ok | Verdict::Failed => {
                        screen.note(format_args!("Nothing keeps {user} from {app}."))
                    }
                }
            }
        }
    }
}

impl AgentView {
    /// Whether it did anything: of others it is only said why not.
    fn was_asked(&self) -> bool {
        let mut findings = self.findings.iter();
        self.findings.is_empty()
            || findings.any(|it| it.check != "agent" || it.verdict != Verdict::Skipped)
    }
}

impl From<SignOnReport> for AgentView {
    fn from(report: SignOnReport) -> Self {
        let findings: Vec<_> = report.findings.into_iter().map(StageView::from).collect();
        Self {
            agent: report.agent,
            verdict: worst(findings.iter().map(|stage| stage.verdict)),
            findings,
        }
    }
}

impl From<SignOnFinding> for StageView {
    fn from(finding: SignOnFinding) -> Self {
        Self {
            verdict: verdict(finding.verdict()),
            check: finding.check,
            subject: finding.subject,
            fault: finding.fault,
            found: finding.found,
            fix: finding.fix,
        }
    }
}

impl StageView {
    fn tell(&self, screen: &mut Screen) -> Result<(), Failure> {
        let told = Told {
            verdict: self.verdict,
            check: &self.check,
            subject: &self.subject,
            found: &self.found,
            fault: Some((&*self.fault, &*self.fix)).filter(|(fault, _)| !fault.is_empty()),
        };
        tell(&told, screen)
    }
}

/// What says nothing is taken for the worst.
fn verdict(wire: SignOnVerdict) -> Verdict {
    match wire {
        SignOnVerdict::Ok => Verdict::Ok,
        SignOnVerdict::Skipped => Verdict::Skipped,
        SignOnVerdict::Warning => Verdict::Warning,
        SignOnVerdict::Failed | SignOnVerdict::Unspecified => Verdict::Failed,
    }
}

/// How it stands with all of these; with none of them, as badly as can be.
fn worst(verdicts: impl Iterator<Item = Verdict>) -> Verdict {
    verdicts
        .max_by_key(|verdict| verdict.rank())
        .unwrap_or(Verdict::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdicts: &[SignOnVerdict]) -> SignOnReport {
        let finding = |verdict: &SignOnVerdict| SignOnFinding {
            verdict: (*verdict).into(),
            ..SignOnFinding::default()
        };
        SignOnReport {
            agent: "agents/a1".to_owned(),
            findings: verdicts.iter().map(finding).collect(),
        }
    }

    #[test]
    fn a_test_is_as_good_as_its_worst_stage() {
        use SignOnVerdict::{Failed, Ok, Skipped, Unspecified};
        for (verdicts, want) in [
            (&[Ok, Ok][..], Verdict::Ok),
            (&[Ok, Skipped], Verdict::Skipped),
            (&[Ok, Failed, Skipped], Verdict::Failed),
            (&[Unspecified], Verdict::Failed),
            (&[], Verdict::Failed),
        ] {
            let tested = TestSingleSignOnResponse {
                reports: vec![report(&[Ok]), report(verdicts)],
                findings: Vec::new(),
            };
            let user = "alice".parse().expect("a good id");
            let view = TestView::new("apps/wiki".to_owned(), &user, tested);
            assert_eq!(view.verdict, want, "{verdicts:?}");
        }
    }

    #[test]
    fn a_test_that_no_agent_has_done_is_none() {
        let mut busy = report(&[SignOnVerdict::Skipped]);
        busy.findings[0].check = "agent".to_owned();
        let tested = TestSingleSignOnResponse {
            reports: vec![busy],
            findings: Vec::new(),
        };
        let user = "alice".parse().expect("a good id");
        let view = TestView::new("apps/wiki".to_owned(), &user, tested);
        assert_eq!(view.verdict, Verdict::Failed);
    }
}
