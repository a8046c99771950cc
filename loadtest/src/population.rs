//! A simulated population: thousands of agents, dozens of edges and tens of thousands of apps around one real edge and one
//! real control.
//!
//! Control and the edge are processes of their own, so that what they use can be read from `/proc`. Agents are those of the
//! crate `agent`, each with an identity that control signed, an endpoint, an uplink, its own keep-alive and its own waits
//! between attempts; they have no origin and share two threads. Simulated edges are the node's side of `Fabric.Sync`, disk
//! included, with the view of a real edge made of each revision; they carry no traffic.
//!
//! | part | what it measures |
//! |---|---|
//! | `links` | memory of an idle link, the price of its keep-alive, memory of an idle user beside them, and the return of all agents to an edge that was killed |
//! | `publications` | from a publication to its use at every one of many edges |
//! | `catalogue` | start and memory of an edge with very many apps |
//! | `departures` | what an edge and an agent hold after thousands of downloads that were left in the middle, and of agents that died |

mod admin;
mod agents;
mod catalogue;
mod command;
mod departures;
mod edges;
mod fabric;
mod links;
pub mod outcome;
mod process;
mod publications;
mod users;

use runtime::{Clock, Scope, tls};
use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

pub use command::Command;
pub use departures::{Departures, Held};
pub use outcome::{Bar, Outcome};
pub use process::Holding;

use fabric::Fabric;

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Memory of idle links and users, keep-alives, and the return of all agents to an edge that was killed
    Links,
    /// From a publication to its use at every edge
    Publications,
    /// Start and memory of an edge with very many apps
    Catalogue,
    /// What is left of users who leave downloads in the middle, and of agents that die
    Departures,
}

/// How large a population, and how long to look at it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `adit` program.
    pub adit: PathBuf,
    /// Parts, in this order.
    pub parts: Vec<Part>,
    /// Simulated agents.
    pub agents: NonZeroUsize,
    /// Users who connect to the real edge and stay.
    pub users: usize,
    /// Threads that carry traffic in the real edge.
    pub workers: NonZeroUsize,
    /// How long the edge is watched while nothing happens.
    pub quiet: Duration,
    /// How long the edge is given to settle before its memory is read.
    pub settle: Duration,
    /// Simulated edges.
    pub edges: NonZeroUsize,
    /// Apps that they hold.
    pub apps: usize,
    /// Publications that are timed.
    pub publications: u32,
    /// Pause from the start of one to the start of the next.
    pub every: Duration,
    /// Apps of the part `catalogue`.
    pub catalogue: usize,
    /// Downloads that are left in the middle.
    pub aborts: u64,
    /// Agents that die.
    pub deaths: usize,
    /// So many at once.
    pub dying: NonZeroUsize,
}

/// Runs every part on one fabric, which is gone afterwards. `say` is told how far things are.
///
/// # Errors
/// Something does not start, ends by itself, or does not come about in the time it is given.
pub async fn run(
    options: &Options,
    clock: &Clock,
    scope: &Scope,
    say: &dyn Fn(&str),
) -> anyhow::Result<Outcome> {
    tls::install_provider();
    let scope = scope.child("population");
    let mut fabric = Fabric::start(options, clock).await?;
    let mut outcome = Outcome::default();
    for part in &options.parts {
        match part {
            Part::Links => {
                outcome.links = Some(links::measure(&mut fabric, options, &scope, say).await?);
            }
            Part::Publications => {
                let found = publications::measure(&mut fabric, options, &scope, say).await?;
                outcome.publications = Some(found);
            }
            Part::Catalogue => {
                outcome.catalogue = Some(catalogue::measure(&mut fabric, options, say).await?);
            }
            Part::Departures => {
                let found = departures::measure(&mut fabric, options, &scope, say).await?;
                outcome.departures = Some(found);
            }
        }
    }
    outcome.judge();
    Ok(outcome)
}
