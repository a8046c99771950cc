//! HTTP/3 by hand: frames that no well-behaved client sends, and just enough reading to see what comes of them.
//!
//! Fields are written as literals (RFC 9204, section 4.5.6), which need no table.

use std::{net::Ipv4Addr, sync::Arc};

use quinn::{ConnectionError, Endpoint, ReadError, crypto::rustls::QuicClientConfig};

use super::User;

/// Types of frames (RFC 9114, section 7.2).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
/// Bytes of one answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Statuses in the static table, by their index (RFC 9204, appendix A).
const STATUSES: [(u8, u16); 14] = [
    (24, 103),
    (25, 200),
    (26, 304),
    (27, 404),
    (28, 503),
    (63, 100),
    (64, 204),
    (65, 206),
    (66, 302),
    (67, 400),
    (68, 403),
    (69, 421),
    (70, 425),
    (71, 500),
];

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An answer, in full.
    Answer(u16, Vec<u8>),
    /// It was reset, with this code.
    Reset(u64),
    /// The connection ended, with this code if one was said.
    Gone(Option<u64>),
}

/// One frame.
pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames of tests are small");
    let mut bytes = vec![kind];
    // The form of four bytes (RFC 9000, section 16).
    bytes.extend((length | 0x8000_0000).to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A HEADERS frame.
pub fn headers(fields: &[(String, String)]) -> Vec<u8> {
    let mut section = vec![0, 0];
    for (name, value) in fields {
        put_text(&mut section, 0x20, 3, name);
        put_text(&mut section, 0, 7, value);
    }
    frame(HEADERS, &section)
}

/// A DATA frame.
pub fn data(payload: &[u8]) -> Vec<u8> {
    frame(DATA, payload)
}

/// A text without Huffman's code: its length in a prefix of so many bits, and its bytes.
fn put_text(section: &mut Vec<u8>, flags: u8, bits: u32, text: &str) {
    let prefix_max = (1_usize << bits) - 1;
    if text.len() < prefix_max {
        section.extend(u8::try_from(text.len()).map(|length| flags | length));
    } else {
        section.extend(u8::try_from(prefix_max).map(|prefix| flags | prefix));
        let mut rest = text.len() - prefix_max;
        while rest >= 128 {
            section.extend(u8::try_from(rest % 128 + 128));
            rest /= 128;
        }
        section.extend(u8::try_from(rest));
    }
    section.extend(text.as_bytes());
}

/// A connection to an edge.
#[derive(Debug)]
pub struct RawHttp3 {
    connection: quinn::Connection,
    _endpoint: Endpoint,
}

impl RawHttp3 {
    /// Connects; says nothing, not even its settings.
    pub async fn dial(user: &User, host: &str) -> Self {
        let crypto = QuicClientConfig::try_from(user.tls_config(b"h3")).expect("TLS 1.3 is there");
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let connecting = endpoint
            .connect_with(config, user.edge, host)
            .expect("hosts of tests are names");
        Self {
            connection: connecting.await.expect("the edge speaks HTTP/3"),
            _endpoint: endpoint,
        }
    }

    /// What becomes of a stream that says `bytes` and ends.
    pub async fn ask(&self, bytes: &[u8]) -> Outcome {
        let (mut send, mut recv) = match self.connection.open_bi().await {
            Ok(stream) => stream,
            Err(error) => return Outcome::Gone(code(&error)),
        };
        // The edge may want no more of it.
        let _ = send.write_all(bytes).await;
        let _ = send.finish();
        let mut answer = Vec::new();
        loop {
            match recv.read_chunk(ANSWER_BYTES_MAX, true).await {
                Ok(Some(chunk)) => answer.extend_from_slice(&chunk.bytes),
                Ok(None) => return read(&answer),
                Err(ReadError::Reset(code)) => return Outcome::Reset(code.into_inner()),
                Err(ReadError::ConnectionLost(error)) => return Outcome::Gone(code(&error)),
                Err(error) => panic!("reading an answer: {error}"),
            }
            assert!(answer.len() < ANSWER_BYTES_MAX, "an answer without end");
        }
    }
}

fn code(error: &ConnectionError) -> Option<u64> {
    match error {
        ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
        _ => None,
    }
}

/// The last status of an answer, and its body.
fn read(mut rest: &[u8]) -> Outcome {
    let (mut status, mut body) = (0, Vec::new());
    while let [kind, after @ ..] = rest {
        let (length, length_bytes) = read_length(after);
        let (payload, behind) = after[length_bytes..].split_at(length);
        match *kind {
            HEADERS => status = read_status(payload).unwrap_or(status),
            DATA => body.extend_from_slice(payload),
            _ => {}
        }
        rest = behind;
    }
    Outcome::Answer(status, body)
}

/// An integer of QUIC, and its own length (RFC 9000, section 16).
fn read_length(bytes: &[u8]) -> (usize, usize) {
    let count = 1 << (bytes[0] >> 6);
    let first = usize::from(bytes[0] & 0x3f);
    let value = bytes[1..count]
        .iter()
        .fold(first, |value, byte| value << 8 | usize::from(*byte));
    (value, count)
}

/// The first line of a section, if it is a status.
fn read_status(section: &[u8]) -> Option<u16> {
    let indexed = |index: u8| STATUSES.iter().find(|(at, _)| *at == index);
    match section.get(2..)? {
        // A line of the static table, by its index in six bits or with a byte more.
        [0xff, more, ..] => indexed(more.saturating_add(63)).map(|(_, status)| *status),
        [first, ..] if *first >= 0xc0 => indexed(first & 0x3f).map(|(_, status)| *status),
        // The name of line 24, and three digits.
        [0x5f, 9, 3, a, b, c, ..] => {
            let digits = [*a, *b, *c].map(|digit| u16::from(digit - b'0'));
            Some(digits[0] * 100 + digits[1] * 10 + digits[2])
        }
        _ => None,
    }
}
