//! How soon users are served again after their network was gone and is back.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    simulate,
    world::{AGENTS, EDGES, Event, Outcome, World},
};

/// The bar: served again after so long.
const HEALED_WITHIN: Duration = Duration::from_secs(5);

/// How exactly that is found out.
const STEP: Duration = Duration::from_millis(50);

/// How long a network is gone.
const GONE: Duration = Duration::from_secs(10);

/// The bar: who is gone is known to be after so long.
const FOUND_WITHIN: Duration = Duration::from_secs(5);

/// Cycles of each kind of trouble: a hundred in all.
const CYCLES: u32 = 25;

/// The edge, and the app whose only agent this is, that users ask for.
const EDGE: usize = 0;
const AGENT: usize = 2;
const APP: usize = 1;

/// An app that has two agents, and one of them.
const SHARED_APP: usize = 0;
const EITHER_AGENT: usize = 0;

/// Makes trouble again and again, and gives the longest time until users were served once it was over.
async fn longest(world: &mut World, trouble: impl AsyncFn(&mut World)) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..CYCLES {
        trouble(world).await;
        let over = Instant::now();
        while world.ask(EDGE, APP).await != Outcome::Served {
            assert!(
                over.elapsed() < Duration::from_secs(60),
                "not healed; {world:?}"
            );
            sleep(STEP).await;
        }
        longest = longest.max(over.elapsed());
        // Differs by cycle, so that trouble does not always meet the same step of a timer.
        sleep(GONE + STEP * 7).await;
    }
    longest
}

async fn black_hole(world: &mut World) {
    world.happen(Event::Cut(EDGE, AGENT)).await;
    world.happen(Event::Time(GONE)).await;
    world.happen(Event::Mended(EDGE, AGENT)).await;
}

async fn address_change(world: &mut World) {
    world.happen(Event::Rebind(AGENT)).await;
}

async fn edge_restart(world: &mut World) {
    world.happen(Event::EdgeDies(EDGE)).await;
    world.happen(Event::EdgeStarts(EDGE)).await;
}

/// The edge is gone meanwhile, or nobody would ask for its name.
async fn name_failure(world: &mut World) {
    world.net.nameless(true);
    world.happen(Event::EdgeDies(EDGE)).await;
    world.happen(Event::EdgeStarts(EDGE)).await;
    world.happen(Event::Time(GONE)).await;
    world.net.nameless(false);
}

#[test]
fn users_are_served_again_within_five_seconds_after_any_trouble() {
    simulate(async {
        let mut world = World::start(0).await;
        world.happen(Event::Time(GONE)).await;
        let found = [
            ("black hole", longest(&mut world, black_hole).await),
            ("address change", longest(&mut world, address_change).await),
            ("edge restart", longest(&mut world, edge_restart).await),
            ("name failure", longest(&mut world, name_failure).await),
        ];
        println!("longest time until served again, of {CYCLES} each: {found:?}");
        for (trouble, longest) in found {
            assert!(longest <= HEALED_WITHIN, "{trouble}: {longest:?}");
        }
        world.end().await;
    });
}

#[test]
fn an_edge_that_is_started_again_is_found_where_it_was_while_nobody_answers_for_names() {
    simulate(async {
        let mut world = World::start(2).await;
        world.happen(Event::Time(GONE)).await;
        world.net.nameless(true);
        let longest = longest(&mut world, edge_restart).await;
        println!("longest time until served again, without names: {longest:?}");
        assert!(longest <= HEALED_WITHIN, "{longest:?}");
        world.end().await;
    });
}

/// Waits for it.
async fn until(world: &World, happened: impl Fn(&World) -> bool) {
    let began = Instant::now();
    while !happened(world) {
        assert!(began.elapsed() < GONE, "it does not happen; {world:?}");
        sleep(STEP).await;
    }
}

#[test]
fn who_lost_an_idle_peer_knows_within_five_seconds() {
    simulate(async {
        let mut world = World::start(3).await;
        let (mut at_edge, mut at_agent) = (Duration::ZERO, Duration::ZERO);
        for cycle in 0..CYCLES {
            // Meets another step of every timer each time.
            world.happen(Event::Time(GONE + STEP * 7 * cycle)).await;
            let all = |world: &World| (0..EDGES).all(|edge| world.links(edge) == AGENTS);
            until(&world, |world| all(world) && world.is_ready(AGENT)).await;
            for edge in 0..EDGES {
                world.happen(Event::Cut(edge, AGENT)).await;
            }
            let began = Instant::now();
            until(&world, |world| !world.is_ready(AGENT)).await;
            at_agent = at_agent.max(began.elapsed());
            until(&world, |world| {
                (0..EDGES).all(|edge| world.links(edge) < AGENTS)
            })
            .await;
            // The agent is always the first to doubt, so that this is seen in time.
            at_edge = at_edge.max(began.elapsed());
            for edge in 0..EDGES {
                world.happen(Event::Mended(edge, AGENT)).await;
            }
        }
        println!(
            "longest until the agent was not ready {at_agent:?}, until edges gave it up {at_edge:?}"
        );
        assert!(at_agent <= FOUND_WITHIN && at_edge <= FOUND_WITHIN);
        world.end().await;
    });
}

/// Users of an app that has another agent need not wait until the dead one is given up.
#[test]
fn an_agent_that_dies_without_a_word_costs_nobody_more_than_five_seconds() {
    simulate(async {
        let mut world = World::start(1).await;
        let mut longest = Duration::ZERO;
        for _ in 0..CYCLES {
            world.happen(Event::Time(GONE)).await;
            world.happen(Event::AgentDies(EITHER_AGENT)).await;
            let died = Instant::now();
            while died.elapsed() < GONE * 3 {
                let asked = Instant::now();
                let outcome = world.ask(EDGE, SHARED_APP).await;
                assert_eq!(outcome, Outcome::Served, "{world:?}");
                longest = longest.max(asked.elapsed());
                sleep(STEP * 5).await;
            }
            world.happen(Event::AgentStarts(EITHER_AGENT)).await;
        }
        println!("longest answer while an agent was dead: {longest:?}");
        assert!(longest <= HEALED_WITHIN, "{longest:?}");
        world.end().await;
    });
}
