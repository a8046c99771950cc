//! Bytes as two digits each, as keys of the store have them.

use std::fmt::Write as _;

/// Writes bytes, in lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Reads so many bytes; `None`: there are more, or fewer, or it is something else.
pub(crate) fn read<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_whole = text.len() == 2 * N && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    is_whole.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        assert_eq!(hex(&[0x0a, 0xff]), "0aff");
        assert_eq!(read("0aff"), Some([0x0a, 0xff]));
        for other in ["", "0aff0", "0aff00", "0a", "+aff", "0ag0", "äaf"] {
            assert_eq!(read::<2>(other), None, "{other}");
        }
    }
}
