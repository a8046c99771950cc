//! Encodings of bodies on their way out: gzip, or none.

use std::{
    fmt,
    io::{self, Write as _},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

/// What a body is written in.
pub(super) enum Encoder {
    Identity(Vec<u8>),
    Gzip {
        encoder: Box<GzEncoder<Vec<u8>>>,
        /// Something was written that a reader cannot see yet.
        dirty: bool,
    },
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity(_) => "Identity",
            Self::Gzip { .. } => "Gzip",
        })
    }
}

impl Encoder {
    pub(super) fn identity() -> Self {
        Self::Identity(Vec::new())
    }

    /// Fast rather than small: the agent's processor is shared by all its apps.
    pub(super) fn gzip() -> Self {
        Self::Gzip {
            encoder: Box::new(GzEncoder::new(Vec::new(), Compression::fast())),
            dirty: false,
        }
    }

    /// Takes plain bytes and leaves `plain` empty.
    pub(super) fn write(&mut self, plain: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Identity(out) => out.append(plain),
            Self::Gzip { encoder, dirty } => {
                *dirty |= !plain.is_empty();
                encoder.write_all(plain)?;
                plain.clear();
            }
        }
        Ok(())
    }

    /// Makes everything that was written visible to a reader.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip { encoder, dirty } if *dirty => {
                *dirty = false;
                encoder.flush()
            }
            Self::Gzip { .. } | Self::Identity(_) => Ok(()),
        }
    }

    /// Writes what belongs at the end.
    pub(super) fn end(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip { encoder, .. } => encoder.try_finish(),
            Self::Identity(_) => Ok(()),
        }
    }

    /// What can be sent.
    pub(super) fn take(&mut self) -> Bytes {
        let out = match self {
            Self::Identity(out) => out,
            Self::Gzip { encoder, .. } => encoder.get_mut(),
        };
        Bytes::from(std::mem::take(out))
    }
}
