//! Questions to agents over the Sync that each holds, one at a time to each, and their answers.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use model::name::AgentId;
use proto::{
    admin::{SignOnFinding, SignOnVerdict},
    fabric::{SignOnAnswer, SignOnQuestion},
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

/// How long an agent may take to answer. It gives up by itself a second before.
pub const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Findings of an answer that are kept.
pub const FINDINGS_MAX: usize = 64;
/// Characters of each text of a finding that are kept.
const TEXT_CHARS_MAX: usize = 1_024;

/// The lines to all agents that are connected. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Questions {
    lines: Arc<Mutex<BTreeMap<AgentId, Open>>>,
    /// Of questions and lines.
    numbers: Arc<AtomicU64>,
}

/// The way to an agent.
#[derive(Debug, Clone)]
struct Open {
    number: u64,
    questions: mpsc::Sender<Waiting>,
    /// One question at a time.
    turn: Arc<Semaphore>,
}

/// A question that somebody waits to be answered.
#[derive(Debug)]
struct Waiting {
    question: SignOnQuestion,
    answer: oneshot::Sender<SignOnAnswer>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It holds no Sync.
    #[error("is not connected to control")]
    NotConnected,
    /// Somebody else is asking it.
    #[error("is busy with another test: try again in a few seconds")]
    Busy,
    /// It does not answer.
    #[error("has not answered within {} s", ANSWER_WAIT.as_secs())]
    TimedOut,
    /// Its Sync ended meanwhile.
    #[error("went away before it had answered")]
    Gone,
}

impl Questions {
    /// Opens the line of an agent's newest Sync, in place of any older one.
    #[must_use]
    pub fn open(&self, agent: &AgentId) -> Line {
        let (questions, asked) = mpsc::channel(1);
        let number = self.number();
        let open = Open {
            number,
            questions,
            turn: Arc::new(Semaphore::new(1)),
        };
        self.lock().insert(agent.clone(), open);
        Line {
            all: self.clone(),
            agent: agent.clone(),
            number,
            asked,
            waiting: None,
        }
    }

    /// Whether an agent can be asked.
    #[must_use]
    pub fn reach(&self, agent: &AgentId) -> bool {
        self.lock().contains_key(agent)
    }

    /// Asks an agent, and waits for its answer. The question's id is made here.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask(
        &self,
        agent: &AgentId,
        question: SignOnQuestion,
    ) -> Result<Vec<SignOnFinding>, AskError> {
        let open = self.lock().get(agent).cloned();
        let open = open.ok_or(AskError::NotConnected)?;
        let _turn = open.turn.try_acquire().map_err(|_| AskError::Busy)?;
        let (answer, answered) = oneshot::channel();
        let id = self.number();
        let question = SignOnQuestion { id, ..question };
        let waiting = Waiting { question, answer };
        let asked = async {
            let sent = open.questions.send(waiting).await;
            sent.map_err(|_| AskError::Gone)?;
            answered.await.map_err(|_| AskError::Gone)
        };
        let answer = timeout(ANSWER_WAIT, asked).await;
        let answer = answer.map_err(|_| AskError::TimedOut)??;
        Ok(bounded(answer.findings))
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentId, Open>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The agent's end, which its Sync serves. Dropped, the agent cannot be asked any more.
#[derive(Debug)]
pub struct Line {
    all: Questions,
    agent: AgentId,
    number: u64,
    asked: mpsc::Receiver<Waiting>,
    /// Who waits for the answer to the question of this id.
    waiting: Option<(u64, oneshot::Sender<SignOnAnswer>)>,
}

impl Line {
    /// The next question that somebody waits for. Cancel-safe.
    pub async fn next(&mut self) -> SignOnQuestion {
        while let Some(Waiting { question, answer }) = self.asked.recv().await {
            if !answer.is_closed() {
                self.waiting = Some((question.id, answer));
                return question;
            }
        }
        // A newer Sync has the line.
        std::future::pending().await
    }

    /// Takes the answer to the last question; any other is nobody's.
    pub fn answer(&mut self, answer: SignOnAnswer) {
        let waiting = self.waiting.take_if(|(id, _)| *id == answer.id);
        if let Some((_, tell)) = waiting {
            // Nobody waits any more.
            let _ = tell.send(answer);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut lines = self.all.lock();
        if lines
            .get(&self.agent)
            .is_some_and(|open| open.number == self.number)
        {
            lines.remove(&self.agent);
        }
    }
}

/// What is kept of what an agent says: of too many findings those that failed before others, in the agent's order, and texts of one line, which
/// no terminal takes for anything else.
fn bounded(mut findings: Vec<SignOnFinding>) -> Vec<SignOnFinding> {
    let failed = |finding: &SignOnFinding| finding.verdict() == SignOnVerdict::Failed;
    let mut others = FINDINGS_MAX.saturating_sub(findings.iter().filter(|it| failed(it)).count());
    findings.retain(|finding| {
        let is_kept = failed(finding) || others > 0;
        others = others.saturating_sub(usize::from(!failed(finding)));
        is_kept
    });
    findings.truncate(FINDINGS_MAX);
    for finding in &mut findings {
        let SignOnFinding {
            check,
            subject,
            verdict: _,
            fault,
            found,
            fix,
        } = finding;
        for text in [check, subject, fault, found, fix] {
            if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
                text.truncate(end);
            }
            if text.contains(char::is_control) {
                *text = text.replace('\n', " ").replace(char::is_control, "?");
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> AgentId {
        "a1".parse().expect("a good id")
    }

    fn about(app: &str) -> SignOnQuestion {
        SignOnQuestion {
            app: app.to_owned(),
            ..SignOnQuestion::default()
        }
    }

    fn found(text: &str) -> SignOnFinding {
        SignOnFinding {
            found: text.to_owned(),
            ..SignOnFinding::default()
        }
    }

    #[tokio::test]
    async fn a_question_is_answered_by_whoever_holds_the_line() {
        let (questions, a1) = (Questions::default(), agent());
        let nobody = questions.ask(&a1, about("wiki")).await;
        assert_eq!(nobody, Err(AskError::NotConnected));
        let mut line = questions.open(&a1);
        let answering = async {
            let question = line.next().await;
            assert_eq!(question.app, "wiki");
            // Of another question: nobody's.
            line.answer(SignOnAnswer {
                id: question.id + 1,
                findings: vec![found("stray")],
            });
            line.answer(SignOnAnswer {
                id: question.id,
                findings: vec![found("well")],
            });
        };
        let (answer, ()) = tokio::join!(questions.ask(&a1, about("wiki")), answering);
        assert_eq!(answer, Ok(vec![found("well")]));
        drop(line);
        assert!(!questions.reach(&a1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_is_asked_one_thing_at_a_time_and_for_ten_seconds() {
        let (questions, a1) = (Questions::default(), agent());
        let mut line = questions.open(&a1);
        let began = tokio::time::Instant::now();
        let silent = questions.ask(&a1, about("wiki"));
        let other = async {
            let _question = line.next().await;
            let busy = questions.ask(&a1, about("hr")).await;
            assert_eq!(busy, Err(AskError::Busy));
        };
        let (silent, ()) = tokio::join!(silent, other);
        assert_eq!(silent, Err(AskError::TimedOut));
        assert_eq!(began.elapsed(), ANSWER_WAIT);
        // The next one is asked again.
        let answering = async {
            let id = line.next().await.id;
            line.answer(SignOnAnswer {
                id,
                findings: Vec::new(),
            });
        };
        let (answer, ()) = tokio::join!(questions.ask(&a1, about("wiki")), answering);
        assert_eq!(answer, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn a_newer_line_takes_the_place_of_an_older_one() {
        let (questions, a1) = (Questions::default(), agent());
        let mut old = questions.open(&a1);
        let asking = questions.ask(&a1, about("wiki"));
        let replaced = async {
            let _question = old.next().await;
            let new = questions.open(&a1);
            drop(old);
            assert!(questions.reach(&a1), "the newer one stays");
            new
        };
        let (answer, _new) = tokio::join!(asking, replaced);
        assert_eq!(answer, Err(AskError::Gone));
    }

    #[test]
    fn what_an_agent_says_has_bounds() {
        let long = "\u{e4}".repeat(TEXT_CHARS_MAX + 1);
        let kept = bounded(vec![found(&long); FINDINGS_MAX + 1]);
        assert_eq!(kept.len(), FINDINGS_MAX);
        assert_eq!(kept[0].found.chars().count(), TEXT_CHARS_MAX);
    }

    #[test]
    fn what_failed_is_kept_before_what_went_well() {
        let mut findings = vec![found("well"); FINDINGS_MAX + 10];
        for place in [3, FINDINGS_MAX + 9] {
            findings[place] = SignOnFinding {
                verdict: SignOnVerdict::Failed.into(),
                ..found("not")
            };
        }
        let kept = bounded(findings);
        assert_eq!(kept.len(), FINDINGS_MAX);
        let failed = kept.iter().filter(|it| it.found == "not");
        assert_eq!(failed.count(), 2);
        assert_eq!((&*kept[3].found, &*kept[0].found), ("not", "well"));
    }

    #[test]
    fn what_an_agent_says_forges_no_line_of_anothers() {
        let kept = bounded(vec![SignOnFinding {
            check: "x\nagents/b2:\nok".to_owned(),
            ..found("\u{9b}2J\u{7f}\u{1b}[0m")
        }]);
        assert_eq!(kept[0].check, "x agents/b2: ok");
        assert_eq!(kept[0].found, "?2J??[0m");
    }
}
