//! The bytes to and from an origin: TCP, TLS or a Unix socket, counted, and patient when a write fails.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use metrics::Gauge;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::socket::UnixStream;

/// What the pool needs to know of a connection that hyper owns.
#[derive(Debug, Default)]
pub(super) struct Wire {
    heard: AtomicBool,
    spoke: AtomicBool,
    broken: AtomicBool,
}

impl Wire {
    /// Whether a byte came since [`Wire::listen`].
    pub(super) fn heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Whether a byte went out since [`Wire::listen`].
    pub(super) fn spoke(&self) -> bool {
        self.spoke.load(Ordering::Relaxed)
    }

    /// Begins a new exchange.
    pub(super) fn listen(&self) {
        self.heard.store(false, Ordering::Relaxed);
        self.spoke.store(false, Ordering::Relaxed);
    }

    /// Whether the origin takes no more bytes.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

/// One of the connections an origin may have; gives its place back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    open: Arc<AtomicUsize>,
    gauge: Gauge,
}

impl Slot {
    /// Takes a place, unless `max` are taken.
    pub(super) fn take(open: &Arc<AtomicUsize>, max: usize, gauge: &Gauge) -> Option<Self> {
        // One worker alone counts up, so that nothing comes between the look and the step.
        if open.load(Ordering::Relaxed) >= max {
            return None;
        }
        open.fetch_add(1, Ordering::Relaxed);
        gauge.increment(1.0);
        Some(Self {
            open: Arc::clone(open),
            gauge: gauge.clone(),
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.gauge.decrement(1.0);
    }
}

/// TCP alone or with TLS, or a Unix socket.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// The server's certificate, in DER.
    pub(crate) fn certificate(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(_) | Self::Unix(_) => None,
            Self::Tls(tls) => {
                let shown = tls.get_ref().1.peer_certificates()?.first()?;
                Some(shown.as_ref().to_vec())
            }
        }
    }
}

/// A connection to an origin as hyper and upgrades use it.
#[derive(Debug)]
pub(crate) struct OriginStream {
    transport: Transport,
    wire: Arc<Wire>,
    /// Whether a broken write waits for the reader to find the answer, or the end.
    patient: bool,
    _slot: Option<Slot>,
}

impl OriginStream {
    pub(super) fn new(transport: Transport, slot: Slot) -> (Self, Arc<Wire>) {
        let wire = Arc::new(Wire::default());
        let stream = Self {
            transport,
            wire: Arc::clone(&wire),
            patient: true,
            _slot: Some(slot),
        };
        (stream, wire)
    }

    /// For a look at the origin that nobody's request waits for.
    pub(crate) fn aside(transport: Transport) -> Self {
        Self {
            transport,
            wire: Arc::default(),
            patient: false,
            _slot: None,
        }
    }

    /// After an upgrade there is no answer to wait for: broken writes fail.
    pub(crate) fn raw(mut self) -> Self {
        self.patient = false;
        self
    }

    /// An origin may answer and close before it took the whole body, which breaks our writes. Its answer still waits to be
    /// read (RFC 9112, section 9.6), and reading surely ends, so a broken write waits instead of failing.
    fn forgive(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) if bytes > 0 => {
                self.wire.spoke.store(true, Ordering::Relaxed);
                written
            }
            Poll::Ready(Err(error)) if self.patient && is_broken(&error) => {
                self.wire.broken.store(true, Ordering::Relaxed);
                Poll::Pending
            }
            other => other,
        }
    }
}

fn is_broken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
    )
}

impl AsyncRead for OriginStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Transport::Unix(unix) => Pin::new(unix).poll_read(context, buffer),
            Transport::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        };
        if buffer.filled().len() > before {
            self.wire.heard.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for OriginStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Transport::Unix(unix) => Pin::new(unix).poll_write(context, bytes),
            Transport::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        };
        self.forgive(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_write_vectored(context, slices),
            Transport::Unix(unix) => Pin::new(unix).poll_write_vectored(context, slices),
            Transport::Tls(tls) => Pin::new(tls).poll_write_vectored(context, slices),
        };
        self.forgive(written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(tcp) => tcp.is_write_vectored(),
            Transport::Unix(unix) => unix.is_write_vectored(),
            Transport::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Transport::Unix(unix) => Pin::new(unix).poll_flush(context),
            Transport::Tls(tls) => Pin::new(tls).poll_flush(context),
        };
        self.forgive(flushed.map_ok(|()| 0)).map_ok(drop)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Transport::Unix(unix) => Pin::new(unix).poll_shutdown(context),
            Transport::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}
