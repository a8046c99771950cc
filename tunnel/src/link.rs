//! One connection between edge and agent, whatever carries it.

use std::{future::poll_fn, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes};
use quinn::ConnectionError;
use rustls::pki_types::CertificateDer;

use crate::{
    codes::Code,
    frame::{Direction, FrameError},
    stream::{Inflow, Kind, Outflow, RecvError, RecvHalf, SendHalf, read_kind},
    varint,
};

/// TLS alerts travel as transport errors 0x100 to 0x1ff (RFC 9001, section 4.8).
const TLS_ALERTS: std::ops::Range<u64> = 0x100..0x200;

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

/// A connection: a handle, cheap to clone.
///
/// The edge opens streams, the agent accepts them. When the last handle and stream are dropped, the connection closes with
/// [`Code::Unspecified`]; say [`close`](Self::close) instead.
#[derive(Clone, Debug)]
pub struct Connection {
    inner: quinn::Connection,
    // Asking quinn would take the lock that every packet of the connection takes.
    remote: SocketAddr,
    peer_certificates: Arc<[CertificateDer<'static>]>,
}

impl Connection {
    pub(crate) fn new(inner: quinn::Connection) -> Self {
        let remote = inner.remote_address();
        let peer_certificates = inner
            .peer_identity()
            .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
            .map_or_else(|| Arc::from([]), |chain| Arc::from(*chain));
        Self {
            inner,
            remote: SocketAddr::new(remote.ip().to_canonical(), remote.port()),
            peer_certificates,
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
        let (send, recv) = self.inner.accept_bi().await?;
        Ok(Accepted {
            outflow: Outflow::new(send),
            inflow: Inflow::new(recv),
        })
    }

    /// Closes the connection and every stream on it. The first close counts.
    pub fn close(&self, code: Code, reason: &str) {
        self.inner.close(code.to_wire(), reason.as_bytes());
    }

    /// Waits until the connection is gone.
    pub async fn closed(&self) -> Closed {
        self.inner.closed().await.into()
    }

    /// Why the connection is gone, if it is.
    #[must_use]
    pub fn close_reason(&self) -> Option<Closed> {
        self.inner.close_reason().map(Closed::from)
    }

    /// Whether the connection is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.close_reason().is_some()
    }

    /// The current estimate of the round trip.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.inner.rtt()
    }

    /// Bytes of the largest packet that the path is known to carry so far: between 1,200 and 6,500.
    #[must_use]
    pub fn packet_bytes(&self) -> u16 {
        self.inner.stats().path.current_mtu
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
        let (send, recv) = self.inner.open_bi().await?;
        Ok((Outflow::new(send), Inflow::new(recv)))
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
