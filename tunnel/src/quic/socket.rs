//! The UDP socket of an endpoint, spared of calls of the system and of memory that quinn's own would spend.

use std::{
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit, UdpSocketState},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::settings::LINK_MTU_BYTES_MAX;

/// Messages received in one call, each of up to 64 packets of one peer. quinn gives room for 32, 72 KB each, and what was touched of
/// it is never given back.
const MESSAGES_MAX: usize = 8;

/// The kernel joins packets up to the length of one IP packet, however small they are; quinn makes room for so many of the largest.
const LARGEST_IN_A_MESSAGE: usize = (u16::MAX / LINK_MTU_BYTES_MAX + 1) as usize;

/// A call that brings fewer messages than it may has emptied the socket, and what comes later is told by the system. So it is not
/// asked once more only to hear that there is nothing.
const FEWER_ARE_ALL: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// A socket that is watched for what comes. Room for what goes is looked for only while there is none: whoever watches for that hears from
/// the kernel of every packet that has left, which is a switch of threads for each request that comes alone.
#[derive(Debug)]
pub(super) struct EndpointSocket {
    watched: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    /// While there is no room. Another descriptor, as one is watched once.
    room: Mutex<Option<Arc<AsyncFd<UdpSocket>>>>,
}

impl EndpointSocket {
    /// # Errors
    /// What the kernel says.
    ///
    /// # Panics
    /// There is no tokio runtime here. The same holds for sending.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            state: UdpSocketState::new((&socket).into())?,
            watched: watch(socket, Interest::READABLE)?,
            room: Mutex::new(None),
        }))
    }

    fn socket(&self) -> &UdpSocket {
        self.watched.get_ref()
    }

    fn room(&self) -> MutexGuard<'_, Option<Arc<AsyncFd<UdpSocket>>>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch_for_room(&self) -> io::Result<Arc<AsyncFd<UdpSocket>>> {
        let again = self.socket().try_clone()?;
        Ok(Arc::new(watch(again, Interest::WRITABLE)?))
    }

    /// Sends by `send`, which fails with [`io::ErrorKind::WouldBlock`] while there is no room.
    fn send_by(&self, send: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let room = self.room().clone();
        let sent = match &room {
            None => send(),
            Some(watched) => watched.try_io(Interest::WRITABLE, |_| send()),
        };
        let is_full = matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        if is_full && room.is_none() {
            match self.watch_for_room() {
                Ok(watched) => *self.room() = Some(watched),
                // Nobody can wait: the packet is lost, as others are on their way.
                Err(_) => return Ok(()),
            }
        } else if !is_full && room.is_some() {
            *self.room() = None;
        }
        sent
    }

    /// Fails with [`io::ErrorKind::WouldBlock`] when nothing waits.
    fn receive(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        let most = buffers.len().min(metas.len()).min(MESSAGES_MAX);
        let mut last = None;
        let received = self.watched.try_io(Interest::READABLE, |socket| {
            let count = self
                .state
                .recv(socket.into(), &mut buffers[..most], &mut metas[..most])?;
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

#[expect(
    deprecated,
    reason = "unsound for types that do not own their descriptor, which sockets do; what follows it is unsafe for all"
)]
fn watch(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, interest)
}

impl AsyncUdpSocket for EndpointSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable {
            socket: self,
            waiting: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.send_by(|| self.state.send(self.socket().into(), transmit))
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.watched.poll_read_ready(context))?.retain_ready();
            // Errors are of packets that were sent before, and tell nothing that QUIC does not find out by itself.
            if let Ok(count) = self.receive(buffers, metas) {
                return Poll::Ready(Ok(count));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket().local_addr()
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
        let waiting = match &mut this.waiting {
            Some(waiting) => waiting,
            none => {
                let Some(room) = this.socket.room().clone() else {
                    return Poll::Ready(Ok(()));
                };
                none.insert(Box::pin(async move {
                    room.writable().await?.retain_ready();
                    Ok(())
                }))
            }
        };
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
        let bound = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = bound.local_addr().unwrap();
        let socket = EndpointSocket::new(bound).unwrap();
        for burst in [1, MESSAGES_MAX, 1, 3 * MESSAGES_MAX + 1, 2, 1] {
            for number in 0..burst {
                // A peer each, as the kernel would join packets of one.
                let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
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

    /// No socket of loopback is ever full, as its packets leave at once.
    fn refused() -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// A socket, and one that it sends to.
    fn pair() -> (Arc<EndpointSocket>, UdpSocket) {
        let [bound, peer] = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        (EndpointSocket::new(bound).unwrap(), peer)
    }

    fn leave(socket: &EndpointSocket, peer: &UdpSocket) -> io::Result<()> {
        let address = peer.local_addr()?;
        socket.socket().send_to(&[0], address).map(drop)
    }

    #[tokio::test]
    async fn whoever_finds_no_room_hears_when_there_is_some() {
        let (socket, peer) = pair();
        let mut pollers = [(); 3].map(|()| Arc::clone(&socket).create_io_poller());
        for _ in 0..10 {
            for poller in &mut pollers {
                writable(poller).await;
            }
            assert_eq!(
                socket.send_by(refused).unwrap_err().kind(),
                io::ErrorKind::WouldBlock
            );
            // Told at once, as there is room. Again refused, they are told only when a packet has left.
            for poller in &mut pollers {
                writable(poller).await;
            }
            socket.send_by(refused).unwrap_err();
            for poller in &mut pollers {
                assert!(waits(poller).await);
            }
            socket
                .send_by(|| unreachable!("nobody has said that there is room"))
                .unwrap_err();
            leave(&socket, &peer).unwrap();
            for poller in &mut pollers {
                writable(poller).await;
            }
            socket.send_by(|| leave(&socket, &peer)).unwrap();
            assert!(
                socket.room().is_none(),
                "watched for room that it has found"
            );
        }
    }

    /// Refuses until whoever asks from now on is told only when a packet has left.
    async fn fill(socket: &Arc<EndpointSocket>) {
        socket.send_by(refused).unwrap_err();
        writable(&mut Arc::clone(socket).create_io_poller()).await;
        socket.send_by(refused).unwrap_err();
    }

    #[tokio::test]
    async fn who_waits_by_a_watch_that_was_given_up_hears_beside_who_waits_by_the_next() {
        let (socket, peer) = pair();
        let [mut first, mut second] = [(); 2].map(|()| Arc::clone(&socket).create_io_poller());
        for _ in 0..10 {
            fill(&socket).await;
            assert!(waits(&mut first).await);
            // As by one that found room, before another that finds none.
            *socket.room() = None;
            fill(&socket).await;
            assert!(waits(&mut second).await);
            assert!(waits(&mut first).await);
            leave(&socket, &peer).unwrap();
            writable(&mut first).await;
            writable(&mut second).await;
            *socket.room() = None;
        }
    }

    async fn waits(poller: &mut Pin<Box<dyn UdpPoller>>) -> bool {
        let at_once = poll_fn(|context| Poll::Ready(poller.as_mut().poll_writable(context)));
        at_once.await.is_pending()
    }

    async fn writable(poller: &mut Pin<Box<dyn UdpPoller>>) {
        let told = poll_fn(|context| poller.as_mut().poll_writable(context));
        tokio::time::timeout(std::time::Duration::from_secs(10), told)
            .await
            .unwrap()
            .unwrap();
    }
}
