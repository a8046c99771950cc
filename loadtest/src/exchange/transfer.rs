//! Requests whose answers have an end, and streams of events, over any protocol.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use runtime::Clock;
use tokio::time::Instant;

use super::{Exchange, Protocol};
use crate::{
    scenario::Load,
    tally::{Answer, Failure},
};

/// Bytes of one event.
const EVENT_BYTES_MAX: usize = 64 * 1024;

/// Gets or puts.
pub(crate) struct Transfer<P> {
    protocol: P,
    paths: usize,
    chance: SmallRng,
    upload_bytes: u64,
    /// The length of the answer's body, where the load says it.
    expected_bytes: Option<u64>,
    /// Bytes after which the rest is wanted no more.
    leave_after: Option<u64>,
}

impl<P: Protocol> Transfer<P> {
    pub(crate) fn new(protocol: P, load: &Load, seed: u64) -> Self {
        Self {
            protocol,
            paths: load.paths.len(),
            chance: SmallRng::seed_from_u64(seed),
            upload_bytes: load.upload_bytes(),
            expected_bytes: load.answer_bytes(),
            leave_after: load.leave_after,
        }
    }
}

impl<P: Protocol> Exchange for Transfer<P> {
    async fn connect(&mut self) -> Result<(), Failure> {
        self.protocol.connect().await
    }

    async fn exchange(&mut self) -> Result<Answer, Failure> {
        let which = match self.paths {
            1 => 0,
            paths => self.chance.random_range(0..paths),
        };
        self.protocol.ask(which).await?;
        let mut received = 0;
        while let Some(piece) = self.protocol.data().await? {
            received += piece.len() as u64;
            if self.leave_after.is_some_and(|bytes| received >= bytes) {
                self.protocol.leave();
                break;
            }
        }
        if self.expected_bytes.is_some_and(|bytes| bytes != received) {
            return Err(Failure::Length);
        }
        Ok(Answer {
            body_bytes: self.upload_bytes + received,
            took: None,
        })
    }

    fn give_up(&mut self) {
        self.protocol.give_up();
    }
}

/// Server-sent events of an answer that does not end. Each event is an exchange.
pub(crate) struct Events<P> {
    protocol: P,
    clock: Clock,
    open: bool,
    /// The beginning of an event whose end is to come.
    begun: Vec<u8>,
    /// Events that came with another in one piece.
    waiting: Vec<Duration>,
    last: Option<Instant>,
}

impl<P: Protocol> Events<P> {
    pub(crate) fn new(protocol: P, clock: &Clock) -> Self {
        Self {
            protocol,
            clock: clock.clone(),
            open: false,
            begun: Vec::new(),
            waiting: Vec::new(),
            last: None,
        }
    }

    /// Takes whole events out of what has come. Their delay is from the time that they carry; without it, since the event before.
    fn take(&mut self) {
        let now = self.clock.now();
        while let Some(end) = self.begun.windows(2).position(|two| two == b"\n\n") {
            let sent = sent(&self.begun[..end]);
            let delay = match (sent, self.last) {
                (Some(sent), _) => Some(wall(&self.clock).saturating_sub(sent)),
                (None, Some(last)) => Some(now - last),
                (None, None) => None,
            };
            self.last = Some(now);
            self.waiting.extend(delay);
            self.begun.drain(..end + 2);
        }
    }
}

impl<P: Protocol> Exchange for Events<P> {
    async fn connect(&mut self) -> Result<(), Failure> {
        self.protocol.connect().await
    }

    async fn exchange(&mut self) -> Result<Answer, Failure> {
        if !self.open {
            self.protocol.ask(0).await?;
            self.open = true;
        }
        let mut body_bytes = 0;
        loop {
            if let Some(delay) = self.waiting.pop() {
                return Ok(Answer {
                    body_bytes,
                    took: Some(delay),
                });
            }
            let piece = self.protocol.data().await?.ok_or(Failure::Truncated)?;
            body_bytes += piece.len() as u64;
            self.begun.extend_from_slice(piece);
            self.take();
            if self.begun.len() > EVENT_BYTES_MAX {
                return Err(Failure::Nonsense);
            }
        }
    }

    fn give_up(&mut self) {
        self.protocol.give_up();
        self.open = false;
        self.begun.clear();
        self.waiting.clear();
        self.last = None;
    }
}

/// When an event was sent, since 1970 began, as [`crate::origin`] writes it.
fn sent(event: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(event).ok()?;
    let mut data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let nanos = data.find_map(|data| data.trim().strip_prefix("sent ")?.parse().ok())?;
    Some(Duration::from_nanos(nanos))
}

/// Time since 1970 began, by the clock that the origin on the same machine reads too.
pub(crate) fn wall(clock: &Clock) -> Duration {
    let since = clock
        .wall()
        .duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}
