//! Users with accounts of the fabric's own. Passwords go in, and out once if control made them; only their hashes are kept.
//!
//! What takes something from a user ends their sessions in the same transaction, so that no edge goes on with what they had.

use std::{sync::Arc, time::SystemTime};

use model::name::UserId;
use proto::{
    admin::{
        CreateUserRequest, CreateUserResponse, DeleteUserRequest, GetUserRequest, ListUsersRequest,
        ListUsersResponse, ResetUserPasswordRequest, ResetUserPasswordResponse,
        SignOutEveryoneRequest, SignOutUserRequest, UpdateUserRequest, User, users_server,
    },
    control::UserRecord,
    time::wire_timestamp,
    user,
    violation::Violation,
};
use runtime::Secret;
use tonic::{Request, Response, Status};

use super::{
    AdminContext,
    change::Change,
    domains,
    mask::{self, Field, Fields},
    operator::Operator,
    page::{self, PageRequest, Shown},
    record,
    refusal::{Refusal, violation},
    second_factors,
};
use crate::{
    passwords::{self, Whose},
    revocations, sealing_keys,
    store::{Check, Entry, Op, Revision},
    vault::{self, Gone},
};

#[cfg(test)]
mod tests;

/// What the audit log calls all users.
const EVERYONE: &str = "users/*";

static FIELDS: Fields<User> = Fields {
    leaves: &[
        Field {
            path: "display_name",
            is_set: |user| !user.display_name.is_empty(),
            copy: |to, from| to.display_name.clone_from(&from.display_name),
        },
        Field {
            path: "email",
            is_set: |user| !user.email.is_empty(),
            copy: |to, from| to.email.clone_from(&from.email),
        },
        Field {
            path: "user_groups",
            is_set: |user| !user.user_groups.is_empty(),
            copy: |to, from| to.user_groups.clone_from(&from.user_groups),
        },
        Field {
            path: "disabled",
            is_set: |user| user.disabled,
            copy: |to, from| to.disabled = from.disabled,
        },
    ],
    output_only: &[
        "name",
        "etag",
        "create_time",
        "update_time",
        "password_time",
        "must_change_password",
        "authenticator_time",
        "passkeys",
    ],
};

/// Fields that sessions follow from, or that are in them and by which origins may know a user: with a change of one they end.
const ENDING: [&str; 3] = ["user_groups", "disabled", "email"];

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Users {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl users_server::Users for Users {
    async fn create_user(
        &self,
        request: Request<CreateUserRequest>,
    ) -> Result<Response<CreateUserResponse>, Status> {
        let operator = Operator::of(&request)?;
        let answer = self.create(request.into_inner(), &operator).await?;
        Ok(Response::new(answer))
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<User>, Status> {
        let name = user_id(&request.get_ref().name)?.resource_name();
        let entry = record::existing(&*self.context.store, &name).await?;
        Ok(Response::new(read(&entry)?))
    }

    async fn list_users(
        &self,
        request: Request<ListUsersRequest>,
    ) -> Result<Response<ListUsersResponse>, Status> {
        let request = request.get_ref();
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: UserId::COLLECTION,
            filter: "",
        };
        let page = page::read(&*self.context.store, wanted, |entry| {
            read(entry).map(Shown::Yes)
        })
        .await?;
        Ok(Response::new(ListUsersResponse {
            users: page.items,
            next_page_token: page.next_token,
        }))
    }

    async fn update_user(
        &self,
        request: Request<UpdateUserRequest>,
    ) -> Result<Response<User>, Status> {
        let operator = Operator::of(&request)?;
        let mut request = request.into_inner();
        let name = request.user.get_or_insert_default().name.clone();
        let attempt = || async {
            let plan = self.update(&request).await?;
            self.carry_out(plan, &operator, request.validate_only).await
        };
        let user = record::written(name, attempt).await?;
        Ok(Response::new(user))
    }

    async fn delete_user(
        &self,
        request: Request<DeleteUserRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.delete(request, &operator);
        record::written(&request.name, attempt).await?;
        Ok(Response::new(()))
    }

    async fn reset_user_password(
        &self,
        request: Request<ResetUserPasswordRequest>,
    ) -> Result<Response<ResetUserPasswordResponse>, Status> {
        let operator = Operator::of(&request)?;
        let answer = self.reset(request.into_inner(), &operator).await?;
        Ok(Response::new(answer))
    }

    async fn sign_out_user(
        &self,
        request: Request<SignOutUserRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.sign_out(request, &operator);
        record::written(&request.name, attempt).await?;
        Ok(Response::new(()))
    }

    async fn sign_out_everyone(
        &self,
        request: Request<SignOutEveryoneRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let attempt = || self.sign_all_out(&operator);
        record::written(EVERYONE, attempt).await?;
        Ok(Response::new(()))
    }
}

/// An update that has passed every check that can be made before the transaction.
struct Plan {
    id: UserId,
    entry: Entry,
    before: UserRecord,
    after: UserRecord,
    changed: Vec<String>,
}

/// A password for an account whose user did not choose it.
struct Given {
    password: Secret<String>,
    /// Whether control made it, so that it has to be told.
    is_made: bool,
}

impl Given {
    /// That of the request, or a made one.
    fn of(password: String) -> Self {
        let is_made = password.is_empty();
        Self {
            password: if is_made {
                passwords::generate()
            } else {
                Secret::new(password)
            },
            is_made,
        }
    }

    /// What the operator is told.
    fn into_told(self) -> String {
        if self.is_made {
            self.password.into_exposed()
        } else {
            String::new()
        }
    }
}

impl Users {
    async fn create(
        &self,
        request: CreateUserRequest,
        operator: &Operator,
    ) -> Result<CreateUserResponse, Refusal> {
        let wanted = request.user.unwrap_or_default();
        let mut violations = Vec::new();
        let id = user::check(&request.user_id, &wanted).map_err(|found| violations.extend(found));
        violations.extend(password_violation(
            &request.password,
            &self.whose(&request.user_id, &wanted),
        ));
        let Some(id) = id.ok().filter(|_| violations.is_empty()) else {
            return Err(Refusal::Invalid(violations));
        };
        let name = id.resource_name();
        record::free(&*self.context.store, &name).await?;
        domains::untaken_account(&*self.context.store, &id).await?;
        let now = self.context.clock.wall();
        let user = created(&name, wanted, now);
        if request.validate_only {
            return Ok(CreateUserResponse {
                user: Some(user),
                password: String::new(),
            });
        }
        // Whoever had the id before is somebody else.
        vault::forget(&*self.context.store, Gone::User(&id)).await?;
        let given = Given::of(request.password);
        let stored = UserRecord {
            password_hash: self.context.passwords.hash(given.password.clone()).await?,
            user: Some(user.clone()),
        };
        let revision = self.write_created(&id, &stored, operator).await?;
        // Whoever guessed at the id while nobody had it.
        self.context.lockout.forget(id.as_str());
        Ok(CreateUserResponse {
            user: Some(output(user, revision)),
            password: given.into_told(),
        })
    }

    /// Writes a new account, unless somebody has its id, or speaks for its domain.
    async fn write_created(
        &self,
        id: &UserId,
        stored: &UserRecord,
        operator: &Operator,
    ) -> Result<Revision, Refusal> {
        let (store, name) = (&*self.context.store, id.resource_name());
        let attempt = || async {
            let mut checks = vec![Check::Absent(Arc::from(name.as_str()))];
            let mut ops = vec![
                record::put(&name, stored),
                Change::of("CreateUser", &name).row(operator, &self.context.clock),
            ];
            if let Some(untaken) = domains::untaken_account(store, id).await? {
                checks.push(untaken.check);
                ops.push(untaken.op);
            }
            let revision = record::commit(store, checks, ops).await?;
            if revision.is_none() && store.get(&name).await?.is_some() {
                return Err(Refusal::AlreadyExists(name.clone()));
            }
            Ok(revision)
        };
        record::written(&name, attempt).await
    }

    async fn update(&self, request: &UpdateUserRequest) -> Result<Plan, Refusal> {
        let unsaid = User::default();
        let wanted = request.user.as_ref().unwrap_or(&unsaid);
        let (chosen, mut violations) = FIELDS.select(request.update_mask.as_ref(), wanted);
        let id = id_in("user.name", &wanted.name)
            .map_err(|found| violations.insert(0, found))
            .ok();
        if let Err(found) = user::check(id.as_ref().map_or("unnamed", UserId::as_str), wanted) {
            violations.extend(found);
        }
        let Some(id) = id.filter(|_| violations.is_empty()) else {
            return Err(Refusal::Invalid(violations));
        };
        let entry =
            record::as_seen(&*self.context.store, &id.resource_name(), &wanted.etag).await?;
        let before: UserRecord = record::decode(&entry)?;
        let old = record::inner(&entry, before.user.clone())?;
        let mut new = mask::merged(Some(&old), wanted, &chosen);
        new.user_groups.sort_unstable();
        let changed = FIELDS.changed(&old, &new);
        new.update_time = Some(wire_timestamp(self.context.clock.wall()));
        let after = UserRecord {
            user: Some(new),
            password_hash: before.password_hash.clone(),
        };
        Ok(Plan {
            id,
            entry,
            before,
            after,
            changed,
        })
    }

    /// Writes what was planned, or only says what would be; `None`: something has changed since, so plan again.
    async fn carry_out(
        &self,
        plan: Plan,
        operator: &Operator,
        validate_only: bool,
    ) -> Result<Option<User>, Refusal> {
        if plan.changed.is_empty() {
            let user = record::inner(&plan.entry, plan.before.user)?;
            return Ok(Some(output(user, plan.entry.modified)));
        }
        let user = record::inner(&plan.entry, plan.after.user.clone())?;
        if validate_only {
            return Ok(Some(user));
        }
        let name = plan.id.resource_name();
        let ends = plan
            .changed
            .iter()
            .any(|field| ENDING.contains(&field.as_str()));
        let change = Change {
            method: "UpdateUser",
            resource: &name,
            changed_fields: plan.changed,
        };
        let mut checks = vec![Check::unchanged(&plan.entry)];
        let mut ops = vec![
            record::put(&name, &plan.after),
            change.row(operator, &self.context.clock),
        ];
        if ends {
            let (check, op) = self.end_sessions(&plan.id).await?;
            checks.push(check);
            ops.push(op);
        }
        let revision = record::commit(&*self.context.store, checks, ops).await?;
        Ok(revision.map(|revision| output(user, revision)))
    }

    async fn delete(
        &self,
        request: &DeleteUserRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let id = user_id(&request.name)?;
        let name = id.resource_name();
        let entry = record::as_seen(&*self.context.store, &name, &request.etag).await?;
        let (ended, end) = self.end_sessions(&id).await?;
        let (kept, removal) = second_factors::removal(&self.context, &id).await?;
        let mut ops = vec![
            record::delete(&name),
            end,
            Change::of("DeleteUser", &name).row(operator, &self.context.clock),
        ];
        ops.extend(removal);
        let checks = vec![Check::unchanged(&entry), ended, kept];
        let store = &*self.context.store;
        let deleted = record::commit(store, checks, ops).await?;
        if deleted.is_some() {
            vault::forget(store, Gone::User(&id)).await?;
        }
        Ok(deleted)
    }

    async fn reset(
        &self,
        request: ResetUserPasswordRequest,
        operator: &Operator,
    ) -> Result<ResetUserPasswordResponse, Refusal> {
        let id = user_id(&request.name)?;
        let entry =
            record::as_seen(&*self.context.store, &id.resource_name(), &request.etag).await?;
        let stored: UserRecord = record::decode(&entry)?;
        let user = record::inner(&entry, stored.user)?;
        let found = password_violation(&request.password, &self.whose(id.as_str(), &user));
        if let Some(found) = found {
            return Err(found.into());
        }
        let given = Given::of(request.password);
        let hash = self.context.passwords.hash(given.password.clone()).await?;
        let attempt = || self.write_password(&id, &request.etag, &hash, operator);
        let user = record::written(id.resource_name(), attempt).await?;
        self.context.lockout.forget(id.as_str());
        Ok(ResetUserPasswordResponse {
            user: Some(user),
            password: given.into_told(),
        })
    }

    /// `None`: something has changed since it was read.
    async fn write_password(
        &self,
        id: &UserId,
        etag: &str,
        hash: &str,
        operator: &Operator,
    ) -> Result<Option<User>, Refusal> {
        let name = id.resource_name();
        let entry = record::as_seen(&*self.context.store, &name, etag).await?;
        let stored: UserRecord = record::decode(&entry)?;
        let now = Some(wire_timestamp(self.context.clock.wall()));
        let user = User {
            update_time: now,
            password_time: now,
            must_change_password: true,
            ..record::inner(&entry, stored.user)?
        };
        let stored = UserRecord {
            user: Some(user.clone()),
            password_hash: hash.to_owned(),
        };
        let (ended, end) = self.end_sessions(id).await?;
        let ops = vec![
            record::put(&name, &stored),
            end,
            Change::of("ResetUserPassword", &name).row(operator, &self.context.clock),
        ];
        let checks = vec![Check::unchanged(&entry), ended];
        let revision = record::commit(&*self.context.store, checks, ops).await?;
        Ok(revision.map(|revision| output(user, revision)))
    }

    async fn sign_out(
        &self,
        request: &SignOutUserRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let id = user_id(&request.name)?;
        let name = id.resource_name();
        let store = &*self.context.store;
        let mut checks = Vec::new();
        // Users of identity providers have no account here.
        if store.get(&name).await?.is_some() {
            checks.push(Check::Present(Arc::from(name.as_str())));
        } else if domains::owner(store, &id).await?.is_none() {
            return Err(Refusal::NotFound(name));
        }
        let (ended, end) = self.end_sessions(&id).await?;
        let ops = vec![
            end,
            Change::of("SignOutUser", &name).row(operator, &self.context.clock),
        ];
        checks.push(ended);
        record::commit(&*self.context.store, checks, ops).await
    }

    /// Keys and ends are written at once: nobody is told of one without the other.
    async fn sign_all_out(&self, operator: &Operator) -> Result<Option<Revision>, Refusal> {
        let (store, clock) = (&*self.context.store, &self.context.clock);
        let (mut checks, mut ops) = sealing_keys::replace(store, clock.wall()).await?;
        let (ended, end) = revocations::end_everyone(store, clock.wall()).await?;
        checks.push(ended);
        ops.push(end);
        ops.push(Change::of("SignOutEveryone", EVERYONE).row(operator, clock));
        record::commit(store, checks, ops).await
    }

    /// What the user's password is not to be made of.
    fn whose<'a>(&'a self, id: &'a str, user: &'a User) -> Whose<'a> {
        Whose {
            id,
            email: &user.email,
            display_name: &user.display_name,
            domain: &self.context.domain,
        }
    }

    async fn end_sessions(&self, id: &UserId) -> Result<(Check, Op), Refusal> {
        let now = self.context.clock.wall();
        Ok(revocations::end_user(&*self.context.store, id, now).await?)
    }
}

/// What there is to know of a new user.
fn created(name: &str, wanted: User, now: SystemTime) -> User {
    let now = Some(wire_timestamp(now));
    let mut user_groups = wanted.user_groups;
    user_groups.sort_unstable();
    User {
        name: name.to_owned(),
        etag: String::new(),
        create_time: now,
        update_time: now,
        display_name: wanted.display_name,
        email: wanted.email,
        user_groups,
        disabled: wanted.disabled,
        password_time: now,
        must_change_password: true,
        authenticator_time: None,
        passkeys: 0,
    }
}

/// An empty password stands for one that control makes.
fn password_violation(password: &str, whose: &Whose<'_>) -> Option<Violation> {
    let given = Some(password).filter(|password| !password.is_empty());
    let unfitness = given.and_then(|password| passwords::unfitness(password, whose));
    unfitness.map(|what| violation("password", what))
}

fn user_id(name: &str) -> Result<UserId, Refusal> {
    id_in("name", name).map_err(Refusal::from)
}

fn id_in(field: &str, name: &str) -> Result<UserId, Violation> {
    record::id(field, name, UserId::COLLECTION, UserId::from_resource_name)
}

fn read(entry: &Entry) -> Result<User, Refusal> {
    let stored: UserRecord = record::decode(entry)?;
    Ok(output(record::inner(entry, stored.user)?, entry.modified))
}

fn output(user: User, modified: Revision) -> User {
    User {
        etag: record::etag(modified),
        ..user
    }
}
