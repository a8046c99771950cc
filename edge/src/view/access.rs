//! Access rules and locations of a view. What cannot be read of them lets fewer people in, never more.

use std::{collections::HashMap, sync::Arc};

use model::{
    access::{
        place::Location,
        policy::Policy,
        ruleset::{RuleSet, Unreadable},
    },
    name::{AccessRuleId, AppId, LocationId, TermsId},
    terms::{Terms, TermsInForce},
};
use proto::{access_rule, fabric, location, violation::Violation};

/// What is wrong with something of a later version.
const UNKNOWN: &str = "it says something that this version does not know";

/// Rules and locations as they are gathered.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    rules: Vec<(AccessRuleId, Arc<Policy>)>,
    locations: HashMap<LocationId, Location>,
    terms: TermsInForce,
    unreadable: Unreadable,
}

impl Gathered {
    pub(super) fn rule(&mut self, rule: &ReadRule) {
        match rule {
            ReadRule::Whole(id, policy) => self.rules.push((id.clone(), Arc::clone(policy))),
            ReadRule::Unreadable(None) => self.unreadable.all_apps = true,
            ReadRule::Unreadable(Some(apps)) => self.unreadable.apps.extend(apps.iter().cloned()),
        }
    }

    pub(super) fn location(&mut self, id: &LocationId, location: &Location) {
        self.locations.insert(id.clone(), location.clone());
    }

    pub(super) fn unreadable_location(&mut self) {
        self.unreadable.locations = true;
    }

    pub(super) fn terms(&mut self, id: &TermsId, terms: &Terms) {
        self.terms.insert(id.clone(), terms.clone());
    }

    pub(super) fn set(self) -> RuleSet {
        RuleSet::new(self.rules, &self.locations, self.unreadable).with_terms(self.terms)
    }
}

/// What came of a rule.
#[derive(Debug)]
pub(super) enum ReadRule {
    Whole(AccessRuleId, Arc<Policy>),
    /// What it asks for is not known, and so nobody may use these apps; `None`: any.
    Unreadable(Option<Vec<AppId>>),
}

/// Reads a rule, and says what is wrong with it.
pub(super) fn read_rule(wire: &fabric::AccessRule) -> (ReadRule, Option<String>) {
    let policy = wire.policy.clone().unwrap_or_default();
    let fault = match (wire.id.parse(), access_rule::policy(&policy)) {
        _ if !access_rule::is_whole(wire) => UNKNOWN.to_owned(),
        (Ok(id), Ok(policy)) => return (ReadRule::Whole(id, Arc::new(policy)), None),
        (Err(fault), _) => fault.to_string(),
        (_, Err(found)) => in_words(&found),
    };
    // Of a later version, which may name apps in ways that are not known here either: only a plain list is taken at its word.
    let which = policy.which.unwrap_or_default();
    let apps: Option<Vec<AppId>> = which
        .apps
        .iter()
        .map(|name| AppId::from_resource_name(name)?.ok())
        .collect();
    let apps = apps.filter(|apps| !apps.is_empty() && !which.all_apps);
    (ReadRule::Unreadable(apps), Some(fault))
}

/// Reads a location.
pub(super) fn read_location(wire: &fabric::Location) -> Result<(LocationId, Location), String> {
    if !location::is_whole(wire) {
        return Err(UNKNOWN.to_owned());
    }
    let id = wire.id.parse();
    let id = id.map_err(|fault: model::name::IdError| fault.to_string())?;
    let area = location::area(&wire.area.clone().unwrap_or_default());
    Ok((id, area.map_err(|found| in_words(&found))?))
}

fn in_words(found: &[Violation]) -> String {
    let words: Vec<_> = found.iter().map(ToString::to_string).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_cannot_be_read_closes_what_it_names() {
        let read = |apps: &[&str], all_apps| {
            let policy = proto::access::Policy {
                which: Some(proto::access::Which {
                    all_apps,
                    apps: apps.iter().map(ToString::to_string).collect(),
                    ..proto::access::Which::default()
                }),
                ..proto::access::Policy::default()
            };
            let (rule, fault) = read_rule(&access_rule::told("mfa", Some(policy)));
            assert!(fault.is_some_and(|fault| fault.contains("state")));
            match rule {
                ReadRule::Whole(..) => panic!("it says nothing that can be read"),
                ReadRule::Unreadable(apps) => apps,
            }
        };
        assert_eq!(
            read(&["apps/wiki"], false),
            Some(vec!["wiki".parse().unwrap()])
        );
        assert_eq!(read(&["apps/wiki"], true), None);
        assert_eq!(read(&["apps/wiki", "odd"], false), None);
        assert_eq!(read(&[], false), None);
    }
}
