//! Second factors against a real store: what is asked for, what is good once, and what guessing gets.

use model::user::SESSION_LIFE;
use proto::{
    admin::{SecondFactor, Settings},
    fabric::{
        CheckCodeRequest, EndUserSessionsRequest, EnrolAuthenticatorRequest, HalfProven,
        RemoveAuthenticatorRequest, ShowAccountRequest, Shown, ShownBefore,
    },
};

use super::*;
use crate::{
    fabric::accounts::{
        authenticator::{enrol_authenticator, remove_authenticator},
        own_account::{end_user_sessions, show_account},
        second_factors::check_code,
    },
    second_factors::totp,
};

pub(super) const KEY: &[u8; totp::KEY_BYTES] = b"12345678901234567890";

impl Bench {
    /// The code of now, or of steps after it.
    pub(super) fn code(&self, steps: u64) -> String {
        let now = unix_ms(self.context.clock.wall()) / 30_000;
        totp::code(KEY, u64::try_from(now).unwrap() + steps)
    }

    pub(super) async fn policy(&self, second_factor: SecondFactor) {
        let settings = Settings {
            name: "settings".to_owned(),
            second_factor: second_factor.into(),
            ..Settings::default()
        };
        self.put("settings", settings.encode_to_vec()).await;
    }

    pub(super) async fn half(&self, user: &str) -> HalfProven {
        match self.check(user, PASSWORD).await {
            Outcome::Half(half) => half,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn enrol(&self, shown: Shown, code: &str) -> (Outcome, Vec<String>) {
        let request = EnrolAuthenticatorRequest {
            shown: Some(shown),
            key: KEY.to_vec().into(),
            code: code.to_owned(),
        };
        let edge = self.admitted().await;
        let answer = enrol_authenticator(&self.context, &edge, &request);
        let answer = answer.await.unwrap();
        (
            answer.outcome.unwrap().outcome.unwrap(),
            answer.recovery_codes.unwrap_or_default().codes,
        )
    }

    /// What was shown with a password that was typed then, by control's own word.
    pub(super) fn shown(&self, user: &str, as_of_ms: i64, methods: &[&str]) -> Shown {
        self.said(Word::Typed, user, as_of_ms, methods)
    }

    fn said(&self, word: Word, user: &str, as_of_ms: i64, methods: &[&str]) -> Shown {
        let methods: Vec<_> = methods.iter().map(|method| (*method).to_owned()).collect();
        let whose = user.parse().unwrap();
        let key = &self.context.second_factor_key;
        Shown {
            proof: word.proof(key, (&whose, as_of_ms, &methods)),
            ..unsaid(user, as_of_ms, methods)
        }
    }

    /// A right password that is typed in a session, as an edge says.
    fn asking_with(&self, shown: &Shown) -> CheckPasswordRequest {
        CheckPasswordRequest {
            before: Some(ShownBefore {
                as_of_ms: shown.as_of_ms,
                methods: shown.methods.clone(),
                proof: shown.proof.clone(),
            }),
            ..asking("192.0.2.1", &shown.user, PASSWORD)
        }
    }

    async fn code_from(&self, client: &str, half: &HalfProven, code: &str) -> Outcome {
        let request = CheckCodeRequest {
            shown: Some(Shown {
                client: client.to_owned(),
                ..self.shown(&half.user, half.as_of_ms, &["pwd"])
            }),
            code: code.to_owned(),
        };
        let edge = self.admitted().await;
        let answer = check_code(&self.context, &edge, &request);
        answer.await.unwrap().outcome.unwrap()
    }

    async fn check_code(&self, half: &HalfProven, code: &str) -> Outcome {
        self.code_from("192.0.2.1", half, code).await
    }

    /// Alice has an app from now on; her recovery codes.
    pub(super) async fn alice_enrols(&self) -> Vec<String> {
        let account = account(self.check("alice", PASSWORD).await);
        let shown = self.shown("alice", account.as_of_ms, &["pwd"]);
        let (outcome, codes) = self.enrol(shown, &self.code(0)).await;
        let enrolled = super::account(outcome);
        assert_eq!(enrolled.methods, ["pwd", "otp", "mfa"]);
        // The code of the enrolment is used up.
        self.context.clock.move_wall(Duration::from_secs(30));
        codes
    }
}

/// What an edge says, without control's word for it.
pub(super) fn unsaid(user: &str, as_of_ms: i64, methods: Vec<String>) -> Shown {
    Shown {
        user: user.to_owned(),
        as_of_ms,
        methods,
        client: "192.0.2.1".to_owned(),
        request_id: "r1".to_owned(),
        proof: bytes::Bytes::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_an_app_is_asked_for_a_code_and_each_is_good_once() {
    let bench = Bench::new().await;
    assert_eq!(bench.alice_enrols().await.len(), 10);
    let half = bench.half("alice").await;
    assert!(half.authenticator && !half.must_enrol);
    assert_eq!(bench.check_code(&half, "000000").await, wrong());
    let code = bench.code(0);
    let typed = format!(" {} {} ", &code[..3], &code[3..]);
    let signed_in = account(bench.check_code(&half, &typed).await);
    assert_eq!(signed_in.methods, ["pwd", "otp", "mfa"]);
    assert_eq!(signed_in.user_groups, ["staff"]);
    for again in [&code, &bench.code(0)] {
        assert_eq!(bench.check_code(&half, again).await, wrong());
    }
    // Nor does the one before it; the next does, and the one after is too early.
    assert_eq!(bench.check_code(&half, &bench.code(2)).await, wrong());
    account(bench.check_code(&half, &bench.code(1)).await);
    // What is kept is no key.
    let kept = bench.context.store.get("secondFactors/alice").await;
    let kept = kept.unwrap().unwrap().value;
    assert!(!kept.windows(KEY.len()).any(|window| window == KEY));
    let stored = bench.stored("alice").await.user.unwrap();
    assert!(stored.authenticator_time.is_some());
}

#[tokio::test(start_paused = true)]
async fn one_code_at_many_edges_at_once_lets_in_once() {
    let bench = Bench::new().await;
    bench.alice_enrols().await;
    let half = bench.half("alice").await;
    let code = bench.code(0);
    let (a, b, c) = tokio::join!(
        bench.code_from("192.0.2.1", &half, &code),
        bench.code_from("192.0.2.2", &half, &code),
        bench.code_from("192.0.2.3", &half, &code),
    );
    let let_in = [a, b, c];
    let let_in = let_in
        .iter()
        .filter(|one| matches!(one, Outcome::Account(_)));
    assert_eq!(let_in.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_recovery_code_is_good_once_and_for_its_user() {
    let bench = Bench::new().await;
    let codes = bench.alice_enrols().await;
    let half = bench.half("alice").await;
    let typed = codes[3].to_uppercase();
    let signed_in = account(bench.check_code(&half, &typed).await);
    assert_eq!(signed_in.methods, ["pwd", "mfa"]);
    assert_eq!(bench.check_code(&half, &typed).await, wrong());
    let stranger = HalfProven {
        user: "carol".to_owned(),
        ..half.clone()
    };
    assert_eq!(bench.check_code(&stranger, &codes[4]).await, wrong());
    account(bench.check_code(&half, &codes[4]).await);
    let request = ShowAccountRequest {
        shown: Some(bench.shown("alice", half.as_of_ms, &["pwd"])),
    };
    let edge = bench.admitted().await;
    let account = show_account(&bench.context, &edge, &request);
    let account = account.await.unwrap();
    assert_eq!(account.recovery_codes, 8);
    assert!(account.authenticator_ms > 0 && account.second_factors);
    assert_eq!(account.user_handle.len(), 32);
}

#[tokio::test(start_paused = true)]
async fn guesses_at_codes_are_bounded_whatever_the_password_does() {
    let bench = Bench::new().await;
    let codes = bench.alice_enrols().await;
    let mut half = bench.half("alice").await;
    for _ in 0..5 {
        assert_eq!(bench.check_code(&half, "000000").await, wrong());
        // A right password in between forgives no wrong code.
        bench.half("alice").await;
    }
    let Outcome::Refusal(found) = bench.check_code(&half, &bench.code(0)).await else {
        panic!("a good code waits too");
    };
    assert_eq!(found.kind(), PasswordRefusalKind::TooMany);
    // And nobody waits for it who is elsewhere, nor can anybody without the password make her wait.
    bench
        .check_from("192.0.2.7", "second factor of alice", "x")
        .await;
    bench
        .check_from("192.0.2.7", "SECOND FACTOR OF alice", "x")
        .await;
    // In all there are a hundred, however slowly and from wherever.
    let mut tried = 5;
    for index in 0..400 {
        advance(Duration::from_secs(900)).await;
        // The password was typed anew.
        half.as_of_ms = unix_ms(bench.context.clock.wall());
        let client = format!("198.51.100.{}", index % 200);
        let found = bench.code_from(&client, &half, "000000").await;
        tried += u32::from(found == wrong());
    }
    assert_eq!(tried, 100);
    let locked = bench.code_from("192.0.2.9", &half, &bench.code(0)).await;
    assert_eq!(locked, refusal(PasswordRefusalKind::Locked, 0));
    // A recovery code is no guess, and opens it again.
    account(bench.code_from("192.0.2.9", &half, &codes[0]).await);
    account(bench.code_from("192.0.2.9", &half, &bench.code(0)).await);
}

#[tokio::test(start_paused = true)]
async fn guesses_at_recovery_codes_are_bounded_too() {
    let bench = Bench::new().await;
    bench.alice_enrols().await;
    let half = bench.half("alice").await;
    let mut tried = 0;
    for index in 0..200 {
        let guess = format!("aaaa-bbbb-cccc-{index:04}");
        tried += u32::from(bench.check_code(&half, &guess).await == wrong());
    }
    assert_eq!(tried, 5);
}

#[tokio::test(start_paused = true)]
async fn what_was_shown_before_the_sessions_ended_is_worth_nothing() {
    let bench = Bench::new().await;
    let codes = bench.alice_enrols().await;
    let half = bench.half("alice").await;
    bench.context.clock.move_wall(Duration::from_secs(1));
    let now = bench.context.clock.wall();
    let alice = "alice".parse().unwrap();
    let ended = revocations::end_user(&*bench.context.store, &alice, now);
    let (check, op) = ended.await.unwrap();
    bench
        .context
        .store
        .txn(vec![check], vec![op])
        .await
        .unwrap();
    assert_eq!(bench.check_code(&half, &bench.code(0)).await, wrong());
    assert_eq!(bench.check_code(&half, &codes[0]).await, wrong());
    let stale = bench.shown("alice", half.as_of_ms, &["pwd", "mfa"]);
    let (outcome, _) = bench.enrol(stale, &bench.code(0)).await;
    assert_eq!(outcome, wrong());
    // Nor is anything of who may not sign in.
    let stale = bench.shown("bob", i64::MAX, &["pwd"]);
    assert_eq!(bench.enrol(stale, &bench.code(0)).await.0, wrong());
}

#[tokio::test(start_paused = true)]
async fn the_fabric_asks_for_one_or_for_none() {
    let bench = Bench::new().await;
    bench.policy(SecondFactor::Required).await;
    let half = bench.half("alice").await;
    assert!(half.must_enrol && !half.authenticator);
    let shown = bench.shown("alice", half.as_of_ms, &["pwd"]);
    assert_eq!(bench.enrol(shown.clone(), "000000").await.0, wrong());
    let (outcome, codes) = bench.enrol(shown, &bench.code(0)).await;
    let enrolled = account(outcome);
    assert_eq!((enrolled.methods.len(), codes.len()), (3, 10));
    // Nobody takes away what is asked for.
    let remove = |as_of_ms| RemoveAuthenticatorRequest {
        shown: Some(bench.shown("alice", as_of_ms, &["pwd", "otp", "mfa"])),
    };
    let edge = bench.admitted().await;
    let kept = remove_authenticator(&bench.context, &edge, &remove(enrolled.as_of_ms)).await;
    let kept = kept.unwrap().outcome.unwrap();
    assert_eq!(kept, refusal(PasswordRefusalKind::Unfit, 0));
    // Off, those who have one are not asked for it, and nobody sets one up.
    bench.policy(SecondFactor::Off).await;
    let plain = account(bench.check("alice", PASSWORD).await);
    assert_eq!(plain.methods, ["pwd"]);
    let (outcome, _) = bench
        .enrol(
            bench.shown("alice", plain.as_of_ms, &["pwd", "mfa"]),
            &bench.code(1),
        )
        .await;
    assert_eq!(outcome, wrong());
    bench.policy(SecondFactor::Optional).await;
    let removed = remove_authenticator(&bench.context, &edge, &remove(plain.as_of_ms)).await;
    account(removed.unwrap().outcome.unwrap());
    account(bench.check("alice", PASSWORD).await);
    let left = bench
        .context
        .store
        .get("secondFactors/alice")
        .await
        .unwrap();
    assert_eq!(left, None);
}

#[tokio::test(start_paused = true)]
async fn what_guards_an_account_is_shown_before_it_is_changed() {
    let bench = Bench::new().await;
    bench.alice_enrols().await;
    let half = bench.half("alice").await;
    let wanted = refusal(PasswordRefusalKind::SecondFactor, 0);
    let (outcome, _) = bench
        .enrol(
            bench.shown("alice", half.as_of_ms, &["pwd"]),
            &bench.code(0),
        )
        .await;
    assert_eq!(outcome, wanted, "another app");
    let (outcome, _) = bench
        .enrol(
            bench.shown("alice", half.as_of_ms, &["otp", "mfa"]),
            &bench.code(0),
        )
        .await;
    assert_eq!(outcome, wrong(), "without the password");
    let remove = RemoveAuthenticatorRequest {
        shown: Some(bench.shown("alice", half.as_of_ms, &["pwd"])),
    };
    let edge = bench.admitted().await;
    let refused = remove_authenticator(&bench.context, &edge, &remove).await;
    assert_eq!(refused.unwrap().outcome.unwrap(), wanted);
    // Nor does a stolen password lock its owner out.
    assert_eq!(bench.change("alice", PASSWORD, NEXT).await, wanted);
    let change = ChangePasswordRequest {
        now: Some(bench.asking_with(&bench.said(
            Word::Began,
            "alice",
            half.as_of_ms,
            &["pwd", "otp", "mfa"],
        ))),
        new_password: NEXT.to_owned(),
    };
    let changed = change_password(&bench.context, &edge, &change).await;
    let changed = account(changed.unwrap().outcome.unwrap());
    assert_eq!(changed.methods, ["pwd", "otp", "mfa"]);
}

#[tokio::test(start_paused = true)]
async fn signing_out_everywhere_ends_what_began_before_and_lets_one_go_on() {
    let bench = Bench::new().await;
    let before = account(bench.check("alice", PASSWORD).await);
    bench.context.clock.move_wall(Duration::from_secs(1));
    let request = |as_of_ms| EndUserSessionsRequest {
        shown: Some(bench.shown("alice", as_of_ms, &["pwd"])),
    };
    let edge = bench.admitted().await;
    let on = end_user_sessions(&bench.context, &edge, &request(before.as_of_ms)).await;
    let on = account(on.unwrap().outcome.unwrap());
    let ended = bench.ended("alice").await.unwrap();
    assert!(before.as_of_ms < ended && ended <= on.as_of_ms);
    // What is over ends nothing.
    let late = end_user_sessions(&bench.context, &edge, &request(before.as_of_ms)).await;
    assert_eq!(late.unwrap().outcome.unwrap(), wrong());
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_of_second_factors_is_refused() {
    let bench = Bench::new().await;
    let edge = bench.admitted().await;
    for shown in [
        None,
        Some(unsaid("Not an id!", 0, Vec::new())),
        Some(Shown {
            client: "nowhere".to_owned(),
            ..bench.shown("alice", 0, &[])
        }),
    ] {
        let request = CheckCodeRequest {
            shown,
            code: String::new(),
        };
        let found = check_code(&bench.context, &edge, &request).await;
        assert!(matches!(found, Err(Refusal::Protocol(_))));
    }
    let short = EnrolAuthenticatorRequest {
        shown: Some(bench.shown("alice", 0, &["pwd"])),
        key: vec![1; 19].into(),
        code: String::new(),
    };
    let found = enrol_authenticator(&bench.context, &edge, &short).await;
    assert!(matches!(found, Err(Refusal::Protocol(_))));
}

#[tokio::test(start_paused = true)]
async fn what_an_edge_says_by_itself_changes_nobodys_account() {
    let bench = Bench::new().await;
    let signed_in = account(bench.check("alice", PASSWORD).await);
    let as_of_ms = signed_in.as_of_ms;
    let pwd = || vec!["pwd".to_owned()];
    let both = || vec!["pwd".to_owned(), "mfa".to_owned()];
    let with = |shown| Shown {
        proof: signed_in.proof.clone(),
        ..shown
    };
    let began = |methods| bench.said(Word::Began, "alice", as_of_ms, methods);
    for (why, shown) in [
        ("no word", unsaid("alice", as_of_ms, both())),
        ("forever", unsaid("alice", i64::MAX, both())),
        ("for another", with(unsaid("carol", as_of_ms, pwd()))),
        ("of less", with(unsaid("alice", as_of_ms, both()))),
        ("of then", with(unsaid("alice", as_of_ms + 1, pwd()))),
        ("of a session", began(&["pwd", "mfa"])),
        ("of a sign-in", with(unsaid("alice", as_of_ms, pwd()))),
    ] {
        let (outcome, _) = bench.enrol(shown, &bench.code(0)).await;
        assert_eq!(outcome, wrong(), "{why}");
        bench.context.lockout.forget("SECOND FACTOR OF alice");
    }
    // What is told of an account, codes and passwords take the same word.
    let edge = bench.admitted().await;
    let request = ShowAccountRequest {
        shown: Some(unsaid("alice", as_of_ms, pwd())),
    };
    let told = show_account(&bench.context, &edge, &request).await;
    assert!(told.unwrap().user_handle.is_empty());
    bench.alice_enrols().await;
    let request = CheckCodeRequest {
        shown: Some(unsaid("alice", i64::MAX, pwd())),
        code: bench.code(0),
    };
    let checked = check_code(&bench.context, &edge, &request).await;
    assert_eq!(checked.unwrap().outcome.unwrap(), wrong());
    let half = bench.half("alice").await;
    let asked = bench.asking_with(&unsaid("alice", half.as_of_ms, both()));
    let checked = check_password(&bench.context, &edge, &asked).await;
    let outcome = checked.unwrap().outcome.unwrap();
    assert!(matches!(outcome, Outcome::Half(_)), "{outcome:?}");
    let change = ChangePasswordRequest {
        now: Some(asked),
        new_password: NEXT.to_owned(),
    };
    let changed = change_password(&bench.context, &edge, &change).await;
    let wanted = refusal(PasswordRefusalKind::SecondFactor, 0);
    assert_eq!(changed.unwrap().outcome.unwrap(), wanted);
}

#[tokio::test(start_paused = true)]
async fn controls_word_is_none_once_no_session_is_left_of_it() {
    let bench = Bench::new().await;
    bench.alice_enrols().await;
    let as_of_ms = bench.half("alice").await.as_of_ms;
    let began = bench.said(Word::Began, "alice", as_of_ms, &["pwd", "mfa"]);
    let edge = bench.admitted().await;
    let asked = bench.asking_with(&began);
    let mut outcomes = Vec::new();
    for wait in [SESSION_LIFE, Duration::from_secs(60)] {
        bench.context.clock.move_wall(wait);
        let checked = check_password(&bench.context, &edge, &asked).await;
        outcomes.push(checked.unwrap().outcome.unwrap());
    }
    assert!(matches!(&outcomes[0], Outcome::Account(_)), "{outcomes:?}");
    assert!(matches!(&outcomes[1], Outcome::Half(_)), "{outcomes:?}");
    let request = CheckCodeRequest {
        shown: Some(began),
        code: bench.code(0),
    };
    let checked = check_code(&bench.context, &edge, &request).await;
    assert_eq!(checked.unwrap().outcome.unwrap(), wrong());
}

#[tokio::test(start_paused = true)]
async fn a_change_asks_for_the_password_anew_however_a_session_goes_on() {
    let bench = Bench::new().await;
    bench.alice_enrols().await;
    let half = bench.half("alice").await;
    let session = account(bench.check_code(&half, &bench.code(0)).await);
    let of = |account: &Account| Shown {
        proof: account.proof.clone(),
        ..unsaid("alice", account.as_of_ms, account.methods.clone())
    };
    let edge = bench.admitted().await;
    let remove = async |shown| {
        let request = RemoveAuthenticatorRequest { shown: Some(shown) };
        let answer = remove_authenticator(&bench.context, &edge, &request).await;
        answer.unwrap().outcome.unwrap()
    };
    assert_eq!(remove(of(&session)).await, wrong());
    let request = EndUserSessionsRequest {
        shown: Some(of(&session)),
    };
    let on = end_user_sessions(&bench.context, &edge, &request).await;
    let on = account(on.unwrap().outcome.unwrap());
    assert_eq!(on.methods, ["pwd", "otp", "mfa"]);
    assert_eq!(remove(of(&on)).await, wrong(), "by the word for a session");
    // The password, typed in the session, and what was shown for that.
    let typed = check_password(&bench.context, &edge, &bench.asking_with(&of(&on))).await;
    let typed = account(typed.unwrap().outcome.unwrap());
    assert_eq!(typed.methods, ["pwd", "otp", "mfa"]);
    let later = Duration::from_secs(16 * 60);
    bench.context.clock.move_wall(later);
    assert_eq!(remove(of(&typed)).await, wrong(), "too long ago");
    let typed = check_password(&bench.context, &edge, &bench.asking_with(&of(&on))).await;
    account(remove(of(&account(typed.unwrap().outcome.unwrap()))).await);
    // All that ended with it.
    let typed = check_password(&bench.context, &edge, &bench.asking_with(&of(&on))).await;
    let typed = account(typed.unwrap().outcome.unwrap());
    assert_eq!(typed.methods, ["pwd"]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_store_is_no_wrong_attempt() {
    let bench = Bench::new().await;
    let signed_in = account(bench.check("alice", PASSWORD).await);
    let edge = bench.admitted().await;
    let shown = || Some(bench.shown("alice", signed_in.as_of_ms, &["pwd"]));
    bench.put("secondFactors/alice", vec![0xff]).await;
    for _ in 0..10 {
        let request = RemoveAuthenticatorRequest { shown: shown() };
        let removed = remove_authenticator(&bench.context, &edge, &request).await;
        assert!(matches!(removed, Err(Refusal::Corrupt(_))), "{removed:?}");
        let request = EndUserSessionsRequest { shown: shown() };
        let ended = end_user_sessions(&bench.context, &edge, &request).await;
        assert!(matches!(ended, Err(Refusal::Corrupt(_))), "{ended:?}");
    }
    bench.put("secondFactors/alice", Vec::new()).await;
    let request = EndUserSessionsRequest { shown: shown() };
    let ended = end_user_sessions(&bench.context, &edge, &request).await;
    account(ended.unwrap().outcome.unwrap());
}

#[tokio::test(start_paused = true)]
async fn members_of_a_group_that_needs_one_set_it_up_and_keep_it_and_others_need_none() {
    let bench = Bench::new().await;
    let settings = |groups: &[&str]| Settings {
        name: "settings".to_owned(),
        second_factor_groups: groups.iter().map(ToString::to_string).collect(),
        ..Settings::default()
    };
    let others = settings(&["admins"]).encode_to_vec();
    bench.put("settings", others).await;
    assert!(matches!(
        bench.check("alice", PASSWORD).await,
        Outcome::Account(_)
    ));
    let hers = settings(&["admins", "staff"]).encode_to_vec();
    bench.put("settings", hers).await;
    let half = bench.half("alice").await;
    assert!(half.must_enrol);
    let shown =
        |half: &HalfProven, methods: &[&str]| bench.shown(&half.user, half.as_of_ms, methods);
    let (outcome, _) = bench.enrol(shown(&half, &["pwd"]), &bench.code(0)).await;
    assert!(matches!(outcome, Outcome::Account(_)), "{outcome:?}");
    let half = bench.half("alice").await;
    assert!(!half.must_enrol);
    let all = shown(&half, &["pwd", "otp", "mfa"]);
    let edge = bench.admitted().await;
    let request = ShowAccountRequest {
        shown: Some(all.clone()),
    };
    let account = show_account(&bench.context, &edge, &request).await.unwrap();
    assert!(account.second_factor_required);
    let request = RemoveAuthenticatorRequest { shown: Some(all) };
    let kept = remove_authenticator(&bench.context, &edge, &request).await;
    assert!(
        matches!(kept.unwrap().outcome, Some(Outcome::Refusal(_))),
        "nobody is left without what is needed"
    );
}
