//! A control on loopback, its operator, and nodes that speak for themselves.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use control::{Config, Handle, StartError, control::start_with_clock};
use prost::Message as _;
use proto::{
    admin::{
        Access, App, CreateAppRequest, CreateGroupRequest, CreateJoinTokenRequest,
        CreateJoinTokenResponse, Group, NodeRole, Origin, apps_client::AppsClient,
        groups_client::GroupsClient, join_tokens_client::JoinTokensClient,
    },
    fabric::{
        Ack, EnrolRequest, EnrolResponse, Resource, SyncHello, SyncRequest, SyncResponse,
        fabric_client::FabricClient, resource, sync_request, sync_response,
    },
    snapshot::Digest,
};
use runtime::{
    Clock, Scope, control_client,
    identity::{Identity, NodeKey},
    tls::{ALPN_H2, ca_client_config, node_client_config},
};
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, transport::Channel};
use tonic_types::StatusExt as _;

/// Far beyond what anything here takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Bench {
    pub(crate) handle: Handle,
    pub(crate) clock: Clock,
    pub(crate) directory: TempDir,
    _scope: Scope,
    operator: Channel,
    token: String,
}

pub(crate) fn config(directory: &Path) -> Config {
    Config {
        data_dir: directory.to_owned(),
        domain: Some("example.com".parse().unwrap()),
        listen: "127.0.0.1:0".parse().unwrap(),
        advertise: Vec::new(),
        admin_port: "127.0.0.1:0".parse().unwrap(),
        log: None,
    }
}

pub(crate) async fn start_in(directory: &Path) -> Result<(Handle, Scope), StartError> {
    let scope = Scope::root();
    let handle = start_with_clock(config(directory), Clock::system(), &scope).await?;
    Ok((handle, scope))
}

/// The value of a key of the operator's profile.
pub(crate) fn profile(path: &Path, key: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("\n{key} = \"")).unwrap();
    match rest.strip_prefix("\"\"") {
        Some(long) => long.split("\"\"\"").next().unwrap().to_owned(),
        None => rest.split('"').next().unwrap().to_owned(),
    }
}

impl Bench {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let scope = Scope::root();
        let clock = Clock::starting_at(Clock::system().wall());
        let handle = start_with_clock(config(directory.path()), clock.clone(), &scope)
            .await
            .unwrap();
        let ca = profile(&handle.profile_path, "ca");
        let address = profile(&handle.profile_path, "control");
        let tls = ca_client_config(&ca, &[ALPN_H2]).unwrap();
        let operator = control_client::connect(&vec![address].into(), Arc::new(tls))
            .await
            .unwrap();
        Self {
            token: profile(&handle.profile_path, "token"),
            operator,
            handle,
            clock,
            directory,
            _scope: scope,
        }
    }

    pub(crate) fn operator(&self) -> Channel {
        self.operator.clone()
    }

    /// A request with the operator's token.
    pub(crate) fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let value = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        request
    }

    pub(crate) async fn group(&self, id: &str) {
        let request = CreateGroupRequest {
            group_id: id.to_owned(),
            group: Some(Group::default()),
            validate_only: false,
        };
        GroupsClient::new(self.operator())
            .create_group(self.ask(request))
            .await
            .unwrap();
    }

    pub(crate) async fn publish(&self, id: &str, group: &str) {
        let request = CreateAppRequest {
            app_id: id.to_owned(),
            app: Some(app(id, group)),
            validate_only: false,
        };
        AppsClient::new(self.operator())
            .create_app(self.ask(request))
            .await
            .unwrap();
    }

    /// For agents of a group, or for edges.
    pub(crate) async fn join_token(
        &self,
        group: Option<&str>,
        uses: u32,
    ) -> CreateJoinTokenResponse {
        let request = CreateJoinTokenRequest {
            join_token_id: String::new(),
            role: group.map_or(NodeRole::Edge, |_| NodeRole::Agent).into(),
            group: group
                .map(|group| format!("groups/{group}"))
                .unwrap_or_default(),
            uses,
            ..Default::default()
        };
        JoinTokensClient::new(self.operator())
            .create_join_token(self.ask(request))
            .await
            .unwrap()
            .into_inner()
    }

    /// Enrols `role/id`.
    pub(crate) async fn enrol(&self, token: &str, name: &str) -> Result<Identity, Status> {
        let key = Arc::new(NodeKey::generate().unwrap());
        self.enrol_with(&key, token, name).await
    }

    /// Enrols `role/id` with this key.
    pub(crate) async fn enrol_with(
        &self,
        key: &Arc<NodeKey>,
        token: &str,
        name: &str,
    ) -> Result<Identity, Status> {
        let name = format!("spiffe://example.com/{name}").parse().unwrap();
        let request = EnrolRequest {
            token: token.to_owned(),
            csr: key.request(&name).unwrap().into(),
            version: "0.1.0".to_owned(),
            ephemeral: false,
        };
        let answer = FabricClient::new(self.operator())
            .enrol(request)
            .await?
            .into_inner();
        Ok(certified(key, answer))
    }

    pub(crate) async fn agent(&self, id: &str, group: &str) -> Identity {
        let token = self.join_token(Some(group), 1).await.token;
        self.enrol(&token, &format!("agent/{id}")).await.unwrap()
    }

    pub(crate) async fn edge(&self, id: &str) -> Identity {
        let token = self.join_token(None, 1).await.token;
        self.enrol(&token, &format!("edge/{id}")).await.unwrap()
    }

    pub(crate) async fn channel(&self, identity: &Identity) -> Channel {
        let tls = node_client_config(identity, &[ALPN_H2]).unwrap();
        let address = self.handle.local_addr.to_string();
        control_client::connect(&vec![address].into(), Arc::new(tls))
            .await
            .unwrap()
    }

    /// Connects a node that knows nothing, or what `replica` knows.
    pub(crate) async fn sync(&self, identity: &Identity, replica: Replica) -> Result<Node, Status> {
        let (outgoing, requests) = mpsc::channel(16);
        outgoing.send(replica.hello()).await.unwrap();
        self.sync_by(identity, replica, (outgoing, requests)).await
    }

    /// Connects a node that says nothing yet.
    pub(crate) async fn silent_sync(&self, identity: &Identity) -> Result<Node, Status> {
        let requests = mpsc::channel(16);
        self.sync_by(identity, Replica::default(), requests).await
    }

    async fn sync_by(
        &self,
        identity: &Identity,
        replica: Replica,
        (outgoing, requests): (mpsc::Sender<SyncRequest>, mpsc::Receiver<SyncRequest>),
    ) -> Result<Node, Status> {
        let mut client = FabricClient::new(self.channel(identity).await);
        let incoming = client
            .sync(ReceiverStream::new(requests))
            .await?
            .into_inner();
        Ok(Node {
            replica,
            outgoing,
            incoming,
        })
    }
}

/// What a node makes of control's answer to its key.
pub(crate) fn certified(key: &Arc<NodeKey>, answer: EnrolResponse) -> Identity {
    let ders = |list: Vec<bytes::Bytes>| {
        list.into_iter()
            .map(|der| CertificateDer::from(der.to_vec()))
            .collect()
    };
    let (chain, roots) = (ders(answer.certificate_chain), ders(answer.roots));
    Identity::new(Arc::clone(key), chain, roots).unwrap()
}

pub(crate) fn app(id: &str, group: &str) -> App {
    App {
        hosts: vec![format!("{id}.example.com")],
        origins: vec![Origin {
            url: format!("http://{id}.internal:8080"),
            tls: None,
            ..Default::default()
        }],
        group: format!("groups/{group}"),
        access: Access::Passthrough.into(),
        ..App::default()
    }
}

/// What a node keeps of the store.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Replica {
    pub(crate) store_id: String,
    pub(crate) revision: u64,
    pub(crate) resources: BTreeMap<String, Resource>,
}

impl Replica {
    /// What a node says first that has this.
    pub(crate) fn hello(&self) -> SyncRequest {
        let hello = SyncHello {
            store_id: self.store_id.clone(),
            revision: self.revision,
            version: "0.1.0".to_owned(),
            tunnel_address: "edge.example.com:8443".to_owned(),
            tcp_address: "edge.example.com:443".to_owned(),
            workers: 2,
        };
        SyncRequest {
            kind: Some(sync_request::Kind::Hello(hello)),
        }
    }

    /// Ids of the apps that it knows.
    pub(crate) fn apps(&self) -> Vec<&str> {
        let names = self.resources.keys();
        names
            .filter_map(|name| name.strip_prefix("apps/"))
            .collect()
    }

    pub(crate) fn kind(&self, name: &str) -> Option<&resource::Kind> {
        self.resources.get(name)?.kind.as_ref()
    }
}

pub(crate) struct Node {
    pub(crate) replica: Replica,
    pub(crate) outgoing: mpsc::Sender<SyncRequest>,
    incoming: Streaming<SyncResponse>,
}

impl Node {
    /// Takes what control sends until the replica is as wanted.
    pub(crate) async fn until(&mut self, mut wanted: impl FnMut(&Replica) -> bool) {
        while self.replica.revision == 0 || !wanted(&self.replica) {
            self.take().await.unwrap();
        }
    }

    /// Why control ended the conversation.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.take().await {
                return status;
            }
        }
    }

    /// Takes one state: a delta, or all pieces of a snapshot.
    async fn take(&mut self) -> Result<(), Status> {
        let next = timeout(PATIENCE, self.incoming.message());
        let message = next.await.expect("control says something in time")?;
        match message.expect("control goes with a status").kind {
            Some(sync_response::Kind::Snapshot(chunk)) => {
                if self.replica.store_id != chunk.store_id
                    || self.replica.revision != chunk.revision
                {
                    self.replica = Replica {
                        store_id: chunk.store_id,
                        revision: chunk.revision,
                        resources: BTreeMap::new(),
                    };
                }
                for encoded in chunk.resources {
                    let resource = Resource::decode(encoded).expect("control encodes well");
                    self.replica
                        .resources
                        .insert(resource.name.clone(), resource);
                }
                if !chunk.last {
                    return Box::pin(self.take()).await;
                }
                let mut digest = Digest::default();
                for resource in self.replica.resources.values() {
                    digest.add(&resource.encode_to_vec());
                }
                assert_eq!(digest.finish()[..], chunk.digest);
            }
            Some(sync_response::Kind::SignOn(question)) => panic!("nobody asked: {question:?}"),
            Some(sync_response::Kind::Delta(delta)) => {
                assert_eq!(delta.from_revision, self.replica.revision);
                self.replica.revision = delta.to_revision;
                for resource in delta.upserts {
                    self.replica
                        .resources
                        .insert(resource.name.clone(), resource);
                }
                for name in delta.deletes {
                    assert!(self.replica.resources.remove(&name).is_some(), "{name}");
                }
            }
            Some(sync_response::Kind::Heartbeat(_)) | None => return Ok(()),
        }
        let ack = Ack {
            revision: self.replica.revision,
        };
        let kind = Some(sync_request::Kind::Ack(ack));
        // Control may have ended the conversation; the next read tells.
        let _ = self.outgoing.send(SyncRequest { kind }).await;
        Ok(())
    }
}

/// The stable word of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    details
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}
