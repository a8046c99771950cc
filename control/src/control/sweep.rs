//! What would grow without end is cut from time to time: audit events, ids that are free again, join tokens a month after their
//! end, and what ended sessions that would be over by now. What operators make and can delete themselves is theirs to delete.

use std::{sync::Arc, time::Duration};

use runtime::{Clock, Scope};
use tokio::time::sleep;

use crate::{
    audit, denied, revocations,
    store::{Revision, Store, StoreError},
    tokens,
};

/// Between two sweeps.
const PAUSE: Duration = Duration::from_secs(3_600);
/// Audit events after which the next sweep does not wait: a program that writes without a pause adds a million an hour.
const EVENTS_BETWEEN: usize = 5_000;

pub(super) fn start(store: Arc<dyn Store>, clock: Clock, scope: &Scope) {
    let own = scope.child("sweep");
    scope.spawn_standing("sweep", async move {
        tokio::select! {
            () = own.cancelled() => {}
            () = sweep(&*store, &clock) => {}
        }
    });
}

async fn sweep(store: &dyn Store, clock: &Clock) {
    loop {
        let begin = store.revision().await;
        if let Err(error) = audit::sweep(store, audit::KEPT).await {
            tracing::warn!(%error, "old audit events cannot be removed");
        }
        if let Err(error) = denied::sweep(store, clock).await {
            tracing::warn!(%error, "ids of deleted nodes cannot be freed");
        }
        if let Err(error) = tokens::sweep_join(store, clock).await {
            tracing::warn!(%error, "old join tokens cannot be removed");
        }
        if let Err(error) = revocations::sweep(store, clock).await {
            tracing::warn!(%error, "old ends of sessions cannot be removed");
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = many_events(store, begin) => {}
        }
    }
}

/// Ends only when there is something to sweep.
async fn many_events(store: &dyn Store, begin: Result<Revision, StoreError>) {
    let gathered = async { audit::gathered(store, begin?, EVENTS_BETWEEN).await };
    if gathered.await.is_err() {
        std::future::pending().await
    }
}
