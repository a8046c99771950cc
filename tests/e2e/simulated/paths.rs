//! What links carry over paths that lose packets, and over such that have no room for more.

use std::time::Duration;

use futures_util::future::join_all;
use kit::{
    net::{Net, Path},
    origin::Origin,
};
use model::app::Timeouts;
use tokio::time::Instant;

use super::{HOST, Simulated, simulate};

/// Requests of a page, and the bytes of each.
const PAGE: usize = 20;
const BYTES: usize = 100 * 1024;
/// Pages, one after the other.
const PAGES: usize = 10;

/// A round trip of 40 ms.
fn far() -> Path {
    Path {
        delay: Duration::from_millis(20),
        ..Path::default()
    }
}

/// Loads pages over a path: the time that it took, and the share of packets that were lost.
async fn pages(path: Path) -> (Duration, f64) {
    let (net, origin) = (Net::new(1), Origin::start().await);
    net.usually(path);
    let fabric = Simulated::start_in(&net, &origin.url(), Timeouts::default()).await;
    let before = net.counts();
    let began = Instant::now();
    for _ in 0..PAGES {
        let target = format!("/bytes/{BYTES}");
        let requests = (0..PAGE).map(|_| fabric.user.get(HOST, &target));
        for answer in join_all(requests).await {
            assert_eq!((answer.status.as_u16(), answer.body.len()), (200, BYTES));
        }
    }
    let took = began.elapsed();
    let counts = net.counts();
    fabric.end().await;
    let lost = (counts.lost - before.lost) as f64 / (counts.sent - before.sent) as f64;
    (took, lost)
}

#[test]
fn a_path_that_loses_one_packet_of_a_hundred_is_used_all_the_same() {
    simulate(async {
        let (good, _) = pages(far()).await;
        let bad = Path {
            lost_per_mille: 10,
            ..far()
        };
        let (took, lost) = pages(bad).await;
        println!(
            "{PAGES} pages: {good:?} over a good path, {took:?} over one that loses {lost:.3}"
        );
        // 20 MB; by what CUBIC makes of it, at 1 MB/s, it would take twenty seconds.
        assert!(took < Duration::from_secs(5), "{took:?}, {lost}");
    });
}

#[test]
fn a_path_that_has_no_room_is_filled_and_not_flooded() {
    simulate(async {
        const BITS_PER_SECOND: u64 = 40_000_000;
        let slow = Path {
            rate: Some(BITS_PER_SECOND),
            ..far()
        };
        let (took, lost) = pages(slow).await;
        let least =
            Duration::from_secs_f64((PAGES * PAGE * BYTES * 8) as f64 / BITS_PER_SECOND as f64);
        println!("{PAGES} pages: {took:?}, at best {least:?}; {lost:.4} lost");
        assert!(took < least * 3 / 2, "{took:?}, at best {least:?}");
        assert!(lost < 0.03, "{lost}");
    });
}
