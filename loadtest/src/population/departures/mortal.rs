//! A network that can swallow, from one moment to the next, everything that its sockets say and hear: to the others, whoever lives in it
//! dies without a word.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::{SocketAddr, ToSocketAddrs as _, UdpSocket},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use quinn::{
    AsyncUdpSocket, Runtime as _, TokioRuntime, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tunnel::quic::Network;

/// All who die together.
#[derive(Debug, Clone, Default)]
pub(super) struct Mortals {
    dead: Arc<AtomicBool>,
}

impl Mortals {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Where they live.
    pub(super) fn network(&self) -> Arc<dyn Network> {
        Arc::new(self.clone())
    }

    /// Ends them all.
    pub(super) fn kill(&self) {
        self.dead.store(true, Relaxed);
    }
}

impl Network for Mortals {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let inner = TokioRuntime.wrap_udp_socket(UdpSocket::bind(address)?)?;
        Ok(Arc::new(Socket {
            inner,
            dead: Arc::clone(&self.dead),
        }))
    }

    fn look_up(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(address.to_socket_addrs()?.collect())
    }
}

struct Socket {
    inner: Arc<dyn AsyncUdpSocket>,
    dead: Arc<AtomicBool>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.dead.load(Relaxed) {
            return Ok(());
        }
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(context, buffers, metas);
        if self.dead.load(Relaxed) && received.is_ready() {
            // Heard and forgotten; asked again, it may hear more of it.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
