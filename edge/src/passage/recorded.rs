//! A stream that remembers how it began, until it is told to forget.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are remembered. A ClientHello with keys of a post-quantum exchange has some 1,800; what is longer is none of a node's.
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// A stream, and what was read of it so far.
#[derive(Debug)]
pub(crate) struct Recorded<S> {
    stream: S,
    record: Record,
}

#[derive(Debug)]
enum Record {
    /// Nothing is remembered.
    Off,
    /// Everything was.
    Whole(Vec<u8>),
    /// There was too much.
    TooLong,
}

impl<S> Recorded<S> {
    /// Remembers what is read.
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            record: Record::Whole(Vec::new()),
        }
    }

    /// Remembers nothing.
    pub(crate) fn not(stream: S) -> Self {
        Self {
            stream,
            record: Record::Off,
        }
    }

    /// Remembers nothing from now on.
    pub(crate) fn forget(&mut self) {
        self.record = Record::Off;
    }

    /// All that was read, which is forgotten; none where it is not known.
    pub(crate) fn replay(&mut self) -> Option<Vec<u8>> {
        match std::mem::replace(&mut self.record, Record::Off) {
            Record::Whole(bytes) => Some(bytes),
            Record::Off | Record::TooLong => None,
        }
    }
}

impl Record {
    fn add(&mut self, bytes: &[u8]) {
        let Self::Whole(record) = self else {
            return;
        };
        if record.len() + bytes.len() > RECORD_BYTES_MAX {
            *self = Self::TooLong;
        } else {
            record.extend(bytes);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Recorded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.record.add(&buffer.filled()[before..]);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn what_was_read_is_remembered_up_to_the_bound() {
        let bytes = vec![7; RECORD_BYTES_MAX + 1];
        for (length, remembered) in [(RECORD_BYTES_MAX, true), (RECORD_BYTES_MAX + 1, false)] {
            let mut stream = Recorded::new(&bytes[..]);
            stream.read_exact(&mut vec![0; length]).await.unwrap();
            let taken = stream.replay();
            assert_eq!(taken.is_some(), remembered);
            assert!(taken.is_none_or(|taken| taken == bytes[..length]));
            assert!(stream.replay().is_none(), "it is forgotten");
        }
        let mut stream = Recorded::new(&bytes[..]);
        stream.forget();
        stream.read_exact(&mut [0; 8]).await.unwrap();
        assert!(stream.replay().is_none());
    }
}
