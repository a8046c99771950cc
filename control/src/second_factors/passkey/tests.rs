//! An authenticator of the tests' own, and what is wrong with what others say.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};

use super::*;

pub(crate) const HOST: &str = "auth.example.test";
pub(crate) const ORIGIN: &str = "https://auth.example.test:8443";

/// Has one key.
pub(crate) struct Authenticator {
    key: EcdsaKeyPair,
    pub(crate) sign_count: u32,
    pub(crate) flags: u8,
    pub(crate) origin: String,
    pub(crate) cross_origin: bool,
    pub(crate) host: String,
}

impl Authenticator {
    pub(crate) fn new() -> Self {
        Self {
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(),
            sign_count: 0,
            flags: USER_PRESENT | USER_VERIFIED,
            origin: ORIGIN.to_owned(),
            cross_origin: false,
            host: HOST.to_owned(),
        }
    }

    pub(crate) fn id(&self) -> Vec<u8> {
        digest(&SHA256, self.key.public_key().as_ref()).as_ref()[..16].to_vec()
    }

    pub(crate) fn public_key(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.key.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }

    fn ceremony(&mut self, kind: &str, challenge: &[u8], with_credential: bool) -> Ceremony {
        let challenge_text = BASE64_URL_SAFE_NO_PAD.encode(challenge);
        let Self {
            origin,
            cross_origin,
            ..
        } = self;
        let client_data = format!(
            r#"{{"type":"{kind}","challenge":"{challenge_text}","origin":"{origin}","crossOrigin":{cross_origin},"other":[1]}}"#
        );
        self.sign_count += 1;
        let mut data = digest(&SHA256, self.host.as_bytes()).as_ref().to_vec();
        data.push(self.flags | if with_credential { HAS_CREDENTIAL } else { 0 });
        data.extend(self.sign_count.to_be_bytes());
        if with_credential {
            let id = self.id();
            data.extend([7; 16]);
            data.extend(u16::try_from(id.len()).unwrap().to_be_bytes());
            data.extend(id);
            data.extend(b"a key in COSE's form");
        }
        Ceremony {
            client_data_json: client_data.into_bytes().into(),
            authenticator_data: data.into(),
            challenge: challenge.to_vec().into(),
            challenge_issued_ms: 0,
            origin: ORIGIN.to_owned(),
            credential_id: self.id().into(),
        }
    }

    pub(crate) fn create(&mut self, challenge: &[u8]) -> Ceremony {
        self.ceremony("webauthn.create", challenge, true)
    }

    pub(crate) fn get(&mut self, challenge: &[u8]) -> (Ceremony, Vec<u8>) {
        let ceremony = self.ceremony("webauthn.get", challenge, false);
        let client_data = digest(&SHA256, &ceremony.client_data_json);
        let signed = [&*ceremony.authenticator_data, client_data.as_ref()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed).unwrap();
        (ceremony, signature.as_ref().to_vec())
    }
}

const CHALLENGE: [u8; CHALLENGE_BYTES] = [9; CHALLENGE_BYTES];

fn host() -> Hostname {
    HOST.parse().unwrap()
}

fn registered(authenticator: &mut Authenticator) -> Result<PasskeyRecord, PasskeyError> {
    let ceremony = authenticator.create(&CHALLENGE);
    register(&ceremony, (-7, &authenticator.public_key()), &host())
}

#[test]
fn a_passkey_that_was_registered_is_good_here_and_counts_forward() {
    let mut authenticator = Authenticator::new();
    let mut kept = registered(&mut authenticator).unwrap();
    assert_eq!((kept.sign_count, kept.synced), (1, false));
    assert_eq!(kept.credential_id, authenticator.id());
    let (ceremony, signature) = authenticator.get(&CHALLENGE);
    let used = verify(&ceremony, &signature, &kept, &host()).unwrap();
    assert_eq!(used.sign_count, 2);
    kept.sign_count = used.sign_count;
    // The same once more, and a copy that is behind.
    let again = verify(&ceremony, &signature, &kept, &host());
    assert_eq!(again, Err(PasskeyError::Counter));
    authenticator.sign_count = 0;
    let (ceremony, signature) = authenticator.get(&CHALLENGE);
    let behind = verify(&ceremony, &signature, &kept, &host());
    assert_eq!(behind, Err(PasskeyError::Counter));
    // One that does not count at all.
    kept.sign_count = 0;
    authenticator.sign_count = u32::MAX;
    authenticator.sign_count = authenticator.sign_count.wrapping_sub(u32::MAX);
    authenticator.flags |= BACKUP_ELIGIBLE | BACKED_UP;
    let (ceremony, signature) = authenticator.get(&CHALLENGE);
    let used = verify(&ceremony, &signature, &kept, &host()).unwrap();
    assert!(used.synced);
}

#[test]
fn a_signature_of_anything_else_does_not_hold() {
    let mut authenticator = Authenticator::new();
    let kept = registered(&mut authenticator).unwrap();
    let (ceremony, signature) = authenticator.get(&CHALLENGE);
    let check = |ceremony: &Ceremony, signature: &[u8], kept: &PasskeyRecord| {
        verify(ceremony, signature, kept, &host()).unwrap_err()
    };
    let mut bent = signature.clone();
    bent[10] ^= 1;
    assert_eq!(check(&ceremony, &bent, &kept), PasskeyError::Signature);
    assert_eq!(check(&ceremony, b"", &kept), PasskeyError::Signature);
    let mut other = ceremony.clone();
    let mut data = other.authenticator_data.to_vec();
    data[36] ^= 0x7f;
    other.authenticator_data = data.into();
    assert_eq!(check(&other, &signature, &kept), PasskeyError::Signature);
    let stranger = registered(&mut Authenticator::new()).unwrap();
    assert_eq!(
        check(&ceremony, &signature, &stranger),
        PasskeyError::Credential
    );
    // Somebody else's key under this id.
    let mixed = PasskeyRecord {
        public_key: stranger.public_key,
        ..kept.clone()
    };
    assert_eq!(
        check(&ceremony, &signature, &mixed),
        PasskeyError::Signature
    );
    let mut foreign = ceremony.clone();
    foreign.challenge = vec![8; CHALLENGE_BYTES].into();
    assert_eq!(check(&foreign, &signature, &kept), PasskeyError::ClientData);
    foreign.challenge = ceremony.challenge.slice(..16);
    assert_eq!(check(&foreign, &signature, &kept), PasskeyError::ClientData);
    // What was signed to register is no sign-in.
    let creation = authenticator.create(&CHALLENGE);
    assert_eq!(
        check(&creation, &signature, &kept),
        PasskeyError::ClientData
    );
}

#[test]
fn what_is_not_from_here_or_of_nobody_is_refused() {
    type Bend = fn(&mut Authenticator);
    let bends: [(Bend, PasskeyError); 7] = [
        (
            |one| one.origin = "https://auth.example.test".to_owned(),
            PasskeyError::ClientData,
        ),
        (
            |one| one.origin = "http://auth.example.test:8443".to_owned(),
            PasskeyError::ClientData,
        ),
        (|one| one.cross_origin = true, PasskeyError::ClientData),
        (
            |one| one.host = "example.test".to_owned(),
            PasskeyError::Host,
        ),
        (|one| one.flags = USER_PRESENT, PasskeyError::NotVerified),
        (|one| one.flags = USER_VERIFIED, PasskeyError::NotVerified),
        (|one| one.flags |= BACKED_UP, PasskeyError::NotVerified),
    ];
    for (index, (bend, want)) in bends.into_iter().enumerate() {
        let mut authenticator = Authenticator::new();
        let kept = registered(&mut authenticator).unwrap();
        bend(&mut authenticator);
        assert_eq!(registered(&mut authenticator), Err(want), "{index}");
        let (ceremony, signature) = authenticator.get(&CHALLENGE);
        let used = verify(&ceremony, &signature, &kept, &host());
        assert_eq!(used, Err(want), "{index}");
    }
    // A whole origin of somebody else's, as the edge would say it.
    let mut authenticator = Authenticator::new();
    authenticator.origin = "https://evil.test".to_owned();
    let mut ceremony = authenticator.create(&CHALLENGE);
    ceremony.origin = "https://evil.test".to_owned();
    let key = authenticator.public_key();
    let refused = register(&ceremony, (-7, &key), &host());
    assert_eq!(refused, Err(PasskeyError::ClientData));
}

#[test]
fn keys_that_cannot_be_used_are_not_registered() {
    let mut authenticator = Authenticator::new();
    let key = authenticator.public_key();
    let ceremony = authenticator.create(&CHALLENGE);
    let long = vec![0; PUBLIC_KEY_BYTES_MAX + 1];
    for (algorithm, key) in [
        (-257, &*key),
        (-8, &*key),
        (-35, &*key),
        (0, &*key),
        (-7, &key[1..]),
        (-7, &*long),
        (-7, b""),
    ] {
        let refused = register(&ceremony, (algorithm, key), &host());
        assert_eq!(refused, Err(PasskeyError::Credential), "{algorithm}");
    }
    let mut other = ceremony.clone();
    other.credential_id = b"another".to_vec().into();
    let refused = register(&other, (-7, &key), &host());
    assert_eq!(refused, Err(PasskeyError::Credential));
    for cut in [0, 36, 37, 54, 60] {
        let mut short = ceremony.clone();
        short.authenticator_data = short.authenticator_data.slice(..cut);
        assert!(register(&short, (-7, &key), &host()).is_err(), "{cut}");
    }
    for bad in [
        &b""[..],
        b"{}",
        b"[",
        &vec![b' '; CLIENT_DATA_BYTES_MAX + 1],
    ] {
        let mut other = ceremony.clone();
        other.client_data_json = bad.to_vec().into();
        let refused = register(&other, (-7, &key), &host());
        assert_eq!(refused, Err(PasskeyError::ClientData));
    }
}
