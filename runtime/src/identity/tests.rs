use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::double::ca::{Ca, LIFE};

const AGENT: &str = "spiffe://example.com/agent/a1";

#[test]
fn stored_identity_is_loaded_again() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("data");
    assert!(Identity::load(&home).unwrap().is_none());
    let identity = Ca::new().identity(AGENT);
    identity.store(&home).unwrap();
    let loaded = Identity::load(&home).unwrap().unwrap();
    assert_eq!(loaded.name(), identity.name());
    assert_eq!(loaded.chain(), identity.chain());
    assert_eq!(loaded.roots(), identity.roots());
    assert_eq!(loaded.key(), identity.key());
    let mode = fs::metadata(home.join(KEY_FILE))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn certificate_of_another_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Ca::new();
    ca.identity(AGENT).store(directory.path()).unwrap();
    let key = fs::read(directory.path().join(KEY_FILE)).unwrap();
    ca.identity(AGENT).store(directory.path()).unwrap();
    fs::write(directory.path().join(KEY_FILE), key).unwrap();
    let refused = Identity::load(directory.path());
    assert!(matches!(refused, Err(IdentityError::KeyMismatch(_))));
}

#[test]
fn damaged_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    Ca::new().identity(AGENT).store(directory.path()).unwrap();
    fs::write(directory.path().join(ROOTS_FILE), "nothing").unwrap();
    let error = Identity::load(directory.path()).unwrap_err();
    assert!(error.to_string().contains(ROOTS_FILE), "{error}");
}

#[test]
fn renewal_is_due_at_half_life() {
    let from = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let identity = Ca::new().identity_from(AGENT, from, LIFE);
    assert_eq!(identity.renew_at(), from + LIFE / 2);
    assert_eq!(identity.expires_at(), from + LIFE);
    assert!(!identity.is_expired(from + LIFE - Duration::from_secs(1)));
    assert!(identity.is_expired(from + LIFE));
}

#[test]
fn request_asks_for_the_uri_only() {
    let key = NodeKey::generate().unwrap();
    let der = key.request(&AGENT.parse().unwrap()).unwrap();
    let parsed = rcgen::CertificateSigningRequestParams::from_der(&der.into()).unwrap();
    let names = parsed.params.subject_alt_names;
    assert_eq!(names, [SanType::URI(AGENT.try_into().unwrap())]);
}

#[tokio::test]
async fn replacement_is_announced() {
    let ca = Ca::new();
    let current = CurrentIdentity::new(ca.identity(AGENT));
    let mut changes = current.clone().subscribe();
    let next = ca.identity(AGENT);
    let chain = next.chain().to_vec();
    current.replace(next);
    changes.changed().await.unwrap();
    assert_eq!(changes.borrow().chain(), chain);
    assert_eq!(current.current().chain(), chain);
}

#[test]
fn half_stored_identity_with_another_key_is_none() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let store = |identity: Identity| identity.store(directory.path());
    store(ca.identity("spiffe://example.com/agent/a1")).unwrap();
    // Stops the second one after its key, as a crash would.
    let roots = directory.path().join(ROOTS_FILE);
    fs::remove_file(&roots).unwrap();
    fs::create_dir(&roots).unwrap();
    store(ca.identity("spiffe://example.com/agent/a1")).unwrap_err();
    assert!(Identity::load(directory.path()).unwrap().is_none());
}
