//! How often each access rule was about a request, and what became of it.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use metrics::{Counter, counter};
use model::{
    access::{
        policy::State,
        ruleset::{Outcome, Part, RuleSet},
    },
    name::AccessRuleId,
};

/// Rules that ever had counts of their own; those beyond share the label "other".
const LABELLED_RULES_MAX: usize = 1_000;
/// Label of what is beyond a bound.
const OTHER: &str = "other";
/// Requests that a rule is about, by rule and outcome.
pub(crate) const ACCESS_RULES_TOTAL: &str = "edge_access_rules_total";

/// Handles of one rule, in the order of [`outcome`].
type Handles = [Counter; 5];

/// Handles of every rule that was about a request.
#[derive(Default)]
pub(crate) struct RuleCounts {
    held: RwLock<Held>,
}

#[derive(Default)]
struct Held {
    rules: HashMap<AccessRuleId, Arc<Handles>>,
    labelled: HashSet<AccessRuleId>,
}

impl fmt::Debug for RuleCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RuleCounts")
    }
}

impl RuleCounts {
    /// Counts a rule's part in a decision.
    pub(crate) fn count(&self, part: Part<'_>) {
        let id = part.rule.id();
        let known = self
            .held
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .rules
            .get(id)
            .map(Arc::clone);
        let handles = known.unwrap_or_else(|| self.make(id));
        handles[outcome(part)].increment(1);
    }

    fn make(&self, id: &AccessRuleId) -> Arc<Handles> {
        let Held { rules, labelled } =
            &mut *self.held.write().unwrap_or_else(PoisonError::into_inner);
        let is_labelled = labelled.contains(id) || labelled.len() < LABELLED_RULES_MAX;
        if is_labelled {
            labelled.insert(id.clone());
        }
        let label = if is_labelled { id.as_str() } else { OTHER };
        let handle = |outcome: &'static str| counter!(ACCESS_RULES_TOTAL, "rule" => label.to_owned(), "outcome" => outcome);
        let words = ["met", "blocked", "lacking", "would_block", "would_lack"];
        let handles = rules.entry(id.clone());
        Arc::clone(handles.or_insert_with(|| Arc::new(words.map(handle))))
    }

    /// Forgets the handles of rules that are gone.
    pub(crate) fn retain(&self, rules: &RuleSet) {
        let kept: HashSet<_> = rules.rules().iter().map(|rule| rule.id()).collect();
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.rules.retain(|id, _| kept.contains(id));
    }
}

/// Whether a rule that only reports would have refused the request.
pub(crate) fn would_refuse(part: Part<'_>) -> bool {
    part.rule.policy().state == State::ReportOnly && *part.outcome != Outcome::Met
}

fn outcome(part: Part<'_>) -> usize {
    match (part.outcome, would_refuse(part)) {
        (Outcome::Met, _) => 0,
        (Outcome::Blocked, false) => 1,
        (Outcome::Lacking(_), false) => 2,
        (Outcome::Blocked, true) => 3,
        (Outcome::Lacking(_), true) => 4,
    }
}

#[cfg(test)]
mod tests {
    use model::access::policy::{Grant, Policy};
    use runtime::{Scope, telemetry};

    use super::*;

    #[test]
    fn rules_are_counted_by_what_became_of_them_and_forgotten_when_they_go() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap();
        let _inside = runtime.enter();
        let exporter = telemetry::install_metrics(&Scope::root()).unwrap();
        let rule = |id: &str, state| {
            let mut policy = Policy::new(Grant::Block);
            policy.state = state;
            (id.parse().unwrap(), Arc::new(policy))
        };
        let rules = [rule("on", State::On), rule("trial", State::ReportOnly)];
        let rules = RuleSet::new(rules, &HashMap::new(), Default::default());
        let counts = RuleCounts::default();
        for rule in rules.rules() {
            for outcome in [&Outcome::Met, &Outcome::Blocked, &Outcome::Blocked] {
                counts.count(Part { rule, outcome });
            }
        }
        let page = exporter.render();
        for (rule, outcome, count) in [
            ("on", "met", 1),
            ("on", "blocked", 2),
            ("trial", "would_block", 2),
            ("trial", "blocked", 0),
        ] {
            let line =
                format!("{ACCESS_RULES_TOTAL}{{rule=\"{rule}\",outcome=\"{outcome}\"}} {count}");
            assert!(page.contains(&line), "{line} in\n{page}");
        }
        counts.retain(&RuleSet::default());
        assert!(counts.held.read().unwrap().rules.is_empty());
    }
}
