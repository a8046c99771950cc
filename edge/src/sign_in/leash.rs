//! Open streams end with the session that they are of.
//!
//! A request is decided when it comes, but its answer, or a WebSocket, may go on for hours. So each is listed with whom it was
//! permitted, and every new revision of the fabric is held against the list.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use model::name::AppId;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{circumstances::Circumstances, credential::Credential};
use crate::view::View;

/// Everything of one worker that goes on under a session or a token. As large as there are requests.
#[derive(Debug, Default)]
pub(crate) struct Leashes {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    streams: HashMap<u64, Stream>,
}

#[derive(Debug)]
struct Stream {
    credential: Credential,
    app: AppId,
    circumstances: Arc<Circumstances>,
    cut: CancellationToken,
}

impl Stream {
    fn is_over(&self, view: &View, now: SystemTime) -> bool {
        let circumstances = &self.circumstances;
        self.credential.is_over(view, &self.app, circumstances, now)
    }
}

/// One stream's place in the list.
#[derive(Debug)]
pub(crate) struct Leash {
    leashes: Arc<Leashes>,
    number: u64,
    cut: CancellationToken,
}

impl Leashes {
    /// Lists what is about to begin.
    pub(crate) fn hold(
        self: &Arc<Self>,
        credential: &Credential,
        app: &AppId,
        circumstances: &Arc<Circumstances>,
    ) -> Leash {
        let cut = CancellationToken::new();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let number = held.next;
        held.next += 1;
        held.streams.insert(
            number,
            Stream {
                credential: credential.clone(),
                app: app.clone(),
                circumstances: Arc::clone(circumstances),
                cut: cut.clone(),
            },
        );
        Leash {
            leashes: Arc::clone(self),
            number,
            cut,
        }
    }

    /// Cuts what would not be permitted any more. An app that is gone, or open to all now, cuts nothing.
    pub(crate) fn follow(&self, view: &View, now: SystemTime) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in held.streams.values() {
            if stream.is_over(view, now) {
                stream.cut.cancel();
            }
        }
    }

    /// The same of those apps alone of which rules speak of time.
    pub(crate) fn follow_time(&self, view: &View, now: SystemTime) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in held.streams.values() {
            if view.rules().is_timed(&stream.app) && stream.is_over(view, now) {
                stream.cut.cancel();
            }
        }
    }
}

/// Done when the session ends; never, if there is none.
pub(crate) async fn ended(cut: Option<WaitForCancellationFutureOwned>) {
    match cut {
        Some(cut) => cut.await,
        None => std::future::pending().await,
    }
}

impl Leash {
    /// Done when the stream is to end.
    pub(crate) fn cut(&self) -> WaitForCancellationFutureOwned {
        self.cut.clone().cancelled_owned()
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        let held = &self.leashes.held;
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        held.streams.remove(&self.number);
    }
}
