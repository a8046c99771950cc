//! What a user sends on a request's stream: a head, a body, perhaps trailers (RFC 9114, section 4.1).

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use quinn::{Connection, RecvStream};

use super::{
    code::Code,
    frame::{Header, Kind, read_header},
    source::{Source, SourceError},
};

/// One part of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A field section: the head, later the trailers.
    Section(Bytes),
    /// A piece of the body.
    Data(Bytes),
}

/// Why the next part does not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum InboundError {
    /// The stream ended early.
    #[error("receiving a request")]
    Source(#[source] SourceError),
    /// A field section is longer than what is taken.
    #[error("field section is too large")]
    TooLarge,
    /// The user breaks HTTP/3: the whole connection was closed for it.
    #[error("{0}")]
    Broken(&'static str),
}

/// Where in a request its user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Head,
    Body,
    Trailed,
}

/// The receiving half of a request's stream. Reads no further than it is asked to.
#[derive(Debug)]
pub(super) struct Inbound {
    source: Source,
    connection: Connection,
    place: Place,
    /// Bytes of an encoded field section, which is never longer than what it says.
    section_bytes_max: usize,
    /// Of the DATA frame that is under way.
    data_left: u64,
    /// Of the frame that is passed over.
    skip_left: u64,
}

impl Inbound {
    pub(super) fn new(
        stream: RecvStream,
        connection: Connection,
        section_bytes_max: usize,
    ) -> Self {
        Self {
            source: Source::new(stream),
            connection,
            place: Place::Head,
            section_bytes_max,
            data_left: 0,
            skip_left: 0,
        }
    }

    /// The next part, or none at the end. Cancel-safe.
    pub(super) fn poll_part(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Part>, InboundError>> {
        loop {
            if let Some(part) = self.next_waiting()? {
                return Poll::Ready(Ok(Some(part)));
            }
            if self.source.is_ended() {
                return Poll::Ready(self.end().map(|()| None));
            }
            ready!(self.source.poll_more(context)).map_err(InboundError::Source)?;
        }
    }

    /// As [`Self::poll_part`].
    pub(super) async fn part(&mut self) -> Result<Option<Part>, InboundError> {
        std::future::poll_fn(|context| self.poll_part(context)).await
    }

    /// Asks the user to send no more of it.
    pub(super) fn stop(&mut self, code: Code) {
        self.source.stop(code);
    }

    /// Closes the whole connection.
    pub(super) fn condemn(&self, code: Code, why: &'static str) -> InboundError {
        self.connection.close(code.to_wire(), why.as_bytes());
        InboundError::Broken(why)
    }

    /// A part, if what came holds one.
    fn next_waiting(&mut self) -> Result<Option<Part>, InboundError> {
        loop {
            let waiting = self.source.waiting().len();
            let passed = until(self.skip_left, waiting);
            self.source.skip(passed);
            self.skip_left -= passed as u64;
            let data = until(self.data_left, waiting - passed);
            if data > 0 {
                self.data_left -= data as u64;
                return Ok(Some(Part::Data(self.source.take(data))));
            }
            if self.skip_left > 0 || self.data_left > 0 {
                return Ok(None);
            }
            let Some(header) = read_header(self.source.waiting()) else {
                return Ok(None);
            };
            if let Some(part) = self.begin(header)? {
                return Ok(part);
            }
        }
    }

    /// Begins a frame: none if it only changed what follows; `Some(None)` if it has to come first.
    #[expect(
        clippy::option_option,
        reason = "a frame is passed over, is to come, or is a part"
    )]
    fn begin(&mut self, header: Header) -> Result<Option<Option<Part>>, InboundError> {
        match (header.kind, self.place) {
            (Kind::Unknown, _) => {
                self.source.skip(header.bytes);
                self.skip_left = header.length;
                Ok(None)
            }
            (Kind::Data, Place::Body) => {
                self.source.skip(header.bytes);
                self.data_left = header.length;
                Ok(None)
            }
            (Kind::Headers, Place::Head | Place::Body) => self.section(header).map(Some),
            (
                Kind::Data
                | Kind::Headers
                | Kind::Settings
                | Kind::GoAway
                | Kind::Push
                | Kind::Forbidden,
                _,
            ) => Err(self.condemn(Code::FrameUnexpected, "frame out of place")),
        }
    }

    fn section(&mut self, header: Header) -> Result<Option<Part>, InboundError> {
        let length = until(header.length, usize::MAX);
        if length > self.section_bytes_max {
            return Err(InboundError::TooLarge);
        }
        if self.source.waiting().len() < header.bytes + length {
            return Ok(None);
        }
        self.source.skip(header.bytes);
        self.place = match self.place {
            Place::Head => Place::Body,
            Place::Body | Place::Trailed => Place::Trailed,
        };
        Ok(Some(Part::Section(self.source.take(length))))
    }

    /// A stream may end between frames only.
    fn end(&self) -> Result<(), InboundError> {
        if self.data_left > 0 || self.skip_left > 0 || !self.source.waiting().is_empty() {
            return Err(self.condemn(Code::Frame, "stream ended within a frame"));
        }
        Ok(())
    }
}

fn until(left: u64, waiting: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(waiting)
}
