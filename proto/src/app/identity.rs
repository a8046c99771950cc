//! What an app's origins are told of the user.

use std::collections::HashSet;

use model::{
    app::{
        APP_PROVIDERS_MAX, Access, IDENTITY_CHANGES_MAX, IDENTITY_DETAIL_BYTES_MAX,
        IDENTITY_FIELDS_MAX, IDENTITY_PREFIX_BYTES_MAX, IdentityChange, IdentityField,
        IdentityValue,
    },
    name::IdentityProviderId,
};

use super::Violations;
use crate::{admin, rules};

const FIELDS: &str = "app.identity_fields";

/// What can be used of them; what cannot is among the violations.
pub(super) fn read(
    wire: &[admin::IdentityField],
    access: Option<&Access>,
    found: &mut Violations,
) -> Vec<IdentityField> {
    if !wire.is_empty() && access == Some(&Access::Passthrough) {
        found.add(FIELDS, "must be empty unless users sign in");
    }
    let mut seen = HashSet::new();
    let mut fields = Vec::new();
    for (field, wanted) in found.at_most(IDENTITY_FIELDS_MAX, FIELDS, "fields", wire) {
        let value = read_value(&field, wanted, found);
        let changes = read_changes(&field, &wanted.changes, found);
        let prefix = rules::identity_text(&wanted.prefix, IDENTITY_PREFIX_BYTES_MAX);
        found.take(&format!("{field}.prefix"), prefix);
        let field = format!("{field}.name");
        let Some(name) = found.take(&field, rules::identity_field(&wanted.name)) else {
            continue;
        };
        if !seen.insert(name.clone()) {
            found.add(&field, format_args!("repeats {name}"));
        }
        if let Some(value) = value {
            fields.push(IdentityField {
                name,
                value,
                changes,
                prefix: wanted.prefix.clone(),
            });
        }
    }
    fields
}

/// The field of the signed statement, if there is one and it can be used.
pub(super) fn read_assertion(
    name: &str,
    access: Option<&Access>,
    fields: &[IdentityField],
    found: &mut Violations,
) -> Option<String> {
    const FIELD: &str = "app.assertion_field";
    if name.is_empty() {
        return None;
    }
    if access == Some(&Access::Passthrough) {
        found.add(FIELD, "must be empty unless users sign in");
    }
    let name = found.take(FIELD, rules::assertion_field(name))?;
    if fields.iter().any(|field| field.name == name) {
        found.add(FIELD, format_args!("repeats {name} of app.identity_fields"));
    }
    Some(name)
}

fn read_value(
    field: &str,
    wire: &admin::IdentityField,
    found: &mut Violations,
) -> Option<IdentityValue> {
    let detail = || wire.detail.clone();
    let value = match wire.value() {
        admin::IdentityValue::Unspecified => {
            found.add(&format!("{field}.value"), "must be said");
            return None;
        }
        admin::IdentityValue::User => IdentityValue::User,
        admin::IdentityValue::DisplayName => IdentityValue::DisplayName,
        admin::IdentityValue::Email => IdentityValue::Email,
        admin::IdentityValue::UserGroups => IdentityValue::UserGroups,
        admin::IdentityValue::Claim => IdentityValue::Claim(detail()),
        admin::IdentityValue::Text => IdentityValue::Text(detail()),
    };
    let fits = match &value {
        IdentityValue::Claim(name) => rules::claim_name(name),
        IdentityValue::Text(text) if text.trim() != text || text.is_empty() => {
            Err("must not be empty, nor start or end with a space".into())
        }
        IdentityValue::Text(text) => rules::identity_text(text, IDENTITY_DETAIL_BYTES_MAX),
        _ if wire.detail.is_empty() => Ok(()),
        _ => Err("must be empty unless value is CLAIM or TEXT".into()),
    };
    found.take(&format!("{field}.detail"), fits)?;
    Some(value)
}

fn read_changes(field: &str, wire: &[i32], found: &mut Violations) -> Vec<IdentityChange> {
    let field = format!("{field}.changes");
    let listed = found.at_most(IDENTITY_CHANGES_MAX, &field, "changes", wire);
    let mut changes = Vec::new();
    for (field, change) in listed {
        match admin::IdentityChange::try_from(*change) {
            Ok(admin::IdentityChange::Lower) => changes.push(IdentityChange::Lower),
            Ok(admin::IdentityChange::Upper) => changes.push(IdentityChange::Upper),
            Ok(admin::IdentityChange::BeforeAt) => changes.push(IdentityChange::BeforeAt),
            Ok(admin::IdentityChange::AfterAt) => changes.push(IdentityChange::AfterAt),
            Ok(admin::IdentityChange::Unspecified) | Err(_) => {
                found.add(&field, "is none that this version knows");
            }
        }
    }
    changes
}

pub(super) fn write(field: &IdentityField) -> admin::IdentityField {
    let (value, detail) = match &field.value {
        IdentityValue::User => (admin::IdentityValue::User, ""),
        IdentityValue::DisplayName => (admin::IdentityValue::DisplayName, ""),
        IdentityValue::Email => (admin::IdentityValue::Email, ""),
        IdentityValue::UserGroups => (admin::IdentityValue::UserGroups, ""),
        IdentityValue::Claim(name) => (admin::IdentityValue::Claim, &**name),
        IdentityValue::Text(text) => (admin::IdentityValue::Text, &**text),
    };
    let changes = field.changes.iter().map(|change| match change {
        IdentityChange::Lower => admin::IdentityChange::Lower.into(),
        IdentityChange::Upper => admin::IdentityChange::Upper.into(),
        IdentityChange::BeforeAt => admin::IdentityChange::BeforeAt.into(),
        IdentityChange::AfterAt => admin::IdentityChange::AfterAt.into(),
    });
    admin::IdentityField {
        name: field.name.clone(),
        value: value.into(),
        detail: detail.to_owned(),
        changes: changes.collect(),
        prefix: field.prefix.clone(),
    }
}

/// Whose word the app takes.
pub(super) fn read_providers(
    app: &admin::App,
    access: Option<&Access>,
    found: &mut Violations,
) -> Vec<IdentityProviderId> {
    const FIELD: &str = "app.identity_providers";
    let wire = &app.identity_providers;
    if !wire.is_empty() && access == Some(&Access::Passthrough) {
        found.add(FIELD, "must be empty unless users sign in");
    }
    let mut providers = Vec::new();
    for (field, name) in found.at_most(APP_PROVIDERS_MAX, FIELD, "providers", wire) {
        match IdentityProviderId::from_resource_name(name) {
            Some(Ok(id)) if providers.contains(&id) => {
                found.add(&field, format_args!("repeats {name}"));
            }
            Some(Ok(id)) => providers.push(id),
            Some(Err(fault)) => found.add(&field, format_args!("has an id that {fault}")),
            None => {
                let collection = IdentityProviderId::COLLECTION;
                let what = format_args!("must be a name that starts with {collection}");
                found.add(&field, what);
            }
        }
    }
    providers
}

pub(super) fn write_providers(providers: &[IdentityProviderId]) -> Vec<String> {
    providers
        .iter()
        .map(IdentityProviderId::resource_name)
        .collect()
}
