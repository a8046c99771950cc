//! Sessions that identity providers are asked about, as edges and control talk of them.

use prost_types::Duration as WireDuration;
use proto::{
    admin::IdentityProvider,
    control::IdentityProviderRecord,
    fabric::{RefreshOutcome, RefreshResult, RefreshSessionsRequest, RefreshableSession},
};

use super::*;
use crate::{fabric::refreshes::exchange, sign_in_log::Wanted};

const ID: [u8; SESSION_ID_BYTES] = [7; SESSION_ID_BYTES];
/// More than ten minutes and what they may be longer by.
const EVERY: Duration = Duration::from_secs(11 * 60 + 1);

impl Bench {
    async fn provider(&self, change: impl FnOnce(&mut IdentityProvider)) {
        let mut provider = IdentityProvider {
            refresh_every: Some(WireDuration {
                seconds: 600,
                nanos: 0,
            }),
            ..IdentityProvider::default()
        };
        change(&mut provider);
        let record = IdentityProviderRecord {
            identity_provider: Some(provider),
            ..IdentityProviderRecord::default()
        };
        self.put("identityProviders/entra", record.encode_to_vec())
            .await;
    }

    fn session(&self) -> RefreshableSession {
        RefreshableSession {
            session: ID.to_vec().into(),
            provider: "entra".to_owned(),
            user: "alice@entra".to_owned(),
            began_ms: unix_ms(self.context.clock.wall()),
            provider_sid_sha256: vec![1; 32].into(),
            provider_sub_sha256: vec![2; 32].into(),
            sealed: b"sealed".as_slice().into(),
            turn: 0,
        }
    }

    async fn say(
        &self,
        request: RefreshSessionsRequest,
    ) -> Result<Vec<RefreshableSession>, Refusal> {
        let admitted = self.admitted().await;
        let answer = exchange(&self.context, &admitted, &self.edge(), request).await;
        answer.map(|answer| answer.due)
    }

    async fn begin(&self, session: RefreshableSession) {
        let begun = RefreshSessionsRequest {
            begun: vec![session],
            ..RefreshSessionsRequest::default()
        };
        assert_eq!(self.say(begun).await.unwrap(), []);
    }

    /// What is due after that time.
    async fn due(&self, wait: Duration) -> Vec<RefreshableSession> {
        self.context.clock.move_wall(wait);
        let wanted = RefreshSessionsRequest {
            wanted: 16,
            ..RefreshSessionsRequest::default()
        };
        self.say(wanted).await.unwrap()
    }

    async fn outcome(&self, turn: u64, result: RefreshResult, sealed: &[u8]) {
        let outcome = RefreshOutcome {
            session: ID.to_vec().into(),
            turn,
            result: result.into(),
            sealed: sealed.to_vec().into(),
        };
        let said = RefreshSessionsRequest {
            outcomes: vec![outcome],
            ..RefreshSessionsRequest::default()
        };
        assert_eq!(self.say(said).await.unwrap(), []);
    }

    async fn is_over(&self) -> bool {
        let key = "revocations/sessions/07070707070707070707070707070707";
        self.context.store.get(key).await.unwrap().is_some()
    }

    /// Why the user was signed out, by the log of sign-ins.
    async fn reasons(&self) -> Vec<String> {
        let wanted = Wanted {
            limit: 10,
            ..Wanted::default()
        };
        let listed = self.context.sign_ins.list(wanted).await.unwrap();
        let listed = listed.into_iter();
        listed
            .map(|(_, sign_in)| {
                assert_eq!(sign_in.user, "users/alice@entra");
                assert_eq!(sign_in.provider, "entra");
                sign_in.reason
            })
            .collect()
    }
}

#[tokio::test]
async fn a_session_goes_on_while_its_provider_stands_by_the_user() {
    let bench = Bench::new().await;
    bench.provider(|_| {}).await;
    bench.begin(bench.session()).await;
    assert_eq!(bench.due(Duration::from_secs(8 * 60)).await, []);
    let due = bench.due(EVERY - Duration::from_secs(8 * 60)).await;
    assert_eq!((due[0].turn, &*due[0].sealed), (1, &b"sealed"[..]));
    assert_eq!(bench.due(Duration::ZERO).await, [], "it is one edge's");
    bench.outcome(1, RefreshResult::Renewed, b"next").await;
    assert_eq!(bench.due(Duration::from_secs(8 * 60)).await, []);
    let due = bench.due(EVERY).await;
    assert_eq!((due[0].turn, &*due[0].sealed), (2, &b"next"[..]));
    // Too late to end anything.
    bench.outcome(1, RefreshResult::Refused, b"").await;
    assert!(!bench.is_over().await);
}

#[tokio::test]
async fn a_session_ends_that_its_provider_does_not_stand_by() {
    for (result, reason) in [
        (RefreshResult::Refused, "refresh_refused"),
        (RefreshResult::Changed, "refresh_changed"),
    ] {
        let bench = Bench::new().await;
        bench.provider(|_| {}).await;
        bench.begin(bench.session()).await;
        assert_eq!(bench.due(EVERY).await.len(), 1);
        bench.outcome(1, result, b"").await;
        assert!(bench.is_over().await);
        assert_eq!(bench.reasons().await, [reason]);
        assert_eq!(bench.due(EVERY).await, [], "nothing is left of it");
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer_has_four_hours() {
    let bench = Bench::new().await;
    bench.provider(|_| {}).await;
    bench.begin(bench.session()).await;
    let (mut waited, mut turn) = (Duration::ZERO, 0);
    while !bench.is_over().await {
        assert!(waited <= Duration::from_secs(4 * 3_600 + 20 * 60));
        waited += Duration::from_secs(60);
        for due in bench.due(Duration::from_secs(60)).await {
            turn += 1;
            assert_eq!(due.turn, turn);
            bench.outcome(turn, RefreshResult::Unanswered, b"").await;
        }
    }
    assert!(waited >= Duration::from_secs(4 * 3_600));
    // At 10 min, then after 1, 2, 4, 8 and then 10 min each, give or take a tenth.
    assert!((20..40).contains(&turn), "{turn}");
    assert_eq!(bench.reasons().await, ["refresh_unanswered"]);
}

#[tokio::test]
async fn a_session_that_no_edge_says_anything_of_has_four_hours() {
    let bench = Bench::new().await;
    bench.provider(|_| {}).await;
    bench.begin(bench.session()).await;
    let four_hours = Duration::from_secs(4 * 3_600);
    // While nobody came to ask about it, it was nobody's fault.
    assert_eq!(bench.due(four_hours).await.len(), 1);
    assert!(!bench.is_over().await);
    bench.outcome(1, RefreshResult::Renewed, b"").await;
    let mut waited = Duration::ZERO;
    while !bench.is_over().await {
        assert!(waited <= four_hours + Duration::from_secs(600));
        waited += Duration::from_secs(60);
        bench.due(Duration::from_secs(60)).await;
    }
    assert!(waited >= four_hours);
    assert_eq!(bench.reasons().await, ["refresh_unanswered"]);
}

#[tokio::test]
async fn nobody_is_asked_about_a_session_that_is_over() {
    type End = fn(&Bench) -> (String, Vec<u8>);
    let ends: [End; 5] = [
        |bench| {
            (
                format!("revocations/sessions/{}", "07".repeat(16)),
                over(bench),
            )
        },
        |bench| ("revocations/users/alice@entra".to_owned(), over(bench)),
        |bench| ("revocations/everyone".to_owned(), over(bench)),
        |bench| {
            (
                format!("revocations/providerSessions/entra/{}", "01".repeat(32)),
                over(bench),
            )
        },
        |bench| {
            (
                format!("revocations/providerSessions/entra/{}", "02".repeat(32)),
                over(bench),
            )
        },
    ];
    for end in ends {
        let bench = Bench::new().await;
        bench.provider(|_| {}).await;
        bench.begin(bench.session()).await;
        let (key, value) = end(&bench);
        bench.put(&key, value).await;
        assert_eq!(bench.due(EVERY).await, [], "{key}");
    }
    let changes: [fn(&mut IdentityProvider); 3] = [
        |provider| provider.disabled = true,
        |provider| provider.refresh_every = None,
        |provider| {
            let later = Clock::system().wall() + Duration::from_secs(5);
            provider.sessions_since = Some(wire_timestamp(later));
        },
    ];
    for change in changes {
        let bench = Bench::new().await;
        bench.provider(|_| {}).await;
        bench.begin(bench.session()).await;
        bench.provider(change).await;
        assert_eq!(bench.due(EVERY).await, []);
        // Nor later, when the publication is as it was.
        bench.provider(|_| {}).await;
        assert_eq!(bench.due(EVERY).await, []);
    }
}

fn over(bench: &Bench) -> Vec<u8> {
    let before_ms = unix_ms(bench.context.clock.wall()) + 1;
    RevocationRecord { before_ms }.encode_to_vec()
}

#[tokio::test]
async fn what_is_no_session_is_refused() {
    let bench = Bench::new().await;
    bench.provider(|_| {}).await;
    let changes: [fn(&mut RefreshableSession); 5] = [
        |one| one.session = vec![7; 15].into(),
        |one| one.user = "a b".to_owned(),
        |one| one.provider = "a b".to_owned(),
        |one| one.provider_sub_sha256 = vec![1; 31].into(),
        |one| one.sealed = vec![0; 12 * 1024 + 1].into(),
    ];
    for change in changes {
        let mut session = bench.session();
        change(&mut session);
        let begun = RefreshSessionsRequest {
            begun: vec![session],
            ..RefreshSessionsRequest::default()
        };
        let refused = bench.say(begun).await.unwrap_err();
        assert!(matches!(refused, Refusal::Protocol(_)), "{refused:?}");
    }
    let many = RefreshSessionsRequest {
        begun: vec![bench.session(); 257],
        ..RefreshSessionsRequest::default()
    };
    assert!(bench.say(many).await.is_err());
}
