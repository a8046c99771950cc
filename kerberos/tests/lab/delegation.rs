//! Who gets in, as whom, and what is said of those who do not.

use std::{fs, path::Path, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use kerberos::{Ask, Bindings, Blame, Framing, Kerberos, Kind, Mutual, Settings, Stage, UserName};
use kit::kerberos::{Accepted, Account, App, Lab};

use super::{ask, load, on_runtime, show, upn};

/// Alice, asked for by her user principal name, as applications see her.
const ALICE: &str = "alice\\@lab.test@LAB.TEST";

const TEST: &str = "delegation::users_get_in_where_the_directory_lets_them";
const UNFORWARDABLE: &str = "unforwardable.conf";

#[test]
fn users_get_in_where_the_directory_lets_them() {
    Lab::within(TEST, &[], environments, |lab| {
        on_runtime(false, async {
            if lab.krb5_conf().ends_with(UNFORWARDABLE) {
                return without_forwardable_tickets(lab).await;
            }
            users_and_names(lab).await;
            refusals(lab).await;
            refused_by_the_application(lab).await;
            accounts_of_the_agent(lab).await;
            frames_and_bindings(lab).await;
            answers_that_are_none(lab).await;
        });
    });
}

/// Runs the test with a file that lacks what it must have, and gives the environment for the run of all the rest.
fn environments(lab: &Lab) -> Vec<(String, String)> {
    let conf = fs::read_to_string(lab.krb5_conf()).expect("a file");
    let conf_with = |name, from, to| {
        assert!(conf.contains(from), "{conf}");
        let path = lab.folder().join(name);
        fs::write(&path, conf.replace(from, to)).expect("the folder is ours");
        ("KRB5_CONFIG".to_owned(), path.display().to_string())
    };
    let unforwardable = conf_with(UNFORWARDABLE, "forwardable = true", "");
    lab.run_again(TEST, &[unforwardable]);
    let other_keys = lab.keytab(Account::WithoutDelegation);
    vec![
        // The agent's realm need not be the default.
        conf_with(
            "elsewhere.conf",
            "default_realm = LAB.TEST",
            "default_realm = ELSEWHERE.TEST",
        ),
        // Somebody else's tickets, as the process's default: the app must not see bsmith.
        ("KRB5CCNAME".to_owned(), lab.sign_in("bsmith")),
        (
            "KRB5_CLIENT_KTNAME".to_owned(),
            other_keys.display().to_string(),
        ),
    ]
}

async fn without_forwardable_tickets(lab: &Lab) {
    let kerberos = load(lab, Account::Good);
    let token = kerberos.token(ask(&upn("alice@lab.test"), lab.spn(App::App)));
    let failure = token.await.expect_err("no ticket of hers can be passed on");
    assert_eq!((failure.stage, failure.number), (Stage::Proxy, Some(13)));
    assert!(
        failure.hint.contains("forwardable = true"),
        "{}",
        failure.hint
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
    fs::copy(lab.keytab(Account::Good), &keytab).expect("a keytab");
    let principal = lab.principal(Account::Good).parse().expect("a principal");
    let kerberos = Kerberos::load(Settings::new(principal, &keytab)).expect("it is there");
    fs::remove_file(&keytab).expect("it is ours");
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

fn settings_of(keytab: &Path, lab: &Lab) -> Settings {
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
    let bindings = certificates
        .each_ref()
        .map(|certificate| Bindings::tls_server_end_point(certificate).expect("bindings"));
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
