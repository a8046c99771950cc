//! gzip (RFC 1952) and deflate, which is zlib (RFC 1950) by the book and bare (RFC 1951) from some servers.

use bytes::{Buf as _, Bytes};
use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::DecodeError;

/// Longest gzip header: real ones hold a file's name at most.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Checksum and length.
const TRAILER_BYTES: usize = 8;
/// Fields of fixed length at the start.
const FIXED_HEADER_BYTES: usize = 10;

/// One or more members.
#[derive(Debug)]
pub(crate) struct Gzip {
    state: State,
    input: Bytes,
    /// A header or trailer that has not come in full.
    collected: Vec<u8>,
    crc: Crc,
}

#[derive(Debug)]
enum State {
    Header {
        first: bool,
    },
    Body(Decompress),
    Trailer,
    /// What comes behind the last member means nothing, as for other readers of gzip.
    Over,
}

impl Default for Gzip {
    fn default() -> Self {
        Self {
            state: State::Header { first: true },
            input: Bytes::new(),
            collected: Vec::new(),
            crc: Crc::new(),
        }
    }
}

impl Gzip {
    pub(super) fn push(&mut self, piece: Bytes) {
        self.input = piece;
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DecodeError> {
        loop {
            match &mut self.state {
                State::Header { .. } => {
                    if !self.header()? {
                        return Ok(0);
                    }
                }
                State::Body(body) => {
                    let (written, over) = inflate(body, &mut self.input, buffer)
                        .ok_or(DecodeError::Corrupt("gzip"))?;
                    self.crc.update(&buffer[..written]);
                    if over {
                        self.state = State::Trailer;
                    }
                    if written > 0 || !over {
                        return Ok(written);
                    }
                }
                State::Trailer => {
                    if !self.trailer()? {
                        return Ok(0);
                    }
                }
                State::Over => {
                    self.input.clear();
                    return Ok(0);
                }
            }
        }
    }

    /// Reads a header; false if more of it has to come.
    fn header(&mut self) -> Result<bool, DecodeError> {
        let first = matches!(self.state, State::Header { first: true });
        // Without a copy of all that follows: a piece may hold thousands of members.
        if self.collected.is_empty()
            && (first || self.input.first() == Some(&0x1f))
            && let Some(length) = header_bytes(&self.input)?
        {
            self.input.advance(length);
            self.begin_body();
            return Ok(true);
        }
        self.collected.extend_from_slice(&self.input);
        self.input.clear();
        if !first && self.collected.first().is_some_and(|byte| *byte != 0x1f) {
            self.state = State::Over;
            return Ok(true);
        }
        match header_bytes(&self.collected)? {
            Some(length) => {
                self.input = Bytes::from(self.collected.split_off(length));
                self.collected.clear();
                self.begin_body();
                Ok(true)
            }
            None if self.collected.len() > HEADER_BYTES_MAX => Err(DecodeError::Corrupt("gzip")),
            None => Ok(false),
        }
    }

    fn begin_body(&mut self) {
        self.crc.reset();
        self.state = State::Body(Decompress::new(false));
    }

    /// Reads a trailer; false if more of it has to come.
    fn trailer(&mut self) -> Result<bool, DecodeError> {
        let missing = TRAILER_BYTES - self.collected.len();
        let piece = self.input.split_to(missing.min(self.input.len()));
        self.collected.extend_from_slice(&piece);
        if self.collected.len() < TRAILER_BYTES {
            return Ok(false);
        }
        let mut trailer = self.collected.as_slice();
        if trailer.get_u32_le() != self.crc.sum() || trailer.get_u32_le() != self.crc.amount() {
            return Err(DecodeError::Corrupt("gzip"));
        }
        self.collected.clear();
        self.state = State::Header { first: false };
        Ok(true)
    }

    pub(super) fn end(&self) -> Result<(), DecodeError> {
        match self.state {
            State::Header { first: false } if self.collected.is_empty() => Ok(()),
            State::Over => Ok(()),
            State::Header { .. } | State::Body(_) | State::Trailer => {
                Err(DecodeError::Truncated("gzip"))
            }
        }
    }
}

/// How long the header is, if all of it is there.
fn header_bytes(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    const MAGIC_AND_METHOD: [u8; 3] = [0x1f, 0x8b, 8];
    let length = bytes.len().min(MAGIC_AND_METHOD.len());
    if bytes[..length] != MAGIC_AND_METHOD[..length] {
        return Err(DecodeError::Corrupt("gzip"));
    }
    Ok(optional_fields_end(bytes))
}

fn optional_fields_end(bytes: &[u8]) -> Option<usize> {
    const CHECKSUM: u8 = 1 << 1;
    const EXTRA: u8 = 1 << 2;
    const NAME: u8 = 1 << 3;
    const COMMENT: u8 = 1 << 4;
    let flags = *bytes.get(3)?;
    let mut at = FIXED_HEADER_BYTES;
    if flags & EXTRA != 0 {
        let length = bytes.get(at..at + 2)?.get_u16_le();
        at += 2 + usize::from(length);
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            at += bytes.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
        }
    }
    if flags & CHECKSUM != 0 {
        at += 2;
    }
    (at <= bytes.len()).then_some(at)
}

/// A body of deflate.
#[derive(Debug, Default)]
pub(crate) struct Deflate {
    body: Option<Decompress>,
    input: Bytes,
    over: bool,
}

impl Deflate {
    pub(super) fn push(&mut self, piece: Bytes) {
        self.input = piece;
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DecodeError> {
        let Some(&first) = self.input.first().filter(|_| self.body.is_none()) else {
            return self.inflate(buffer);
        };
        // zlib says in its first byte that the method is 8 with a window of 32 KiB at most; a bare stream cannot begin so: 8
        // would be the last block, stored, with a bit set that must not be.
        let is_zlib = first & 0x0f == 8 && first >> 4 <= 7;
        self.body = Some(Decompress::new(is_zlib));
        self.inflate(buffer)
    }

    fn inflate(&mut self, buffer: &mut [u8]) -> Result<usize, DecodeError> {
        let Some(body) = self.body.as_mut().filter(|_| !self.over) else {
            self.input.clear();
            return Ok(0);
        };
        let (written, over) =
            inflate(body, &mut self.input, buffer).ok_or(DecodeError::Corrupt("deflate"))?;
        self.over = over;
        Ok(written)
    }

    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.over {
            Ok(())
        } else {
            Err(DecodeError::Truncated("deflate"))
        }
    }
}

/// How much was written, and whether that was the end; `None` if it is no deflate.
fn inflate(body: &mut Decompress, input: &mut Bytes, buffer: &mut [u8]) -> Option<(usize, bool)> {
    let (read, written) = (body.total_in(), body.total_out());
    let status = body.decompress(input, buffer, FlushDecompress::None).ok()?;
    let read = usize::try_from(body.total_in() - read).ok()?;
    let written = usize::try_from(body.total_out() - written).ok()?;
    input.advance(read);
    Some((written, status == Status::StreamEnd))
}
