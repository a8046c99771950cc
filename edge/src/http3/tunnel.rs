//! A stream that became a tunnel (RFC 9220): bytes in DATA frames, both ways.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use quinn::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    delivery,
    frame::{Kind, header},
    inbound::{Inbound, Part},
    reply::Reply,
};

/// Bytes of one write, which wait until the user takes them.
const WRITE_BYTES_MAX: usize = 16 * 1024;

/// The user's end of a tunnel. Dropped before it is shut down, the stream is reset.
pub(crate) struct Tunnel {
    inbound: Inbound,
    reply: Reply,
    /// Came and was not read yet.
    unread: Bytes,
    /// Accepted and not yet taken by the transport.
    unsent: BytesMut,
    /// Ends when the user has all that was sent.
    delivered: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    place: Place,
}

/// Where a tunnel is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) connection: Connection,
    /// The connection stays for as long as this.
    pub(super) _open: TaskTrackerToken,
    /// How long the user may confirm nothing of what was sent last.
    pub(super) stall_timeout: Duration,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnel")
    }
}

impl Tunnel {
    /// Of a stream whose heads have passed in both directions.
    pub(super) fn new(inbound: Inbound, reply: Reply, place: Place) -> Self {
        Self {
            inbound,
            reply,
            unread: Bytes::new(),
            unsent: BytesMut::new(),
            delivered: None,
            place,
        }
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unsent.has_remaining() {
            let stream = Pin::new(self.reply.stream());
            let sent = ready!(stream.poll_write(context, &self.unsent)).map_err(io::Error::from)?;
            self.unsent.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            match ready!(self.inbound.poll_part(context)).map_err(io::Error::other)? {
                Some(Part::Data(data)) => self.unread = data,
                Some(Part::Section(_)) => {
                    return Poll::Ready(Err(io::Error::other("trailers in a tunnel")));
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let bytes = buffer.remaining().min(self.unread.len());
        buffer.put_slice(&self.unread.split_to(bytes));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(context))?;
        let taken = bytes.len().min(WRITE_BYTES_MAX);
        if taken > 0 {
            self.unsent.put(header(Kind::Data, taken));
            self.unsent.put_slice(&bytes[..taken]);
        }
        match self.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What is left goes with the next write or flush.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(context)
    }

    /// Done once the user has it all, or is given up: a connection that closes before takes back what was sent.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        let tunnel = &mut *self;
        let delivered = tunnel.delivered.get_or_insert_with(|| {
            tunnel.reply.finish();
            let stopped = tunnel.reply.stopped();
            let (connection, stall_timeout) =
                (tunnel.place.connection.clone(), tunnel.place.stall_timeout);
            Box::pin(async move { delivery::wait(stopped, &connection, stall_timeout).await })
        });
        delivered.as_mut().poll(context).map(Ok)
    }
}
