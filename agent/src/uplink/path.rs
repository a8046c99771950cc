//! Which transport an uplink takes: QUIC where the network lets it through, TCP where it does not, and from one to the other when
//! that changes, the next link before the last is given up.

use std::{
    future::pending,
    io,
    net::{IpAddr, UdpSocket},
    pin::pin,
    time::Duration,
};

use rand::Rng as _;
use tokio::time::{Instant, sleep};
use tunnel::{Transport, codes::Code, link::Connection};

use super::{
    Plan,
    dial::{self, DialError, Link},
    health::{Health, LOOK_EVERY, Verdict},
};
use crate::{config::Transports, request::chain, worker::Worker};

/// How long QUIC is tried alone. Where it works it needs two round trips.
const HEAD_START: Duration = Duration::from_secs(1);

/// Longest pause between tries of QUIC while TCP carries the link, each between half of it and the whole: a firewall that is
/// mended is noticed within the minute. A try costs some packets.
pub(crate) const CLIMB_PAUSE: Duration = Duration::from_secs(40);

/// The pause doubles, up to this, for a path that takes handshakes by UDP and loses what follows.
const CLIMB_PAUSE_MAX: Duration = Duration::from_secs(600);

/// QUIC that went dark sooner than this after it was changed to makes the next pause longer.
const GOOD_CLIMB_LIFE: Duration = Duration::from_secs(600);

/// Between attempts over TCP while QUIC is dark.
const DESCENT_PAUSE: Duration = Duration::from_millis(500);

/// How often an uplink over TCP looks whether this machine still has the address that it is bound to.
const MOVED_LOOK_EVERY: Duration = Duration::from_secs(1);

/// What an uplink has learned of its way.
#[derive(Debug, Default)]
pub(super) struct Path {
    /// TCP carried the last link.
    distrusts_quic: bool,
    /// By this address, which such a link cannot leave as one over QUIC does.
    bound: Option<IpAddr>,
    climbed_at: Option<Instant>,
    /// Times in a row that QUIC went dark soon after it was changed to.
    relapses: u32,
}

/// Why no transport gave a link.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoWay {
    #[error("no link over {transport}")]
    One {
        transport: Transport,
        #[source]
        source: DialError,
    },
    #[error("no link over tcp, nor over quic ({quic})", quic = chain(quic))]
    Neither {
        quic: DialError,
        #[source]
        tcp: DialError,
    },
}

impl NoWay {
    /// How long the edge asks to stay away.
    pub(super) fn retry_after(&self) -> Duration {
        match self {
            Self::One { source, .. } => source.retry_after(),
            Self::Neither { quic, tcp } => quic.retry_after().max(tcp.retry_after()),
        }
    }
}

impl Path {
    /// The first link that the edge welcomes.
    pub(super) async fn find(&self, worker: &Worker, plan: &Plan) -> Result<Link, NoWay> {
        let transport = match worker.shared.transports {
            Transports::Only(transport) => transport,
            Transports::Auto if plan.edge.tcp_address.is_none() => Transport::Quic,
            // Boxed: two handshakes at once are large, and seldom.
            Transports::Auto => return Box::pin(self.race(worker, plan)).await,
        };
        let link = dial::over(transport, worker, plan).await;
        link.map_err(|source| NoWay::One { transport, source })
    }

    /// Who is dropped meanwhile closes its connection.
    async fn race(&self, worker: &Worker, plan: &Plan) -> Result<Link, NoWay> {
        let head_start = if self.distrusts_quic {
            Duration::ZERO
        } else {
            HEAD_START
        };
        let mut quic = pin!(dial::over(Transport::Quic, worker, plan));
        let over_tcp = dial::over(Transport::Tcp, worker, plan);
        let quic_failed = tokio::select! {
            biased;
            link = &mut quic => match link {
                Ok(link) => return Ok(link),
                Err(error) => Some(error),
            },
            () = sleep(head_start) => None,
        };
        if let Some(quic) = quic_failed {
            return over_tcp.await.map_err(|tcp| NoWay::Neither { quic, tcp });
        }
        let mut over_tcp = pin!(over_tcp);
        tokio::select! {
            biased;
            link = &mut quic => match link {
                Ok(link) => Ok(link),
                Err(quic) => over_tcp.await.map_err(|tcp| NoWay::Neither { quic, tcp }),
            },
            link = &mut over_tcp => match link {
                Ok(link) => Ok(link),
                Err(tcp) => quic.await.map_err(|quic| NoWay::Neither { quic, tcp }),
            },
        }
    }

    /// Takes note of the link that serves now.
    pub(super) fn took(&mut self, link: &Link) {
        self.distrusts_quic = link.connection.transport() == Transport::Tcp;
        self.bound = link.bound;
    }

    /// Waits for a link that is better than the one there is. Dropped, it gives up what it was trying.
    pub(super) async fn better(&mut self, than: &Connection, worker: &Worker, plan: &Plan) -> Link {
        let has_choice = match worker.shared.transports {
            Transports::Auto => plan.edge.tcp_address.is_some(),
            Transports::Only(_) => false,
        };
        match than.transport() {
            Transport::Quic if has_choice => self.descend(than, worker, plan).await,
            Transport::Quic => pending().await,
            Transport::Tcp => {
                let bound = self.bound;
                tokio::select! {
                    link = self.climb(worker, plan), if has_choice => return link,
                    () = moved(bound) => {}
                }
                // Boxed: seldom, and large.
                Box::pin(self.follow(worker, plan)).await
            }
        }
    }

    /// This machine has another address: nothing goes to the last one any more, and nobody says so.
    async fn follow(&self, worker: &Worker, plan: &Plan) -> Link {
        tracing::info!(edge = %plan.edge.id, "this machine has another address: the uplink over tcp is made anew");
        loop {
            match self.find(worker, plan).await {
                Ok(link) => return link,
                Err(error) => {
                    let error = chain(&error);
                    tracing::debug!(edge = %plan.edge.id, error, "no uplink from the other address yet");
                    sleep(DESCENT_PAUSE).await;
                }
            }
        }
    }

    async fn climb(&mut self, worker: &Worker, plan: &Plan) -> Link {
        loop {
            sleep(self.climb_pause(worker.shared.climb_pause)).await;
            // Boxed: what a handshake needs is not held by every uplink.
            match Box::pin(dial::over(Transport::Quic, worker, plan)).await {
                Ok(link) => {
                    tracing::info!(edge = %plan.edge.id, "quic works: the uplink goes back to it");
                    self.climbed_at = Some(worker.clock.now());
                    return link;
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::debug!(edge = %plan.edge.id, error, "quic does not work yet");
                }
            }
        }
    }

    async fn descend(&mut self, quic: &Connection, worker: &Worker, plan: &Plan) -> Link {
        let mut health = Health::new(quic.vitals().unwrap_or_default());
        loop {
            sleep(LOOK_EVERY).await;
            let verdict = health.look(quic.vitals().unwrap_or_default());
            // A dark link is given up soon, whatever comes of TCP meanwhile; then both are dialled at once.
            self.distrusts_quic = verdict == Verdict::Dark;
            if verdict == Verdict::Well {
                continue;
            }
            // As above.
            match Box::pin(dial::over(Transport::Tcp, worker, plan)).await {
                Ok(link) if verdict == Verdict::Dark && health.has_revived(quic.vitals()) => {
                    link.connection.close(Code::Cancelled, "quic is back");
                }
                Ok(link) => {
                    tracing::warn!(edge = %plan.edge.id, verdict = verdict.as_str(), "the uplink changes from quic to tcp");
                    self.fell(worker.clock.now());
                    return link;
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::debug!(edge = %plan.edge.id, verdict = verdict.as_str(), error, "tcp is no better than quic");
                    sleep(DESCENT_PAUSE).await;
                }
            }
        }
    }

    fn fell(&mut self, now: Instant) {
        let climbed_at = self.climbed_at.take();
        self.relapses = match climbed_at {
            Some(at) if now - at < GOOD_CLIMB_LIFE => self.relapses.saturating_add(1),
            Some(_) | None => 0,
        };
    }

    fn climb_pause(&self, base: Duration) -> Duration {
        let doubled = base.saturating_mul(2_u32.saturating_pow(self.relapses));
        let longest = doubled.min(CLIMB_PAUSE_MAX.max(base));
        longest.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

/// Waits until this machine has that address no more.
async fn moved(bound: Option<IpAddr>) {
    let Some(bound) = bound else {
        return pending().await;
    };
    while is_own(bound) {
        sleep(MOVED_LOOK_EVERY).await;
    }
}

/// Whether this machine has the address. Only its own can be bound.
fn is_own(address: IpAddr) -> bool {
    let bound = UdpSocket::bind((address, 0));
    !bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use runtime::Clock;

    use super::*;

    #[test]
    fn a_path_that_relapses_is_tried_less_often_until_it_holds() {
        let began = Clock::system().now();
        let mut path = Path::default();
        let mut longest = Vec::new();
        let mut fall = |path: &mut Path, life: Duration| {
            path.climbed_at = Some(began);
            path.fell(began + life);
            let pauses = (0..200).map(|_| path.climb_pause(CLIMB_PAUSE));
            let pauses: Vec<_> = pauses.collect();
            let max = pauses.iter().max().copied().unwrap_or_default();
            assert!(
                pauses
                    .iter()
                    .all(|pause| *pause >= max / 2 - Duration::from_secs(1))
            );
            longest.push(max.as_secs_f64() / CLIMB_PAUSE.as_secs_f64());
        };
        for _ in 0..6 {
            fall(&mut path, Duration::from_secs(1));
        }
        fall(&mut path, GOOD_CLIMB_LIFE);
        let want = [2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 1.0];
        for (longest, want) in longest.iter().zip(want) {
            assert!((want * 0.9..=want).contains(longest), "{longest} of {want}");
        }
    }

    #[test]
    fn an_address_is_told_from_one_that_is_gone() {
        assert!(is_own([127, 0, 0, 1].into()));
        // A network for documents (RFC 5737), which no machine is in.
        assert!(!is_own([192, 0, 2, 77].into()));
    }

    #[test]
    fn the_first_fall_is_no_relapse() {
        let mut path = Path::default();
        path.fell(Clock::system().now());
        assert!(path.climb_pause(CLIMB_PAUSE) <= CLIMB_PAUSE);
    }
}
