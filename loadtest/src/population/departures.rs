//! Users who leave in the middle of downloads, and agents that die with requests under way: what an edge and an agent hold once all of
//! them are gone.

mod mortal;
mod outcome;

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use agent::view::Edge;
use anyhow::{Context as _, bail};
use model::app::{self, AgentApp};
use runtime::{Clock, Scope, identity::CurrentIdentity, node::Role};
use tokio::time::sleep;

pub use outcome::{Departures, Held};

use super::{
    Options,
    agents::{self, Agents, Plan},
    fabric::{DOMAIN, Fabric},
    outcome::seconds,
    process::Process,
};
use crate::{
    Crew, Load, Target, origin,
    scenario::{self, DEPARTURES},
};
use mortal::Mortals;

/// The app that users leave.
const APP: &str = "departures";
/// The agent that stays.
const STAYING: &str = "stays";
/// Of everything, one part of so many comes before anything is compared: caches and pools fill by then.
const FIRST: u64 = 10;
/// How long the edge may take to have all links, or to give up those of the dead.
const LINKS_WAIT: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// From the first event to the death of those who pass it on.
const AMID: Duration = Duration::from_secs(1);
/// Slices of a load without an answer, until the app is served.
const SLICES_MAX: usize = 30;
/// Metric of the edge.
const LINKS: &str = "edge_links";
/// Metrics of the edge that are back where they were.
const UNDER_WAY: [&str; 2] = ["edge_streams", "edge_connections"];

/// Measures the part.
pub(super) async fn measure(
    fabric: &mut Fabric,
    options: &Options,
    scope: &Scope,
    say: &dyn Fn(&str),
) -> anyhow::Result<Departures> {
    let stage = Stage::set(fabric, options, scope, say).await?;
    stage.served().await?;
    sleep(options.settle).await;
    let fresh = stage.held().await?;
    let (aborts, deaths) = (options.aborts, options.deaths as u64);
    let mut found = Found::default();
    say("the first tenth leaves");
    stage.leave(aborts / FIRST, &mut found).await?;
    stage.die(deaths / FIRST, &mut found).await?;
    sleep(options.settle).await;
    let begun = stage.held().await?;
    say(&format!("{aborts} downloads are left"));
    stage.leave(aborts, &mut found).await?;
    say(&format!("{deaths} agents die, {} at once", options.dying));
    stage.die(deaths, &mut found).await?;
    sleep(options.settle).await;
    let after = stage.held().await?;
    let left = stage.under_way().await?;
    stage.edge.kill().await?;
    stage.agent.kill().await?;
    Ok(Departures {
        aborted: found.aborted,
        failed: found.failed,
        deaths: found.deaths,
        at_once: options.dying.get(),
        slowest_burial_seconds: seconds(found.slowest_burial),
        fresh,
        begun,
        after,
        left,
    })
}

/// What happened so far.
#[derive(Default)]
struct Found {
    aborted: u64,
    failed: BTreeMap<String, u64>,
    deaths: u64,
    slowest_burial: Duration,
}

/// All who play a part.
struct Stage<'a> {
    edge: Process,
    agent: Process,
    leaving: Vec<Load>,
    staying: Load,
    target: Target,
    /// The same ones are born again and again, as the processes of machines are.
    mortals: Vec<CurrentIdentity>,
    place: Edge,
    app: AgentApp,
    links: f64,
    clock: Clock,
    scope: &'a Scope,
}

impl<'a> Stage<'a> {
    async fn set(
        fabric: &Fabric,
        options: &Options,
        scope: &'a Scope,
        say: &dyn Fn(&str),
    ) -> anyhow::Result<Self> {
        let clock = fabric.clock.clone();
        let anywhere: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let origin = origin::serve(anywhere, &clock, scope).await?;
        let url = format!("http://{origin}");
        fabric.admin.create_at(APP, &url).await?;
        let count = options.dying.get();
        say(&format!("{count} agents enrol"));
        let folder = fabric.nodes().join(APP);
        let enrolled =
            agents::enrol(&fabric.admin, Role::Agent, count, &folder, &clock, say).await?;
        let mut edge = fabric.start_edge().await?;
        edge.ready(&clock).await?;
        let mut agent = fabric.start_agent(STAYING).await?;
        agent.ready(&clock).await?;
        let roots = fs::read(fabric.roots()).context("reading control's roots")?;
        let address = fabric.edge_address();
        let url_of_users = format!("https://{APP}.{DOMAIN}:{}/", address.port());
        let mut loads = scenario::parse(DEPARTURES)?.loads;
        let staying = loads.pop().context("the scenario has loads")?;
        let app = AgentApp::new(APP.parse()?, vec![app::Origin::new(url.parse()?)]);
        Ok(Self {
            links: options.workers.get() as f64,
            edge,
            agent,
            leaving: loads,
            staying,
            target: Target::new(url_of_users.parse()?, address, &roots)?,
            mortals: enrolled.into_iter().map(CurrentIdentity::new).collect(),
            place: agents::edge(address, options.workers)?,
            app,
            clock,
            scope,
        })
    }

    async fn crew(&self, load: &Load) -> anyhow::Result<Crew> {
        Ok(Crew::assemble(&self.target, load, 1, &self.clock, self.scope).await?)
    }

    /// Waits until the agent that stays serves the app, over all its links.
    async fn served(&self) -> anyhow::Result<()> {
        self.linked(|links| links >= self.links).await?;
        for load in &self.leaving {
            let crew = self.crew(load).await?;
            let mut slices = 0;
            while crew.put(AMID).await?.answered() == 0 {
                slices += 1;
                anyhow::ensure!(slices < SLICES_MAX, "{}: nothing is served", load.name);
            }
        }
        Ok(())
    }

    /// Lets so many downloads be left, over each version of HTTP in turns.
    async fn leave(&self, aborts: u64, found: &mut Found) -> anyhow::Result<()> {
        let share = aborts.div_ceil(self.leaving.len() as u64);
        for load in &self.leaving {
            let crew = self.crew(load).await?;
            let mut left = 0;
            while left < share {
                let tally = crew.put(load.duration).await?;
                anyhow::ensure!(tally.answered() > 0, "{}: {tally}", load.name);
                left += tally.answered();
                for (cause, count) in tally.failures() {
                    let cause = format!("{} {cause}", load.name);
                    *found.failed.entry(cause).or_default() += count;
                }
            }
            found.aborted += left;
        }
        Ok(())
    }

    /// Lets agents be born and die, all of them at once and in the middle of what they serve, until so many have died.
    async fn die(&self, deaths: u64, found: &mut Found) -> anyhow::Result<()> {
        let mut dead = 0;
        while dead < deaths {
            let burial = self.generation().await?;
            found.slowest_burial = found.slowest_burial.max(burial);
            dead += self.mortals.len() as u64;
        }
        found.deaths += dead;
        Ok(())
    }

    /// One life of all of them; how long it takes until the edge has given up the last.
    async fn generation(&self) -> anyhow::Result<Duration> {
        let mortals = Mortals::new();
        let plan = Plan {
            edge: self.place.clone(),
            apps: vec![self.app.clone()],
            network: Some(mortals.network()),
        };
        let born = f64::from(u32::try_from(self.mortals.len())?);
        let agents = Agents::start(self.mortals.clone(), &plan, &self.clock, self.scope).await?;
        self.linked(|links| links >= self.links + born).await?;
        let crew = self.crew(&self.staying).await?;
        let death = async {
            sleep(AMID).await;
            mortals.kill();
            let died = self.clock.now();
            self.linked(|links| links <= self.links).await?;
            anyhow::Ok(self.clock.now() - died)
        };
        // Those who are served by the dead see their answers break off.
        let (tally, burial) = tokio::join!(crew.put(self.staying.duration), death);
        anyhow::ensure!(tally?.answered() > 0, "nobody was served by those who died");
        drop(agents);
        burial
    }

    /// Waits until the edge has as many links as that.
    async fn linked(&self, enough: impl Fn(f64) -> bool) -> anyhow::Result<()> {
        let began = self.clock.now();
        loop {
            let links = self.edge.metric(LINKS).await.unwrap_or_default();
            if enough(links) {
                return Ok(());
            }
            if self.clock.now() - began > LINKS_WAIT {
                bail!("after {LINKS_WAIT:?} the edge has {links} links");
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn held(&self) -> anyhow::Result<Held> {
        Ok(Held {
            edge: self.edge.holding().await?,
            agent: self.agent.holding().await?,
        })
    }

    /// Streams and connections of users that the edge still has.
    async fn under_way(&self) -> anyhow::Result<f64> {
        let mut left = 0.0;
        for name in UNDER_WAY {
            let count = self.edge.metric(name).await;
            left += count.with_context(|| format!("the edge says no {name}"))?;
        }
        Ok(left)
    }
}
