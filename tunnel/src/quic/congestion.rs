//! Congestion control of links: CUBIC (RFC 9438) that bears what bad paths lose.
//!
//! CUBIC takes each lost packet for a queue that ran over. Where one packet of a hundred is lost for another reason, as by radio, it carries
//! 1 MB/s at 40 ms, whatever the path could. Here a loss is passed to it only if packets queue as well, by the times that they take, or if
//! more is lost than bad paths lose. That bound is what other modern controllers have: BBR takes 2 % of a round trip for congestion
//! (draft-ietf-ccwg-bbr, `BBR.LossThresh`).

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, Cubic, CubicConfig};
use quinn_proto::RttEstimator;

/// Of what was sent, losses beyond this share count, whatever the queue: 3 %. A path that loses 1 % by chance loses more of some hundred
/// packets about once in a thousand times.
const LOSS_SHARE_MAX: u64 = 32;

/// Packets that a judgement begins with as having arrived, so that the first that is lost is no large share.
const BEGIN_PACKETS: u64 = 256;

/// Packets that are remembered; then half of them are forgotten.
const REMEMBERED_PACKETS: u64 = 512;

/// Packets take longer than the fastest ones by more than this where they queue: a quarter, and what a busy machine adds.
const QUEUE_SHARE: u32 = 4;
const QUEUE_MIN: Duration = Duration::from_millis(5);

/// Makes the controller of each link.
#[derive(Debug)]
pub(super) struct PatientConfig {
    cubic: Arc<CubicConfig>,
}

impl PatientConfig {
    /// By CUBIC with these settings.
    pub(super) fn new(cubic: CubicConfig) -> Self {
        Self {
            cubic: Arc::new(cubic),
        }
    }
}

impl ControllerFactory for PatientConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Patient {
            cubic: Cubic::new(Arc::clone(&self.cubic), now, current_mtu),
            losses: Losses::new(current_mtu),
        })
    }
}

#[derive(Clone, Debug)]
struct Patient {
    cubic: Cubic,
    losses: Losses,
}

impl Controller for Patient {
    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.losses.arrived(bytes, rtt.get(), rtt.min());
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        // Nothing is lost where a router says that it is congested (RFC 9002, section 7.1).
        let is_told = lost_bytes == 0;
        if self.losses.count(lost_bytes) || is_told || is_persistent_congestion {
            self.cubic
                .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.losses.packet_bytes = new_mtu.into();
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.cubic.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// What became of packets lately.
#[derive(Clone, Debug)]
struct Losses {
    packet_bytes: u64,
    arrived: u64,
    lost: u64,
    /// Packets wait somewhere, by the time that they take.
    queues: bool,
}

impl Losses {
    fn new(mtu: u16) -> Self {
        let packet_bytes = mtu.into();
        Self {
            packet_bytes,
            arrived: BEGIN_PACKETS * packet_bytes,
            lost: 0,
            queues: false,
        }
    }

    /// So many bytes have arrived, after about this time; the fastest ever took `least`.
    fn arrived(&mut self, bytes: u64, time: Duration, least: Duration) {
        self.arrived += bytes;
        self.queues = time > least + QUEUE_MIN.max(least / QUEUE_SHARE);
        self.forget();
    }

    /// So many bytes were lost. Whether that is for congestion; then the judgement begins anew.
    fn count(&mut self, bytes: u64) -> bool {
        self.lost += bytes;
        let is_much = self.lost * LOSS_SHARE_MAX > self.arrived + self.lost;
        if self.queues || is_much {
            self.lost = 0;
            self.arrived = BEGIN_PACKETS * self.packet_bytes;
            return true;
        }
        self.forget();
        false
    }

    fn forget(&mut self) {
        if self.arrived + self.lost > REMEMBERED_PACKETS * self.packet_bytes {
            self.arrived /= 2;
            self.lost /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u64 = 1_400;
    const LEAST: Duration = Duration::from_millis(40);

    /// How often losses counted of 10,000 packets of which every `nth` is lost, that take this time.
    fn counted(nth: u64, time: Duration) -> usize {
        let mut losses = Losses::new(1_400);
        let packets = 1..=10_000;
        let counts = packets.filter(|packet| {
            if packet % nth == 0 {
                return losses.count(PACKET);
            }
            losses.arrived(PACKET, time, LEAST);
            false
        });
        counts.count()
    }

    #[test]
    fn what_a_bad_path_loses_does_not_count() {
        for nth in [1_000, 100, 50] {
            assert_eq!(counted(nth, LEAST), 0, "one of {nth}");
            assert_eq!(counted(nth, LEAST * 6 / 5), 0, "one of {nth}");
        }
    }

    #[test]
    fn losses_count_where_packets_queue_and_where_there_are_many() {
        assert_eq!(counted(100, LEAST * 2), 100);
        assert!(counted(20, LEAST) > 10);
        assert!(counted(2, LEAST) > 100);
    }

    #[test]
    fn a_burst_counts_before_it_is_over() {
        let mut losses = Losses::new(1_400);
        let first = (1..).find(|_| losses.count(PACKET));
        assert!(first < Some(20), "{first:?}");
    }

    #[test]
    fn a_path_within_a_machine_may_take_some_milliseconds() {
        let mut losses = Losses::new(1_400);
        let least = Duration::from_micros(100);
        losses.arrived(PACKET, Duration::from_millis(4), least);
        assert!(!losses.count(PACKET));
        losses.arrived(PACKET, Duration::from_millis(6), least);
        assert!(losses.count(PACKET));
    }
}
