//! What an app's origins are told of the user.

use std::collections::HashSet;

use model::{
    app::{APP_PROVIDERS_MAX, Access, IDENTITY_FIELDS_MAX, IdentityField, IdentityValue},
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
        let value = read_value(wanted.value());
        if value.is_none() {
            found.add(&format!("{field}.value"), "must be said");
        }
        let field = format!("{field}.name");
        let Some(name) = found.take(&field, rules::identity_field(&wanted.name)) else {
            continue;
        };
        if !seen.insert(name.clone()) {
            found.add(&field, format_args!("repeats {name}"));
        }
        if let Some(value) = value {
            fields.push(IdentityField { name, value });
        }
    }
    fields
}

fn read_value(value: admin::IdentityValue) -> Option<IdentityValue> {
    match value {
        admin::IdentityValue::Unspecified => None,
        admin::IdentityValue::User => Some(IdentityValue::User),
        admin::IdentityValue::DisplayName => Some(IdentityValue::DisplayName),
        admin::IdentityValue::Email => Some(IdentityValue::Email),
        admin::IdentityValue::UserGroups => Some(IdentityValue::UserGroups),
    }
}

pub(super) fn write(field: &IdentityField) -> admin::IdentityField {
    let value = match field.value {
        IdentityValue::User => admin::IdentityValue::User,
        IdentityValue::DisplayName => admin::IdentityValue::DisplayName,
        IdentityValue::Email => admin::IdentityValue::Email,
        IdentityValue::UserGroups => admin::IdentityValue::UserGroups,
    };
    admin::IdentityField {
        name: field.name.clone(),
        value: value.into(),
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
