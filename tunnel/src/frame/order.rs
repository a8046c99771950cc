//! Which frame may follow which, in each direction of a stream.

use super::{Frame, Type};

/// 1xx heads before the final one. Real origins send one or two; a peer that sends them without end is broken.
pub const INFORMATIONAL_MAX: u8 = 32;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The edge: REQUEST, DATA, TRAILERS, END.
    Request,
    /// The agent: CONTINUE, RESPONSE, DATA, TRAILERS, END.
    Response,
}

/// A frame where it must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The frame is not allowed at this point, or never in this direction.
    #[error("{frame} is not allowed {place}")]
    Misplaced {
        /// Name of the frame.
        frame: &'static str,
        /// Where it stood.
        place: &'static str,
    },
    /// More 1xx heads than [`INFORMATIONAL_MAX`].
    #[error("more than {INFORMATIONAL_MAX} informational responses")]
    Informational,
    /// END counts other bytes than DATA carried.
    #[error("END tells of {told} body bytes, DATA carried {carried}")]
    BodyBytes {
        /// What END says.
        told: u64,
        /// What came.
        carried: u64,
    },
}

/// The state of one direction.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    direction: Direction,
    place: Place,
    body_bytes: u64,
    informational: u8,
    continued: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Head,
    Body,
    Trailed,
    Closed,
}

impl Order {
    /// Nothing was said yet.
    #[must_use]
    pub const fn new(direction: Direction) -> Self {
        Self {
            direction,
            place: Place::Head,
            body_bytes: 0,
            informational: 0,
            continued: false,
        }
    }

    /// Whether END or ERROR was said.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.place == Place::Closed
    }

    /// Bytes of DATA so far.
    #[must_use]
    pub const fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Moves on by `frame`; a DATA frame may come in pieces, each counted as one.
    ///
    /// # Errors
    /// The frame must not stand here; the state is then as before.
    pub fn follow(&mut self, frame: &Frame) -> Result<(), OrderError> {
        match (frame, self.place) {
            (_, Place::Closed) => return Err(self.misplaced(frame.kind())),
            (Frame::Error(_), _) => self.place = Place::Closed,
            (Frame::Request(_), _) => self.follow_request()?,
            (Frame::Continue, Place::Head)
                if self.direction == Direction::Response && !self.continued =>
            {
                self.continued = true;
            }
            (Frame::Response(head), Place::Head) if self.direction == Direction::Response => {
                self.response(head.status, head.upgraded)?;
            }
            (Frame::Data(data), Place::Body) => self.body_bytes += data.len() as u64,
            (Frame::Trailers(_), Place::Body) => self.place = Place::Trailed,
            (Frame::End(end), Place::Body | Place::Trailed) => self.end(end.body_bytes)?,
            (
                Frame::Data(_)
                | Frame::Response(_)
                | Frame::Trailers(_)
                | Frame::End(_)
                | Frame::Continue,
                _,
            ) => return Err(self.misplaced(frame.kind())),
        }
        Ok(())
    }

    /// Moves on by a REQUEST.
    pub(crate) fn follow_request(&mut self) -> Result<(), OrderError> {
        if self.direction != Direction::Request || self.place != Place::Head {
            return Err(self.misplaced(Type::Request));
        }
        self.place = Place::Body;
        Ok(())
    }

    fn response(&mut self, status: u32, upgraded: bool) -> Result<(), OrderError> {
        // 101 is the answer to an upgrade and therefore final (RFC 9110, section 15.2.2).
        if upgraded || status == 101 || !(100..200).contains(&status) {
            self.place = Place::Body;
            return Ok(());
        }
        if self.informational == INFORMATIONAL_MAX {
            return Err(OrderError::Informational);
        }
        self.informational += 1;
        Ok(())
    }

    fn end(&mut self, told: u64) -> Result<(), OrderError> {
        let carried = self.body_bytes;
        if told != carried {
            return Err(OrderError::BodyBytes { told, carried });
        }
        self.place = Place::Closed;
        Ok(())
    }

    fn misplaced(&self, frame: Type) -> OrderError {
        let place = match (self.direction, self.place) {
            (Direction::Request, Place::Head) => "before REQUEST",
            (Direction::Request, Place::Body) => "after REQUEST",
            (Direction::Response, Place::Head) => "before the final RESPONSE",
            (Direction::Response, Place::Body) => "after the final RESPONSE",
            (_, Place::Trailed) => "after TRAILERS",
            (_, Place::Closed) => "after END or ERROR",
        };
        OrderError::Misplaced {
            frame: frame.name(),
            place,
        }
    }
}
