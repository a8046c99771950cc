//! Reads and writes which other sites' pages may use an app.

use std::{cmp::Reverse, collections::HashSet, time::Duration};

use model::{app::CorsRule, path::PathPrefix};

use super::site;
use crate::{
    admin,
    rules::{self, ANY},
    time,
    violation::{Unit, Violations},
};

/// Reads the rules of a site, and puts those of longer paths first.
pub(super) fn read_all(
    field: &str,
    wire: &[admin::CorsRule],
    site_path: Option<&PathPrefix>,
    found: &mut Violations,
) -> Vec<CorsRule> {
    let mut seen = HashSet::new();
    let mut rules = Vec::new();
    for (field, rule) in found.at_most(CorsRule::RULES_MAX, field, "rules", wire) {
        let Some(rule) = read(&field, rule, found) else {
            continue;
        };
        let path = format!("{field}.path");
        if !seen.insert(rule.path.clone()) {
            found.add(&path, format_args!("repeats {}", rule.path));
        }
        if let Some(site_path) = site_path
            && !meet(site_path, &rule.path)
        {
            found.add(
                &path,
                format_args!("is not published: must be under {site_path}"),
            );
        }
        rules.push(rule);
    }
    rules.sort_by_key(|rule| Reverse(rule.path.as_str().len()));
    rules
}

fn meet(one: &PathPrefix, other: &PathPrefix) -> bool {
    one.holds(other.as_str()) || other.holds(one.as_str())
}

fn read(field: &str, wire: &admin::CorsRule, found: &mut Violations) -> Option<CorsRule> {
    let path = site::read_path(&format!("{field}.path"), &wire.path, found);
    let origins = read_origins(field, wire, found);
    let methods = read_methods(&format!("{field}.methods"), &wire.methods, found);
    let fields = read_fields(&format!("{field}.fields"), &wire.fields, found);
    let exposed_fields = read_fields(
        &format!("{field}.exposed_fields"),
        &wire.exposed_fields,
        found,
    );
    let max_age = match &wire.max_age {
        Some(span) => found.span(
            &format!("{field}.max_age"),
            span,
            (Duration::ZERO, CorsRule::MAX_AGE_MAX),
            Unit::Seconds,
        ),
        None => Some(CorsRule::DEFAULT_MAX_AGE),
    };
    Some(CorsRule {
        path: path?,
        origins,
        methods,
        fields,
        exposed_fields,
        credentials: wire.credentials,
        max_age: max_age?,
    })
}

fn read_origins(field: &str, wire: &admin::CorsRule, found: &mut Violations) -> Vec<String> {
    let origins = format!("{field}.origins");
    if wire.origins.is_empty() {
        found.add(&origins, "must name an origin, or *");
    }
    if wire.credentials && wire.origins.iter().any(|origin| origin == ANY) {
        found.add(
            &format!("{field}.credentials"),
            "cannot go with origin *: every site could act as the user",
        );
    }
    let alone = wire.origins.len() == 1;
    for (field, origin) in found.at_most(CorsRule::ORIGINS_MAX, &origins, "origins", &wire.origins)
    {
        match rules::cors_origin_or_any(origin) {
            Ok(()) if origin != ANY || alone => {}
            Ok(()) => found.add(&field, "must be alone if it is *"),
            Err(fault) => found.add(&field, fault),
        }
    }
    wire.origins.clone()
}

fn read_methods(field: &str, wire: &[String], found: &mut Violations) -> Vec<String> {
    for (field, method) in found.at_most(CorsRule::ORIGINS_MAX, field, "methods", wire) {
        if !rules::is_token(method) {
            found.add(&field, "must be an HTTP method, or *");
        } else if method == ANY && wire.len() > 1 {
            found.add(&field, "must be alone if it is *");
        }
    }
    wire.to_vec()
}

fn read_fields(field: &str, wire: &[String], found: &mut Violations) -> Vec<String> {
    let mut names = Vec::new();
    for (field, name) in found.at_most(CorsRule::FIELDS_MAX, field, "fields", wire) {
        names.extend(found.take(&field, rules::field_name(name)));
    }
    names
}

/// Writes a rule.
pub(super) fn write(rule: &CorsRule) -> admin::CorsRule {
    admin::CorsRule {
        path: rule.path.as_str().to_owned(),
        origins: rule.origins.clone(),
        methods: rule.methods.clone(),
        fields: rule.fields.clone(),
        exposed_fields: rule.exposed_fields.clone(),
        credentials: rule.credentials,
        max_age: Some(time::wire_duration(rule.max_age)),
    }
}
