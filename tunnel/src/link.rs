//! One connection between edge and agent, whatever carries it.

use std::{future::poll_fn, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes};
use quinn::ConnectionError;
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use crate::{
    codes::Code,
    frame::{Direction, FrameError},
    stream::{Inflow, Kind, Outflow, RecvError, RecvHalf, SendHalf, read_kind},
    tcp::{self, TcpConnection},
    varint,
};

/// TLS alerts travel as transport errors 0x100 to 0x1ff (RFC 9001, section 4.8).
const TLS_ALERTS: std::ops::Range<u64> = 0x100..0x200;

/// For the word why a peer closes, after the streams that it broke off for that: both leave it within one turn of its driver.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);

/// Why a connection is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The peer closed it and said why.
    #[error("peer closed the connection: {code} ({reason})")]
    ByPeer {
        /// Its code.
        code: Code,
        /// Its words, for logs.
        reason: String,
    },
    /// This side closed it.
    #[error("connection closed by this side")]
    Here,
    /// The peer was silent for too long, or its process restarted.
    #[error("peer gave no sign of life")]
    Silent,
    /// The handshake failed: certificates, names or protocol do not match.
    #[error("tls handshake failed: {0}")]
    Tls(String),
    /// The transport failed in another way.
    #[error("transport failed: {0}")]
    Transport(String),
}

impl From<ConnectionError> for Closed {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::ByPeer {
                code: Code::from_wire(close.error_code),
                reason: String::from_utf8_lossy(&close.reason).into_owned(),
            },
            ConnectionError::LocallyClosed => Self::Here,
            ConnectionError::TimedOut | ConnectionError::Reset => Self::Silent,
            ConnectionError::TransportError(error) => {
                Self::by_transport(error.code.into(), error.to_string())
            }
            ConnectionError::ConnectionClosed(close) => {
                Self::by_transport(close.error_code.into(), close.to_string())
            }
            ConnectionError::VersionMismatch | ConnectionError::CidsExhausted => {
                Self::Transport(error.to_string())
            }
        }
    }
}

impl Closed {
    fn by_transport(code: u64, text: String) -> Self {
        if TLS_ALERTS.contains(&code) {
            Self::Tls(text)
        } else {
            Self::Transport(text)
        }
    }
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// HTTP/2 over TCP.
    Tcp,
}

impl Transport {
    /// Every transport, the better one first.
    pub const ALL: [Self; 2] = [Self::Quic, Self::Tcp];

    /// The word for logs, metrics and configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
        }
    }
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a connection over QUIC fares, counted from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Datagrams that came.
    pub datagrams_received: u64,
    /// Packets that were sent.
    pub packets_sent: u64,
    /// Of those, packets that were lost.
    pub packets_lost: u64,
    /// The current estimate of the round trip.
    pub rtt: Duration,
}

/// A connection: a handle, cheap to clone.
///
/// The edge opens streams, the agent accepts them. When the last handle and stream are dropped, the connection closes with
/// [`Code::Unspecified`]; say [`close`](Self::close) instead.
#[derive(Clone, Debug)]
pub struct Connection {
    inner: Tunnel,
    // Asking quinn would take the lock that every packet of the connection takes.
    remote: SocketAddr,
    peer_certificates: Arc<[CertificateDer<'static>]>,
}

#[derive(Clone, Debug)]
enum Tunnel {
    Quic(quinn::Connection),
    Tcp(TcpConnection),
}

impl Connection {
    pub(crate) fn over_quic(inner: quinn::Connection) -> Self {
        let remote = inner.remote_address();
        let peer_certificates = inner
            .peer_identity()
            .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
            .map_or_else(|| Arc::from([]), |chain| Arc::from(*chain));
        Self {
            inner: Tunnel::Quic(inner),
            remote: SocketAddr::new(remote.ip().to_canonical(), remote.port()),
            peer_certificates,
        }
    }

    pub(crate) fn over_tcp(inner: TcpConnection, peer: tcp::Peer) -> Self {
        let tcp::Peer {
            address,
            certificates,
        } = peer;
        Self {
            inner: Tunnel::Tcp(inner),
            remote: SocketAddr::new(address.ip().to_canonical(), address.port()),
            peer_certificates: certificates.into(),
        }
    }

    /// What carries it.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        match &self.inner {
            Tunnel::Quic(_) => Transport::Quic,
            Tunnel::Tcp(_) => Transport::Tcp,
        }
    }

    /// Opens a stream. The peer learns of it with the first flush. Waits while the peer's limit of streams is reached.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn open(&self, kind: Kind) -> Result<(SendHalf, RecvHalf), Closed> {
        let (outflow, inflow) = self.open_raw().await?;
        Ok((
            SendHalf::opening(outflow, kind),
            RecvHalf::new(inflow, Direction::Response, Bytes::new()),
        ))
    }

    /// The next stream that the peer opened, before its preamble is read.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn accept(&self) -> Result<Accepted, Closed> {
        match &self.inner {
            Tunnel::Quic(inner) => {
                let (send, recv) = inner.accept_bi().await?;
                Ok(Accepted {
                    outflow: Outflow::over_quic(send),
                    inflow: Inflow::over_quic(recv),
                })
            }
            Tunnel::Tcp(inner) => {
                let (writer, reader) = inner.accept().await?;
                Ok(Accepted {
                    outflow: Outflow::over_tcp(writer),
                    inflow: Inflow::over_tcp(reader),
                })
            }
        }
    }

    /// Closes the connection and every stream on it. The first close counts.
    pub fn close(&self, code: Code, reason: &str) {
        match &self.inner {
            Tunnel::Quic(inner) => inner.close(code.to_wire(), reason.as_bytes()),
            Tunnel::Tcp(inner) => inner.close(code, reason),
        }
    }

    /// Waits until the connection is gone.
    pub async fn closed(&self) -> Closed {
        match &self.inner {
            Tunnel::Quic(inner) => inner.closed().await.into(),
            Tunnel::Tcp(inner) => inner.closed().await,
        }
    }

    /// Why the peer closes, once it broke off a stream that stands for the whole: over TCP its word for that comes a little later. None if it
    /// does not close.
    pub async fn last_words(&self) -> Option<Closed> {
        timeout(LAST_WORDS_WAIT, self.closed()).await.ok()
    }

    /// Why the connection is gone, if it is.
    #[must_use]
    pub fn close_reason(&self) -> Option<Closed> {
        match &self.inner {
            Tunnel::Quic(inner) => inner.close_reason().map(Closed::from),
            Tunnel::Tcp(inner) => inner.close_reason(),
        }
    }

    /// Whether the connection is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.inner {
            Tunnel::Quic(inner) => inner.close_reason().is_some(),
            Tunnel::Tcp(inner) => inner.close_reason().is_some(),
        }
    }

    /// How the path fares; over TCP nobody tells.
    #[must_use]
    pub fn vitals(&self) -> Option<Vitals> {
        let Tunnel::Quic(inner) = &self.inner else {
            return None;
        };
        let stats = inner.stats();
        Some(Vitals {
            datagrams_received: stats.udp_rx.datagrams,
            packets_sent: stats.path.sent_packets,
            packets_lost: stats.path.lost_packets,
            rtt: stats.path.rtt,
        })
    }

    /// Grows with everything that comes from the peer, be it no more than an acknowledgement: a sign that it lives.
    #[must_use]
    pub fn heard(&self) -> u64 {
        match &self.inner {
            Tunnel::Quic(inner) => inner.stats().udp_rx.datagrams,
            Tunnel::Tcp(inner) => inner.reads(),
        }
    }

    /// Bytes of the largest packet that the path is known to carry so far: between 1,200 and 6,500. Over TCP the system sees to that.
    #[must_use]
    pub fn packet_bytes(&self) -> Option<u16> {
        match &self.inner {
            Tunnel::Quic(inner) => Some(inner.stats().path.current_mtu),
            Tunnel::Tcp(_) => None,
        }
    }

    /// The peer's address when the connection was made; it may have moved since.
    #[must_use]
    pub const fn remote_address(&self) -> SocketAddr {
        self.remote
    }

    /// The chain that the peer proved to hold the key of, leaf first; empty when it showed none.
    #[must_use]
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.peer_certificates
    }

    pub(crate) async fn open_raw(&self) -> Result<(Outflow, Inflow), Closed> {
        match &self.inner {
            Tunnel::Quic(inner) => {
                let (send, recv) = inner.open_bi().await?;
                Ok((Outflow::over_quic(send), Inflow::over_quic(recv)))
            }
            Tunnel::Tcp(inner) => {
                let (writer, reader) = inner.open().await?;
                Ok((Outflow::over_tcp(writer), Inflow::over_tcp(reader)))
            }
        }
    }
}

/// A stream that the peer opened. Each is read by its own task, so that a lost packet of one holds up no other.
#[derive(Debug)]
pub struct Accepted {
    outflow: Outflow,
    inflow: Inflow,
}

impl Accepted {
    /// Reads what the stream is for. Dropped before it is done, the stream is broken off.
    ///
    /// # Errors
    /// [`RecvError`]; the stream is broken off then.
    pub async fn kind(self) -> Result<(Kind, SendHalf, RecvHalf), RecvError> {
        let (kind, outflow, inflow, input) = self.kind_raw().await?;
        let send = SendHalf::new(outflow, Direction::Response);
        let recv = RecvHalf::new(inflow, Direction::Request, input);
        Ok((kind, send, recv))
    }

    /// Breaks the stream off unread.
    pub fn refuse(mut self, code: Code) {
        self.outflow.reset(code);
        self.inflow.stop(code);
    }

    pub(crate) async fn kind_raw(mut self) -> Result<(Kind, Outflow, Inflow, Bytes), RecvError> {
        match read_preamble(&mut self.inflow).await {
            Ok((kind, input)) => Ok((kind, self.outflow, self.inflow, input)),
            Err(error) => {
                self.refuse(Code::Protocol);
                Err(error)
            }
        }
    }
}

async fn read_preamble(inflow: &mut Inflow) -> Result<(Kind, Bytes), RecvError> {
    let mut preamble = Vec::with_capacity(varint::SIZE_MAX);
    loop {
        let bytes = poll_fn(|context| inflow.poll_bytes(context)).await?;
        let mut bytes = bytes.ok_or(RecvError::Truncated)?;
        let before = preamble.len();
        preamble.extend(bytes.iter().take(varint::SIZE_MAX - before));
        match read_kind(&preamble) {
            Ok(Some((kind, size))) => {
                bytes.advance(size - before);
                return Ok((kind, bytes));
            }
            Ok(None) => {}
            Err(number) => return Err(RecvError::Protocol(FrameError::UnknownKind(number))),
        }
    }
}
