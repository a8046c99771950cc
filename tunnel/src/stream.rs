//! Streams: what one is for, and its two halves.
//!
//! Whoever opens a stream says first, as a varint, of what [`Kind`] it is; frames follow in both directions.

mod inflow;
mod outflow;
mod recv;
mod send;

use crate::varint;

pub(crate) use inflow::Inflow;
pub(crate) use outflow::Outflow;
pub use recv::{RecvError, RecvHalf};
pub use send::{QUEUE_BYTES_MAX, SendError, SendHalf};

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// The first stream of a connection: see [`control`](crate::control).
    Control = 1,
    /// One HTTP request.
    Http = 2,
    /// One TCP session.
    Tcp = 3,
    /// One UDP flow.
    Udp = 4,
    /// One probe of an origin.
    Probe = 5,
}

impl Kind {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Probe => "probe",
        }
    }

    const fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Control,
            2 => Self::Http,
            3 => Self::Tcp,
            4 => Self::Udp,
            5 => Self::Probe,
            _ => return None,
        })
    }

    pub(crate) const fn number(self) -> u32 {
        self as u32
    }
}

/// Reads the preamble from the front of `bytes`, with the number of bytes it took; `None` when more are needed.
///
/// # Errors
/// The number, when it is no kind.
pub fn read_kind(bytes: &[u8]) -> Result<Option<(Kind, usize)>, u64> {
    let Some((number, size)) = varint::decode(bytes) else {
        return Ok(None);
    };
    let kind = Kind::from_number(number).ok_or(number)?;
    Ok(Some((kind, size)))
}
