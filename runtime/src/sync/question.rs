//! What control asks of a node, over the line that the node holds.

use proto::{
    admin::SignOnFinding,
    fabric::{SignOnAnswer, SignOnQuestion},
};
use tokio::sync::mpsc;

/// A question, with the way back. Dropped, it is not answered.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub question: SignOnQuestion,
    pub(super) answers: mpsc::Sender<SignOnAnswer>,
}

impl Asked {
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
