//! Zstandard (RFC 8878), a block at a time.

use std::{fmt, io::Read as _};

use bytes::{Buf as _, Bytes, BytesMut};
use ruzstd::decoding::FrameDecoder;

use super::DecodeError;

/// Largest window: what RFC 9659 allows for content codings.
const WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Length of a block's header.
const BLOCK_HEADER_BYTES: usize = 3;
/// Length of the checksum that may stand behind the last block.
const CHECKSUM_BYTES: usize = 4;

/// One or more frames.
pub(crate) struct Zstandard {
    decoder: FrameDecoder,
    /// What came and is not a whole block, header or checksum yet: at most a block.
    input: BytesMut,
    state: State,
    /// Whether a frame was read to its end.
    any: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Blocks { checksum: bool },
    Checksum,
}

impl fmt::Debug for Zstandard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zstandard")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Default for Zstandard {
    fn default() -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_BYTES_MAX);
        Self {
            decoder,
            input: BytesMut::new(),
            state: State::Header,
            any: false,
        }
    }
}

impl Zstandard {
    pub(super) fn push(&mut self, piece: &Bytes) {
        self.input.extend_from_slice(piece);
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DecodeError> {
        loop {
            let written = self.decoder.read(buffer).map_err(|_| corrupt())?;
            if written > 0 || !self.advance()? {
                return Ok(written);
            }
        }
    }

    /// Takes the next part; false if more of it has to come.
    fn advance(&mut self) -> Result<bool, DecodeError> {
        match self.state {
            State::Header => {
                let Some((length, checksum)) = frame_header(&self.input) else {
                    return Ok(false);
                };
                let header = self.input.split_to(length);
                self.decoder.reset(&header[..]).map_err(|_| corrupt())?;
                self.state = State::Blocks { checksum };
            }
            State::Blocks { checksum } => {
                let Some((length, last)) = block(&self.input) else {
                    return Ok(false);
                };
                let block = self.input.split_to(length);
                self.decoder
                    .decode_from_to(&block, &mut [])
                    .map_err(|_| corrupt())?;
                if last {
                    self.any = true;
                    self.state = if checksum {
                        State::Checksum
                    } else {
                        State::Header
                    };
                }
            }
            State::Checksum if self.input.len() < CHECKSUM_BYTES => return Ok(false),
            // Of the plain bytes; the connection has protected these on their way already.
            State::Checksum => {
                self.input.advance(CHECKSUM_BYTES);
                self.state = State::Header;
            }
        }
        Ok(true)
    }

    #[cfg(test)]
    pub(super) fn waiting_bytes(&self) -> usize {
        self.input.len()
    }

    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.any && self.state == State::Header && self.input.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Truncated("zstandard"))
        }
    }
}

fn corrupt() -> DecodeError {
    DecodeError::Corrupt("zstandard")
}

/// Length of a frame's header (RFC 8878, section 3.1.1.1), and whether a checksum follows the blocks.
fn frame_header(input: &[u8]) -> Option<(usize, bool)> {
    const MAGIC_BYTES: usize = 4;
    let descriptor = *input.get(MAGIC_BYTES)?;
    let single_segment = descriptor & 0b10_0000 != 0;
    let window = usize::from(!single_segment);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 0b11)];
    let content_size = match descriptor >> 6 {
        0 => usize::from(single_segment),
        power => 1 << power,
    };
    let length = MAGIC_BYTES + 1 + window + dictionary + content_size;
    (input.len() >= length).then_some((length, descriptor & 0b100 != 0))
}

/// Length of the block at the front (RFC 8878, section 3.1.1.2), and whether it is the last.
fn block(input: &[u8]) -> Option<(usize, bool)> {
    const RUN: u32 = 1;
    let header = input.get(..BLOCK_HEADER_BYTES)?;
    let header = u32::from_le_bytes([header[0], header[1], header[2], 0]);
    let size = match header >> 1 & 0b11 {
        RUN => 1,
        _ => usize::try_from(header >> 3).ok()?,
    };
    let length = BLOCK_HEADER_BYTES + size;
    (input.len() >= length).then_some((length, header & 1 != 0))
}
