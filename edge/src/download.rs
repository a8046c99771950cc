//! The origin's body on its way to the user.
//!
//! The last chunk of a body of known length, and trailers, are held back until END says that all is well: hyper stops
//! reading a body once its length is written, and a broken one must never look whole.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame as BodyFrame, SizeHint};
use model::reason::Reason;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::DropGuard;
use tunnel::{frame::Frame, stream::RecvHalf};

use crate::{
    access_log::Record,
    exchange::Sending,
    failure::{agent_reason, lost_reason},
    fields,
    link::StreamGuard,
    sign_in::leash::{Cut, Ending},
    stall::Watch,
};

/// Body of every answer.
#[derive(Debug)]
pub(crate) enum Body {
    /// All at hand; none when empty.
    Whole(Option<Bytes>),
    /// As it comes from the agent.
    Stream(Box<Download>),
}

impl Body {
    /// All of it, at hand.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// Bytes that are at hand.
    pub(crate) fn bytes_at_hand(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.as_ref().map_or(0, Bytes::len),
            Self::Stream(_) => 0,
        }
    }
}

/// A body broke off: hyper then breaks off the user's, which thus never looks complete.
#[derive(Debug, thiserror::Error)]
#[error("answer broke off: {reason}")]
pub(crate) struct BodyError {
    reason: Reason,
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(BodyFrame::data(bytes)))),
            Self::Stream(download) => download.poll_watched(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(download) => download.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Stream(download) => download.size_hint(),
        }
    }
}

/// What a download needs besides its stream.
#[derive(Debug)]
pub(crate) struct DownloadParts {
    /// The stream, after the answer's head.
    pub recv: RecvHalf,
    /// Bytes that the origin promised.
    pub length: Option<u64>,
    /// Longest silence in both directions.
    pub idle: Duration,
    /// When all of it must be over.
    pub end: Option<Instant>,
    /// Told of every byte and of the end.
    pub record: Record,
    /// The agent is busy with this for as long as it lasts.
    pub _stream: StreamGuard,
    /// What is left of the request; ends with this.
    pub _rest: Rest,
}

/// What is left of a request when its answer has begun; ends with the answer.
#[derive(Debug)]
pub(crate) enum Rest {
    /// Its body goes on in a task of its own.
    Running(#[expect(dead_code, reason = "ends the task when dropped")] DropGuard),
    /// Nothing more is sent; the half is held so that the agent does not hear a broken-off request.
    Idle(#[expect(dead_code, reason = "resets what was not finished when dropped")] Sending),
}

/// A body under way. Dropped before its end, the agent is told that the user is gone.
#[derive(Debug)]
pub(crate) struct Download {
    parts: DownloadParts,
    /// Bytes still to come from the agent, if known.
    missing: Option<u64>,
    held: Option<Bytes>,
    trailers: Option<HeaderMap>,
    timer: Option<Pin<Box<Sleep>>>,
    total: Option<Pin<Box<Sleep>>>,
    /// Says when the session ends that this is of.
    cut: Option<Cut>,
    /// Waits for that, once there is something else to wait for.
    ending: Option<Ending>,
    watch: Watch,
    /// END and the stream's own end came, or the body broke off.
    ended: bool,
}

impl Download {
    /// Nothing is read yet.
    pub(crate) fn new(parts: DownloadParts) -> Self {
        Self {
            missing: parts.length,
            total: parts.end.map(|end| Box::pin(sleep_until(end))),
            cut: parts.record.cut(),
            ending: None,
            parts,
            held: None,
            trailers: None,
            timer: None,
            watch: Watch::current(),
            ended: false,
        }
    }

    /// The next part; being asked for it means that the user took the one before.
    fn poll_watched(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, BodyError>>> {
        self.watch.taken();
        let polled = self.poll(context);
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            self.watch.given();
        }
        polled
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, BodyError>>> {
        let total = self.total.as_mut();
        if !self.ended && total.is_some_and(|total| total.as_mut().poll(context).is_ready()) {
            return Poll::Ready(Some(Err(self.fail(Reason::TotalTimeout))));
        }
        if !self.ended && self.cut.as_ref().is_some_and(Cut::is_cut) {
            return Poll::Ready(Some(Err(self.fail(Reason::SessionEnded))));
        }
        while !self.ended {
            match self.parts.recv.poll_next(context) {
                Poll::Ready(Ok(Some(frame))) => match self.take(frame) {
                    Ok(None) => {}
                    Ok(Some(data)) => return Poll::Ready(Some(Ok(BodyFrame::data(data)))),
                    Err(reason) => return Poll::Ready(Some(Err(self.fail(reason)))),
                },
                Poll::Ready(Ok(None)) => {
                    self.ended = true;
                    self.parts.record.complete();
                }
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Some(Err(self.fail(lost_reason(&error)))));
                }
                Poll::Pending if self.is_silent(context) => {
                    return Poll::Ready(Some(Err(self.fail(Reason::OriginTimeout))));
                }
                Poll::Pending if self.is_cut(context) => {
                    return Poll::Ready(Some(Err(self.fail(Reason::SessionEnded))));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(self.take_held().map(Ok))
    }

    /// What a frame means for the user: data to pass on now, or nothing yet.
    fn take(&mut self, frame: Frame) -> Result<Option<Bytes>, Reason> {
        match frame {
            Frame::Data(data) => self.take_data(data),
            Frame::Trailers(mut trailers) => {
                fields::clean_trailers(&mut trailers);
                self.trailers = Some(trailers);
                Ok(None)
            }
            Frame::End(_) if self.missing.is_some_and(|missing| missing > 0) => {
                Err(Reason::OriginProtocol)
            }
            Frame::End(_) => Ok(None),
            Frame::Error(info) => Err(agent_reason(&info)),
            Frame::Request(_) | Frame::Response(_) | Frame::Continue => Err(Reason::TunnelProtocol),
        }
    }

    fn take_data(&mut self, data: Bytes) -> Result<Option<Bytes>, Reason> {
        self.parts.record.traffic.down(data.len());
        let Some(missing) = &mut self.missing else {
            return Ok(Some(data));
        };
        *missing = missing
            .checked_sub(data.len() as u64)
            .ok_or(Reason::OriginProtocol)?;
        if *missing > 0 {
            return Ok(Some(data));
        }
        self.held = Some(data);
        Ok(None)
    }

    fn take_held(&mut self) -> Option<BodyFrame<Bytes>> {
        self.held
            .take()
            .map(BodyFrame::data)
            .or_else(|| self.trailers.take().map(BodyFrame::trailers))
    }

    fn fail(&mut self, reason: Reason) -> BodyError {
        self.ended = true;
        self.held = None;
        self.trailers = None;
        self.parts.record.fail(reason);
        self.parts.record.complete();
        BodyError { reason }
    }

    /// Whether nothing moved in either direction for too long; otherwise wakes the task when that would be so.
    fn is_silent(&mut self, context: &mut Context<'_>) -> bool {
        let traffic = &self.parts.record.traffic;
        let silent_at = traffic.silent_at(self.parts.idle);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(silent_at)));
        while timer.as_mut().poll(context).is_ready() {
            let silent_at = traffic.silent_at(self.parts.idle);
            if silent_at <= timer.deadline() {
                return true;
            }
            timer.as_mut().reset(silent_at);
        }
        false
    }

    /// Whether the session is over; otherwise wakes the task when it is.
    fn is_cut(&mut self, context: &mut Context<'_>) -> bool {
        let Some(cut) = &self.cut else {
            return false;
        };
        let ending = self.ending.get_or_insert_with(|| cut.ending());
        ending.poll(context).is_ready()
    }

    const fn is_over(&self) -> bool {
        self.ended && self.held.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.as_ref().map_or(0, |held| held.len() as u64);
        match self.missing {
            Some(missing) => SizeHint::with_exact(missing + held),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if self.watch.is_cut() {
            self.parts.record.fail(Reason::UserStalled);
        }
        self.watch.taken();
    }
}
