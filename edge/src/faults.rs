//! What an edge says of resources that it cannot use: each once, and once more when that is over.

use std::{collections::BTreeMap, error::Error as _, sync::Arc};

use crate::view::ViewError;

/// What was said last. Every revision names all faults there are, and most of them are those of the revision before.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Text of each, with its cause.
    told: BTreeMap<String, Option<String>>,
}

/// What has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Faults that are new, or of another cause.
    pub(crate) begun: Vec<(String, Option<String>)>,
    /// Faults that are over.
    pub(crate) ended: Vec<String>,
}

impl Faults {
    /// Takes in the faults of a revision.
    pub(crate) fn follow(&mut self, faults: &[Arc<ViewError>]) -> News {
        let now: BTreeMap<String, Option<String>> = faults
            .iter()
            .map(|fault| (fault.to_string(), fault.source().map(ToString::to_string)))
            .collect();
        let is_told = |fault: &String, cause| self.told.get(fault) == Some(cause);
        let begun = now.iter().filter(|(fault, cause)| !is_told(fault, cause));
        let begun = begun.map(|(fault, cause)| (fault.clone(), cause.clone()));
        let ended = self.told.keys().filter(|fault| !now.contains_key(*fault));
        let news = News {
            begun: begun.collect(),
            ended: ended.cloned().collect(),
        };
        self.told = now;
        news
    }
}

#[cfg(test)]
mod tests {
    use model::name::AgentId;

    use super::*;

    fn fault(name: &str, id: &str) -> Arc<ViewError> {
        Arc::new(ViewError::Agent {
            name: name.to_owned(),
            source: id.parse::<AgentId>().expect_err("it is no id"),
        })
    }

    #[test]
    fn a_fault_is_told_when_it_begins_and_when_it_is_over() {
        let mut faults = Faults::default();
        let (one, same) = (fault("agents/A!", "A!"), fault("agents/A!", "A!"));
        let other = fault("agents/B!", "B!");
        let texts = |news: &News| {
            let begun: Vec<_> = news.begun.iter().map(|(fault, _)| fault.clone()).collect();
            (begun, news.ended.clone())
        };
        let (a, b) = (one.to_string(), other.to_string());
        let first = faults.follow(std::slice::from_ref(&one));
        assert_eq!(texts(&first), (vec![a.clone()], vec![]));
        assert!(first.begun[0].1.is_some(), "the cause");
        // As a snapshot that was read anew has it.
        assert_eq!(faults.follow(std::slice::from_ref(&same)), News::default());
        let both = faults.follow(&[same, Arc::clone(&other)]);
        assert_eq!(texts(&both), (vec![b], vec![]));
        assert_eq!(texts(&faults.follow(&[other])), (vec![], vec![a]));
        // Of another cause, it is another.
        let worse = faults.follow(&[fault("agents/B!", "")]);
        assert_eq!((worse.begun.len(), worse.ended.len()), (1, 0));
    }
}
