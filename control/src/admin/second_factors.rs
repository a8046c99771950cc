//! Second factors of users, as far as operators have a say: they see which there are, and take away what was lost or stolen.

use model::name::UserId;
use proto::{
    admin::{
        DeletePasskeyRequest, ListPasskeysRequest, ListPasskeysResponse, Passkey,
        ResetSecondFactorsRequest, User, second_factors_server,
    },
    control::{PasskeyRecord, SecondFactorsRecord, UserRecord},
    time::wire_timestamp,
};
use tonic::{Request, Response, Status};

use super::{
    AdminContext,
    change::Change,
    operator::Operator,
    record,
    refusal::{Refusal, violation},
};
use crate::{
    fabric::forget_second_factors,
    revocations,
    second_factors::records::{self, Kept, RecordError},
    store::{Check, Entry, Op},
    time::timestamp_of_ms,
};

#[cfg(test)]
mod tests;

/// Between the name of a user and the id of a passkey of theirs.
const PASSKEYS: &str = "/passkeys/";

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct SecondFactors {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl second_factors_server::SecondFactors for SecondFactors {
    async fn reset_second_factors(
        &self,
        request: Request<ResetSecondFactorsRequest>,
    ) -> Result<Response<User>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let id = user_id("name", &request.name)?;
        let change = Change::of("ResetSecondFactors", &request.name);
        let attempt = || async {
            let found = self.find(&id).await?;
            record::check_etag(&request.etag, &found.entry)?;
            let after = SecondFactorsRecord::default();
            self.write(&found, &after, (&operator, &change)).await
        };
        let user = record::written(&request.name, attempt).await?;
        forget_second_factors(&self.context.lockout, &id);
        Ok(Response::new(user))
    }

    async fn list_passkeys(
        &self,
        request: Request<ListPasskeysRequest>,
    ) -> Result<Response<ListPasskeysResponse>, Status> {
        let id = user_id("parent", &request.get_ref().parent)?;
        let found = self.find(&id).await?;
        let kept = found.kept.record.passkeys.iter();
        let passkeys = kept.map(|kept| passkey(&id, kept)).collect();
        Ok(Response::new(ListPasskeysResponse { passkeys }))
    }

    async fn delete_passkey(
        &self,
        request: Request<DeletePasskeyRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let name = &request.get_ref().name;
        let parts = name.split_once(PASSKEYS);
        let (user, passkey) = parts.ok_or_else(|| {
            let form = "must be of the form users/{id}/passkeys/{passkey}";
            Refusal::Invalid(vec![violation("name", form)])
        })?;
        let id = user_id("name", user)?;
        let change = Change::of("DeletePasskey", name);
        let attempt = || async {
            let found = self.find(&id).await?;
            let mut after = found.kept.record.clone();
            after.passkeys.retain(|kept| kept.id != passkey);
            if after.passkeys.len() == found.kept.record.passkeys.len() {
                return Err(Refusal::NotFound(name.clone()));
            }
            self.write(&found, &after, (&operator, &change)).await
        };
        record::written(name, attempt).await?;
        Ok(Response::new(()))
    }
}

/// A user, and what they have.
struct Found {
    id: UserId,
    entry: Entry,
    stored: UserRecord,
    kept: Kept,
}

impl SecondFactors {
    async fn find(&self, id: &UserId) -> Result<Found, Refusal> {
        let store = &*self.context.store;
        let entry = record::existing(store, &id.resource_name()).await?;
        Ok(Found {
            id: id.clone(),
            stored: record::decode(&entry)?,
            entry,
            kept: records::read(store, id).await?,
        })
    }

    /// `None`: something has changed since it was read.
    async fn write(
        &self,
        found: &Found,
        after: &SecondFactorsRecord,
        (operator, change): (&Operator, &Change<'_>),
    ) -> Result<Option<User>, Refusal> {
        let now = self.context.clock.wall();
        let mut stored = found.stored.clone();
        let mut user = record::inner(&found.entry, stored.user.take())?;
        if after.authenticator.is_none() {
            user.authenticator_time = None;
        }
        user.passkeys = u32::try_from(after.passkeys.len()).unwrap_or(u32::MAX);
        user.update_time = Some(wire_timestamp(now));
        stored.user = Some(user.clone());
        let (ended, end) = revocations::end_user(&*self.context.store, &found.id, now).await?;
        let mut ops = found.kept.replace(after);
        ops.extend([
            record::put(&found.entry.key, &stored),
            end,
            Change::of(change.method, change.resource).row(operator, &self.context.clock),
        ]);
        let checks = vec![
            Check::unchanged(&found.entry),
            found.kept.check.clone(),
            ended,
        ];
        let revision = record::commit(&*self.context.store, checks, ops).await?;
        Ok(revision.map(|revision| User {
            etag: record::etag(revision),
            ..user
        }))
    }
}

fn user_id(field: &str, name: &str) -> Result<UserId, Refusal> {
    let read = record::id(field, name, UserId::COLLECTION, UserId::from_resource_name);
    read.map_err(Refusal::from)
}

fn passkey(user: &UserId, kept: &PasskeyRecord) -> Passkey {
    let time = |ms: i64| timestamp_of_ms(ms).filter(|_| ms > 0);
    Passkey {
        name: format!("{}{PASSKEYS}{}", user.resource_name(), kept.id),
        display_name: kept.display_name.clone(),
        create_time: time(kept.added_ms),
        use_time: time(kept.used_ms),
        synced: kept.synced,
    }
}

impl From<RecordError> for Refusal {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Store(error) => error.into(),
            RecordError::Corrupt(what) => Self::Corrupt(what),
        }
    }
}

/// What goes into the transaction that deletes a user: whoever has the id next has none of it.
pub(super) async fn removal(
    context: &AdminContext,
    id: &UserId,
) -> Result<(Check, Vec<Op>), Refusal> {
    let kept = records::read(&*context.store, id).await?;
    Ok((kept.check.clone(), kept.remove()))
}
