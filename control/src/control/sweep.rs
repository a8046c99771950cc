//! What would grow without end is cut from time to time: audit events, and ids that are free again.

use std::{sync::Arc, time::Duration};

use runtime::{Clock, Scope};
use tokio::time::sleep;

use crate::{audit, denied, store::Store};

/// Between two sweeps; a busy hour adds a few thousand events to a hundred thousand.
const PAUSE: Duration = Duration::from_secs(3_600);

pub(super) fn start(store: Arc<dyn Store>, clock: Clock, scope: &Scope) {
    let own = scope.clone();
    scope.spawn_standing("sweep", async move {
        tokio::select! {
            () = own.cancelled() => {}
            () = sweep(&*store, &clock) => {}
        }
    });
}

async fn sweep(store: &dyn Store, clock: &Clock) {
    loop {
        if let Err(error) = audit::sweep(store, audit::EVENTS_MAX).await {
            tracing::warn!(%error, "old audit events cannot be removed");
        }
        if let Err(error) = denied::sweep(store, clock).await {
            tracing::warn!(%error, "ids of deleted nodes cannot be freed");
        }
        sleep(PAUSE).await;
    }
}
