//! The UDP socket of an endpoint, spared of calls of the system and of memory that quinn's own would spend.

use std::{
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit, UdpSocketState},
};
use tokio::{io::Interest, net::UdpSocket};

use super::settings::LINK_MTU_BYTES_MAX;

/// Messages received in one call, each of up to 64 packets of one peer. quinn gives room for 32, 72 KB each, and what was touched of
/// it is never given back.
const MESSAGES_MAX: usize = 8;

/// The kernel joins packets up to the length of one IP packet, however small they are; quinn makes room for so many of the largest.
const LARGEST_IN_A_MESSAGE: usize = (u16::MAX / LINK_MTU_BYTES_MAX + 1) as usize;

/// A call that brings fewer messages than it may has emptied the socket, and what comes later is told by the system. So it is not
/// asked once more only to hear that there is nothing.
const FEWER_ARE_ALL: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// A socket that tokio watches.
#[derive(Debug)]
pub(super) struct EndpointSocket {
    watched: UdpSocket,
    state: UdpSocketState,
}

impl EndpointSocket {
    /// # Errors
    /// What the kernel says; also when there is no tokio runtime here.
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            state: UdpSocketState::new((&socket).into())?,
            watched: UdpSocket::from_std(socket)?,
        }))
    }

    /// Fails with [`io::ErrorKind::WouldBlock`] when nothing waits.
    fn receive(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        let most = buffers.len().min(metas.len()).min(MESSAGES_MAX);
        let mut last = None;
        let received = self.watched.try_io(Interest::READABLE, || {
            let socket = (&self.watched).into();
            let count = self
                .state
                .recv(socket, &mut buffers[..most], &mut metas[..most])?;
            if FEWER_ARE_ALL && count < most {
                last = Some(count);
                // Makes tokio wait for the next event. One that comes after the call is not lost by it.
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(count)
        });
        last.map_or(received, Ok)
    }
}

impl AsyncUdpSocket for EndpointSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable {
            socket: self,
            waiting: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.watched.try_io(Interest::WRITABLE, || {
            self.state.send((&self.watched).into(), transmit)
        })
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.watched.poll_recv_ready(context))?;
            // Errors are of packets that were sent before, and tell nothing that QUIC does not find out by itself.
            if let Ok(count) = self.receive(buffers, metas) {
                return Poll::Ready(Ok(count));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.watched.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments().min(LARGEST_IN_A_MESSAGE)
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// One connection's wait for room in the socket.
struct Writable {
    socket: Arc<EndpointSocket>,
    waiting: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").finish_non_exhaustive()
    }
}

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let has_room = || this.socket.watched.try_io(Interest::WRITABLE, || Ok(()));
        if this.waiting.is_none() && has_room().is_ok() {
            return Poll::Ready(Ok(()));
        }
        let waiting = this.waiting.get_or_insert_with(|| {
            let socket = Arc::clone(&this.socket);
            Box::pin(async move { socket.watched.writable().await })
        });
        let outcome = ready!(waiting.as_mut().poll(context));
        this.waiting = None;
        Poll::Ready(outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, net::Ipv4Addr};

    use super::*;

    async fn receive(socket: &EndpointSocket) -> usize {
        let mut bytes = [[0; 64]; 2 * MESSAGES_MAX];
        let mut buffers = bytes.each_mut().map(|bytes| IoSliceMut::new(bytes));
        let mut metas = [RecvMeta::default(); 2 * MESSAGES_MAX];
        poll_fn(|context| socket.poll_recv(context, &mut buffers, &mut metas))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn everything_that_comes_is_received_however_it_is_spread() {
        let bound = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = bound.local_addr().unwrap();
        let socket = EndpointSocket::new(bound).unwrap();
        for burst in [1, MESSAGES_MAX, 1, 3 * MESSAGES_MAX + 1, 2, 1] {
            for number in 0..burst {
                // A peer each, as the kernel would join packets of one.
                let peer = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                peer.send_to(&[u8::try_from(number).unwrap()], address)
                    .unwrap();
            }
            let mut received = 0;
            while received < burst {
                received += receive(&socket).await;
            }
            assert_eq!(received, burst);
        }
    }
}
