//! Sockets of the network in memory.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Net, lock};

/// What is on its way to a socket.
#[derive(Debug)]
pub(super) struct Inbox {
    /// Where others see the socket.
    pub(super) seen_at: SocketAddr,
    pub(super) is_dead: bool,
    pub(super) packets: BinaryHeap<Reverse<Packet>>,
    pub(super) number: u64,
    pub(super) waker: Option<Waker>,
}

/// Ordered by the time of arrival, then as sent.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Packet {
    pub(super) at: Instant,
    pub(super) number: u64,
    pub(super) from: SocketAddr,
    pub(super) bytes: Box<[u8]>,
}

/// A socket of a host.
pub(super) struct NetSocket {
    pub(super) net: Net,
    pub(super) bound: SocketAddr,
    pub(super) inbox: Arc<Mutex<Inbox>>,
    /// Rings when the next packet arrives.
    pub(super) alarm: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl fmt::Debug for NetSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetSocket")
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for NetSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let (from, is_dead) = {
            let inbox = lock(&self.inbox);
            (inbox.seen_at, inbox.is_dead)
        };
        if is_dead {
            return Ok(());
        }
        let piece = transmit.segment_size.unwrap_or(transmit.contents.len());
        let mut state = self.net.lock();
        for bytes in transmit.contents.chunks(piece.max(1)) {
            state.send(from, transmit.destination, bytes);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut inbox = lock(&self.inbox);
            let received = inbox.receive(buffers, metas);
            if received > 0 {
                return Poll::Ready(Ok(received));
            }
            inbox.waker = Some(context.waker().clone());
            let Some(next) = inbox.packets.peek().map(|Reverse(packet)| packet.at) else {
                return Poll::Pending;
            };
            drop(inbox);
            let mut alarm = lock(&self.alarm);
            let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(next)));
            if alarm.deadline() != next {
                alarm.as_mut().reset(next);
            }
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.bound)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl Inbox {
    /// Takes what has arrived, as far as there is room for it.
    fn receive(&mut self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let now = Instant::now();
        let mut received = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let has_arrived = |Reverse(packet): &Reverse<Packet>| packet.at <= now;
            if !self.packets.peek().is_some_and(has_arrived) {
                break;
            }
            let Some(Reverse(packet)) = self.packets.pop() else {
                break;
            };
            let length = packet.bytes.len().min(buffer.len());
            buffer[..length].copy_from_slice(&packet.bytes[..length]);
            *meta = RecvMeta {
                addr: packet.from,
                len: length,
                stride: length,
                ecn: None,
                dst_ip: None,
            };
            received += 1;
        }
        received
    }
}

/// The network takes everything at once.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
