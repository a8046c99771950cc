//! Origins that stop taking the bodies of their requests.
//!
//! What of a body waits for its origin waits in the link's memory, at most one stream window. A pause is waited out. But only
//! so many bodies may wait for long at a time; each is given up after the app's idle time-out as well.

use std::{cell::Cell, future::pending, rc::Rc, time::Duration};

use tokio::time::sleep;

/// A pause up to this is none: disks and databases hold origins up for moments.
const PAUSE: Duration = Duration::from_secs(5);

/// Bodies of one worker that may wait longer at a time. Each holds up to a stream window, 1 MiB.
const STALLED_MAX: usize = 256;

/// The bodies of one worker that wait for long. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stalls {
    waiting: Rc<Cell<usize>>,
}

/// Where a body stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standing {
    /// Nothing more of it will wait.
    Over,
    /// The user is behind.
    Starved,
    /// The origin is behind: so many bytes were taken.
    Behind(u64),
}

/// The right to wait for long.
#[derive(Debug)]
struct Seat(Stalls);

impl Stalls {
    /// Ends when a body has waited for its origin for long and too many others do likewise.
    pub(super) async fn crowded_out(self, stands: impl Fn() -> Standing) {
        let (mut seat, mut before) = (None, None);
        loop {
            let now = match stands() {
                Standing::Over => break,
                Standing::Starved => None,
                Standing::Behind(bytes) => Some(bytes),
            };
            if now.is_none() || now != before {
                seat = None;
            } else if seat.is_none() {
                seat = self.wait_long();
                if seat.is_none() {
                    return;
                }
            }
            before = now;
            sleep(PAUSE).await;
        }
        drop(seat);
        pending().await
    }

    fn wait_long(&self) -> Option<Seat> {
        let waiting = self.waiting.get();
        (waiting < STALLED_MAX).then(|| {
            self.waiting.set(waiting + 1);
            Seat(self.clone())
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::select_all;
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    async fn is_crowded_out(stalls: &Stalls, stands: impl Fn() -> Standing) -> bool {
        let crowded_out = stalls.clone().crowded_out(stands);
        timeout(LONG, crowded_out).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_bodies_may_wait_long() {
        let stalls = Stalls::default();
        let wait = || Box::pin(is_crowded_out(&stalls, || Standing::Behind(1)));
        let mut waiting: Vec<_> = (0..=STALLED_MAX).map(|_| wait()).collect();
        let (crowded_out, ..) = select_all(waiting.iter_mut()).await;
        assert!(crowded_out);
        assert_eq!(stalls.waiting.get(), STALLED_MAX);
        drop(waiting);
        assert_eq!(stalls.waiting.get(), 0);
        assert!(!wait().await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_moves_or_waits_for_the_user_takes_no_seat() {
        let stalls = Stalls::default();
        stalls.waiting.set(STALLED_MAX);
        let bytes = Cell::new(0);
        let moving = || {
            bytes.set(bytes.get() + 1);
            Standing::Behind(bytes.get())
        };
        assert!(!is_crowded_out(&stalls, moving).await);
        assert!(!is_crowded_out(&stalls, || Standing::Starved).await);
        assert!(!is_crowded_out(&stalls, || Standing::Over).await);
        assert!(is_crowded_out(&stalls, || Standing::Behind(1)).await);
    }
}
