//! One connection over TCP: a handle to what its driver carries.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, Uri};
use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};

use super::{
    socket::Pace,
    stream::{Discard, Reader, Side, Source, Stream, Writer},
};
use crate::{codes::Code, link::Closed};

/// What every request of HTTP/2 is for. Nobody looks at it but who reads HTTP/2 by eye.
const TARGET: &str = "https://adit.internal/";

/// A handle, cheap to clone. When the last handle and stream are dropped, the connection closes.
#[derive(Clone, Debug)]
pub(crate) struct TcpConnection(Arc<Handle>);

/// What handles and streams share. Dropped, the connection closes.
#[derive(Debug)]
pub(super) struct Handle {
    shared: Arc<Shared>,
    way: Way,
}

/// How streams come about.
#[derive(Debug)]
pub(super) enum Way {
    /// At the edge, which opens them.
    Opened(SendRequest<Bytes>),
    /// At the agent.
    Accepted(AsyncMutex<mpsc::Receiver<Opened>>),
}

/// A stream of HTTP/2 that the edge opened.
pub(super) type Opened = (h2::SendStream<Bytes>, h2::RecvStream);

/// What handles and the driver share.
#[derive(Debug)]
pub(super) struct Shared {
    closed: watch::Sender<Option<Closed>>,
    inbox: Mutex<Inbox>,
    pace: Pace,
}

/// What the driver is asked for.
#[derive(Debug, Default)]
struct Inbox {
    driver: Option<Waker>,
    farewell: Option<(Code, String)>,
    /// As many as there are streams.
    discards: Vec<Discard>,
}

impl Shared {
    pub(super) fn new(pace: Pace) -> Arc<Self> {
        Arc::new(Self {
            closed: watch::Sender::new(None),
            inbox: Mutex::default(),
            pace,
        })
    }

    /// The connection is over; the first reason counts.
    pub(super) fn end(&self, why: Closed) {
        self.closed.send_if_modified(|closed| {
            let is_first = closed.is_none();
            closed.get_or_insert(why);
            is_first
        });
    }

    /// Wakes this driver from now on.
    pub(super) fn attend(&self, driver: &Waker) {
        let mut inbox = self.inbox();
        if !inbox
            .driver
            .as_ref()
            .is_some_and(|held| held.will_wake(driver))
        {
            inbox.driver = Some(driver.clone());
        }
    }

    /// What to say before the end, once.
    pub(super) fn take_farewell(&self) -> Option<(Code, String)> {
        self.inbox().farewell.take()
    }

    /// Throws away what came for those who want no more.
    pub(super) fn discard_what_came(&self, context: &mut Context<'_>) {
        let mut discards = std::mem::take(&mut self.inbox().discards);
        // Not under the lock: what is dropped may be the last handle, which takes it.
        discards.retain_mut(|discard| !discard.is_done(context));
        self.inbox().discards.append(&mut discards);
    }

    /// Nobody is left to throw anything away.
    pub(super) fn forget(&self) {
        let discards = std::mem::take(&mut self.inbox().discards);
        // As above.
        drop(discards);
    }

    pub(super) fn close(&self, code: Code, reason: &str) {
        let is_open = self.closed.borrow().is_none();
        if is_open {
            self.end(Closed::Here);
            self.tell(|inbox| inbox.farewell = Some((code, reason.to_owned())));
        }
    }

    fn tell(&self, change: impl FnOnce(&mut Inbox)) {
        let driver = {
            let mut inbox = self.inbox();
            change(&mut inbox);
            inbox.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    pub(super) fn close_reason(&self) -> Option<Closed> {
        self.shared.closed.borrow().clone()
    }

    /// Throws away what still comes.
    pub(super) fn discard(&self, discard: Discard) {
        self.shared.tell(|inbox| {
            // With the connection all streams end.
            if self.shared.closed.borrow().is_none() {
                inbox.discards.push(discard);
            }
        });
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close(Code::Unspecified, "");
    }
}

impl TcpConnection {
    pub(super) fn new(shared: Arc<Shared>, way: Way) -> Self {
        Self(Arc::new(Handle { shared, way }))
    }

    /// Opens a stream; at the edge alone.
    pub(crate) async fn open(&self) -> Result<(Writer, Reader), Closed> {
        let Way::Opened(requests) = &self.0.way else {
            return Err(Closed::Transport("an agent opens no streams".to_owned()));
        };
        let (response, send) = request(requests).await.map_err(|error| self.lost(&error))?;
        let source = Source::Head(response);
        Ok(Stream::halves(
            send,
            source,
            Side::Edge,
            Arc::clone(&self.0),
        ))
    }

    /// The next stream that the edge opened.
    pub(crate) async fn accept(&self) -> Result<(Writer, Reader), Closed> {
        let next = async {
            match &self.0.way {
                Way::Accepted(streams) => streams.lock().await.recv().await,
                Way::Opened(_) => None,
            }
        };
        tokio::select! {
            opened = next => match opened {
                Some((send, body)) => {
                    let source = Source::Body(body);
                    Ok(Stream::halves(send, source, Side::Agent, Arc::clone(&self.0)))
                }
                None => Err(self.closed().await),
            },
            closed = self.closed() => Err(closed),
        }
    }

    /// Says farewell and ends. The first close counts.
    pub(crate) fn close(&self, code: Code, reason: &str) {
        self.0.shared.close(code, reason);
    }

    pub(crate) async fn closed(&self) -> Closed {
        let mut closed = self.0.shared.closed.subscribe();
        // Fails only when the sender is gone, and we hold it.
        match closed.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(closed)) => closed.clone(),
            Ok(None) | Err(_) => Closed::Here,
        }
    }

    pub(crate) fn close_reason(&self) -> Option<Closed> {
        self.0.close_reason()
    }

    /// How often something came.
    pub(crate) fn reads(&self) -> u64 {
        self.0.shared.pace.reads()
    }

    fn lost(&self, error: &h2::Error) -> Closed {
        self.close_reason().unwrap_or_else(|| super::lost(error))
    }
}

/// Opens a stream of HTTP/2.
pub(super) async fn request(
    requests: &SendRequest<Bytes>,
) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>), h2::Error> {
    // A handle of its own, as each tells of one request that waits for its turn.
    let mut requests = requests.clone();
    poll_fn(|context| requests.poll_ready(context)).await?;
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(TARGET);
    requests.send_request(request, false)
}
