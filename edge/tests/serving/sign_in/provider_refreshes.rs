//! Whether a provider still stands by a user who has signed in: what it is asked, and what control hears of it.

use std::sync::Mutex;

use prost_types::Duration as WireDuration;
use proto::{
    admin,
    fabric::{
        RefreshOutcome, RefreshResult, RefreshSessionsRequest, RefreshSessionsResponse,
        RefreshableSession,
    },
};
use serde_json::{Value, json};

use super::{
    providers::{start, wiki},
    *,
};
use crate::provider::Provider;

/// Control, as far as sessions to refresh go: gives back what the test puts there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Control(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    begun: Vec<RefreshableSession>,
    due: Vec<RefreshableSession>,
    outcomes: Vec<RefreshOutcome>,
    /// How many came at a time.
    reports: Vec<usize>,
}

impl Control {
    pub(super) fn answer(&self, request: RefreshSessionsRequest) -> RefreshSessionsResponse {
        let mut state = self.0.lock().unwrap();
        state.begun.extend(request.begun);
        if !request.outcomes.is_empty() {
            state.reports.push(request.outcomes.len());
        }
        state.outcomes.extend(request.outcomes);
        let due = match request.wanted {
            0 => Vec::new(),
            _ => std::mem::take(&mut state.due),
        };
        RefreshSessionsResponse { due }
    }

    /// Waits for it.
    async fn eventually<T>(&self, what: &str, look: impl Fn(&mut State) -> Option<T>) -> T {
        for _ in 0..2_000 {
            if let Some(found) = look(&mut self.0.lock().unwrap()) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("did not happen: {what}");
    }

    async fn begun(&self) -> RefreshableSession {
        self.eventually("a session begins", |state| state.begun.pop())
            .await
    }
}

/// Asks the provider about a session, by a sign-in that wakes the edge; what comes of it.
async fn ask(
    (fabric, provider, control): (&Fabric, &Provider, &Control),
    session: &RefreshableSession,
) -> RefreshOutcome {
    let due = RefreshableSession {
        turn: 9,
        ..session.clone()
    };
    control.0.lock().unwrap().due.push(due);
    provider.say(Value::Null);
    let mut browser = Browser::default();
    browser.sign_in_by(fabric, provider, &wiki("/x")).await;
    let outcome = control.eventually("an outcome", |state| state.outcomes.pop());
    let outcome = outcome.await;
    assert_eq!((&outcome.session, outcome.turn), (&session.session, 9));
    control.begun().await;
    outcome
}

fn publish(fabric: &mut Fabric, provider: &Provider, every: Option<i64>) {
    let mut published = provider.published();
    let said: &mut admin::IdentityProvider = published.published.as_mut().unwrap();
    said.refresh_every = every.map(|seconds| WireDuration { seconds, nanos: 0 });
    fabric.set("identityProviders/entra", Kind::IdentityProvider(published));
    fabric.publish(4);
}

#[tokio::test]
async fn a_provider_is_asked_by_a_token_that_control_keeps_sealed() {
    let (mut fabric, provider, _ends) = start().await;
    let control = fabric.refreshes.clone();
    // Where the operator does not want it, nothing is kept.
    let mut browser = Browser::default();
    browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
    publish(&mut fabric, &provider, Some(600));
    let mut browser = Browser::default();
    let reply = browser.sign_in_by(&fabric, &provider, &wiki("/y")).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    let session = control.begun().await;
    assert_eq!(control.0.lock().unwrap().begun, []);
    assert_eq!(
        (&*session.provider, &*session.user),
        ("entra", "alice@example.com")
    );
    let first = provider.refresh_token();
    let sealed = session.sealed.clone();
    assert!(
        !sealed
            .windows(first.len())
            .any(|part| part == first.as_bytes())
    );
    // Each time with the token that it gave last.
    let mut session = session;
    for _ in 0..2 {
        let outcome = ask((&fabric, &provider, &control), &session).await;
        assert_eq!(outcome.result(), RefreshResult::Renewed);
        assert_ne!(outcome.sealed, session.sealed);
        session.sealed = outcome.sealed;
    }
    // It is good for its own session alone.
    let other = RefreshableSession {
        session: vec![3; 16].into(),
        ..session.clone()
    };
    let outcome = ask((&fabric, &provider, &control), &other).await;
    assert_eq!(outcome.result(), RefreshResult::Unanswered);
}

#[tokio::test]
async fn what_is_asked_is_reported_a_few_at_a_time() {
    let (mut fabric, provider, _ends) = start().await;
    let control = fabric.refreshes.clone();
    publish(&mut fabric, &provider, Some(600));
    let mut browser = Browser::default();
    browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
    let session = control.begun().await;
    let due = |id: u8| RefreshableSession {
        session: vec![id; 16].into(),
        turn: 1,
        ..session.clone()
    };
    control.0.lock().unwrap().due = (0..10).map(due).collect();
    // A sign-in wakes the edge.
    let mut browser = Browser::default();
    browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
    let all = |state: &mut State| (state.outcomes.len() == 10).then(|| state.reports.clone());
    let reports = control.eventually("all are asked about", all).await;
    assert_eq!(reports, [4, 4, 2]);
}

#[tokio::test]
async fn what_a_provider_says_of_a_user_later_is_held_against_the_session() {
    let (mut fabric, provider, _ends) = start().await;
    let control = fabric.refreshes.clone();
    publish(&mut fabric, &provider, Some(600));
    for (said, want) in [
        (json!({}), RefreshResult::Renewed),
        (
            json!({"name": "Alice Brown", "auth_time": 7, "nonce": null}),
            RefreshResult::Renewed,
        ),
        (json!({"id_token": false}), RefreshResult::Renewed),
        (json!({"groups": ["staff", "ops"]}), RefreshResult::Changed),
        (json!({"groups": []}), RefreshResult::Changed),
        (
            json!({"_claim_names": {"groups": "src1"}}),
            RefreshResult::Changed,
        ),
        (
            json!({"email": "mallory@example.com"}),
            RefreshResult::Changed,
        ),
        (
            json!({"preferred_username": "bob@example.com"}),
            RefreshResult::Changed,
        ),
        (
            json!({"preferred_username": "bob@evil.example"}),
            RefreshResult::Changed,
        ),
        (json!({"sub": "8"}), RefreshResult::Changed),
        (json!({"nonce": "another"}), RefreshResult::Changed),
        (json!({"aud": "another"}), RefreshResult::Unanswered),
        (json!({"exp": 1}), RefreshResult::Unanswered),
        // Not to be kept, and told to nobody.
        (
            json!({"refresh_token": "x".repeat(9_000)}),
            RefreshResult::Unanswered,
        ),
        (json!({"error": "invalid_grant"}), RefreshResult::Refused),
        (
            json!({"error": "interaction_required"}),
            RefreshResult::Refused,
        ),
        // The fabric's fault, and not the user's.
        (
            json!({"error": "invalid_client"}),
            RefreshResult::Unanswered,
        ),
    ] {
        let mut browser = Browser::default();
        browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
        let session = control.begun().await;
        provider.say_later(said.clone());
        let outcome = ask((&fabric, &provider, &control), &session).await;
        assert_eq!(outcome.result(), want, "{said}");
        // A token that was given is not lost, whatever else it came with.
        let is_given = said.get("error").is_none() && said.get("refresh_token").is_none();
        assert_eq!(!outcome.sealed.is_empty(), is_given, "{said}");
    }
}

#[tokio::test]
async fn a_session_waits_for_control_and_a_provider_that_is_away_ends_nothing() {
    let (mut fabric, provider, _ends) = start().await;
    let control = fabric.refreshes.clone();
    publish(&mut fabric, &provider, Some(600));
    let mut browser = Browser::default();
    browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
    let session = control.begun().await;
    let due = RefreshableSession {
        turn: 1,
        ..session.clone()
    };
    browser = Browser::default();
    let asked = browser.go_to(&fabric, &provider, &wiki("/x")).await;
    browser.bring_back(&fabric, &provider, &asked).await;
    provider.break_down(&["/token"]);
    control.0.lock().unwrap().due.push(due);
    // The next look at what is due is up to ten seconds away.
    let outcome = control.eventually("an outcome", |state| state.outcomes.pop());
    let outcome = outcome.await;
    assert_eq!(outcome.result(), RefreshResult::Unanswered);
    assert!(outcome.sealed.is_empty());
}
