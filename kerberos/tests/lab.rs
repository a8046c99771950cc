//! Against a real KDC and a real application: who gets in as whom, and what a KDC costs that is away.
//!
//! Each test has a lab of its own, and is run in a process of its own, as the library reads its environment.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::future::join_all;
use kerberos::{
    Ask, Blame, BreakerState, Failure, Framing, Kerberos, Kind, Mutual, Settings, Spn, Stage,
    Token, UserName,
};
use kit::kerberos::{Accepted, Account, App, Lab};
use tokio::time::{Instant, advance, timeout};

/// What a KDC that refuses connections may cost.
const AT_ONCE: Duration = Duration::from_secs(2);
/// What a silent one may.
const DEADLINE: Duration = Duration::from_secs(5);
/// Beyond it, on a machine with many tests at once.
const SLACK: Duration = Duration::from_secs(1);

/// Alice, asked for by her user principal name, as applications see her.
const ALICE: &str = "alice\\@lab.test@LAB.TEST";

fn settings(lab: &Lab, account: Account) -> Settings {
    let principal = lab.principal(account).parse().expect("a principal");
    Settings::new(principal, lab.keytab(account))
}

fn load(lab: &Lab, account: Account) -> Kerberos {
    Kerberos::load(settings(lab, account)).expect("library and keytab are there")
}

fn upn(name: &str) -> UserName {
    UserName::upn(name).expect("a name")
}

fn ask(user: &UserName, spn: &str) -> Ask {
    Ask {
        user: user.clone(),
        target: Spn::parse(spn).expect("a service"),
        bindings: None,
        framing: Framing::Spnego,
        mutual: true,
    }
}

/// Runs on a runtime that does not wait for exchanges that nothing can stop.
fn on_runtime(paused: bool, work: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(paused).build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(work);
    runtime.shutdown_background();
}

/// Shows a token to an application; whom it took the caller for, and whether it proved itself.
fn show(lab: &Lab, app: App, token: Token) -> (Option<String>, Result<Mutual, Failure>) {
    let visit = lab.visit(app, "/whoami", Some(&token.header));
    let challenge = visit.challenges.first().map(|value| value.as_bytes());
    (visit.user, token.pending.finish(challenge))
}

#[test]
fn users_get_in_where_the_directory_lets_them() {
    Lab::within(
        "users_get_in_where_the_directory_lets_them",
        &[],
        |lab| {
            // Somebody else's tickets, as the process's default: the app must not see bsmith. And the agent's realm is not the default.
            let conf = std::fs::read_to_string(lab.krb5_conf()).expect("a file");
            let conf = conf.replace("default_realm = LAB.TEST", "default_realm = ELSEWHERE.TEST");
            let of_elsewhere = lab.folder().join("elsewhere.conf");
            std::fs::write(&of_elsewhere, conf).expect("the folder is ours");
            vec![
                ("KRB5_CONFIG".to_owned(), of_elsewhere.display().to_string()),
                ("KRB5CCNAME".to_owned(), lab.sign_in("bsmith")),
                (
                    "KRB5_CLIENT_KTNAME".to_owned(),
                    lab.keytab(Account::WithoutDelegation).display().to_string(),
                ),
            ]
        },
        |lab| {
            on_runtime(false, async {
                users_and_names(lab).await;
                refusals(lab).await;
                refused_by_the_application(lab).await;
                accounts_of_the_agent(lab).await;
                frames_and_bindings(lab).await;
                answers_that_are_none(lab).await;
            });
        },
    );
}

async fn users_and_names(lab: &Lab) {
    let kerberos = load(lab, Account::Good);
    let realm = kerberos.realm().clone();
    let account = |name| UserName::account(name, &realm).expect("a name");
    for (user, seen) in [
        (upn("alice@lab.test"), ALICE),
        (account("alice"), "alice@LAB.TEST"),
        (upn("bob@corp.example"), "bob\\@corp.example@LAB.TEST"),
        (account("bsmith"), "bsmith@LAB.TEST"),
        (
            UserName::local_part("alice@corp.example", &realm).expect("a name"),
            "alice@LAB.TEST",
        ),
    ] {
        for _ in 0..3 {
            let token = kerberos.token(ask(&user, lab.spn(App::App))).await;
            let token = token.unwrap_or_else(|failure| panic!("{user}: {failure}"));
            let (found, mutual) = show(lab, App::App, token);
            assert_eq!(found.as_deref(), Some(seen), "{user}");
            assert_eq!(mutual, Ok(Mutual::Verified), "{user}");
        }
    }
    let stats = kerberos.stats();
    // Two of the five are the same.
    assert_eq!((stats.tickets, stats.fetches), (4, 4));
    assert_eq!((stats.tokens, stats.agent_tickets), (15, 1));
    assert!(stats.agent_ticket_left.expect("a ticket") > Duration::from_secs(60));
}

async fn refusals(lab: &Lab) {
    let kerberos = load(lab, Account::Good);
    let ghost = lab.ghost_spn();
    let (app, other) = (lab.spn(App::App), lab.spn(App::Other));
    for (user, spn, stage, kind, number, blame) in [
        (
            "alice@lab.test",
            other,
            Stage::Proxy,
            Kind::NotAllowed,
            13,
            Blame::User,
        ),
        (
            "carol@lab.test",
            app,
            Stage::Proxy,
            Kind::NotAllowed,
            13,
            Blame::User,
        ),
        (
            "dave@lab.test",
            app,
            Stage::SelfTicket,
            Kind::Policy,
            12,
            Blame::User,
        ),
        (
            "nobody@lab.test",
            app,
            Stage::SelfTicket,
            Kind::NoUser,
            6,
            Blame::User,
        ),
        (
            "Nobody@else.where",
            app,
            Stage::SelfTicket,
            Kind::NoUser,
            6,
            Blame::User,
        ),
        (
            "alice@lab.test",
            &ghost,
            Stage::Proxy,
            Kind::NoService,
            7,
            Blame::Setup,
        ),
    ] {
        let fetches = kerberos.stats().fetches;
        for _ in 0..3 {
            let failure = kerberos.token(ask(&upn(user), spn)).await;
            let failure = failure.expect_err("refused");
            let found = (failure.stage, failure.kind, failure.number, failure.blame());
            assert_eq!(
                found,
                (stage, kind, Some(number), blame),
                "{user} {spn}: {failure}"
            );
        }
        // The KDC is asked once.
        assert_eq!(kerberos.stats().fetches, fetches + 1, "{user} {spn}");
    }
    assert_eq!(kerberos.stats().tickets, 0);
}

/// An application whose keytab is older than its account's password.
async fn refused_by_the_application(lab: &Lab) {
    let kerberos = load(lab, Account::Good);
    let token = kerberos
        .token(ask(&upn("alice@lab.test"), lab.spn(App::Stale)))
        .await;
    let (seen, mutual) = show(lab, App::Stale, token.expect("a ticket"));
    let failure = mutual.expect_err("its keytab is old");
    assert_eq!(seen, None);
    let found = (failure.stage, failure.kind, failure.number, failure.blame());
    assert_eq!(
        found,
        (Stage::App, Kind::Refused, Some(44), Blame::Setup),
        "{failure}"
    );
    assert!(failure.hint.contains("keytab"), "{}", failure.hint);
}

async fn accounts_of_the_agent(lab: &Lab) {
    let alice = upn("alice@lab.test");
    for (account, stage, kind, number, blame) in [
        (
            Account::WithoutTransition,
            Stage::Proxy,
            Kind::NotAllowed,
            Some(13),
            Blame::User,
        ),
        (
            Account::WithoutDelegation,
            Stage::Proxy,
            Kind::NotAllowed,
            Some(13),
            Blame::User,
        ),
        (
            Account::Stale,
            Stage::Agent,
            Kind::Credential,
            Some(24),
            Blame::Setup,
        ),
    ] {
        let kerberos = load(lab, account);
        let failure = kerberos.token(ask(&alice, lab.spn(App::App))).await;
        let failure = failure.expect_err("not as it should be");
        let found = (failure.stage, failure.kind, failure.number, failure.blame());
        assert_eq!(
            found,
            (stage, kind, number, blame),
            "{account:?}: {failure}"
        );
    }
    // A keytab that goes away is named, where the library has a text for everything.
    let folder = tempfile::tempdir().expect("a folder");
    let keytab = folder.path().join("agent.keytab");
    std::fs::copy(lab.keytab(Account::Good), &keytab).expect("a keytab");
    let principal = lab.principal(Account::Good).parse().expect("a principal");
    let kerberos = Kerberos::load(Settings::new(principal, &keytab)).expect("it is there");
    std::fs::remove_file(&keytab).expect("it is ours");
    let failure = kerberos.agent_ticket().await.expect_err("no key");
    assert_eq!(
        (failure.stage, failure.kind),
        (Stage::Agent, Kind::Credential)
    );
    assert!(
        failure
            .text
            .contains("agent.keytab cannot be read: No such file"),
        "{failure}"
    );
    let left = load(lab, Account::Good)
        .agent_ticket()
        .await
        .expect("a ticket");
    assert!(left > Duration::from_secs(60));
    assert!(Kerberos::load(settings_of(&keytab, lab)).is_err());
}

fn settings_of(keytab: &std::path::Path, lab: &Lab) -> Settings {
    let principal = lab.principal(Account::Good).parse().expect("a principal");
    Settings::new(principal, keytab)
}

/// MIT's own acceptor reads both framings, and checks what a token is bound to.
async fn frames_and_bindings(lab: &Lab) {
    let kerberos = load(lab, Account::Good);
    let certificates = [(); 2].map(|()| {
        let own = rcgen::generate_simple_self_signed(["app.lab.test".to_owned()]);
        own.expect("a certificate").cert.der().to_vec()
    });
    let bindings = certificates.each_ref().map(|certificate| {
        kerberos::Bindings::tls_server_end_point(certificate).expect("bindings")
    });
    let expected = certificates.each_ref().map(|certificate| {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
        [b"tls-server-end-point:", hash.as_ref()].concat()
    });
    for framing in [Framing::Spnego, Framing::Kerberos] {
        for (bound, acceptors, accepted) in [
            (None, None, true),
            (Some(&bindings[0]), Some(&expected[0]), true),
            (Some(&bindings[0]), None, true),
            (Some(&bindings[0]), Some(&expected[1]), false),
        ] {
            let token = kerberos.token(Ask {
                bindings: bound.cloned(),
                framing,
                ..ask(&upn("alice@lab.test"), lab.spn(App::App))
            });
            let token = token.await.expect("a token").header;
            let token = token.strip_prefix("Negotiate ").expect("the scheme");
            let first = BASE64_STANDARD.decode(token).expect("base64");
            // SPNEGO's object identifier, or that of Kerberos.
            let oid: &[u8] = match framing {
                Framing::Spnego => b"\x06\x06\x2b\x06\x01\x05\x05\x02",
                Framing::Kerberos => b"\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02",
            };
            assert!(first[4..].starts_with(oid), "{framing:?}");
            let found = lab.accept(token, acceptors.map(|it| &it[..]));
            let expected = match accepted {
                true => Accepted::As(ALICE.to_owned()),
                false => Accepted::Not("BadChannelBindingsError".to_owned()),
            };
            assert_eq!(found, expected, "{framing:?}, {bound:?}");
        }
        let bare = Ask {
            framing,
            ..ask(&upn("alice@lab.test"), lab.spn(App::App))
        };
        let token = kerberos.token(bare).await.expect("a token");
        let (seen, mutual) = show(lab, App::App, token);
        assert_eq!(seen.as_deref(), Some(ALICE));
        assert_eq!(mutual, Ok(Mutual::Verified), "{framing:?}");
    }
}

async fn answers_that_are_none(lab: &Lab) {
    let kerberos = load(lab, Account::Good);
    let alice = upn("alice@lab.test");
    // A token is good once.
    let token = kerberos
        .token(ask(&alice, lab.spn(App::App)))
        .await
        .expect("a token");
    let [first, second] = [(); 2].map(|()| lab.visit(App::App, "/whoami", Some(&token.header)));
    assert_eq!((first.status, second.status), (200, 401));

    let verdict = async |mutual, answer: Option<&[u8]>| {
        let ask = Ask {
            mutual,
            ..ask(&alice, lab.spn(App::App))
        };
        let token = kerberos.token(ask).await.expect("a token");
        token.pending.finish(answer).map_err(|failure| failure.kind)
    };
    // The proof is of the answer to another token.
    let of_another = first.challenges[0].as_bytes();
    assert_eq!(verdict(false, Some(of_another)).await, Err(Kind::Refused));
    assert_eq!(verdict(false, None).await, Ok(Mutual::Absent));
    assert_eq!(verdict(true, None).await, Err(Kind::Unproven));
    for (answer, kind) in [
        ("NTLM", Kind::NotKerberos),
        ("Basic realm=\"app\"", Kind::NotKerberos),
        ("Negotiate", Kind::Refused),
        ("Negotiate !", Kind::Refused),
        ("Negotiate AAAA", Kind::Refused),
        // NegTokenResp that is rejected, and one that chose NTLM.
        ("Negotiate oQcwBaADCgEC", Kind::Refused),
        (
            "Negotiate oRUwE6ADCgEBoQwGCisGAQQBgjcCAgo=",
            Kind::NotKerberos,
        ),
        // Accepted, it says, and proves nothing.
        ("Negotiate oQcwBaADCgEA", Kind::Unproven),
    ] {
        let found = verdict(true, Some(answer.as_bytes())).await;
        assert_eq!(found, Err(kind), "{answer}");
    }
    for path in ["/ntlm", "/basic"] {
        let challenge = lab.visit(App::App, path, None).challenges;
        let found = verdict(false, challenge.first().map(String::as_bytes)).await;
        assert_eq!(found, Err(Kind::NotKerberos), "{path}");
    }
}

#[test]
fn a_kdc_that_is_away_costs_little() {
    Lab::within(
        "a_kdc_that_is_away_costs_little",
        &[("LAB_CROWD", "20")],
        |_| Vec::new(),
        |lab| {
            on_runtime(false, async {
                stopped(lab).await;
                silent(lab).await;
            });
        },
    );
}

fn crowd(number: usize) -> UserName {
    upn(&format!("crowd{number:04}@lab.test"))
}

async fn stopped(lab: &Lab) {
    let kerberos = load(lab, Account::Good);
    let app = lab.spn(App::App);
    let cached = crowd(0);
    kerberos.token(ask(&cached, app)).await.expect("a token");
    lab.stop_kdc();
    for _ in 0..5 {
        let began = Instant::now();
        let failure = kerberos
            .token(ask(&crowd(1), app))
            .await
            .expect_err("no KDC");
        assert_eq!(
            (failure.kind, failure.blame()),
            (Kind::Unreachable, Blame::Kdc),
            "{failure}"
        );
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        // Whose ticket is there goes on.
        let token = kerberos.token(ask(&cached, app)).await.expect("a token");
        assert_eq!(show(lab, App::App, token).1, Ok(Mutual::Verified));
    }
    // An account that has no ticket yet: the agent's own stage.
    let failure = load(lab, Account::Good)
        .agent_ticket()
        .await
        .expect_err("no KDC");
    assert_eq!(
        (failure.stage, failure.kind),
        (Stage::Agent, Kind::Unreachable)
    );
    lab.start_kdc();
    kerberos
        .token(ask(&crowd(1), app))
        .await
        .expect("the KDC is back");
}

async fn silent(lab: &Lab) {
    let kerberos = load(lab, Account::Good);
    let app = lab.spn(App::App);
    let cached = crowd(0);
    kerberos.token(ask(&cached, app)).await.expect("a token");
    lab.stop_kdc();
    let silence = lab.silence_kdc();
    let began = Instant::now();
    let asked: Vec<_> = (1..6)
        .map(|number| {
            let (kerberos, ask) = (kerberos.clone(), ask(&crowd(number), app));
            async move { kerberos.token(ask).await.map(|_| ()) }
        })
        .collect();
    // While they wait, others are served without delay, at this application and by the same handle.
    let waited = async {
        for failure in join_all(asked).await {
            let failure = failure.expect_err("no KDC answers");
            assert_eq!(
                (failure.kind, failure.stage),
                (Kind::Timeout, Stage::SelfTicket)
            );
        }
        began.elapsed()
    };
    let served = async {
        let mut slowest = Duration::ZERO;
        while began.elapsed() < DEADLINE - SLACK {
            let asked = Instant::now();
            kerberos.token(ask(&cached, app)).await.expect("a token");
            slowest = slowest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        slowest
    };
    let (waited, slowest) = tokio::join!(waited, served);
    assert!(waited < DEADLINE + SLACK, "{waited:?}");
    assert!(slowest < SLACK, "{slowest:?}");

    // Nobody waits any more.
    assert_eq!(kerberos.stats().breaker, BreakerState::Open);
    let began = Instant::now();
    for number in 6..16 {
        let failure = kerberos.token(ask(&crowd(number), app)).await;
        let failure = failure.expect_err("nobody is asked");
        assert_eq!((failure.kind, failure.blame()), (Kind::Broken, Blame::Kdc));
    }
    assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
    kerberos.token(ask(&cached, app)).await.expect("a token");

    // And it comes back without being told.
    drop(silence);
    lab.start_kdc();
    let back = async {
        while kerberos.token(ask(&crowd(6), app)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(20), back)
        .await
        .expect("the KDC is back");
    assert_eq!(kerberos.stats().breaker, BreakerState::Closed);
}

const CROWD: usize = 100;

#[test]
fn each_ticket_is_fetched_once_and_used_for_a_while() {
    Lab::within(
        "each_ticket_is_fetched_once_and_used_for_a_while",
        &[("LAB_CROWD", "100")],
        |_| Vec::new(),
        |lab| {
            on_runtime(false, at_once(lab));
            on_runtime(true, ages(lab));
        },
    );
}

/// A hundred users come at once, each with three requests.
async fn at_once(lab: &Lab) {
    let mut settings = settings(lab, Account::Good);
    // The KDC of the lab is one process, and the machine has other work.
    settings.bounds.deadline = Duration::from_secs(40);
    let kerberos = Kerberos::load(settings).expect("library and keytab are there");
    let asked: Vec<_> = (0..CROWD * 3)
        .map(|number| {
            let (kerberos, ask) = (
                kerberos.clone(),
                ask(&crowd(number % CROWD), lab.spn(App::App)),
            );
            async move { kerberos.token(ask).await }
        })
        .collect();
    let tokens = join_all(asked).await;
    let headers: BTreeSet<_> = tokens
        .into_iter()
        .map(|token| token.unwrap_or_else(|failure| panic!("{failure}")).header)
        .collect();
    assert_eq!(headers.len(), CROWD * 3, "no token is given twice");
    let stats = kerberos.stats();
    assert_eq!((stats.fetches, stats.agent_tickets), (100, 1));
    assert_eq!((stats.tickets, stats.fetches_running), (CROWD, 0));
}

/// Time is moved on; the KDC's own stands still.
async fn ages(lab: &Lab) {
    let kerberos = load(lab, Account::Good);
    let app = lab.spn(App::App);
    let bounds = kerberos.bounds();
    let alice = upn("alice@lab.test");
    let seen = async |fetches, agent_tickets| {
        let token = kerberos.token(ask(&alice, app)).await.expect("a token");
        assert_eq!(show(lab, App::App, token).1, Ok(Mutual::Verified));
        let stats = kerberos.stats();
        assert_eq!(
            (stats.fetches, stats.agent_tickets),
            (fetches, agent_tickets)
        );
    };
    seen(1, 1).await;
    advance(bounds.age_max - Duration::from_secs(1)).await;
    seen(1, 1).await;
    advance(Duration::from_secs(1)).await;
    seen(2, 1).await;

    // After a 401 a new one, but not again and again.
    kerberos.forget(&alice);
    seen(2, 1).await;
    advance(bounds.forget_age_min).await;
    kerberos.forget(&alice);
    seen(3, 1).await;

    // The agent's own is renewed when half of its life is over.
    let left = kerberos.stats().agent_ticket_left.expect("a ticket");
    advance(left / 2 + bounds.age_max).await;
    seen(4, 2).await;

    let refused = async |fetches| {
        let failure = kerberos.token(ask(&upn("carol@lab.test"), app)).await;
        assert_eq!(failure.expect_err("refused").number, Some(13));
        assert_eq!(kerberos.stats().fetches, fetches);
    };
    refused(5).await;
    advance(bounds.refused_for - Duration::from_secs(1)).await;
    refused(5).await;
    advance(Duration::from_secs(1)).await;
    refused(6).await;
}
