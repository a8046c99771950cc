//! Several addresses of one name: the first that accepts a connection counts.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{net::TcpStream, time::sleep};

/// Addresses of one name that are tried: more would not be reached within a connect time-out.
pub const ADDRESSES_MAX: usize = 16;

/// How long one address has the field to itself (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Tries all addresses, each a little after the one before or as soon as that failed; the first connection counts.
///
/// # Errors
/// When none accepts: that of the last.
pub async fn first_to_accept(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(TcpStream::connect(address));
        }
        tokio::select! {
            attempt = attempts.next() => match attempt {
                Some(Ok(tcp)) => return Ok(tcp),
                Some(Err(error)) => last = error,
                None => return Err(last),
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}
