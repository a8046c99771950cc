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
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

/// How long an agent may take to answer. It gives up by itself a second before.
pub const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Findings of an answer that are kept.
pub const FINDINGS_MAX: usize = 64;
/// Bytes of each text of a finding that are kept: 64 findings of 8 agents go into one message.
const TEXT_BYTES_MAX: usize = 1_024;

/// The lines to all agents that are connected. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Questions {
    lines: Arc<Mutex<BTreeMap<AgentId, Open>>>,
    /// Of questions.
    numbers: Arc<AtomicU64>,
}

/// The way to an agent.
#[derive(Debug, Clone)]
struct Open {
    /// Of the Sync.
    number: u64,
    questions: mpsc::Sender<Waiting>,
    turn: Turn,
}

/// One question at a time: until it is answered, or cannot be any more. Who asks may give up before.
#[derive(Debug, Clone, Default)]
struct Turn(Arc<Mutex<Option<Taken>>>);

#[derive(Debug)]
struct Taken {
    /// Of the question.
    number: u64,
    until: Instant,
    /// The agent has it.
    is_sent: bool,
}

impl Taken {
    fn holds(&self, now: Instant) -> bool {
        now < self.until
    }
}

impl Turn {
    fn is_taken(&self, now: Instant) -> bool {
        let taken = lock(&self.0);
        taken.as_ref().is_some_and(|taken| taken.holds(now))
    }

    fn take(&self, number: u64, now: Instant) -> Option<Instant> {
        let mut taken = lock(&self.0);
        if taken.as_ref().is_some_and(|taken| taken.holds(now)) {
            return None;
        }
        let until = now + ANSWER_WAIT;
        *taken = Some(Taken {
            number,
            until,
            is_sent: false,
        });
        Some(until)
    }

    /// Whether it still is that question's, which goes to the agent now.
    fn is_sent(&self, number: u64) -> bool {
        let mut taken = lock(&self.0);
        let taken = taken.as_mut().filter(|taken| taken.number == number);
        taken.map(|taken| taken.is_sent = true).is_some()
    }

    fn is_over(&self, number: u64) {
        lock(&self.0).take_if(|taken| taken.number == number);
    }

    fn is_given_up(&self, number: u64) {
        lock(&self.0).take_if(|taken| taken.number == number && !taken.is_sent);
    }
}

/// A question that somebody waits to be answered.
#[derive(Debug)]
struct Waiting {
    question: SignOnQuestion,
    until: Instant,
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
    /// Opens the line of an agent's Sync, of which it has several for moments: the newest, of the highest number, is the one that is asked.
    #[must_use]
    pub fn open(&self, agent: &AgentId, number: u64) -> Line {
        let (questions, asked) = mpsc::channel(1);
        let turn = Turn::default();
        let open = Open {
            number,
            questions,
            turn: turn.clone(),
        };
        let mut lines = self.lock();
        let newest = lines.get(agent).map_or(0, |open| open.number);
        if number >= newest {
            lines.insert(agent.clone(), open);
        }
        drop(lines);
        Line {
            all: self.clone(),
            agent: agent.clone(),
            number,
            turn,
            asked,
            unsent: None,
            awaited: None,
        }
    }

    /// Whether an agent is connected.
    #[must_use]
    pub fn reach(&self, agent: &AgentId) -> bool {
        self.lock().contains_key(agent)
    }

    /// Whether somebody asks an agent at this moment.
    #[must_use]
    pub fn is_busy(&self, agent: &AgentId) -> bool {
        let lines = self.lock();
        let open = lines.get(agent);
        open.is_some_and(|open| open.turn.is_taken(Instant::now()))
    }

    /// The turn to ask an agent; from here on its answer is waited for.
    ///
    /// # Errors
    /// [`AskError::NotConnected`] and [`AskError::Busy`]: it is asked nothing.
    pub fn claim(&self, agent: &AgentId) -> Result<Claim, AskError> {
        let open = self.lock().get(agent).cloned();
        let open = open.ok_or(AskError::NotConnected)?;
        let number = self.number();
        let until = open.turn.take(number, Instant::now());
        Ok(Claim {
            number,
            until: until.ok_or(AskError::Busy)?,
            open,
        })
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentId, Open>> {
        lock(&self.lines)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The turn to ask an agent. Dropped, it is another's, unless the agent has the question.
#[derive(Debug)]
pub struct Claim {
    number: u64,
    until: Instant,
    open: Open,
}

impl Claim {
    /// Asks the agent, and waits for its answer. The question's id is made here.
    ///
    /// # Errors
    /// [`AskError::TimedOut`] and [`AskError::Gone`].
    pub async fn ask(self, question: SignOnQuestion) -> Result<Vec<SignOnFinding>, AskError> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            question: SignOnQuestion {
                id: self.number,
                ..question
            },
            until: self.until,
            answer,
        };
        let asked = async {
            let sent = self.open.questions.send(waiting).await;
            sent.map_err(|_| AskError::Gone)?;
            answered.await.map_err(|_| AskError::Gone)
        };
        let answer = timeout_at(self.until, asked).await;
        let answer = answer.map_err(|_| AskError::TimedOut)??;
        Ok(bounded(answer.findings))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.open.turn.is_given_up(self.number);
    }
}

/// The agent's end, which its Sync serves. Dropped, the agent cannot be asked any more.
#[derive(Debug)]
pub struct Line {
    all: Questions,
    agent: AgentId,
    number: u64,
    turn: Turn,
    asked: mpsc::Receiver<Waiting>,
    /// What the agent is to be asked.
    unsent: Option<Waiting>,
    /// Who waits for the answer to the question of this id.
    awaited: Option<(u64, oneshot::Sender<SignOnAnswer>)>,
}

impl Line {
    /// Waits until there is something to ask. Cancel-safe.
    pub async fn wait(&mut self) {
        while !self.is_asked() {
            match self.asked.recv().await {
                Some(waiting) => self.unsent = Some(waiting),
                // A newer Sync has the line.
                None => std::future::pending().await,
            }
        }
    }

    /// Whether there is something to ask, and somebody waits for the answer.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        let unsent = self.unsent.as_ref();
        unsent.is_some_and(|waiting| !waiting.answer.is_closed())
    }

    /// What goes to the agent now, if there is something to ask.
    pub fn take(&mut self) -> Option<SignOnQuestion> {
        let unsent = self.unsent.take();
        let unsent = unsent.filter(|waiting| !waiting.answer.is_closed())?;
        let Waiting {
            mut question,
            until,
            answer,
        } = unsent;
        let left = until.saturating_duration_since(Instant::now());
        // Nothing is what says nothing.
        question.patience_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
        if !self.turn.is_sent(question.id) {
            return None;
        }
        self.awaited = Some((question.id, answer));
        Some(question)
    }

    /// Takes the answer to the last question; any other is nobody's.
    pub fn answer(&mut self, answer: SignOnAnswer) {
        let awaited = self.awaited.take_if(|(id, _)| *id == answer.id);
        if let Some((id, tell)) = awaited {
            self.turn.is_over(id);
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
            let mut ends = (0..=TEXT_BYTES_MAX.min(text.len())).rev();
            let end = ends.find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or_default());
            if text.contains(is_unshown) {
                *text = text.replace('\n', " ").replace(is_unshown, "?");
            }
        }
    }
    findings
}

/// What a terminal or a page does not show as it is: controls, and what ends lines, is of no width or turns the direction of writing (UAX #9).
fn is_unshown(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
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

    async fn ask(
        questions: &Questions,
        agent: &AgentId,
        app: &str,
    ) -> Result<Vec<SignOnFinding>, AskError> {
        questions.claim(agent)?.ask(about(app)).await
    }

    /// What goes to the agent next.
    async fn next(line: &mut Line) -> SignOnQuestion {
        line.wait().await;
        line.take().expect("somebody asks")
    }

    #[tokio::test]
    async fn a_question_is_answered_by_whoever_holds_the_line() {
        let (questions, a1) = (Questions::default(), agent());
        let nobody = ask(&questions, &a1, "wiki").await;
        assert_eq!(nobody, Err(AskError::NotConnected));
        let mut line = questions.open(&a1, 1);
        let answering = async {
            let question = next(&mut line).await;
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
        let (answer, ()) = tokio::join!(ask(&questions, &a1, "wiki"), answering);
        assert_eq!(answer, Ok(vec![found("well")]));
        drop(line);
        assert!(!questions.reach(&a1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_is_asked_one_thing_at_a_time_and_for_ten_seconds() {
        let (questions, a1) = (Questions::default(), agent());
        let mut line = questions.open(&a1, 1);
        let began = Instant::now();
        let silent = ask(&questions, &a1, "wiki");
        let other = async {
            let _question = next(&mut line).await;
            let busy = ask(&questions, &a1, "hr").await;
            assert_eq!(busy, Err(AskError::Busy));
        };
        let (silent, ()) = tokio::join!(silent, other);
        assert_eq!(silent, Err(AskError::TimedOut));
        assert_eq!(began.elapsed(), ANSWER_WAIT);
        // The next one is asked again.
        let answering = async {
            let id = next(&mut line).await.id;
            line.answer(SignOnAnswer {
                id,
                findings: Vec::new(),
            });
        };
        let (answer, ()) = tokio::join!(ask(&questions, &a1, "wiki"), answering);
        assert_eq!(answer, Ok(Vec::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_nobody_waits_for_any_more_is_not_asked() {
        let (questions, a1) = (Questions::default(), agent());
        let mut line = questions.open(&a1, 1);
        let given_up = tokio::time::timeout(Duration::from_secs(1), async {
            let waits = async {
                line.wait().await;
                std::future::pending::<()>().await;
            };
            tokio::join!(ask(&questions, &a1, "wiki"), waits)
        });
        assert!(given_up.await.is_err());
        assert!(!line.is_asked());
        assert!(line.take().is_none());
        // The agent was asked nothing, so that the next one need not wait.
        let answering = async {
            let question = next(&mut line).await;
            assert_eq!((&*question.app, question.patience_ms), ("hr", 10_000));
            line.answer(SignOnAnswer {
                id: question.id,
                findings: Vec::new(),
            });
        };
        let (answer, ()) = tokio::join!(ask(&questions, &a1, "hr"), answering);
        assert_eq!(answer, Ok(Vec::new()));
        drop(questions.claim(&a1).expect("it is free"));
        questions.claim(&a1).expect("it is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_is_at_work_is_not_asked_again_though_nobody_waits() {
        let (questions, a1) = (Questions::default(), agent());
        let mut line = questions.open(&a1, 1);
        let given_up = tokio::time::timeout(Duration::from_secs(1), async {
            let sent = async {
                let question = next(&mut line).await;
                std::future::pending::<()>().await;
                drop(question);
            };
            tokio::join!(ask(&questions, &a1, "wiki"), sent)
        });
        assert!(given_up.await.is_err());
        assert_eq!(questions.claim(&a1).err(), Some(AskError::Busy));
        tokio::time::advance(ANSWER_WAIT - Duration::from_secs(1)).await;
        assert!(questions.claim(&a1).is_ok());
    }

    #[tokio::test]
    async fn a_newer_line_takes_the_place_of_an_older_one() {
        let (questions, a1) = (Questions::default(), agent());
        let mut old = questions.open(&a1, 1);
        let asking = ask(&questions, &a1, "wiki");
        let replaced = async {
            let _question = next(&mut old).await;
            let new = questions.open(&a1, 2);
            drop(old);
            assert!(questions.reach(&a1), "the newer one stays");
            let late = questions.open(&a1, 1);
            drop(late);
            assert!(
                questions.reach(&a1),
                "an older one that comes late changes nothing"
            );
            new
        };
        let (answer, _new) = tokio::join!(asking, replaced);
        assert_eq!(answer, Err(AskError::Gone));
    }

    #[test]
    fn what_an_agent_says_has_bounds() {
        let long = "\u{20ac}".repeat(TEXT_BYTES_MAX);
        let kept = bounded(vec![found(&long); FINDINGS_MAX + 1]);
        assert_eq!(kept.len(), FINDINGS_MAX);
        assert_eq!(kept[0].found.len(), TEXT_BYTES_MAX - 1);
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
        let turned = bounded(vec![found("a\u{202e}b\u{2066}c\u{200d}d\u{2028}e")]);
        assert_eq!(turned[0].found, "a?b?c?d?e");
    }
}
