//! How a connection ends whose user is still sending: what comes is thrown away for a moment, so that the answer is not lost.
//!
//! The kernel resets a connection that is closed while bytes of the user wait unread, and a reset makes the user's side forget
//! what it has not read yet (RFC 9112, section 9.6): the answer that says why the upload is not wanted. So the socket comes back
//! when HTTP has ended with it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy, sink},
    net::TcpStream,
    sync::oneshot,
    time::{Instant, timeout},
};

/// Longest farewell: the answer reaches a slow phone, and its end comes back.
const FAREWELL: Duration = Duration::from_secs(2);
/// Longest farewell from a user who takes an answer more slowly than it came: what the kernel has of it, some MiB, is still to be taken, and
/// over HTTP/2 the user says meanwhile how much there is room for.
const SLOW_FAREWELL: Duration = Duration::from_secs(30);
/// So long a user is slow who once took less than came.
const SLOW_MEMORY: Duration = Duration::from_secs(60);
/// More bytes than this in a row, to which the user said nothing yet, may still be on their way.
const OWED_BYTES: u64 = 64 * 1024;
/// Bytes of a user that are thrown away, at most: what is under way of 100 Mbit/s in a third of a second.
const FAREWELL_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A socket that comes back when it is dropped, unless its user has ended it too.
#[derive(Debug)]
pub(crate) struct Lent<K> {
    /// There until this is dropped.
    socket: Option<TcpStream>,
    lender: Option<oneshot::Sender<Returned>>,
    /// Bytes since the user was last heard.
    owed: u64,
    /// When the kernel last took no more.
    full_at: Option<Instant>,
    /// Kept for as long as the socket is lent.
    _place: K,
}

/// Where a lent socket comes back.
pub(crate) type Lender = oneshot::Receiver<Returned>;

/// A socket that HTTP has ended with.
#[derive(Debug)]
pub(crate) struct Returned {
    socket: TcpStream,
    /// Its user may not have taken all yet.
    is_slow: bool,
}

/// Lends a socket to what speaks on it, with the `place` that it takes.
pub(crate) fn lend<K>(socket: TcpStream, place: K) -> (Lent<K>, Lender) {
    let (lender, back) = oneshot::channel();
    let lent = Lent {
        socket: Some(socket),
        lender: Some(lender),
        owed: 0,
        full_at: None,
        _place: place,
    };
    (lent, back)
}

/// Ends a socket that came back. One that did not is still in use, by an upgraded connection, or over.
pub(crate) async fn see_off(mut lender: Lender) {
    let Ok(Returned {
        mut socket,
        is_slow,
    }) = lender.try_recv()
    else {
        return;
    };
    let rest = async {
        socket.shutdown().await?;
        copy(&mut socket.take(FAREWELL_BYTES_MAX), &mut sink()).await
    };
    // Whoever breaks off, or goes on sending, has had its chance.
    let patience = if is_slow { SLOW_FAREWELL } else { FAREWELL };
    let _ = timeout(patience, rest).await;
}

impl<K> Lent<K> {
    fn socket(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.socket.as_mut().expect("only drop takes the socket"))
    }

    fn note(&mut self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(bytes)) => self.owed += *bytes as u64,
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.full_at = Some(Instant::now()),
        }
    }
}

impl<K> Drop for Lent<K> {
    fn drop(&mut self) {
        if let (Some(socket), Some(lender)) = (self.socket.take(), self.lender.take()) {
            // Nobody waits for an upgraded connection: it ended both ways, or broke off.
            let is_slow =
                self.owed > OWED_BYTES || self.full_at.is_some_and(|at| at.elapsed() < SLOW_MEMORY);
            let _ = lender.send(Returned { socket, is_slow });
        }
    }
}

impl<K: Unpin> AsyncRead for Lent<K> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.remaining();
        let read = self.socket().poll_read(context, buffer);
        let ended = match &read {
            Poll::Ready(Ok(())) => {
                self.owed = 0;
                before > 0 && buffer.remaining() == before
            }
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if ended {
            // The user's side is over: closing resets nothing.
            self.lender = None;
        }
        read
    }
}

impl<K: Unpin> AsyncWrite for Lent<K> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.socket().poll_write(context, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.socket().poll_write_vectored(context, parts);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket
            .as_ref()
            .is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, time::sleep};

    use super::*;

    const UPLOAD_BYTES: usize = 3 * 1024 * 1024;

    #[tokio::test]
    async fn an_answer_reaches_a_user_who_is_still_sending() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let user = TcpStream::connect(listener.local_addr().unwrap());
        let (mut user, accepted) = (user.await.unwrap(), listener.accept().await.unwrap().0);
        let sending = async {
            user.write_all(&vec![1; UPLOAD_BYTES]).await.unwrap();
            user.shutdown().await.unwrap();
            let mut answer = Vec::new();
            user.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let answering = async {
            let (mut lent, lender) = lend(accepted, ());
            lent.read_u8().await.unwrap();
            lent.write_all(b"too much").await.unwrap();
            drop(lent);
            see_off(lender).await;
        };
        let (answer, ()) = tokio::join!(sending, answering);
        assert_eq!(answer, b"too much");
    }

    /// As over HTTP/2: who reads says now and then that there is room again.
    #[tokio::test]
    async fn a_user_who_reads_slowly_gets_all_of_a_long_answer() {
        const ANSWER_BYTES: usize = 4 * 1024 * 1024;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let user = TcpStream::connect(listener.local_addr().unwrap());
        let (mut user, accepted) = (user.await.unwrap(), listener.accept().await.unwrap().0);
        let reading = async move {
            let (mut part, mut taken) = (vec![0; ANSWER_BYTES / 16], 0);
            loop {
                match user.read(&mut part).await.unwrap() {
                    0 => return taken,
                    bytes => taken += bytes,
                }
                user.write_all(b"room").await.unwrap();
                sleep(FAREWELL / 8).await;
            }
        };
        let answering = async {
            let (mut lent, lender) = lend(accepted, ());
            lent.write_all(&vec![1; ANSWER_BYTES]).await.unwrap();
            drop(lent);
            see_off(lender).await;
        };
        let (taken, ()) = tokio::join!(reading, answering);
        assert_eq!(taken, ANSWER_BYTES);
    }

    #[tokio::test]
    async fn a_user_who_has_ended_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let user = TcpStream::connect(listener.local_addr().unwrap());
        let (user, accepted) = (user.await.unwrap(), listener.accept().await.unwrap().0);
        drop(user);
        let (mut lent, mut lender) = lend(accepted, ());
        assert_eq!(lent.read(&mut [0; 8]).await.unwrap(), 0);
        drop(lent);
        assert!(lender.try_recv().is_err());
    }
}
