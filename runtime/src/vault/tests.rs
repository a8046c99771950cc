use super::*;

fn name(text: &str) -> CredentialName {
    text.parse().unwrap()
}

fn pair() -> KeyPair {
    KeyPair::generate("office".parse().unwrap()).unwrap()
}

fn ring(pairs: &[&KeyPair]) -> Result<Keyring, KeyFileError> {
    let lines: Vec<_> = pairs.iter().map(|pair| pair.written()).collect();
    let lines: Vec<_> = lines.iter().map(|line| line.as_str()).collect();
    Keyring::parse(&lines.concat())
}

const ALICE: &str = "credentials/wiki/local/alice";

fn secret() -> Credential {
    Credential::new("alice".to_owned(), "hunter2 \u{fc}".to_owned())
}

#[test]
fn what_is_sealed_opens_with_its_key_for_its_name_and_nothing_else() {
    let (one, other) = (pair(), pair());
    let ring = ring(&[&other, &one]).unwrap();
    let (id, alice) = (one.public().id(), name(ALICE));
    let sealed = one.public().seal(&alice, &secret()).unwrap();
    assert!(ring.open(&alice, id, &sealed) == Ok(secret()));
    assert_ne!(one.public().seal(&alice, &secret()).unwrap(), sealed);
    for (wanted, key, error) in [
        ("credentials/wiki/local/bob", id, OpenError::Sealed),
        ("credentials/wiki/entra/alice", id, OpenError::Sealed),
        ("credentials/mail/local/alice", id, OpenError::Sealed),
        ("credentials/wiki/shared", id, OpenError::Sealed),
        (ALICE, other.public().id(), OpenError::Sealed),
        (ALICE, pair().public().id(), OpenError::Key),
    ] {
        assert!(
            ring.open(&name(wanted), key, &sealed) == Err(error),
            "{wanted}"
        );
    }
    for at in 0..sealed.len() {
        let mut bad = sealed.clone();
        bad[at] ^= 1;
        assert!(
            ring.open(&alice, id, &bad) == Err(OpenError::Sealed),
            "{at}"
        );
    }
    for length in [0, 1, POINT_BYTES, sealed.len() - 1] {
        let cut = ring.open(&alice, id, &sealed[..length]);
        assert!(cut == Err(OpenError::Sealed), "{length}");
    }
}

#[test]
fn the_length_of_a_password_does_not_show() {
    let pair = pair();
    let length = |password: usize| {
        let secret = Credential::new("alice".to_owned(), "x".repeat(password));
        pair.public().seal(&name(ALICE), &secret).unwrap().len()
    };
    assert_eq!(length(1), SEALED_BYTES_MIN);
    assert_eq!(length(1), length(200));
    let user = "u".repeat(USER_NAME_BYTES_MAX);
    let longest = Credential::new(user, "x".repeat(PASSWORD_BYTES_MAX));
    let sealed = pair.public().seal(&name(ALICE), &longest).unwrap();
    assert_eq!(sealed.len(), SEALED_BYTES_MAX);
}

#[test]
fn what_is_no_credential_is_not_sealed() {
    let pair = pair();
    let long = |bytes: usize| "x".repeat(bytes + 1);
    for (user, password, error) in [
        (String::new(), "x".to_owned(), SealError::User),
        ("x".to_owned(), String::new(), SealError::Password),
        (long(USER_NAME_BYTES_MAX), "x".to_owned(), SealError::User),
        (
            "x".to_owned(),
            long(PASSWORD_BYTES_MAX),
            SealError::Password,
        ),
    ] {
        let credential = Credential::new(user, password);
        let sealed = pair.public().seal(&name(ALICE), &credential);
        assert_eq!(sealed, Err(error));
    }
    for bad in [&[][..], &[0; POINT_BYTES], &[4; POINT_BYTES], &[4; 64]] {
        assert!(PublicKey::of_point(bad).is_err());
    }
}

#[test]
fn a_file_of_keys_is_read_as_it_is_written_or_not_at_all() {
    let (one, other) = (pair(), pair());
    let both = ring(&[&one, &other]).unwrap();
    let ids: Vec<_> = both.ids().collect();
    assert_eq!(ids, [one.public().id(), other.public().id()]);
    let foreign = KeyPair::generate("lab".parse().unwrap()).unwrap();
    assert!(matches!(ring(&[&one, &foreign]), Err(KeyFileError::Groups)));
    assert!(matches!(ring(&[]), Err(KeyFileError::Empty)));
    let many = [&one; GROUP_KEYS_MAX + 1];
    assert!(matches!(ring(&many), Err(KeyFileError::TooMany)));
    let written = one.written();
    let line = written.lines().nth(1).unwrap();
    let words: Vec<_> = line.split(' ').collect();
    let strange = other.written();
    let private = strange
        .lines()
        .nth(1)
        .unwrap()
        .split(' ')
        .next_back()
        .unwrap();
    for bad in [
        "adit-vault-key-1 office".to_owned(),
        line.replace("key-1", "key-2"),
        line.replace("office", "Office"),
        format!("{line} more"),
        [words[0], words[1], words[2], private].join(" "),
    ] {
        assert!(matches!(Keyring::parse(&bad), Err(KeyFileError::Line(1))));
    }
}

#[test]
fn nothing_secret_is_printed() {
    let pair = pair();
    let ring = ring(&[&pair]).unwrap();
    let printed = format!("{pair:?} {ring:?} {:?}", secret());
    assert!(!printed.contains("hunter2"), "{printed}");
    let written = pair.written();
    let private = written.trim_end().split(' ').next_back().unwrap();
    assert!(!printed.contains(private), "{printed}");
}

/// RFC 9180, appendix A.3.1: what a browser's own code is tested with as well.
#[test]
fn the_suite_is_that_of_the_rfc() {
    let hex = |text: &str| data(text);
    let private = hex("f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2");
    let enc = hex(
        "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4",
    );
    let info = hex("4f6465206f6e2061204772656369616e2055726e");
    let sealed = hex(
        "5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434",
    );
    let opened = SUITE.open(
        &EncapsulatedSecret(enc),
        &info,
        &hex("436f756e742d30"),
        &sealed,
        &HpkePrivateKey::from(private),
    );
    assert_eq!(opened.unwrap(), b"Beauty is truth, truth beauty");
}

fn data(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}
