//! Encodings of bodies on their way in: gzip, deflate, Brotli and Zstandard, a bounded piece at a time.
//!
//! However much a body unfolds to, only as much is made of it as was asked for, so it is the reader who sets the pace.

mod brotli;
mod inflate;
mod zstandard;

use bytes::{Buf as _, Bytes};

use brotli::Brotli;
use inflate::{Deflate, Gzip};
use zstandard::Zstandard;

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// It is not what its `Content-Encoding` says.
    #[error("the body is no {0}")]
    Corrupt(&'static str),
    /// It ends too early.
    #[error("the body breaks off within its {0}")]
    Truncated(&'static str),
}

/// `Content-Encoding` of a body that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Deflate,
    Brotli,
    Zstandard,
}

impl Coding {
    /// Reads the field's value; `None` for one that is not known, and for several in a row.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let known = [
            ("identity", Self::Identity),
            ("", Self::Identity),
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("deflate", Self::Deflate),
            ("br", Self::Brotli),
            ("zstd", Self::Zstandard),
        ];
        let value = value.trim();
        known
            .into_iter()
            .find(|(name, _)| value.eq_ignore_ascii_case(name))
            .map(|(_, coding)| coding)
    }
}

/// A body being read.
#[derive(Debug)]
pub(super) enum Decoder {
    Identity(Bytes),
    Gzip(Box<Gzip>),
    Deflate(Box<Deflate>),
    Brotli(Box<Brotli>),
    Zstandard(Box<Zstandard>),
}

impl Decoder {
    pub(super) fn new(coding: Coding) -> Self {
        match coding {
            Coding::Identity => Self::Identity(Bytes::new()),
            Coding::Gzip => Self::Gzip(Box::default()),
            Coding::Deflate => Self::Deflate(Box::default()),
            Coding::Brotli => Self::Brotli(Box::default()),
            Coding::Zstandard => Self::Zstandard(Box::default()),
        }
    }

    /// Takes a piece of the body; the one before must have been read to its end.
    pub(super) fn push(&mut self, piece: Bytes) {
        match self {
            Self::Identity(input) => *input = piece,
            Self::Gzip(gzip) => gzip.push(piece),
            Self::Deflate(deflate) => deflate.push(piece),
            Self::Brotli(brotli) => brotli.push(piece),
            Self::Zstandard(zstandard) => zstandard.push(&piece),
        }
    }

    /// Gives what is there, up to the buffer's size; 0: the next piece is needed.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DecodeError> {
        match self {
            Self::Identity(input) => {
                let length = input.len().min(buffer.len());
                input.copy_to_slice(&mut buffer[..length]);
                Ok(length)
            }
            Self::Gzip(gzip) => gzip.read(buffer),
            Self::Deflate(deflate) => deflate.read(buffer),
            Self::Brotli(brotli) => brotli.read(buffer),
            Self::Zstandard(zstandard) => zstandard.read(buffer),
        }
    }

    /// Whether the body may end here.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        match self {
            Self::Identity(_) => Ok(()),
            Self::Gzip(gzip) => gzip.end(),
            Self::Deflate(deflate) => deflate.end(),
            Self::Brotli(brotli) => brotli.end(),
            Self::Zstandard(zstandard) => zstandard.end(),
        }
    }
}

#[cfg(test)]
mod tests;
