//! 1xx heads of an origin, on their way from the connection to the exchange that asked.

use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, StatusCode};
use tokio::sync::Notify;
use tunnel::frame::INFORMATIONAL_MAX;

/// 1xx heads before one answer; real origins send one or two. An origin that sends more is not about to answer.
const HEADS_MAX: u32 = 1024;

/// 1xx heads that came before an answer. Filled on the connection's side, emptied by the exchange.
#[derive(Debug, Default)]
pub(crate) struct Informational {
    heads: Mutex<Heads>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Heads {
    /// Came and were not passed on yet.
    waiting: Vec<(StatusCode, HeaderMap)>,
    /// How many there were in all.
    count: u32,
}

impl Informational {
    /// Waits until more came. Cancel-safe.
    pub(crate) async fn came(&self) {
        self.came.notified().await;
    }

    /// Those that came since the last call.
    pub(crate) fn take(&self) -> Vec<(StatusCode, HeaderMap)> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut heads.waiting)
    }

    /// Whether there were more than an answer has.
    pub(crate) fn is_flood(&self) -> bool {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.count > HEADS_MAX
    }

    pub(super) fn add(&self, status: StatusCode, fields: &HeaderMap) {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        // What is more than the tunnel carries is left out: 1xx heads are hints.
        heads.count = heads.count.saturating_add(1);
        if heads.count <= INFORMATIONAL_MAX.into() {
            heads.waiting.push((status, fields.clone()));
            self.came.notify_one();
        } else if heads.count > HEADS_MAX {
            self.came.notify_one();
        }
    }
}
