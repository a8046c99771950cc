use std::sync::atomic::{AtomicUsize, Ordering};

use proto::fabric::EnrolResponse;
use tonic::Status;

use super::*;
use crate::double::{
    ca::{Ca, LIFE},
    control::ControlDouble,
};

const AGENT: &str = "spiffe://example.com/agent/a1";

#[tokio::test]
async fn identity_past_half_life_is_renewed_in_force_and_on_disk() {
    let ca = Arc::new(Ca::new());
    let (signer, asked) = (Arc::clone(&ca), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let control = ControlDouble::start(&ca, move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        let from = Clock::system().wall() - Duration::from_secs(60);
        let chain = signer.sign(request, from, LIFE);
        Ok(EnrolResponse {
            certificate_chain: vec![chain[0].to_vec().into()],
            roots: vec![signer.root().to_vec().into()],
        })
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let old = ca.identity_from(AGENT, clock.wall() - LIFE * 3 / 4, LIFE);
    let old_end = old.expires_at();
    let identity = CurrentIdentity::new(old);
    let mut changes = identity.subscribe();
    let scope = Scope::root();
    start(
        RenewConfig {
            turn: Turn::now(),
            identity: identity.clone(),
            control: control.addresses().into(),
            data_directory: Some(directory.path().to_owned()),
            clock,
        },
        &scope,
    );
    changes.changed().await.unwrap();
    let fresh = identity.current();
    assert!(fresh.expires_at() > old_end);
    assert_eq!(fresh.name().to_string(), AGENT);
    let stored = Identity::load(directory.path()).unwrap().unwrap();
    assert_eq!(stored.chain(), fresh.chain());
    assert!(scope.close(Duration::from_secs(5)).await);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn identity_that_has_run_out_is_recovered_by_its_key() {
    let ca = Arc::new(Ca::new());
    let signer = Arc::clone(&ca);
    let control = ControlDouble::start(&ca, move |request| {
        let from = Clock::system().wall() - Duration::from_secs(60);
        let chain = signer.sign(request, from, LIFE);
        Ok(EnrolResponse {
            certificate_chain: vec![chain[0].to_vec().into()],
            roots: vec![signer.root().to_vec().into()],
        })
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let old = ca.identity_from(AGENT, clock.wall() - 2 * LIFE, LIFE);
    let config = RenewConfig {
        turn: Turn::now(),
        identity: CurrentIdentity::new(old),
        control: control.addresses().into(),
        data_directory: Some(directory.path().to_owned()),
        clock,
    };
    renew(&config).await.unwrap();
    let fresh = config.identity.current();
    assert!(!fresh.is_expired(config.clock.wall()));
    assert_eq!(fresh.name().to_string(), AGENT);
}

#[tokio::test]
async fn renewal_that_is_refused_keeps_the_identity() {
    let ca = Ca::new();
    let control = ControlDouble::start(&ca, |_| Err(Status::permission_denied("revoked"))).await;
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let old = ca.identity_from(AGENT, clock.wall() - LIFE * 3 / 4, LIFE);
    let config = RenewConfig {
        turn: Turn::now(),
        identity: CurrentIdentity::new(old),
        control: control.addresses().into(),
        data_directory: Some(directory.path().to_owned()),
        clock,
    };
    let error = renew(&config).await.unwrap_err();
    assert_eq!(error.to_string(), "control refused: revoked");
    assert!(Identity::load(directory.path()).unwrap().is_none());
}

#[test]
fn a_renewal_that_fails_is_an_error_long_before_the_identity_ends() {
    let (ca, from) = (Ca::new(), Clock::system().wall());
    let day = Duration::from_secs(24 * 3_600);
    let identity = ca.identity_from(AGENT, from, day);
    for (hours, urgency) in [
        (12, Urgency::Early),
        (17, Urgency::Early),
        (19, Urgency::Late),
        (23, Urgency::Late),
        (24, Urgency::Over),
        (100, Urgency::Over),
    ] {
        let now = from + Duration::from_secs(hours * 3_600);
        assert_eq!(Urgency::of(&identity, now), urgency, "after {hours} h");
    }
}
