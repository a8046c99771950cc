//! Sign-ins against a real store.

mod credentials;
mod passkeys;
mod refreshes;
mod second_factors;
mod terms;

use std::sync::Mutex;

use proto::{
    admin::{Agent, Edge, User},
    control::{AgentRecord, EdgeRecord, RevocationRecord},
};
use runtime::{
    Clock, Scope,
    node::{NodeIdentity, Role},
};
use tokio::time::advance;

use super::*;
use crate::{
    ca::Ca,
    fabric::UsedChallenges,
    lockout::Lockout,
    passwords::Passwords,
    presence::Presence,
    questions::Questions,
    refreshes::{Refreshes, SESSIONS_MAX},
    second_factors::key::SecondFactorKey,
    sign_in_log::{EVENTS_MAX, SignInLog},
    store::sqlite,
    tokens::JoinIssuer,
};

const PASSWORD: &str = "correct horse";
const NEXT: &str = "battery staple";

struct Bench {
    context: FabricContext,
    _directory: tempfile::TempDir,
}

impl Bench {
    /// With an edge, an agent, and `alice`, `bob` who is disabled, and `carol` whose password is an operator's.
    async fn new() -> Self {
        runtime::tls::install_provider();
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::starting_at(Clock::system().wall());
        let domain: model::host::Hostname = "example.test".parse().unwrap();
        let ca = Ca::found(directory.path(), &domain, clock.wall()).unwrap();
        let control = vec!["control.example.test:7443".to_owned()];
        let issuer =
            JoinIssuer::load_or_create(directory.path(), domain.clone(), control, ca.pin());
        let key = Arc::new(SecondFactorKey::load_or_create(directory.path()).unwrap());
        let (folder, now) = (directory.path(), clock.wall());
        let refreshes = Refreshes::open(folder, Arc::clone(&key), SESSIONS_MAX, now);
        let bench = Self {
            context: FabricContext {
                sign_ins: SignInLog::open(directory.path(), EVENTS_MAX).unwrap(),
                store: Arc::new(sqlite::open(directory.path(), &clock).unwrap()),
                refreshes: refreshes.unwrap(),
                clock,
                presence: Presence::default(),
                questions: Questions::default(),
                join_issuer: Arc::new(issuer.unwrap()),
                ca: Arc::new(ca),
                passwords: Passwords::default(),
                lockout: Arc::<Lockout>::default(),
                devices: Arc::default(),
                second_factor_key: key,
                challenges: Arc::new(UsedChallenges::new(0)),
                domain,
                scope: Scope::root(),
            },
            _directory: directory,
        };
        let edge = EdgeRecord {
            edge: Some(Edge::default()),
            ..EdgeRecord::default()
        };
        bench.put("edges/e1", edge.encode_to_vec()).await;
        let revoked = EdgeRecord {
            edge: Some(Edge {
                revoked: true,
                ..Edge::default()
            }),
            ..EdgeRecord::default()
        };
        bench.put("edges/e2", revoked.encode_to_vec()).await;
        let agent = AgentRecord {
            agent: Some(Agent::default()),
            ..AgentRecord::default()
        };
        bench.put("agents/a1", agent.encode_to_vec()).await;
        let hash = bench.context.passwords.hash(secret(PASSWORD)).await;
        let hash = hash.unwrap();
        for (id, disabled, must_change_password) in [
            ("alice", false, false),
            ("bob", true, false),
            ("carol", false, true),
        ] {
            let user = User {
                email: format!("{id}.smith@example.com"),
                user_groups: vec!["staff".to_owned()],
                disabled,
                must_change_password,
                ..User::default()
            };
            bench.user(id, user, &hash).await;
        }
        bench
    }

    async fn user(&self, id: &str, user: User, hash: &str) {
        let name = format!("users/{id}");
        let record = UserRecord {
            user: Some(User { name, ..user }),
            password_hash: hash.to_owned(),
        };
        let key = format!("users/{id}");
        self.put(&key, record.encode_to_vec()).await;
    }

    async fn put(&self, key: &str, value: Vec<u8>) {
        let put = Op::Put(Arc::from(key), value.into());
        let written = self.context.store.txn(Vec::new(), vec![put]).await;
        written.unwrap();
    }

    fn node(&self, role: Role, id: &str) -> ProvenNode {
        proven(self.context.domain.as_str(), role, id)
    }

    fn edge(&self) -> ProvenNode {
        self.node(Role::Edge, "e1")
    }

    async fn admitted(&self) -> AdmittedEdge {
        admit_edge(&self.context, &self.edge()).await.unwrap()
    }

    async fn check(&self, user: &str, password: &str) -> Outcome {
        self.check_from("192.0.2.1", user, password).await
    }

    async fn check_from(&self, client: &str, user: &str, password: &str) -> Outcome {
        let request = asking(client, user, password);
        let answer = check_password(&self.context, &self.admitted().await, &request).await;
        answer.unwrap().outcome.unwrap()
    }

    async fn change(&self, user: &str, old: &str, new: &str) -> Outcome {
        let request = ChangePasswordRequest {
            now: Some(asking("192.0.2.1", user, old)),
            new_password: new.to_owned(),
        };
        let answer = change_password(&self.context, &self.admitted().await, &request).await;
        answer.unwrap().outcome.unwrap()
    }

    async fn stored(&self, id: &str) -> UserRecord {
        let entry = self.context.store.get(&format!("users/{id}")).await;
        decode(&entry.unwrap().unwrap()).unwrap()
    }

    /// Before when sessions of a user are over.
    async fn ended(&self, id: &str) -> Option<i64> {
        let key = format!("revocations/users/{id}");
        let entry = self.context.store.get(&key).await.unwrap()?;
        Some(RevocationRecord::decode(entry.value).unwrap().before_ms)
    }
}

fn proven(domain: &str, role: Role, id: &str) -> ProvenNode {
    ProvenNode {
        name: NodeIdentity::new(domain.parse().unwrap(), role, id).unwrap(),
        key_sha256: [0; 32],
        expires_at: Clock::system().wall() + Duration::from_secs(60),
    }
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn asking(client: &str, user: &str, password: &str) -> CheckPasswordRequest {
    CheckPasswordRequest {
        user: user.to_owned(),
        password: password.to_owned(),
        client: client.to_owned(),
        request_id: "r1".to_owned(),
        before: None,
    }
}

fn refusal(kind: PasswordRefusalKind, retry_after_ms: u64) -> Outcome {
    Outcome::Refusal(PasswordRefusal {
        kind: kind.into(),
        retry_after_ms,
    })
}

fn wrong() -> Outcome {
    refusal(PasswordRefusalKind::Wrong, 0)
}

fn account(outcome: Outcome) -> Account {
    match outcome {
        Outcome::Account(account) => account,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_right_password_opens_the_account_however_the_name_is_typed() {
    let bench = Bench::new().await;
    for name in ["alice", "Alice", " ALICE\t"] {
        let found = account(bench.check(name, PASSWORD).await);
        assert_eq!(
            (found.user.as_str(), found.email.as_str()),
            ("alice", "alice.smith@example.com")
        );
        assert_eq!(found.user_groups, ["staff"]);
        assert!(found.as_of_ms <= unix_ms(bench.context.clock.wall()));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_can_tell_who_has_an_account() {
    let bench = Bench::new().await;
    let long = "a".repeat(10_000);
    let attempts = [
        ("alice", "wrong horse"),
        ("bob", PASSWORD),
        ("nobody", PASSWORD),
        ("not/an id", PASSWORD),
        ("", ""),
        (&long, &long),
    ];
    for (user, password) in attempts {
        assert_eq!(bench.check(user, password).await, wrong(), "{user:.9}");
    }
    // Each of them has waited for its turn at hashing: without one, none is answered.
    let passwords = &bench.context.passwords;
    let _turns = passwords.take_all_turns().await;
    for (user, password) in attempts {
        let request = asking("192.0.2.9", user, password);
        let answer = check_password(&bench.context, &bench.admitted().await, &request).await;
        assert!(matches!(answer, Err(Refusal::Busy)), "{user:.9}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_operators_password_is_good_for_choosing_another_only() {
    let bench = Bench::new().await;
    let must = refusal(PasswordRefusalKind::MustChange, 0);
    assert_eq!(bench.check("carol", PASSWORD).await, must);
    let changed = account(bench.change("carol", PASSWORD, NEXT).await);
    assert_eq!(account(bench.check("carol", NEXT).await).user, "carol");
    assert_eq!(bench.check("carol", PASSWORD).await, wrong());
    assert!(bench.ended("carol").await.unwrap() <= changed.as_of_ms);
}

#[tokio::test(start_paused = true)]
async fn another_password_ends_what_the_old_one_began_and_nothing_else() {
    let bench = Bench::new().await;
    let before = account(bench.check("alice", PASSWORD).await);
    bench.context.clock.move_wall(Duration::from_secs(1));
    let after = account(bench.change("alice", PASSWORD, NEXT).await);
    let ended = bench.ended("alice").await.unwrap();
    assert!(before.as_of_ms < ended);
    assert!(after.as_of_ms >= ended);
    let audit = bench.context.store.snapshot(&[audit::COLLECTION]).await;
    let audit = audit.unwrap().entries;
    let event = proto::admin::AuditEvent::decode(audit[0].value.clone()).unwrap();
    assert_eq!(
        (event.actor.as_str(), event.method.as_str()),
        ("users/alice", "ChangePassword")
    );
    // The audit log is not theirs to fill.
    let soon = bench.change("alice", NEXT, PASSWORD).await;
    let Outcome::Refusal(soon) = soon else {
        panic!("too soon");
    };
    assert_eq!(soon.kind(), PasswordRefusalKind::TooMany);
    bench.context.clock.move_wall(CHANGE_PAUSE);
    account(bench.change("alice", NEXT, PASSWORD).await);
}

#[tokio::test(start_paused = true)]
async fn an_unfit_password_is_refused_and_only_to_who_knows_the_old_one() {
    let bench = Bench::new().await;
    let unfit = refusal(PasswordRefusalKind::Unfit, 0);
    let long = "x".repeat(257);
    for new in ["short", PASSWORD, "Alice.Smith@example.com", &long] {
        let found = bench.change("alice", PASSWORD, new).await;
        assert_eq!(found, unfit, "{new}");
    }
    let found = bench.change("alice", "wrong horse", "short").await;
    assert_eq!(found, wrong());
    assert_eq!(bench.ended("alice").await, None);
    account(bench.check("alice", PASSWORD).await);
}

#[tokio::test(start_paused = true)]
async fn failures_make_the_account_wait_there_and_nowhere_else() {
    let bench = Bench::new().await;
    for _ in 0..5 {
        assert_eq!(bench.check("alice", "wrong horse").await, wrong());
    }
    for user in ["alice", "ALICE "] {
        let Outcome::Refusal(found) = bench.check(user, PASSWORD).await else {
            panic!("a good password waits too");
        };
        assert_eq!(found.kind(), PasswordRefusalKind::TooMany);
        assert!((1..=1_000).contains(&found.retry_after_ms), "{found:?}");
    }
    account(bench.check_from("192.0.2.2", "alice", PASSWORD).await);
    advance(Duration::from_secs(1)).await;
    account(bench.check("alice", PASSWORD).await);
    // It was forgotten with that.
    assert_eq!(bench.check("alice", "wrong horse").await, wrong());
    account(bench.check("alice", PASSWORD).await);
    // Names that nobody has are no different.
    for _ in 0..5 {
        assert_eq!(bench.check("nobody", PASSWORD).await, wrong());
    }
    let Outcome::Refusal(found) = bench.check("nobody", PASSWORD).await else {
        panic!("nobody signs in");
    };
    assert_eq!(found.kind(), PasswordRefusalKind::TooMany);
}

#[tokio::test(start_paused = true)]
async fn a_hash_of_the_past_is_renewed_by_a_sign_in() {
    let bench = Bench::new().await;
    let old = old_hash(PASSWORD);
    bench.user("dave", User::default(), &old).await;
    assert_eq!(bench.check("dave", "wrong horse").await, wrong());
    assert_eq!(bench.stored("dave").await.password_hash, old);
    account(bench.check("dave", PASSWORD).await);
    let renewed = bench.stored("dave").await.password_hash;
    assert!(!passwords::is_outdated(&renewed), "{renewed}");
    account(bench.check("dave", PASSWORD).await);
    assert_eq!(bench.stored("dave").await.password_hash, renewed);
}

/// As an earlier version could have made it.
fn old_hash(password: &str) -> String {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
    let params = Params::new(64, 1, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password_with_salt(password.as_bytes(), &[7; 16]);
    hash.unwrap().to_string()
}

#[tokio::test(start_paused = true)]
async fn only_edges_that_are_not_revoked_are_answered() {
    let bench = Bench::new().await;
    let other = proven("other.test", Role::Edge, "e1");
    for (node, want) in [
        (bench.node(Role::Agent, "a1"), "EDGES_ONLY"),
        (bench.node(Role::Edge, "e2"), "NODE_REVOKED"),
        (bench.node(Role::Edge, "e3"), "NODE_UNKNOWN"),
        (other, "OTHER_FABRIC"),
    ] {
        // Without what this gives nothing can be asked.
        let admitted = admit_edge(&bench.context, &node).await;
        assert_eq!(admitted.unwrap_err().class().1, want);
    }
}

/// Gathers what is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut Lines(&self.0));
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut Lines(&self.0));
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Lines(&self.0));
        self.0.lock().unwrap().push('\n');
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

struct Lines<'a>(&'a Mutex<String>);

impl tracing::field::Visit for Lines<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let mut text = self.0.lock().unwrap();
        text.push_str(&format!("{field}={value:?} "));
    }
}

#[tokio::test(start_paused = true)]
async fn refused_sign_ins_are_logged_without_what_was_typed() {
    let bench = Bench::new().await;
    let log = Log::default();
    let guard = tracing::subscriber::set_default(log.clone());
    for (user, password) in [
        ("alice", "wrong horse"),
        ("bob", PASSWORD),
        ("carol", PASSWORD),
        ("typed-by-mistake", "wrong horse"),
    ] {
        bench.check(user, password).await;
    }
    bench.change("alice", PASSWORD, "short horse").await;
    account(bench.change("alice", PASSWORD, NEXT).await);
    drop(guard);
    let text = log.0.lock().unwrap().clone();
    for secret in ["horse", NEXT, "typed", "argon2"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("sign-in refused"))
        .collect();
    let told: Vec<_> = ["alice", "bob", "carol", "", "alice"]
        .map(|user| (user, !user.is_empty()))
        .into();
    assert_eq!(lines.len(), told.len(), "{text}");
    for (line, (user, is_told)) in lines.iter().zip(told) {
        assert_eq!(line.contains("user="), is_told, "{line}");
        assert!(line.contains(user), "{line}");
        assert!(line.contains("client=192.0.2.1"), "{line}");
        assert!(line.contains("request.id=\"r1\""), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused() {
    let bench = Bench::new().await;
    let bad = asking("nowhere", "alice", PASSWORD);
    let found = check_password(&bench.context, &bench.admitted().await, &bad).await;
    assert!(matches!(found, Err(Refusal::Protocol(_))));
    let bare = ChangePasswordRequest::default();
    let found = change_password(&bench.context, &bench.admitted().await, &bare).await;
    assert!(matches!(found, Err(Refusal::Protocol(_))));
    let short = EndSessionRequest {
        session: vec![1; 15].into(),
        ..EndSessionRequest::default()
    };
    let found = end_session(&bench.context, &bench.admitted().await, &short).await;
    assert!(matches!(found, Err(Refusal::Protocol(_))));
}

#[tokio::test(start_paused = true)]
async fn a_session_is_ended_once_however_often_it_is_asked_for() {
    let bench = Bench::new().await;
    let end = EndSessionRequest {
        session: vec![0xab; SESSION_ID_BYTES].into(),
        ..EndSessionRequest::default()
    };
    end_session(&bench.context, &bench.admitted().await, &end)
        .await
        .unwrap();
    let revision = bench.context.store.revision().await.unwrap();
    end_session(&bench.context, &bench.admitted().await, &end)
        .await
        .unwrap();
    assert_eq!(bench.context.store.revision().await.unwrap(), revision);
    let key = format!("revocations/sessions/{}", "ab".repeat(SESSION_ID_BYTES));
    assert!(bench.context.store.get(&key).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn who_ends_session_after_session_has_one_row_for_all_in_the_end() {
    let bench = Bench::new().await;
    let edge = bench.admitted().await;
    for number in 0..200_u8 {
        let end = EndSessionRequest {
            session: vec![number; SESSION_ID_BYTES].into(),
            user: "alice".to_owned(),
            ..EndSessionRequest::default()
        };
        end_session(&bench.context, &edge, &end).await.unwrap();
    }
    let held = bench.context.store.snapshot(&["revocations/"]).await;
    assert_eq!(held.unwrap().entries.len(), 61);
}

#[tokio::test(start_paused = true)]
async fn a_providers_word_ends_what_it_began_until_now() {
    let bench = Bench::new().await;
    let word = |provider: &str, name: &[u8], before_ms| EndSessionRequest {
        provider_session: Some(ProviderSession {
            provider: provider.to_owned(),
            name_sha256: name.to_vec().into(),
        }),
        before_ms,
        ..EndSessionRequest::default()
    };
    for bad in [word("En/tra", &[1; 32], 1), word("entra", &[1; 31], 1)] {
        let found = end_session(&bench.context, &bench.admitted().await, &bad).await;
        assert!(matches!(found, Err(Refusal::Protocol(_))), "{bad:?}");
    }
    // A clock that is far ahead, or an edge that lies: what begins later goes on.
    let now = unix_ms(bench.context.clock.wall());
    let skew = i64::try_from(PROVIDER_SKEW_MAX.as_millis()).unwrap();
    let key = format!("revocations/providerSessions/entra/{}", "01".repeat(32));
    for (before_ms, want) in [(5, 5), (now, now), (3, now), (i64::MAX, now + skew)] {
        let end = word("entra", &[1; 32], before_ms);
        end_session(&bench.context, &bench.admitted().await, &end)
            .await
            .unwrap();
        let entry = bench.context.store.get(&key).await.unwrap().unwrap();
        let told = revocations::resource(&key, &entry.value).unwrap();
        assert_eq!(told.before_ms, want);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_guesses_are_a_few_and_the_user_signs_in_from_elsewhere() {
    let bench = Bench::new().await;
    let mut looked_at = 0;
    for index in 0..10_000 {
        let guess = format!("guess {index}");
        let found = bench.check_from("192.0.2.66", "alice", &guess).await;
        looked_at += u32::from(found == wrong());
        // A second apart: nearly three hours in all.
        advance(Duration::from_secs(1)).await;
    }
    assert!((15..40).contains(&looked_at), "{looked_at}");
    account(bench.check_from("198.51.100.7", "alice", PASSWORD).await);
    // From many networks at once a hundred within the hour.
    let mut looked_at = 0;
    for index in 0..1_000_u32 {
        let client = format!("203.0.{}.{}", index / 250, index % 250);
        let found = bench.check_from(&client, "alice", "guess").await;
        looked_at += u32::from(found == wrong());
    }
    assert!((60..=100).contains(&looked_at), "{looked_at}");
}

#[tokio::test(start_paused = true)]
async fn passwords_that_are_guessed_first_are_not_taken() {
    let bench = Bench::new().await;
    let unfit = refusal(PasswordRefusalKind::Unfit, 0);
    for new in [
        "Password2026!",
        "alicesmith1234",
        "Example-Test-1",
        "qwertyuiop12",
    ] {
        assert_eq!(bench.change("alice", PASSWORD, new).await, unfit, "{new}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_session_that_takes_the_place_of_too_many_goes_on() {
    let bench = Bench::new().await;
    let edge = bench.admitted().await;
    let now_ms = || unix_ms(bench.context.clock.wall());
    let end = async |session: u8, before_ms| {
        let request = EndSessionRequest {
            session: vec![session; SESSION_ID_BYTES].into(),
            user: "alice".to_owned(),
            before_ms,
            ..EndSessionRequest::default()
        };
        end_session(&bench.context, &edge, &request).await.unwrap();
    };
    for session in 0..60 {
        end(session, now_ms()).await;
    }
    assert_eq!(bench.ended("alice").await, None);
    let began_ms = now_ms();
    bench.context.clock.move_wall(Duration::from_secs(2));
    end(60, began_ms).await;
    assert_eq!(bench.ended("alice").await, Some(began_ms));
    // Where nothing takes its place, or what an edge says cannot be, all end.
    end(61, 0).await;
    assert_eq!(bench.ended("alice").await, Some(now_ms() + 1));
    bench.context.clock.move_wall(Duration::from_secs(3_600));
    end(62, 1).await;
    assert_eq!(bench.ended("alice").await, Some(now_ms() - 60_000));
}
