//! The beginning of a request's body, kept so that it can be sent a second time.

use std::collections::VecDeque;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

/// Bytes of a body that are kept until its answer begins: as many as an edge keeps to ask another agent.
pub(super) const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// What was read of a body, and how much of it the try under way was given.
#[derive(Debug)]
pub(super) struct Replay {
    data: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    bytes: usize,
    /// Pieces of `data` given.
    given: usize,
    trailers_given: bool,
    /// Nothing of the body is missing here.
    whole: bool,
}

impl Replay {
    pub(super) fn new() -> Self {
        Self {
            data: VecDeque::new(),
            trailers: None,
            bytes: 0,
            given: 0,
            trailers_given: false,
            whole: true,
        }
    }

    /// Whether another try can be given all that this one was.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Gives everything once more.
    pub(super) fn begin_again(&mut self) {
        self.given = 0;
        self.trailers_given = false;
    }

    /// No other try follows; what the one under way was not given yet stays.
    pub(super) fn forget(&mut self) {
        self.data.drain(..self.given);
        self.given = 0;
        self.whole = false;
    }

    /// Takes in what was just read and is given right now.
    pub(super) fn note_data(&mut self, data: &Bytes) {
        if self.whole && self.bytes + data.len() <= REPLAY_BYTES_MAX {
            self.bytes += data.len();
            self.data.push_back(data.clone());
            self.given += 1;
        } else {
            self.data.clear();
            self.given = 0;
            self.whole = false;
        }
    }

    /// As [`Replay::note_data`], at the body's end.
    pub(super) fn note_trailers(&mut self, trailers: &HeaderMap) {
        self.trailers_given = true;
        if self.whole {
            self.trailers = Some(trailers.clone());
        }
    }

    /// What a later try is still to be given before anything new is read.
    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        let data = if self.whole {
            let data = self.data.get(self.given).cloned();
            self.given += usize::from(data.is_some());
            data
        } else {
            self.data.pop_front()
        };
        if let Some(data) = data {
            return Some(Frame::data(data));
        }
        let trailers = self.trailers.clone().filter(|_| !self.trailers_given)?;
        self.trailers_given = true;
        Some(Frame::trailers(trailers))
    }

    /// Whether the try under way was given all that is here.
    pub(super) fn is_exhausted(&self) -> bool {
        self.given == self.data.len() && (self.trailers_given || self.trailers.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(replay: &mut Replay) -> Vec<u8> {
        std::iter::from_fn(|| replay.next())
            .filter_map(|frame| frame.into_data().ok())
            .flatten()
            .collect()
    }

    #[test]
    fn a_second_try_is_given_the_same_again() {
        let mut replay = Replay::new();
        for piece in [&b"ab"[..], b"cd"] {
            replay.note_data(&Bytes::from_static(piece));
        }
        assert!(replay.is_exhausted() && replay.is_whole());
        replay.begin_again();
        assert!(!replay.is_exhausted());
        assert_eq!(rest(&mut replay), b"abcd");
        assert!(replay.is_exhausted());
    }

    #[test]
    fn what_is_forgotten_still_reaches_the_try_under_way() {
        let mut replay = Replay::new();
        for piece in [&b"ab"[..], b"cd"] {
            replay.note_data(&Bytes::from_static(piece));
        }
        replay.begin_again();
        assert!(replay.next().is_some());
        replay.forget();
        assert_eq!(rest(&mut replay), b"cd");
        assert!(!replay.is_whole() && replay.is_exhausted());
    }

    #[test]
    fn a_long_body_is_not_kept() {
        let mut replay = Replay::new();
        replay.note_data(&Bytes::from(vec![0; REPLAY_BYTES_MAX]));
        assert!(replay.is_whole());
        replay.note_data(&Bytes::from_static(b"x"));
        assert!(!replay.is_whole() && replay.is_exhausted());
    }
}
