//! What is fetched, how often, and for how long it is used.

use std::{collections::BTreeSet, fs, time::Duration};

use futures_util::future::join_all;
use kerberos::{Kerberos, Mutual, Spn};
use kit::kerberos::{Account, App, Lab};
use tokio::time::{advance, timeout};

use super::{ask, crowd, load, on_runtime, settings, show, upn};

const CROWD: usize = 100;

const TEST: &str = "keeping::each_ticket_is_fetched_once_and_used_for_a_while";
/// A file by which tickets live no longer than [`SHORT_LIFE`].
const SHORT: &str = "short.conf";
/// More than two minutes: from a ticket of less, Samba gives no others.
const SHORT_LIFE: Duration = Duration::from_secs(180);

#[test]
fn each_ticket_is_fetched_once_and_used_for_a_while() {
    Lab::within(TEST, &[("LAB_CROWD", "100")], with_short_lives, |lab| {
        if lab.krb5_conf().ends_with(SHORT) {
            return on_runtime(true, a_short_life_ends(lab));
        }
        on_runtime(false, async {
            a_hundred_users_at_once_are_one_fetch_each(lab).await;
            given_up(lab).await;
        });
        on_runtime(true, ages(lab));
    });
}

/// Runs the test where tickets live a short time, and gives the environment for the run of all the rest.
fn with_short_lives(lab: &Lab) -> Vec<(String, String)> {
    let conf = fs::read_to_string(lab.krb5_conf()).expect("a file");
    let (all, seconds) = ("[libdefaults]", SHORT_LIFE.as_secs());
    assert!(conf.contains(all), "{conf}");
    let conf = conf.replace(all, &format!("{all}\n    ticket_lifetime = {seconds}s"));
    let path = lab.folder().join(SHORT);
    fs::write(&path, conf).expect("the folder is ours");
    lab.run_again(
        TEST,
        &[("KRB5_CONFIG".to_owned(), path.display().to_string())],
    );
    Vec::new()
}

/// A hundred users come at once, each with three requests.
async fn a_hundred_users_at_once_are_one_fetch_each(lab: &Lab) {
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

/// What was asked for by a request that is gone is there for the next.
async fn given_up(lab: &Lab) {
    let kerberos = load(lab, Account::Good);
    let ask = ask(&crowd(0), lab.spn(App::App));
    let gone = timeout(Duration::from_millis(1), kerberos.token(ask.clone())).await;
    assert!(gone.is_err(), "the KDC takes longer than that");
    kit::process::eventually("the ticket comes", async || kerberos.stats().tickets == 1).await;
    kerberos.token(ask).await.expect("it is there");
    assert_eq!(kerberos.stats().fetches, 1);
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
    let target = Spn::parse(app).expect("a service");
    kerberos.forget(&alice, &target);
    seen(2, 1).await;
    advance(bounds.forget_age_min).await;
    kerberos.forget(&alice, &target);
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

/// A ticket, the agent's own included, is not used when half of such a life is over.
async fn a_short_life_ends(lab: &Lab) {
    let kerberos = load(lab, Account::Good);
    let (app, alice) = (lab.spn(App::App), upn("alice@lab.test"));
    let seen = async |fetches, agent_tickets| {
        let token = kerberos.token(ask(&alice, app)).await.expect("a token");
        assert_eq!(show(lab, App::App, token).1, Ok(Mutual::Verified));
        let stats = kerberos.stats();
        let found = (stats.fetches, stats.agent_tickets);
        assert_eq!(found, (fetches, agent_tickets));
    };
    seen(1, 1).await;
    let left = kerberos.stats().agent_ticket_left.expect("a ticket");
    assert!(left <= SHORT_LIFE && left > SHORT_LIFE / 2, "{left:?}");
    advance(SHORT_LIFE / 3).await;
    seen(1, 1).await;
    advance(SHORT_LIFE / 3).await;
    seen(2, 2).await;
    advance(SHORT_LIFE).await;
    seen(3, 3).await;
}
