//! 1xx heads of an origin, on their way from the connection to the exchange that asked.

use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, StatusCode};
use tokio::sync::Notify;
use tunnel::frame::INFORMATIONAL_MAX;

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
    count: u8,
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

    pub(super) fn add(&self, status: StatusCode, fields: &HeaderMap) {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        // What is more than the tunnel carries is left out: 1xx heads are hints.
        if heads.count < INFORMATIONAL_MAX {
            heads.count += 1;
            heads.waiting.push((status, fields.clone()));
            self.came.notify_one();
        }
    }
}
