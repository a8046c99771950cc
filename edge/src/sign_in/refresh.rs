//! Asking identity providers again about users who have signed in, where they gave a refresh token for it.
//!
//! The token goes to control, sealed for its session by keys that edges share, and comes back to one edge when its time has come: providers take
//! one once. A session that its provider does not stand by any more ends at all edges, as one that a user ends. So does one whose user is in
//! other groups by now, or has other claims: what browsers keep of a session is not to be changed from afar, and the next one, which
//! begins without a question where the user is still signed in at the provider, says it right.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::future::join_all;
use model::{identity_provider::IdentityProvider, user::User};
use prost::Message as _;
use proto::{
    edge::RefreshNote,
    fabric::{RefreshOutcome, RefreshResult, RefreshSessionsRequest, RefreshableSession},
};
use runtime::{Scope, Secret};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{host::with_provider::chain, reports::RETRY, session::Session};
use crate::{
    digest, metrics,
    providers::{
        self, Begun, Client, ClientError, Expected, IdentityError, IssuerError, Refreshed,
    },
    sealing::Purpose,
    serving::Shared,
    view::View,
};

/// What is sealed, for a session.
const KIND: &str = "refresh";
/// Sessions that wait for control, at most 12 MB; those beyond go on unasked until their life is over.
const WAITING_MAX: usize = 1_024;
/// Sessions that control is told of at a time.
const BEGUN_MAX: usize = 64;
/// Sessions that are asked for at a time.
const WANTED: u32 = 16;
/// Providers are asked about so many users at a time: people who sign in meanwhile wait for the same places.
const ASKING_MAX: usize = 4;
/// Of what is given at once, nothing is begun after that time: well before control gives it to another edge.
const BEGIN_WITHIN: Duration = Duration::from_secs(60);
/// An edge that leaves waits so long for what it is asking: most answers come within a second, and each has 5 s.
pub(crate) const FINISH_WAIT: Duration = Duration::from_secs(10);
/// Between two looks at what is due.
const PAUSE: Duration = Duration::from_secs(10);
/// Longest refresh token: Entra ID's have 2 KiB.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Sessions that control is to be told of.
#[derive(Debug, Default)]
pub(crate) struct Refreshes {
    waiting: Mutex<VecDeque<RefreshableSession>>,
    added: Notify,
}

/// Why it is not known that a provider stands by a user.
#[derive(Debug, thiserror::Error)]
enum Doubt {
    /// The provider is published no more, or cannot be used.
    #[error("the provider is not there")]
    Gone,
    /// Nobody opens what is shown to it.
    #[error("what the provider is to be shown cannot be opened")]
    Sealed,
    /// What the provider gave for the next time is not to be kept.
    #[error("the next refresh token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// The provider does not answer, or does not stand by the user.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Its answer does not hold.
    #[error(transparent)]
    Token(#[from] IssuerError),
    /// It is of somebody whom the session is not of.
    #[error("looking at the provider's token")]
    Identity(#[from] IdentityError),
    /// The user is in other groups, or has other claims.
    #[error("the provider says other groups or claims of the user than before")]
    Changed,
}

impl Doubt {
    fn result(&self) -> RefreshResult {
        match self {
            Self::Client(ClientError::Spent(_)) => RefreshResult::Refused,
            Self::Client(ClientError::OtherUser) | Self::Identity(_) | Self::Changed => {
                RefreshResult::Changed
            }
            Self::Gone | Self::Sealed | Self::TooLong | Self::Client(_) | Self::Token(_) => {
                RefreshResult::Unanswered
            }
        }
    }
}

/// What a provider is to be shown for a session, if there is anything and the operator wants it.
pub(super) fn note(
    provider: &IdentityProvider,
    token: Option<Secret<String>>,
    begun: Begun<'_>,
    user: &User,
) -> Option<RefreshNote> {
    provider.refresh_every?;
    let token = token?;
    if token.expose().len() > TOKEN_BYTES_MAX {
        tracing::warn!(provider = %provider.id, bytes = token.expose().len(), "a refresh token is too long: the session goes on unasked");
        return None;
    }
    Some(RefreshNote {
        refresh_token: token.into_exposed(),
        subject: begun.subject.to_owned(),
        nonce: begun.nonce.to_owned(),
        said_sha256: said_sha256(user),
    })
}

impl Refreshes {
    /// Has a session asked about for as long as it goes on.
    pub(super) fn begin(&self, view: &View, session: &Session, note: &RefreshNote) {
        let authentication = &session.user.authentication;
        let (Some(provider), Some(at)) = (&authentication.provider, &session.at_provider) else {
            return;
        };
        let Some(sealed) = seal(view, &session.id, note) else {
            return;
        };
        let name = at.session.as_ref();
        let refreshable = RefreshableSession {
            session: Bytes::copy_from_slice(&session.id),
            provider: provider.to_string(),
            user: session.user.id.to_string(),
            began_ms: session.began_ms,
            provider_sid_sha256: name.map_or_else(Bytes::new, |name| Bytes::copy_from_slice(name)),
            provider_sub_sha256: Bytes::copy_from_slice(&at.user),
            sealed,
            turn: 0,
        };
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING_MAX {
            tracing::warn!(user = %session.user.id, "so many sessions wait for control that this one goes on unasked");
            return;
        }
        waiting.push_back(refreshable);
        drop(waiting);
        self.added.notify_one();
    }

    /// The oldest that wait, without taking them away.
    fn oldest(&self) -> Vec<RefreshableSession> {
        self.waiting().iter().take(BEGUN_MAX).cloned().collect()
    }

    /// Control has the oldest `count`.
    fn done(&self, count: usize) {
        let mut waiting = self.waiting();
        let count = count.min(waiting.len());
        waiting.drain(..count);
    }

    /// Until there is more to tell, or to ask for.
    async fn rest(&self) {
        let _ = timeout(PAUSE, self.added.notified()).await;
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<RefreshableSession>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells control of sessions, and asks about those that it gives, until `own` is cancelled. What is being asked then is finished and reported, as
/// a provider takes a token once.
pub(crate) fn start(edge: &Arc<Shared>, own: Scope) {
    let (edge, scope) = (Arc::clone(edge), own.clone());
    scope.spawn_standing("refreshes", async move {
        loop {
            // Biased: what control gives is not taken by an edge that leaves.
            let (view, due) = tokio::select! {
                biased;
                () = own.cancelled() => return,
                given = next(&edge) => given,
            };
            tokio::select! {
                () = ask_all(&edge, &view, &due, &own) => {}
                () = out_of_time(&own) => return,
            }
        }
    });
}

async fn out_of_time(own: &Scope) {
    own.cancelled().await;
    sleep(FINISH_WAIT).await;
}

/// Tells control of sessions that have begun, until it gives some that are due.
async fn next(edge: &Shared) -> (Arc<View>, Vec<RefreshableSession>) {
    loop {
        let view = edge.views.current();
        let view = view.filter(|view| view.providers().usable().any(|one| is_asked(&one.settings)));
        let begun = edge.accounts.refreshes().oldest();
        if begun.is_empty() && view.is_none() {
            edge.accounts.refreshes().rest().await;
            continue;
        }
        let count = begun.len();
        let request = RefreshSessionsRequest {
            begun,
            outcomes: Vec::new(),
            wanted: view.as_ref().map_or(0, |_| WANTED),
        };
        match edge.accounts.refresh(request).await {
            Ok(answer) => {
                edge.accounts.refreshes().done(count);
                match view {
                    Some(view) if !answer.due.is_empty() => return (view, answer.due),
                    Some(_) | None => edge.accounts.refreshes().rest().await,
                }
            }
            Err(_) => sleep(RETRY).await,
        }
    }
}

fn is_asked(provider: &IdentityProvider) -> bool {
    provider.refresh_every.is_some()
}

/// A few at a time, each few reported before the next. Those that are not begun in time are given to somebody again when control does not
/// hear of them.
async fn ask_all(edge: &Shared, view: &View, due: &[RefreshableSession], own: &Scope) {
    let clock = edge.epoch.clock();
    let until = clock.now() + BEGIN_WITHIN;
    for some in due.chunks(ASKING_MAX) {
        if own.is_cancelled() || clock.now() >= until {
            return;
        }
        let asking = some
            .iter()
            .map(|session| Box::pin(ask(edge, view, session)));
        report(edge, join_all(asking).await, own).await;
    }
}

/// Until control has it; once, if the edge leaves.
async fn report(edge: &Shared, outcomes: Vec<RefreshOutcome>, own: &Scope) {
    loop {
        let request = RefreshSessionsRequest {
            outcomes: outcomes.clone(),
            ..RefreshSessionsRequest::default()
        };
        if edge.accounts.refresh(request).await.is_ok() || own.is_cancelled() {
            return;
        }
        sleep(RETRY).await;
    }
}

async fn ask(edge: &Shared, view: &View, due: &RefreshableSession) -> RefreshOutcome {
    // What the provider gave for the token goes to control whatever else comes of it: the old one is none any more.
    let mut sealed = Bytes::new();
    let result = match look(edge, view, due, &mut sealed).await {
        Ok(()) => RefreshResult::Renewed,
        Err(doubt) => {
            let cause = chain(&doubt);
            tracing::warn!(
                user = due.user,
                provider = due.provider,
                cause,
                "an identity provider that was asked again does not stand by a user"
            );
            doubt.result()
        }
    };
    metrics::refreshes(&due.provider, word(result)).increment(1);
    RefreshOutcome {
        session: due.session.clone(),
        turn: due.turn,
        result: result.into(),
        sealed,
    }
}

/// The word of the metric.
fn word(result: RefreshResult) -> &'static str {
    match result {
        RefreshResult::Renewed => "renewed",
        RefreshResult::Refused => "refused",
        RefreshResult::Changed => "changed",
        RefreshResult::Unanswered | RefreshResult::Unspecified => "unanswered",
    }
}

async fn look(
    edge: &Shared,
    view: &View,
    due: &RefreshableSession,
    next: &mut Bytes,
) -> Result<(), Doubt> {
    let id = due.provider.parse().map_err(|_| Doubt::Gone)?;
    let published = view.providers().get(&id).ok_or(Doubt::Gone)?;
    let client = edge.clients.of(published)?;
    let note = open(view, due).ok_or(Doubt::Sealed)?;
    let token = Secret::new(note.refresh_token.clone());
    let refreshed = client.refresh(&token).await?;
    let token = refreshed.refresh.as_ref().unwrap_or(&token);
    if token.expose().len() > TOKEN_BYTES_MAX {
        return Err(Doubt::TooLong);
    }
    let shown = RefreshNote {
        refresh_token: token.expose().clone(),
        ..note.clone()
    };
    *next = seal(view, &due.session, &shown).ok_or(Doubt::Sealed)?;
    match &refreshed.identity {
        Some(identity) => compare(&client, &refreshed, identity, &note).await,
        // It says no more than that the user may go on.
        None => Ok(()),
    }
}

/// Whether the session still says of the user what the provider does.
async fn compare(
    client: &Client,
    refreshed: &Refreshed,
    identity: &str,
    note: &RefreshNote,
) -> Result<(), Doubt> {
    let settings = client.settings();
    let expected = Expected {
        audiences: &[&settings.client_id],
        types: &["JWT"],
        may_be_untyped: true,
    };
    let claims = client.issuer().verify(identity, &expected).await?;
    let begun = Begun {
        subject: &note.subject,
        nonce: &note.nonce,
    };
    let access = refreshed.access.as_ref();
    let text = access.map(|token| token.expose().as_str());
    let mut proven = providers::prove_again(settings, claims, begun, text)?;
    if let Some(access) = access {
        client.complete(&mut proven, access).await?;
    }
    let user = proven.user(settings)?;
    if said_sha256(&user) == note.said_sha256 {
        Ok(())
    } else {
        Err(Doubt::Changed)
    }
}

/// What a session says of its user that rules and origins go by; not how people call them.
fn said_sha256(user: &User) -> Bytes {
    let mut groups: Vec<_> = user.groups.iter().map(|group| group.as_str()).collect();
    groups.sort_unstable();
    let mut said = digest::Texts::new();
    said.add(user.id.as_str());
    said.add(&user.email);
    said.add_all(groups.into_iter());
    for claim in &user.claims {
        said.add(&claim.name);
        said.add_all(claim.values.iter().map(String::as_str));
    }
    Bytes::copy_from_slice(&said.finish())
}

fn seal(view: &View, session: &[u8], note: &RefreshNote) -> Option<Bytes> {
    let place = BASE64_URL_SAFE_NO_PAD.encode(session);
    let purpose = Purpose {
        kind: KIND,
        place: &place,
    };
    let sealed = view.session_keys().seal(purpose, &note.encode_to_vec())?;
    Some(sealed.into())
}

fn open(view: &View, due: &RefreshableSession) -> Option<RefreshNote> {
    let place = BASE64_URL_SAFE_NO_PAD.encode(&due.session);
    let purpose = Purpose {
        kind: KIND,
        place: &place,
    };
    let plain = view.session_keys().open(purpose, &due.sealed)?;
    RefreshNote::decode(&*plain).ok()
}

#[cfg(test)]
mod tests {
    use model::user::Claim;

    use super::*;

    #[test]
    fn what_rules_and_origins_go_by_is_compared_and_nothing_else() {
        let user = |change: fn(&mut User)| {
            let mut user = User {
                email: "alice@example.com".to_owned(),
                groups: vec!["ops".parse().unwrap(), "staff".parse().unwrap()],
                claims: vec![Claim {
                    name: "level".to_owned(),
                    values: vec!["1".to_owned()],
                }],
                ..User::new("alice@entra".parse().unwrap())
            };
            change(&mut user);
            said_sha256(&user)
        };
        let same: [fn(&mut User); 2] = [
            |user| user.groups.reverse(),
            |user| {
                user.display_name = "Alice".to_owned();
                user.authentication.at_ms = 7;
            },
        ];
        for change in same {
            assert_eq!(user(change), user(|_| {}));
        }
        let other: [fn(&mut User); 6] = [
            |user| user.id = "bob@entra".parse().unwrap(),
            |user| user.email.clear(),
            |user| drop(user.groups.pop()),
            |user| user.groups[0] = "staf".parse().unwrap(),
            |user| user.claims[0].values[0] = "2".to_owned(),
            |user| user.claims.clear(),
        ];
        for change in other {
            assert_ne!(user(change), user(|_| {}));
        }
    }
}
