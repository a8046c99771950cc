//! What the system's resolver says of names.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{net::lookup_host, time::timeout};

use super::Target;

/// How long a name is asked for; a resolver that is silent is given up much later by the system itself.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// The addresses of a target, in the order in which the system prefers them.
///
/// # Errors
/// What the system says, or nobody answers for two seconds.
pub async fn look_up(target: &Target) -> io::Result<Vec<SocketAddr>> {
    let found = timeout(LOOKUP_TIMEOUT, lookup_host((target.host(), target.port())));
    let found = found.await.unwrap_or_else(|_| {
        let silent = "no answer of the resolver within 2 s";
        Err(io::Error::new(io::ErrorKind::TimedOut, silent))
    })?;
    Ok(found.collect())
}
