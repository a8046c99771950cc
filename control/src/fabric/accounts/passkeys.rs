//! Passkeys: keys in users' devices, which stand for the password and the second factor at once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use model::{host::Hostname, name::UserId, settings::SecondFactor};
use proto::{
    control::PasskeyRecord,
    fabric::{
        Ceremony, CheckPasskeyRequest, CheckPasswordResponse, RegisterPasskeyRequest,
        RemovePasskeyRequest, Shown,
    },
};
use rand::Rng as _;

use super::{
    AdmittedEdge, Refused,
    authenticator::{change, changeable},
    second_factors::{
        Doing, Found, MULTIPLE, Whose, begin, begin_anew, begin_of, find, methods_and, policy,
        refuse,
    },
};
use crate::{
    fabric::{FabricContext, refusal::Refusal},
    second_factors::{
        passkey::{self, CHALLENGE_BYTES},
        records::{self, PASSKEYS_MAX},
    },
    store::ATTEMPTS_MAX,
    telemetry,
    time::unix_ms,
};

/// Longest name of a passkey, in characters.
const NAME_CHARS_MAX: usize = 64;
/// How long what is to be signed is good: people look for their phone.
const CHALLENGE_LIFE: Duration = Duration::from_secs(5 * 60);
/// How far the clocks of edges, which issue challenges, may be from control's.
const SKEW: Duration = Duration::from_secs(60);
/// What attempts with passkeys that nobody has are counted of; no name that was typed has capital letters by then.
const STRANGERS: &str = "PASSKEYS OF NOBODY";
/// Challenges that were used and could be again, by their clock. Only those that somebody has signed count.
const USED_MAX: usize = 10_000;

/// Challenges that are used up. In memory: those from before a start of control count as used.
#[derive(Debug)]
pub struct UsedChallenges {
    start_ms: i64,
    used: Mutex<HashMap<[u8; CHALLENGE_BYTES], i64>>,
}

impl UsedChallenges {
    /// None is used yet; those that were issued before `start_ms` count as used.
    #[must_use]
    pub fn new(start_ms: i64) -> Self {
        Self {
            start_ms,
            used: Mutex::default(),
        }
    }

    /// Whether a challenge could be used now.
    fn is_fresh(&self, ceremony: &Ceremony, now_ms: i64) -> bool {
        let issued_ms = ceremony.challenge_issued_ms;
        let age = now_ms.saturating_sub(issued_ms);
        let is_in_time = (-ms(SKEW)..ms(CHALLENGE_LIFE + SKEW)).contains(&age);
        // A second passes by while a control that stops is followed by one that starts.
        is_in_time && issued_ms >= self.start_ms.saturating_sub(1_000)
    }

    /// Uses one up; false: it was, or there are too many.
    fn use_up(&self, ceremony: &Ceremony, now_ms: i64) -> bool {
        let Ok(challenge) = <[u8; CHALLENGE_BYTES]>::try_from(&*ceremony.challenge) else {
            return false;
        };
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= USED_MAX {
            let kept = ms(CHALLENGE_LIFE + SKEW + SKEW);
            used.retain(|_, used_ms| now_ms.saturating_sub(*used_ms) < kept);
        }
        used.len() < USED_MAX && used.insert(challenge, now_ms).is_none()
    }
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Adds a passkey to a user's.
pub(in crate::fabric) async fn register_passkey(
    context: &FabricContext,
    _: &AdmittedEdge,
    request: &RegisterPasskeyRequest,
) -> Result<CheckPasswordResponse, Refusal> {
    let whose = Whose::of(context, request.shown.as_ref())?;
    let attempt = match begin(context, &whose) {
        Ok(attempt) => attempt,
        Err(refused) => return Ok(refuse(&whose, refused)),
    };
    let registered = register(context, &whose, request).await;
    match &registered {
        Ok(Ok(_)) => context.lockout.succeeded(&attempt, context.clock.now()),
        Ok(Err(_)) => {}
        Err(_) => context.lockout.abandoned(&attempt),
    }
    Ok(match registered? {
        Ok((found, synced)) => {
            telemetry::second_factor_checks("enrolled").increment(1);
            tracing::info!(user = %whose.user, client = %whose.client, request.id = whose.request_id(), "passkey added");
            found.granted(context, methods_and(&whose.wire.methods, methods(synced)))
        }
        Err(refused) => refuse(&whose, refused),
    })
}

async fn register(
    context: &FabricContext,
    whose: &Whose<'_>,
    request: &RegisterPasskeyRequest,
) -> Result<Result<(Found, bool), Refused>, Refusal> {
    let (ceremony, host) = ceremony(context, request.ceremony.as_ref())?;
    let now_ms = unix_ms(context.clock.wall());
    let checked = passkey::register(ceremony, (request.algorithm, &request.public_key), &host);
    let made = match checked {
        Ok(made) if context.challenges.is_fresh(ceremony, now_ms) => made,
        Ok(_) => return Ok(Err(Refused::Wrong)),
        Err(error) => {
            tracing::info!(user = %whose.user, %error, "a passkey cannot be added");
            return Ok(Err(Refused::Wrong));
        }
    };
    if !context.challenges.use_up(ceremony, now_ms) {
        return Ok(Err(Refused::Wrong));
    }
    let made = PasskeyRecord {
        id: format!("{:016x}", rand::rng().random::<u64>()),
        display_name: display_name(&request.display_name),
        added_ms: now_ms,
        ..made
    };
    let doing = Doing {
        method: "RegisterPasskey",
        field: "passkeys",
    };
    for _ in 0..ATTEMPTS_MAX {
        let mut found = match changeable(context, whose).await? {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        };
        let owner = records::passkey_owner(&*context.store, &made.credential_id).await?;
        if found.kept.record.passkeys.len() >= PASSKEYS_MAX || owner.is_some() {
            return Ok(Err(Refused::Unfit));
        }
        let mut after = found.kept.record.clone();
        after.passkeys.push(made.clone());
        let (absent, own) = records::own_passkey(&found.user, &made);
        let more = (vec![absent], vec![own]);
        let written = found.write_change(context, (whose, &doing), &after, more);
        if written.await? {
            return Ok(Ok((found, made.synced)));
        }
    }
    Err(Refusal::Contended)
}

/// Somebody shows a passkey: to sign in with nothing else, or after a password.
pub(in crate::fabric) async fn check_passkey(
    context: &FabricContext,
    _: &AdmittedEdge,
    request: &CheckPasskeyRequest,
) -> Result<CheckPasswordResponse, Refusal> {
    let (ceremony, host) = ceremony(context, request.ceremony.as_ref())?;
    let owner = records::passkey_owner(&*context.store, &ceremony.credential_id).await?;
    let stranger = || "unknown".parse::<UserId>();
    let user = owner.clone().map_or_else(stranger, Ok);
    let user = user.map_err(|_| Refusal::Protocol("the user is no id"))?;
    // Whoever shows nothing before begins now.
    let shown = request.shown.clone().unwrap_or_else(|| Shown {
        user: user.to_string(),
        as_of_ms: i64::MAX,
        ..Shown::default()
    });
    let shown = Shown {
        client: request.client.clone(),
        request_id: request.request_id.clone(),
        ..shown
    };
    let whose = Whose::of(context, Some(&shown))?;
    let begun = match (&request.shown, &owner) {
        (Some(_), _) => begin(context, &whose),
        (None, Some(_)) => begin_anew(context, &whose),
        (None, None) => begin_of(context, STRANGERS, whose.client),
    };
    let attempt = match begun {
        Ok(attempt) => attempt,
        Err(refused) => return Ok(refuse(&whose, refused)),
    };
    if owner.as_ref() != Some(&whose.user) {
        return Ok(refuse(&whose, Refused::Wrong));
    }
    let judged = judge(context, &whose, (ceremony, &host), &request.signature).await;
    match &judged {
        Ok(Ok(_)) => context.lockout.succeeded(&attempt, context.clock.now()),
        Ok(Err(_)) => {}
        Err(_) => context.lockout.abandoned(&attempt),
    }
    Ok(match judged? {
        Ok((found, synced)) => {
            telemetry::second_factor_checks("passkey").increment(1);
            tracing::info!(user = %whose.user, client = %whose.client, request.id = whose.request_id(), "passkey shown");
            found.granted(context, methods_and(&whose.wire.methods, methods(synced)))
        }
        Err(refused) => refuse(&whose, refused),
    })
}

/// The account, and whether the passkey may be on several devices.
async fn judge(
    context: &FabricContext,
    whose: &Whose<'_>,
    (ceremony, host): (&Ceremony, &Hostname),
    signature: &[u8],
) -> Result<Result<(Found, bool), Refused>, Refusal> {
    let now_ms = unix_ms(context.clock.wall());
    let mut is_used_up = false;
    for _ in 0..ATTEMPTS_MAX {
        let found = find(context, &whose.user, whose.wire.as_of_ms).await?;
        let Some(found) = found else {
            return Ok(Err(Refused::Wrong));
        };
        let mut after = found.kept.record.clone();
        let mut passkeys = after.passkeys.iter_mut();
        let kept = passkeys.find(|kept| kept.credential_id == ceremony.credential_id);
        let is_off = policy(context).await? == SecondFactor::Off;
        let Some(kept) = kept.filter(|_| !is_off) else {
            return Ok(Err(Refused::Wrong));
        };
        let used = match passkey::verify(ceremony, signature, kept, host) {
            Ok(used) if context.challenges.is_fresh(ceremony, now_ms) => used,
            Ok(_) => return Ok(Err(Refused::Wrong)),
            Err(error) => {
                tracing::warn!(user = %whose.user, %error, "a passkey does not hold");
                return Ok(Err(Refused::Wrong));
            }
        };
        if !is_used_up && !context.challenges.use_up(ceremony, now_ms) {
            return Ok(Err(Refused::Wrong));
        }
        is_used_up = true;
        (kept.sign_count, kept.synced, kept.used_ms) = (used.sign_count, used.synced, now_ms);
        after.failures = 0;
        if found.write_use(context, &after).await? {
            return Ok(Ok((found, used.synced)));
        }
    }
    Err(Refusal::Contended)
}

/// Takes a passkey away.
pub(in crate::fabric) async fn remove_passkey(
    context: &FabricContext,
    _: &AdmittedEdge,
    request: &RemovePasskeyRequest,
) -> Result<CheckPasswordResponse, Refusal> {
    let whose = Whose::of(context, request.shown.as_ref())?;
    let doing = Doing {
        method: "RemovePasskey",
        field: "passkeys",
    };
    change(context, &whose, &doing, |record| {
        let before = record.passkeys.len();
        record.passkeys.retain(|kept| kept.id != request.id);
        record.passkeys.len() < before
    })
    .await
}

/// What a passkey shows, in the words of RFC 8176: a key that is held, and a user who was there and verified.
fn methods(synced: bool) -> &'static [&'static str] {
    if synced {
        &["swk", "user", MULTIPLE]
    } else {
        &["hwk", "user", MULTIPLE]
    }
}

fn ceremony<'r>(
    context: &FabricContext,
    ceremony: Option<&'r Ceremony>,
) -> Result<(&'r Ceremony, Hostname), Refusal> {
    let ceremony = ceremony.ok_or(Refusal::Protocol("the ceremony is missing"))?;
    let host = Hostname::sign_in(&context.domain);
    Ok((
        ceremony,
        host.ok_or(Refusal::Protocol("the domain has no sign-in host"))?,
    ))
}

/// As users are shown it.
fn display_name(said: &str) -> String {
    let plain: String = said
        .chars()
        .filter(|char| !char.is_control())
        .take(NAME_CHARS_MAX)
        .collect();
    match plain.trim() {
        "" => "Passkey".to_owned(),
        name => name.to_owned(),
    }
}
