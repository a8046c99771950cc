//! Sessions that identity providers are asked about again: control says when and whom, and edges ask.
//!
//! Edges, not control, as they ask providers already: where a publication leads, by its certificates, and to no address that it does not
//! say. Control needs no way to any provider, and opens nothing of what it keeps for this.

use std::time::{Duration, SystemTime};

use model::{
    identity_provider::REFRESH_EVERY,
    name::{EdgeId, IdentityProviderId, UserId},
    user::{SESSION_ID_BYTES, SESSION_LIFE},
};
use prost::Message as _;
use proto::{
    control::IdentityProviderRecord,
    fabric::{
        EndSessionRequest, RefreshOutcome, RefreshResult, RefreshSessionsRequest,
        RefreshSessionsResponse, RefreshableSession, SignInEvent, SignInKind,
    },
    time::{duration, system_time},
};
use rand::Rng as _;

use super::{
    FabricContext, ProvenNode,
    accounts::{self, AdmittedEdge},
    refusal::Refusal,
};
use crate::{
    refreshes::Given,
    revocations::{self, OfProvider},
    telemetry,
    time::unix_ms,
};

/// Sessions that have begun, in one message.
const BEGUN_MAX: usize = 256;
/// Outcomes in one message.
const OUTCOMES_MAX: usize = 64;
/// Sessions that an edge is given at a time.
const GIVEN_MAX: u32 = 16;
/// Longest note that an edge seals: refresh tokens of 8 KiB, and who it is about.
const SEALED_BYTES_MAX: usize = 12 * 1024;
/// How long a session goes on by the last good answer of a provider that gives none now: a morning's outage of it signs nobody out, who
/// then could not sign in again.
const UNANSWERED_MAX: Duration = Duration::from_secs(4 * 3_600);
/// After the first time that a provider does not answer; then twice that, and so on.
const RETRY_FIRST: Duration = Duration::from_secs(60);
/// Longest time between two attempts.
const RETRY_MAX: Duration = Duration::from_secs(15 * 60);

/// How a provider is asked.
struct Asked {
    every: Duration,
    /// Sessions that began before are over. Unix milliseconds.
    since_ms: i64,
}

/// Takes what an edge says, and gives it what is due.
pub(super) async fn exchange(
    context: &FabricContext,
    edge: &AdmittedEdge,
    node: &ProvenNode,
    request: RefreshSessionsRequest,
) -> Result<RefreshSessionsResponse, Refusal> {
    if request.begun.len() > BEGUN_MAX || request.outcomes.len() > OUTCOMES_MAX {
        return Err(Refusal::Protocol(
            "a message has at most 256 sessions and 64 outcomes",
        ));
    }
    let id = node.name.id().parse();
    let id: EdgeId = id.map_err(|_| Refusal::Protocol("the edge's id is none"))?;
    keep(context, request.begun).await?;
    for outcome in &request.outcomes {
        settle(context, (edge, &id), outcome).await?;
    }
    let due = due(context, (edge, &id), request.wanted.min(GIVEN_MAX)).await?;
    Ok(RefreshSessionsResponse { due })
}

async fn keep(context: &FabricContext, begun: Vec<RefreshableSession>) -> Result<(), Refusal> {
    let mut kept = Vec::new();
    for session in begun {
        let names = [&session.provider_sid_sha256, &session.provider_sub_sha256];
        if session.session.len() != SESSION_ID_BYTES
            || session.sealed.len() > SEALED_BYTES_MAX
            || session.user.parse::<UserId>().is_err()
            || names.iter().any(|name| !matches!(name.len(), 0 | 32))
        {
            return Err(Refusal::Protocol("a session to refresh is none"));
        }
        // Where the operator has turned it off meanwhile, it goes on as one without.
        if let Some(asked) = asked(context, &session.provider).await? {
            kept.push((session, soon(asked.every)));
        }
    }
    if kept.is_empty() {
        return Ok(());
    }
    let left_out = context.refreshes.keep(kept, context.clock.wall()).await?;
    if left_out > 0 {
        tracing::warn!(
            left_out,
            "there are so many sessions to refresh that these go on unasked"
        );
    }
    Ok(())
}

/// What came too late, of a session that another edge was given since, is passed over.
async fn settle(
    context: &FabricContext,
    edge: (&AdmittedEdge, &EdgeId),
    outcome: &RefreshOutcome,
) -> Result<(), Refusal> {
    if outcome.sealed.len() > SEALED_BYTES_MAX {
        return Err(Refusal::Protocol("a session to refresh is none"));
    }
    let (refreshes, now) = (&context.refreshes, context.clock.wall());
    let (session, turn) = (&outcome.session, outcome.turn);
    let Some(given) = refreshes.given(session, turn).await? else {
        return Ok(());
    };
    let Some(asked) = asked(context, &given.session.provider).await? else {
        return Ok(refreshes.forget(session).await?);
    };
    match outcome.result() {
        RefreshResult::Renewed => {
            let next = (&*outcome.sealed, soon(asked.every));
            Ok(refreshes.renewed(session, turn, next, now).await?)
        }
        RefreshResult::Refused => end(context, edge, &given, "refresh_refused").await,
        RefreshResult::Changed => end(context, edge, &given, "refresh_changed").await,
        RefreshResult::Unanswered | RefreshResult::Unspecified => {
            if has_waited(&given, now) {
                return end(context, edge, &given, "refresh_unanswered").await;
            }
            let wait = soon(retry(given.failures, asked.every));
            let next = (&*outcome.sealed, wait);
            Ok(refreshes.unanswered(session, turn, next, now).await?)
        }
    }
}

/// Ends a session at all edges, and says so where operators look.
async fn end(
    context: &FabricContext,
    (edge, id): (&AdmittedEdge, &EdgeId),
    given: &Given,
    reason: &'static str,
) -> Result<(), Refusal> {
    let session = &given.session;
    let ended = EndSessionRequest {
        session: session.session.clone(),
        user: session.user.clone(),
        ..EndSessionRequest::default()
    };
    accounts::end_session(context, edge, &ended).await?;
    context.refreshes.forget(&session.session).await?;
    telemetry::refresh_ends(reason).increment(1);
    tracing::info!(
        user = session.user,
        provider = session.provider,
        reason,
        "a session ends, as its identity provider was asked about it"
    );
    let now = context.clock.wall();
    let event = SignInEvent {
        id: rand::random::<[u8; 16]>().to_vec().into(),
        at_ms: unix_ms(now),
        kind: SignInKind::SignedOut.into(),
        user: session.user.clone(),
        reason: reason.to_owned(),
        provider: session.provider.clone(),
        ..SignInEvent::default()
    };
    Ok(context.sign_ins.append(id, vec![event], now).await?)
}

/// What is due, without what is over by now.
async fn due(
    context: &FabricContext,
    edge: (&AdmittedEdge, &EdgeId),
    wanted: u32,
) -> Result<Vec<RefreshableSession>, Refusal> {
    let most = usize::try_from(wanted).unwrap_or(0);
    if most == 0 {
        return Ok(Vec::new());
    }
    let mut due = Vec::new();
    let now = context.clock.wall();
    for given in context.refreshes.take(most, now).await? {
        if !goes_on(context, &given.session).await? {
            context.refreshes.forget(&given.session.session).await?;
        } else if (given.is_unreported || given.failures > 0) && has_waited(&given, now) {
            // Edges that ask and never report would keep it for its whole life.
            end(context, edge, &given, "refresh_unanswered").await?;
        } else {
            due.push(given.session);
        }
    }
    Ok(due)
}

/// Whether the last good answer is so old that a session does not go on by it.
fn has_waited(given: &Given, now: SystemTime) -> bool {
    let waited = unix_ms(now).saturating_sub(given.answered_ms);
    u128::try_from(waited).unwrap_or(0) >= UNANSWERED_MAX.as_millis()
}

async fn goes_on(context: &FabricContext, session: &RefreshableSession) -> Result<bool, Refusal> {
    let age_ms = unix_ms(context.clock.wall()).saturating_sub(session.began_ms);
    let is_past = u128::try_from(age_ms).unwrap_or(0) >= SESSION_LIFE.as_millis();
    let asked = asked(context, &session.provider).await?;
    if is_past || asked.is_none_or(|asked| session.began_ms < asked.since_ms) {
        return Ok(false);
    }
    let (Ok(id), Ok(user)) = (session.session.as_ref().try_into(), session.user.parse()) else {
        return Ok(false);
    };
    let whose = OfProvider {
        session: id,
        user: &user,
        provider: &session.provider,
        names: [&session.provider_sid_sha256, &session.provider_sub_sha256],
        began_ms: session.began_ms,
    };
    Ok(!revocations::hold(&*context.store, &whose).await?)
}

/// How a provider is asked; `None`: not at all, as it is gone, disabled, or its publication does not say so.
async fn asked(context: &FabricContext, provider: &str) -> Result<Option<Asked>, Refusal> {
    let id = provider.parse::<IdentityProviderId>();
    let id = id.map_err(|_| Refusal::Protocol("the id of an identity provider"))?;
    let Some(entry) = context.store.get(&id.resource_name()).await? else {
        return Ok(None);
    };
    let record = IdentityProviderRecord::decode(entry.value);
    let provider = record.ok().and_then(|record| record.identity_provider);
    let provider = provider.filter(|provider| !provider.disabled);
    let every = provider.as_ref().and_then(|one| one.refresh_every.as_ref());
    let every = every.and_then(|every| duration(every).ok());
    let since = provider
        .as_ref()
        .and_then(|one| one.sessions_since.as_ref());
    let since = since.and_then(|since| system_time(since).ok());
    Ok(every.map(|every| Asked {
        every: every.clamp(REFRESH_EVERY.0, REFRESH_EVERY.1),
        // By whole seconds, as edges have it.
        since_ms: since.map_or(0, unix_ms) / 1_000 * 1_000,
    }))
}

fn retry(failures: u32, every: Duration) -> Duration {
    let doubled = RETRY_FIRST.saturating_mul(2_u32.saturating_pow(failures));
    doubled.min(RETRY_MAX).min(every)
}

/// About so long: who signed in together is not asked about together.
fn soon(span: Duration) -> Duration {
    span.mul_f64(rand::rng().random_range(0.9..1.1))
}
