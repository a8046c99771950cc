//! What the tests of all services share, and the tests of the door over a real channel.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use prost::Message;
use proto::{
    admin::{
        self, App, CreateAppRequest, CreateGroupRequest, CreateUserRequest, DeleteAppRequest,
        DeleteGroupRequest, Group, ListAppsRequest, ListAuditEventsRequest, ListUsersRequest,
        OperatorRole, apps_client::AppsClient, apps_server::Apps as _, audit_client::AuditClient,
        audit_server::Audit as _, groups_client::GroupsClient, groups_server::Groups as _,
        users_client::UsersClient,
    },
    control::{AgentRecord, EdgeRecord},
};
use runtime::{Scope, tls::CaPin};
use rustls_pki_types::CertificateDer;
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Status,
    body::Body,
    codegen::{Service as _, http},
    metadata::MetadataValue,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_types::StatusExt as _;

use super::{
    AdminContext, apps::Apps, audit_events::AuditEvents, door::FAILURES_MAX, groups::Groups,
    operator::Operator, routes,
};
use crate::{
    passwords::Passwords,
    presence::Presence,
    questions::Questions,
    server::Calls,
    sign_in_log::{EVENTS_MAX, SignInLog},
    store::{Op, sqlite},
    tokens::{self, ApiTokenOrder, JoinIssuer},
};

/// A store in a directory of its own, and what the services need.
pub(super) struct Bench {
    pub(super) context: AdminContext,
    _directory: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = runtime::Clock::system();
        let store = sqlite::open(directory.path(), &clock).unwrap();
        let context = AdminContext {
            store: Arc::new(store),
            sign_ins: SignInLog::open(directory.path(), EVENTS_MAX).unwrap(),
            presence: Presence::default(),
            questions: Questions::default(),
            join_issuer: Arc::new(join_issuer(directory.path())),
            passwords: Passwords::default(),
            lockout: Arc::default(),
            domain: Arc::from("example.test"),
            start_time: clock.wall(),
            ca_expire_time: clock.wall() + Duration::from_secs(86_400),
            clock,
        };
        Self {
            context,
            _directory: directory,
        }
    }

    /// With the group `groups/office`.
    pub(super) async fn with_office() -> Self {
        let bench = Self::new();
        bench.create_group("office").await;
        bench
    }

    pub(super) fn apps(&self) -> Apps {
        Apps {
            context: self.context.clone(),
        }
    }

    pub(super) fn groups(&self) -> Groups {
        Groups {
            context: self.context.clone(),
        }
    }

    pub(super) async fn create_group(&self, id: &str) {
        let request = CreateGroupRequest {
            group_id: id.to_owned(),
            group: Some(Group::default()),
            validate_only: false,
        };
        self.groups().create_group(by_admin(request)).await.unwrap();
    }

    pub(super) async fn create_app(&self, id: &str, app: App) -> Result<App, Status> {
        let request = CreateAppRequest {
            app_id: id.to_owned(),
            app: Some(app),
            validate_only: false,
        };
        Ok(self
            .apps()
            .create_app(by_admin(request))
            .await?
            .into_inner())
    }

    pub(super) async fn delete_app(&self, id: &str) {
        let request = DeleteAppRequest {
            name: format!("apps/{id}"),
            etag: String::new(),
        };
        self.apps().delete_app(by_admin(request)).await.unwrap();
    }

    pub(super) async fn delete_group(&self, id: &str) -> Result<(), Status> {
        let request = DeleteGroupRequest {
            name: format!("groups/{id}"),
            etag: String::new(),
        };
        self.groups()
            .delete_group(by_admin(request))
            .await
            .map(drop)
    }

    /// Stores an agent as enrolment does.
    pub(super) async fn enrolled(&self, id: &str, group: &str) {
        let agent = admin::Agent {
            name: format!("agents/{id}"),
            group: group.to_owned(),
            ..admin::Agent::default()
        };
        let key = Arc::from(agent.name.as_str());
        let stored = AgentRecord {
            agent: Some(agent),
            ..AgentRecord::default()
        };
        self.put(key, &stored).await;
    }

    /// Stores an edge as enrolment does.
    pub(super) async fn enrolled_edge(&self, id: &str) {
        let edge = admin::Edge {
            name: format!("edges/{id}"),
            ..admin::Edge::default()
        };
        let key = Arc::from(edge.name.as_str());
        let stored = EdgeRecord {
            edge: Some(edge),
            ..EdgeRecord::default()
        };
        self.put(key, &stored).await;
    }

    async fn put(&self, key: Arc<str>, message: &impl Message) {
        let op = Op::Put(key, message.encode_to_vec().into());
        self.context.store.txn(Vec::new(), vec![op]).await.unwrap();
    }

    /// The audit events, newest first.
    pub(super) async fn audit(&self) -> Vec<admin::AuditEvent> {
        let service = AuditEvents {
            context: self.context.clone(),
        };
        let request = by_admin(ListAuditEventsRequest::default());
        service
            .list_audit_events(request)
            .await
            .unwrap()
            .into_inner()
            .audit_events
    }

    /// Makes an API token past the API, as the first start does.
    pub(super) async fn api_token(&self, id: &str, role: OperatorRole) -> String {
        let order = ApiTokenOrder {
            id: id.parse().unwrap(),
            display_name: String::new(),
            role,
            expires: None,
        };
        let minted = tokens::mint_api(order, self.context.clock.wall());
        let (checks, ops) = tokens::api_token_ops(&minted.record);
        self.context.store.txn(checks, ops).await.unwrap();
        minted.token.into_exposed()
    }
}

fn join_issuer(directory: &Path) -> JoinIssuer {
    let pin = CaPin::of(&CertificateDer::from(b"no certificate at all".as_slice()));
    let domain = "example.test".parse().unwrap();
    JoinIssuer::load_or_create(
        directory,
        domain,
        vec!["control.example.test:7443".to_owned()],
        pin,
    )
    .unwrap()
}

/// A request that the door has let in for an admin.
pub(super) fn by_admin<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Operator {
        name: "apiTokens/root".to_owned(),
        role: OperatorRole::Admin,
        peer: "127.0.0.1:9".to_owned(),
    });
    request
}

/// A good app in `groups/office`.
pub(super) fn app(host: &str) -> App {
    App {
        display_name: "Wiki".to_owned(),
        hosts: vec![host.to_owned()],
        origins: vec![admin::Origin {
            url: "http://10.0.0.5:8080".to_owned(),
            tls: None,
            ..Default::default()
        }],
        group: "groups/office".to_owned(),
        access: admin::Access::Passthrough.into(),
        ..App::default()
    }
}

/// Fields of all violations.
pub(super) fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = details
        .bad_request()
        .map(|bad| bad.field_violations.clone());
    violations
        .unwrap_or_default()
        .into_iter()
        .map(|found| found.field)
        .collect()
}

pub(super) fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    details
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}

/// The API on a socket.
struct Served {
    bench: Bench,
    scope: Scope,
    channel: Channel,
}

impl Served {
    async fn start() -> Self {
        let bench = Bench::with_office().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let scope = Scope::root();
        let server = Server::builder()
            .add_routes(routes(&bench.context))
            .serve_with_incoming(TcpIncoming::from(listener));
        let ended = scope.clone();
        scope.spawn("server", async move {
            tokio::select! {
                served = server => served.unwrap(),
                () = ended.cancelled() => {}
            }
        });
        let endpoint: Endpoint = format!("http://{address}").parse().unwrap();
        Self {
            bench,
            scope,
            channel: endpoint.connect().await.unwrap(),
        }
    }

    async fn close(self) {
        drop(self.channel);
        self.scope.cancel();
        self.scope.ended().await;
    }

    async fn list_apps(&self, token: &str) -> Result<(), Status> {
        let request = bearing(token, ListAppsRequest::default());
        AppsClient::new(self.channel.clone())
            .list_apps(request)
            .await
            .map(drop)
    }
}

fn bearing<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value: MetadataValue<_> = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

fn app_request(id: &str) -> CreateAppRequest {
    CreateAppRequest {
        app_id: id.to_owned(),
        app: Some(app(&format!("{id}.example.test"))),
        validate_only: false,
    }
}

fn user_request(id: &str) -> CreateUserRequest {
    CreateUserRequest {
        user_id: id.to_owned(),
        ..CreateUserRequest::default()
    }
}

#[tokio::test]
async fn roles_decide_what_a_token_may_do() {
    let served = Served::start().await;
    for (id, role, may_list, may_publish, may_group, may_audit) in [
        ("viewer", OperatorRole::Viewer, true, false, false, false),
        (
            "publisher",
            OperatorRole::Publisher,
            true,
            true,
            false,
            false,
        ),
        ("admin", OperatorRole::Admin, true, true, true, true),
    ] {
        let token = served.bench.api_token(id, role).await;
        let channel = || served.channel.clone();
        let group = CreateGroupRequest {
            group_id: id.to_owned(),
            ..CreateGroupRequest::default()
        };
        let outcomes = [
            served.list_apps(&token).await,
            AppsClient::new(channel())
                .create_app(bearing(&token, app_request(id)))
                .await
                .map(drop),
            GroupsClient::new(channel())
                .create_group(bearing(&token, group))
                .await
                .map(drop),
            UsersClient::new(channel())
                .list_users(bearing(&token, ListUsersRequest::default()))
                .await
                .map(drop),
            UsersClient::new(channel())
                .create_user(bearing(&token, user_request(id)))
                .await
                .map(drop),
            AuditClient::new(channel())
                .list_audit_events(bearing(&token, ListAuditEventsRequest::default()))
                .await
                .map(drop),
        ];
        for (outcome, may) in outcomes.iter().zip([
            may_list,
            may_publish,
            may_group,
            may_list,
            may_group,
            may_audit,
        ]) {
            let want = if may {
                Code::Ok
            } else {
                Code::PermissionDenied
            };
            let got = outcome.as_ref().map_or_else(Status::code, |()| Code::Ok);
            assert_eq!(got, want, "{id}: {outcome:?}");
        }
    }
    served.close().await;
}

#[tokio::test]
async fn refused_writes_are_audited_and_refused_reads_are_not() {
    let served = Served::start().await;
    let token = served.bench.api_token("viewer", OperatorRole::Viewer).await;
    let mut apps = AppsClient::new(served.channel.clone());
    let refused = apps
        .create_app(bearing(&token, app_request("wiki")))
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "PERMISSION_DENIED");
    let mut audit = AuditClient::new(served.channel.clone());
    let request = bearing(&token, ListAuditEventsRequest::default());
    assert_eq!(
        audit.list_audit_events(request).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    let events = served.bench.audit().await;
    let newest = &events[0];
    assert_eq!(
        (newest.actor.as_str(), newest.method.as_str()),
        ("apiTokens/viewer", "CreateApp")
    );
    assert_eq!(
        events.iter().map(|event| event.refused).collect::<Vec<_>>(),
        [true, false]
    );
    assert!(newest.peer.starts_with("127.0.0.1:"), "{newest:?}");
    assert_eq!(
        events.len(),
        2,
        "the group's creation and the refusal: {events:?}"
    );
    served.close().await;
}

#[tokio::test]
async fn a_write_that_is_refused_again_and_again_is_audited_once() {
    let served = Served::start().await;
    for id in ["viewer", "other"] {
        let token = served.bench.api_token(id, OperatorRole::Viewer).await;
        for _ in 0..20 {
            let refused = AppsClient::new(served.channel.clone())
                .create_app(bearing(&token, app_request("wiki")))
                .await
                .unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied);
        }
    }
    let events = served.bench.audit().await;
    let refused = events.iter().filter(|event| event.refused);
    let actors: Vec<_> = refused.map(|event| event.actor.as_str()).collect();
    assert_eq!(actors, ["apiTokens/other", "apiTokens/viewer"]);
    served.close().await;
}

#[tokio::test]
async fn many_bad_tokens_bar_the_address_and_never_who_has_a_good_one() {
    let served = Served::start().await;
    let good = served.bench.api_token("viewer", OperatorRole::Viewer).await;
    let bare = AppsClient::new(served.channel.clone())
        .list_apps(ListAppsRequest::default())
        .await;
    assert_eq!(reason(&bare.unwrap_err()), "UNAUTHENTICATED");
    for _ in 1..FAILURES_MAX {
        let refused = served.list_apps("adit_wrong").await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    assert_eq!(
        reason(&served.list_apps("adit_wrong").await.unwrap_err()),
        "TOO_MANY_FAILURES"
    );
    served.list_apps(&good).await.unwrap();
    served.close().await;
}

#[tokio::test]
async fn expired_token_is_refused() {
    let served = Served::start().await;
    let clock = &served.bench.context.clock;
    let order = ApiTokenOrder {
        id: "old".parse().unwrap(),
        display_name: String::new(),
        role: OperatorRole::Admin,
        expires: Some(clock.wall() - Duration::from_secs(1)),
    };
    let minted = tokens::mint_api(order, clock.wall());
    let (checks, ops) = tokens::api_token_ops(&minted.record);
    served.bench.context.store.txn(checks, ops).await.unwrap();
    let refused = served.list_apps(minted.token.expose()).await.unwrap_err();
    assert_eq!(refused.message(), "the API token has expired");
    served.close().await;
}

#[tokio::test]
async fn only_a_good_token_makes_a_connection_an_operators() {
    let bench = Bench::new();
    let good = bench.api_token("viewer", OperatorRole::Viewer).await;
    for (token, is_known) in [(good.as_str(), true), ("adit_wrong", false)] {
        let calls = Calls::none();
        let call = calls.begin();
        let mut request = http::Request::post("https://control/adit.admin.v1.Apps/ListApps")
            .header("content-type", "application/grpc")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        request.extensions_mut().insert(call.admission());
        routes(&bench.context).call(request).await.unwrap();
        assert_eq!(calls.admitted() == 1, is_known, "{token}");
    }
}

#[tokio::test]
async fn services_without_their_door_let_nobody_in() {
    let bench = Bench::new();
    let refused = bench
        .apps()
        .create_app(Request::new(app_request("wiki")))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}
