//! What users show besides their password, and how they set it up.
//!
//! Edges say what was shown before ([`Shown`]), and control believes its own word for it alone ([`Word`]). It is worth nothing
//! once the user's sessions were ended after it. Every use writes what it used up in the transaction that lets the user in, so no code and no
//! challenge is good twice, at however many edges it is tried at once.

use std::{net::IpAddr, sync::Arc};

use model::{name::UserId, settings::SecondFactor};
use prost::Message as _;
use proto::{
    control::{SecondFactorsRecord, UserRecord},
    fabric::{
        CheckCodeRequest, CheckPasswordResponse, HalfProven, PasswordRefusal, Shown,
        check_password_response::Outcome,
    },
    time::wire_timestamp,
};

use super::{
    AdmittedEdge, Proven, REQUEST_ID_BYTES_MAX, Refused, decode, granted, is_disabled,
    word::{self, Word},
};
use crate::{
    admin::stored_settings,
    audit,
    fabric::{FabricContext, refusal::Refusal},
    lockout::Attempt,
    revocations,
    second_factors::{
        records::{self, Kept, RecordError},
        recovery, totp,
    },
    store::{ATTEMPTS_MAX, Check, Entry, Op},
    telemetry,
    time::{timestamp_of_ms, unix_ms},
};

/// Second factors of one user that may be wrong in a row (NIST SP 800-63B-4, section 3.2.2): a code of six digits is guessed by then with a
/// chance of one in 3,000, by somebody who has the password.
const FAILURES_MAX: u32 = 100;
/// Before the name of a user in what failures are counted of. No name that was typed has capital letters by then, so nobody
/// can make a user wait here without the password.
const LOCKOUT_PREFIX: &str = "SECOND FACTOR OF ";

/// Characters that are looked at of what was typed as a code.
pub(super) const CODE_CHARS_MAX: usize = 64;

/// Of a password, in the words of RFC 8176.
pub(super) const PASSWORD: &str = "pwd";
/// Of a code of an authenticator app.
pub(super) const ONE_TIME: &str = "otp";
/// Of two factors.
pub(super) const MULTIPLE: &str = "mfa";

/// Who has shown something, and from where.
pub(super) struct Whose<'a> {
    pub(super) user: UserId,
    pub(super) wire: &'a Shown,
    pub(super) client: IpAddr,
    /// Control's, for what was shown. `None`: it has said nothing of it.
    pub(super) word: Option<Word>,
}

/// An account whose user has shown something that still holds.
pub(super) struct Found {
    pub(super) user: UserId,
    pub(super) record: UserRecord,
    pub(super) entry: Entry,
    pub(super) kept: Kept,
    /// When it was read, in Unix milliseconds.
    pub(super) as_of_ms: i64,
}

/// What a user does to the account.
pub(super) struct Doing {
    pub(super) method: &'static str,
    /// For the audit log.
    pub(super) field: &'static str,
}

impl<'a> Whose<'a> {
    pub(super) fn of(context: &FabricContext, wire: Option<&'a Shown>) -> Result<Self, Refusal> {
        let wire = wire.ok_or(Refusal::Protocol("what was shown is missing"))?;
        let user = wire.user.parse();
        let user = user.map_err(|_| Refusal::Protocol("the user is no id"))?;
        let client = wire.client.parse();
        let said = (&user, wire.as_of_ms, &*wire.methods);
        let now = context.clock.wall();
        Ok(Self {
            word: Word::shown_by(&context.second_factor_key, said, &wire.proof, now),
            client: client.map_err(|_| Refusal::Protocol("the client is no IP address"))?,
            user,
            wire,
        })
    }

    /// Whether the password was typed a few minutes ago.
    pub(super) fn has_typed(&self, context: &FabricContext) -> bool {
        match self.word {
            Some(Word::Typed) => {
                self.has(PASSWORD) && word::is_fresh(self.wire.as_of_ms, context.clock.wall())
            }
            Some(Word::Began) | None => false,
        }
    }

    pub(super) fn has(&self, method: &str) -> bool {
        self.wire.methods.iter().any(|known| known == method)
    }

    pub(super) fn request_id(&self) -> &str {
        bounded_id(&self.wire.request_id)
    }

    /// What was shown, with more.
    pub(super) fn methods_and(&self, more: &[&str]) -> Vec<String> {
        methods_and(&self.wire.methods, more)
    }
}

pub(super) fn methods_and(known: &[String], more: &[&str]) -> Vec<String> {
    let mut methods = known.to_vec();
    for method in more {
        if !methods.iter().any(|known| known == method) {
            methods.push((*method).to_owned());
        }
    }
    methods
}

pub(in crate::fabric) fn bounded_id(id: &str) -> &str {
    if id.len() <= REQUEST_ID_BYTES_MAX {
        id
    } else {
        ""
    }
}

/// The account as it is now; `None`: there is none, it is disabled, or its sessions were ended after `since_ms`.
pub(super) async fn find(
    context: &FabricContext,
    user: &UserId,
    since_ms: i64,
) -> Result<Option<Found>, Refusal> {
    let as_of_ms = unix_ms(context.clock.wall());
    let Some(entry) = context.store.get(&user.resource_name()).await? else {
        return Ok(None);
    };
    let record = decode(&entry)?;
    let ended = revocations::user_ended(&*context.store, user).await?;
    if is_disabled(&record) || ended.is_some_and(|before_ms| since_ms < before_ms) {
        return Ok(None);
    }
    Ok(Some(Found {
        user: user.clone(),
        record,
        entry,
        kept: records::read(&*context.store, user).await?,
        as_of_ms,
    }))
}

impl Found {
    /// What a session begins with.
    pub(super) fn granted(
        self,
        context: &FabricContext,
        methods: Vec<String>,
    ) -> CheckPasswordResponse {
        let proven = Proven {
            user: self.user,
            record: self.record,
            entry: self.entry,
            as_of_ms: self.as_of_ms,
        };
        granted(context, &proven, (methods, Word::Began))
    }

    /// Writes what has been used up; false: somebody else was faster.
    pub(super) async fn write_use(
        &self,
        context: &FabricContext,
        after: &SecondFactorsRecord,
    ) -> Result<bool, Refusal> {
        let checks = vec![Check::unchanged(&self.entry), self.kept.check.clone()];
        Ok(context.commit(checks, self.kept.replace(after)).await?)
    }

    /// Writes another set of factors, ends every session from before, and tells the audit log; false: somebody else was faster.
    pub(super) async fn write_change(
        &mut self,
        context: &FabricContext,
        (whose, doing): (&Whose<'_>, &Doing),
        after: &SecondFactorsRecord,
        (mut checks, mut ops): (Vec<Check>, Vec<Op>),
    ) -> Result<bool, Refusal> {
        let now = context.clock.wall();
        let mut record = self.record.clone();
        let user = record.user.get_or_insert_default();
        let authenticator = after.authenticator.as_ref();
        user.authenticator_time = authenticator.and_then(|one| timestamp_of_ms(one.added_ms));
        user.passkeys = u32::try_from(after.passkeys.len()).unwrap_or(u32::MAX);
        user.update_time = Some(wire_timestamp(now));
        let as_of_ms = unix_ms(now);
        let ended = revocations::end_user_before(&*context.store, &self.user, as_of_ms);
        let (ended, end) = ended.await?;
        checks.extend([
            Check::unchanged(&self.entry),
            self.kept.check.clone(),
            ended,
        ]);
        ops.extend(self.kept.replace(after));
        ops.extend([
            Op::Put(Arc::clone(&self.entry.key), record.encode_to_vec().into()),
            end,
            audit_row(context, whose, doing),
        ]);
        let written = context.commit(checks, ops).await?;
        if written {
            (self.record, self.as_of_ms) = (record, as_of_ms);
        }
        Ok(written)
    }
}

pub(super) fn audit_row(context: &FabricContext, whose: &Whose<'_>, doing: &Doing) -> Op {
    let name = whose.user.resource_name();
    let event = audit::Event {
        actor: name.clone(),
        method: doing.method,
        resource: name,
        peer: whose.client.to_string(),
        changed_fields: vec![doing.field.to_owned()],
        ..audit::Event::default()
    };
    audit::op(event, &context.clock)
}

/// Whether the user has to have a second factor.
pub(super) async fn is_needed(
    context: &FabricContext,
    record: &UserRecord,
) -> Result<bool, Refusal> {
    let settings = stored_settings(&*context.store).await?;
    let user = record.user.as_ref();
    let groups = user.map(|user| &*user.user_groups).unwrap_or_default();
    Ok(settings.needs_second_factor(groups))
}

/// What holds for the fabric.
pub(super) async fn policy(context: &FabricContext) -> Result<SecondFactor, Refusal> {
    Ok(stored_settings(&*context.store).await?.second_factor)
}

/// What follows once a password was right: a session, or the question for more.
pub(super) async fn after_password(
    context: &FabricContext,
    proven: &Proven,
    (shown, word): (&[String], Word),
) -> Result<CheckPasswordResponse, Refusal> {
    let policy = policy(context).await?;
    let password = vec![PASSWORD.to_owned()];
    if policy == SecondFactor::Off {
        return Ok(granted(context, proven, (password, word)));
    }
    let kept = records::read(&*context.store, &proven.user).await?;
    let is_done = shown.iter().any(|method| method == MULTIPLE);
    if is_done {
        let methods = methods_and(shown, &[PASSWORD]);
        return Ok(granted(context, proven, (methods, word)));
    }
    if !kept.has_any() && !is_needed(context, &proven.record).await? {
        return Ok(granted(context, proven, (password, word)));
    }
    let said = (&proven.user, proven.as_of_ms, &*password);
    let passkeys = kept.record.passkeys.iter();
    Ok(CheckPasswordResponse {
        outcome: Some(Outcome::Half(HalfProven {
            user: proven.user.to_string(),
            as_of_ms: proven.as_of_ms,
            authenticator: kept.record.authenticator.is_some(),
            passkeys: passkeys.map(|one| one.credential_id.clone()).collect(),
            must_enrol: !kept.has_any(),
            proof: Word::Typed.proof(&context.second_factor_key, said),
        })),
    })
}

/// Whether the user has something that is to be shown before the password may be changed.
pub(super) async fn is_guarded(
    context: &FabricContext,
    proven: &Proven,
    shown: &[String],
) -> Result<bool, Refusal> {
    let is_shown = shown.iter().any(|method| method == MULTIPLE);
    if is_shown || policy(context).await? == SecondFactor::Off {
        return Ok(false);
    }
    Ok(records::read(&*context.store, &proven.user)
        .await?
        .has_any())
}

/// Begins an attempt at something of a user's account, which counts against guessing. What control has given no word for is none.
pub(super) fn begin(context: &FabricContext, whose: &Whose<'_>) -> Result<Attempt, Refused> {
    match whose.word {
        Some(Word::Typed | Word::Began) => begin_anew(context, whose),
        None => Err(Refused::Wrong),
    }
}

/// The same of somebody who has shown nothing before.
pub(super) fn begin_anew(context: &FabricContext, whose: &Whose<'_>) -> Result<Attempt, Refused> {
    let name = format!("{LOCKOUT_PREFIX}{}", whose.user);
    begin_of(context, &name, whose.client)
}

/// The same under a name of its own.
pub(super) fn begin_of(
    context: &FabricContext,
    name: &str,
    client: IpAddr,
) -> Result<Attempt, Refused> {
    let begun = context.lockout.begin(name, client, context.clock.now());
    begun.map_err(Refused::TooMany)
}

/// What a new password or a reset gives back: nobody waits for failures of before.
pub(crate) fn forget(lockout: &crate::lockout::Lockout, user: &UserId) {
    lockout.forget(&format!("{LOCKOUT_PREFIX}{user}"));
}

/// The answer to what was refused, told to the log.
pub(super) fn refuse(whose: &Whose<'_>, refused: Refused) -> CheckPasswordResponse {
    let (kind, word) = refused.told();
    telemetry::second_factor_checks(word).increment(1);
    tracing::info!(user = %whose.user, client = %whose.client, request.id = whose.request_id(), result = word, "second factor refused");
    CheckPasswordResponse {
        outcome: Some(Outcome::Refusal(PasswordRefusal {
            kind: kind.into(),
            retry_after_ms: refused.retry_after_ms(),
        })),
    }
}

/// Whether a code of an app, or a recovery code, is right.
pub(in crate::fabric) async fn check_code(
    context: &FabricContext,
    _: &AdmittedEdge,
    request: &CheckCodeRequest,
) -> Result<CheckPasswordResponse, Refusal> {
    let whose = Whose::of(context, request.shown.as_ref())?;
    let attempt = match begin(context, &whose) {
        Ok(attempt) => attempt,
        Err(refused) => return Ok(refuse(&whose, refused)),
    };
    let checked = judge_code(context, &whose, &request.code).await;
    match &checked {
        Ok(Ok(_)) => context.lockout.succeeded(&attempt, context.clock.now()),
        Ok(Err(_)) => {}
        Err(_) => context.lockout.abandoned(&attempt),
    }
    Ok(match checked? {
        Ok((found, methods)) => {
            let how = if methods.contains(&ONE_TIME) {
                "code"
            } else {
                "recovery_code"
            };
            telemetry::second_factor_checks(how).increment(1);
            tracing::info!(user = %whose.user, client = %whose.client, request.id = whose.request_id(), how, "second factor shown");
            found.granted(context, whose.methods_and(methods))
        }
        Err(refused) => refuse(&whose, refused),
    })
}

/// The account, and what was shown besides.
async fn judge_code(
    context: &FabricContext,
    whose: &Whose<'_>,
    typed: &str,
) -> Result<Result<(Found, &'static [&'static str]), Refused>, Refusal> {
    for _ in 0..ATTEMPTS_MAX {
        let Some(found) = find(context, &whose.user, whose.wire.as_of_ms).await? else {
            return Ok(Err(Refused::Wrong));
        };
        let mut after = found.kept.record.clone();
        let judged = judge(context, &found.user, typed, &mut after);
        match judged {
            Ok(_) => after.failures = 0,
            Err(Refused::Locked) => return Ok(Err(Refused::Locked)),
            // Counted for good: a lockout that is in memory forgets.
            Err(_) if found.kept.has_any() => after.failures = after.failures.saturating_add(1),
            Err(refused) => return Ok(Err(refused)),
        }
        if found.write_use(context, &after).await? {
            return Ok(judged.map(|methods| (found, methods)));
        }
    }
    Err(Refusal::Contended)
}

/// Takes what was typed out of what is left to the user.
fn judge(
    context: &FabricContext,
    user: &UserId,
    typed: &str,
    after: &mut SecondFactorsRecord,
) -> Result<&'static [&'static str], Refused> {
    let digits: String = typed
        .chars()
        .filter(|char| !char.is_whitespace())
        .take(CODE_CHARS_MAX)
        .collect();
    if !totp::is_code(&digits) {
        let key = &context.second_factor_key;
        let taken = recovery::take(key, user, &digits, &mut after.recovery_codes);
        return if taken {
            Ok(&[MULTIPLE])
        } else {
            Err(Refused::Wrong)
        };
    }
    if after.failures >= FAILURES_MAX {
        return Err(Refused::Locked);
    }
    let authenticator = after.authenticator.as_mut().ok_or(Refused::Wrong)?;
    let Some(key) = context
        .second_factor_key
        .open(user, &authenticator.sealed_key)
    else {
        tracing::error!(%user, "the key of the user's authenticator app does not open: was the data directory's key file replaced? Reset the user's second factors");
        return Err(Refused::Wrong);
    };
    let now = context.clock.wall();
    let step = totp::step_of(key.expose(), &digits, now, authenticator.last_step);
    authenticator.last_step = step.ok_or(Refused::Wrong)?;
    Ok(&[ONE_TIME, MULTIPLE])
}

impl From<RecordError> for Refusal {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Store(error) => error.into(),
            RecordError::Corrupt(what) => Self::Corrupt(what),
        }
    }
}
