//! Field blocks: header or trailer fields as `varint length, name, varint length, value`, repeated.
//!
//! Order and duplicates are kept. Names are lower case and hop-by-hop fields are gone before a block is written.
//! Decoding copies no value: each is a slice of the block.

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::varint;

/// Fields in one block. Browsers send about 30; Apache's limit is 100.
pub const FIELDS_MAX: usize = 256;

/// Bytes of one block: no more than fits a head beside its other parts.
pub const FIELD_BYTES_MAX: usize = 60 * 1024;

/// What is wrong with a field block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// More fields than [`FIELDS_MAX`].
    #[error("more than {FIELDS_MAX} fields")]
    TooMany,
    /// More bytes than [`FIELD_BYTES_MAX`].
    #[error("more than {FIELD_BYTES_MAX} bytes of fields")]
    TooLong,
    /// The block ends inside a field.
    #[error("field block ends inside a field")]
    Truncated,
    /// A name is empty, not lower case, or no token.
    #[error("bad field name")]
    Name,
    /// A value holds a control character.
    #[error("bad field value")]
    Value,
}

/// Writes `fields` as one block.
///
/// # Errors
/// [`FieldError::TooMany`], [`FieldError::TooLong`] or [`FieldError::Name`].
pub fn encode(fields: &HeaderMap) -> Result<Bytes, FieldError> {
    let mut block = Block::with_capacity(bytes_of(fields));
    for (name, value) in fields {
        block.push(name, value.as_bytes())?;
    }
    Ok(block.finish())
}

/// How many bytes `fields` take as one block.
#[must_use]
pub fn bytes_of(fields: &HeaderMap) -> usize {
    let each = fields
        .iter()
        .map(|(name, value)| part_bytes(name.as_str().len()) + part_bytes(value.len()));
    each.sum()
}

/// A block that is written field by field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    bytes: Vec<u8>,
    fields: usize,
}

impl Block {
    /// An empty one with room for so many bytes, or for as many as there may be.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes.min(FIELD_BYTES_MAX)),
            fields: 0,
        }
    }

    /// Writes one field behind the others.
    ///
    /// # Errors
    /// As [`encode`]; the block is of no use then.
    pub fn push(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), FieldError> {
        let name_bytes = name.as_str().as_bytes();
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            return Err(FieldError::TooMany);
        }
        let bytes = part_bytes(name_bytes.len()) + part_bytes(value.len());
        if bytes > FIELD_BYTES_MAX - self.bytes.len() {
            return Err(FieldError::TooLong);
        }
        check_name(name)?;
        self.put(name_bytes)?;
        self.put(value)
    }

    /// Writes all fields of another behind the others.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn append(&mut self, other: &Self) -> Result<(), FieldError> {
        self.fields += other.fields;
        if self.fields > FIELDS_MAX {
            return Err(FieldError::TooMany);
        }
        if other.bytes.len() > FIELD_BYTES_MAX - self.bytes.len() {
            return Err(FieldError::TooLong);
        }
        self.bytes.extend_from_slice(&other.bytes);
        Ok(())
    }

    /// All that was written.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.bytes.into()
    }

    fn put(&mut self, part: &[u8]) -> Result<(), FieldError> {
        let length = u32::try_from(part.len()).map_err(|_| FieldError::TooLong)?;
        varint::encode(length, &mut self.bytes);
        self.bytes.extend_from_slice(part);
        Ok(())
    }
}

/// Reads one block.
///
/// # Errors
/// Every [`FieldError`]; hostile bytes never panic.
pub fn decode(block: Bytes) -> Result<HeaderMap, FieldError> {
    let mut fields = HeaderMap::with_capacity(count(&block));
    decode_behind(&mut fields, block)?;
    Ok(fields)
}

/// Reads one block and appends its fields to others.
///
/// # Errors
/// As [`decode`].
pub fn decode_behind(fields: &mut HeaderMap, mut block: Bytes) -> Result<(), FieldError> {
    if block.len() > FIELD_BYTES_MAX {
        return Err(FieldError::TooLong);
    }
    let fields_max = fields.len().saturating_add(FIELDS_MAX);
    while block.has_remaining() {
        if fields.len() == fields_max {
            return Err(FieldError::TooMany);
        }
        // Only what is kept becomes a slice with a count of its own.
        let (start, end) = part(&block)?;
        let name = HeaderName::from_lowercase(&block[start..end]);
        let name = name.map_err(|_| FieldError::Name)?;
        check_name(&name)?;
        block.advance(end);
        let (start, end) = part(&block)?;
        block.advance(start);
        let value = block.split_to(end - start);
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| FieldError::Value)?;
        fields
            .try_append(name, value)
            .map_err(|_| FieldError::TooMany)?;
    }
    Ok(())
}

/// `http` takes a quotation mark in names that it is given in lower case, as HTTP/2 has them. It is no token character
/// (RFC 9110, section 5.6.2), and an HTTP/1.1 server may read another field in it.
fn check_name(name: &HeaderName) -> Result<(), FieldError> {
    if name.as_str().as_bytes().contains(&b'"') {
        return Err(FieldError::Name);
    }
    Ok(())
}

/// Fields of a block, so that a map is made in its size; of a bad block those before it turns bad.
#[must_use]
pub fn count(mut block: &[u8]) -> usize {
    let mut parts = 0;
    while let Some((length, size)) = varint::decode(block) {
        let part = usize::try_from(length).ok();
        let end = part.and_then(|part| part.checked_add(size));
        let Some(rest) = end.and_then(|end| block.get(end..)) else {
            break;
        };
        block = rest;
        parts += 1;
    }
    (parts / 2).min(FIELDS_MAX)
}

fn part_bytes(length: usize) -> usize {
    varint::size(u32::try_from(length).unwrap_or(u32::MAX)).saturating_add(length)
}

/// Where the first part of a block begins, behind its length, and where it ends.
fn part(block: &[u8]) -> Result<(usize, usize), FieldError> {
    let (length, start) = varint::decode(block).ok_or(FieldError::Truncated)?;
    let length = usize::try_from(length).map_err(|_| FieldError::Truncated)?;
    match start.checked_add(length) {
        Some(end) if end <= block.len() => Ok((start, end)),
        Some(_) | None => Err(FieldError::Truncated),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in rows {
            fields.append(*name, HeaderValue::from_static(value));
        }
        fields
    }

    #[test]
    fn order_and_duplicates_are_kept() {
        let fields = fields(&[
            ("b", "1"),
            ("a", "2"),
            ("set-cookie", "x"),
            ("set-cookie", "y"),
        ]);
        let decoded = decode(encode(&fields).unwrap()).unwrap();
        assert_eq!(
            decoded.iter().collect::<Vec<_>>(),
            fields.iter().collect::<Vec<_>>()
        );
    }

    #[test]
    fn values_are_slices_of_the_block() {
        let block = Bytes::from_static(b"\x01a\x05value");
        let decoded = decode(block.clone()).unwrap();
        assert_eq!(decoded["a"].as_bytes().as_ptr(), block[3..].as_ptr());
    }

    #[test]
    fn bad_blocks_are_refused() {
        for (block, error) in [
            (&b"\x00\x00"[..], FieldError::Name),
            (b"\x01A\x00", FieldError::Name),
            (b"\x02a \x00", FieldError::Name),
            (b"\x01:\x00", FieldError::Name),
            (b"\x01\"\x00", FieldError::Name),
            (b"\x01a\x01\n", FieldError::Value),
            (b"\x01a\x01\0", FieldError::Value),
            (b"\x01a", FieldError::Truncated),
            (b"\x01a\x02x", FieldError::Truncated),
            (b"\x05a", FieldError::Truncated),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", FieldError::Truncated),
            (b"\x40", FieldError::Truncated),
        ] {
            assert_eq!(decode(Bytes::from_static(block)), Err(error), "{block:?}");
        }
    }

    #[test]
    fn a_name_that_is_no_token_is_not_written() {
        let mut fields = HeaderMap::new();
        let name = HeaderName::from_lowercase(b"a\"b").unwrap();
        fields.append(name, HeaderValue::from_static("1"));
        assert_eq!(encode(&fields), Err(FieldError::Name));
    }

    #[test]
    fn bounds_hold_in_both_directions() {
        let mut many = HeaderMap::new();
        for _ in 0..=FIELDS_MAX {
            many.append("a", HeaderValue::from_static(""));
        }
        assert_eq!(encode(&many), Err(FieldError::TooMany));
        let block = b"\x01a\x00".repeat(FIELDS_MAX);
        assert_eq!(decode(block.clone().into()).unwrap().len(), FIELDS_MAX);
        let block = [block, b"\x01a\x00".to_vec()].concat();
        assert_eq!(decode(block.into()), Err(FieldError::TooMany));

        let mut long = HeaderMap::new();
        long.append(
            "a",
            HeaderValue::from_bytes(&[b'x'; FIELD_BYTES_MAX]).unwrap(),
        );
        assert_eq!(encode(&long), Err(FieldError::TooLong));
        assert_eq!(
            decode(vec![0; FIELD_BYTES_MAX + 1].into()),
            Err(FieldError::TooLong)
        );
    }

    #[test]
    fn blocks_are_joined_within_the_bounds() {
        let block = |name: &'static str, value: &[u8]| {
            let mut block = Block::default();
            let name = HeaderName::from_static(name);
            block.push(&name, value).unwrap();
            block
        };
        let mut joined = block("a", b"1");
        joined.append(&block("b", b"2")).unwrap();
        let fields = fields(&[("a", "1"), ("b", "2")]);
        assert_eq!(decode(joined.finish()).unwrap(), fields);
        let mut long = block("a", &[b'x'; FIELD_BYTES_MAX - 8]);
        assert_eq!(long.append(&block("b", b"long")), Err(FieldError::TooLong));
        let mut many = Block::default();
        for _ in 0..FIELDS_MAX {
            many.append(&block("a", b"")).unwrap();
        }
        assert_eq!(many.append(&block("a", b"")), Err(FieldError::TooMany));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(rows in proptest::collection::vec(("[a-z0-9-]{1,40}", "[ -~]{0,80}"), 0..60)) {
            let mut fields = HeaderMap::new();
            for (name, value) in rows {
                fields.append(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_bytes(value.as_bytes()).unwrap(),
                );
            }
            prop_assert_eq!(decode(encode(&fields).unwrap()).unwrap(), fields);
        }

        #[test]
        fn any_bytes_decode_or_fail(block: Vec<u8>) {
            if let Ok(fields) = decode(block.into()) {
                prop_assert!(fields.len() <= FIELDS_MAX);
                prop_assert_eq!(decode(encode(&fields).unwrap()).unwrap(), fields);
            }
        }
    }
}
