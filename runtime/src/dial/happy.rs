//! Several addresses of one name: the first that answers counts.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{net::TcpStream, time::sleep};

/// Addresses of one name that are tried: more would not be reached within a connect time-out.
pub const ADDRESSES_MAX: usize = 16;

/// How long one address has the field to itself (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Tries all addresses, each a little after the one before or as soon as that failed; the first success counts, and the other attempts
/// are dropped.
///
/// # Errors
/// When there is none: that of the attempt that failed last, or `no_address`.
pub async fn first_to_answer<T, E, F>(
    addresses: Vec<SocketAddr>,
    no_address: E,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = by_turns(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = no_address;
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(attempt(address));
        }
        tokio::select! {
            answer = attempts.next() => match answer {
                Some(Ok(reached)) => return Ok(reached),
                Some(Err(error)) => last = error,
                None => return Err(last),
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

/// The same for TCP: who accepts a connection has answered.
///
/// # Errors
/// When none accepts: that of the last.
pub async fn first_to_accept(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let no_address = io::ErrorKind::NotFound.into();
    first_to_answer(addresses, no_address, TcpStream::connect).await
}

/// One of each family in turns, in their order (RFC 8305, section 4): a family that leads nowhere costs one stagger.
fn by_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_ipv4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv4() == first_is_ipv4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::with_capacity(first.len() + second.len());
    while first.len() + second.len() > 0 {
        turns.extend(first.next());
        turns.extend(second.next());
    }
    turns
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    fn addresses(written: &[&str]) -> Vec<SocketAddr> {
        written
            .iter()
            .map(|address| address.parse().unwrap())
            .collect()
    }

    #[test]
    fn families_take_turns_from_the_preferred_one_on() {
        for (given, want) in [
            (
                &["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1"][..],
                &["[::1]:1", "127.0.0.1:1", "[::2]:1", "[::3]:1"][..],
            ),
            (
                &["127.0.0.1:1", "127.0.0.2:1", "[::1]:1"],
                &["127.0.0.1:1", "[::1]:1", "127.0.0.2:1"],
            ),
            (&["127.0.0.1:1"], &["127.0.0.1:1"]),
            (&[], &[]),
        ] {
            assert_eq!(by_turns(addresses(given)), addresses(want));
        }
    }

    /// Ports say what becomes of an attempt: 1 is refused, 2 is silent, 3 answers after a second.
    async fn told(address: SocketAddr) -> Result<SocketAddr, &'static str> {
        match address.port() {
            1 => Err("refused"),
            2 => pending().await,
            _ => {
                sleep(Duration::from_secs(1)).await;
                Ok(address)
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_counts_and_silence_costs_a_stagger() {
        for (given, want, after_ms) in [
            (&["127.0.0.1:3"][..], Ok("127.0.0.1:3"), 1_000),
            (
                &["127.0.0.1:2", "127.0.0.2:2", "127.0.0.3:3"],
                Ok("127.0.0.3:3"),
                1_500,
            ),
            (&["127.0.0.1:1", "127.0.0.2:3"], Ok("127.0.0.2:3"), 1_000),
            (&["127.0.0.1:3", "127.0.0.2:3"], Ok("127.0.0.1:3"), 1_000),
            (&["127.0.0.1:1", "127.0.0.2:1"], Err("refused"), 0),
            (&[], Err("no address"), 0),
        ] {
            let began = Instant::now();
            let found = first_to_answer(addresses(given), "no address", told).await;
            let want = want.map(|address| address.parse().unwrap());
            assert_eq!(found, want, "{given:?}");
            let took = began.elapsed().as_millis();
            assert!(
                (after_ms..after_ms + 10).contains(&took),
                "{took} ms of {given:?}"
            );
        }
    }
}
