//! What would grow without end is cut from time to time: audit events, ids that are free again, join tokens a month after their
//! end, what ended sessions that would be over by now, and who came longer ago than the settings say. What operators make and can delete themselves is theirs to delete.

use std::{error::Error as _, sync::Arc, time::Duration};

use runtime::{Clock, Scope};
use tokio::time::sleep;

use crate::{
    admin, audit, denied,
    refreshes::Refreshes,
    revocations,
    sign_in_log::SignInLog,
    store::{Revision, Store, StoreError},
    tokens,
};

/// Between two sweeps.
const PAUSE: Duration = Duration::from_secs(3_600);
/// Audit events after which the next sweep does not wait: a program that writes without a pause adds a million an hour.
const EVENTS_BETWEEN: usize = 5_000;

pub(super) fn start(
    store: Arc<dyn Store>,
    files: (SignInLog, Refreshes),
    clock: Clock,
    scope: &Scope,
) {
    let own = scope.child("sweep");
    scope.spawn_standing("sweep", async move {
        tokio::select! {
            () = own.cancelled() => {}
            () = sweep(&*store, &files, &clock) => {}
        }
    });
}

async fn sweep(store: &dyn Store, (sign_ins, refreshes): &(SignInLog, Refreshes), clock: &Clock) {
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
        if let Err(error) = refreshes.sweep(clock.wall()).await {
            tracing::warn!(%error, "sessions that are over cannot be removed from those to refresh");
        }
        sweep_sign_ins(store, sign_ins, clock).await;
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = many_events(store, begin) => {}
        }
    }
}

/// For as long as the settings say; if those cannot be read, nothing goes.
async fn sweep_sign_ins(store: &dyn Store, sign_ins: &SignInLog, clock: &Clock) {
    let settings = match admin::stored_settings(store).await {
        Ok(settings) => settings,
        Err(error) => {
            tracing::warn!(%error, "it is not known how long sign-ins are kept");
            return;
        }
    };
    match sign_ins
        .sweep(settings.sign_in_log.age(), clock.wall())
        .await
    {
        Ok(0) => {}
        Ok(events) => tracing::info!(events, "old sign-ins are removed"),
        Err(error) => {
            let cause = error.source().map(ToString::to_string);
            tracing::warn!(%error, cause, "old sign-ins cannot be removed");
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

#[cfg(test)]
mod tests {
    use model::name::EdgeId;
    use proto::{admin::Settings, fabric::SignInEvent};

    use super::*;
    use crate::{
        fabric::SETTINGS_KEY,
        sign_in_log::{EVENTS_MAX, Wanted},
        store::{Op, sqlite},
    };

    #[tokio::test]
    async fn who_came_is_kept_for_as_long_as_the_settings_say() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::starting_at(Clock::system().wall());
        let store = sqlite::open(directory.path(), &clock).unwrap();
        let log = SignInLog::open(directory.path(), EVENTS_MAX).unwrap();
        let edge: EdgeId = "e1".parse().unwrap();
        let event = SignInEvent {
            id: vec![1; 16].into(),
            ..SignInEvent::default()
        };
        log.append(&edge, vec![event], clock.wall()).await.unwrap();
        let kept = async || {
            sweep_sign_ins(&store, &log, &clock).await;
            let wanted = Wanted {
                limit: 9,
                ..Wanted::default()
            };
            log.list(wanted).await.unwrap().len()
        };
        let day = Duration::from_secs(86_400);
        clock.move_wall(89 * day);
        assert_eq!(kept().await, 1, "90 days are the default");
        let keep = async |sign_in_log_days| {
            let settings = Settings {
                sign_in_log_days,
                ..Settings::default()
            };
            let value = prost::Message::encode_to_vec(&settings).into();
            let ops = vec![Op::Put(SETTINGS_KEY.into(), value)];
            store.txn(Vec::new(), ops).await.unwrap();
        };
        keep(365).await;
        clock.move_wall(275 * day);
        assert_eq!(kept().await, 1);
        keep(30).await;
        assert_eq!(kept().await, 0);
    }
}
