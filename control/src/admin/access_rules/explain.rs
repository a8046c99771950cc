//! What would become of a request that nobody makes, by the very function that edges decide by.

use std::{collections::HashMap, fmt::Display, net::IpAddr, sync::Arc};

use model::{
    access::{
        Caller, Denial, authorise,
        facts::{ClientKind, Country, Facts, Platform, capitals},
        needs::Needs,
        policy::State,
        ruleset::{Outcome, RuleSet, Unreadable},
    },
    app::{Access, App},
    name::{AccessRuleId, AppId, IdentityProviderId, LocationId, TermsId, UserId},
    path,
    terms::{Acceptance, TermsInForce},
    user::{CLAIMS_MAX, Claim, USER_GROUPS_MAX, User},
};
use proto::{
    access::RuleState,
    access_rule,
    admin::{
        self, AccessDecision, AccessExplanation, GetAccessExplanationRequest, RuleExplanation,
        RulePart,
    },
    app::publication_under,
    control::UserRecord,
    fabric::ClientCaHolders,
    location, time,
    violation::Violation,
};

use crate::{
    admin::{
        AdminContext, record,
        refusal::{Refusal, violation},
        stored_settings,
    },
    client_cas,
    store::Store,
    terms::{self, Who},
    time::unix_ms,
};

/// Longest path that is explained: what edges take.
const PATH_BYTES_MAX: usize = 16 * 1024;
/// Methods of authentication that may be supposed.
const METHODS_MAX: usize = 16;
/// Longest word of any other part of the request.
const WORD_BYTES_MAX: usize = 256;

/// Added where a device's certificate is supposed for nothing.
const NO_DEVICES: &str =
    "; the device's certificate does not count, as the app names no client CA of devices";

/// Explains one request.
pub(super) async fn explain(
    context: &AdminContext,
    request: &GetAccessExplanationRequest,
) -> Result<AccessExplanation, Refusal> {
    let mut found = Vec::new();
    let now_ms = unix_ms(context.clock.wall());
    let asked = Asked::read(request, now_ms, &mut found);
    let Some(asked) = asked.filter(|_| found.is_empty()) else {
        return Err(Refusal::Invalid(found));
    };
    let store = &*context.store;
    let (app, host) = app(store, &asked.app).await?;
    let mut user = asked.user(store, request).await?;
    let rules = rules(store).await?;
    user.accepted = accepted(store, rules.terms(), &asked).await?;
    let device_counts = request.device_certificate && takes_devices(store, &app).await?;
    let facts = Facts {
        host: or_default(&request.host, &host),
        has_device_certificate: device_counts,
        ..asked.facts(request)
    };
    let (decision, mut summary) = decide(&app, &user, &rules, &facts);
    if request.device_certificate && !device_counts {
        summary += NO_DEVICES;
    }
    let explained = rules.explain(&app.id, &user, &facts).into_iter();
    let explained = explained.map(|(rule, part)| {
        let (part, detail) = match part {
            Err(unmet) => (RulePart::NoMatch, format!("other {}", unmet.as_str())),
            Ok(Outcome::Met) => (RulePart::Met, String::new()),
            Ok(Outcome::Blocked) => (RulePart::Blocks, String::new()),
            Ok(Outcome::Lacking(needs)) => (RulePart::Lacks, in_words(&needs)),
        };
        let state = match rule.policy().state {
            State::On => RuleState::On,
            State::ReportOnly => RuleState::ReportOnly,
            State::Off => RuleState::Off,
        };
        RuleExplanation {
            name: rule.id().resource_name(),
            state: state.into(),
            part: part.into(),
            detail,
        }
    });
    Ok(AccessExplanation {
        decision: decision.into(),
        summary,
        rules: explained.collect(),
    })
}

fn decide(app: &App, user: &User, rules: &RuleSet, facts: &Facts<'_>) -> (AccessDecision, String) {
    let caller = Caller::User(Arc::new(user.clone()));
    let decided = authorise(app, caller, rules, || facts.clone(), &mut |_| {});
    match decided {
        Ok(_) if matches!(app.access, Access::Passthrough) => {
            let why = "the app is open to all, and rules do not hold for it";
            (AccessDecision::Through, why.to_owned())
        }
        Ok(_) => {
            let why = "the user is assigned to the app and meets every rule about the request";
            (AccessDecision::Through, why.to_owned())
        }
        Err(
            denial @ (Denial::NotSignedIn
            | Denial::OtherProvider
            | Denial::NotAssigned(_)
            | Denial::ServiceNotAssigned(_)
            | Denial::ProgramNotAssigned(_)),
        ) => (AccessDecision::NotAssigned, denial.to_string()),
        Err(Denial::Blocked(denial)) => {
            let rule = denial.rule.resource_name();
            (AccessDecision::Blocked, format!("{rule} blocks it"))
        }
        Err(Denial::Lacking { denial, needs }) => {
            let rule = denial.rule.resource_name();
            let why = format!("{rule} asks for more; in all: {}", in_words(&needs));
            (AccessDecision::StepUp, why)
        }
        Err(denial @ Denial::UnreadableRule) => (AccessDecision::Blocked, denial.to_string()),
    }
}

fn in_words(needs: &Needs) -> String {
    let mut words = Vec::new();
    words.extend(needs.mfa.then(|| "more than one factor".to_owned()));
    if !needs.classes.is_empty() {
        words.push(format!("a sign-in of class {}", needs.classes.join(" or ")));
    }
    let span = needs.sign_in_within;
    words.extend(span.map(|span| format!("a sign-in within {}", time::written(span))));
    let device = needs.device_certificate;
    words.extend(device.then(|| "a device certificate".to_owned()));
    if !needs.terms.is_empty() {
        let terms: Vec<_> = needs.terms.iter().map(ToString::to_string).collect();
        words.push(format!("acceptance of the terms {}", terms.join(" and ")));
    }
    words.join(", ")
}

/// What is asked about, read.
struct Asked {
    user: UserId,
    app: AppId,
    provider: Option<IdentityProviderId>,
    address: IpAddr,
    country: Option<Country>,
    client: ClientKind,
    platform: Platform,
    /// What else the method counts as.
    other_methods: Vec<String>,
    now_ms: i64,
    sign_in_ms: i64,
}

/// What was read, or nothing and a note of what is wrong with it.
fn take<T>(field: &str, read: Result<T, impl Display>, found: &mut Vec<Violation>) -> Option<T> {
    read.map_err(|fault| found.push(violation(field, fault.to_string())))
        .ok()
}

impl Asked {
    fn read(
        request: &GetAccessExplanationRequest,
        now_ms: i64,
        found: &mut Vec<Violation>,
    ) -> Option<Self> {
        bound(request, found);
        let (name, read) = (&request.user, UserId::from_resource_name);
        let user = record::id("user", name, UserId::COLLECTION, read);
        let user = user.map_err(|fault| found.push(fault)).ok();
        let (name, read) = (&request.app, AppId::from_resource_name);
        let app = record::id("app", name, AppId::COLLECTION, read);
        let app = app.map_err(|fault| found.push(fault)).ok();
        let provider = (!request.provider.is_empty()).then(|| {
            let read = IdentityProviderId::from_resource_name;
            record::id(
                "provider",
                &request.provider,
                IdentityProviderId::COLLECTION,
                read,
            )
        });
        let provider = provider.transpose().map_err(|fault| found.push(fault)).ok();
        let address = request.address.parse::<IpAddr>();
        let address = address.map_err(|_| "must be an address such as 192.0.2.7");
        let address = take("address", address, found);
        let country = (!request.country.is_empty()).then(|| request.country.parse());
        let country = take("country", country.transpose(), found);
        let client = ClientKind::of_word(or_default(&request.client, "browser"));
        let client = client.ok_or("must be browser or program");
        let client = take("client", client, found);
        let platform = Platform::of_word(or_default(&request.platform, "unknown"));
        let platform = platform.ok_or("must be a platform as in rules, such as windows");
        let platform = take("platform", platform, found);
        let mut moment = |field, wire: Option<&prost_types::Timestamp>| {
            take(field, wire.map(time::system_time).transpose(), found)
        };
        let now = moment("time", request.time.as_ref());
        let signed_in = moment("sign_in_time", request.sign_in_time.as_ref());
        let now_ms = now?.map_or(now_ms, unix_ms);
        Some(Self {
            user: user?,
            app: app?,
            provider: provider?,
            address: address?.to_canonical(),
            country: country?,
            client: client?,
            platform: platform?,
            other_methods: capitals(&request.method).into_iter().collect(),
            now_ms,
            sign_in_ms: signed_in?.map_or(now_ms, unix_ms),
        })
    }

    /// As their account has it, if there is one, and with what is supposed of them.
    async fn user(
        &self,
        store: &dyn Store,
        request: &GetAccessExplanationRequest,
    ) -> Result<User, Refusal> {
        let mut groups = request.user_groups.clone();
        if self.provider.is_none()
            && let Some(entry) = store.get(&self.user.resource_name()).await?
        {
            let stored: UserRecord = record::decode(&entry)?;
            groups.extend(record::inner(&entry, stored.user)?.user_groups);
        }
        let mut user = User::new(self.user.clone());
        for group in groups.iter().take(USER_GROUPS_MAX) {
            let group = group.parse();
            let group = group.map_err(|fault: model::user::UserGroupError| {
                Refusal::field("user_groups", fault.to_string())
            })?;
            user.groups.push(group);
        }
        for claim in &request.claims {
            user.claims.push(Claim {
                name: claim.name.clone(),
                values: vec![claim.value.clone()],
            });
        }
        let authentication = &mut user.authentication;
        authentication.provider.clone_from(&self.provider);
        authentication.methods.clone_from(&request.methods);
        if request.methods.is_empty() {
            authentication.methods = vec!["pwd".to_owned()];
        }
        authentication.class.clone_from(&request.class);
        authentication.at_ms = self.sign_in_ms;
        Ok(user)
    }

    fn facts<'r>(&'r self, request: &'r GetAccessExplanationRequest) -> Facts<'r> {
        let path = or_default(&request.path, "/");
        Facts {
            host: "",
            method: or_default(&request.method, "GET"),
            other_methods: &self.other_methods,
            path: path::read_leniently(path),
            path_is_ambiguous: path::is_ambiguous(path),
            address: self.address,
            country: self.country,
            client: self.client,
            platform: self.platform,
            has_device_certificate: request.device_certificate,
            now_ms: self.now_ms,
            session_began_ms: self.sign_in_ms,
            seen_ms: None,
        }
    }
}

/// What would cost too much, or mean nothing.
fn bound(request: &GetAccessExplanationRequest, found: &mut Vec<Violation>) {
    let path = or_default(&request.path, "/");
    if !path.starts_with('/') || path.len() > PATH_BYTES_MAX {
        let what = format!("must start with / and have up to {PATH_BYTES_MAX} bytes");
        found.push(violation("path", what));
    }
    for (field, count, max) in [
        ("methods", request.methods.len(), METHODS_MAX),
        ("claims", request.claims.len(), CLAIMS_MAX),
        ("user_groups", request.user_groups.len(), USER_GROUPS_MAX),
    ] {
        if count > max {
            found.push(violation(field, format!("must not be more than {max}")));
        }
    }
    for (field, word) in [
        ("method", &request.method),
        ("class", &request.class),
        ("host", &request.host),
    ] {
        if word.len() > WORD_BYTES_MAX {
            let what = format!("must not be longer than {WORD_BYTES_MAX} bytes");
            found.push(violation(field, what));
        }
    }
}

fn or_default<'t>(text: &'t str, default: &'t str) -> &'t str {
    if text.is_empty() { default } else { text }
}

/// The app, and the first of its hosts.
async fn app(store: &dyn Store, id: &AppId) -> Result<(App, String), Refusal> {
    let name = id.resource_name();
    let entry = record::existing(store, &name).await?;
    let stored: admin::App = record::decode(&entry)?;
    let settings = stored_settings(store).await?;
    let publication = publication_under(&settings, id.as_str(), &stored);
    let publication = publication.map_err(|_| Refusal::Corrupt(name))?;
    let host = stored.hosts.first().cloned().unwrap_or_default();
    Ok((publication.app, host))
}

/// Whether the certificate of any device counts at the app, as edges are told.
async fn takes_devices(store: &dyn Store, app: &App) -> Result<bool, Refusal> {
    for id in &app.client_cas {
        let entry = store.get(&id.resource_name()).await?;
        let told = entry.and_then(|entry| client_cas::told(&entry.value));
        if told.is_some_and(|ca| ca.holders() == ClientCaHolders::Devices) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the user has accepted, as control has it written; a session is told when it is asked for it.
async fn accepted(
    store: &dyn Store,
    in_force: &TermsInForce,
    asked: &Asked,
) -> Result<Vec<Acceptance>, Refusal> {
    let who = Who {
        user: asked.user.clone(),
        provider: asked.provider.clone(),
    };
    let mut accepted = Vec::new();
    for terms in in_force {
        accepted.extend(terms::accepted(store, terms, &who, asked.now_ms).await?);
    }
    Ok(accepted)
}

/// As edges are told them. What cannot be read lets nobody in there, and here.
async fn rules(store: &dyn Store) -> Result<RuleSet, Refusal> {
    let collections = [
        AccessRuleId::COLLECTION,
        LocationId::COLLECTION,
        TermsId::COLLECTION,
    ];
    let mut in_force = TermsInForce::new();
    let mut locations = HashMap::new();
    let mut rules = Vec::new();
    let mut unreadable = Unreadable::default();
    for entry in store.snapshot(&collections).await?.entries {
        if let Some(Ok(id)) = LocationId::from_resource_name(&entry.key) {
            let stored: admin::Location = record::decode(&entry)?;
            match location::area(&stored.area.unwrap_or_default()) {
                Ok(area) => drop(locations.insert(id, area)),
                Err(_) => unreadable.locations = true,
            }
        } else if let Some(Ok(id)) = AccessRuleId::from_resource_name(&entry.key) {
            let stored: admin::AccessRule = record::decode(&entry)?;
            match access_rule::policy(&stored.policy.unwrap_or_default()) {
                Ok(policy) => rules.push((id, Arc::new(policy))),
                Err(_) => unreadable.all_apps = true,
            }
        } else if let Some(Ok(id)) = TermsId::from_resource_name(&entry.key) {
            let stored: admin::Terms = record::decode(&entry)?;
            in_force.extend(terms::in_force(&stored).map(|terms| (id, terms)));
        }
    }
    Ok(RuleSet::new(rules, &locations, unreadable).with_terms(in_force))
}

#[cfg(test)]
mod tests;
