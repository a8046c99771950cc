//! How control and nodes agree that a snapshot is the same at both ends.

use aws_lc_rs::digest::{Context, SHA256};

/// SHA-256 over encoded resources, each preceded by its length as 8 bytes big endian.
///
/// Resources must come in order of name, as snapshots hold them.
#[derive(Clone)]
pub struct Digest(Context);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest(..)")
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Digest {
    /// Takes the next resource in, as it is encoded on the wire.
    pub fn add(&mut self, encoded: &[u8]) {
        self.0.update(&(encoded.len() as u64).to_be_bytes());
        self.0.update(encoded);
    }

    /// The digest of all that was taken in.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(resources: &[&[u8]]) -> [u8; 32] {
        let mut digest = Digest::default();
        for encoded in resources {
            digest.add(encoded);
        }
        digest.finish()
    }

    #[test]
    fn digest_is_that_of_the_written_rule() {
        let mut expected = Context::new(&SHA256);
        expected.update(&[0, 0, 0, 0, 0, 0, 0, 3, 0x0a, 1, b'a']);
        assert_eq!(&digest(&[&[0x0a, 1, b'a']])[..], expected.finish().as_ref());
    }

    #[test]
    fn order_and_borders_matter() {
        let one = digest(&[b"a", b"b"]);
        assert_ne!(one, digest(&[b"b", b"a"]));
        assert_ne!(one, digest(&[b"ab"]));
        assert_ne!(digest(&[]), digest(&[b""]));
    }
}
