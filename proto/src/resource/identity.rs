//! What origins are told of the user, on the way to edges.

use model::app::{
    CertificatePart, IDENTITY_CHANGES_MAX, IDENTITY_DETAIL_BYTES_MAX, IDENTITY_FIELDS_MAX,
    IDENTITY_PREFIX_BYTES_MAX, IdentityChange, IdentityField, IdentityValue,
};

use super::{Reader, ResourceError};
use crate::{fabric, rules};

/// What an error says.
const WHAT: &str = "a field for identity";

pub(super) fn write(field: &IdentityField) -> fabric::IdentityField {
    let (value, detail) = match &field.value {
        IdentityValue::User => (fabric::IdentityValue::User, ""),
        IdentityValue::DisplayName => (fabric::IdentityValue::DisplayName, ""),
        IdentityValue::Email => (fabric::IdentityValue::Email, ""),
        IdentityValue::UserGroups => (fabric::IdentityValue::UserGroups, ""),
        IdentityValue::Claim(name) => (fabric::IdentityValue::Claim, &**name),
        IdentityValue::Text(text) => (fabric::IdentityValue::Text, &**text),
        IdentityValue::Certificate(part) => {
            let value = match part {
                CertificatePart::Subject => fabric::IdentityValue::CertificateSubject,
                CertificatePart::Issuer => fabric::IdentityValue::CertificateIssuer,
                CertificatePart::Serial => fabric::IdentityValue::CertificateSerial,
                CertificatePart::Fingerprint => fabric::IdentityValue::CertificateFingerprint,
            };
            (value, "")
        }
    };
    let changes = field.changes.iter().map(|change| match change {
        IdentityChange::Lower => fabric::IdentityChange::Lower.into(),
        IdentityChange::Upper => fabric::IdentityChange::Upper.into(),
        IdentityChange::BeforeAt => fabric::IdentityChange::BeforeAt.into(),
        IdentityChange::AfterAt => fabric::IdentityChange::AfterAt.into(),
    });
    fabric::IdentityField {
        name: field.name.clone(),
        value: value.into(),
        detail: detail.to_owned(),
        changes: changes.collect(),
        prefix: field.prefix.clone(),
    }
}

impl Reader<'_> {
    pub(super) fn assertion_field(&self, wire: &str) -> Result<Option<String>, ResourceError> {
        if wire.is_empty() {
            return Ok(None);
        }
        let name = rules::assertion_field(wire);
        self.setting("a field for an assertion", name).map(Some)
    }

    pub(super) fn identity_fields(
        &self,
        wire: &[fabric::IdentityField],
    ) -> Result<Vec<IdentityField>, ResourceError> {
        self.all("identity fields", (0, IDENTITY_FIELDS_MAX), wire, |field| {
            let prefix = rules::identity_text(&field.prefix, IDENTITY_PREFIX_BYTES_MAX);
            self.setting(WHAT, prefix)?;
            Ok(IdentityField {
                name: self.setting(WHAT, rules::identity_field(&field.name))?,
                value: self.identity_value(field)?,
                changes: self.all(
                    "changes of an identity field",
                    (0, IDENTITY_CHANGES_MAX),
                    &field.changes,
                    |change| self.identity_change(*change),
                )?,
                prefix: field.prefix.clone(),
            })
        })
    }

    fn identity_value(&self, wire: &fabric::IdentityField) -> Result<IdentityValue, ResourceError> {
        let detail = &wire.detail;
        let value = match wire.value() {
            fabric::IdentityValue::Unspecified => Err("none"),
            fabric::IdentityValue::User => Ok(IdentityValue::User),
            fabric::IdentityValue::DisplayName => Ok(IdentityValue::DisplayName),
            fabric::IdentityValue::Email => Ok(IdentityValue::Email),
            fabric::IdentityValue::UserGroups => Ok(IdentityValue::UserGroups),
            fabric::IdentityValue::CertificateSubject => {
                Ok(IdentityValue::Certificate(CertificatePart::Subject))
            }
            fabric::IdentityValue::CertificateIssuer => {
                Ok(IdentityValue::Certificate(CertificatePart::Issuer))
            }
            fabric::IdentityValue::CertificateSerial => {
                Ok(IdentityValue::Certificate(CertificatePart::Serial))
            }
            fabric::IdentityValue::CertificateFingerprint => {
                Ok(IdentityValue::Certificate(CertificatePart::Fingerprint))
            }
            fabric::IdentityValue::Claim => {
                self.setting(WHAT, rules::claim_name(detail))?;
                Ok(IdentityValue::Claim(detail.clone()))
            }
            fabric::IdentityValue::Text => {
                let fits = rules::identity_text(detail, IDENTITY_DETAIL_BYTES_MAX);
                self.setting(WHAT, fits)?;
                Ok(IdentityValue::Text(detail.clone()))
            }
        };
        self.setting(WHAT, value)
    }

    fn identity_change(&self, wire: i32) -> Result<IdentityChange, ResourceError> {
        let change = match fabric::IdentityChange::try_from(wire) {
            Ok(fabric::IdentityChange::Lower) => Ok(IdentityChange::Lower),
            Ok(fabric::IdentityChange::Upper) => Ok(IdentityChange::Upper),
            Ok(fabric::IdentityChange::BeforeAt) => Ok(IdentityChange::BeforeAt),
            Ok(fabric::IdentityChange::AfterAt) => Ok(IdentityChange::AfterAt),
            Ok(fabric::IdentityChange::Unspecified) | Err(_) => Err("none"),
        };
        self.setting(WHAT, change)
    }
}
