//! The life of one process: start, wait for a signal, drain.

use std::{convert::Infallible, error::Error, future, io, time::Duration};

use runtime::{Scope, descriptors, service::ServiceManager, shutdown};
use tokio::time::sleep;

use crate::cli::failure::Failure;

/// Time for tasks that are left after a drain; they have nothing to lose.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// How long a process may take to answer that it lives: workers answer within microseconds, unless one is stuck.
const SIGN_WAIT: Duration = Duration::from_secs(5);

/// What a drain may take beyond its deadline: connections are closed one after another, with a word each.
const DRAIN_SLACK: Duration = Duration::from_secs(6);

/// Which process it is, and how long what it serves may go on when it is asked to end.
pub(super) struct Process {
    pub(super) name: &'static str,
    pub(super) drain_deadline: Duration,
}

/// Starts a process, lets it run until a signal, or until another process `serves` in its place, and drains it. A signal during the start
/// ends it at once. The service manager is told of each step, and while it asks, that the process `is_alive`.
pub(super) async fn live<H, E>(
    Process {
        name: process,
        drain_deadline,
    }: Process,
    start: impl AsyncFnOnce(&Scope) -> Result<H, E>,
    superseded: impl AsyncFnOnce(&H),
    is_alive: impl AsyncFn(&H, Duration) -> bool,
    drain: impl AsyncFnOnce(H, Duration) -> bool,
) -> Result<(), Failure>
where
    E: Error + Send + Sync + 'static,
{
    let failed = |source: Box<dyn Error + Send + Sync>| Failure::Process { process, source };
    let deaf = |error: io::Error| failed(error.into());
    match descriptors::raise() {
        Ok(granted) => tracing::debug!(process, granted, "file descriptors"),
        Err(error) => tracing::warn!(process, %error, "cannot raise the limit of file descriptors"),
    }
    let manager = ServiceManager::of_environment().unwrap_or_else(|error| {
        tracing::warn!(process, %error, "the service manager that started this process cannot be told of it");
        ServiceManager::default()
    });
    let scope = Scope::root();
    let mut asked = Box::pin(shutdown::signal(&scope));
    let handle = tokio::select! {
        biased;
        signal = &mut asked => return signal.map(drop).map_err(deaf),
        started = Box::pin(start(&scope)) => started.map_err(|error| failed(error.into()))?,
    };
    manager.ready("serving");
    tokio::select! {
        asked = asked => {
            asked.map_err(deaf)?;
            manager.stopping("draining", drain_deadline + DRAIN_SLACK + CLOSE_WAIT);
        }
        // The manager looks after the other process by now.
        () = superseded(&handle) => {}
        never = show_signs(&manager, || is_alive(&handle, SIGN_WAIT)) => match never {},
    };
    let in_time = Box::pin(drain(handle, drain_deadline)).await;
    scope.close(CLOSE_WAIT).await;
    tracing::info!(process, in_time, "ended");
    Ok(())
}

/// For as long as the manager asks. One who hears nothing for too long ends this process and starts another.
async fn show_signs(manager: &ServiceManager, is_alive: impl AsyncFn() -> bool) -> Infallible {
    let Some(interval) = manager.sign_interval() else {
        return future::pending().await;
    };
    loop {
        if is_alive().await {
            manager.alive();
        } else {
            tracing::error!(
                "this process does not do its work: the service manager is shown no sign of life"
            );
        }
        sleep(interval).await;
    }
}
