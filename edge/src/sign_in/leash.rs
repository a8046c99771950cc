//! Open streams end with the session that they are of.
//!
//! A request is decided when it comes, but its answer, or a WebSocket, may go on for hours. So each is listed with whom it was
//! permitted, and every new revision of the fabric is held against the list.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::SystemTime,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use model::name::AppId;
use slab::Slab;
use tokio::sync::Notify;

use super::{circumstances::Circumstances, credential::Credential};
use crate::view::View;

/// Everything of one worker that goes on under a session or a token. As large as there are requests.
#[derive(Debug, Default)]
pub(crate) struct Leashes {
    held: Mutex<Slab<Stream>>,
}

#[derive(Debug)]
struct Stream {
    credential: Credential,
    app: AppId,
    circumstances: Arc<Circumstances>,
    cut: Cut,
}

impl Stream {
    fn is_over(&self, view: &View, now: SystemTime) -> bool {
        let circumstances = &self.circumstances;
        self.credential.is_over(view, &self.app, circumstances, now)
    }
}

/// Whether a stream is to end. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut(Arc<Mark>);

#[derive(Debug, Default)]
struct Mark {
    is_cut: AtomicBool,
    told: Notify,
}

impl Cut {
    fn cut(&self) {
        self.0.is_cut.store(true, SeqCst);
        self.0.told.notify_waiters();
    }

    /// Whether the stream is to end.
    pub(crate) fn is_cut(&self) -> bool {
        self.0.is_cut.load(SeqCst)
    }

    /// The same to be polled.
    pub(crate) fn ending(&self) -> Ending {
        Ending(self.clone().ended().boxed())
    }

    /// Waits until the stream is to end. Cancel-safe.
    pub(crate) async fn ended(self) {
        loop {
            let told = self.0.told.notified();
            if self.is_cut() {
                return;
            }
            told.await;
        }
    }
}

/// Waits until a stream is to end, in something that has no future of its own.
pub(crate) struct Ending(BoxFuture<'static, ()>);

impl Ending {
    /// Ready once, when it is.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ending")
    }
}

/// One stream's place in the list.
#[derive(Debug)]
pub(crate) struct Leash {
    leashes: Arc<Leashes>,
    place: usize,
    cut: Cut,
}

impl Leashes {
    /// Lists what is about to begin.
    pub(crate) fn hold(
        self: &Arc<Self>,
        credential: &Credential,
        app: &AppId,
        circumstances: &Arc<Circumstances>,
    ) -> Leash {
        let cut = Cut::default();
        let stream = Stream {
            credential: credential.clone(),
            app: app.clone(),
            circumstances: Arc::clone(circumstances),
            cut: cut.clone(),
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Leash {
            leashes: Arc::clone(self),
            place: held.insert(stream),
            cut,
        }
    }

    /// Cuts what would not be permitted any more. An app that is gone, or open to all now, cuts nothing.
    pub(crate) fn follow(&self, view: &View, now: SystemTime) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, stream) in held.iter() {
            if stream.is_over(view, now) {
                stream.cut.cut();
            }
        }
    }

    /// The same of those apps alone of which rules speak of time.
    pub(crate) fn follow_time(&self, view: &View, now: SystemTime) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, stream) in held.iter() {
            if view.rules().is_timed(&stream.app) && stream.is_over(view, now) {
                stream.cut.cut();
            }
        }
    }
}

/// Done when the session ends; never, if there is none.
pub(crate) async fn ended(cut: Option<Cut>) {
    match cut {
        Some(cut) => cut.ended().await,
        None => std::future::pending().await,
    }
}

impl Leash {
    /// Says when the stream is to end.
    pub(crate) fn cut(&self) -> Cut {
        self.cut.clone()
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        let held = &self.leashes.held;
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        // Dropped when others may use the list again: it holds what may be the last of a session.
        let stream = held.try_remove(self.place);
        drop(held);
        drop(stream);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn who_waits_and_who_comes_later_both_hear_of_the_cut() {
        let cut = Cut::default();
        let mut waiting = pin!(cut.clone().ended());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(!cut.is_cut());
        cut.cut();
        waiting.await;
        assert!(cut.is_cut());
        ended(Some(cut)).await;
        assert!(ended(None).now_or_never().is_none());
    }
}
