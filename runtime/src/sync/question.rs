//! What control asks of a node, over the line that the node holds.

use std::time::Duration;

use proto::{
    admin::{SignOnFinding, SignOnVerdict},
    fabric::{SignOnAnswer, SignOnQuestion},
};
use tokio::{sync::mpsc, time::Instant};

/// How long control waits for an answer where it does not say.
const PATIENCE: Duration = Duration::from_secs(10);
/// What control looks at where it is about the node itself.
const NODE_CHECK: &str = "agent";

/// A question, with the way back. Dropped, it is not answered.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub question: SignOnQuestion,
    /// Until then control waits for an answer.
    pub until: Instant,
    pub(super) answers: mpsc::Sender<SignOnAnswer>,
}

impl Asked {
    pub(super) fn new(
        question: SignOnQuestion,
        answers: mpsc::Sender<SignOnAnswer>,
        heard: Instant,
    ) -> Self {
        let patience = match question.patience_ms {
            0 => PATIENCE,
            millis => Duration::from_millis(millis.into()),
        };
        Self {
            until: heard + patience.min(PATIENCE),
            question,
            answers,
        }
    }

    /// Says that another question is in the way.
    pub(super) fn answer_busy(self) {
        let busy = SignOnFinding {
            check: NODE_CHECK.to_owned(),
            verdict: SignOnVerdict::Skipped.into(),
            found: "is busy with another test: try again in a few seconds".to_owned(),
            ..SignOnFinding::default()
        };
        self.answer(vec![busy]);
    }

    /// Answers it. Control may have given up, or the line may be another by now: then it is for nobody.
    pub fn answer(self, findings: Vec<SignOnFinding>) {
        let answer = SignOnAnswer {
            id: self.question.id,
            findings,
        };
        if self.answers.try_send(answer).is_err() {
            tracing::debug!("nobody waits for an answer any more");
        }
    }
}
