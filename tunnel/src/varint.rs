//! QUIC's variable-length integers (RFC 9000, section 16).

use bytes::BufMut;

/// The longest encoding.
pub const SIZE_MAX: usize = 8;

/// Reads one integer from the front of `bytes`, with the number of bytes it took; `None` when more bytes are needed.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    if first < 0x40 {
        // Nearly all of them.
        return Some((first.into(), 1));
    }
    let size = 1_usize << (first >> 6);
    let rest = bytes.get(1..size)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, byte| {
        value << 8 | u64::from(*byte)
    });
    Some((value, size))
}

/// Writes `value` in its shortest form. Nothing in this protocol writes a number above 32 bits.
pub fn encode(value: u32, out: &mut impl BufMut) {
    match value {
        0..0x40 => out.put_u8(value.to_be_bytes()[3]),
        0x40..0x4000 => out.put_slice(&(value | 1 << 14).to_be_bytes()[2..]),
        0x4000..0x4000_0000 => out.put_u32(value | 1 << 31),
        0x4000_0000.. => out.put_u64(u64::from(value) | 3 << 62),
    }
}

/// How many bytes [`encode`] writes for `value`.
#[must_use]
pub const fn size(value: u32) -> usize {
    match value {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..0x4000_0000 => 4,
        0x4000_0000.. => 8,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // RFC 9000, appendix A.1.
    const SAMPLES: [(&[u8], u64); 5] = [
        (
            &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
            151_288_809_941_952_652,
        ),
        (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
        (&[0x7b, 0xbd], 15_293),
        (&[0x25], 37),
        (&[0x40, 0x25], 37),
    ];

    #[test]
    fn samples_of_the_rfc_decode() {
        for (bytes, value) in SAMPLES {
            assert_eq!(decode(bytes), Some((value, bytes.len())));
            assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn samples_of_the_rfc_encode() {
        for (bytes, value) in &SAMPLES[1..4] {
            let mut out = Vec::new();
            encode(u32::try_from(*value).unwrap(), &mut out);
            assert_eq!(&out, bytes);
        }
    }

    #[test]
    fn sizes_change_at_their_borders() {
        for (value, expected) in [
            (0, 1),
            (63, 1),
            (64, 2),
            (16_383, 2),
            (16_384, 4),
            (0x3fff_ffff, 4),
            (0x4000_0000, 8),
            (u32::MAX, 8),
        ] {
            let mut out = Vec::new();
            encode(value, &mut out);
            assert_eq!((out.len(), size(value)), (expected, expected));
            assert_eq!(decode(&out), Some((u64::from(value), expected)));
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(value: u32, tail: Vec<u8>) {
            let mut out = Vec::new();
            encode(value, &mut out);
            let size = out.len();
            out.extend(tail);
            prop_assert_eq!(decode(&out), Some((u64::from(value), size)));
        }

        #[test]
        fn any_bytes_decode_or_want_more(bytes: Vec<u8>) {
            if let Some((value, size)) = decode(&bytes) {
                prop_assert!(value < 1 << 62);
                prop_assert!(size <= bytes.len().min(SIZE_MAX));
            } else {
                prop_assert!(bytes.len() < SIZE_MAX);
            }
        }
    }
}
