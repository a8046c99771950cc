//! The user's body as it comes, whichever version of HTTP brings it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

/// Body of every request.
#[derive(Debug)]
pub(crate) enum UserBody {
    /// Of HTTP/1 and HTTP/2.
    Hyper(Incoming),
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserBodyError {
    /// hyper says so.
    #[error("reading a body of http/1 or http/2")]
    Hyper(#[source] hyper::Error),
}

impl UserBodyError {
    /// The user left, rather than broke HTTP.
    pub(crate) fn is_broken_off(&self) -> bool {
        match self {
            Self::Hyper(error) => {
                error.is_canceled() || error.is_closed() || error.is_incomplete_message()
            }
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
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(body) => body.size_hint(),
        }
    }
}
