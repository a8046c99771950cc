//! Passkeys against a real store, by an authenticator of the tests' own.

use model::name::UserId;
use proto::{
    admin::SecondFactor,
    fabric::{CheckPasskeyRequest, RegisterPasskeyRequest, RemovePasskeyRequest, Shown},
};

use super::*;
use crate::{
    fabric::accounts::passkeys::{check_passkey, register_passkey, remove_passkey},
    second_factors::{
        passkey::tests::Authenticator,
        records::{self, PASSKEYS_MAX},
    },
};

impl Bench {
    async fn register(
        &self,
        shown: Shown,
        authenticator: &mut Authenticator,
        challenge: u8,
    ) -> Outcome {
        let mut ceremony = authenticator.create(&[challenge; 32]);
        ceremony.challenge_issued_ms = unix_ms(self.context.clock.wall());
        let request = RegisterPasskeyRequest {
            shown: Some(shown),
            ceremony: Some(ceremony),
            public_key: authenticator.public_key().into(),
            algorithm: -7,
            display_name: "  Laptop\u{7} ".to_owned(),
        };
        let edge = self.admitted().await;
        let answer = register_passkey(&self.context, &edge, &request);
        answer.await.unwrap().outcome.unwrap()
    }

    fn asked(
        &self,
        shown: Option<Shown>,
        authenticator: &mut Authenticator,
        challenge: u8,
    ) -> CheckPasskeyRequest {
        let (mut ceremony, signature) = authenticator.get(&[challenge; 32]);
        ceremony.challenge_issued_ms = unix_ms(self.context.clock.wall());
        CheckPasskeyRequest {
            shown,
            ceremony: Some(ceremony),
            signature: signature.into(),
            client: "192.0.2.1".to_owned(),
            request_id: "r1".to_owned(),
        }
    }

    async fn show(&self, request: &CheckPasskeyRequest) -> Outcome {
        let edge = self.admitted().await;
        let answer = check_passkey(&self.context, &edge, request);
        answer.await.unwrap().outcome.unwrap()
    }

    /// Gives alice a passkey.
    async fn alice_has(&self, authenticator: &mut Authenticator) -> Account {
        let signed_in = account(self.check("alice", PASSWORD).await);
        let shown = self.shown("alice", signed_in.as_of_ms, &["pwd"]);
        account(self.register(shown, authenticator, 1).await)
    }
}

#[tokio::test(start_paused = true)]
async fn a_passkey_lets_in_alone_and_each_challenge_once() {
    let bench = Bench::new().await;
    let mut laptop = Authenticator::new();
    let registered = bench.alice_has(&mut laptop).await;
    assert_eq!(registered.methods, ["pwd", "hwk", "user", "mfa"]);
    let request = bench.asked(None, &mut laptop, 2);
    let signed_in = account(bench.show(&request).await);
    assert_eq!(
        (signed_in.user.as_str(), signed_in.methods.len()),
        ("alice", 3)
    );
    assert_eq!(bench.show(&request).await, wrong(), "the same again");
    // The same challenge, signed anew.
    let request = bench.asked(None, &mut laptop, 2);
    assert_eq!(bench.show(&request).await, wrong());
    // One that is too old, and one from before control began.
    let mut request = bench.asked(None, &mut laptop, 3);
    bench.context.clock.move_wall(Duration::from_secs(361));
    assert_eq!(bench.show(&request).await, wrong());
    request.ceremony.as_mut().unwrap().challenge_issued_ms = -5_000;
    assert_eq!(bench.show(&request).await, wrong());
    let request = bench.asked(None, &mut Authenticator::new(), 4);
    assert_eq!(bench.show(&request).await, wrong(), "nobody's");
    let record = records::read(&*bench.context.store, &"alice".parse().unwrap()).await;
    let kept = &record.unwrap().record.passkeys[0];
    assert_eq!((kept.display_name.as_str(), kept.sign_count), ("Laptop", 2));
    assert!(kept.used_ms > 0);
    assert_eq!(bench.stored("alice").await.user.unwrap().passkeys, 1);
}

#[tokio::test(start_paused = true)]
async fn passkeys_that_nobody_has_are_counted_against_who_shows_them() {
    let bench = Bench::new().await;
    let mut laptop = Authenticator::new();
    bench.alice_has(&mut laptop).await;
    let request = bench.asked(None, &mut Authenticator::new(), 2);
    for _ in 0..5 {
        assert_eq!(bench.show(&request).await, wrong());
    }
    let Outcome::Refusal(found) = bench.show(&request).await else {
        panic!("nobody has it");
    };
    assert_eq!(found.kind(), PasswordRefusalKind::TooMany);
    // Nobody who has one waits for that, from there either.
    let request = bench.asked(None, &mut laptop, 3);
    account(bench.show(&request).await);
}

#[tokio::test(start_paused = true)]
async fn besides_a_password_it_has_to_be_the_same_users() {
    let bench = Bench::new().await;
    let mut laptop = Authenticator::new();
    bench.alice_has(&mut laptop).await;
    let half = bench.half("alice").await;
    assert_eq!(half.passkeys, [laptop.id()]);
    let pwd = |user| Some(bench.shown(user, half.as_of_ms, &["pwd"]));
    let request = bench.asked(pwd("carol"), &mut laptop, 5);
    assert_eq!(bench.show(&request).await, wrong());
    let request = bench.asked(pwd("alice"), &mut laptop, 6);
    let signed_in = account(bench.show(&request).await);
    assert_eq!(signed_in.methods, ["pwd", "hwk", "user", "mfa"]);
    bench.policy(SecondFactor::Off).await;
    let request = bench.asked(None, &mut laptop, 7);
    assert_eq!(bench.show(&request).await, wrong(), "where none are taken");
}

#[tokio::test(start_paused = true)]
async fn passkeys_are_few_and_each_is_one_users() {
    let bench = Bench::new().await;
    let mut laptop = Authenticator::new();
    let mut account = bench.alice_has(&mut laptop).await;
    // Without the second factor that there is now.
    let bare = bench.shown("alice", account.as_of_ms, &["pwd"]);
    let found = bench.register(bare, &mut Authenticator::new(), 10).await;
    assert_eq!(found, refusal(PasswordRefusalKind::SecondFactor, 0));
    let both = |as_of_ms| bench.shown("alice", as_of_ms, &["pwd", "mfa"]);
    let found = bench
        .register(both(account.as_of_ms), &mut laptop, 11)
        .await;
    assert_eq!(
        found,
        refusal(PasswordRefusalKind::Unfit, 0),
        "the same once more"
    );
    for index in 1..u8::try_from(PASSKEYS_MAX).unwrap() {
        advance(Duration::from_secs(900)).await;
        let mut next = Authenticator::new();
        let found = bench
            .register(both(account.as_of_ms), &mut next, 20 + index)
            .await;
        account = super::account(found);
    }
    let found = bench
        .register(both(account.as_of_ms), &mut Authenticator::new(), 50)
        .await;
    assert_eq!(
        found,
        refusal(PasswordRefusalKind::Unfit, 0),
        "one too many"
    );

    let alice: UserId = "alice".parse().unwrap();
    let record = records::read(&*bench.context.store, &alice)
        .await
        .unwrap()
        .record;
    let remove = |id: &str, as_of_ms| RemovePasskeyRequest {
        shown: Some(both(as_of_ms)),
        id: id.to_owned(),
    };
    let edge = bench.admitted().await;
    let removed = remove_passkey(
        &bench.context,
        &edge,
        &remove(&record.passkeys[0].id, account.as_of_ms),
    )
    .await;
    let account = super::account(removed.unwrap().outcome.unwrap());
    let request = bench.asked(None, &mut laptop, 60);
    assert_eq!(bench.show(&request).await, wrong(), "it was removed");
    let gone = remove_passkey(&bench.context, &edge, &remove("nothing", account.as_of_ms)).await;
    assert_eq!(
        gone.unwrap().outcome.unwrap(),
        refusal(PasswordRefusalKind::Unfit, 0)
    );
}
