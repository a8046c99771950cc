//! Field sections (RFC 9204) without the dynamic table: neither side may use one, so each section stands for itself.

mod huffman;
mod table;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use table::STATIC;

/// What RFC 9114, section 4.2.2 adds to the bytes of each field.
const FIELD_OVERHEAD_BYTES: usize = 32;

/// Bits of an integer beyond its prefix: no length or index here needs more.
const INTEGER_BITS_MAX: u32 = 28;

/// One field as it came, nothing about it checked.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: Bytes,
    pub(super) value: Bytes,
}

/// Why a section cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SectionError {
    /// It is no section, or refers to a dynamic table: an error of the whole connection.
    #[error("field section cannot be decoded")]
    Broken,
    /// It holds more fields or bytes than are taken.
    #[error("field section is too large")]
    TooLarge,
}

/// Bounds of one section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes, counted as RFC 9114, section 4.2.2 does.
    pub(super) bytes: usize,
    /// Lines.
    pub(super) lines: usize,
}

/// Reads a whole section.
pub(super) fn decode(section: Bytes, bounds: Bounds) -> Result<Vec<Line>, SectionError> {
    let mut rest = Rest(section);
    rest.prefix()?;
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while rest.0.has_remaining() {
        let line = rest.line()?;
        bytes += line.name.len() + line.value.len() + FIELD_OVERHEAD_BYTES;
        if bytes > bounds.bytes || lines.len() == bounds.lines {
            return Err(SectionError::TooLarge);
        }
        lines.push(line);
    }
    Ok(lines)
}

/// What is left of a section.
struct Rest(Bytes);

impl Rest {
    /// With no dynamic table the prefix says nothing; a count above zero asks for one.
    fn prefix(&mut self) -> Result<(), SectionError> {
        let count = self.byte()?;
        let base = self.byte()?;
        self.integer(base, 7)?;
        if count == 0 {
            Ok(())
        } else {
            Err(SectionError::Broken)
        }
    }

    /// RFC 9204, section 4.5.
    fn line(&mut self) -> Result<Line, SectionError> {
        let first = self.byte()?;
        if first & 0xc0 == 0xc0 {
            let (name, value) = fixed(self.integer(first, 6)?)?;
            return Ok(Line {
                name: Bytes::from_static(name.as_bytes()),
                value: Bytes::from_static(value.as_bytes()),
            });
        }
        let name = if first & 0xd0 == 0x50 {
            let (name, _) = fixed(self.integer(first, 4)?)?;
            Bytes::from_static(name.as_bytes())
        } else if first & 0xe0 == 0x20 {
            self.string(first, 3)?
        } else {
            return Err(SectionError::Broken);
        };
        let first = self.byte()?;
        let value = self.string(first, 7)?;
        Ok(Line { name, value })
    }

    /// A string whose length has a prefix of `bits` in `first`, with the bit above it for Huffman.
    fn string(&mut self, first: u8, bits: u32) -> Result<Bytes, SectionError> {
        let length = self.integer(first, bits)?;
        if length > self.0.len() {
            return Err(SectionError::Broken);
        }
        let text = self.0.split_to(length);
        if first & (1 << bits) == 0 {
            return Ok(text);
        }
        huffman::decode(&text)
            .map(Bytes::from)
            .map_err(|_| SectionError::Broken)
    }

    /// RFC 7541, section 5.1.
    fn integer(&mut self, first: u8, bits: u32) -> Result<usize, SectionError> {
        let prefix_max = (1_usize << bits) - 1;
        let mut value = usize::from(first) & prefix_max;
        if value < prefix_max {
            return Ok(value);
        }
        for shift in (0..INTEGER_BITS_MAX).step_by(7) {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(SectionError::Broken)
    }

    fn byte(&mut self) -> Result<u8, SectionError> {
        self.0.try_get_u8().map_err(|_| SectionError::Broken)
    }
}

fn fixed(index: usize) -> Result<(&'static str, &'static str), SectionError> {
    STATIC.get(index).copied().ok_or(SectionError::Broken)
}

/// Writes a section, line by line.
#[derive(Debug)]
pub(super) struct Section(BytesMut);

impl Section {
    /// Of no line yet.
    pub(super) fn new() -> Self {
        // Required insert count and base: none.
        Self(BytesMut::from(&[0, 0][..]))
    }

    /// Adds a line.
    pub(super) fn add(&mut self, name: &str, value: &[u8]) {
        let mut named = None;
        for (index, (fixed_name, fixed_value)) in STATIC.iter().enumerate() {
            if *fixed_name != name {
                continue;
            }
            if fixed_value.as_bytes() == value {
                return self.integer(0xc0, 6, index);
            }
            named.get_or_insert(index);
        }
        match named {
            Some(index) => self.integer(0x50, 4, index),
            None => {
                self.integer(0x20, 3, name.len());
                self.0.put_slice(name.as_bytes());
            }
        }
        self.integer(0, 7, value.len());
        self.0.put_slice(value);
    }

    /// The section.
    pub(super) fn finish(self) -> Bytes {
        self.0.freeze()
    }

    #[expect(clippy::cast_possible_truncation, reason = "masked to seven bits")]
    fn integer(&mut self, flags: u8, bits: u32, value: usize) {
        let prefix_max = (1_usize << bits) - 1;
        if value < prefix_max {
            return self.0.put_u8(flags | value as u8);
        }
        self.0.put_u8(flags | prefix_max as u8);
        let mut rest = value - prefix_max;
        while rest >= 0x80 {
            self.0.put_u8((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.0.put_u8(rest as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        bytes: 4_096,
        lines: 8,
    };

    fn check(section: &[u8]) -> Result<Vec<(String, String)>, SectionError> {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let lines = decode(Bytes::copy_from_slice(section), BOUNDS)?;
        Ok(lines
            .iter()
            .map(|line| (text(&line.name), text(&line.value)))
            .collect())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let long = "v".repeat(300);
        let fields = [
            (":status", "200"),
            (":status", "418"),
            ("content-type", "text/html"),
            ("x-frame-options", "sameorigin"),
            ("x-invented-here", "yes"),
            ("etag", &long),
        ];
        let mut section = Section::new();
        for (name, value) in fields {
            section.add(name, value.as_bytes());
        }
        let read = check(&section.finish()).unwrap();
        let want = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read, want);
    }

    #[test]
    fn the_sample_of_the_rfc_is_read() {
        // RFC 9204, appendix B.1.
        let section = b"\x00\x00\x51\x0b/index.html";
        let want = (":path".to_owned(), "/index.html".to_owned());
        assert_eq!(check(section), Ok(vec![want]));
    }

    #[test]
    fn huffman_is_read_in_names_and_values() {
        // custom-key: custom-value
        let mut section = vec![0, 0, 0x28 | 7, 1];
        section.extend([0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f]);
        section.push(0x80 | 9);
        section.extend([0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf]);
        let want = ("custom-key".to_owned(), "custom-value".to_owned());
        assert_eq!(check(&section), Ok(vec![want]));
    }

    #[test]
    fn broken_sections_are_refused() {
        for section in [
            &b""[..],
            b"\x00",
            // Dynamic table: a count, an index, a name, both kinds of post-base.
            b"\x02\x00\x80",
            b"\x00\x00\x80",
            b"\x00\x00\x40\x00",
            b"\x00\x00\x10",
            b"\x00\x00\x00\x00",
            // Static index 99, and one beyond any bound.
            b"\x00\x00\xff\x24",
            b"\x00\x00\xff\xff\xff\xff\xff\xff\x00",
            // Strings longer than the section.
            b"\x00\x00\x51\x0b/in",
            b"\x00\x00\x27\xff\xff\xff\x7f",
            b"\x00\x00\x51",
        ] {
            assert_eq!(check(section), Err(SectionError::Broken), "{section:?}");
        }
    }

    #[test]
    fn lines_and_bytes_have_bounds() {
        let mut section = Section::new();
        for _ in 0..BOUNDS.lines {
            section.add("a", b"");
        }
        assert!(check(&section.0).is_ok());
        section.add("a", b"");
        assert_eq!(check(&section.0), Err(SectionError::TooLarge));
        let mut section = Section::new();
        section.add("a", &vec![b'x'; BOUNDS.bytes - FIELD_OVERHEAD_BYTES]);
        assert_eq!(check(&section.0), Err(SectionError::TooLarge));
    }
}
