//! Random histories: edges and agents come, go, drain and lose each other, apps change. Whatever happened, a fabric that was left alone for
//! a while lets users reach what a reference of ten lines says, and at no time anything that was taken away.

use std::time::Duration;

use kit::net::Path;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};
use tokio::time::sleep;

use super::{
    simulate,
    world::{AGENTS, APPS, EDGES, Event, GROUPS, Reference, World},
};

/// Things that happen before the fabric is left alone, and how often that comes about.
const EVENTS_AT_ONCE_MAX: usize = 4;
const ROUNDS: usize = 4;

/// Histories that are tried each time.
const SEEDS: u64 = 1000;

/// A silent peer is given up within 10 s, and its edge is dialled again within 4 s then.
const LEFT_ALONE: Duration = Duration::from_secs(30);

impl Event {
    fn draw(chance: &mut SmallRng, reference: &Reference) -> Self {
        let (edge, agent) = (
            chance.random_range(0..EDGES),
            chance.random_range(0..AGENTS),
        );
        let app = chance.random_range(0..APPS);
        match chance.random_range(0..21) {
            0..=2 if !reference.edges[edge].runs => Self::EdgeStarts(edge),
            0 => Self::EdgeDies(edge),
            1 | 2 => Self::EdgeDrains(edge),
            3..=6 if !reference.agents[agent].runs => Self::AgentStarts(agent),
            3 | 4 => Self::AgentDies(agent),
            5 | 6 => Self::AgentDrains(agent),
            7 | 8 if reference.cuts.contains(&(edge, agent)) => Self::Mended(edge, agent),
            7 | 8 => Self::Cut(edge, agent),
            9 => Self::EdgeDeaf(edge, !reference.edges[edge].is_deaf),
            10 => Self::AgentDeaf(agent, !reference.agents[agent].is_deaf),
            11..=13 => Self::Publish(app, chance.random_range(0..GROUPS.len())),
            14 => Self::Withdraw(app),
            15 | 16 if reference.published.revoked.contains(&agent) => Self::Readmit(agent),
            15 | 16 => Self::Revoke(agent),
            17 => Self::Rebind(agent),
            18 => Self::Weather(edge, agent, weather(chance)),
            _ => Self::Time(Duration::from_millis(chance.random_range(0..30_000))),
        }
    }
}

/// A path as there may be one, also a bad one.
fn weather(chance: &mut SmallRng) -> Path {
    Path {
        delay: Duration::from_millis(chance.random_range(0..150)),
        jitter: Duration::from_millis(chance.random_range(0..20)),
        lost_per_mille: chance.random_range(0..30),
        doubled_per_mille: chance.random_range(0..10),
        mtu: *[1280, 1400, 1500, 9000].choose(chance).unwrap(),
        rate: [None, Some(1_000_000)].choose(chance).copied().flatten(),
    }
}

async fn history(seed: u64) {
    let mut chance = SmallRng::seed_from_u64(seed);
    let mut world = World::start(seed).await;
    for _ in 0..ROUNDS {
        for _ in 0..chance.random_range(1..=EVENTS_AT_ONCE_MAX) {
            let event = Event::draw(&mut chance, &world.reference);
            world.happen(event).await;
            world.check_amid().await;
        }
        sleep(LEFT_ALONE).await;
        world.check_settled().await;
    }
    world.end().await;
}

/// Runs the histories of a share of the seeds: of the first thousand, or of those that `ADIT_TEST_SEEDS` says as `FIRST..LAST`.
fn histories(quarter: u64) {
    let seeds = match std::env::var("ADIT_TEST_SEEDS") {
        Ok(written) => {
            let seeds = written.split_once("..").and_then(|(first, last)| {
                Some(first.parse::<u64>().ok()?..last.parse::<u64>().ok()?)
            });
            seeds.expect("ADIT_TEST_SEEDS is FIRST..LAST")
        }
        Err(_) => 0..SEEDS,
    };
    for seed in seeds.filter(|seed| seed % 4 == quarter) {
        simulate(history(seed));
    }
}

#[test]
fn histories_end_as_the_reference_says() {
    histories(0);
}

#[test]
fn more_histories_end_as_the_reference_says() {
    histories(1);
}

#[test]
fn yet_more_histories_end_as_the_reference_says() {
    histories(2);
}

#[test]
fn the_last_histories_end_as_the_reference_says() {
    histories(3);
}
