//! Recovery codes: for whoever has lost the authenticator app, each once.
//!
//! Each is of 80 random bits, far beyond what could be guessed, so a hash that takes no time does; it is keyed by what is not in the store.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use model::name::UserId;
use rand::seq::IndexedRandom as _;
use runtime::Secret;

use super::key::SecondFactorKey;

/// Codes that a user has at the most.
pub(crate) const CODES: usize = 10;
/// As in passwords that control makes: 32 that are not taken for one another, five bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const GROUPS: usize = 4;
const GROUP_CHARS: usize = 4;

/// Ten new ones, `abcd-efgh-jkmn-pqrs`.
pub(crate) fn generate() -> Vec<Secret<String>> {
    let mut random = rand::rng();
    let mut group = || -> String {
        let chars = (0..GROUP_CHARS).map(|_| {
            let char = ALPHABET.choose(&mut random).copied();
            char::from(char.expect("the alphabet has letters"))
        });
        chars.collect()
    };
    (0..CODES)
        .map(|_| {
            let groups: Vec<_> = (0..GROUPS).map(|_| group()).collect();
            Secret::new(groups.join("-"))
        })
        .collect()
}

/// What is kept of a code.
pub(crate) fn kept(key: &SecondFactorKey, user: &UserId, code: &str) -> Bytes {
    Bytes::copy_from_slice(&key.recovery_tag(user, &plain(code)))
}

/// Takes the code that was typed out of those that are left; false: it is none of them.
pub(crate) fn take(
    key: &SecondFactorKey,
    user: &UserId,
    typed: &str,
    left: &mut Vec<Bytes>,
) -> bool {
    let tag = key.recovery_tag(user, &plain(typed));
    let before = left.len();
    left.retain(|kept| verify_slices_are_equal(kept, &tag).is_err());
    left.len() < before
}

/// Without what people add or leave out as they type.
fn plain(code: &str) -> String {
    code.chars()
        .filter(char::is_ascii_alphanumeric)
        .take(GROUPS * GROUP_CHARS + 1)
        .map(|char| char.to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_code_is_good_once_however_it_is_typed_and_for_one_user() {
        let directory = tempfile::tempdir().unwrap();
        let key = SecondFactorKey::load_or_create(directory.path()).unwrap();
        let (alice, bob): (UserId, UserId) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let codes = generate();
        let mut left: Vec<_> = codes
            .iter()
            .map(|code| kept(&key, &alice, code.expose()))
            .collect();
        let first = codes[0].expose();
        assert!(!take(&key, &bob, first, &mut left));
        assert!(!take(&key, &alice, &format!("{first}a"), &mut left));
        assert!(!take(&key, &alice, "", &mut left));
        let typed = format!(" {} ", first.to_uppercase().replace('-', " "));
        assert!(take(&key, &alice, &typed, &mut left));
        assert!(!take(&key, &alice, first, &mut left));
        assert_eq!(left.len(), CODES - 1);
        assert!(take(
            &key,
            &alice,
            &codes[9].expose().replace('-', ""),
            &mut left
        ));
    }

    #[test]
    fn codes_differ_and_have_80_bits() {
        let made: BTreeSet<_> = (0..20)
            .flat_map(|_| generate())
            .map(Secret::into_exposed)
            .collect();
        assert_eq!(made.len(), 20 * CODES);
        let distinct: BTreeSet<_> = ALPHABET.iter().collect();
        assert_eq!(distinct.len(), ALPHABET.len());
        for code in made {
            assert_eq!(plain(&code).len() * 5, 80);
        }
    }
}
