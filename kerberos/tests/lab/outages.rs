//! A KDC that is stopped, or silent.

use std::time::Duration;

use futures_util::future::join_all;
use kerberos::{Blame, BreakerState, Kerberos, Kind, Mutual, Stage};
use kit::kerberos::{Account, App, Lab};
use tokio::time::{Instant, timeout};

use super::{ask, crowd, load, on_runtime, settings, show};

/// What a KDC that refuses connections may cost.
const AT_ONCE: Duration = Duration::from_secs(2);
/// What a silent one may.
const DEADLINE: Duration = Duration::from_secs(5);
/// Beyond it, on a machine with many tests at once.
const SLACK: Duration = Duration::from_secs(1);

#[test]
fn a_kdc_that_is_away_costs_little() {
    Lab::within(
        "outages::a_kdc_that_is_away_costs_little",
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
    let mut settings = settings(lab, Account::Good);
    settings.bounds.broken_for = Duration::from_secs(3);
    let kerberos = Kerberos::load(settings).expect("library and keytab are there");
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

    busy(lab).await;

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

/// Exchanges that hang hold their places, and who wants the same ticket does not wait again.
async fn busy(lab: &Lab) {
    let mut settings = settings(lab, Account::Good);
    settings.bounds.deadline = Duration::from_secs(1);
    settings.bounds.exchanges_max = 1;
    settings.bounds.timeouts_max = 100;
    let kerberos = Kerberos::load(settings).expect("library and keytab are there");
    let kind = async |number| {
        let failure = kerberos.token(ask(&crowd(number), lab.spn(App::App))).await;
        failure.map(|_| ()).expect_err("no KDC answers").kind
    };
    let began = Instant::now();
    let kinds = tokio::join!(kind(1), kind(2), kind(1));
    assert_eq!(kinds, (Kind::Timeout, Kind::Busy, Kind::Timeout));
    assert!(began.elapsed() < Duration::from_secs(1) + SLACK);
    let began = Instant::now();
    assert_eq!(kind(1).await, Kind::Timeout);
    assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
    let stats = kerberos.stats();
    assert_eq!((stats.exchanges_running, stats.fetches_running), (1, 1));
    assert_eq!(stats.breaker, BreakerState::Closed);
}
