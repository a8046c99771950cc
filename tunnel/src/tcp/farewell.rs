//! The stream on which each side says why it closes.

use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::SendStream;

use super::stream::Source;
use crate::{codes::Code, link::Closed, varint};

/// Of a farewell, code included; what is longer is cut.
const FAREWELL_BYTES_MAX: usize = 512;

/// Both directions of it.
#[derive(Debug)]
pub(super) struct Farewell {
    send: SendStream<Bytes>,
    source: Source,
    heard: BytesMut,
}

impl Farewell {
    pub(super) fn new(send: SendStream<Bytes>, source: Source) -> Self {
        Self {
            send,
            source,
            heard: BytesMut::new(),
        }
    }

    /// This side's, once.
    pub(super) fn say(&mut self, code: Code, reason: &str) {
        // Fails only on a connection that is gone; its window is far larger than this.
        let _ = self.send.send_data(written(code, reason), true);
    }

    /// The other side's; a connection whose farewell breaks off is not worth keeping either.
    pub(super) fn poll_heard(&mut self, context: &mut Context<'_>) -> Poll<Closed> {
        loop {
            match ready!(self.source.poll_data(context)) {
                Ok(Some(bytes)) => {
                    let room = FAREWELL_BYTES_MAX - self.heard.len();
                    self.heard
                        .extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                Ok(None) => return Poll::Ready(read(&self.heard)),
                Err(error) => return Poll::Ready(super::lost(&error)),
            }
        }
    }
}

fn written(code: Code, reason: &str) -> Bytes {
    let mut words = Vec::with_capacity(1 + reason.len());
    varint::encode(code.into(), &mut words);
    words.extend_from_slice(reason.as_bytes());
    words.truncate(FAREWELL_BYTES_MAX);
    words.into()
}

fn read(mut words: &[u8]) -> Closed {
    let Some((code, size)) = varint::decode(words) else {
        return Closed::Transport("peer ended its farewell without a word".to_owned());
    };
    words.advance(size);
    Closed::ByPeer {
        code: u32::try_from(code).map_or(Code::Unspecified, Code::from),
        reason: String::from_utf8_lossy(words).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_farewell_is_read_as_it_was_written() {
        let long = "x".repeat(2 * FAREWELL_BYTES_MAX);
        for (code, reason, heard) in [
            (Code::Draining, "edge stopped", "edge stopped"),
            (Code::Unspecified, "", ""),
            (Code::Revoked, &long, &long[..FAREWELL_BYTES_MAX - 1]),
        ] {
            let reason_heard = heard.to_owned();
            assert_eq!(
                read(&written(code, reason)),
                Closed::ByPeer {
                    code,
                    reason: reason_heard
                }
            );
        }
    }

    #[test]
    fn any_bytes_are_a_farewell_of_some_kind() {
        assert!(matches!(read(b""), Closed::Transport(_)));
        assert!(matches!(read(b"\xc0"), Closed::Transport(_)));
        let strange = Closed::ByPeer {
            code: Code::Unspecified,
            reason: "\u{fffd}".to_owned(),
        };
        assert_eq!(read(b"\x3f\xff"), strange);
    }
}
