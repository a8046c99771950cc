//! A simulated group: callers that each wait for their answer before they ask again.

use std::{cmp::Reverse, collections::BinaryHeap, num::NonZeroU32, sync::Arc, time::Duration};

use proptest::{collection, prelude::*};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn agent(now: Duration) -> Arc<AgentLoad> {
    Arc::new(AgentLoad::new(now, NonZeroU32::MIN))
}

fn warm(count: usize) -> Vec<Arc<AgentLoad>> {
    (0..count).map(|_| agent(Duration::ZERO)).collect()
}

fn eject(load: &AgentLoad, now: Duration) {
    while !load.is_ejected(now) {
        load.record(now, Outcome::Failure(Failure::Tunnel));
    }
}

/// SplitMix64 (Steele et al., 2014): small, and even enough for a test.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// How an agent of the simulation answers: so late, and how.
type Answer = (Duration, Option<Failure>);

/// Runs `callers` against the agents from `start` for 20 s; returns the share of picks that each agent got.
fn shares(
    loads: &[Arc<AgentLoad>],
    answers: &[Answer],
    callers: usize,
    start: Duration,
) -> Vec<f64> {
    let mut random = Random(7);
    let mut picks = vec![0_u32; loads.len()];
    let mut running: Vec<Option<(usize, InFlight)>> = (0..callers).map(|_| None).collect();
    // Callers arrive one after the other within a millisecond or so.
    let mut due: BinaryHeap<_> = (0..callers)
        .map(|caller| Reverse((start + Duration::from_micros(caller as u64 * 37), caller)))
        .collect();
    let indices: Vec<usize> = (0..loads.len()).collect();
    while let Some(Reverse((now, caller))) = due.pop() {
        if now > start + Duration::from_secs(20) {
            break;
        }
        if let Some((index, request)) = running[caller].take() {
            let (latency, failure) = answers[index];
            request.record(
                now,
                failure.map_or(Outcome::Head(latency), Outcome::Failure),
            );
        }
        let draw = Draw {
            now,
            random: random.next(),
        };
        let &index = pick(&indices, |&index| &*loads[index], |_| false, draw).expect("none drains");
        picks[index] += 1;
        running[caller] = Some((index, loads[index].start()));
        due.push(Reverse((now + answers[index].0, caller)));
    }
    let all: u32 = picks.iter().sum();
    picks
        .iter()
        .map(|&count| f64::from(count) / f64::from(all))
        .collect()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_slow_agent_gets_few_requests() {
    for callers in [2, 20, 100] {
        let shares = shares(
            &warm(2),
            &[(millis(200), None), (millis(10), None)],
            callers,
            HOUR,
        );
        assert!(shares[0] < 0.15, "{callers} callers: {shares:?}");
    }
}

#[test]
fn failing_fast_does_not_attract() {
    for failure in [Failure::Tunnel, Failure::Busy { retry_after: None }] {
        for others in [1, 3] {
            let mut answers = vec![(millis(1), Some(failure))];
            answers.resize(1 + others, (millis(10), None));
            let shares = shares(&warm(1 + others), &answers, 20, HOUR);
            assert!(shares[0] < 0.05, "{failure:?}, {others} others: {shares:?}");
        }
    }
}

#[test]
fn equal_agents_share_alike() {
    for count in [2, 3, 5, 10] {
        for callers in [1, 10, 100] {
            let answers = vec![(millis(10), None); count];
            let even = 1.0 / f64::from(u32::try_from(count).expect("small"));
            for share in shares(&warm(count), &answers, callers, HOUR) {
                assert!((share - even).abs() < 0.05, "{count} {callers}: {share}");
            }
        }
    }
}

#[test]
fn weight_is_a_share() {
    let loads = warm(2);
    loads[0].set_weight(NonZeroU32::new(3).expect("not zero"));
    let shares = shares(&loads, &[(millis(10), None); 2], 100, HOUR);
    assert!((shares[0] - 0.75).abs() < 0.05, "{shares:?}");
}

#[test]
fn a_new_agent_starts_slowly() {
    let share_at = |age| {
        let loads = [agent(Duration::ZERO), agent(HOUR)];
        // A good few requests each, so that shares can differ.
        let held: Vec<_> = loads
            .iter()
            .flat_map(|load| (0..9).map(|_| load.start()))
            .collect();
        let (old, new) = load::scores(&loads[0], &loads[1], HOUR + age);
        assert_eq!(held.len(), 18);
        old / new
    };
    for (age, want) in [(0, 0.1), (3, 0.1), (15, 0.5), (30, 1.0), (60, 1.0)] {
        let share = share_at(Duration::from_secs(age));
        assert!((share - want).abs() < 0.01, "{age} s: {share}");
    }
}

#[test]
fn an_ejected_agent_comes_back_slowly() {
    let loads = warm(3);
    eject(&loads[0], HOUR);
    let picked = |now: Duration| {
        let mut random = Random(3);
        (0..1000)
            .filter(|_| {
                let draw = Draw {
                    now,
                    random: random.next(),
                };
                let one = pick(&loads, |load| load, |_| false, draw).expect("some are well");
                Arc::ptr_eq(one, &loads[0])
            })
            .count()
    };
    assert_eq!(picked(HOUR), 0);
    assert_eq!(picked(HOUR + millis(4_999)), 0);
    assert!(!loads[0].is_ejected(HOUR + millis(5_000)));
    // Alone against equal idle ones it still loses while it starts slowly, and its penalty fades.
    assert_eq!(picked(HOUR + millis(5_000)), 0);
    assert!(picked(HOUR + Duration::from_secs(600)) > 200);
}

#[test]
fn a_penalty_follows_retry_after_within_bounds() {
    let known = |retry_after| {
        let loads = warm(2);
        let failure = Failure::Busy { retry_after };
        loads[0].record(HOUR, Outcome::Failure(failure));
        let (penalised, other) = load::scores(&loads[0], &loads[1], HOUR);
        penalised - other
    };
    for (retry_after, want) in [
        (None, 5.0),
        (Some(Duration::ZERO), 5.0),
        (Some(Duration::from_secs(20)), 20.0),
        (Some(HOUR), 60.0),
    ] {
        let penalty = known(retry_after);
        assert!((penalty - want).abs() < 0.01, "{retry_after:?}: {penalty}");
    }
}

#[test]
fn busy_answers_and_broken_apps_never_eject() {
    for failure in [Failure::Busy { retry_after: None }, Failure::Origin] {
        let load = agent(Duration::ZERO);
        for _ in 0..1000 {
            load.record(HOUR, Outcome::Failure(failure));
        }
        assert!(!load.is_ejected(HOUR), "{failure:?}");
    }
}

#[test]
fn requests_are_counted_while_their_guard_lives() {
    let load = agent(Duration::ZERO);
    let guards = [load.start(), load.start()];
    assert_eq!(load.in_flight(), 2);
    drop(guards);
    assert_eq!(load.in_flight(), 0);
}

#[test]
fn an_agent_that_is_back_drains_no_more() {
    let load = agent(Duration::ZERO);
    load.start_draining();
    assert!(load.is_draining());
    load.link_up(HOUR);
    assert!(!load.is_draining());
}

/// An agent of a group as a property test makes it.
#[derive(Debug, Clone)]
struct Kind {
    ejected: bool,
    draining: bool,
    tried: bool,
}

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    let kind = any::<[bool; 3]>().prop_map(|[ejected, draining, tried]| Kind {
        ejected,
        draining,
        tried,
    });
    collection::vec(kind, 0..12)
}

proptest! {
    #[test]
    fn only_agents_that_may_be_picked_are(kinds in kinds(), random in any::<u64>()) {
        let loads = warm(kinds.len());
        for (load, kind) in loads.iter().zip(&kinds) {
            if kind.ejected {
                eject(load, HOUR);
            }
            if kind.draining {
                load.start_draining();
            }
        }
        let indices: Vec<usize> = (0..kinds.len()).collect();
        let draw = Draw { now: HOUR, random };
        let picked = pick(&indices, |&at| &*loads[at], |&at| kinds[at].tried, draw);

        let group: Vec<_> = kinds.iter().filter(|kind| !kind.draining).collect();
        let left: Vec<_> = group.iter().filter(|kind| !kind.tried).collect();
        prop_assert_eq!(picked.is_some(), !left.is_empty());
        if let Some(&at) = picked {
            let ejected = group.iter().filter(|kind| kind.ejected).count();
            let panic = ejected * 2 > group.len();
            let none_well = left.iter().all(|kind| kind.ejected);
            prop_assert!(!kinds[at].draining && !kinds[at].tried);
            prop_assert!(!kinds[at].ejected || panic || none_well);
        }
    }

    #[test]
    fn with_most_ejected_all_are_used(count in 1_usize..8) {
        let loads = warm(count);
        loads.iter().for_each(|load| eject(load, HOUR));
        let mut random = Random(1);
        let mut picked = vec![false; count];
        let indices: Vec<usize> = (0..count).collect();
        for _ in 0..1000 {
            let draw = Draw { now: HOUR, random: random.next() };
            let at = pick(&indices, |&at| &*loads[at], |_| false, draw);
            picked[*at.expect("all are used")] = true;
        }
        prop_assert!(picked.iter().all(|&picked| picked));
    }
}
