//! Whether an agent lives: by what comes on its link, and where that does not say enough, by questions.

use std::time::Duration;

use tunnel::silence::{LOOK_EVERY, SILENCE_MAX};

use crate::link::ASK_AFTER;

/// A link with streams is asked whether it lives so long after its last answer; one without, when nothing came for a while.
const ASK_EVERY: Duration = LOOK_EVERY.saturating_mul(2);
/// An answer so late makes the agent suspect: requests prefer others.
const SUSPECT_AFTER: Duration = LOOK_EVERY.saturating_mul(4);
/// An answer so late means that the agent is gone, or hangs. A killed process says no farewell, and QUIC's own time-out is 20 s.
const LOST_AFTER: Duration = LOOK_EVERY.saturating_mul(10);
/// The same for links of an agent that was started again meanwhile: it needs no more than a round trip.
const SUPERSEDED_AFTER: Duration = LOOK_EVERY.saturating_mul(3);

/// Follows one link through the looks at it; like [`Silence`](tunnel::silence::Silence), it counts looks and not time. Looks at a link that is idle and
/// lives are left out.
#[derive(Debug)]
pub(super) struct Vigil {
    question: Question,
}

/// What the agent was asked last, and since when that is so.
#[derive(Clone, Copy, Debug)]
enum Question {
    Answered(Duration),
    Open(Duration),
}

/// How a link stands at a look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sight {
    /// How long nothing has come.
    pub(super) silence: Duration,
    pub(super) is_busy: bool,
    pub(super) is_suspect: bool,
    pub(super) is_superseded: bool,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Ask,
    Suspect,
    /// It is given up, and this is why.
    GiveUp(&'static str),
}

impl Default for Vigil {
    fn default() -> Self {
        Self {
            question: Question::Answered(Duration::ZERO),
        }
    }
}

impl Vigil {
    pub(super) fn look(&mut self, sight: Sight) -> Step {
        if sight.silence >= SILENCE_MAX {
            return Step::GiveUp("the agent is silent");
        }
        match &mut self.question {
            Question::Answered(since) => {
                *since += LOOK_EVERY;
                let is_due = sight.is_busy && *since >= ASK_EVERY;
                match is_due || sight.is_suspect || sight.silence >= ASK_AFTER {
                    true => Step::Ask,
                    false => Step::Nothing,
                }
            }
            Question::Open(since) => {
                *since += LOOK_EVERY;
                late(*since, sight)
            }
        }
    }

    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.question, Question::Open(_))
    }

    pub(super) fn asked(&mut self) {
        self.question = Question::Open(Duration::ZERO);
    }

    pub(super) fn answered(&mut self) {
        self.question = Question::Answered(Duration::ZERO);
    }
}

/// What comes of an answer that is still waited for.
fn late(waited: Duration, sight: Sight) -> Step {
    if sight.is_superseded && waited >= SUPERSEDED_AFTER {
        Step::GiveUp("agent was started again")
    } else if waited >= LOST_AFTER {
        Step::GiveUp("no answer to a ping")
    } else if waited >= SUSPECT_AFTER && !sight.is_suspect {
        Step::Suspect
    } else {
        Step::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is promised.
    const FOUND_WITHIN: Duration = Duration::from_secs(5);

    /// Looks until the link is given up, at most for a minute: the steps, and how many looks it took.
    fn steps(vigil: &mut Vigil, mut sight: impl FnMut(u32) -> Sight) -> Vec<Step> {
        let mut steps = Vec::new();
        for look in 1..150 {
            let step = vigil.look(sight(look));
            steps.push(step);
            match step {
                Step::Ask => vigil.asked(),
                Step::GiveUp(_) => break,
                Step::Nothing | Step::Suspect => {}
            }
        }
        steps
    }

    /// When, after the first look, which comes at once after the agent's last word.
    fn after(steps: &[Step], is_meant: impl Fn(&Step) -> bool) -> Duration {
        let look = steps.iter().position(is_meant).expect("it comes to that");
        LOOK_EVERY * u32::try_from(look + 1).unwrap()
    }

    #[test]
    fn an_idle_agent_that_died_is_asked_once_and_given_up_in_time() {
        let found = steps(&mut Vigil::default(), |look| Sight {
            silence: LOOK_EVERY * look,
            ..Sight::default()
        });
        assert_eq!(found.iter().filter(|step| **step == Step::Ask).count(), 1);
        let given_up = after(&found, |step| matches!(step, Step::GiveUp(_)));
        assert!(given_up + LOOK_EVERY <= FOUND_WITHIN, "{given_up:?}");
    }

    #[test]
    fn a_busy_agent_that_hangs_is_suspected_and_given_up_in_time_though_packets_come() {
        let found = steps(&mut Vigil::default(), |_| Sight {
            is_busy: true,
            ..Sight::default()
        });
        let suspected = after(&found, |step| *step == Step::Suspect);
        assert!(suspected <= Duration::from_millis(2_400), "{suspected:?}");
        let given_up = after(&found, |step| *step == Step::GiveUp("no answer to a ping"));
        assert!(given_up <= FOUND_WITHIN, "{given_up:?}");
    }

    #[test]
    fn a_link_of_an_agent_that_was_started_again_goes_soon() {
        let mut vigil = Vigil::default();
        vigil.asked();
        let found = steps(&mut vigil, |_| Sight {
            is_suspect: true,
            is_superseded: true,
            ..Sight::default()
        });
        let given_up = after(&found, |step| matches!(step, Step::GiveUp(_)));
        assert_eq!(given_up, SUPERSEDED_AFTER);
    }

    #[test]
    fn an_agent_that_answers_is_asked_as_long_as_it_is_busy() {
        let mut vigil = Vigil::default();
        let mut asked = 0;
        for _ in 0..100 {
            let sight = Sight {
                is_busy: true,
                ..Sight::default()
            };
            match vigil.look(sight) {
                Step::Ask => {
                    asked += 1;
                    vigil.asked();
                    assert!(vigil.is_waiting());
                    vigil.answered();
                }
                step => assert_eq!(step, Step::Nothing),
            }
        }
        assert_eq!(asked, 50);
    }
}
