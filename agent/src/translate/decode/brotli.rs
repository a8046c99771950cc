//! Brotli (RFC 7932), with windows of 16 MiB at most, as browsers take it.

use std::fmt;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::{Buf as _, Bytes};

use super::DecodeError;

/// A body of Brotli.
pub(crate) struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    input: Bytes,
    over: bool,
}

impl fmt::Debug for Brotli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brotli")
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

impl Default for Brotli {
    fn default() -> Self {
        let allocate = StandardAlloc::default;
        Self {
            state: BrotliState::new_strict(allocate(), allocate(), allocate()),
            input: Bytes::new(),
            over: false,
        }
    }
}

impl Brotli {
    pub(super) fn push(&mut self, piece: Bytes) {
        self.input = piece;
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DecodeError> {
        if self.over {
            self.input.clear();
            return Ok(0);
        }
        let (mut read, mut written, mut total) = (0, 0, 0);
        let result = BrotliDecompressStream(
            &mut self.input.len(),
            &mut read,
            &self.input,
            &mut buffer.len(),
            &mut written,
            buffer,
            &mut total,
            &mut self.state,
        );
        self.input.advance(read);
        match result {
            BrotliResult::ResultSuccess => self.over = true,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultFailure => return Err(DecodeError::Corrupt("brotli")),
        }
        Ok(written)
    }

    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.over {
            Ok(())
        } else {
            Err(DecodeError::Truncated("brotli"))
        }
    }
}
