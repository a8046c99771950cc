//! What users see of their own account, and signing out everywhere.

use model::settings::SecondFactor;
use proto::{
    fabric::{
        AccountPasskey, CheckPasswordResponse, EndUserSessionsRequest, ShowAccountRequest,
        ShowAccountResponse,
    },
    time::system_time,
};

use super::{
    AdmittedEdge, Refused,
    second_factors::{Doing, Found, Whose, audit_row, begin, find, is_needed, policy, refuse},
};
use crate::{
    fabric::{FabricContext, refusal::Refusal},
    revocations,
    store::{ATTEMPTS_MAX, Check},
    time::unix_ms,
};

/// Ends every session of a user; one that goes on begins anew with the answer.
pub(in crate::fabric) async fn end_user_sessions(
    context: &FabricContext,
    _: &AdmittedEdge,
    request: &EndUserSessionsRequest,
) -> Result<CheckPasswordResponse, Refusal> {
    let whose = Whose::of(context, request.shown.as_ref())?;
    let attempt = match begin(context, &whose) {
        Ok(attempt) => attempt,
        Err(refused) => return Ok(refuse(&whose, refused)),
    };
    let ended = end_others(context, &whose).await;
    match &ended {
        Ok(Some(_)) => context.lockout.succeeded(&attempt, context.clock.now()),
        Ok(None) => {}
        Err(_) => context.lockout.abandoned(&attempt),
    }
    Ok(match ended? {
        Some(found) => {
            tracing::info!(user = %whose.user, client = %whose.client, request.id = whose.request_id(), "signed out everywhere else");
            found.granted(context, whose.wire.methods.clone())
        }
        None => refuse(&whose, Refused::Wrong),
    })
}

/// The account as of the end; `None` if the session that asks is over.
async fn end_others(context: &FabricContext, whose: &Whose<'_>) -> Result<Option<Found>, Refusal> {
    let doing = Doing {
        method: "EndUserSessions",
        field: "sessions",
    };
    for _ in 0..ATTEMPTS_MAX {
        let Some(mut found) = find(context, &whose.user, whose.wire.as_of_ms).await? else {
            return Ok(None);
        };
        let as_of_ms = unix_ms(context.clock.wall());
        let ended = revocations::end_user_before(&*context.store, &whose.user, as_of_ms);
        let (ended, end) = ended.await?;
        let checks = vec![Check::unchanged(&found.entry), ended];
        let ops = vec![end, audit_row(context, whose, &doing)];
        if context.commit(checks, ops).await? {
            found.as_of_ms = as_of_ms;
            return Ok(Some(found));
        }
    }
    Err(Refusal::Contended)
}

/// What the account's page shows; nothing, if the session that asks is over, or control knows nothing of it.
pub(in crate::fabric) async fn show_account(
    context: &FabricContext,
    _: &AdmittedEdge,
    request: &ShowAccountRequest,
) -> Result<ShowAccountResponse, Refusal> {
    let whose = Whose::of(context, request.shown.as_ref())?;
    if whose.word.is_none() {
        return Ok(ShowAccountResponse::default());
    }
    let policy = policy(context).await?;
    let Some(found) = find(context, &whose.user, whose.wire.as_of_ms).await? else {
        return Ok(ShowAccountResponse::default());
    };
    let password = found
        .record
        .user
        .as_ref()
        .and_then(|user| user.password_time);
    let password = password.and_then(|time| system_time(&time).ok());
    let record = &found.kept.record;
    let passkeys = record.passkeys.iter().map(|passkey| AccountPasskey {
        id: passkey.id.clone(),
        display_name: passkey.display_name.clone(),
        added_ms: passkey.added_ms,
        used_ms: passkey.used_ms,
        synced: passkey.synced,
        credential_id: passkey.credential_id.clone(),
    });
    let handle = context.second_factor_key.user_handle(&whose.user);
    Ok(ShowAccountResponse {
        password_ms: password.map(unix_ms).unwrap_or_default(),
        second_factors: policy != SecondFactor::Off,
        second_factor_required: is_needed(context, &found.record).await?,
        authenticator_ms: record.authenticator.as_ref().map_or(0, |one| one.added_ms),
        recovery_codes: u32::try_from(record.recovery_codes.len()).unwrap_or(u32::MAX),
        passkeys: passkeys.collect(),
        user_handle: handle.to_vec().into(),
    })
}
