//! Frames (RFC 9114, section 7): their kinds, and their headers on the wire.

use bytes::{BufMut as _, Bytes, BytesMut};
use tunnel::varint;

/// What a frame is, as far as a server must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes of a body.
    Data,
    /// A field section.
    Headers,
    /// Settings of the connection.
    Settings,
    /// No more requests follow, or are taken.
    GoAway,
    /// About pushes, which are never made: CANCEL_PUSH, MAX_PUSH_ID.
    Push,
    /// Never sent by a client: PUSH_PROMISE, and what HTTP/2 had.
    Forbidden,
    /// To be passed over.
    Unknown,
}

impl Kind {
    const fn from_wire(kind: u64) -> Self {
        match kind {
            0x00 => Self::Data,
            0x01 => Self::Headers,
            0x04 => Self::Settings,
            0x07 => Self::GoAway,
            0x03 | 0x0d => Self::Push,
            0x02 | 0x05 | 0x06 | 0x08 | 0x09 => Self::Forbidden,
            _ => Self::Unknown,
        }
    }

    /// Of those that are sent.
    const fn to_wire(self) -> u32 {
        match self {
            Self::Headers => 0x01,
            Self::Settings => 0x04,
            Self::GoAway => 0x07,
            Self::Data | Self::Push | Self::Forbidden | Self::Unknown => 0x00,
        }
    }
}

/// What stands before a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Bytes of the payload.
    pub(super) length: u64,
    /// Bytes of the header itself.
    pub(super) bytes: usize,
}

/// Reads a header; none when more bytes are needed, at most 16.
pub(super) fn read_header(bytes: &[u8]) -> Option<Header> {
    let (kind, kind_bytes) = varint::decode(bytes)?;
    let (length, length_bytes) = varint::decode(&bytes[kind_bytes..])?;
    Some(Header {
        kind: Kind::from_wire(kind),
        length,
        bytes: kind_bytes + length_bytes,
    })
}

/// The header of a frame with so many bytes of payload.
pub(super) fn header(kind: Kind, payload_bytes: usize) -> Bytes {
    let mut out = BytesMut::with_capacity(2 * varint::SIZE_MAX);
    varint::encode(kind.to_wire(), &mut out);
    // Payloads are cut to pieces far below 4 GiB before they come here.
    varint::encode(u32::try_from(payload_bytes).unwrap_or(u32::MAX), &mut out);
    out.freeze()
}

/// Stream kinds of RFC 9114, section 6.2, and RFC 9204, section 4.2.
pub(super) const CONTROL_STREAM: u64 = 0x00;
/// Only servers push.
pub(super) const PUSH_STREAM: u64 = 0x01;
/// Instructions for a dynamic table.
pub(super) const ENCODER_STREAM: u64 = 0x02;
/// Answers to such instructions.
pub(super) const DECODER_STREAM: u64 = 0x03;

/// Setting: bytes of a field section that are taken.
const MAX_FIELD_SECTION_SIZE: u32 = 0x06;
/// Setting: CONNECT may name a protocol (RFC 9220).
const ENABLE_CONNECT_PROTOCOL: u32 = 0x08;

/// Settings as HTTP/2 had them, which must not come (RFC 9114, section 7.2.4.1).
const FORBIDDEN_SETTINGS: [u64; 4] = [0x02, 0x03, 0x04, 0x05];

/// The beginning of the edge's control stream.
pub(super) fn settings(section_bytes_max: u32) -> Bytes {
    let mut payload = BytesMut::new();
    for (setting, value) in [
        (MAX_FIELD_SECTION_SIZE, section_bytes_max),
        (ENABLE_CONNECT_PROTOCOL, 1),
    ] {
        varint::encode(setting, &mut payload);
        varint::encode(value, &mut payload);
    }
    let mut out = BytesMut::new();
    out.put_u8(0x00); // the kind of the stream
    out.put(header(Kind::Settings, payload.len()));
    out.put(payload);
    out.freeze()
}

/// A GOAWAY that names the first request which is not taken.
pub(super) fn go_away(stream: u64) -> Bytes {
    let mut out = BytesMut::from(&header(Kind::GoAway, varint::SIZE_MAX)[..]);
    // The longest form holds every stream there can be.
    out.put_u64(stream | 3 << 62);
    out.freeze()
}

/// Whether a user's settings make sense: whole pairs, none twice, none of HTTP/2.
pub(super) fn are_settings(payload: &[u8]) -> bool {
    let mut rest = payload;
    let mut seen = Vec::new();
    while !rest.is_empty() {
        let Some((setting, setting_bytes)) = varint::decode(rest) else {
            return false;
        };
        let Some((_, value_bytes)) = varint::decode(&rest[setting_bytes..]) else {
            return false;
        };
        if FORBIDDEN_SETTINGS.contains(&setting) || seen.contains(&setting) {
            return false;
        }
        seen.push(setting);
        rest = &rest[setting_bytes + value_bytes..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_once_they_are_whole() {
        let bytes = [0x01, 0x40, 0x64, 9];
        assert_eq!(read_header(&bytes[..1]), None);
        assert_eq!(read_header(&bytes[..2]), None);
        let header = Header {
            kind: Kind::Headers,
            length: 100,
            bytes: 3,
        };
        assert_eq!(read_header(&bytes), Some(header));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for kind in [Kind::Data, Kind::Headers, Kind::GoAway] {
            let read = read_header(&header(kind, 70_000)).unwrap();
            assert_eq!((read.kind, read.length), (kind, 70_000));
        }
        let written = go_away(400);
        assert_eq!(written[..2], [0x07, 8]);
        assert_eq!(varint::decode(&written[2..]), Some((400, 8)));
        let written = settings(65_536);
        assert_eq!(written[..2], [0x00, 0x04]);
        assert!(are_settings(&written[3..]));
    }

    #[test]
    fn settings_that_contradict_themselves_are_refused() {
        for (payload, good) in [
            (&b""[..], true),
            (b"\x06\x40\x64\x21\x00", true),
            (b"\x06\x01\x06\x02", false),
            (b"\x02\x00", false),
            (b"\x06", false),
            (b"\x06\x40", false),
        ] {
            assert_eq!(are_settings(payload), good, "{payload:?}");
        }
    }
}
