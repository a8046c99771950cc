//! One request over HTTP/3, from its stream's first byte to the last of its answer.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body as _, Frame};
use model::reason::Reason;
use quinn::{Connection, RecvStream, SendStream, WriteError};
use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    body::Body,
    bounds,
    code::Code,
    delivery,
    head::{self, Head, Malformed},
    inbound::{Inbound, InboundError, Part},
    qpack::{self, Bounds, SectionError},
    reply::Reply,
    tunnel::{Place, Tunnel},
};
use crate::{
    answer::{self, Form, Refusal},
    bounds::widened,
    download,
    fields::expects_continue,
    hints,
    id::RequestId,
    outgoing::connect_protocol,
    request::{self, Visit},
    user_body::UserBody,
};

/// Longest wait for the end of a stream that most likely has no body: clients send it with the head or right behind.
const SETTLE_WAIT: Duration = Duration::from_secs(1);

/// A request's stream, and what it needs.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) visit: Visit,
    pub(super) connection: Connection,
    /// The connection stays for as long as this.
    pub(super) open: TaskTrackerToken,
}

/// Why a request has no head.
#[derive(Debug, thiserror::Error)]
enum HeadError {
    #[error("receiving a request's head")]
    Inbound(#[source] InboundError),
    #[error("stream ended before a head")]
    Incomplete,
    #[error("request's head is too large")]
    TooLarge,
    #[error(transparent)]
    Malformed(Malformed),
}

/// Where a tunnel is handed over once its answer's head is out.
#[derive(Clone, Debug)]
pub(crate) struct OnTunnel(Arc<Mutex<Option<oneshot::Receiver<Tunnel>>>>);

impl OnTunnel {
    /// Waits for it; for the first who asks.
    pub(crate) fn take(&self) -> Option<oneshot::Receiver<Tunnel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How a request ended, as far as its connection must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was answered, well or not.
    Answered,
    /// The user broke it off, or never said what it wants.
    BrokenOff,
}

impl Exchange {
    /// Serves the request. Whatever happens in it costs this stream, unless it breaks HTTP/3 itself.
    pub(super) async fn run(self, send: SendStream, recv: RecvStream) -> Outcome {
        let mut reply = Reply::new(send);
        let limits = &self.visit.user.limits;
        let head_bytes = widened(limits.head_bytes);
        let mut inbound = Inbound::new(recv, self.connection.clone(), head_bytes);
        let reading = read_head(&mut inbound, bounds(limits));
        let head = match timeout(limits.head_timeout, reading).await {
            Ok(Ok(head)) => head,
            Ok(Err(error)) => return self.refuse(&error, reply, inbound).await,
            Err(_) => {
                inbound.stop(Code::RequestCancelled);
                reply.reset(Code::RequestCancelled);
                return Outcome::BrokenOff;
            }
        };
        // Another method with a protocol is malformed, and a tunnel of none gets an ordinary refusal.
        if connect_protocol(&head.request).is_some() {
            self.open_tunnel(head.request, inbound, reply).await
        } else {
            self.answer(head, inbound, reply).await
        }
    }

    async fn refuse(&self, error: &HeadError, mut reply: Reply, mut inbound: Inbound) -> Outcome {
        tracing::debug!(%error, user.address = %self.visit.user.address, "request of http/3 refused");
        let code = match error {
            HeadError::TooLarge => {
                self.visit.worker.edge.metrics.failure(Reason::HeadTooLarge);
                inbound.stop(Code::ExcessiveLoad);
                let refusal = Refusal::new(Reason::HeadTooLarge, RequestId::random());
                // Its method is not known, so neither is whether a body may follow.
                let page = answer::refuse(&refusal, Form::Nothing);
                let sent = self.send(&mut reply, page.map(download::Body::whole), true);
                return self.outcome(sent.await);
            }
            HeadError::Malformed(_) => Code::Message,
            HeadError::Incomplete => Code::RequestIncomplete,
            HeadError::Inbound(_) => Code::RequestCancelled,
        };
        inbound.stop(code);
        reply.reset(code);
        Outcome::BrokenOff
    }

    /// A request with a body or without.
    async fn answer(&self, head: Head, inbound: Inbound, mut reply: Reply) -> Outcome {
        let Head { request, length } = head;
        let mut permission = expects_continue(request.headers()).then(Arc::<Notify>::default);
        let bounds = bounds(&self.visit.user.limits);
        let mut body = Body::new(inbound, length, bounds, permission.clone());
        if permission.is_none() {
            settle(&mut body, request.method()).await;
        }
        let bodiless = *request.method() == Method::HEAD;
        let (way, mut hints) = hints::way();
        let mut request = request.map(|()| UserBody::Http3(Box::new(body)));
        request.extensions_mut().insert(way);
        let mut stopped = pin!(reply.stopped());
        let response = {
            let mut answering = pin!(request::answer(self.visit.clone(), request));
            loop {
                tokio::select! {
                    biased;
                    response = &mut answering => break response,
                    () = told(permission.as_deref()) => {
                        permission = None;
                        if reply.head(StatusCode::CONTINUE, &HeaderMap::new()).await.is_err() {
                            return Outcome::BrokenOff;
                        }
                    }
                    Some(hint) = hints.recv() => {
                        if reply.head(hint.status, &hint.fields).await.is_err() {
                            return Outcome::BrokenOff;
                        }
                    }
                    () = &mut stopped => return Outcome::BrokenOff,
                }
            }
        };
        // Those that came together with the answer.
        while let Ok(hint) = hints.try_recv() {
            if reply.head(hint.status, &hint.fields).await.is_err() {
                return Outcome::BrokenOff;
            }
        }
        self.outcome(self.send(&mut reply, response, bodiless).await)
    }

    /// A request that becomes a tunnel if the origin agrees.
    async fn open_tunnel(
        self,
        mut request: Request<()>,
        inbound: Inbound,
        mut reply: Reply,
    ) -> Outcome {
        let (handover, tunnel) = oneshot::channel();
        request
            .extensions_mut()
            .insert(OnTunnel(Arc::new(Mutex::new(Some(tunnel)))));
        let request = request.map(|()| UserBody::Nothing);
        let mut stopped = pin!(reply.stopped());
        let response = tokio::select! {
            biased;
            response = request::answer(self.visit.clone(), request) => response,
            () = &mut stopped => return Outcome::BrokenOff,
        };
        if !response.status().is_success() {
            drop(inbound);
            return self.outcome(self.send(&mut reply, response, false).await);
        }
        let (parts, _) = response.into_parts();
        let fields = self.dated(parts.headers);
        if reply.head(parts.status, &fields).await.is_err() {
            return Outcome::BrokenOff;
        }
        // The session is gone only if the edge ends; the tunnel is reset then.
        let stall_timeout = self.stall_timeout();
        let place = Place {
            connection: self.connection,
            _open: self.open,
            stall_timeout,
        };
        let _ = handover.send(Tunnel::new(inbound, reply, place));
        Outcome::Answered
    }

    /// Sends an answer, and waits for it to arrive.
    async fn send(
        &self,
        reply: &mut Reply,
        response: Response<download::Body>,
        bodiless: bool,
    ) -> Result<(), WriteError> {
        let (parts, mut body) = response.into_parts();
        let mut stopped = pin!(reply.stopped());
        reply.head(parts.status, &self.dated(parts.headers)).await?;
        loop {
            if bodiless {
                break;
            }
            let frame = tokio::select! {
                biased;
                frame = next_frame(&mut body) => frame,
                () = &mut stopped => return Err(WriteError::ClosedStream),
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => {
                    // Never a FIN: the answer is not whole.
                    reply.reset(Code::Internal);
                    return Ok(());
                }
                None => break,
            };
            match frame.into_data() {
                Ok(data) => reply.data(data).await?,
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        reply.trailers(&trailers).await?;
                    }
                }
            }
        }
        // The line of the request is written now, not when the user has confirmed it all.
        drop(body);
        reply.finish();
        delivery::wait(stopped, &self.connection, self.stall_timeout()).await;
        Ok(())
    }

    fn stall_timeout(&self) -> Duration {
        self.visit.user.limits.stall_timeout
    }

    /// As hyper does for the other versions (RFC 9110, section 6.6.1).
    fn dated(&self, mut fields: HeaderMap) -> HeaderMap {
        if !fields.contains_key(header::DATE) {
            let now = self.visit.worker.edge.epoch.clock().wall();
            if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(now)) {
                fields.insert(header::DATE, date);
            }
        }
        fields
    }

    fn outcome(&self, sent: Result<(), WriteError>) -> Outcome {
        match sent {
            Ok(()) => Outcome::Answered,
            Err(error) => {
                tracing::trace!(%error, user.address = %self.visit.user.address, "user takes no more of an answer");
                Outcome::BrokenOff
            }
        }
    }
}

async fn next_frame(
    body: &mut download::Body,
) -> Option<Result<Frame<Bytes>, download::BodyError>> {
    poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

async fn read_head(inbound: &mut Inbound, bounds: Bounds) -> Result<Head, HeadError> {
    let section = match inbound.part().await {
        Ok(Some(Part::Section(section))) => section,
        // Data before a head was refused with the whole connection.
        Ok(Some(Part::Data(_)) | None) => return Err(HeadError::Incomplete),
        Err(InboundError::TooLarge) => return Err(HeadError::TooLarge),
        Err(error) => return Err(HeadError::Inbound(error)),
    };
    let lines = qpack::decode(section, bounds).map_err(|error| match error {
        SectionError::TooLarge => HeadError::TooLarge,
        SectionError::Broken => {
            HeadError::Inbound(inbound.condemn(Code::Decompression, "request's head"))
        }
    })?;
    head::read(lines).map_err(HeadError::Malformed)
}

/// Finds out whether there is a body. Nothing in a head says so, and the end of the stream may come a moment later; what has
/// no body as a rule must not look as if it had one, as origins take that amiss.
async fn settle(body: &mut Body, method: &Method) {
    let begun = poll_fn(|context| body.poll_begun(context));
    if matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE | Method::TRACE
    ) {
        // What went wrong is told again when the body is read.
        let _ = timeout(SETTLE_WAIT, begun).await;
    } else {
        let mut begun = pin!(begun);
        poll_fn(|context| {
            let _ = begun.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
    }
}

async fn told(permission: Option<&Notify>) {
    match permission {
        Some(permission) => permission.notified().await,
        None => std::future::pending().await,
    }
}
