//! The life of one process: start, wait for a signal, drain.

use std::{error::Error, io, time::Duration};

use runtime::{Scope, descriptors, shutdown};

use crate::cli::failure::Failure;

/// Time for tasks that are left after a drain; they have nothing to lose.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Starts a process, lets it run until a signal or until it is `over` by itself, and drains it. A signal during the start ends it at once.
pub(super) async fn live<H, E>(
    process: &'static str,
    start: impl AsyncFnOnce(&Scope) -> Result<H, E>,
    over: impl AsyncFnOnce(&mut H),
    drain: impl AsyncFnOnce(H) -> bool,
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
    let scope = Scope::root();
    let mut asked = Box::pin(shutdown::signal(&scope));
    let mut handle = tokio::select! {
        biased;
        signal = &mut asked => return signal.map(drop).map_err(deaf),
        started = Box::pin(start(&scope)) => started.map_err(|error| failed(error.into()))?,
    };
    tokio::select! {
        signal = asked => drop(signal.map_err(deaf)?),
        () = over(&mut handle) => {}
    }
    let in_time = Box::pin(drain(handle)).await;
    scope.close(CLOSE_WAIT).await;
    tracing::info!(process, in_time, "ended");
    Ok(())
}
