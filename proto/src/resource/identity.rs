//! What origins are told of the user, on the way to edges.

use model::app::{IDENTITY_FIELDS_MAX, IdentityField, IdentityValue};

use super::{Reader, ResourceError};
use crate::{fabric, rules};

/// What an error says.
const WHAT: &str = "a field for identity";

pub(super) fn write(field: &IdentityField) -> fabric::IdentityField {
    let value = match field.value {
        IdentityValue::User => fabric::IdentityValue::User,
        IdentityValue::DisplayName => fabric::IdentityValue::DisplayName,
        IdentityValue::Email => fabric::IdentityValue::Email,
        IdentityValue::UserGroups => fabric::IdentityValue::UserGroups,
    };
    fabric::IdentityField {
        name: field.name.clone(),
        value: value.into(),
    }
}

impl Reader<'_> {
    pub(super) fn identity_fields(
        &self,
        wire: &[fabric::IdentityField],
    ) -> Result<Vec<IdentityField>, ResourceError> {
        self.all("identity fields", (0, IDENTITY_FIELDS_MAX), wire, |field| {
            let value = match field.value() {
                fabric::IdentityValue::Unspecified => Err(()),
                fabric::IdentityValue::User => Ok(IdentityValue::User),
                fabric::IdentityValue::DisplayName => Ok(IdentityValue::DisplayName),
                fabric::IdentityValue::Email => Ok(IdentityValue::Email),
                fabric::IdentityValue::UserGroups => Ok(IdentityValue::UserGroups),
            };
            Ok(IdentityField {
                name: self.setting(WHAT, rules::identity_field(&field.name))?,
                value: self.setting(WHAT, value)?,
            })
        })
    }
}
