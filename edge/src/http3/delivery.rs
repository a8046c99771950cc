//! The way of an answer's end to its user. Until it is there the connection must stay: closed, it drops what was not sent.

use std::time::Duration;

use quinn::Connection;
use tokio::time::sleep;

/// Looks at the user in the time after which it is given up; so much later it is given up at most.
const LOOKS: u32 = 4;

/// Longest way: all that may wait for one user, at the speed of a modem.
const DELIVERY_MAX: Duration = Duration::from_secs(15 * 60);

/// Waits for `stopped`, for as long as the user confirms anything: who confirms nothing for `stall_timeout` is gone.
///
/// What was written fits what the user takes, so its system confirms it whether or not the user reads.
pub(super) async fn wait(
    stopped: impl Future<Output = ()>,
    connection: &Connection,
    stall_timeout: Duration,
) {
    tokio::select! {
        biased;
        () = stopped => {}
        () = silence(connection, stall_timeout) => {}
    }
}

async fn silence(connection: &Connection, stall_timeout: Duration) {
    let look = stall_timeout / LOOKS;
    let (mut confirmed, mut silent, mut waited) =
        (confirmations(connection), Duration::ZERO, Duration::ZERO);
    while silent < stall_timeout && waited < DELIVERY_MAX {
        sleep(look).await;
        let now = confirmations(connection);
        silent = if now == confirmed {
            silent + look
        } else {
            Duration::ZERO
        };
        (confirmed, waited) = (now, waited + look);
    }
}

fn confirmations(connection: &Connection) -> u64 {
    connection.stats().frame_rx.acks
}
