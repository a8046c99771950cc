//! Where WebSocket frames begin and end in what the origin sends (RFC 6455, section 5.2), so that a close frame of the edge's own
//! does not land inside one.

use http::HeaderValue;

/// Its name where protocols are named.
pub(crate) const WEBSOCKET: &str = "websocket";

/// Flags, length, extended length and mask at their longest.
const HEADER_BYTES_MAX: usize = 14;

/// Follows frames in a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Boundary {
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    payload_left: u64,
}

impl Boundary {
    /// At the first byte of the new protocol, if that is WebSocket's.
    pub(crate) fn of(protocol: &HeaderValue) -> Option<Self> {
        let is_websocket = protocol
            .as_bytes()
            .eq_ignore_ascii_case(WEBSOCKET.as_bytes());
        is_websocket.then(Self::default)
    }

    /// Moves on over `bytes`.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let skipped = usize::try_from(self.payload_left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.payload_left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.header[self.header_bytes] = bytes[0];
            self.header_bytes += 1;
            bytes = &bytes[1..];
            if let Some(length) = self.payload_length() {
                self.header_bytes = 0;
                self.payload_left = length;
            }
        }
    }

    /// Whether the next byte begins a frame.
    pub(crate) const fn is_between_frames(&self) -> bool {
        self.header_bytes == 0 && self.payload_left == 0
    }

    /// Length of the payload, once the header is whole.
    fn payload_length(&self) -> Option<u64> {
        let header = &self.header[..self.header_bytes];
        let second = *header.get(1)?;
        let extended_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
        if header.len() < 2 + extended_bytes + mask_bytes {
            return None;
        }
        Some(match extended_bytes {
            0 => u64::from(second & 0x7f),
            extended_bytes => header[2..2 + extended_bytes]
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> Vec<u8> {
        let mut frame = vec![0x82];
        match length {
            0..=125 => frame.push(u8::try_from(length).unwrap()),
            126..=0xffff => {
                frame.push(126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(vec![0x81; length]);
        frame
    }

    #[test]
    fn only_whole_frames_end_at_a_boundary() {
        for length in [0, 1, 125, 126, 1_000, 70_000] {
            let frame = frame(length);
            for cut in [1, 2, frame.len() / 2, frame.len() - 1] {
                let mut boundary = Boundary::default();
                boundary.pass(&frame[..cut]);
                assert_eq!(
                    boundary.is_between_frames(),
                    cut == frame.len(),
                    "{length} {cut}"
                );
                boundary.pass(&frame[cut..]);
                assert!(boundary.is_between_frames(), "{length} {cut}");
            }
        }
    }

    #[test]
    fn masked_frames_are_followed_too() {
        let mut boundary = Boundary::default();
        boundary.pass(&[0x81, 0x82, 1, 2, 3, 4, 9]);
        assert!(!boundary.is_between_frames());
        boundary.pass(&[9]);
        assert!(boundary.is_between_frames());
    }
}
