//! The last steps of a start: at once, or one by one with the process that serves so far.

use std::{io, net::TcpListener, path::PathBuf, sync::Arc, time::Duration};

use runtime::{
    Scope,
    admin_port::{self, Readiness},
    sync::Turn,
    telemetry::Rendered,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    links::Links,
    takeover::{self, Given, Order, Taken},
    view::Views,
};

/// For the snapshot to be read from the disk.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(2);
/// For what the elder knows to be written to the disk and read from it.
const DISK_WAIT: Duration = Duration::from_millis(600);
/// For control to be on the line.
const CONTROL_WAIT: Duration = Duration::from_secs(3);
/// For a process that has said its last word to be gone.
const EXIT_WAIT: Duration = Duration::from_secs(1);
/// For agents to come over: a handshake, and an agent that is busy.
const AGENTS_WAIT: Duration = Duration::from_secs(5);
/// For agents over TCP to follow once users are let in: they have the elder's word, a pause of up to a second, and a handshake before them.
/// Requests for which there is no agent wait as long at the most.
const FOLLOW_WAIT: Duration = Duration::from_secs(5);

/// What is left to do once everything is there: at once, or step by step with the process that serves so far.
pub(crate) struct Beginning {
    /// Whether control is on the line.
    pub on_line: watch::Receiver<bool>,
    pub views: Views,
    pub opening: CancellationToken,
    pub links: Arc<Links>,
    /// None: open already.
    pub admin: Option<AdminPort>,
    pub turn: Turn,
    pub given: Given,
    pub directory: PathBuf,
    pub orders: mpsc::Sender<Order>,
    pub offer: Scope,
}

pub(crate) struct AdminPort {
    listener: TcpListener,
    readiness: Readiness,
    exporter: Rendered,
    scope: Scope,
}

impl AdminPort {
    /// On a listener that other processes may share.
    pub(crate) fn new(
        listener: &TcpListener,
        readiness: Readiness,
        exporter: Rendered,
        scope: &Scope,
    ) -> io::Result<Self> {
        Ok(Self {
            listener: listener.try_clone()?,
            readiness,
            exporter,
            scope: scope.clone(),
        })
    }

    pub(crate) fn open(self) {
        let opened =
            admin_port::start_on(self.listener, self.readiness, self.exporter, &self.scope);
        if let Err(error) = opened {
            tracing::error!(%error, "no admin port");
        }
    }
}

impl Beginning {
    /// Serves at once, or takes over by a task of its own.
    pub(crate) fn start(self, taken: Option<Taken>, scope: &Scope) {
        let Some(taken) = taken else {
            return self.begin();
        };
        let own = self.offer.clone();
        scope.spawn_standing("taking over", async move {
            tokio::select! {
                () = own.cancelled() => {}
                () = self.take_over(taken) => {}
            }
        });
    }

    fn begin(self) {
        self.opening.cancel();
        self.turn.begin();
        let door = takeover::open(&self.directory, self.given.generation);
        let links = self.links;
        let agents = move || over_quic(&links);
        takeover::offer(door, self.given, agents, self.orders, &self.offer);
    }

    /// Takes over step by step. Nobody is without a process that serves at any moment, and an elder that dies meanwhile only makes the rest
    /// quicker.
    async fn take_over(self, mut taken: Taken) {
        // 1. What is published is known, from the disk: an edge that has just joined writes it within a second.
        if timeout(SNAPSHOT_WAIT, known(&self.views)).await.is_err() {
            tracing::warn!("no snapshot on the disk of the process that serves so far");
        }
        // 2. Agents come over; the elder serves on by the links that it has, writes what it knows to the disk, and follows that from now on.
        if let Err(error) = self.given.tunnel.beside(self.given.generation) {
            tracing::error!(%error, "cannot steer agents to this process");
        }
        taken.ask_for_agents();
        sleep(DISK_WAIT).await;
        self.turn.begin();
        let mut on_line = self.on_line.clone();
        // Fails only when there is no line any more.
        let told = async { on_line.wait_for(|on_line| *on_line).await.is_ok() };
        if timeout(CONTROL_WAIT, told).await.is_err() {
            tracing::warn!("control is away: what the disk says counts");
        }
        if timeout(AGENTS_WAIT, linked(&self.links, taken.agents))
            .await
            .is_err()
        {
            let (have, had) = (over_quic(&self.links), taken.agents);
            tracing::warn!(
                have,
                had,
                "not all agents have come over; users are served all the same"
            );
        }
        // 3. Users are let in here, and then no more there. Agents over TCP follow.
        self.links.follow_until(Instant::now() + FOLLOW_WAIT);
        self.opening.cancel();
        taken.say_it_serves();
        let door = takeover::open(&self.directory, self.given.generation);
        self.admin.into_iter().for_each(AdminPort::open);
        tracing::info!(
            agents = taken.agents,
            "took over; the process that served before drains"
        );
        // 4. All that is left.
        if let Err(error) = taken.gone().await {
            tracing::error!(%error, "cannot see when the process that served before is gone");
        }
        // The line may be closed before the sockets: the order in which those go decides about the order of ours.
        sleep(EXIT_WAIT).await;
        drop(taken);
        if let Err(error) = self.given.tunnel.alone() {
            tracing::error!(%error, "cannot steer packets");
        }
        tracing::info!("the process that served before is gone");
        let links = self.links;
        let agents = move || over_quic(&links);
        takeover::offer(door, self.given, agents, self.orders, &self.offer);
    }
}

async fn known(views: &Views) {
    let mut changes = views.subscribe();
    while views.current().is_none() && changes.changed().await.is_ok() {}
}

async fn linked(links: &Links, agents: usize) {
    let mut changes = links.subscribe();
    while over_quic(links) < agents && changes.changed().await.is_ok() {}
}

/// Agents that have links over QUIC. The others come once this process accepts users.
fn over_quic(links: &Links) -> usize {
    let counts = links.counts();
    counts.values().filter(|count| count.quic > 0).count()
}
