//! As much of DER as is needed here: elements with a tag of one byte and a length that is said, without copies or recursion.
//!
//! Lengths may be longer than they need to be, as some servers write them; nothing here is signed over its encoding.

use thiserror::Error;

pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const SEQUENCE: u8 = 0x30;
/// `[APPLICATION 0]`, constructed.
pub(crate) const APPLICATION: u8 = 0x60;

/// `[n]`, constructed: explicit tags are all of this kind.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// Bytes that are not DER, or not what was expected of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not the expected DER")]
pub(crate) struct NotDer;

/// Elements, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next one, whichever: tag and content.
    pub(crate) fn any(&mut self) -> Result<(u8, &'a [u8]), NotDer> {
        let (&[tag, first], rest) = self.0.split_first_chunk().ok_or(NotDer)?;
        // Longer tags are not used by anything that is read here.
        if tag & 0x1f == 0x1f {
            return Err(NotDer);
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest
                    .split_at_checked(usize::from(first & 0x7f))
                    .ok_or(NotDer)?;
                let length = bytes
                    .iter()
                    .fold(0_u32, |length, byte| length << 8 | u32::from(*byte));
                (usize::try_from(length).map_err(|_| NotDer)?, rest)
            }
            // Without an end that is said, or longer than anything here.
            0x80 | 0x85..=0xff => return Err(NotDer),
        };
        let (content, rest) = rest.split_at_checked(length).ok_or(NotDer)?;
        self.0 = rest;
        Ok((tag, content))
    }

    /// The next one, which must have this tag.
    pub(crate) fn one(&mut self, tag: u8) -> Result<&'a [u8], NotDer> {
        self.optional(tag)?.ok_or(NotDer)
    }

    /// The next one, if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, NotDer> {
        if self.0.first() != Some(&tag) {
            return Ok(None);
        }
        self.any().map(|(_, content)| Some(content))
    }
}

/// What is in the only element of `bytes`, which must have this tag.
pub(crate) fn only(bytes: &[u8], tag: u8) -> Result<&[u8], NotDer> {
    let mut elements = Elements::of(bytes);
    let content = elements.one(tag)?;
    if elements.is_empty() {
        Ok(content)
    } else {
        Err(NotDer)
    }
}

/// An element that holds `contents`.
pub(crate) fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|content| content.len()).sum();
    let mut bytes = Vec::with_capacity(length + 6);
    bytes.push(tag);
    let big_endian = length.to_be_bytes();
    let needed = &big_endian[big_endian.iter().take_while(|byte| **byte == 0).count()..];
    match needed {
        [] => bytes.push(0),
        [short @ 0..=0x7f] => bytes.push(*short),
        long => {
            bytes.push(0x80 | u8::try_from(long.len()).expect("at most eight bytes"));
            bytes.extend_from_slice(long);
        }
    }
    for content in contents {
        bytes.extend_from_slice(content);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        for (length, head) in [
            (0, &[4, 0][..]),
            (127, &[4, 127]),
            (128, &[4, 0x81, 128]),
            (255, &[4, 0x81, 255]),
            (256, &[4, 0x82, 1, 0]),
            (70_000, &[4, 0x83, 1, 0x11, 0x70]),
        ] {
            let content = vec![7; length];
            let written = element(OCTET_STRING, &[&content]);
            assert!(written.starts_with(head), "{length}");
            assert_eq!(only(&written, OCTET_STRING), Ok(&content[..]));
        }
    }

    #[test]
    fn what_is_not_whole_is_nothing() {
        for bytes in [
            &[][..],
            &[4],
            &[4, 1],
            &[4, 0x80, 0, 0],
            &[4, 0x81],
            &[4, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[4, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[4, 0xff],
            &[0x1f, 0],
            &[4, 0, 0],
            &[5, 0],
        ] {
            assert_eq!(only(bytes, OCTET_STRING), Err(NotDer), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn elements_that_are_written_are_read(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5)) {
            let written: Vec<u8> = contents.iter().flat_map(|it| element(OCTET_STRING, &[it])).collect();
            let mut elements = Elements::of(&written);
            for content in &contents {
                prop_assert_eq!(elements.one(OCTET_STRING), Ok(&content[..]));
            }
            prop_assert!(elements.is_empty());
        }
    }
}
