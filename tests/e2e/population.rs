//! `adit-loadtest population`, small: what it measures comes about, and every figure is one.

use std::{num::NonZeroUsize, time::Duration};

use loadtest::population::{self, Options, Part};
use runtime::{Clock, Scope};

/// Links are seen to return within this: keep-alives go every 2 s, and who is silent is given up within 5 s.
const BACK_WITHIN_SECONDS: f64 = 15.0;
/// Dead agents are given up within 5 s; the rest is for a busy machine.
const GIVEN_UP_WITHIN_SECONDS: f64 = 7.0;

fn count(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("more than none")
}

fn options(parts: Vec<Part>) -> Options {
    Options {
        adit: crate::adit().to_owned(),
        parts,
        agents: count(6),
        users: 20,
        workers: count(2),
        quiet: Duration::from_millis(200),
        settle: Duration::from_millis(200),
        edges: count(3),
        apps: 20,
        publications: 4,
        every: Duration::from_millis(50),
        catalogue: 30,
        aborts: 60,
        deaths: 10,
        dying: count(5),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_population_is_measured() {
    let options = options(vec![Part::Links, Part::Publications, Part::Catalogue]);
    let scope = Scope::root();
    let outcome = population::run(&options, &Clock::system(), &scope, &|_| ())
        .await
        .unwrap();
    let links = outcome.links.as_ref().unwrap();
    assert!(links.joined.after_bytes >= links.joined.before_bytes);
    assert!(
        links.returned.all_back_seconds < BACK_WITHIN_SECONDS,
        "{links:?}"
    );
    let publications = outcome.publications.as_ref().unwrap();
    assert_eq!((publications.lost, publications.apps), (0, 22));
    assert!(publications.from_start_ms.max > 0.0);
    let catalogue = outcome.catalogue.as_ref().unwrap();
    assert_eq!(catalogue.apps, 30);
    assert!(catalogue.from_disk.resident_bytes > 0);
    assert_eq!(outcome.bars.len(), 9);
    assert!(scope.close(Duration::from_secs(10)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_who_leave_and_agents_that_die_leave_nothing() {
    let options = Options {
        // The edge lets go of a dead agent's last stream when its patience ends.
        settle: Duration::from_secs(2),
        ..options(vec![Part::Departures])
    };
    let scope = Scope::root();
    let outcome = population::run(&options, &Clock::system(), &scope, &|_| ())
        .await
        .unwrap();
    let found = outcome.departures.as_ref().unwrap();
    assert!(found.aborted >= 60 && found.deaths >= 10, "{found:?}");
    assert!(
        found.slowest_burial_seconds < GIVEN_UP_WITHIN_SECONDS,
        "{found:?}"
    );
    assert!(found.left < 1.0, "{found:?}");
    let (fresh, after) = (found.fresh, found.after);
    for (fresh, after) in [(fresh.edge, after.edge), (fresh.agent, after.agent)] {
        assert!(fresh.tasks > 0.0 && fresh.descriptors > 0, "{found:?}");
        // One that looks in at the admin port, and connections that are kept for the next request.
        assert!(after.tasks <= fresh.tasks + 8.0, "{found:?}");
        assert!(after.descriptors <= fresh.descriptors + 8, "{found:?}");
    }
    assert!(scope.close(Duration::from_secs(10)).await);
}
