//! What a user has sent so far, kept so that another agent can be given it.

use bytes::Bytes;
use http::HeaderMap;

/// Bytes of one body that are kept. Forms and API calls fit; uploads do not and are not tried again.
pub(crate) const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// The beginning of a body, or all of it. Copies no bytes.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    chunks: Vec<Bytes>,
    bytes: usize,
    overflowed: bool,
    end: Option<Option<HeaderMap>>,
}

impl Replay {
    /// Keeps `chunk`, or forgets everything once the body is too large.
    pub(crate) fn keep(&mut self, chunk: &Bytes) {
        if self.overflowed {
            return;
        }
        self.bytes += chunk.len();
        // Tiny chunks would cost more in handles than in bytes.
        if self.bytes > REPLAY_BYTES_MAX || self.chunks.len() == CHUNKS_MAX {
            self.overflowed = true;
            self.chunks = Vec::new();
            return;
        }
        self.chunks.push(chunk.clone());
    }

    /// Notes that the body is whole, with its trailers.
    pub(crate) fn finish(&mut self, trailers: Option<HeaderMap>) {
        self.end = Some(trailers);
    }

    /// Whether everything that was taken from the user is here.
    pub(crate) const fn is_whole(&self) -> bool {
        !self.overflowed
    }

    /// Chunks in order.
    pub(crate) fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// Trailers, once the body has ended: `Some(None)` when it had none.
    pub(crate) const fn end(&self) -> Option<&Option<HeaderMap>> {
        self.end.as_ref()
    }
}

/// Chunks that are kept: h1 clients that write byte by byte exist, and a `Bytes` handle is 32 bytes.
const CHUNKS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_body_is_kept_whole_and_in_order() {
        let mut replay = Replay::default();
        replay.keep(&Bytes::from_static(b"a"));
        replay.keep(&Bytes::from_static(b"b"));
        assert!(replay.end().is_none());
        replay.finish(None);
        assert!(replay.is_whole());
        assert_eq!(replay.chunks(), ["a", "b"]);
        assert_eq!(replay.end(), Some(&None));
    }

    #[test]
    fn a_body_over_the_bound_is_forgotten() {
        let mut replay = Replay::default();
        replay.keep(&Bytes::from(vec![0; REPLAY_BYTES_MAX]));
        assert!(replay.is_whole());
        replay.keep(&Bytes::from_static(b"x"));
        assert!(!replay.is_whole());
        assert!(replay.chunks().is_empty());
    }

    #[test]
    fn a_body_in_tiny_chunks_is_forgotten_too() {
        let mut replay = Replay::default();
        for _ in 0..=CHUNKS_MAX {
            replay.keep(&Bytes::from_static(b"x"));
        }
        assert!(!replay.is_whole());
    }
}
