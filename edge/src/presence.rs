//! Connections on which nobody asks for anything: kept for a while, and for less if a head has begun that does not come to
//! its end.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{sleep, timeout},
};

/// Time for one more request on a connection of HTTP/1.1 while the edge drains: users who are at it ask more often than this.
const LAST_REQUEST_WAIT: Duration = Duration::from_secs(2);

/// Looks at a connection in the shortest of its times; so much later it ends at most.
const LOOKS: u32 = 4;

/// What one connection carries now. All changes come from its own tasks.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    requests: AtomicU32,
    /// What comes belongs to the body of a request.
    deaf: AtomicBool,
    /// Bytes of a head came since the last request began.
    heard: AtomicBool,
    /// Counts changes.
    steps: AtomicU64,
}

impl Presence {
    /// A request has begun, and goes on for as long as what is given back. What comes meanwhile is its own.
    pub(crate) fn begin(self: &Arc<Self>) -> Underway {
        self.deaf.store(true, Relaxed);
        self.count()
    }

    /// The same for a request without a body: what comes meanwhile is the head of the next.
    pub(crate) fn begin_without_body(self: &Arc<Self>) -> Underway {
        self.deaf.store(false, Relaxed);
        self.count()
    }

    /// Waits for one more request, of which `begun` tells, if none is under way; a while at most.
    pub(crate) async fn last_request(&self, begun: &Notify) {
        if self.requests.load(Relaxed) > 0 {
            return;
        }
        // What began before is over.
        let _ = begun.notified().now_or_never();
        // Out of patience, there was no request to lose.
        let _ = timeout(LAST_REQUEST_WAIT, begun.notified()).await;
    }

    fn count(self: &Arc<Self>) -> Underway {
        self.requests.fetch_add(1, Relaxed);
        self.heard.store(false, Relaxed);
        self.steps.fetch_add(1, Relaxed);
        Underway(Arc::clone(self))
    }

    fn hear(&self) {
        if !self.deaf.load(Relaxed) && !self.heard.swap(true, Relaxed) {
            self.steps.fetch_add(1, Relaxed);
        }
    }

    /// Waits until there was no request for `idle`, or none came of what was heard within `head`. Cancel-safe.
    pub(crate) async fn deserted(&self, idle: Duration, head: Duration) {
        let look = idle.min(head) / LOOKS;
        let (mut steps, mut waited) = (self.steps.load(Relaxed), Duration::ZERO);
        loop {
            sleep(look).await;
            let now = self.steps.load(Relaxed);
            if now != steps || self.requests.load(Relaxed) > 0 {
                (steps, waited) = (now, Duration::ZERO);
                continue;
            }
            waited += look;
            let patience = if self.heard.load(Relaxed) { head } else { idle };
            if waited >= patience {
                return;
            }
        }
    }
}

/// One request of a connection.
#[derive(Debug)]
pub(crate) struct Underway(Arc<Presence>);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.deaf.store(false, Relaxed);
        self.0.requests.fetch_sub(1, Relaxed);
        self.0.steps.fetch_add(1, Relaxed);
    }
}

/// A body whose request lasts as long as it does.
#[derive(Debug)]
pub(crate) struct Attended<B> {
    body: B,
    _request: Underway,
}

impl<B> Attended<B> {
    pub(crate) const fn new(body: B, request: Underway) -> Self {
        Self {
            body,
            _request: request,
        }
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Attended<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that tells when bytes come.
#[derive(Debug)]
pub(crate) struct Heard<T> {
    inner: T,
    presence: Arc<Presence>,
}

impl<T> Heard<T> {
    pub(crate) const fn new(inner: T, presence: Arc<Presence>) -> Self {
        Self { inner, presence }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.presence.hear();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use runtime::Clock;

    use super::*;

    const IDLE: Duration = Duration::from_secs(60);
    const HEAD: Duration = Duration::from_secs(10);

    async fn lasts(presence: &Presence) -> Duration {
        let clock = Clock::system();
        let began = clock.now();
        presence.deserted(IDLE, HEAD).await;
        clock.now() - began
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_connection_is_kept_for_its_time() {
        assert_eq!(lasts(&Presence::default()).await, IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_is_given_less() {
        let presence = Presence::default();
        presence.hear();
        assert_eq!(lasts(&presence).await, HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_began_behind_another_request_is_given_no_more() {
        let presence = Arc::new(Presence::default());
        let request = presence.begin_without_body();
        presence.hear();
        drop(request);
        assert_eq!(lasts(&presence).await, HEAD);
        // What comes in a body is no head.
        let upload = presence.begin();
        presence.hear();
        drop(upload);
        assert_eq!(lasts(&presence).await, IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_keeps_its_connection_for_as_long_as_it_takes() {
        let presence = Arc::new(Presence::default());
        let request = presence.begin();
        let asking = async {
            sleep(IDLE * 5).await;
            drop(request);
        };
        let (lasted, ()) = tokio::join!(lasts(&presence), asking);
        assert!(lasted >= IDLE * 6, "{lasted:?}");
        assert!(lasted <= IDLE * 6 + HEAD, "{lasted:?}");
    }
}
