//! Signs of life: a PING now and then, and the patience for its answer.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
};

use h2::{Ping, PingPong};
use tokio::time::{Sleep, sleep};

use crate::quic::KEEP_ALIVE;

/// How often the next may become due while an answer is waited for: as long as QUIC waits.
const UNANSWERED_MAX: u32 = 10;

/// Asks the other side whether it lives.
#[derive(Debug)]
pub(super) struct Pulse {
    pings: PingPong,
    next: Pin<Box<Sleep>>,
    waits: bool,
    unanswered: u32,
}

impl Pulse {
    pub(super) fn new(pings: PingPong) -> Self {
        Self {
            pings,
            next: Box::pin(sleep(KEEP_ALIVE)),
            waits: false,
            unanswered: 0,
        }
    }

    /// Ends when the other side has been silent for too long.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // An error is of the connection, and told by it.
        if self.waits && matches!(self.pings.poll_pong(context), Poll::Ready(Ok(_))) {
            self.waits = false;
            self.unanswered = 0;
        }
        while self.next.as_mut().poll(context).is_ready() {
            if self.waits {
                self.unanswered += 1;
                if self.unanswered >= UNANSWERED_MAX {
                    return Poll::Ready(());
                }
            } else {
                self.waits = self.pings.send_ping(Ping::opaque()).is_ok();
            }
            let due = self.next.deadline() + KEEP_ALIVE;
            self.next.as_mut().reset(due);
        }
        Poll::Pending
    }
}
