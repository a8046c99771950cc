//! Sign-ins with accounts of the fabric's own, which edges ask for: passwords are compared here, and leave no trace.
//!
//! No such user, another password and a disabled account are one answer after the same work. Everything about an account goes by what
//! was read of it before the password was compared: what changes meanwhile ends the session that follows, as that begins at the time
//! of the reading ([`Account::as_of_ms`](proto::fabric::Account)).

use std::{net::IpAddr, sync::Arc, time::Duration};

use model::{
    name::{IdentityProviderId, UserId},
    user::SESSION_ID_BYTES,
};
use prost::Message as _;
use proto::{
    control::UserRecord,
    fabric::{
        Account, ChangePasswordRequest, CheckPasswordRequest, CheckPasswordResponse,
        EndSessionRequest, PasswordRefusal, PasswordRefusalKind, ProviderSession,
        check_password_response::Outcome,
    },
    time::{system_time, wire_timestamp},
};
use runtime::Secret;

use self::word::Word;
use super::{FabricContext, ProvenNode, member, refusal::Refusal};
use crate::{
    audit,
    passwords::{self, PasswordError, Whose},
    presence::NodeId,
    revocations,
    store::{ATTEMPTS_MAX, Check, Entry, Op},
    telemetry,
    time::unix_ms,
};

pub(super) mod authenticator;
pub(super) mod credentials;
pub(super) mod own_account;
pub(super) mod passkeys;
pub(super) mod second_factors;
mod word;

#[cfg(test)]
mod tests;

/// A user may choose a password once in so long: each is a row of the audit log, which operators' changes must not be pushed out of.
const CHANGE_PAUSE: Duration = Duration::from_secs(60);
/// How far the clock of an identity provider may be ahead.
const PROVIDER_SKEW_MAX: Duration = Duration::from_secs(60);
/// How long ago the session may have begun that takes the place of one that ends.
const BEGIN_AGE_MAX_MS: i64 = 60_000;
/// Longest id of a request that is logged; edges make shorter ones.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// What became of an attempt; the word of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Wrong,
    TooMany(Duration),
    MustChange,
    Unfit,
    /// The user's second factor is to be shown first.
    SecondFactor,
    /// Too many second factors in a row were wrong.
    Locked,
}

impl Refused {
    /// For the edge, and for log and metric.
    const fn told(self) -> (PasswordRefusalKind, &'static str) {
        match self {
            Self::Wrong => (PasswordRefusalKind::Wrong, "wrong"),
            Self::TooMany(_) => (PasswordRefusalKind::TooMany, "too_many"),
            Self::MustChange => (PasswordRefusalKind::MustChange, "must_change"),
            Self::Unfit => (PasswordRefusalKind::Unfit, "unfit"),
            Self::SecondFactor => (PasswordRefusalKind::SecondFactor, "second_factor"),
            Self::Locked => (PasswordRefusalKind::Locked, "locked"),
        }
    }

    fn retry_after_ms(self) -> u64 {
        match self {
            Self::TooMany(wait) => u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1),
            Self::Wrong | Self::MustChange | Self::Unfit | Self::SecondFactor | Self::Locked => 0,
        }
    }
}

/// An account whose password was right.
struct Proven {
    user: UserId,
    record: UserRecord,
    entry: Entry,
    /// When it was read, in Unix milliseconds.
    as_of_ms: i64,
}

/// Who wants to sign in, and from where.
struct Asked<'a> {
    wire: &'a CheckPasswordRequest,
    /// As accounts are compared; not an id of anybody yet.
    name: String,
    client: IpAddr,
}

/// Whether a user may sign in.
pub(super) async fn check_password(
    context: &FabricContext,
    _: &AdmittedEdge,
    request: &CheckPasswordRequest,
) -> Result<CheckPasswordResponse, Refusal> {
    let asked = Asked::of(request)?;
    let checked = match prove(context, &asked).await? {
        Ok(proven) if must_change(&proven.record) => Err(Refused::MustChange),
        Ok(proven) => Ok(proven),
        Err(refused) => Err(refused),
    };
    match checked {
        Ok(proven) => {
            telemetry::password_checks("right").increment(1);
            let shown = asked.shown_before(context, &proven).await?;
            let said = (&*shown, asked.word());
            let answer = second_factors::after_password(context, &proven, said).await?;
            renew_hash(context, &asked, &proven).await;
            Ok(answer)
        }
        Err(refused) => Ok(refuse(context, &asked, refused).await),
    }
}

/// The same, and another password from now on. Whatever signed in with the old one is signed out.
pub(super) async fn change_password(
    context: &FabricContext,
    _: &AdmittedEdge,
    request: &ChangePasswordRequest,
) -> Result<CheckPasswordResponse, Refusal> {
    let now = request.now.as_ref();
    let asked = Asked::of(now.ok_or(Refusal::Protocol("the password of now is missing"))?)?;
    let mut shown = Vec::new();
    let changed = match prove(context, &asked).await? {
        Ok(proven) => {
            shown = asked.shown_before(context, &proven).await?;
            if !must_change(&proven.record)
                && second_factors::is_guarded(context, &proven, &shown).await?
            {
                Err(Refused::SecondFactor)
            } else {
                change(context, &asked, proven, &request.new_password).await?
            }
        }
        Err(refused) => Err(refused),
    };
    match changed {
        Ok(proven) => {
            telemetry::password_checks("changed").increment(1);
            tracing::info!(user = %proven.user, client = %asked.client, request.id = asked.request_id(), "password changed");
            second_factors::after_password(context, &proven, (&shown, Word::Began)).await
        }
        Err(refused) => Ok(refuse(context, &asked, refused).await),
    }
}

/// A user has signed out: here, or at an identity provider.
pub(super) async fn end_session(
    context: &FabricContext,
    _: &AdmittedEdge,
    request: &EndSessionRequest,
) -> Result<(), Refusal> {
    for _ in 0..ATTEMPTS_MAX {
        let ended = match &request.provider_session {
            Some(session) => end_of_provider_session(context, session, request.before_ms).await?,
            None => end_of_session(context, request).await?,
        };
        let Some((check, op)) = ended else {
            return Ok(());
        };
        if context.commit(vec![check], vec![op]).await? {
            return Ok(());
        }
        // Another edge was faster; perhaps it was told of an earlier end.
    }
    Err(Refusal::Contended)
}

/// What a provider says counts until now at most, and longer only as far as its clock may be ahead.
async fn end_of_provider_session(
    context: &FabricContext,
    session: &ProviderSession,
    before_ms: i64,
) -> Result<Option<(Check, Op)>, Refusal> {
    let provider: IdentityProviderId = session
        .provider
        .parse()
        .map_err(|_| Refusal::Protocol("the id of an identity provider"))?;
    let name = session.name_sha256.as_ref().try_into();
    let name = name.map_err(|_| Refusal::Protocol("a digest has 32 bytes"))?;
    let latest = context.clock.wall() + PROVIDER_SKEW_MAX;
    let before_ms = before_ms.min(unix_ms(latest));
    let ended = revocations::end_provider_session(&*context.store, &provider, name, before_ms);
    Ok(ended.await?)
}

async fn end_of_session(
    context: &FabricContext,
    request: &EndSessionRequest,
) -> Result<Option<(Check, Op)>, Refusal> {
    let session: &[u8; SESSION_ID_BYTES] = request
        .session
        .as_ref()
        .try_into()
        .map_err(|_| Refusal::Protocol("the id of a session has 16 bytes"))?;
    let now = context.clock.wall();
    let ended = revocations::end_session(&*context.store, session, now).await?;
    // An edge of an earlier version does not say whose it is.
    let user = request.user.parse::<UserId>().ok();
    let (Some(_), Some(user)) = (&ended, user) else {
        return Ok(ended);
    };
    let lockout = &context.lockout;
    if !lockout.ends_too_often(user.as_str(), context.clock.now()) {
        return Ok(ended);
    }
    tracing::warn!(%user, "so many sessions of the user have ended within an hour that all of them end");
    let now_ms = unix_ms(now);
    let before_ms = match request.before_ms {
        0 => now_ms.saturating_add(1),
        begins_ms => begins_ms.clamp(now_ms.saturating_sub(BEGIN_AGE_MAX_MS), now_ms),
    };
    let ended = revocations::end_user_before(&*context.store, &user, before_ms);
    Ok(Some(ended.await?))
}

/// Proof that an edge asks, which is enrolled and not revoked.
#[derive(Debug)]
pub(super) struct AdmittedEdge(());

/// Agents have no users, and would only be somewhere else to guess from.
pub(super) async fn admit_edge(
    context: &FabricContext,
    node: &ProvenNode,
) -> Result<AdmittedEdge, Refusal> {
    match member::admit(context, node).await?.id {
        NodeId::Edge(_) => Ok(AdmittedEdge(())),
        NodeId::Agent(_) => Err(Refusal::EdgesOnly),
    }
}

impl<'a> Asked<'a> {
    fn of(wire: &'a CheckPasswordRequest) -> Result<Self, Refusal> {
        let client = wire.client.parse();
        Ok(Self {
            name: wire.user.trim().to_ascii_lowercase(),
            client: client.map_err(|_| Refusal::Protocol("the client is no IP address"))?,
            wire,
        })
    }

    fn request_id(&self) -> &str {
        second_factors::bounded_id(&self.wire.request_id)
    }

    /// What a right password makes: the begin of a session, or, within one that goes on, the leave to change the account.
    fn word(&self) -> Word {
        match self.wire.before {
            Some(_) => Word::Typed,
            None => Word::Began,
        }
    }

    /// What was shown for the session that asks, as far as control has said so and it still counts.
    async fn shown_before(
        &self,
        context: &FabricContext,
        proven: &Proven,
    ) -> Result<Vec<String>, Refusal> {
        let Some(before) = &self.wire.before else {
            return Ok(Vec::new());
        };
        let said = (&proven.user, before.as_of_ms, &*before.methods);
        let now = context.clock.wall();
        let word = Word::shown_by(&context.second_factor_key, said, &before.proof, now);
        let ended = revocations::user_ended(&*context.store, &proven.user).await?;
        let is_over = ended.is_some_and(|ended_ms| before.as_of_ms < ended_ms);
        Ok(match word {
            Some(Word::Typed | Word::Began) if !is_over => before.methods.clone(),
            Some(Word::Typed | Word::Began) | None => Vec::new(),
        })
    }

    /// The account of the name, if there is one. What cannot be an id is looked for too, so that it takes as long.
    async fn account(&self, context: &FabricContext) -> Result<Option<(UserId, Entry)>, Refusal> {
        let user = self.name.parse::<UserId>().ok();
        let key = user.as_ref().map(UserId::resource_name);
        let key = key.as_deref().unwrap_or(UserId::COLLECTION);
        let entry = context.store.get(key).await?;
        Ok(user.zip(entry))
    }
}

/// The account, if the password is right and its user may sign in.
async fn prove(
    context: &FabricContext,
    asked: &Asked<'_>,
) -> Result<Result<Proven, Refused>, Refusal> {
    let now = context.clock.now();
    let attempt = match context.lockout.begin(&asked.name, asked.client, now) {
        Ok(attempt) => attempt,
        Err(wait) => return Ok(Err(Refused::TooMany(wait))),
    };
    let compared = compare(context, asked).await;
    match &compared {
        Ok(Some(_)) => context.lockout.succeeded(&attempt, context.clock.now()),
        Ok(None) => {}
        Err(_) => context.lockout.abandoned(&attempt),
    }
    Ok(compared?.ok_or(Refused::Wrong))
}

async fn compare(context: &FabricContext, asked: &Asked<'_>) -> Result<Option<Proven>, Refusal> {
    let as_of_ms = unix_ms(context.clock.wall());
    let found = match asked.account(context).await? {
        Some((user, entry)) => Some((user, decode(&entry)?, entry)),
        None => None,
    };
    let hash = found
        .as_ref()
        .map(|(_, record, _)| record.password_hash.clone());
    let typed = Secret::new(asked.wire.password.clone());
    let is_right = context.passwords.verify(typed, hash).await?;
    let proven = found.map(|(user, record, entry)| Proven {
        user,
        record,
        entry,
        as_of_ms,
    });
    Ok(proven.filter(|proven| is_right && !is_disabled(&proven.record)))
}

/// Puts another password in place of the one that was proven.
async fn change(
    context: &FabricContext,
    asked: &Asked<'_>,
    mut proven: Proven,
    new: &str,
) -> Result<Result<Proven, Refused>, Refusal> {
    if is_unfit(context, &proven, asked, new) {
        return Ok(Err(Refused::Unfit));
    }
    if let Some(wait) = pause(context, &proven.record) {
        return Ok(Err(Refused::TooMany(wait)));
    }
    let hash = context.passwords.hash(Secret::new(new.to_owned())).await?;
    for _ in 0..ATTEMPTS_MAX {
        if write_change(context, asked, &mut proven, &hash).await? {
            return Ok(Ok(proven));
        }
        // What was proven must still be so.
        let Some((_, entry)) = asked.account(context).await? else {
            return Ok(Err(Refused::Wrong));
        };
        let record = decode(&entry)?;
        if record.password_hash != proven.record.password_hash || is_disabled(&record) {
            return Ok(Err(Refused::Wrong));
        }
        (proven.record, proven.entry) = (record, entry);
    }
    Err(Refusal::Contended)
}

fn is_unfit(context: &FabricContext, proven: &Proven, asked: &Asked<'_>, new: &str) -> bool {
    let user = proven.record.user.as_ref();
    let whose = Whose {
        id: proven.user.as_str(),
        email: user.map_or("", |user| &user.email),
        display_name: user.map_or("", |user| &user.display_name),
        domain: context.domain.as_str(),
    };
    let unfitness = passwords::unfitness(new, &whose);
    unfitness.is_some() || new == asked.wire.password
}

/// How long a user has to keep the password that they chose last.
fn pause(context: &FabricContext, record: &UserRecord) -> Option<Duration> {
    let user = record.user.as_ref()?;
    let chosen = system_time(user.password_time.as_ref()?).ok()?;
    let age = context.clock.wall().duration_since(chosen).ok()?;
    let rest = CHANGE_PAUSE.checked_sub(age)?;
    (!user.must_change_password && !rest.is_zero()).then_some(rest)
}

/// False: the account, or what ends its sessions, was written meanwhile.
///
/// The session that follows begins at the time before which all are over.
async fn write_change(
    context: &FabricContext,
    asked: &Asked<'_>,
    proven: &mut Proven,
    hash: &str,
) -> Result<bool, Refusal> {
    let now = context.clock.wall();
    let as_of_ms = unix_ms(now);
    let mut record = proven.record.clone();
    hash.clone_into(&mut record.password_hash);
    let user = record.user.get_or_insert_default();
    user.must_change_password = false;
    user.password_time = Some(wire_timestamp(now));
    user.update_time = user.password_time;
    let ended = revocations::end_user_before(&*context.store, &proven.user, as_of_ms);
    let (ended, end) = ended.await?;
    let event = audit::Event {
        actor: proven.user.resource_name(),
        method: "ChangePassword",
        resource: proven.user.resource_name(),
        peer: asked.client.to_string(),
        changed_fields: vec!["password".to_owned()],
        ..audit::Event::default()
    };
    let ops = vec![
        Op::Put(Arc::clone(&proven.entry.key), record.encode_to_vec().into()),
        end,
        audit::op(event, &context.clock),
    ];
    let checks = vec![Check::unchanged(&proven.entry), ended];
    let is_written = context.commit(checks, ops).await?;
    if is_written {
        proven.record = record;
        proven.as_of_ms = as_of_ms;
    }
    Ok(is_written)
}

/// Hashes a password as it is done today, if it was hashed otherwise. The sign-in does not depend on it.
async fn renew_hash(context: &FabricContext, asked: &Asked<'_>, proven: &Proven) {
    if !passwords::is_outdated(&proven.record.password_hash) {
        return;
    }
    let typed = Secret::new(asked.wire.password.clone());
    let Ok(password_hash) = context.passwords.hash(typed).await else {
        return;
    };
    let record = UserRecord {
        password_hash,
        user: proven.record.user.clone(),
    };
    let put = Op::Put(Arc::clone(&proven.entry.key), record.encode_to_vec().into());
    let written = context
        .store
        .txn(vec![Check::unchanged(&proven.entry)], vec![put]);
    match written.await {
        Ok(_) => tracing::info!(user = %proven.user, "password hashed anew"),
        // The next sign-in does it.
        Err(error) => tracing::debug!(user = %proven.user, %error, "password not hashed anew"),
    }
}

/// What a session begins with.
fn granted(
    context: &FabricContext,
    proven: &Proven,
    (methods, word): (Vec<String>, Word),
) -> CheckPasswordResponse {
    let user = proven.record.user.clone().unwrap_or_default();
    let said = (&proven.user, proven.as_of_ms, &*methods);
    let proof = word.proof(&context.second_factor_key, said);
    CheckPasswordResponse {
        outcome: Some(Outcome::Account(Account {
            user: proven.user.to_string(),
            display_name: user.display_name,
            email: user.email,
            user_groups: user.user_groups,
            as_of_ms: proven.as_of_ms,
            methods,
            proof,
        })),
    }
}

/// Tells of it in the log. The name is told only if somebody has it: others may be passwords.
async fn refuse(
    context: &FabricContext,
    asked: &Asked<'_>,
    refused: Refused,
) -> CheckPasswordResponse {
    let (kind, word) = refused.told();
    telemetry::password_checks(word).increment(1);
    let account = asked.account(context).await.ok().flatten();
    let user = account.map(|(user, _)| user.to_string());
    tracing::info!(user, client = %asked.client, request.id = asked.request_id(), result = word, "sign-in refused");
    CheckPasswordResponse {
        outcome: Some(Outcome::Refusal(PasswordRefusal {
            kind: kind.into(),
            retry_after_ms: refused.retry_after_ms(),
        })),
    }
}

fn must_change(record: &UserRecord) -> bool {
    record
        .user
        .as_ref()
        .is_some_and(|user| user.must_change_password)
}

fn is_disabled(record: &UserRecord) -> bool {
    record.user.as_ref().is_none_or(|user| user.disabled)
}

fn decode(entry: &Entry) -> Result<UserRecord, Refusal> {
    let record = UserRecord::decode(entry.value.clone());
    record.map_err(|_| Refusal::Corrupt(entry.key.to_string()))
}

impl From<PasswordError> for Refusal {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => {
                telemetry::password_checks("busy").increment(1);
                Self::Busy
            }
            PasswordError::Hash(_) | PasswordError::Ended(_) => Self::Password(error),
        }
    }
}
