//! HTTP/2 by hand: frames that no well-behaved client sends, and just enough reading to see what comes of them.
//!
//! Fields are written as literals without indexing (RFC 7541, section 6.2.2), which needs no table.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What opens a connection (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// Flag of DATA and HEADERS: nothing follows on the stream.
pub const END_STREAM: u8 = 0x1;
/// Flag of HEADERS: the block is whole.
pub const END_HEADERS: u8 = 0x4;
const ACK: u8 = 0x1;

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An answer, in full.
    Answer(u16, Vec<u8>),
    /// It was reset, with this code.
    Reset(u32),
    /// The connection ended, with this code if one was said.
    Gone(Option<u32>),
}

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames of tests are small");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A HEADERS frame, block whole.
pub fn headers(stream: u32, flags: u8, fields: &[(String, String)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        put_text(&mut block, name);
        put_text(&mut block, value);
    }
    frame(HEADERS, flags | END_HEADERS, stream, &block)
}

/// A DATA frame.
pub fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, payload)
}

/// A text without Huffman's code (RFC 7541, section 5.2): its length in a prefix of 7 bits, and its bytes.
fn put_text(block: &mut Vec<u8>, text: &str) {
    const PREFIX_MAX: usize = 127;
    let mut length = text.len();
    if length < PREFIX_MAX {
        block.extend(u8::try_from(length));
    } else {
        block.push(127);
        length -= PREFIX_MAX;
        while length >= 128 {
            block.extend(u8::try_from(length % 128 + 128));
            length /= 128;
        }
        block.extend(u8::try_from(length));
    }
    block.extend(text.as_bytes());
}

/// A connection to an edge.
#[derive(Debug)]
pub struct Frames<S> {
    socket: S,
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Frames<S> {
    /// Says hello.
    pub async fn start(mut socket: S) -> io::Result<Self> {
        socket.write_all(PREFACE).await?;
        socket.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        Ok(Self { socket })
    }

    /// Sends bytes as they are. The other side may have closed already; what it said tells more.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes).await;
        let _ = self.socket.flush().await;
    }

    /// Reads until it is clear what becomes of `stream`.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        let (mut status, mut body, mut said) = (0, Vec::new(), None);
        loop {
            let Ok((kind, flags, on, payload)) = self.read().await else {
                return Outcome::Gone(said);
            };
            match kind {
                SETTINGS if flags & ACK == 0 => self.send(&frame(SETTINGS, ACK, 0, &[])).await,
                PING if flags & ACK == 0 => self.send(&frame(PING, ACK, 0, &payload)).await,
                GOAWAY => said = Some(code(&payload[4..])),
                RST_STREAM if on == stream => return Outcome::Reset(code(&payload)),
                HEADERS if on == stream => status = read_status(&payload).unwrap_or(status),
                DATA if on == stream => body.extend(payload),
                _ => {}
            }
            let ends = matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
            if on == stream && ends {
                return Outcome::Answer(status, body);
            }
        }
    }

    async fn read(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.socket.read_exact(&mut payload).await?;
        Ok((kind, flags, u32::from_be_bytes(stream), payload))
    }
}

fn code(payload: &[u8]) -> u32 {
    let four = payload.get(..4).and_then(|four| four.try_into().ok());
    u32::from_be_bytes(four.expect("the edge sends whole frames"))
}

/// The status, which stands first in a block: indexed, or as a literal behind its indexed name.
fn read_status(block: &[u8]) -> Option<u16> {
    /// Entries 8 to 14 of the static table (RFC 7541, appendix A).
    const STATUS: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    let mut block = block;
    // Changes of the table's size come before anything else (section 4.2).
    while let [0x20..=0x3f, rest @ ..] = block {
        block = rest;
    }
    match block {
        [indexed @ 0x88..=0x8e, ..] => STATUS.get(usize::from(indexed - 0x88)).copied(),
        [0x08 | 0x18 | 0x48, 0x03, digits @ ..] => {
            std::str::from_utf8(digits.get(..3)?).ok()?.parse().ok()
        }
        [0x08 | 0x18 | 0x48, length, coded @ ..] if length & 0x80 != 0 => {
            let coded = coded.get(..usize::from(length & 0x7f))?;
            // Three digits take 15 to 18 bits.
            (coded.len() <= 3).then(|| huffman_digits(coded)).flatten()
        }
        _ => None,
    }
}

/// Three digits in Huffman's code: 0 to 2 take five bits, the others six (RFC 7541, appendix B).
fn huffman_digits(coded: &[u8]) -> Option<u16> {
    // A byte of padding, so that the last digit has six bits to be looked at.
    let padded = coded.iter().chain(&[0xff]);
    let bits: u32 = padded.fold(0, |bits, byte| (bits << 8) | u32::from(*byte));
    let mut left = 8 * u32::try_from(coded.len() + 1).ok()?;
    let mut number = 0;
    for _ in 0..3 {
        let ahead = (bits >> left.checked_sub(6)?) & 0x3f;
        let (digit, size) = match ahead {
            0..=5 => (ahead >> 1, 5),
            0x19..=0x1f => (ahead - 0x19 + 3, 6),
            _ => return None,
        };
        number = number * 10 + digit;
        left -= size;
    }
    u16::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read() {
        for (block, status) in [
            (&[0x88][..], 200),
            (&[0x20, 0x8c, 0x40], 400),
            (&[0x48, 0x03, b'4', b'2', b'1'], 421),
            // RFC 7541, appendix C.6.1.
            (&[0x48, 0x82, 0x64, 0x02], 302),
        ] {
            assert_eq!(read_status(block), Some(status), "{block:x?}");
        }
    }

    #[test]
    fn long_texts_have_long_lengths() {
        let mut block = Vec::new();
        put_text(&mut block, &"x".repeat(1337));
        // RFC 7541, section 5.1: 127 + 1210 = 127 + (0x3a + 128 * 9)
        assert_eq!(block[..3], [0x7f, 0xba, 0x09]);
    }
}
