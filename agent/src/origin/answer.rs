//! What comes back from an origin, whichever HTTP it speaks.

use std::{
    error::Error,
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::sync::DropGuard;

use crate::translate::DocumentError;

/// Body of an answer.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    /// From an HTTP/1 connection.
    Http1(Incoming),
    /// From a stream of an HTTP/2 connection.
    Http2(StreamBody),
}

/// A body on a stream of HTTP/2. Dropped before its end, the stream is reset.
pub(crate) struct StreamBody {
    stream: RecvStream,
    length: Option<u64>,
    state: State,
    /// Ends the upload of the same exchange.
    _upload: Option<DropGuard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Data,
    Trailers,
    Over,
}

impl fmt::Debug for StreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamBody")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl StreamBody {
    /// `length` is what the head says of it, if it does.
    pub(super) fn new(stream: RecvStream, length: Option<u64>, upload: Option<DropGuard>) -> Self {
        let over = stream.is_end_stream();
        Self {
            length: if over { Some(0) } else { length },
            state: if over { State::Over } else { State::Data },
            stream,
            _upload: upload,
        }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        if self.state == State::Data {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(data)) => return Poll::Ready(Some(self.take(data))),
                Some(Err(error)) => return Poll::Ready(self.fail(error)),
                None => self.state = State::Trailers,
            }
        }
        if self.state == State::Trailers {
            let trailers = ready!(self.stream.poll_trailers(context));
            self.state = State::Over;
            match trailers {
                Ok(Some(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(self.fail(error)),
            }
        }
        Poll::Ready(None)
    }

    fn take(&mut self, data: Bytes) -> Result<Frame<Bytes>, OriginError> {
        // The window opens as fast as the user takes what was read: nothing more is asked for before that.
        self.stream.flow_control().release_capacity(data.len())?;
        if let Some(length) = &mut self.length {
            *length = length.saturating_sub(data.len() as u64);
        }
        Ok(Frame::data(data))
    }

    /// A reset with NO_ERROR follows a whole answer and only says that no more of the request is wanted (RFC 9113,
    /// section 8.1). Everything else cut the answer short.
    fn fail(&mut self, error: h2::Error) -> Option<Result<Frame<Bytes>, OriginError>> {
        self.state = State::Over;
        let whole =
            error.is_reset() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
        (!whole).then_some(Err(OriginError::Http2(error)))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = OriginError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Http2(body) => body.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.state == State::Over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body
                .length
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// Why an exchange with an origin failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OriginError {
    /// On a connection of HTTP/1.
    #[error("exchange over http/1")]
    Http1(#[from] hyper::Error),
    /// On a connection of HTTP/2.
    #[error("exchange over http/2")]
    Http2(#[from] h2::Error),
    /// In a body that has to be read.
    #[error("translating the body")]
    Document(#[from] DocumentError),
}

/// What is known of a failed exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What the origin sent is no HTTP, or not the length it told.
    Protocol,
    /// The origin, or the way to it, broke off.
    Broken,
}

impl OriginError {
    /// Whose fault it is. `sized`: the origin had said how long its body is.
    pub(crate) fn fault(&self, sized: bool) -> Fault {
        match self {
            Self::Http1(error) => http1_fault(error, sized),
            // Found by this side, so it is the origin that broke the rules.
            Self::Http2(error) if error.is_library() => Fault::Protocol,
            Self::Http2(_) => Fault::Broken,
            Self::Document(_) => Fault::Protocol,
        }
    }

    /// The origin says that it did nothing with the request: any request may be sent again (RFC 9113, section 8.7).
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Http1(_) | Self::Document(_) => false,
            Self::Http2(error) => {
                // GOAWAY breaks only those streams that came too late to be looked at.
                error.is_remote()
                    && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
            }
        }
    }

    /// The origin wants this request over HTTP/1.1 (RFC 9113, section 7): servers that tie a sign-in to a connection do.
    pub(super) fn wants_http1(&self) -> bool {
        match self {
            Self::Http1(_) | Self::Document(_) => false,
            Self::Http2(error) => {
                error.is_remote() && error.reason() == Some(Reason::HTTP_1_1_REQUIRED)
            }
        }
    }
}

fn http1_fault(error: &hyper::Error, sized: bool) -> Fault {
    if error.is_parse() || error.is_parse_too_large() {
        return Fault::Protocol;
    }
    match io_kind(error) {
        // It closed in good order, but after another length than it had said.
        Some(io::ErrorKind::UnexpectedEof) if sized => Fault::Protocol,
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Fault::Protocol,
        _ => Fault::Broken,
    }
}

fn io_kind(error: &hyper::Error) -> Option<io::ErrorKind> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}
