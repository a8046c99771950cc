//! The user's body on its way to the agent.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;
use proto::tunnel::End;
use tunnel::{
    fields::FieldError,
    frame::{EncodeError, Frame},
    stream::{SendError, SendHalf},
};

use crate::{
    access_log::Traffic,
    fields,
    pace::Pace,
    replay::Replay,
    user_body::{UserBody, UserBodyError},
};

/// Bytes queued before they are written even though more is at hand: one frame's worth.
const FLUSH_BYTES: usize = 64 * 1024;

/// What the user says about its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// There is none.
    NoBody,
    /// So many bytes.
    Known(u64),
    /// Known at its end.
    Streamed,
}

impl Length {
    /// Reads it off a body and its fields, as their version of HTTP was understood.
    pub(crate) fn of(body: &UserBody, fields: &HeaderMap) -> Self {
        if let Some(bytes) = body.size_hint().exact() {
            let said = fields
                .get(header::CONTENT_LENGTH)
                .map(HeaderValue::as_bytes);
            return match (bytes, said) {
                // "Content-Length: 0" is said on purpose: origins ask for a length with POST.
                (0, None) => Self::NoBody,
                _ => Self::Known(bytes),
            };
        }
        Self::Streamed
    }
}

/// A body that is being sent; it can begin again with another agent while its replay is whole.
#[derive(Debug)]
pub(crate) struct Upload {
    body: UserBody,
    replay: Replay,
    traffic: Arc<Traffic>,
    /// Chunks of the replay that this attempt has sent.
    replayed: usize,
    queued_bytes: usize,
    waits_for_user: bool,
    ended: bool,
    /// What is asked of the user until the answer begins.
    pace: Option<Pace>,
    /// Bytes that may still come.
    bytes_left: u64,
    /// Whoever merges trailers with the head would take the user's word for the edge's.
    drops_trailers: bool,
}

enum Part {
    Data(Bytes),
    End(Option<HeaderMap>),
}

/// Why a body was not sent to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// The user broke it off, or it breaks HTTP.
    #[error("receiving the user's body")]
    User(#[source] UserBodyError),
    /// The user sends it too slowly.
    #[error("user's body comes too slowly")]
    Slow,
    /// It is longer than the app takes.
    #[error("user's body is too long")]
    TooLong,
    /// Its trailers are no fields, or more than the tunnel carries.
    #[error("encoding the user's trailers")]
    Trailers(#[source] FieldError),
    /// The agent takes no more of it, or is gone: what it says last is still to be read.
    #[error("sending the user's body")]
    Send(#[source] SendError),
}

impl Upload {
    /// Of `body`; nothing is read yet.
    pub(crate) fn new(body: UserBody, traffic: Arc<Traffic>) -> Self {
        Self {
            body,
            replay: Replay::default(),
            traffic,
            replayed: 0,
            queued_bytes: 0,
            waits_for_user: false,
            ended: false,
            pace: None,
            bytes_left: u64::MAX,
            drops_trailers: false,
        }
    }

    /// What is asked of the body; a longer one is never sent whole.
    pub(crate) fn bound(&mut self, pace: Option<Pace>, bytes_max: Option<u64>) {
        self.pace = pace;
        self.bytes_left = bytes_max.unwrap_or(u64::MAX);
    }

    /// Trailers are not sent on.
    pub(crate) const fn drop_trailers(&mut self) {
        self.drops_trailers = true;
    }

    /// The answer has begun: the body may come as it likes.
    pub(crate) fn drop_pace(&mut self) {
        self.pace = None;
    }

    /// Whether all that the user sent can be sent again.
    pub(crate) const fn can_begin_again(&self) -> bool {
        self.replay.is_whole()
    }

    /// Begins again, for another agent.
    pub(crate) fn begin_again(&mut self) {
        self.replayed = 0;
        self.queued_bytes = 0;
        self.ended = false;
    }

    /// Whether the user, not the agent, is the one to move.
    pub(crate) const fn waits_for_user(&self) -> bool {
        self.waits_for_user
    }

    /// Sends the body, each part when the one before was taken. What is at hand at once goes out in one write, together
    /// with what was queued before.
    ///
    /// Cancel-safe: called again, it goes on where it was.
    pub(crate) async fn pump(&mut self, send: &mut SendHalf) -> Result<(), UploadError> {
        while !self.ended {
            // Before more is taken: a call that was cancelled left as much behind.
            if self.queued_bytes >= FLUSH_BYTES {
                self.flush(send).await?;
            }
            let at_hand = poll_fn(|context| Poll::Ready(self.poll_part(context))).await;
            let part = match at_hand {
                Poll::Ready(part) => part,
                Poll::Pending => {
                    self.flush(send).await?;
                    poll_fn(|context| self.poll_part(context)).await
                }
            };
            self.queue(part?, send)?;
        }
        self.flush(send).await
    }

    fn queue(&mut self, part: Part, send: &mut SendHalf) -> Result<(), UploadError> {
        match part {
            Part::Data(data) => {
                self.queued_bytes += data.len();
                send.queue(Frame::Data(data)).map_err(UploadError::Send)
            }
            Part::End(trailers) => {
                self.ended = true;
                if let Some(trailers) = trailers {
                    send.queue(Frame::Trailers(trailers))
                        .map_err(|error| match error {
                            SendError::Encode(EncodeError::Trailers(error)) => {
                                UploadError::Trailers(error)
                            }
                            error => UploadError::Send(error),
                        })?;
                }
                send.queue(Frame::End(End::default()))
                    .map_err(UploadError::Send)
            }
        }
    }

    async fn flush(&mut self, send: &mut SendHalf) -> Result<(), UploadError> {
        send.flush().await.map_err(UploadError::Send)?;
        self.queued_bytes = 0;
        Ok(())
    }

    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Result<Part, UploadError>> {
        if let Some(chunk) = self.replay.chunks().get(self.replayed) {
            self.replayed += 1;
            return Poll::Ready(Ok(Part::Data(chunk.clone())));
        }
        if let Some(trailers) = self.replay.end() {
            return Poll::Ready(Ok(Part::End(trailers.clone())));
        }
        self.waits_for_user = true;
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(self.poll_slow(context));
                return Poll::Ready(Err(UploadError::Slow));
            }
        };
        self.waits_for_user = false;
        let part = match frame.transpose().map_err(UploadError::User)? {
            None => self.end(None),
            Some(frame) => match frame.into_data() {
                Ok(data) => self.data(data)?,
                Err(frame) => self.end(frame.into_trailers().ok()),
            },
        };
        Poll::Ready(Ok(part))
    }

    /// Ends when the user is too slow.
    fn poll_slow(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let now = self.traffic.now();
        match &mut self.pace {
            Some(pace) => pace.poll_over(now, context),
            None => Poll::Pending,
        }
    }

    fn data(&mut self, data: Bytes) -> Result<Part, UploadError> {
        let left = self.bytes_left.checked_sub(data.len() as u64);
        self.bytes_left = left.ok_or(UploadError::TooLong)?;
        if let Some(pace) = &mut self.pace {
            pace.came(data.len(), self.traffic.now());
        }
        self.traffic.up(data.len());
        self.replay.keep(&data);
        self.replayed = self.replay.chunks().len();
        Ok(Part::Data(data))
    }

    fn end(&mut self, mut trailers: Option<HeaderMap>) -> Part {
        self.traffic.touch();
        self.pace = None;
        if self.drops_trailers {
            trailers = None;
        }
        if let Some(trailers) = &mut trailers {
            fields::clean_trailers(trailers);
        }
        self.replay.finish(trailers.clone());
        Part::End(trailers)
    }
}
