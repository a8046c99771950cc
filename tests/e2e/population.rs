//! `adit-loadtest population`, small: what it measures comes about, and every figure is one.

use std::{num::NonZeroUsize, time::Duration};

use loadtest::population::{self, Options, Part};
use runtime::{Clock, Scope};

/// Links are seen to return within this: keep-alives go every 5 s, and the idle time-out is 20 s.
const BACK_WITHIN_SECONDS: f64 = 15.0;

#[tokio::test(flavor = "multi_thread")]
async fn a_small_population_is_measured() {
    let options = Options {
        adit: crate::adit().to_owned(),
        parts: vec![Part::Links, Part::Publications, Part::Catalogue],
        agents: NonZeroUsize::new(6).unwrap(),
        users: 20,
        workers: NonZeroUsize::new(2).unwrap(),
        quiet: Duration::from_millis(200),
        settle: Duration::from_millis(200),
        edges: NonZeroUsize::new(3).unwrap(),
        apps: 20,
        publications: 4,
        every: Duration::from_millis(50),
        catalogue: 30,
    };
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
