//! A request's body over HTTP/3.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;

use super::{
    code::Code,
    head::{self, Malformed},
    inbound::{Inbound, InboundError, Part},
    qpack::{self, Bounds, SectionError},
};

/// The body as it comes. Dropped before its end, the user is told that no more is needed.
#[derive(Debug)]
pub(crate) struct Body {
    inbound: Inbound,
    /// Bytes still to come, if the user said how many.
    missing: Option<u64>,
    /// A part that was looked at before anybody asked for it.
    peeked: Option<Option<Part>>,
    /// Told when the body is first asked for.
    wanted: Option<Arc<Notify>>,
    /// Of trailers.
    bounds: Bounds,
    ended: bool,
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The user broke it off.
    #[error("body broke off")]
    BrokenOff(#[source] InboundFailure),
    /// It breaks HTTP.
    #[error("body is malformed: {0}")]
    Malformed(&'static str),
}

/// The cause, for logs.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct InboundFailure(InboundError);

impl From<InboundError> for BodyError {
    fn from(error: InboundError) -> Self {
        match error {
            InboundError::TooLarge => Self::Malformed("trailers are too large"),
            InboundError::Broken(why) => Self::Malformed(why),
            InboundError::Source(_) => Self::BrokenOff(InboundFailure(error)),
        }
    }
}

impl From<Malformed> for BodyError {
    fn from(Malformed(why): Malformed) -> Self {
        Self::Malformed(why)
    }
}

impl Body {
    /// Behind a head that says `length`. `wanted` is told once somebody waits for it.
    pub(super) const fn new(
        inbound: Inbound,
        length: Option<u64>,
        bounds: Bounds,
        wanted: Option<Arc<Notify>>,
    ) -> Self {
        Self {
            inbound,
            missing: length,
            peeked: None,
            wanted,
            bounds,
            ended: false,
        }
    }

    /// Whether there is a body at all, as far as that is known without waiting, or with.
    pub(super) fn poll_begun(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.peeked.is_none() {
            let part = ready!(self.inbound.poll_part(context))?;
            self.ended = part.is_none() && self.missing.is_none_or(|missing| missing == 0);
            self.peeked = Some(part);
        }
        Poll::Ready(Ok(()))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
        if let Some(wanted) = self.wanted.take() {
            wanted.notify_one();
        }
        let part = match self.peeked.take() {
            Some(part) => part,
            None => ready!(self.inbound.poll_part(context))?,
        };
        Poll::Ready(match part {
            Some(Part::Data(data)) => self.data(data).map(Some),
            Some(Part::Section(section)) => self.trailers(section).map(Some),
            None => self.end().map(|()| None),
        })
    }

    /// RFC 9114, section 4.1.2: the length that was said is kept.
    fn data(&mut self, data: Bytes) -> Result<Frame<Bytes>, BodyError> {
        if let Some(missing) = &mut self.missing {
            *missing = missing
                .checked_sub(data.len() as u64)
                .ok_or(BodyError::Malformed("more than the length said"))?;
        }
        Ok(Frame::data(data))
    }

    fn trailers(&mut self, section: Bytes) -> Result<Frame<Bytes>, BodyError> {
        self.end()?;
        let lines = qpack::decode(section, self.bounds).map_err(|error| match error {
            SectionError::TooLarge => InboundError::TooLarge,
            SectionError::Broken => self.inbound.condemn(Code::Decompression, "trailers"),
        })?;
        Ok(Frame::trailers(head::read_trailers(lines)?))
    }

    fn end(&self) -> Result<(), BodyError> {
        if self.missing.is_some_and(|missing| missing > 0) {
            return Err(BodyError::Malformed("less than the length said"));
        }
        Ok(())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = self.get_mut();
        if body.ended {
            return Poll::Ready(None);
        }
        let polled = ready!(body.poll(context));
        match &polled {
            Ok(Some(frame)) => body.ended = frame.is_trailers(),
            Ok(None) => body.ended = true,
            Err(error) => {
                body.ended = true;
                if matches!(error, BodyError::Malformed(_)) {
                    body.inbound.stop(Code::Message);
                }
            }
        }
        Poll::Ready(polled.transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        match self.missing {
            _ if self.ended => SizeHint::with_exact(0),
            Some(missing) => SizeHint::with_exact(missing),
            None => SizeHint::default(),
        }
    }
}
