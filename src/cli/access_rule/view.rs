//! A rule as operators see it.

use std::time::SystemTime;

use proto::{
    access::{GrantKind, People, Places, Policy, Requirement, RuleState},
    admin::AccessRule,
};
use serde::Serialize;
use serde_json::Value;

use super::flags;
use crate::cli::{
    age,
    table::{self, Page, Row},
};

/// Keys of a rule in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct RuleView {
    pub(super) name: String,
    etag: String,
    display_name: String,
    message: String,
    state: &'static str,
    who: PeopleView,
    exclude_who: PeopleView,
    all_apps: bool,
    apps: Vec<String>,
    exclude_apps: Vec<String>,
    paths: Vec<String>,
    methods: Vec<String>,
    places: PlacesView,
    exclude_places: PlacesView,
    platforms: Vec<String>,
    clients: Vec<String>,
    schedule: Option<String>,
    when: String,
    grant: &'static str,
    requirements: Vec<&'static str>,
    classes: Vec<String>,
    terms: Vec<String>,
    sign_in_within: Option<String>,
    one_of: bool,
    session_limit: Option<String>,
    idle_limit: Option<String>,
    sign_in_every: Option<String>,
    no_download: Vec<String>,
    no_attachments: bool,
    create_time: Option<String>,
    update_time: Option<String>,
    #[serde(skip)]
    changed: Option<prost_types::Timestamp>,
}

#[derive(Debug, Serialize)]
struct PeopleView {
    everyone: bool,
    users: Vec<String>,
    user_groups: Vec<String>,
    claims: Vec<String>,
    providers: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PlacesView {
    networks: Vec<String>,
    locations: Vec<String>,
    trusted_locations: bool,
    countries: Vec<String>,
    unknown_country: bool,
}

fn ids(names: &[String]) -> Vec<String> {
    let names = names.iter();
    names.map(|name| table::id(name).to_owned()).collect()
}

impl From<Option<People>> for PeopleView {
    fn from(people: Option<People>) -> Self {
        let people = people.unwrap_or_default();
        let claims = people.claims.iter();
        Self {
            everyone: people.everyone,
            claims: claims
                .map(|claim| format!("{}={}", claim.name, claim.value))
                .collect(),
            users: ids(&people.users),
            user_groups: people.user_groups,
            providers: ids(&people.providers),
        }
    }
}

impl From<Option<Places>> for PlacesView {
    fn from(places: Option<Places>) -> Self {
        let places = places.unwrap_or_default();
        Self {
            networks: places.networks,
            locations: ids(&places.locations),
            trusted_locations: places.trusted,
            countries: places.countries,
            unknown_country: places.unknown_country,
        }
    }
}

impl PeopleView {
    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        words.extend(self.everyone.then(|| "everyone".to_owned()));
        words.extend(self.users.iter().map(|id| format!("user {id}")));
        words.extend(
            self.user_groups
                .iter()
                .map(|group| format!("group {group}")),
        );
        words.extend(self.claims.iter().map(|claim| format!("claim {claim}")));
        words.extend(self.providers.iter().map(|id| format!("provider {id}")));
        words
    }
}

impl PlacesView {
    fn words(&self) -> Vec<String> {
        let mut words = self.networks.clone();
        words.extend(self.locations.iter().map(|id| format!("location {id}")));
        words.extend(
            self.trusted_locations
                .then(|| "trusted locations".to_owned()),
        );
        words.extend(self.countries.iter().map(|code| format!("country {code}")));
        words.extend(self.unknown_country.then(|| "unknown country".to_owned()));
        words
    }
}

pub(super) fn state_word(state: RuleState) -> &'static str {
    match state {
        RuleState::Unspecified => "unknown",
        RuleState::On => "on",
        RuleState::ReportOnly => "report-only",
        RuleState::Off => "off",
    }
}

fn grant_word(kind: GrantKind) -> &'static str {
    match kind {
        GrantKind::Unspecified => "unknown",
        GrantKind::Allow => "allow",
        GrantKind::Block => "block",
        GrantKind::Require => "require",
    }
}

fn requirement_word(requirement: Requirement) -> &'static str {
    match requirement {
        Requirement::Unspecified => "unknown",
        Requirement::Mfa => "mfa",
        Requirement::Class => "class",
        Requirement::FreshSignIn => "fresh sign-in",
        Requirement::DeviceCertificate => "device certificate",
        Requirement::Terms => "terms",
    }
}

impl From<AccessRule> for RuleView {
    fn from(rule: AccessRule) -> Self {
        let policy: Policy = rule.policy.unwrap_or_default();
        let state = state_word(policy.state());
        let (who, which) = (
            policy.who.unwrap_or_default(),
            policy.which.unwrap_or_default(),
        );
        let (place, grant) = (
            policy.place.unwrap_or_default(),
            policy.grant.unwrap_or_default(),
        );
        let controls = policy.controls.unwrap_or_default();
        let span = |span: Option<prost_types::Duration>| span.as_ref().map(age::span);
        Self {
            name: rule.name,
            etag: rule.etag,
            display_name: rule.display_name,
            message: policy.message,
            state,
            who: who.include.into(),
            exclude_who: who.exclude.into(),
            all_apps: which.all_apps,
            apps: ids(&which.apps),
            exclude_apps: ids(&which.exclude_apps),
            paths: which.paths,
            methods: which.methods,
            places: place.include.into(),
            exclude_places: place.exclude.into(),
            platforms: policy.platforms,
            clients: policy.clients,
            schedule: policy.schedule.as_ref().map(flags::written_schedule),
            when: policy.when,
            grant: grant_word(grant.kind()),
            requirements: grant.requirements().map(requirement_word).collect(),
            classes: grant.classes,
            terms: ids(&grant.terms),
            sign_in_within: span(grant.sign_in_within),
            one_of: grant.one_of,
            session_limit: span(controls.session_limit),
            idle_limit: span(controls.idle_limit),
            sign_in_every: span(controls.sign_in_every),
            no_download: controls.no_download_types,
            no_attachments: controls.no_attachments,
            create_time: age::rfc3339(rule.create_time),
            update_time: age::rfc3339(rule.update_time),
            changed: rule.update_time,
        }
    }
}

impl RuleView {
    fn apps(&self) -> String {
        if self.all_apps {
            "all".to_owned()
        } else {
            self.apps.join(", ")
        }
    }

    fn asks(&self) -> String {
        let mut words = vec![self.grant.to_owned()];
        words.extend(self.requirements.iter().map(ToString::to_string));
        words.extend(self.classes.iter().map(|class| format!("({class})")));
        words.extend(self.terms.iter().map(|id| format!("({id})")));
        let span = self.sign_in_within.iter();
        words.extend(span.map(|span| format!("within {span}")));
        words.extend(self.one_of.then(|| "(one of them)".to_owned()));
        words.join(" ")
    }
}

/// A part of a rule that is changed as a whole.
#[derive(Debug)]
pub(crate) struct RulePart {
    /// As in a field mask.
    pub(crate) path: &'static str,
    /// Exact, for comparison and JSON.
    pub(crate) value: Value,
    /// One line for people; empty: nothing is said.
    pub(crate) line: String,
}

impl RuleView {
    /// All it says; always the same parts, so that two lists can be zipped.
    pub(crate) fn parts(&self) -> Vec<RulePart> {
        let text = |path, text: &str| part(path, text, text.to_owned());
        let list = |path, list: &Vec<String>| part(path, list, list.join(", "));
        let mut which: Vec<String> = vec![self.apps()];
        let labelled = |word: &str, items: &[String]| {
            (!items.is_empty()).then(|| format!("{word} {}", items.join(", ")))
        };
        which.extend(labelled("but not", &self.exclude_apps));
        which.extend(labelled("below", &self.paths));
        which.extend(labelled("by", &self.methods));
        let mut who = self.who.words();
        who.extend(labelled("but not", &self.exclude_who.words()));
        let mut place = self.places.words();
        place.extend(labelled("but not", &self.exclude_places.words()));
        let asks = (&self.requirements, &self.classes, &self.terms);
        let grant = (self.grant, asks, &self.sign_in_within, self.one_of);
        vec![
            text("display_name", &self.display_name),
            text("policy.state", self.state),
            text("policy.message", &self.message),
            part(
                "policy.who",
                &(&self.who, &self.exclude_who),
                who.join(", "),
            ),
            part(
                "policy.which",
                &(
                    (self.all_apps, &self.apps, &self.exclude_apps),
                    (&self.paths, &self.methods),
                ),
                which.join(", "),
            ),
            part(
                "policy.place",
                &(&self.places, &self.exclude_places),
                place.join(", "),
            ),
            list("policy.platforms", &self.platforms),
            list("policy.clients", &self.clients),
            text(
                "policy.schedule",
                self.schedule.as_deref().unwrap_or_default(),
            ),
            text("policy.when", &self.when),
            part("policy.grant", &grant, self.asks()),
            self.controls_part(),
        ]
    }

    fn controls_part(&self) -> RulePart {
        let spans = [
            ("session limit", &self.session_limit),
            ("idle limit", &self.idle_limit),
            ("sign in every", &self.sign_in_every),
        ];
        let mut words: Vec<String> = spans
            .iter()
            .filter_map(|(word, span)| Some(format!("{word} {}", span.as_ref()?)))
            .collect();
        words.extend(self.no_download.iter().map(|kind| format!("no {kind}")));
        words.extend(self.no_attachments.then(|| "no attachments".to_owned()));
        let spans = spans.map(|(_, span)| span);
        let exact = (spans, &self.no_download, self.no_attachments);
        part("policy.controls", &exact, words.join(", "))
    }
}

/// None of these can fail to be JSON.
fn part(path: &'static str, exact: &(impl Serialize + ?Sized), line: String) -> RulePart {
    RulePart {
        path,
        value: serde_json::to_value(exact).unwrap_or_default(),
        line,
    }
}

impl Row for RuleView {
    const COLUMNS: &'static [&'static str] = &["RULE", "STATE", "WHOM", "APPS", "GRANT", "CHANGED"];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        vec![
            table::id(&self.name).to_owned(),
            self.state.to_owned(),
            self.who.words().join(", "),
            self.apps(),
            self.asks(),
            age::relative(self.changed.as_ref(), now),
        ]
    }
}

impl Page for RuleView {
    fn facts(&self, _now: SystemTime) -> Vec<(&'static str, String)> {
        let text = |span: &Option<String>| span.clone().unwrap_or_default();
        let facts = [
            ("rule", table::id(&self.name).to_owned()),
            ("display name", self.display_name.clone()),
            ("state", self.state.to_owned()),
            ("message", self.message.clone()),
            ("whom", self.who.words().join("\n")),
            ("but not", self.exclude_who.words().join("\n")),
            ("apps", self.apps()),
            ("but not apps", self.exclude_apps.join(", ")),
            ("paths", self.paths.join("\n")),
            ("methods", self.methods.join(", ")),
            ("from", self.places.words().join("\n")),
            ("but not from", self.exclude_places.words().join("\n")),
            ("platforms", self.platforms.join(", ")),
            ("clients", self.clients.join(", ")),
            ("schedule", text(&self.schedule)),
            ("when", self.when.clone()),
            ("grant", self.asks()),
            ("session limit", text(&self.session_limit)),
            ("idle limit", text(&self.idle_limit)),
            ("sign in every", text(&self.sign_in_every)),
            ("no download", self.no_download.join(", ")),
            (
                "attachments",
                if self.no_attachments { "kept back" } else { "" }.to_owned(),
            ),
            ("created", age::to_the_second(self.create_time.as_deref())),
            ("changed", age::to_the_second(self.update_time.as_deref())),
            ("etag", self.etag.clone()),
        ];
        // Of twenty conditions most are empty.
        facts
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }
}
