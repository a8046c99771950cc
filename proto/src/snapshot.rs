//! How control and nodes agree that a snapshot is the same at both ends.

use aws_lc_rs::digest;
use prost::Message as _;

use crate::fabric::Resource;

/// SHA-256 over each resource's encoding, each preceded by its length as 8 bytes big endian.
///
/// Resources must come in order of name, as snapshots hold them.
pub fn digest<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for resource in resources {
        let encoded = resource.encode_to_vec();
        context.update(&(encoded.len() as u64).to_be_bytes());
        context.update(&encoded);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Resource {
        Resource {
            name: name.to_owned(),
            kind: None,
        }
    }

    #[test]
    fn digest_is_that_of_the_written_rule() {
        // Field 1, length-delimited, one byte: 0a 01 61 for the name "a".
        let mut expected = digest::Context::new(&digest::SHA256);
        expected.update(&[0, 0, 0, 0, 0, 0, 0, 3, 0x0a, 1, b'a']);
        assert_eq!(&digest(&[named("a")])[..], expected.finish().as_ref());
    }

    #[test]
    fn order_and_borders_matter() {
        let one = digest(&[named("a"), named("b")]);
        assert_ne!(one, digest(&[named("b"), named("a")]));
        assert_ne!(one, digest(&[named("ab")]));
        assert_ne!(digest(&[]), digest(&[named("")]));
    }
}
