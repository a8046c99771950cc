//! What holds for the whole fabric: one resource that is always there.

use std::sync::Arc;

use bytes::Bytes;
use model::settings::Settings;
use prost::Message as _;
use proto::{
    admin::{
        self, GetSettingsRequest, UpdateSettingsRequest, settings_service_server::SettingsService,
    },
    settings::{NAME, filled_settings, settings, stored_settings},
    time::wire_timestamp,
};
use tonic::{Request, Response, Status};

use super::{
    AdminContext,
    change::Change,
    mask,
    operator::Operator,
    record,
    refusal::{Refusal, violation},
};
use crate::{
    fabric::SETTINGS_KEY,
    store::{Check, Revision, Store, StoreError},
};

mod fields;
#[cfg(test)]
mod tests;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl SettingsService for Service {
    async fn get_settings(
        &self,
        _: Request<GetSettingsRequest>,
    ) -> Result<Response<admin::Settings>, Status> {
        let found = self.find().await?;
        Ok(Response::new(output(found.settings, found.modified)))
    }

    async fn update_settings(
        &self,
        request: Request<UpdateSettingsRequest>,
    ) -> Result<Response<admin::Settings>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.into_inner();
        let attempt = || self.update(&request, &operator);
        let settings = record::written(NAME, attempt).await?;
        Ok(Response::new(settings))
    }
}

/// The settings in force; the product's own if nobody has written any.
pub(crate) async fn stored(store: &dyn Store) -> Result<Settings, StoreError> {
    let entry = store.get(SETTINGS_KEY).await?;
    let Some(entry) = entry else {
        return Ok(Settings::default());
    };
    Ok(read(&entry.value))
}

/// Stored settings. Of those that cannot be read only whether the fabric is stopped, what users are asked for, and how long it is kept who came,
/// counts.
pub(crate) fn read(value: &Bytes) -> Settings {
    let wire = admin::Settings::decode(value.clone()).unwrap_or_default();
    settings(&wire).unwrap_or_else(|_| {
        tracing::error!("the stored settings cannot be read: the product's own hold");
        Settings {
            stopped: wire.stopped,
            second_factor: proto::settings::second_factor(&wire),
            second_factor_groups: proto::settings::second_factor_groups(&wire),
            sign_in_log: proto::settings::sign_in_log(&wire),
            ..Settings::default()
        }
    })
}

/// What is kept, and what a write of it has to check.
struct Found {
    settings: admin::Settings,
    modified: Revision,
    check: Check,
}

impl Service {
    async fn find(&self) -> Result<Found, Refusal> {
        Ok(match self.context.store.get(SETTINGS_KEY).await? {
            Some(entry) => Found {
                settings: record::decode(&entry)?,
                modified: entry.modified,
                check: Check::unchanged(&entry),
            },
            None => Found {
                settings: admin::Settings {
                    name: NAME.to_owned(),
                    ..admin::Settings::default()
                },
                modified: Revision(0),
                check: Check::Absent(Arc::from(SETTINGS_KEY)),
            },
        })
    }

    /// `None`: somebody else was faster, so look again.
    async fn update(
        &self,
        request: &UpdateSettingsRequest,
        operator: &Operator,
    ) -> Result<Option<admin::Settings>, Refusal> {
        let unsaid = admin::Settings::default();
        let wanted = request.settings.as_ref().unwrap_or(&unsaid);
        let (chosen, mut violations) = fields::FIELDS.select(request.update_mask.as_ref(), wanted);
        if !wanted.name.is_empty() && wanted.name != NAME {
            violations.push(violation("settings.name", format!("must be {NAME}")));
        }
        let found = self.find().await?;
        if !wanted.etag.is_empty() && wanted.etag != record::etag(found.modified) {
            return Err(Refusal::EtagMismatch(NAME.to_owned()));
        }
        let merged = mask::merged(Some(&found.settings), wanted, &chosen);
        let after = match settings(&merged) {
            Ok(read) if violations.is_empty() => stored_settings(&read, &merged),
            Ok(_) => return Err(Refusal::Invalid(violations)),
            Err(more) => {
                violations.extend(more);
                return Err(Refusal::Invalid(violations));
            }
        };
        let after = admin::Settings {
            update_time: Some(wire_timestamp(self.context.clock.wall())),
            ..after
        };
        self.carry_out(found, after, operator, request.validate_only)
            .await
    }

    async fn carry_out(
        &self,
        found: Found,
        after: admin::Settings,
        operator: &Operator,
        validate_only: bool,
    ) -> Result<Option<admin::Settings>, Refusal> {
        let changed_fields = fields::FIELDS.changed(&found.settings, &after);
        if changed_fields.is_empty() {
            return Ok(Some(output(found.settings, found.modified)));
        }
        if validate_only {
            return Ok(Some(filled_settings(after)));
        }
        let change = Change {
            method: "UpdateSettings",
            resource: NAME,
            changed_fields,
        };
        let ops = vec![
            record::put(SETTINGS_KEY, &after),
            change.row(operator, &self.context.clock),
        ];
        let revision = record::commit(&*self.context.store, vec![found.check], ops).await?;
        Ok(revision.map(|revision| output(after, revision)))
    }
}

fn output(settings: admin::Settings, modified: Revision) -> admin::Settings {
    admin::Settings {
        etag: record::etag(modified),
        ..filled_settings(settings)
    }
}
