//! Terms of use against a real store: who is asked, and what is written.

use model::name::TermsId;
use proto::{
    admin::Terms,
    control::TermsAcceptanceRecord,
    fabric::{AcceptTermsRequest, ShowTermsRequest, ShowTermsResponse, TermsUser},
    time::wire_duration,
};

use super::*;
use crate::{
    fabric::terms::{accept, show},
    terms::{acceptance_prefix, version_of},
};

const DAY: Duration = Duration::from_secs(86_400);

fn who(user: &str, provider: &str) -> Option<TermsUser> {
    Some(TermsUser {
        user: user.to_owned(),
        provider: provider.to_owned(),
    })
}

impl Bench {
    /// Terms that count for a day, and a user who is as old as the bench.
    async fn with_terms(text: &str) -> Self {
        let bench = Self::new().await;
        bench.text(text).await;
        bench.account("alice").await;
        bench
    }

    async fn text(&self, text: &str) {
        let terms = Terms {
            title: "Acceptable use".to_owned(),
            text: text.to_owned(),
            again_after: Some(wire_duration(DAY)),
            version: version_of(text).to_string(),
            ..Terms::default()
        };
        self.put("terms/aup", terms.encode_to_vec()).await;
    }

    async fn account(&self, id: &str) {
        let user = User {
            create_time: Some(wire_timestamp(self.context.clock.wall())),
            ..User::default()
        };
        self.user(id, user, "").await;
    }

    async fn show_terms(&self, user: Option<TermsUser>) -> ShowTermsResponse {
        let request = ShowTermsRequest {
            user,
            terms: "aup".to_owned(),
        };
        let shown = show(&self.context, &self.admitted().await, &request).await;
        shown.unwrap()
    }

    async fn accept_terms(&self, user: Option<TermsUser>, text: &str) -> i64 {
        let request = AcceptTermsRequest {
            user,
            terms: "aup".to_owned(),
            version: version_of(text).0.to_vec().into(),
            client: "192.0.2.1".to_owned(),
            request_id: "r-1".to_owned(),
        };
        let accepted = accept(&self.context, &self.admitted().await, &request).await;
        accepted.unwrap()
    }

    async fn records(&self) -> Vec<TermsAcceptanceRecord> {
        let id: TermsId = "aup".parse().unwrap();
        let prefix = acceptance_prefix(Some(&id));
        let kept = self.context.store.range(&prefix, None, 10).await.unwrap();
        let kept = kept.entries.into_iter();
        kept.map(|entry| TermsAcceptanceRecord::decode(entry.value).unwrap())
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_accepted_is_written_once_and_known_from_then_on() {
    let bench = Bench::with_terms("Be kind.").await;
    let alice = || who("alice", "");
    let shown = bench.show_terms(alice()).await;
    assert_eq!((&*shown.text, shown.accepted_ms), ("Be kind.", 0));
    assert_eq!(shown.version, version_of("Be kind.").0.to_vec());
    let at_ms = bench.accept_terms(alice(), "Be kind.").await;
    assert!(at_ms > 0);
    assert_eq!(bench.show_terms(alice()).await.accepted_ms, at_ms);
    let revision = bench.context.store.revision().await.unwrap();
    bench.context.clock.move_wall(Duration::from_secs(5));
    assert_eq!(bench.accept_terms(alice(), "Be kind.").await, at_ms);
    assert_eq!(bench.context.store.revision().await.unwrap(), revision);
    let records = bench.records().await;
    assert_eq!(records.len(), 1);
    let TermsAcceptanceRecord {
        user,
        provider,
        client,
        request_id,
        accepted_ms,
        ..
    } = &records[0];
    assert_eq!(
        [user, provider, client, request_id],
        ["alice", "", "192.0.2.1", "r-1"]
    );
    assert_eq!(*accepted_ms, at_ms);
}

#[tokio::test(start_paused = true)]
async fn another_text_and_too_old_an_acceptance_are_asked_for_again() {
    let bench = Bench::with_terms("Be kind.").await;
    let alice = || who("alice", "");
    let first = bench.accept_terms(alice(), "Be kind.").await;
    bench.context.clock.move_wall(DAY + Duration::from_secs(1));
    assert_eq!(bench.show_terms(alice()).await.accepted_ms, 0);
    let second = bench.accept_terms(alice(), "Be kind.").await;
    assert!(second > first);
    bench.text("Be very kind.").await;
    assert_eq!(bench.show_terms(alice()).await.accepted_ms, 0);
    assert_eq!(
        bench.accept_terms(alice(), "Be kind.").await,
        0,
        "it was read before"
    );
    assert!(bench.accept_terms(alice(), "Be very kind.").await > 0);
    // What was accepted before stays known.
    assert_eq!(bench.records().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_has_accepted_anything_for_somebody_else_of_the_same_name() {
    let bench = Bench::with_terms("Be kind.").await;
    assert!(bench.accept_terms(who("alice", ""), "Be kind.").await > 0);
    assert_eq!(bench.show_terms(who("alice", "entra")).await.accepted_ms, 0);
    assert!(bench.accept_terms(who("alice", "entra"), "Be kind.").await > 0);
    assert!(bench.show_terms(who("alice", "entra")).await.accepted_ms > 0);
    // The account is made anew, under the same name.
    bench.context.clock.move_wall(Duration::from_secs(60));
    bench.account("alice").await;
    assert_eq!(bench.show_terms(who("alice", "")).await.accepted_ms, 0);
    assert!(bench.accept_terms(who("alice", ""), "Be kind.").await > 0);
    assert!(bench.show_terms(who("alice", "")).await.accepted_ms > 0);
    assert_eq!(bench.records().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn terms_that_are_not_there_are_said_to_be_none_and_what_is_odd_is_refused() {
    let bench = Bench::new().await;
    let shown = bench.show_terms(who("alice", "")).await;
    assert_eq!(shown, ShowTermsResponse::default());
    assert_eq!(bench.accept_terms(who("alice", ""), "Be kind.").await, 0);
    let edge = bench.admitted().await;
    for (user, terms) in [
        (None, "aup"),
        (who("A B", ""), "aup"),
        (who("alice", "A/B"), "aup"),
        (who("alice", ""), "a/b"),
    ] {
        let request = ShowTermsRequest {
            user,
            terms: terms.to_owned(),
        };
        let refused = show(&bench.context, &edge, &request).await;
        assert!(matches!(refused, Err(Refusal::Protocol(_))), "{refused:?}");
    }
    for (version, client) in [(vec![1; 31], "192.0.2.1"), (vec![1; 32], "here")] {
        let request = AcceptTermsRequest {
            user: who("alice", ""),
            terms: "aup".to_owned(),
            version: version.into(),
            client: client.to_owned(),
            request_id: String::new(),
        };
        let refused = accept(&bench.context, &edge, &request).await;
        assert!(matches!(refused, Err(Refusal::Protocol(_))), "{refused:?}");
    }
}
