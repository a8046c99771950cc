//! Who may call, by certificate and record.

use std::time::Duration;

use prost::Message as _;
use proto::{admin, control::AgentRecord, fabric::fabric_server::FabricServer};
use runtime::tls::CaPin;
use rustls_pki_types::CertificateDer;
use tonic::{
    body::Body,
    codegen::{Service as _, http},
};

use super::*;
use crate::sign_in_log::{EVENTS_MAX, SignInLog};
use crate::{
    questions::Questions,
    refreshes::{Refreshes, SESSIONS_MAX},
    second_factors::key::SecondFactorKey,
    server::Calls,
    store::{Op, sqlite},
};

const NOW: [u8; 32] = [1; 32];
const BEFORE: [u8; 32] = [2; 32];
const OTHER: [u8; 32] = [3; 32];

struct Bench {
    context: FabricContext,
    _directory: tempfile::TempDir,
}

/// No session yet.
fn refreshes(directory: &std::path::Path, clock: &Clock) -> Refreshes {
    let key = Arc::new(SecondFactorKey::load_or_create(directory).unwrap());
    Refreshes::open(directory, key, SESSIONS_MAX, clock.wall()).unwrap()
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let domain: Hostname = "example.com".parse().unwrap();
        let ca = Ca::found(directory.path(), &domain, clock.wall()).unwrap();
        let pin = CaPin::of(&CertificateDer::from(vec![0]));
        let issuer = JoinIssuer::load_or_create(directory.path(), domain.clone(), Vec::new(), pin);
        let context = FabricContext {
            sign_ins: SignInLog::open(directory.path(), EVENTS_MAX).unwrap(),
            store: Arc::new(sqlite::open(directory.path(), &clock).unwrap()),
            refreshes: refreshes(directory.path(), &clock),
            clock,
            presence: Presence::default(),
            questions: Questions::default(),
            passwords: Passwords::default(),
            lockout: Arc::default(),
            join_issuer: Arc::new(issuer.unwrap()),
            ca: Arc::new(ca),
            devices: Arc::default(),
            second_factor_key: Arc::new(SecondFactorKey::load_or_create(directory.path()).unwrap()),
            challenges: Arc::new(UsedChallenges::new(0)),
            domain,
            scope: Scope::root(),
        };
        Self {
            context,
            _directory: directory,
        }
    }

    async fn enrolled(&self, id: &str, revoked: bool) {
        let name = format!("agents/{id}");
        let record = AgentRecord {
            agent: Some(admin::Agent {
                name: name.clone(),
                group: "groups/office".to_owned(),
                revoked,
                ..admin::Agent::default()
            }),
            key_sha256: NOW.to_vec().into(),
            previous_key_sha256: BEFORE.to_vec().into(),
            ..AgentRecord::default()
        };
        let put = Op::Put(name.into(), record.encode_to_vec().into());
        self.context.store.txn(Vec::new(), vec![put]).await.unwrap();
    }

    /// Begins a Sync with this certificate: the status, and whether the connection counts as a node's.
    async fn sync(&self, id: &str, key_sha256: [u8; 32]) -> (Option<String>, bool) {
        let calls = Calls::none();
        let call = calls.begin();
        let mut request = http::Request::post("https://control/adit.fabric.v1.Fabric/Sync")
            .header("content-type", "application/grpc")
            .body(Body::empty())
            .unwrap();
        request.extensions_mut().insert(call.admission());
        request.extensions_mut().insert(ProvenNode {
            name: format!("spiffe://example.com/agent/{id}").parse().unwrap(),
            key_sha256,
            expires_at: self.context.clock.wall() + Duration::from_secs(60),
        });
        let mut service: FabricServer<_> = service(self.context.clone());
        let answer = service.call(request).await.unwrap();
        let refused = Status::from_header_map(answer.headers());
        (
            refused.map(|status| status.message().to_owned()),
            calls.admitted() == 1,
        )
    }
}

#[tokio::test]
async fn a_certificate_counts_while_its_node_is_enrolled_with_its_key() {
    let bench = Bench::new();
    bench.enrolled("a1", false).await;
    bench.enrolled("a2", true).await;
    for (id, key, refused) in [
        ("a1", NOW, None),
        ("a1", BEFORE, None),
        (
            "a1",
            OTHER,
            Some("agents/a1 has been enrolled anew, with another key"),
        ),
        ("a2", NOW, Some("agents/a2 has been revoked")),
        ("a3", NOW, Some("agents/a3 is not enrolled")),
    ] {
        let found = bench.sync(id, key).await;
        let want = (refused.map(str::to_owned), refused.is_none());
        assert_eq!(found, want, "{id} {key:?}");
    }
}
