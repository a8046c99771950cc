//! What would grow without end is cut from time to time: audit events, ids that are free again, join tokens a month after their
//! end, what ended sessions that would be over by now, and who came longer ago than the settings say. What operators make and can delete themselves is theirs to delete.

use std::{
    error::Error as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use runtime::{Clock, Scope};
use tokio::time::{Instant, sleep};

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

/// How far the time of day may be from where it was, counted on: beyond, the clock was set, and what is old by it goes with the next sweep.
const SET_MAX: Duration = Duration::from_secs(600);

/// The time of day, and when it was that.
#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: SystemTime,
    at: Instant,
}

impl Reading {
    fn of(clock: &Clock) -> Self {
        Self {
            wall: clock.wall(),
            at: clock.now(),
        }
    }

    /// Whether the clock just went on from `before` to this.
    fn follows(self, before: Self) -> bool {
        let expected = before.wall + self.at.saturating_duration_since(before.at);
        let apart = match self.wall.duration_since(expected) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        };
        apart <= SET_MAX
    }
}

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
    let mut before = Reading::of(clock);
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
        let now = Reading::of(clock);
        if now.follows(before) {
            sweep_sign_ins(store, sign_ins, now.wall).await;
        } else {
            tracing::warn!("the clock was set: old sign-ins are removed with the next sweep");
        }
        before = now;
        if let Err(error) = refreshes.sweep(clock.wall()).await {
            tracing::warn!(%error, "sessions that are over cannot be removed from those to refresh");
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = many_events(store, begin) => {}
        }
    }
}

/// For as long as the settings say; if those cannot be read, nothing goes.
async fn sweep_sign_ins(store: &dyn Store, sign_ins: &SignInLog, now: SystemTime) {
    let settings = match admin::stored_settings(store).await {
        Ok(settings) => settings,
        Err(error) => {
            tracing::warn!(%error, "it is not known how long sign-ins are kept");
            return;
        }
    };
    match sign_ins.sweep(settings.sign_in_log.age(), now).await {
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

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_is_noticed() {
        let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + 9 * PAUSE);
        let mut before = Reading::of(&clock);
        let mut follows = |moved: Duration| {
            clock.move_wall(moved);
            let now = Reading::of(&clock);
            let follows = now.follows(before);
            before = now;
            follows
        };
        assert!(follows(Duration::ZERO));
        tokio::time::advance(PAUSE).await;
        assert!(follows(SET_MAX), "a little");
        tokio::time::advance(PAUSE).await;
        assert!(!follows(30 * 24 * PAUSE));
        // From then on it goes on.
        tokio::time::advance(PAUSE).await;
        assert!(follows(Duration::ZERO));
    }

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
            sweep_sign_ins(&store, &log, clock.wall()).await;
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
