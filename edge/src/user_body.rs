//! The user's body as it comes, whichever version of HTTP brings it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use crate::http3;

/// Body of every request.
#[derive(Debug)]
pub(crate) enum UserBody {
    /// Of HTTP/1 and HTTP/2.
    Hyper(Incoming),
    /// Of HTTP/3.
    Http3(Box<http3::Body>),
    /// One that was kept over a sign-in, until it is read.
    Kept(Option<Bytes>),
    /// None, whatever follows the head: that of a tunnel over HTTP/3.
    Nothing,
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserBodyError {
    /// hyper says so.
    #[error("reading a body of http/1 or http/2")]
    Hyper(#[source] hyper::Error),
    /// HTTP/3 says so.
    #[error("reading a body of http/3")]
    Http3(#[source] http3::BodyError),
}

impl UserBodyError {
    /// The user left, rather than broke HTTP.
    pub(crate) fn is_broken_off(&self) -> bool {
        match self {
            Self::Hyper(error) => {
                error.is_canceled() || error.is_closed() || error.is_incomplete_message()
            }
            Self::Http3(error) => matches!(error, http3::BodyError::BrokenOff(_)),
        }
    }
}

impl From<Incoming> for UserBody {
    fn from(body: Incoming) -> Self {
        Self::Hyper(body)
    }
}

impl http_body::Body for UserBody {
    type Data = Bytes;
    type Error = UserBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UserBodyError>>> {
        match self.get_mut() {
            Self::Hyper(body) => Pin::new(body)
                .poll_frame(context)
                .map_err(UserBodyError::Hyper),
            Self::Http3(body) => Pin::new(&mut **body)
                .poll_frame(context)
                .map_err(UserBodyError::Http3),
            Self::Kept(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Nothing => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(body) => body.is_end_stream(),
            Self::Http3(body) => body.is_end_stream(),
            Self::Kept(body) => body.as_ref().is_none_or(Bytes::is_empty),
            Self::Nothing => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(body) => body.size_hint(),
            Self::Http3(body) => body.size_hint(),
            Self::Kept(body) => {
                let bytes = body.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
            }
            Self::Nothing => SizeHint::with_exact(0),
        }
    }
}
