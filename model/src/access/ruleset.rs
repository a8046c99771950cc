//! The rules of a fabric, in the shape in which requests are held against them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{
    facts::Facts,
    index::Index,
    needs::{Missing, Needs},
    place::{Area, Location, Places},
    policy::{NoDownload, Policy, State, Unmet},
    when::Expression,
};
use crate::{
    name::{AccessRuleId, AppId, LocationId},
    terms::TermsInForce,
    user::User,
};

/// All rules that count. By default there are none.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// In order of id, without those that are off.
    rules: Vec<Rule>,
    locations: HashMap<LocationId, Area>,
    index: Index,
    needs_country: bool,
    needs_path: bool,
    needs_device: bool,
    unreadable: Unreadable,
    terms: TermsInForce,
}

/// What cannot be read here. Of apps of which a rule cannot be, it is not known what is asked for, so nobody gets in.
#[derive(Debug, Default)]
pub struct Unreadable {
    /// All of them.
    pub all_apps: bool,
    /// These.
    pub apps: HashSet<AppId>,
    /// Nor can some location be, which may be one that is trusted.
    pub locations: bool,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    id: AccessRuleId,
    policy: Arc<Policy>,
    include: Option<Area>,
    exclude: Area,
    /// Its expression speaks of a location that is not known here.
    is_when_incomplete: bool,
    /// Its expression speaks of the path.
    is_when_about_path: bool,
    is_timed: bool,
}

/// What became of a rule that matches a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What it asks for is there.
    Met,
    /// It lets nobody through.
    Blocked,
    /// The user has to show more.
    Lacking(Needs),
}

/// A rule's part in a decision.
#[derive(Debug, Clone, Copy)]
pub struct Part<'r> {
    /// The rule.
    pub rule: &'r Rule,
    /// What became of it.
    pub outcome: &'r Outcome,
}

/// What all rules together say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict<'r> {
    Through(Strings<'r>),
    Blocked(&'r Rule),
    /// By the first of the rules that ask for something.
    Lacking(&'r Rule, Needs),
    Unreadable,
}

/// What is attached to a permit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strings<'r> {
    /// How long the user may do nothing at the app.
    pub idle_limit: Option<Duration>,
    /// What they may not take away.
    pub no_download: Vec<&'r NoDownload>,
}

impl PartialEq for Rule {
    /// Ids are unique within a set.
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Rule {}

impl Rule {
    fn new(
        id: AccessRuleId,
        policy: Arc<Policy>,
        locations: &HashMap<LocationId, Location>,
        is_some_unreadable: bool,
    ) -> Self {
        let area = |places: &Places| {
            let trusted = locations.values().filter(|location| location.trusted);
            let mut area = Area::of_places(places, |id| locations.get(id), trusted);
            area.is_incomplete |= places.trusted && is_some_unreadable;
            area
        };
        let include = &policy.place.include;
        let when = policy.when.as_ref();
        let named = when.map(Expression::locations).unwrap_or_default();
        Self {
            id,
            include: (!include.is_empty()).then(|| area(include)),
            exclude: area(&policy.place.exclude),
            is_when_incomplete: named.iter().any(|id| !locations.contains_key(*id)),
            is_when_about_path: when.is_some_and(Expression::is_about_path),
            is_timed: policy.is_timed(),
            policy,
        }
    }

    /// Its id.
    pub fn id(&self) -> &AccessRuleId {
        &self.id
    }

    /// What it says.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Where those come from whom it is about; `None`: from anywhere.
    pub(super) fn include(&self) -> Option<&Area> {
        self.include.as_ref()
    }

    fn needs_path(&self) -> bool {
        let when = self.policy.when.as_ref();
        !self.policy.which.paths.is_empty() || when.is_some_and(Expression::needs_path)
    }

    fn needs_country(&self, location_does: bool) -> bool {
        let places = [self.include.as_ref(), Some(&self.exclude)];
        places.into_iter().flatten().any(Area::needs_country)
            || self
                .policy
                .when
                .as_ref()
                .is_some_and(|when| when.needs_country(location_does))
    }

    /// Whether it is about the request; the app is looked at before. What names a location that is not known here holds, and so does what speaks
    /// of a path that servers may read otherwise: rules only ever restrict.
    fn applies(
        &self,
        set: &RuleSet,
        app: &AppId,
        user: &User,
        facts: &Facts<'_>,
    ) -> Result<(), Unmet> {
        self.policy.applies(user, facts)?;
        let include = self.include.as_ref();
        if include.is_some_and(|area| !area.is_incomplete && !area.holds(facts)) {
            return Err(Unmet::Places);
        }
        if self.exclude.holds(facts) {
            return Err(Unmet::ExcludedPlaces);
        }
        let when = self.policy.when.as_ref();
        let is_unsure =
            self.is_when_incomplete || (self.is_when_about_path && facts.path_is_ambiguous);
        // With each method that it counts as.
        let holds = |when: &Expression| {
            when.holds(set, app, user, facts)
                || facts.other_methods.iter().any(|method| {
                    let facts = Facts {
                        method,
                        ..facts.clone()
                    };
                    when.holds(set, app, user, &facts)
                })
        };
        if when.is_some_and(|when| !is_unsure && !holds(when)) {
            return Err(Unmet::When);
        }
        Ok(())
    }

    fn outcome(&self, set: &RuleSet, user: &User, facts: &Facts<'_>) -> Outcome {
        match self.policy.missing(user, facts, &set.terms) {
            None => Outcome::Met,
            Some(Missing::Blocked) => Outcome::Blocked,
            Some(Missing::Needs(needs)) => Outcome::Lacking(needs),
        }
    }
}

impl RuleSet {
    /// The rules that count of these, with the locations that they name.
    pub fn new(
        rules: impl IntoIterator<Item = (AccessRuleId, Arc<Policy>)>,
        locations: &HashMap<LocationId, Location>,
        unreadable: Unreadable,
    ) -> Self {
        let counts = |policy: &Policy| match policy.state {
            State::On | State::ReportOnly => true,
            State::Off => false,
        };
        let rules = rules.into_iter().filter(|(_, policy)| counts(policy));
        let mut rules: Vec<_> = rules
            .map(|(id, policy)| Rule::new(id, policy, locations, unreadable.locations))
            .collect();
        rules.sort_by(|one, other| one.id.cmp(&other.id));
        let located = locations.iter();
        let located: HashMap<_, _> = located
            .map(|(id, location)| (id.clone(), Area::of(location)))
            .collect();
        let location_does = located.values().any(Area::needs_country);
        Self {
            index: Index::new(&rules),
            needs_country: rules.iter().any(|rule| rule.needs_country(location_does)),
            needs_path: rules.iter().any(Rule::needs_path),
            needs_device: rules.iter().any(|rule| rule.policy.needs_device()),
            locations: located,
            rules,
            unreadable,
            terms: TermsInForce::new(),
        }
    }

    /// With the terms that rules may ask for.
    #[must_use]
    pub fn with_terms(self, terms: TermsInForce) -> Self {
        Self { terms, ..self }
    }

    /// The terms of the fabric.
    pub fn terms(&self) -> &TermsInForce {
        &self.terms
    }

    /// Every rule that counts, in order of id.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether the country of an address makes a difference to any rule.
    pub fn needs_country(&self) -> bool {
        self.needs_country
    }

    /// Whether the path of a request makes a difference to any rule.
    pub fn needs_path(&self) -> bool {
        self.needs_path
    }

    /// Whether the certificate of a device makes a difference to any rule.
    pub fn needs_device(&self) -> bool {
        self.needs_device
    }

    /// Whether any rule may be about the app.
    pub fn concerns(&self, app: &AppId) -> bool {
        !self.index.about(app).is_empty() || self.is_unreadable(app)
    }

    /// Whether what the rules say of the app may change with nothing but time.
    pub fn is_timed(&self, app: &AppId) -> bool {
        let mut about = self.index.about(app).places();
        about.any(|place| self.rules[place].is_timed)
    }

    /// Whether a rule that is on, and may be about the app, tells users apart by their groups.
    pub fn names_groups(&self, app: &AppId) -> bool {
        self.on(app).any(Policy::names_groups)
    }

    /// Whether a rule that is on, and may be about the app, tells users apart by a claim.
    pub fn names_claim(&self, app: &AppId, claim: &str) -> bool {
        self.on(app).any(|policy| policy.names_claim(claim))
    }

    /// What the rules say that decide and may be about the app.
    fn on(&self, app: &AppId) -> impl Iterator<Item = &Policy> {
        let about = self.index.about(app).places();
        about
            .map(|place| &*self.rules[place].policy)
            .filter(|policy| policy.state == State::On)
    }

    fn is_unreadable(&self, app: &AppId) -> bool {
        self.unreadable.all_apps || self.unreadable.apps.contains(app)
    }

    /// Whether the location holds the request.
    pub(super) fn is_in(&self, location: &LocationId, facts: &Facts<'_>) -> bool {
        let area = self.locations.get(location);
        area.is_some_and(|area| area.holds(facts))
    }

    /// Holds a request of a user who is assigned to the app against every rule that may be about it. `watch` is told of each that is.
    pub(super) fn judge<'r>(
        &'r self,
        app: &AppId,
        user: &User,
        facts: &Facts<'_>,
        watch: &mut dyn FnMut(Part<'_>),
    ) -> Verdict<'r> {
        if self.is_unreadable(app) {
            return Verdict::Unreadable;
        }
        let mut strings = Strings::default();
        let mut blocked = None;
        let mut lacking: Option<(&Rule, Needs)> = None;
        let found = self.index.find(app, user, facts.address);
        for rule in found.map(|place| &self.rules[place]) {
            if rule.applies(self, app, user, facts).is_err() {
                continue;
            }
            let outcome = rule.outcome(self, user, facts);
            let outcome = &outcome;
            watch(Part { rule, outcome });
            match (rule.policy.state, outcome) {
                (State::ReportOnly | State::Off, _) => {}
                (State::On, Outcome::Met) => strings.add(rule),
                (State::On, Outcome::Blocked) => blocked = blocked.or(Some(rule)),
                (State::On, Outcome::Lacking(needs)) => match &mut lacking {
                    Some((_, all)) => all.join(needs.clone()),
                    None => lacking = Some((rule, needs.clone())),
                },
            }
        }
        match (blocked, lacking) {
            (Some(rule), _) => Verdict::Blocked(rule),
            (None, Some((rule, needs))) => Verdict::Lacking(rule, needs),
            (None, None) => Verdict::Through(strings),
        }
    }

    /// Why each rule is about a request, or is not, and what became of it.
    pub fn explain(
        &self,
        app: &AppId,
        user: &User,
        facts: &Facts<'_>,
    ) -> Vec<(&Rule, Result<Outcome, Unmet>)> {
        let part = |rule: &Rule| {
            let which = &rule.policy.which;
            if which.exclude_apps.contains(app) {
                return Err(Unmet::ExcludedApps);
            }
            if !which.holds_app(app) {
                return Err(Unmet::Apps);
            }
            rule.applies(self, app, user, facts)?;
            Ok(rule.outcome(self, user, facts))
        };
        self.rules.iter().map(|rule| (rule, part(rule))).collect()
    }
}

impl<'r> Strings<'r> {
    fn add(&mut self, rule: &'r Rule) {
        let controls = &rule.policy.controls;
        let limits = [self.idle_limit, controls.idle_limit];
        self.idle_limit = limits.into_iter().flatten().min();
        if !controls.no_download.is_empty() {
            self.no_download.push(&controls.no_download);
        }
    }

    /// Whether an answer of this media type, in lower case and without parameters, is kept back.
    pub fn keep_back(&self, media_type: &str, is_attachment: bool) -> bool {
        let mut lists = self.no_download.iter();
        lists.any(|list| list.holds(media_type, is_attachment))
    }
}
