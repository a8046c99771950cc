//! A socket that tells whether it holds writers up, and whether anything comes.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is written to it, and read, is followed.
#[derive(Debug)]
pub(super) struct Followed<T> {
    inner: T,
    pace: Pace,
}

/// How the writing and the reading go. Clones tell of the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    is_held_up: AtomicBool,
    reads: AtomicU64,
}

impl Pace {
    /// Whether the socket takes no more at the moment, so that something waits on this side.
    pub(super) fn is_held_up(&self) -> bool {
        self.0.is_held_up.load(Relaxed)
    }

    /// How often something came.
    pub(super) fn reads(&self) -> u64 {
        self.0.reads.load(Relaxed)
    }
}

impl<T> Followed<T> {
    pub(super) fn new(inner: T) -> (Self, Pace) {
        let pace = Pace::default();
        let followed = Self {
            inner,
            pace: pace.clone(),
        };
        (followed, pace)
    }

    fn note<R>(&self, written: Poll<R>) -> Poll<R> {
        let Pace(seen) = &self.pace;
        seen.is_held_up.store(written.is_pending(), Relaxed);
        written
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Followed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        if buffer.filled().len() > before {
            let Pace(seen) = &self.pace;
            seen.reads.fetch_add(1, Relaxed);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Followed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
