use std::fs;

use rcgen::{PKCS_RSA_SHA256, SanType, string::Ia5String};
use runtime::{Clock, identity::NodeKey, tls::peer_identity};

use super::*;

fn ca(directory: &Path) -> Ca {
    let domain = "example.com".parse().expect("a good domain");
    Ca::found(directory, &domain, Clock::system().wall()).expect("a CA")
}

fn request(key: &KeyPair, names: Vec<SanType>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    params
        .serialize_request(key)
        .expect("a request")
        .der()
        .to_vec()
}

fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).expect("ASCII"))
}

const NAME: &str = "spiffe://example.com/edge/e1";

#[test]
fn the_same_ca_is_read_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let made = ca(directory.path());
    assert_eq!(ca(directory.path()).root(), made.root());
    for name in [KEY_FILE, CERTIFICATE_FILE] {
        fs::rename(directory.path().join(name), directory.path().join("away")).expect("moves");
        assert!(Ca::load(directory.path()).is_err(), "{name}");
        fs::rename(directory.path().join("away"), directory.path().join(name)).expect("moves");
    }
    assert!(Ca::load(directory.path()).is_ok());
}

#[test]
fn a_key_of_another_ca_is_refused() {
    let (one, other) = (tempfile::tempdir(), tempfile::tempdir());
    let (one, other) = (one.expect("a directory"), other.expect("a directory"));
    ca(one.path());
    ca(other.path());
    fs::copy(other.path().join(KEY_FILE), one.path().join(KEY_FILE)).expect("copies");
    assert!(matches!(
        Ca::load(one.path()),
        Err(CaError::Mismatch { .. })
    ));
}

#[test]
fn a_node_gets_its_name_and_nothing_else_that_it_asks_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let ca = ca(directory.path());
    let key = NodeKey::generate().expect("a key");
    let name = NAME.parse().expect("a name");
    let parsed = NodeRequest::parse(&key.request(&name).expect("a request")).expect("valid");
    let signed = ca
        .sign_node(&parsed, Clock::system().wall())
        .expect("signs");
    assert_eq!(peer_identity(&signed.chain).ok(), Some(name));
    let (_, leaf) = X509Certificate::from_der(&signed.chain[0]).expect("a certificate");
    assert!(!leaf.is_ca());
    let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
    assert_eq!(
        life,
        i64::try_from((NODE_LIFE + CLOCK_SKEW).as_secs()).expect("fits")
    );
}

#[test]
fn requests_that_are_not_in_order_are_refused() {
    let key = new_key().expect("a key");
    let good = request(&key, vec![uri(NAME)]);
    assert!(NodeRequest::parse(&good).is_ok());
    let mut forged = good;
    *forged.last_mut().expect("bytes") ^= 1;
    let dns = SanType::DnsName(Ia5String::try_from("example.com").expect("ASCII"));
    let rows: [(Vec<u8>, RequestError); 6] = [
        (b"nonsense".to_vec(), RequestError::Malformed),
        (forged, RequestError::Signature),
        (request(&key, vec![]), RequestError::Name),
        (
            request(&key, vec![uri(NAME), dns.clone()]),
            RequestError::Name,
        ),
        (request(&key, vec![dns]), RequestError::Name),
        (
            request(&key, vec![uri("https://example.com/")]),
            RequestError::Name,
        ),
    ];
    for (der, want) in rows {
        assert_eq!(NodeRequest::parse(&der).err(), Some(want));
    }
}

#[test]
fn an_rsa_key_is_refused() {
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key");
    let der = request(&key, vec![uri(NAME)]);
    assert_eq!(NodeRequest::parse(&der).err(), Some(RequestError::Key));
}
