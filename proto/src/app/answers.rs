//! Reads and writes what the edge changes in answers, and what it answers itself.

use std::{collections::HashSet, time::Duration};

use model::app::{AnswerRules, Hsts, Maintenance, Robots};

use crate::{
    admin, rules, time,
    violation::{Unit, Violations},
};

const HSTS_FIELD: &str = "strict-transport-security";
const POLICY_FIELD: &str = "content-security-policy";
const ROBOTS_TEXT: &str = "app.answer_rules.robots_text";

/// Reads the rules for answers.
pub(super) fn read(wire: Option<&admin::AnswerRules>, found: &mut Violations) -> AnswerRules {
    let unsaid = admin::AnswerRules::default();
    let wire = wire.unwrap_or(&unsaid);
    AnswerRules {
        hsts: wire.hsts.as_ref().and_then(|wire| read_hsts(wire, found)),
        content_security_policy: read_policy(&wire.content_security_policy, found),
        set: read_set(wire, found),
        remove: read_remove(wire, found),
        robots: read_robots(wire, found),
    }
}

fn read_hsts(wire: &admin::Hsts, found: &mut Violations) -> Option<Hsts> {
    const MAX_AGE: &str = "app.answer_rules.hsts.max_age";
    let Some(max_age) = &wire.max_age else {
        found.add(MAX_AGE, "must be said");
        return None;
    };
    let range = (Duration::ZERO, Hsts::MAX_AGE_MAX);
    let max_age = found.span(MAX_AGE, max_age, range, Unit::Seconds)?;
    let listable = max_age >= Hsts::PRELOAD_MAX_AGE_MIN && wire.include_subdomains;
    if wire.preload && !listable {
        found.add(
            "app.answer_rules.hsts.preload",
            format_args!(
                "needs a max_age of at least {:?} and include_subdomains",
                Hsts::PRELOAD_MAX_AGE_MIN
            ),
        );
    }
    Some(Hsts {
        max_age,
        include_subdomains: wire.include_subdomains,
        preload: wire.preload,
    })
}

fn read_policy(wire: &str, found: &mut Violations) -> Option<String> {
    found.take(
        "app.answer_rules.content_security_policy",
        rules::field_value(wire),
    )?;
    (!wire.is_empty()).then(|| wire.to_owned())
}

fn read_set(wire: &admin::AnswerRules, found: &mut Violations) -> Vec<(String, String)> {
    const SET: &str = "app.answer_rules.set";
    let mut seen = HashSet::new();
    let mut set = Vec::new();
    for (field, wanted) in found.at_most(AnswerRules::FIELDS_MAX, SET, "fields", &wire.set) {
        found.take(&format!("{field}.value"), rules::field_value(&wanted.value));
        let field = format!("{field}.name");
        let Some(name) = found.take(&field, rules::settable_field(&wanted.name)) else {
            continue;
        };
        if !seen.insert(name.clone()) {
            found.add(&field, format_args!("repeats {name}"));
        }
        if wire.hsts.is_some() && name == HSTS_FIELD {
            found.add(&field, "is what app.answer_rules.hsts sets");
        }
        if !wire.content_security_policy.is_empty() && name == POLICY_FIELD {
            found.add(
                &field,
                "is what app.answer_rules.content_security_policy sets",
            );
        }
        set.push((name, wanted.value.clone()));
    }
    set
}

fn read_remove(wire: &admin::AnswerRules, found: &mut Violations) -> Vec<String> {
    const REMOVE: &str = "app.answer_rules.remove";
    let mut seen = HashSet::new();
    let mut remove = Vec::new();
    for (field, wanted) in found.at_most(AnswerRules::FIELDS_MAX, REMOVE, "names", &wire.remove) {
        let Some(name) = found.take(&field, rules::removable_field(wanted)) else {
            continue;
        };
        if !seen.insert(name.clone()) {
            found.add(&field, format_args!("repeats {name}"));
        }
        if wire
            .set
            .iter()
            .any(|set| set.name.eq_ignore_ascii_case(&name))
        {
            found.add(&field, format_args!("is {name}, which is also set"));
        }
        remove.push(name);
    }
    remove
}

fn read_robots(wire: &admin::AnswerRules, found: &mut Violations) -> Robots {
    let robots = match admin::Robots::try_from(wire.robots) {
        Ok(admin::Robots::Unspecified | admin::Robots::Disallow) => Robots::Disallow,
        Ok(admin::Robots::Origin) => Robots::Origin,
        Ok(admin::Robots::Text) => return read_robots_text(&wire.robots_text, found),
        Err(_) => {
            found.add(
                "app.answer_rules.robots",
                "is of a kind that this version does not know",
            );
            Robots::Disallow
        }
    };
    if !wire.robots_text.is_empty() {
        found.add(ROBOTS_TEXT, "is only for ROBOTS_TEXT");
    }
    robots
}

fn read_robots_text(text: &str, found: &mut Violations) -> Robots {
    if text.is_empty() {
        found.add(ROBOTS_TEXT, "must be said for ROBOTS_TEXT");
    }
    if text.len() > AnswerRules::ROBOTS_BYTES_MAX {
        let most = AnswerRules::ROBOTS_BYTES_MAX;
        found.add(
            ROBOTS_TEXT,
            format_args!("must not be longer than {most} bytes"),
        );
    }
    found.take(ROBOTS_TEXT, rules::lines(text));
    Robots::Text(text.to_owned())
}

/// Writes the rules for answers, unless they are those of apps that say nothing.
pub(super) fn write(answers: &AnswerRules) -> Option<admin::AnswerRules> {
    if *answers == AnswerRules::default() {
        return None;
    }
    let (robots, robots_text) = match &answers.robots {
        Robots::Disallow => (admin::Robots::Disallow, ""),
        Robots::Origin => (admin::Robots::Origin, ""),
        Robots::Text(text) => (admin::Robots::Text, text.as_str()),
    };
    Some(admin::AnswerRules {
        hsts: answers.hsts.map(|hsts| admin::Hsts {
            max_age: Some(time::wire_duration(hsts.max_age)),
            include_subdomains: hsts.include_subdomains,
            preload: hsts.preload,
        }),
        content_security_policy: answers.content_security_policy.clone().unwrap_or_default(),
        set: answers
            .set
            .iter()
            .map(|(name, value)| admin::Field {
                name: name.clone(),
                value: value.clone(),
            })
            .collect(),
        remove: answers.remove.clone(),
        robots: robots.into(),
        robots_text: robots_text.to_owned(),
    })
}

/// Reads the notice that stands in place of an app.
pub(super) fn read_maintenance(
    wire: Option<&admin::Maintenance>,
    found: &mut Violations,
) -> Option<Maintenance> {
    const MESSAGE: &str = "app.maintenance.message";
    let wire = wire?;
    if wire.message.chars().count() > Maintenance::MESSAGE_CHARS_MAX {
        let most = Maintenance::MESSAGE_CHARS_MAX;
        found.add(
            MESSAGE,
            format_args!("must not be longer than {most} characters"),
        );
    }
    found.take(MESSAGE, rules::lines(&wire.message));
    Some(Maintenance {
        message: wire.message.clone(),
        retry_after: wire.retry_after.as_ref().and_then(|span| {
            found.span(
                "app.maintenance.retry_after",
                span,
                (Maintenance::RETRY_AFTER_MIN, Maintenance::RETRY_AFTER_MAX),
                Unit::Seconds,
            )
        }),
    })
}

/// Writes the notice.
pub(super) fn write_maintenance(maintenance: &Maintenance) -> admin::Maintenance {
    admin::Maintenance {
        message: maintenance.message.clone(),
        retry_after: maintenance.retry_after.map(time::wire_duration),
    }
}
