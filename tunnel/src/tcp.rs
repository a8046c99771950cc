//! The tunnel over TCP, for networks that let no UDP through: HTTP/2 in TLS 1.3, at the port of users.
//!
//! The agent dials, and serves HTTP/2; the edge is its client, as it is the edge that opens every stream. TLS is the caller's:
//! both sides show certificates of the fabric there, and agree on `h2`.
//!
//! - The first stream of HTTP/2 is the farewell. Each side may say on it, once, why it closes: the [code](crate::codes) as a
//!   varint, then words. A connection that ends without was lost.
//! - Every later one is a stream of the tunnel: `POST /`, answered by 200 at once, with the tunnel's frames in DATA.
//! - A reset with code n is RST_STREAM with 0x100+n, and ends both directions. TRUNCATED alone leaves the other direction as it
//!   is: it is the end of this one without END.
//! - HTTP/2 cannot ask a sender to stop. An edge that wants no more of an answer resets the stream: nobody waits for it any more. An
//!   agent that wants no more of a request discards what comes until its answer has ended; then it resets the stream with NO_ERROR
//!   (RFC 9113, section 8.1), which reads as BODY_NOT_NEEDED.
//! - Nothing tells when the other side has it all. [`Connection::close`](crate::Connection::close) gives what is written a
//!   moment to leave first.

mod connection;
mod driver;
mod farewell;
mod pulse;
mod settings;
mod socket;
mod stream;

use std::net::SocketAddr;

use h2::Reason;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use connection::TcpConnection;
pub use driver::Driver;
pub(crate) use stream::{Reader, Writer};

use crate::{codes::Code, link::Closed, link::Connection};

/// Protocol of HTTP/2 in TLS.
pub const ALPN: &[u8] = b"h2";

/// Where the tunnel's codes begin among those of HTTP/2, which has given out 0 to 13.
const CODES_FROM: u32 = 0x100;

/// The other side, as TCP and TLS know it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// The chain that it proved to hold the key of, leaf first.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// The edge's side, once TLS is done. The connection lives as long as the driver is polled.
///
/// # Errors
/// The agent is gone.
pub async fn edge<T>(stream: T, peer: Peer) -> Result<(Connection, Driver<T>), Closed>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (connection, driver) = driver::edge(stream).await.map_err(|error| lost(&error))?;
    Ok((Connection::over_tcp(connection, peer), driver))
}

/// The agent's side, once TLS is done. The connection lives as long as the driver is polled.
///
/// # Errors
/// The edge is gone, or does not speak as one.
pub async fn agent<T>(stream: T, peer: Peer) -> Result<(Connection, Driver<T>), Closed>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (connection, driver) = driver::agent(stream).await.map_err(|error| lost(&error))?;
    Ok((Connection::over_tcp(connection, peer), driver))
}

fn lost(error: &h2::Error) -> Closed {
    Closed::Transport(error.to_string())
}

fn to_wire(code: Code) -> Reason {
    Reason::from(CODES_FROM + u32::from(code))
}

/// What a reset says to who sends; a stop, in the tunnel's words.
fn from_wire(reason: Reason) -> Code {
    match reason {
        Reason::NO_ERROR => Code::BodyNotNeeded,
        Reason::CANCEL => Code::Cancelled,
        Reason::REFUSED_STREAM => Code::Refused,
        other => u32::from(other)
            .checked_sub(CODES_FROM)
            .map_or(Code::Unspecified, Code::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_its_reason() {
        for code in Code::ALL {
            assert_eq!(from_wire(to_wire(code)), code);
        }
        for (reason, code) in [
            (Reason::NO_ERROR, Code::BodyNotNeeded),
            (Reason::REFUSED_STREAM, Code::Refused),
            (Reason::ENHANCE_YOUR_CALM, Code::Unspecified),
            (Reason::from(u32::MAX), Code::Unspecified),
        ] {
            assert_eq!(from_wire(reason), code, "{reason:?}");
        }
    }
}
