//! SHA-256: how something is known that is not kept, or told apart from what it was before.

use std::fmt::Write as _;

use aws_lc_rs::digest::{Context, SHA256, digest};

/// A digest.
pub(crate) type Sha256 = [u8; 32];

/// The digest of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    sized(digest(&SHA256, bytes))
}

/// The digest of a list of texts; each goes in with its length, so that no two lists are digested alike.
pub(crate) struct Texts(Context);

impl Texts {
    /// Of no text yet.
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// The next text.
    pub(crate) fn add(&mut self, text: &str) {
        self.0.update(&(text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
    }

    /// A list within the list.
    pub(crate) fn add_all<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str>) {
        self.add(&texts.len().to_string());
        texts.for_each(|text| self.add(text));
    }

    /// The digest of them all.
    pub(crate) fn finish(self) -> Sha256 {
        sized(self.0.finish())
    }
}

/// Bytes as two digits each, in lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

fn sized(digest: aws_lc_rs::digest::Digest) -> Sha256 {
    let mut sized = Sha256::default();
    sized.copy_from_slice(digest.as_ref());
    sized
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first example of FIPS 180-2, appendix B.
    #[test]
    fn a_digest_is_as_the_standard_has_it() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&sha256(b"abc")), known);
    }

    #[test]
    fn no_two_lists_have_one_digest() {
        let of = |lists: &[&[&str]]| {
            let mut texts = Texts::new();
            for list in lists {
                texts.add_all(list.iter().copied());
            }
            texts.finish()
        };
        let one = of(&[&["a", "b"], &["c"]]);
        assert_eq!(one, of(&[&["a", "b"], &["c"]]));
        for other in [
            of(&[&["a"], &["b", "c"]]),
            of(&[&["ab"], &["c"]]),
            of(&[&["a", "b", "c"]]),
            of(&[&["a", "b"], &["c"], &[]]),
        ] {
            assert_ne!(one, other);
        }
    }
}
