//! Reads and writes access rules. Operators and edges share the words; what one cannot read, no edge applies.

mod conditions;

pub(crate) use conditions::{countries, networks};
#[cfg(test)]
mod tests;

use std::time::Duration;

use model::{
    access::{
        needs::{CLASS_BYTES_MAX, CLASSES_MAX, Requirements},
        policy::{
            Controls, Grant, MESSAGE_CHARS_MAX, NoDownload, Policy, RULE_PATHS_MAX, SPAN, State,
        },
    },
    name::{AccessRuleId, TermsId},
};

use crate::{
    access::{self, GrantKind, Requirement, RuleState},
    admin, fabric, resource, time,
    violation::{Unit, Violation, Violations},
};

/// Kinds of requirements that there are.
const REQUIREMENTS_MAX: usize = 5;

/// Checks a rule that shall have the id `id`; on failure says everything that is wrong with it.
///
/// # Errors
/// Every violation.
pub fn check(id: &str, rule: &admin::AccessRule) -> Result<(AccessRuleId, Policy), Vec<Violation>> {
    let mut found = Violations::default();
    let id = found.parse("access_rule_id", id);
    found.display_name("access_rule.display_name", &rule.display_name);
    let unsaid = access::Policy::default();
    let policy = rule.policy.as_ref().unwrap_or(&unsaid);
    let policy = read_policy("access_rule.policy", policy, &mut found);
    match (id, policy) {
        (Some(id), Some(policy)) if found.is_empty() => Ok((id, policy)),
        _ => Err(found.into_vec()),
    }
}

/// What edges are told of a rule.
pub fn told(id: &str, policy: Option<access::Policy>) -> fabric::AccessRule {
    fabric::AccessRule {
        id: id.to_owned(),
        policy_bytes: resource::length(policy.as_ref()),
        policy,
    }
}

/// Whether a rule has reached this version whole: fields that it does not know are dropped, and the rule asks for less without them.
pub fn is_whole(wire: &fabric::AccessRule) -> bool {
    wire.policy_bytes == resource::length(wire.policy.as_ref())
}

/// Reads what a rule says.
///
/// # Errors
/// Every violation.
pub fn policy(wire: &access::Policy) -> Result<Policy, Vec<Violation>> {
    let mut found = Violations::default();
    match read_policy("policy", wire, &mut found) {
        Some(policy) if found.is_empty() => Ok(policy),
        Some(_) | None => Err(found.into_vec()),
    }
}

fn read_policy(field: &str, wire: &access::Policy, found: &mut Violations) -> Option<Policy> {
    let within = |name: &str| format!("{field}.{name}");
    let state = match RuleState::try_from(wire.state) {
        Ok(RuleState::On) => Some(State::On),
        Ok(RuleState::ReportOnly) => Some(State::ReportOnly),
        Ok(RuleState::Off) => Some(State::Off),
        Ok(RuleState::Unspecified) | Err(_) => {
            found.add(&within("state"), "must be on, report-only or off");
            None
        }
    };
    message(&within("message"), &wire.message, found);
    let who = conditions::who(&within("who"), wire.who.as_ref(), found);
    let which = conditions::which(&within("which"), wire.which.as_ref(), found);
    let place = conditions::place(&within("place"), wire.place.as_ref(), found);
    let platforms = conditions::platforms(&within("platforms"), &wire.platforms, found);
    let clients = conditions::clients(&within("clients"), &wire.clients, found);
    let schedule = wire.schedule.as_ref();
    let schedule =
        schedule.map(|schedule| conditions::schedule(&within("schedule"), schedule, found));
    let when = conditions::when(&within("when"), &wire.when, found);
    let controls = controls(&within("controls"), wire.controls.as_ref(), found);
    let grant = grant(&within("grant"), wire.grant.as_ref(), found)?;
    if grant == Grant::Allow && controls == Controls::default() {
        found.add(
            &within("grant"),
            "must block or require something, unless the rule has controls",
        );
    }
    Some(Policy {
        state: state?,
        message: wire.message.clone(),
        who,
        which,
        place,
        platforms,
        clients,
        schedule: match schedule {
            Some(read) => Some(read?),
            None => None,
        },
        when,
        grant,
        controls,
    })
}

/// Goes to pages and terminals.
fn message(field: &str, text: &str, found: &mut Violations) {
    if text.chars().count() > MESSAGE_CHARS_MAX {
        let what = format_args!("must not be longer than {MESSAGE_CHARS_MAX} characters");
        found.add(field, what);
    }
    if text.contains(|char: char| char.is_control() && char != '\n') {
        found.add(field, "must not have control characters but line breaks");
    }
}

fn grant(field: &str, wire: Option<&access::Grant>, found: &mut Violations) -> Option<Grant> {
    let unsaid = access::Grant::default();
    let wire = wire.unwrap_or(&unsaid);
    let kind = GrantKind::try_from(wire.kind).unwrap_or(GrantKind::Unspecified);
    let requirements = requirements(field, wire, found);
    let is_plain = wire.requirements.is_empty()
        && wire.classes.is_empty()
        && wire.sign_in_within.is_none()
        && wire.terms.is_empty()
        && !wire.one_of;
    match kind {
        GrantKind::Allow | GrantKind::Block if !is_plain => {
            found.add(
                field,
                "must not require anything unless its kind is REQUIRE",
            );
            None
        }
        GrantKind::Allow => Some(Grant::Allow),
        GrantKind::Block => Some(Grant::Block),
        GrantKind::Require => requirements.map(Grant::Require),
        GrantKind::Unspecified => {
            found.add(&format!("{field}.kind"), "must be allow, block or require");
            None
        }
    }
}

fn requirements(field: &str, wire: &access::Grant, found: &mut Violations) -> Option<Requirements> {
    let mut asked = Requirements {
        one_of: wire.one_of,
        ..Requirements::default()
    };
    let (mut class, mut fresh, mut are_terms_asked) = (false, false, false);
    let list = format!("{field}.requirements");
    let wanted = found.at_most(REQUIREMENTS_MAX, &list, "requirements", &wire.requirements);
    for (at, requirement) in wanted {
        match Requirement::try_from(*requirement) {
            Ok(Requirement::Mfa) => asked.mfa = true,
            Ok(Requirement::Class) => class = true,
            Ok(Requirement::FreshSignIn) => fresh = true,
            Ok(Requirement::DeviceCertificate) => asked.device_certificate = true,
            Ok(Requirement::Terms) => are_terms_asked = true,
            Ok(Requirement::Unspecified) | Err(_) => {
                found.add(&at, "is not a requirement that is known here");
                return None;
            }
        }
    }
    asked.classes = classes(&format!("{field}.classes"), &wire.classes, class, found);
    asked.terms = conditions::terms(
        &format!("{field}.terms"),
        &wire.terms,
        are_terms_asked,
        found,
    );
    let within = format!("{field}.sign_in_within");
    match (fresh, &wire.sign_in_within) {
        (true, Some(span)) => {
            asked.sign_in_within = found.span(&within, span, SPAN, Unit::Milliseconds);
        }
        (true, None) => found.add(&within, "must be set where a fresh sign-in is required"),
        (false, Some(_)) => found.add(&within, "must be unset where no fresh sign-in is required"),
        (false, None) => {}
    }
    if wire.kind == GrantKind::Require as i32 && wire.requirements.is_empty() {
        found.add(&list, "must not be empty");
    }
    Some(asked)
}

fn classes(field: &str, wire: &[String], is_asked: bool, found: &mut Violations) -> Vec<String> {
    if is_asked && wire.is_empty() {
        found.add(field, "must not be empty where a class is required");
    }
    if !is_asked && !wire.is_empty() {
        found.add(field, "must be empty where no class is required");
    }
    let mut classes = Vec::new();
    for (at, class) in found.at_most(CLASSES_MAX, field, "classes", wire) {
        // They go into a field of an answer, with spaces between them (OpenID Connect Core, section 3.1.2.1).
        let is_good = class
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        if class.is_empty() || class.len() > CLASS_BYTES_MAX || !is_good {
            let what = format_args!(
                "must be 1 to {CLASS_BYTES_MAX} visible characters of ASCII without quotes and backslashes"
            );
            found.add(&at, what);
        }
        classes.push(class.clone());
    }
    classes
}

fn controls(field: &str, wire: Option<&access::Controls>, found: &mut Violations) -> Controls {
    let unsaid = access::Controls::default();
    let wire = wire.unwrap_or(&unsaid);
    let mut span = |name: &str, span: Option<&prost_types::Duration>| -> Option<Duration> {
        found.span(&format!("{field}.{name}"), span?, SPAN, Unit::Milliseconds)
    };
    let session_limit = span("session_limit", wire.session_limit.as_ref());
    let idle_limit = span("idle_limit", wire.idle_limit.as_ref());
    let sign_in_every = span("sign_in_every", wire.sign_in_every.as_ref());
    let field = format!("{field}.no_download_types");
    let types = &wire.no_download_types;
    for (at, media_type) in found.at_most(RULE_PATHS_MAX, &field, "media types", types) {
        if !is_media_type(media_type) {
            let what = "must be a media type in lower case, such as application/pdf or image/*";
            found.add(&at, what);
        }
    }
    Controls {
        session_limit,
        idle_limit,
        sign_in_every,
        no_download: NoDownload {
            types: types.clone(),
            attachments: wire.no_attachments,
        },
    }
}

/// RFC 6838, section 4.2, in lower case; the part behind the slash may be `*`.
fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        (1..=127).contains(&name.len())
            && name.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$&-^_.+".contains(&byte)
            })
    };
    text.split_once('/')
        .is_some_and(|(kind, rest)| is_name(kind) && (rest == "*" || is_name(rest)))
}

/// Writes what a rule says.
pub fn write_policy(policy: &Policy) -> access::Policy {
    let state = match policy.state {
        State::On => RuleState::On,
        State::ReportOnly => RuleState::ReportOnly,
        State::Off => RuleState::Off,
    };
    access::Policy {
        state: state.into(),
        message: policy.message.clone(),
        who: Some(conditions::write_who(&policy.who)),
        which: Some(conditions::write_which(&policy.which)),
        place: Some(conditions::write_place(&policy.place)),
        platforms: conditions::words(policy.platforms.iter().map(|one| one.as_str())),
        clients: conditions::words(policy.clients.iter().map(|one| one.as_str())),
        schedule: policy.schedule.as_ref().map(conditions::write_schedule),
        when: policy
            .when
            .as_ref()
            .map(|when| when.as_str().to_owned())
            .unwrap_or_default(),
        grant: Some(write_grant(&policy.grant)),
        controls: Some(write_controls(&policy.controls)),
    }
}

fn write_grant(grant: &Grant) -> access::Grant {
    let plain = |kind: GrantKind| access::Grant {
        kind: kind.into(),
        ..access::Grant::default()
    };
    let asked = match grant {
        Grant::Allow => return plain(GrantKind::Allow),
        Grant::Block => return plain(GrantKind::Block),
        Grant::Require(asked) => asked,
    };
    let requirements = [
        (asked.mfa, Requirement::Mfa),
        (!asked.classes.is_empty(), Requirement::Class),
        (asked.sign_in_within.is_some(), Requirement::FreshSignIn),
        (asked.device_certificate, Requirement::DeviceCertificate),
        (!asked.terms.is_empty(), Requirement::Terms),
    ];
    let requirements = requirements.into_iter().filter(|(is_asked, _)| *is_asked);
    access::Grant {
        requirements: requirements.map(|(_, one)| one.into()).collect(),
        classes: asked.classes.clone(),
        sign_in_within: asked.sign_in_within.map(time::wire_duration),
        one_of: asked.one_of,
        terms: asked.terms.iter().map(TermsId::resource_name).collect(),
        ..plain(GrantKind::Require)
    }
}

fn write_controls(controls: &Controls) -> access::Controls {
    access::Controls {
        session_limit: controls.session_limit.map(time::wire_duration),
        idle_limit: controls.idle_limit.map(time::wire_duration),
        sign_in_every: controls.sign_in_every.map(time::wire_duration),
        no_download_types: controls.no_download.types.clone(),
        no_attachments: controls.no_download.attachments,
    }
}
