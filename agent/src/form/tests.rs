//! Sign-ins by forms, without an app.

use std::time::SystemTime;

use super::*;
use crate::credentials::Credentials;

fn sealed(name: &str, text: &'static [u8]) -> Sealed {
    let mut credentials = Credentials::default();
    credentials.add(&proto::fabric::Credential {
        name: name.to_owned(),
        vault_key: "k1".to_owned(),
        sealed: text.into(),
    });
    let found = credentials.find(&name.parse().unwrap());
    found.expect("it was added").clone()
}

const ALICE: &str = "credentials/wiki/local/alice";
const SHARED: &str = "credentials/wiki/shared";

/// As a user of their own credential goes by it.
fn own(user: &str, text: &'static [u8]) -> Use {
    let name = format!("credentials/wiki/local/{user}");
    let kept = (name.parse().unwrap(), sealed(&name, text));
    Use::new(kept, (&wiki(), &who(user)))
}

/// As a user goes by that of all.
fn shared(user: &str, text: &'static [u8]) -> Use {
    let kept = (SHARED.parse().unwrap(), sealed(SHARED, text));
    Use::new(kept, (&wiki(), &who(user)))
}

fn wiki() -> AppId {
    "wiki".parse().unwrap()
}

fn who(user: &str) -> Who {
    Who {
        provider: None,
        user: user.parse().unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_rests_longer_each_time_and_another_does_not() {
    let sign_ins = SignIns::default();
    let (old, new) = (own("alice", b"old"), own("alice", b"new"));
    let end = |by: &Use, outcome, now| {
        let attempt = sign_ins.begin(by, now).expect("it may begin");
        attempt.ended(outcome, now);
    };
    let mut now = Instant::now();
    let mut pause = PAUSE;
    for _ in 0..9 {
        end(&old, Err(Because::Refused), now);
        now += pause - Duration::from_secs(1);
        let again = sign_ins.begin(&old, now);
        assert_eq!(again.err(), Some(Because::Refused));
        now += Duration::from_secs(1);
        pause = (pause * 2).min(PAUSE_MAX);
    }
    let late = sign_ins.begin(&old, now).expect("it may begin");
    end(&new, Ok(()), now);
    // What comes of the old one says nothing of the new.
    late.ended(Err(Because::Refused), now);
    end(&new, Ok(()), now);
}

#[tokio::test(start_paused = true)]
async fn what_goes_with_each_request_rests_if_it_was_never_taken_and_is_ones_own() {
    let sign_ins = SignIns::default();
    let name: CredentialName = ALICE.parse().unwrap();
    let shared: CredentialName = SHARED.parse().unwrap();
    let (old, new) = (sealed(ALICE, b"old"), sealed(ALICE, b"new"));
    let now = Instant::now();
    let refuse = |name: &CredentialName, sealed: &Sealed, times: u32| {
        for _ in 0..times {
            sign_ins.refused(name, sealed, now);
        }
        sign_ins.rests(name, sealed, now).is_some()
    };
    assert!(!refuse(&name, &old, 2));
    assert!(refuse(&name, &old, 1));
    assert_eq!(sign_ins.rests(&name, &new, now), None);
    assert_eq!(sign_ins.rests(&name, &old, now + PAUSE), None);
    assert_eq!(sign_ins.rests(&name, &new, now), None);
    sign_ins.taken(&name, &new, now);
    assert!(!refuse(&name, &new, 10));
    assert!(!refuse(&shared, &sealed(SHARED, b"old"), 10));
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_the_credential_before_says_nothing_of_the_one_that_is_there() {
    let sign_ins = SignIns::default();
    let name: CredentialName = ALICE.parse().unwrap();
    let (old, new) = (sealed(ALICE, b"old"), sealed(ALICE, b"new"));
    let now = Instant::now();
    assert_eq!(sign_ins.rests(&name, &old, now), None);
    assert_eq!(sign_ins.rests(&name, &new, now), None);
    for _ in 0..REFUSALS_MAX {
        sign_ins.refused(&name, &new, now);
    }
    sign_ins.taken(&name, &old, now);
    assert_eq!(sign_ins.rests(&name, &new, now), Some(Because::Refused));
    let other = sealed(ALICE, b"other");
    assert_eq!(sign_ins.rests(&name, &other, now), None);
    sign_ins.doubted(&own("alice", b"new"), now);
    assert_eq!(sign_ins.rests(&name, &other, now), None);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_given_up_holds_nobody_back_but_many_do() {
    let sign_ins = SignIns::default();
    let now = Instant::now();
    let one = own("alice", b"one");
    let begin = || sign_ins.begin(&one, now);
    for _ in 0..10 {
        let attempt = begin().expect("it may begin");
        assert_eq!(begin().err(), Some(Because::UnderWay));
        drop(attempt);
    }
    for _ in 0..ABANDONED_MAX {
        begin().expect("it may begin").is_sent();
    }
    assert_eq!(begin().err(), Some(Because::Failed));
    assert!(sign_ins.begin(&one, now + SHORT_PAUSE).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_that_the_app_asks_for_again_at_once_is_not_repeated() {
    let sign_ins = SignIns::default();
    let name: CredentialName = ALICE.parse().unwrap();
    let one = sealed(ALICE, b"one");
    let now = Instant::now();
    let sign_in = sign_ins.of((&wiki(), &who("alice")), (&name, &one), now);
    let begun = sign_in.begin();
    sign_in.has_begun(now);
    assert!(sign_in.is_doubtful(begun, now));
    assert!(!sign_in.is_doubtful(begun, now + FRESH));
    let by = own("alice", b"one");
    sign_ins.doubted(&by, now);
    let again = sign_ins.begin(&by, now);
    assert_eq!(again.err(), Some(Because::Refused));
    // An app that has shown the user in may end that at any time.
    sign_in.is_shown(begun);
    assert!(!sign_in.is_doubtful(begun, now));
}

#[tokio::test(start_paused = true)]
async fn what_comes_of_one_attempt_does_not_wipe_what_came_of_another() {
    let sign_ins = SignIns::default();
    let now = Instant::now();
    for (user, outcome) in [
        ("alice", Some(Ok(()))),
        ("bob", Some(Err(Because::Failed))),
        ("carol", None),
    ] {
        let by = own(user, b"one");
        let mut attempt = sign_ins.begin(&by, now).expect("it may begin");
        attempt.is_sent();
        // A request of the user's, in by an earlier sign-in, is led to the form.
        sign_ins.doubted(&by, now);
        match outcome {
            Some(outcome) => attempt.ended(outcome, now),
            None => drop(attempt),
        }
        let later = now + PAUSE - Duration::from_secs(1);
        let held = sign_ins.holds_back(&by, later);
        assert_eq!(held, Some(Because::Refused), "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shared_credential_rests_for_all_only_when_several_users_in_a_row_are_refused() {
    let sign_ins = SignIns::default();
    let now = Instant::now();
    let by = |user: &str| shared(user, b"one");
    let end = |user: &str, now, outcome| {
        let by = by(user);
        let begun = sign_ins.begin(&by, now).expect("it may begin");
        begun.ended(outcome, now);
    };
    let refuse = |user: &str| end(user, now, Err(Because::Refused));
    refuse("alice");
    assert_eq!(
        sign_ins.holds_back(&by("alice"), now),
        Some(Because::Refused)
    );
    assert_eq!(sign_ins.holds_back(&by("bob"), now), None);
    // One user alone, however often.
    let mut later = now;
    for _ in 0..10 {
        later += PAUSE_MAX;
        end("alice", later, Err(Because::Refused));
    }
    refuse("bob");
    end("carol", now, Ok(()));
    for user in ["dave", "erin"] {
        refuse(user);
    }
    assert_eq!(sign_ins.holds_back(&by("carol"), now), None);
    refuse("frank");
    for user in ["carol", "grace"] {
        let held = sign_ins.holds_back(&by(user), now);
        assert_eq!(held, Some(Because::Refused), "{user}");
        let begun = by(user);
        let begun = sign_ins.begin(&begun, now);
        assert_eq!(begun.err(), Some(Because::Refused), "{user}");
    }
    assert_eq!(sign_ins.holds_back(&by("grace"), now + PAUSE), None);
    // Another one is tried at once.
    let other = shared("grace", b"other");
    assert_eq!(sign_ins.holds_back(&other, now), None);
}

#[tokio::test(start_paused = true)]
async fn users_of_a_shared_credential_take_turns() {
    let sign_ins = SignIns::default();
    let name: CredentialName = SHARED.parse().unwrap();
    let one = sealed(SHARED, b"one");
    let turn = |user: &str| {
        let of = sign_ins.of((&wiki(), &who(user)), (&name, &one), Instant::now());
        Arc::clone(&of.turn)
    };
    assert!(Arc::ptr_eq(&turn("alice"), &turn("bob")));
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_of_one_user_and_one_credential_and_ends_unused() {
    let sign_ins = SignIns::default();
    let name: CredentialName = ALICE.parse().unwrap();
    let now = Instant::now();
    let (old, new) = (sealed(ALICE, b"old"), sealed(ALICE, b"new"));
    let place = Place {
        segment: "",
        host: "wiki.example.com",
        is_main_host: true,
        path: "/",
        inner_path: None,
        secure: true,
        now: SystemTime::UNIX_EPOCH,
    };
    let of =
        |user: &str, sealed: &Sealed, now| sign_ins.of((&wiki(), &who(user)), (&name, sealed), now);
    let first = of("alice", &old, now);
    let begun = first.begin();
    first.take_in(place, begun, [&b"a=1; Path=/"[..]].into_iter());
    first.has_begun(now);
    // An answer that is late is one to a sign-in that is over.
    first.take_in(place, begun - 1, [&b"a=2; Path=/"[..]].into_iter());
    let cookies = |sign_in: &SignIn| {
        let field = sign_in.cookies(place, b"");
        field.map(|field| String::from_utf8(field.to_vec()).unwrap())
    };
    let again = of("alice", &old, now);
    assert_eq!(
        (again.begun(), cookies(&again).as_deref()),
        (1, Some("a=1"))
    );
    assert_eq!(of("bob", &old, now).begun(), 0);
    let later = of("alice", &old, now + IDLE_MAX);
    assert_eq!((later.begun(), cookies(&later)), (0, None));
    later.begin();
    later.has_begun(now);
    assert_eq!(of("alice", &new, now).begun(), 0);
    for number in 0..SIGN_INS_MAX + 10 {
        of(&format!("u{number}"), &old, now);
    }
    assert_eq!(lock(&sign_ins.kept).sign_ins.len(), SIGN_INS_MAX);
}

#[tokio::test(start_paused = true)]
async fn what_is_idle_goes_by_itself_and_the_bound_of_pauses_holds() {
    let sign_ins = SignIns::default();
    let name: CredentialName = ALICE.parse().unwrap();
    let one = sealed(ALICE, b"one");
    let now = Instant::now();
    sign_ins.of((&wiki(), &who("alice")), (&name, &one), now);
    let later = now + IDLE_MAX;
    sign_ins.of((&wiki(), &who("bob")), (&name, &one), later);
    assert_eq!(lock(&sign_ins.kept).sign_ins.len(), 1);
    // Whom it costs least: that which has rested.
    sign_ins.doubted(&own("alice", b"one"), now);
    for number in 0..SIGN_INS_MAX {
        let name = format!("credentials/wiki/local/u{number}");
        sign_ins.taken(&name.parse().unwrap(), &one, now);
    }
    assert_eq!(lock(&sign_ins.pauses).len(), SIGN_INS_MAX);
    let held = sign_ins.rests(&name, &one, now);
    assert_eq!(held, Some(Because::Refused));
}
