use std::sync::{Arc, Mutex};

use tonic::Status;
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer as _};

use super::*;
use crate::{
    double::{
        ca::{Ca, LIFE},
        control::ControlDouble,
    },
    join::token::tests::{claims, signed},
    secret::Secret,
};

fn answer(chain: &[CertificateDer<'_>], root: &CertificateDer<'_>) -> EnrolResponse {
    EnrolResponse {
        certificate_chain: chain.iter().map(|c| c.to_vec().into()).collect(),
        roots: vec![root.to_vec().into()],
    }
}

fn signing(ca: &Arc<Ca>) -> impl Fn(&[u8]) -> Result<EnrolResponse, Status> + use<> {
    let ca = Arc::clone(ca);
    move |request| {
        let from = Clock::system().wall() - Duration::from_secs(60);
        Ok(answer(&ca.sign(request, from, LIFE), &ca.root()))
    }
}

/// A node before its first start, with a token for the control that answers as given.
struct Newcomer {
    directory: tempfile::TempDir,
    token: TokenSource,
    _control: ControlDouble,
}

impl Newcomer {
    async fn of<S>(ca: &Ca, sign: S) -> Self
    where
        S: Fn(&[u8]) -> Result<EnrolResponse, Status> + Send + Sync + 'static,
    {
        let control = ControlDouble::start(ca, sign).await;
        let mut claims = claims();
        // The first address is dead: the second must be tried.
        claims.control = vec!["127.0.0.1:1".to_owned(), control.address.to_string()];
        claims.ca_sha256 = ca.pin().to_string();
        Self {
            directory: tempfile::tempdir().unwrap(),
            token: TokenSource::Literal(Secret::new(signed(&claims))),
            _control: control,
        }
    }

    async fn start(&self, role: Role, with_token: bool) -> Result<Enrolled, EnrolmentError> {
        let enrolment = Enrolment {
            token: with_token.then_some(&self.token),
            role,
            id: "a1",
            data_directory: Some(self.directory.path()),
            way_out: &WayOut::default(),
            version: "test",
        };
        enrolled(enrolment, &Clock::system()).await
    }
}

#[tokio::test]
async fn newcomer_is_enrolled_and_needs_no_token_again() {
    let ca = Arc::new(Ca::new());
    let newcomer = Newcomer::of(&ca, signing(&ca)).await;
    let first = newcomer.start(Role::Agent, true).await.unwrap();
    assert_eq!(
        first.identity.name().to_string(),
        "spiffe://example.com/agent/a1"
    );
    let second = newcomer.start(Role::Agent, false).await.unwrap();
    assert_eq!(second.identity.chain(), first.identity.chain());
    assert_eq!(second.control.addresses, first.control.addresses);
    assert_eq!(second.control.addresses.len(), 2);
}

#[tokio::test]
async fn node_without_identity_and_token_is_told_so() {
    let ca = Arc::new(Ca::new());
    let newcomer = Newcomer::of(&ca, signing(&ca)).await;
    let error = newcomer.start(Role::Agent, false).await.unwrap_err();
    assert!(matches!(error, EnrolmentError::NoToken { .. }), "{error}");
}

#[tokio::test]
async fn token_of_another_role_is_refused_before_control_is_asked() {
    let ca = Arc::new(Ca::new());
    let newcomer = Newcomer::of(&ca, |_| panic!("control was asked")).await;
    let error = newcomer.start(Role::Edge, true).await.unwrap_err();
    assert!(
        matches!(
            error,
            EnrolmentError::RoleMismatch {
                found: Role::Agent,
                wanted: Role::Edge
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_node_whose_certificate_ran_out_comes_back_by_its_key() {
    let ca = Arc::new(Ca::new());
    let newcomer = Newcomer::of(&ca, signing(&ca)).await;
    let first = newcomer.start(Role::Agent, true).await.unwrap();
    let long_ago = Clock::system().wall() - 3 * LIFE;
    let csr = first.identity.node_key().request(first.identity.name());
    let old = ca.sign(&csr.unwrap(), long_ago, LIFE);
    let expired = Identity::new(first.identity.node_key(), old, vec![ca.root()]).unwrap();
    expired.store(newcomer.directory.path()).unwrap();
    let back = newcomer.start(Role::Agent, false).await.unwrap();
    assert_eq!(back.identity.name(), first.identity.name());
    assert!(!back.identity.is_expired(Clock::system().wall()));
    let kept = Identity::load(newcomer.directory.path()).unwrap().unwrap();
    assert_eq!(kept.chain(), back.identity.chain());
}

#[tokio::test]
async fn a_node_that_is_not_taken_back_is_told_why_and_joins_by_a_token() {
    let ca = Arc::new(Ca::new());
    let (sign, tries) = (signing(&ca), Mutex::new(0));
    let newcomer = Newcomer::of(&ca, move |request| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        match *tries {
            2 | 3 => Err(Status::permission_denied("join it by a token")),
            _ => sign(request),
        }
    })
    .await;
    let first = newcomer.start(Role::Agent, true).await.unwrap();
    let long_ago = Clock::system().wall() - 3 * LIFE;
    let csr = first.identity.node_key().request(first.identity.name());
    let old = ca.sign(&csr.unwrap(), long_ago, LIFE);
    let expired = Identity::new(first.identity.node_key(), old, vec![ca.root()]).unwrap();
    expired.store(newcomer.directory.path()).unwrap();
    let error = newcomer.start(Role::Agent, false).await.unwrap_err();
    assert_eq!(error.to_string(), "control refused: join it by a token");
    let back = newcomer.start(Role::Agent, true).await.unwrap();
    assert!(!back.identity.is_expired(Clock::system().wall()));
}

#[tokio::test]
async fn a_node_that_keeps_nothing_joins_anew_each_time() {
    let ca = Arc::new(Ca::new());
    let newcomer = Newcomer::of(&ca, signing(&ca)).await;
    let start = async |token| {
        let enrolment = Enrolment {
            token,
            role: Role::Agent,
            id: "a1",
            data_directory: None,
            way_out: &WayOut::default(),
            version: "test",
        };
        enrolled(enrolment, &Clock::system()).await
    };
    let first = start(Some(&newcomer.token)).await.unwrap();
    let second = start(Some(&newcomer.token)).await.unwrap();
    let key = |enrolled: &Enrolled| enrolled.identity.key().secret_der().to_vec();
    assert_ne!(key(&first), key(&second));
    assert!(matches!(
        start(None).await,
        Err(EnrolmentError::NothingKept)
    ));
    let kept = fs::read_dir(newcomer.directory.path()).unwrap();
    assert_eq!(kept.count(), 0);
}

#[tokio::test]
async fn identity_of_another_role_on_disk_is_refused() {
    let ca = Arc::new(Ca::new());
    let newcomer = Newcomer::of(&ca, signing(&ca)).await;
    newcomer.start(Role::Agent, true).await.unwrap();
    let error = newcomer.start(Role::Edge, false).await.unwrap_err();
    assert!(matches!(error, EnrolmentError::RoleMismatch { .. }));
}

#[tokio::test]
async fn expired_token_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut claims = claims();
    claims.exp = 1;
    let token = TokenSource::Literal(Secret::new(signed(&claims)));
    let enrolment = Enrolment {
        token: Some(&token),
        role: Role::Agent,
        id: "a1",
        data_directory: Some(directory.path()),
        way_out: &WayOut::default(),
        version: "test",
    };
    let error = enrolled(enrolment, &Clock::system()).await.unwrap_err();
    assert!(matches!(error, EnrolmentError::Expired), "{error}");
}

#[tokio::test]
async fn refusal_carries_the_words_of_control() {
    let ca = Ca::new();
    let newcomer = Newcomer::of(&ca, |_| Err(Status::permission_denied("used up"))).await;
    let error = newcomer.start(Role::Agent, true).await.unwrap_err();
    assert_eq!(error.to_string(), "control refused: used up");
    assert!(newcomer.start(Role::Agent, false).await.is_err());
}

#[tokio::test]
async fn a_node_that_lost_the_answer_asks_again_with_the_same_key() {
    let ca = Arc::new(Ca::new());
    let keys = Arc::new(Mutex::new(Vec::new()));
    let (sign, seen) = (signing(&ca), Arc::clone(&keys));
    let newcomer = Newcomer::of(&ca, move |request| {
        let (_, parsed) = X509CertificationRequest::from_der(request).unwrap();
        let key = parsed.certification_request_info.subject_pki.raw.to_vec();
        let mut seen = seen.lock().unwrap();
        seen.push(key);
        match seen.len() {
            1 => Err(Status::unavailable("lost on the way")),
            _ => sign(request),
        }
    })
    .await;
    let lost = newcomer.start(Role::Agent, true).await.unwrap_err();
    assert!(matches!(lost, EnrolmentError::Unanswered { .. }), "{lost}");
    newcomer.start(Role::Agent, true).await.unwrap();
    let keys = keys.lock().unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn control_under_another_ca_is_not_believed() {
    let ca = Arc::new(Ca::new());
    let newcomer = Newcomer::of(&ca, signing(&ca)).await;
    let mut wrong = claims();
    wrong.control = vec![newcomer._control.address.to_string()];
    let token = TokenSource::Literal(Secret::new(signed(&wrong)));
    let newcomer = Newcomer { token, ..newcomer };
    let error = newcomer.start(Role::Agent, true).await.unwrap_err();
    assert!(matches!(error, EnrolmentError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn wrong_answers_are_refused() {
    async fn check<S>(ca: &Ca, what: &str, sign: S)
    where
        S: Fn(&[u8]) -> Result<EnrolResponse, Status> + Send + Sync + 'static,
    {
        let newcomer = Newcomer::of(ca, sign).await;
        let error = newcomer.start(Role::Agent, true).await.unwrap_err();
        assert!(error.to_string().contains(what), "{error}, not {what}");
        let kept = fs::read_dir(newcomer.directory.path()).unwrap();
        let kept: Vec<_> = kept.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(kept, ["identity.key"]);
    }
    let ca = Ca::new();
    let (root, stranger) = (ca.root(), Ca::new());
    let foreign = stranger.identity("spiffe://example.com/agent/a1");
    let foreign = (foreign.chain().to_vec(), stranger.root());
    let other_key = ca
        .identity("spiffe://example.com/agent/a1")
        .chain()
        .to_vec();

    check(&ca, "no certificate", |_| Ok(EnrolResponse::default())).await;
    let (chain, own_root) = (foreign.0.clone(), root.clone());
    check(&ca, "not valid under the roots", move |_| {
        Ok(answer(&chain, &own_root))
    })
    .await;
    let own_root = root.clone();
    check(&ca, "another key", move |_| {
        Ok(answer(&other_key, &own_root))
    })
    .await;
    let signer = Ca::new();
    check(&ca, "pinned CA", move |request| {
        let from = Clock::system().wall() - Duration::from_secs(60);
        Ok(answer(&signer.sign(request, from, LIFE), &signer.root()))
    })
    .await;
    let expired = Arc::new(Ca::new());
    let signer = Arc::clone(&expired);
    check(&expired, "valid under the roots now", move |request| {
        let from = Clock::system().wall() - 2 * LIFE;
        Ok(answer(&signer.sign(request, from, LIFE), &signer.root()))
    })
    .await;
}
