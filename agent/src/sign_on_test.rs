//! Sign-ons that an operator tries out: control asks, and the agent goes through the stages as its doctor does.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use proto::{
    admin::{SignOnFinding, SignOnVerdict},
    fabric::SignOnQuestion,
};
use runtime::{
    Clock,
    doctor::{Check, Fault, Finding, Report, Verdict},
    sync::Asked,
    vault::Keyring,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use crate::{
    allow::AllowList,
    credentials::Who,
    doctor::{Account, Attempt, Means, UsersSide, walk},
    form::SignIns,
    view::Views,
};

/// Of the time for which control waits, what is left for the answer's way.
const FOR_THE_WAY: Duration = Duration::from_secs(1);
/// Questions that wait: control asks one at a time, and may have given up on the one before.
pub(crate) const QUESTIONS_MAX: usize = 1;

/// What the agent signs users on with.
pub(crate) struct Tester {
    pub(crate) views: Views,
    pub(crate) account: Account,
    pub(crate) allow: Arc<AllowList>,
    pub(crate) keyring: Option<Arc<Keyring>>,
    pub(crate) sign_ins: SignIns,
    pub(crate) clock: Clock,
}

impl Tester {
    /// Answers questions, one after the other.
    pub(crate) async fn run(self, mut questions: mpsc::Receiver<Asked>) {
        while let Some(asked) = questions.recv().await {
            let end = asked.until - FOR_THE_WAY;
            if self.clock.now() >= end {
                tracing::info!("a test of a sign-on came too late, and nobody waits for it");
                continue;
            }
            // As a request that panics costs its stream and nothing else.
            let walked = AssertUnwindSafe(self.findings(&asked.question, end)).catch_unwind();
            let findings = walked.await.unwrap_or_else(|_| {
                let found = "the agent failed at it; its log says where";
                let app = &*asked.question.app;
                vec![Finding::failed(Check::SignOn, Fault::NoSignOn, app, found)]
            });
            asked.answer(findings.iter().map(wire).collect());
        }
    }

    async fn findings(&self, question: &SignOnQuestion, end: Instant) -> Vec<Finding> {
        let mut report = Report::new(|_| {});
        let Some(attempt) = read(question) else {
            let found = "control asks for what this agent cannot read: is it of another release?";
            report.add(Finding::failed(
                Check::SignOn,
                Fault::NoSignOn,
                &*question.app,
                found,
            ));
            return report.into_findings();
        };
        tracing::info!(
            app = question.app,
            user = question.user,
            name = question.name,
            "an operator tests a sign-on"
        );
        let view = self.views.load();
        let means = Means {
            view: &view,
            account: &self.account,
            allow: &self.allow,
            keyring: self.keyring.as_ref(),
            sign_ins: &self.sign_ins,
            clock: &self.clock,
            end,
        };
        let walked = timeout_at(end, walk(&attempt, &means, &mut report)).await;
        if walked.is_err() {
            let found = "the next stage was not done while control waits for the answer (9 s), and was given up";
            report.add(Finding::failed(
                Check::SignOn,
                Fault::SignOnTime,
                &*question.app,
                found,
            ));
        }
        report.into_findings()
    }
}

/// Whom to sign on where.
fn read(question: &SignOnQuestion) -> Option<Attempt> {
    let provider = match &*question.provider {
        "" => None,
        provider => Some(provider.parse().ok()?),
    };
    let path = Some(question.path.clone()).filter(|path| !path.is_empty());
    let app = question.app.parse().ok()?;
    let who = Who {
        provider,
        user: question.user.parse().ok()?,
    };
    Some(Attempt {
        who: Some(who),
        sign_in: question.sign_in,
        users: UsersSide {
            hosts: question.hosts.clone(),
            is_hidden: question.hide_forwarded,
        },
        ..Attempt::new(app, question.name.clone(), path)
    })
}

fn wire(finding: &Finding) -> SignOnFinding {
    let verdict = match finding.verdict {
        Verdict::Ok => SignOnVerdict::Ok,
        Verdict::Skipped => SignOnVerdict::Skipped,
        Verdict::Warning => SignOnVerdict::Warning,
        Verdict::Failed => SignOnVerdict::Failed,
    };
    let fault = finding.fault;
    SignOnFinding {
        check: finding.check.as_str().to_owned(),
        subject: finding.subject.clone(),
        verdict: verdict.into(),
        fault: fault
            .map(|fault| fault.as_str().to_owned())
            .unwrap_or_default(),
        found: finding.found.clone(),
        fix: fault
            .map(|fault| fault.fix().to_owned())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_no_attempt() {
        let good = SignOnQuestion {
            app: "wiki".to_owned(),
            user: "alice".to_owned(),
            ..SignOnQuestion::default()
        };
        let attempt = read(&good).expect("a good question");
        assert_eq!((attempt.path, attempt.sign_in), (None, false));
        for bad in [
            SignOnQuestion {
                app: "Wi Ki".to_owned(),
                ..good.clone()
            },
            SignOnQuestion {
                user: String::new(),
                ..good.clone()
            },
            SignOnQuestion {
                provider: "En Tra".to_owned(),
                ..good
            },
        ] {
            assert!(read(&bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_finding_goes_with_what_to_do_about_it() {
        let failed = Finding::failed(Check::SignOn, Fault::SignOnApp, "http://app", "no");
        let told = wire(&failed);
        assert_eq!((&*told.check, &*told.fault), ("sign-on", "sign_on_app"));
        assert_eq!(told.verdict(), SignOnVerdict::Failed);
        assert_eq!(told.fix, Fault::SignOnApp.fix());
        let well = wire(&Finding::ok(Check::SignOn, "", "yes"));
        assert_eq!((&*well.fault, &*well.fix), ("", ""));
    }
}
