//! What an app's origins are told of the user.

use model::{
    app::{
        APP_PROVIDERS_MAX, Access, CertificatePart, IDENTITY_CHANGES_MAX,
        IDENTITY_DETAIL_BYTES_MAX, IDENTITY_FIELDS_MAX, IDENTITY_FIELDS_TOTAL_MAX,
        IDENTITY_PREFIX_BYTES_MAX, IdentityChange, IdentityField, IdentityValue, SEGMENTS_MAX,
        is_like,
    },
    name::IdentityProviderId,
};

use super::Violations;
use crate::{admin, rules};

/// What can be used of an app's own; what cannot is among the violations.
pub(super) fn read(
    app: &admin::App,
    access: Option<&Access>,
    found: &mut Violations,
) -> Vec<IdentityField> {
    read_all(
        "app.identity_fields",
        &app.identity_fields,
        (app, access),
        found,
    )
}

/// The same of each segment, in their order.
pub(super) fn read_of_segments(
    app: &admin::App,
    access: Option<&Access>,
    found: &mut Violations,
) -> Vec<Vec<IdentityField>> {
    let of_segments = app.segments.iter().map(|segment| &segment.identity_fields);
    let all = app.identity_fields.len() + of_segments.map(Vec::len).sum::<usize>();
    if all > IDENTITY_FIELDS_TOTAL_MAX {
        let most = IDENTITY_FIELDS_TOTAL_MAX;
        found.add(
            "app.segments",
            format_args!("must not have more than {most} identity fields together with the app"),
        );
    }
    let segments = app.segments.iter().take(SEGMENTS_MAX).enumerate();
    let read = segments.map(|(index, segment)| {
        let field = format!("app.segments[{index}].identity_fields");
        read_all(&field, &segment.identity_fields, (app, access), found)
    });
    read.collect()
}

fn read_all(
    place: &str,
    wire: &[admin::IdentityField],
    (app, access): (&admin::App, Option<&Access>),
    found: &mut Violations,
) -> Vec<IdentityField> {
    if !wire.is_empty() && access == Some(&Access::Passthrough) {
        found.add(place, "must be empty unless users sign in");
    }
    let mut fields: Vec<IdentityField> = Vec::new();
    for (field, wanted) in found.at_most(IDENTITY_FIELDS_MAX, place, "fields", wire) {
        let value = read_value(&field, wanted, found);
        if let Some(IdentityValue::Certificate(_)) = value
            && app.client_cas.is_empty()
        {
            let fault = "needs app.client_cas: nobody is asked for a certificate otherwise";
            found.add(&format!("{field}.value"), fault);
        }
        let changes = read_changes(&field, &wanted.changes, found);
        let prefix = rules::identity_text(&wanted.prefix, IDENTITY_PREFIX_BYTES_MAX);
        found.take(&format!("{field}.prefix"), prefix);
        let field = format!("{field}.name");
        let Some(name) = found.take(&field, rules::identity_field(&wanted.name)) else {
            continue;
        };
        match fields.iter().find(|other| is_like(&other.name, &name)) {
            Some(other) if other.name == name => found.add(&field, format_args!("repeats {name}")),
            Some(other) => {
                let fault =
                    format_args!("must not be {name}, which servers take for {}", other.name);
                found.add(&field, fault);
            }
            None => {}
        }
        // Without a value the app is refused.
        fields.push(IdentityField {
            name,
            value: value.unwrap_or(IdentityValue::User),
            changes,
            prefix: wanted.prefix.clone(),
        });
    }
    fields
}

/// The field of the signed statement, if there is one and it can be used.
pub(super) fn read_assertion<'f>(
    name: &str,
    access: Option<&Access>,
    mut fields: impl Iterator<Item = &'f IdentityField>,
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
    if fields.any(|field| is_like(&field.name, &name)) {
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
        admin::IdentityValue::CertificateSubject => {
            IdentityValue::Certificate(CertificatePart::Subject)
        }
        admin::IdentityValue::CertificateIssuer => {
            IdentityValue::Certificate(CertificatePart::Issuer)
        }
        admin::IdentityValue::CertificateSerial => {
            IdentityValue::Certificate(CertificatePart::Serial)
        }
        admin::IdentityValue::CertificateFingerprint => {
            IdentityValue::Certificate(CertificatePart::Fingerprint)
        }
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
        IdentityValue::Certificate(part) => {
            let value = match part {
                CertificatePart::Subject => admin::IdentityValue::CertificateSubject,
                CertificatePart::Issuer => admin::IdentityValue::CertificateIssuer,
                CertificatePart::Serial => admin::IdentityValue::CertificateSerial,
                CertificatePart::Fingerprint => admin::IdentityValue::CertificateFingerprint,
            };
            (value, "")
        }
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
