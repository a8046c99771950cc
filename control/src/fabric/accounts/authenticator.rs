//! How users set up what they show besides a password, and take it away: by the password, and by what there is besides.

use model::settings::SecondFactor;
use proto::{
    control::{AuthenticatorRecord, SecondFactorsRecord},
    fabric::{
        CheckPasswordResponse, EnrolAuthenticatorRequest, EnrolAuthenticatorResponse,
        RecoveryCodes, RemoveAuthenticatorRequest,
    },
};

use super::{
    AdmittedEdge, Refused,
    second_factors::{
        CODE_CHARS_MAX, Doing, Found, MULTIPLE, ONE_TIME, Whose, begin, find, is_needed, policy,
        refuse,
    },
};
use crate::{
    fabric::{FabricContext, refusal::Refusal},
    second_factors::{recovery, totp},
    store::ATTEMPTS_MAX,
    telemetry,
    time::unix_ms,
};

/// Puts a key into an authenticator app, as the app's code shows.
pub(in crate::fabric) async fn enrol_authenticator(
    context: &FabricContext,
    _: &AdmittedEdge,
    request: &EnrolAuthenticatorRequest,
) -> Result<EnrolAuthenticatorResponse, Refusal> {
    let whose = Whose::of(context, request.shown.as_ref())?;
    if request.key.len() != totp::KEY_BYTES {
        return Err(Refusal::Protocol(
            "the key of an authenticator app has 20 bytes",
        ));
    }
    let attempt = match begin(context, &whose) {
        Ok(attempt) => attempt,
        Err(refused) => return Ok(refused_enrolment(&whose, refused)),
    };
    let enrolled = enrol(context, &whose, request).await;
    match &enrolled {
        Ok(Ok(_)) => context.lockout.succeeded(&attempt, context.clock.now()),
        Ok(Err(_)) => {}
        Err(_) => context.lockout.abandoned(&attempt),
    }
    Ok(match enrolled? {
        Ok((found, codes)) => {
            telemetry::second_factor_checks("enrolled").increment(1);
            tracing::info!(user = %whose.user, client = %whose.client, request.id = whose.request_id(), "authenticator app set up");
            EnrolAuthenticatorResponse {
                outcome: Some(found.granted(context, whose.methods_and(&[ONE_TIME, MULTIPLE]))),
                recovery_codes: Some(RecoveryCodes { codes }),
            }
        }
        Err(refused) => refused_enrolment(&whose, refused),
    })
}

fn refused_enrolment(whose: &Whose<'_>, refused: Refused) -> EnrolAuthenticatorResponse {
    EnrolAuthenticatorResponse {
        outcome: Some(refuse(whose, refused)),
        recovery_codes: None,
    }
}

async fn enrol(
    context: &FabricContext,
    whose: &Whose<'_>,
    request: &EnrolAuthenticatorRequest,
) -> Result<Result<(Found, Vec<String>), Refused>, Refusal> {
    let now = context.clock.wall();
    let code: String = request
        .code
        .chars()
        .filter(|char| !char.is_whitespace())
        .take(CODE_CHARS_MAX)
        .collect();
    let step = totp::step_of(&request.key, &code, now, 0);
    let Some(last_step) = step.filter(|_| totp::is_code(&code)) else {
        return Ok(Err(Refused::Wrong));
    };
    let codes = recovery::generate();
    let tags: Vec<_> = codes
        .iter()
        .map(|code| recovery::kept(&context.second_factor_key, &whose.user, code.expose()))
        .collect();
    let doing = Doing {
        method: "EnrolAuthenticator",
        field: "authenticator",
    };
    for _ in 0..ATTEMPTS_MAX {
        let mut found = match changeable(context, whose).await? {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        };
        let sealed_key = context.second_factor_key.seal(&whose.user, &request.key);
        let after = SecondFactorsRecord {
            authenticator: Some(AuthenticatorRecord {
                sealed_key: sealed_key.into(),
                last_step,
                added_ms: unix_ms(now),
            }),
            recovery_codes: tags.clone(),
            failures: 0,
            passkeys: found.kept.record.passkeys.clone(),
        };
        let written = found.write_change(context, (whose, &doing), &after, Default::default());
        if written.await? {
            let told = codes.into_iter().map(runtime::Secret::into_exposed);
            return Ok(Ok((found, told.collect())));
        }
    }
    Err(Refusal::Contended)
}

/// The account, if its user has shown enough to change what it asks for: the password just now, and what there is besides.
pub(super) async fn changeable(
    context: &FabricContext,
    whose: &Whose<'_>,
) -> Result<Result<Found, Refused>, Refusal> {
    let found = find(context, &whose.user, whose.wire.as_of_ms).await?;
    let policy = policy(context).await?;
    Ok(match found {
        Some(found) if whose.has_typed(context) && policy != SecondFactor::Off => {
            if found.kept.has_any() && !whose.has(MULTIPLE) {
                Err(Refused::SecondFactor)
            } else {
                Ok(found)
            }
        }
        Some(_) | None => Err(Refused::Wrong),
    })
}

/// Takes the authenticator app away, and the recovery codes with it.
pub(in crate::fabric) async fn remove_authenticator(
    context: &FabricContext,
    _: &AdmittedEdge,
    request: &RemoveAuthenticatorRequest,
) -> Result<CheckPasswordResponse, Refusal> {
    let whose = Whose::of(context, request.shown.as_ref())?;
    let doing = Doing {
        method: "RemoveAuthenticator",
        field: "authenticator",
    };
    change(context, &whose, &doing, |record| {
        record.authenticator = None;
        record.recovery_codes.clear();
        record.failures = 0;
        true
    })
    .await
}

/// Takes something of what a user has; `alter` says whether there was anything to take. Nobody is left without what the fabric asks for.
pub(super) async fn change(
    context: &FabricContext,
    whose: &Whose<'_>,
    doing: &Doing,
    alter: impl Fn(&mut SecondFactorsRecord) -> bool,
) -> Result<CheckPasswordResponse, Refusal> {
    let attempt = match begin(context, whose) {
        Ok(attempt) => attempt,
        Err(refused) => return Ok(refuse(whose, refused)),
    };
    let taken = take(context, whose, doing, alter).await;
    match &taken {
        Ok(Ok(_)) => context.lockout.succeeded(&attempt, context.clock.now()),
        Ok(Err(_)) => {}
        Err(_) => context.lockout.abandoned(&attempt),
    }
    Ok(match taken? {
        Ok(found) => {
            telemetry::second_factor_checks("removed").increment(1);
            tracing::info!(user = %whose.user, client = %whose.client, request.id = whose.request_id(), what = doing.field, "second factor removed");
            found.granted(context, whose.wire.methods.clone())
        }
        Err(refused) => refuse(whose, refused),
    })
}

async fn take(
    context: &FabricContext,
    whose: &Whose<'_>,
    doing: &Doing,
    alter: impl Fn(&mut SecondFactorsRecord) -> bool,
) -> Result<Result<Found, Refused>, Refusal> {
    for _ in 0..ATTEMPTS_MAX {
        let mut found = match changeable(context, whose).await? {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        };
        let mut after = found.kept.record.clone();
        let is_altered = alter(&mut after);
        let is_bare = after.authenticator.is_none() && after.passkeys.is_empty();
        if !is_altered || (is_bare && is_needed(context, &found.record).await?) {
            return Ok(Err(Refused::Unfit));
        }
        let written = found.write_change(context, (whose, doing), &after, Default::default());
        if written.await? {
            return Ok(Ok(found));
        }
    }
    Err(Refusal::Contended)
}
