use std::time::Duration;

use super::*;
use crate::failure::{Kind, Stage};

#[derive(Debug)]
struct Fake {
    until: Instant,
    born: Instant,
}

impl Mortal for Fake {
    fn is_good(&self) -> bool {
        Instant::now() < self.until
    }

    fn born(&self) -> Instant {
        self.born
    }
}

fn bounds() -> Bounds {
    Bounds {
        tickets_max: 3,
        refusals_max: 2,
        fetches_max: 4,
        ..Bounds::default()
    }
}

fn cache() -> Cache<Fake> {
    Cache::new(bounds())
}

fn key(user: &str, host: &str) -> Key {
    Key {
        user: UserName::upn(&format!("{user}@lab.test")).expect("a name"),
        target: Spn::parse(&format!("HTTP/{host}")).expect("a service"),
    }
}

fn ticket(life: Duration) -> Arc<Fake> {
    let born = Instant::now();
    let until = born + life;
    Arc::new(Fake { until, born })
}

fn fetch(cache: &Cache<Fake>, key: &Key) -> Fetch<Fake> {
    match cache.find(key, Instant::now()) {
        Found::Fetch(fetch) => fetch,
        _ => panic!("{key:?} is not to be fetched"),
    }
}

fn put(cache: &Cache<Fake>, key: &Key, life: Duration) -> Arc<Fake> {
    let ticket = ticket(life);
    fetch(cache, key).land(&Ok(Arc::clone(&ticket)));
    ticket
}

fn has(cache: &Cache<Fake>, key: &Key) -> bool {
    matches!(cache.find(key, Instant::now()), Found::Ticket(_))
}

const MINUTE: Duration = Duration::from_secs(60);

fn refusal() -> Failure {
    Failure {
        number: Some(13),
        ..Failure::new(Stage::Proxy, Kind::NotAllowed, "no")
    }
}

#[tokio::test(start_paused = true)]
async fn one_fetches_and_all_others_wait_for_it() {
    let cache = cache();
    let alice = key("alice", "app");
    let first = fetch(&cache, &alice);
    let mut waiting: Vec<_> = (0..5)
        .map(|_| match cache.find(&alice, Instant::now()) {
            Found::Fetching(fetching) => fetching,
            _ => panic!("it is being fetched"),
        })
        .collect();
    assert_eq!(cache.sizes().fetches, 1);
    let landed = ticket(MINUTE);
    first.land(&Ok(Arc::clone(&landed)));
    for fetching in &mut waiting {
        let outcome = fetching.done.wait_for(Option::is_some).await;
        let outcome = outcome.expect("it landed").clone();
        let found = outcome.expect("an outcome").expect("a ticket");
        assert!(Arc::ptr_eq(&found, &landed));
    }
    assert!(has(&cache, &alice));
    assert_eq!(cache.sizes().fetches, 0);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_is_given_up_passes_to_the_next() {
    let cache = cache();
    let alice = key("alice", "app");
    let first = fetch(&cache, &alice);
    let Found::Fetching(mut fetching) = cache.find(&alice, Instant::now()) else {
        panic!("it is being fetched");
    };
    drop(first);
    let given_up = fetching.done.wait_for(Option::is_some).await;
    assert!(given_up.is_err());
    fetch(&cache, &alice).land(&Ok(ticket(MINUTE)));
    assert!(has(&cache, &alice));
}

#[tokio::test(start_paused = true)]
async fn tickets_end() {
    let cache = cache();
    let alice = key("alice", "app");
    put(&cache, &alice, MINUTE);
    tokio::time::advance(MINUTE - Duration::from_secs(1)).await;
    assert!(has(&cache, &alice));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!has(&cache, &alice));
    assert_eq!(cache.sizes().tickets, 0);
}

#[tokio::test(start_paused = true)]
async fn only_what_the_kdc_will_say_again_is_kept_and_not_for_long() {
    let cache = cache();
    let carol = key("carol", "app");
    fetch(&cache, &carol).land(&Err(refusal()));
    let found = cache.find(&carol, Instant::now());
    assert!(matches!(found, Found::Refused(failure) if failure == refusal()));
    tokio::time::advance(bounds().refused_for).await;
    let again = fetch(&cache, &carol);
    again.land(&Err(Failure::new(Stage::Proxy, Kind::Timeout, "late")));
    drop(fetch(&cache, &carol));
    assert_eq!(cache.sizes().refusals, 0);
}

#[tokio::test(start_paused = true)]
async fn who_timed_out_is_not_asked_for_again_at_once_unless_the_ticket_came() {
    let cache = cache();
    let [alice, bob] = ["alice", "bob"].map(|user| key(user, "app"));
    let late = Failure::new(Stage::SelfTicket, Kind::Timeout, "late");
    let under_way = fetch(&cache, &alice);
    cache.note_timeout(&alice, &late);
    let is_refused = |key: &Key| {
        let found = cache.find(key, Instant::now());
        matches!(found, Found::Refused(failure) if failure == late)
    };
    assert!(is_refused(&alice));
    under_way.land(&Err(late.clone()));
    assert!(is_refused(&alice), "it came to nothing");
    drop(fetch(&cache, &bob));
    tokio::time::advance(bounds().timed_out_for).await;
    let under_way = fetch(&cache, &alice);
    cache.note_timeout(&alice, &late);
    under_way.land(&Ok(ticket(MINUTE)));
    assert!(has(&cache, &alice), "late is not never");
}

#[tokio::test(start_paused = true)]
async fn the_one_not_used_for_longest_makes_room() {
    let cache = cache();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|user| key(user, "app"));
    for key in [&a, &b, &c] {
        put(&cache, key, MINUTE);
    }
    assert!(has(&cache, &a));
    put(&cache, &d, MINUTE);
    assert!(!has(&cache, &b));
    assert!(has(&cache, &a) && has(&cache, &c) && has(&cache, &d));
    for user in ["x", "y", "z"] {
        fetch(&cache, &key(user, "app")).land(&Err(refusal()));
    }
    assert_eq!(cache.sizes().refusals, 2);
    assert_eq!(cache.sizes().tickets, 3, "refusals push out no ticket");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_uses_goes_by_itself() {
    let cache = cache();
    put(&cache, &key("alice", "app"), MINUTE);
    put(&cache, &key("bob", "app"), MINUTE);
    tokio::time::advance(bounds().age_max).await;
    drop(fetch(&cache, &key("carol", "app")));
    assert_eq!(cache.sizes().tickets, 0);
}

#[tokio::test(start_paused = true)]
async fn a_user_is_forgotten_at_one_service_unless_the_ticket_is_new() {
    let cache = cache();
    let [app, other, bob] =
        [("alice", "app"), ("alice", "other"), ("bob", "app")].map(|(user, host)| key(user, host));
    for key in [&app, &other, &bob] {
        put(&cache, key, MINUTE);
    }
    cache.forget(&app);
    assert!(has(&cache, &app), "another would be the same");
    tokio::time::advance(bounds().forget_age_min).await;
    cache.forget(&app);
    assert!(!has(&cache, &app));
    assert!(has(&cache, &other), "another service has refused nothing");
    assert!(has(&cache, &bob));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_given_up_takes_no_newer_one_along() {
    let cache = cache();
    let alice = key("alice", "app");
    let old = put(&cache, &alice, MINUTE);
    tokio::time::advance(MINUTE).await;
    put(&cache, &alice, MINUTE);
    cache.remove(&alice, &old);
    assert!(has(&cache, &alice));
    let Found::Ticket(new) = cache.find(&alice, Instant::now()) else {
        panic!("it is there");
    };
    cache.remove(&alice, &new);
    assert!(!has(&cache, &alice));
}

#[tokio::test(start_paused = true)]
async fn so_many_are_fetched_at_once() {
    let cache = cache();
    let fetches: Vec<_> = ["a", "b", "c", "d"]
        .map(|user| fetch(&cache, &key(user, "app")))
        .into();
    let full = |cache: &Cache<Fake>| {
        let found = cache.find(&key("e", "app"), Instant::now());
        matches!(found, Found::Full)
    };
    assert!(full(&cache));
    drop(fetches);
    assert!(!full(&cache));
}
