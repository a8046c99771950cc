//! Open streams end with the session that they are of.
//!
//! A request is decided when it comes, but its answer, or a WebSocket, may go on for hours. So each is listed with whom it was
//! permitted, and every new revision of the fabric is held against the list.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use model::{
    access::{Caller, authorise},
    name::AppId,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    circumstances::{Circumstances, Use},
    session::Session,
};
use crate::view::View;

/// Everything of one worker that goes on under a session. As large as there are requests.
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
    session: Session,
    app: AppId,
    circumstances: Arc<Circumstances>,
    cut: CancellationToken,
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
        session: &Session,
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
                session: session.clone(),
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
            if is_over(
                view,
                (&stream.session, &stream.circumstances),
                &stream.app,
                now,
            ) {
                stream.cut.cancel();
            }
        }
    }

    /// The same of those apps alone of which rules speak of time.
    pub(crate) fn follow_time(&self, view: &View, now: SystemTime) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in held.streams.values() {
            let Stream {
                session,
                app,
                circumstances,
                cut,
            } = stream;
            if view.rules().is_timed(app) && is_over(view, (session, circumstances), app, now) {
                cut.cancel();
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

/// Whether a session may not use an app any more, as it does under these circumstances. Its life is not looked at: what is under way then may end in peace.
pub(crate) fn is_over(
    view: &View,
    (session, circumstances): (&Session, &Circumstances),
    app: &AppId,
    now: SystemTime,
) -> bool {
    let revoked = session.is_revoked(view);
    let caller = || Caller::User(Arc::clone(&session.user));
    revoked
        || view.app(app).is_some_and(|app| {
            let facts = || circumstances.facts(session, Use::UnderWay, now);
            authorise(app, caller(), view.rules(), facts, &mut |_| {}).is_err()
        })
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
