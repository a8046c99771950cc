use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prost::Message as _;
use proto::{
    admin::SignOnFinding,
    fabric::{
        AgentLinks, Delta, Heartbeat, SignOnQuestion, SnapshotChunk, SyncResponse, sync_request,
        sync_response,
    },
};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::*;
use crate::double::{
    ca::Ca,
    control::{ControlDouble, SyncCall},
};

const STORE: &str = "store-1";

fn named(name: &str) -> Resource {
    Resource {
        name: name.to_owned(),
        kind: None,
    }
}

fn message(kind: sync_response::Kind) -> SyncResponse {
    SyncResponse { kind: Some(kind) }
}

/// A snapshot in as many chunks as it has resources, and at least one.
fn snapshot(revision: u64, names: &[&str]) -> Vec<SyncResponse> {
    let resources: Vec<Vec<u8>> = names
        .iter()
        .map(|name| named(name).encode_to_vec())
        .collect();
    snapshot_of(revision, resources)
}

fn snapshot_of(revision: u64, resources: Vec<Vec<u8>>) -> Vec<SyncResponse> {
    let mut digest = proto::snapshot::Digest::default();
    for encoded in &resources {
        digest.add(encoded);
    }
    let mut chunks: Vec<SnapshotChunk> = resources
        .into_iter()
        .map(|resource| SnapshotChunk {
            store_id: STORE.to_owned(),
            revision,
            resources: vec![resource.into()],
            ..SnapshotChunk::default()
        })
        .collect();
    let last = chunks.last_mut().unwrap();
    last.last = true;
    last.digest = digest.finish().to_vec().into();
    chunks
        .into_iter()
        .map(|chunk| message(sync_response::Kind::Snapshot(chunk)))
        .collect()
}

fn delta(from: u64, to: u64, upserts: &[&str], deletes: &[&str]) -> SyncResponse {
    message(sync_response::Kind::Delta(Delta {
        from_revision: from,
        to_revision: to,
        upserts: upserts.iter().map(|name| named(name)).collect(),
        deletes: deletes.iter().map(|&name| name.to_owned()).collect(),
    }))
}

async fn say(call: &SyncCall, messages: Vec<SyncResponse>) {
    for message in messages {
        call.responses.send(Ok(message)).await.unwrap();
    }
}

async fn acked(call: &mut SyncCall) -> u64 {
    match call.next().await {
        sync_request::Kind::Ack(ack) => ack.revision,
        other => panic!("not an ack: {other:?}"),
    }
}

/// A node that remembers what it was told last, and refuses when told to.
struct Node {
    status: SyncStatus,
    seen: Arc<Mutex<Vec<String>>>,
    /// Names that were said to have changed; none: any.
    changed: Arc<Mutex<Option<Vec<String>>>>,
    refuses: Arc<AtomicBool>,
    identity: CurrentIdentity,
    scope: Scope,
}

impl Node {
    fn start(ca: &Ca, control: Vec<String>, directory: &Path) -> Self {
        Self::start_reporting(ca, control, directory, None)
    }

    fn start_reporting(
        ca: &Ca,
        control: Vec<String>,
        directory: &Path,
        presence: Option<watch::Receiver<PresenceReport>>,
    ) -> Self {
        Self::start_as(ca, control, directory, (presence, None))
    }

    fn start_as(
        ca: &Ca,
        control: Vec<String>,
        directory: &Path,
        (presence, questions): (
            Option<watch::Receiver<PresenceReport>>,
            Option<mpsc::Sender<Asked>>,
        ),
    ) -> Self {
        let identity = CurrentIdentity::new(ca.identity("spiffe://example.com/edge/e1"));
        let config = SyncConfig {
            identity: identity.clone(),
            control: control.into(),
            data_directory: Some(directory.to_owned()),
            version: "test".to_owned(),
            tunnel_address: "127.0.0.1:443".to_owned(),
            tcp_address: "127.0.0.1:443".to_owned(),
            workers: 2,
            presence,
            questions,
            turn: Turn::now(),
            clock: Clock::system(),
        };
        let scope = Scope::root();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let refuses = Arc::new(AtomicBool::new(false));
        let changed = Arc::new(Mutex::new(None));
        let (told, stubborn) = (Arc::clone(&seen), Arc::clone(&refuses));
        let told_changed = Arc::clone(&changed);
        let apply = move |update: &Update<'_>| {
            *told_changed.lock().unwrap() = match update.changed {
                Changed::Any => None,
                Changed::Only(names) => Some(names.iter().map(ToString::to_string).collect()),
            };
            if stubborn.load(Ordering::SeqCst) {
                return Err("not like this".to_owned());
            }
            *told.lock().unwrap() = update.resources.keys().cloned().collect();
            Ok(())
        };
        let status = start(config, apply, &scope);
        Self {
            status,
            seen,
            changed,
            refuses,
            identity,
            scope,
        }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    async fn stop(&self) {
        assert!(self.scope.close(Duration::from_secs(5)).await);
    }
}

async fn control(ca: &Ca) -> ControlDouble {
    ControlDouble::start(ca, |_| Err(Status::unimplemented("not here"))).await
}

#[tokio::test]
async fn snapshot_and_deltas_are_applied_acked_and_kept_on_disk() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let mut control = control(&ca).await;
    let node = Node::start(&ca, control.addresses(), directory.path());
    let mut call = control.calls.recv().await.unwrap();
    assert_eq!((call.hello.store_id.as_str(), call.hello.revision), ("", 0));
    assert_eq!(call.hello.workers, 2);
    say(&call, snapshot(5, &["apps/a", "apps/b"])).await;
    assert_eq!(acked(&mut call).await, 5);
    say(&call, vec![delta(5, 7, &["apps/c"], &["apps/a"])]).await;
    assert_eq!(acked(&mut call).await, 7);
    assert_eq!(node.seen(), ["apps/b", "apps/c"]);
    assert_eq!(*node.status.applied_revision.borrow(), 7);
    assert!(*node.status.connected.borrow());
    node.stop().await;

    // Control is away at the next start: the disk is enough.
    control.scope.close(Duration::from_secs(5)).await;
    let again = Node::start(&ca, vec!["127.0.0.1:1".to_owned()], directory.path());
    let mut revision = again.status.applied_revision.clone();
    revision.wait_for(|revision| *revision == 7).await.unwrap();
    assert_eq!(again.seen(), ["apps/b", "apps/c"]);
    assert!(!*again.status.connected.borrow());
    again.stop().await;
}

#[tokio::test]
async fn snapshot_of_a_newer_control_is_right_although_not_all_of_it_is_known() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let mut control = control(&ca).await;
    let node = Node::start(&ca, control.addresses(), directory.path());
    let mut call = control.calls.recv().await.unwrap();
    let mut newer = named("apps/a").encode_to_vec();
    // Field 99, a varint: nothing that this version has heard of.
    newer.extend([0x98, 0x06, 0x01]);
    say(&call, snapshot_of(5, vec![newer])).await;
    assert_eq!(acked(&mut call).await, 5);
    assert_eq!(node.seen(), ["apps/a"]);
    node.stop().await;
}

#[tokio::test]
async fn node_reconnects_and_asks_for_what_changed_since() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let mut control = control(&ca).await;
    let node = Node::start(&ca, control.addresses(), directory.path());
    let mut call = control.calls.recv().await.unwrap();
    say(&call, snapshot(5, &["apps/a"])).await;
    assert_eq!(acked(&mut call).await, 5);
    let lost = Status::unavailable("going away");
    call.responses.send(Err(lost)).await.unwrap();
    let call = control.calls.recv().await.unwrap();
    assert_eq!(call.hello.store_id, STORE);
    assert_eq!(call.hello.revision, 5);
    assert_eq!(node.seen(), ["apps/a"]);
    node.stop().await;
}

#[tokio::test]
async fn a_delta_names_what_changed_and_a_snapshot_may_change_anything() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let mut control = control(&ca).await;
    let node = Node::start(&ca, control.addresses(), directory.path());
    let changed = || node.changed.lock().unwrap().clone();
    let mut call = control.calls.recv().await.unwrap();
    say(&call, snapshot(5, &["apps/a", "apps/b"])).await;
    assert_eq!(acked(&mut call).await, 5);
    assert_eq!(changed(), None);
    say(&call, vec![delta(5, 6, &["apps/c"], &["apps/a"])]).await;
    assert_eq!(acked(&mut call).await, 6);
    let names = ["apps/a", "apps/c"].map(str::to_owned);
    assert_eq!(changed(), Some(names.to_vec()));
    node.stop().await;
}

#[tokio::test]
async fn delta_that_does_not_follow_asks_for_everything() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let mut control = control(&ca).await;
    let node = Node::start(&ca, control.addresses(), directory.path());
    let mut call = control.calls.recv().await.unwrap();
    say(&call, snapshot(5, &["apps/a"])).await;
    assert_eq!(acked(&mut call).await, 5);
    say(&call, vec![delta(6, 7, &["apps/b"], &[])]).await;
    let mut call = control.calls.recv().await.unwrap();
    assert_eq!((call.hello.store_id.as_str(), call.hello.revision), ("", 0));
    assert_eq!(node.seen(), ["apps/a"]);
    say(&call, snapshot(7, &["apps/a", "apps/b"])).await;
    assert_eq!(acked(&mut call).await, 7);
    node.stop().await;
}

#[tokio::test]
async fn refused_change_is_nacked_and_undone() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let mut control = control(&ca).await;
    let node = Node::start(&ca, control.addresses(), directory.path());
    let mut call = control.calls.recv().await.unwrap();
    say(&call, snapshot(5, &["apps/a"])).await;
    assert_eq!(acked(&mut call).await, 5);
    node.refuses.store(true, Ordering::SeqCst);
    say(&call, vec![delta(5, 6, &["apps/b"], &["apps/a"])]).await;
    let sync_request::Kind::Nack(nack) = call.next().await else {
        panic!("not a nack");
    };
    assert_eq!((nack.revision, nack.reason.as_str()), (6, "not like this"));
    node.refuses.store(false, Ordering::SeqCst);
    say(&call, vec![delta(5, 8, &["apps/c"], &[])]).await;
    assert_eq!(acked(&mut call).await, 8);
    assert_eq!(node.seen(), ["apps/a", "apps/c"]);
    node.stop().await;
}

#[tokio::test]
async fn snapshots_that_break_the_rules_are_not_applied() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let mut control = control(&ca).await;
    let node = Node::start(&ca, control.addresses(), directory.path());
    let mut unordered = snapshot(5, &["apps/a", "apps/b"]);
    unordered.swap(0, 1);
    let mut of_two = snapshot(5, &["apps/a", "apps/b"]);
    of_two[1] = snapshot(6, &["apps/b"]).remove(0);
    let mut forged = snapshot(5, &["apps/a", "apps/b"]);
    forged.remove(0);
    for broken in [unordered, of_two, forged] {
        let mut call = control.calls.recv().await.unwrap();
        for message in broken {
            // The node may hang up before the last message.
            let _ = call.responses.send(Ok(message)).await;
        }
        assert!(matches!(call.requests.message().await, Ok(None) | Err(_)));
    }
    assert_eq!(*node.status.applied_revision.borrow(), 0);
    assert!(node.seen().is_empty());
    node.stop().await;
}

#[tokio::test]
async fn renewed_node_opens_its_line_anew_before_control_ends_it() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let mut control = control(&ca).await;
    let node = Node::start(&ca, control.addresses(), directory.path());
    let mut call = control.calls.recv().await.unwrap();
    say(&call, snapshot(5, &["apps/a"])).await;
    assert_eq!(acked(&mut call).await, 5);
    let renewed = ca.identity("spiffe://example.com/edge/e1");
    node.identity.replace(renewed);
    let again = tokio::time::timeout(Duration::from_secs(10), control.calls.recv());
    let again = again.await.unwrap().unwrap();
    assert_eq!(again.hello.revision, 5);
    node.stop().await;
}

#[tokio::test]
async fn presence_is_reported_at_once_and_when_changed() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let mut control = control(&ca).await;
    let (report, reports) = watch::channel(PresenceReport::default());
    let node = Node::start_reporting(&ca, control.addresses(), directory.path(), Some(reports));
    let mut call = control.calls.recv().await.unwrap();
    assert!(
        matches!(call.next().await, sync_request::Kind::Presence(now) if now.agents.is_empty())
    );
    let links = AgentLinks {
        agent: "a1".to_owned(),
        links: 2,
        tcp_links: 0,
    };
    report.send_replace(PresenceReport {
        agents: vec![links.clone()],
        app_faults: Vec::new(),
    });
    let sync_request::Kind::Presence(now) = call.next().await else {
        panic!("not presence");
    };
    assert_eq!(now.agents, [links]);
    node.stop().await;
}

#[tokio::test]
async fn refused_node_runs_on_and_comes_back() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let mut control = control(&ca).await;
    let node = Node::start(&ca, control.addresses(), directory.path());
    let mut call = control.calls.recv().await.unwrap();
    say(&call, snapshot(5, &["apps/a"])).await;
    assert_eq!(acked(&mut call).await, 5);
    let revoked = Status::permission_denied("revoked");
    call.responses.send(Err(revoked)).await.unwrap();
    let mut connected = node.status.connected.clone();
    connected.wait_for(|connected| !*connected).await.unwrap();
    assert_eq!(node.seen(), ["apps/a"]);
    assert_eq!(*node.status.applied_revision.borrow(), 5);
    node.stop().await;
}

#[tokio::test]
async fn a_node_stays_away_for_as_long_as_control_asks() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let mut control = control(&ca).await;
    let node = Node::start(&ca, control.addresses(), directory.path());
    let call = control.calls.recv().await.unwrap();
    let asked = Duration::from_secs(2);
    let details = tonic_types::ErrorDetails::with_retry_info(Some(asked));
    let busy = Status::with_error_details(tonic::Code::ResourceExhausted, "busy", details);
    call.responses.send(Err(busy)).await.unwrap();
    let told = tokio::time::Instant::now();
    control.calls.recv().await.unwrap();
    // Without it the first pause is a tenth of a second at most.
    assert!(told.elapsed() >= asked);
    node.stop().await;
}

#[tokio::test]
async fn a_question_is_handed_on_and_what_finds_no_room_is_told_so() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let mut control = control(&ca).await;
    let (asking, mut asked) = mpsc::channel(1);
    let means = (None, Some(asking));
    let node = Node::start_as(&ca, control.addresses(), directory.path(), means);
    let mut call = control.calls.recv().await.unwrap();
    let question = |id| {
        let app = "wiki".to_owned();
        let question = SignOnQuestion {
            id,
            app,
            ..SignOnQuestion::default()
        };
        Ok(message(sync_response::Kind::SignOn(question)))
    };
    for id in [7, 8] {
        call.responses.send(question(id)).await.unwrap();
    }
    // What comes later shows that both were read, as a line is read in order.
    for chunk in snapshot(5, &["a"]) {
        call.responses.send(Ok(chunk)).await.unwrap();
    }
    let (mut acked, mut busy) = (false, None);
    while !acked || busy.is_none() {
        match call.next().await {
            sync_request::Kind::Ack(_) => acked = true,
            sync_request::Kind::SignOn(answer) => busy = Some(answer),
            other => panic!("{other:?}"),
        }
    }
    let busy = busy.expect("it was answered");
    assert_eq!((busy.id, busy.findings.len()), (8, 1));
    assert!(busy.findings[0].found.contains("busy"), "{busy:?}");
    let first = asked.recv().await.unwrap();
    assert_eq!((first.question.id, &*first.question.app), (7, "wiki"));
    let found = SignOnFinding {
        found: "well".to_owned(),
        ..SignOnFinding::default()
    };
    first.answer(vec![found.clone()]);
    let sync_request::Kind::SignOn(answer) = call.next().await else {
        panic!("no answer");
    };
    assert_eq!((answer.id, answer.findings), (7, vec![found]));
    call.responses.send(question(9)).await.unwrap();
    let third = asked.recv().await.unwrap();
    assert_eq!(third.question.id, 9, "the second is not asked later");
    node.stop().await;
}

/// The conversation alone, over channels, so that time can be virtual.
#[tokio::test(start_paused = true)]
async fn silent_control_is_given_up_after_three_heartbeats() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let (applied, _) = watch::channel(0);
    let mut replica = Replica::new(
        Some(directory.path()),
        Arc::new(|_| Ok(())),
        applied,
        crate::node::Role::Agent,
        clock.clone(),
    );
    let identity = CurrentIdentity::new(Ca::new().identity("spiffe://example.com/agent/a1"));
    let (outbound, _requests) = mpsc::channel(session::OUTBOUND_MAX);
    let (responses, inbound) = mpsc::channel(8);
    let begun = clock.now();
    let session = session::Session {
        replica: &mut replica,
        outbound,
        presence: None,
        questions: None,
        identity: identity.subscribe(),
        clock: &clock,
    };
    let heartbeat = async {
        for revision in 0..3 {
            sleep(Duration::from_secs(10)).await;
            let beat = message(sync_response::Kind::Heartbeat(Heartbeat { revision }));
            responses.send(Ok(beat)).await.unwrap();
        }
    };
    let inbound = tokio_stream::wrappers::ReceiverStream::new(inbound);
    let (error, ()) = tokio::join!(session.run(inbound), heartbeat);
    assert!(matches!(error, session::SessionError::Silent));
    assert_eq!(clock.now() - begun, Duration::from_secs(60));
}
