//! The service that edges and agents live by: enrolment, renewal, distribution of what is published, and for edges
//! the sign-in of users.
//!
//! Who a node is comes from the certificate of its TLS connection alone ([`ProvenNode`]); what it is told follows from
//! its record in the store (file `view`): an agent its group's apps and the edges, an edge every app and agent. What apps leave
//! to the fabric's settings is filled in on the way, so a change of those is a change of every app.

mod access;
mod accounts;
mod changes;
mod credentials;
mod devices;
mod enrol;
mod examine;
mod links;
mod member;
mod recover;
mod refreshes;
mod refusal;
mod renew;
mod report;
mod second_factors;
mod session;
mod sign_ins;
mod snapshot;
mod terms;
mod view;

use std::{pin::Pin, sync::Arc, time::SystemTime};

use model::host::Hostname;
use proto::fabric::{
    ChangePasswordRequest, CheckPasswordRequest, CheckPasswordResponse, DeviceAnswer,
    DeviceQuestion, EndSessionRequest, EndSessionResponse, EnrolRequest, EnrolResponse,
    ExamineRequest, ExamineResponse, RecoverRequest, RefreshSessionsRequest,
    RefreshSessionsResponse, RenewRequest, ReportSignInsRequest, ReportSignInsResponse,
    SyncRequest, SyncResponse,
    fabric_server::{self, FabricServer},
};
use runtime::{Clock, Scope, node::NodeIdentity};
use tokio::sync::{Mutex, mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    admin::PeerAddress,
    attempts::Attempts,
    ca::Ca,
    devices::Devices,
    lockout::Lockout,
    passwords::Passwords,
    presence::Presence,
    questions::Questions,
    refreshes::Refreshes,
    second_factors::key::SecondFactorKey,
    server::Admission,
    sign_in_log::SignInLog,
    store::{self, Check, Op, Store, StoreError},
    tokens::JoinIssuer,
};
use refusal::Refusal;

pub use accounts::passkeys::UsedChallenges;
pub(crate) use accounts::second_factors::forget as forget_second_factors;
pub use credentials::service as credentials_service;
pub use second_factors::service as second_factors_service;
pub use terms::service as terms_service;

pub(crate) use links::translating_key;
pub(crate) use view::{
    ASSERTION_KEYS_KEY, CERTIFICATES, FABRIC_KEY, SESSION_KEYS_KEY, SETTINGS_KEY, TICKET_KEYS_KEY,
};

/// Largest message from a node: an edge's report of 10,000 agents is about 700 KiB.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Messages waiting for a node besides what its connection buffers; what comes meanwhile is coalesced.
const OUTGOING_MAX: usize = 1;

/// What the service works with.
#[derive(Debug, Clone)]
pub struct FabricContext {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Clock,
    /// What nodes say of themselves.
    pub presence: Presence,
    /// What operators ask of agents.
    pub questions: Questions,
    /// Checks join tokens.
    pub join_issuer: Arc<JoinIssuer>,
    /// Signs certificates.
    pub ca: Arc<Ca>,
    /// Takes turns at hashing passwords.
    pub passwords: Passwords,
    /// Who has to wait before the next password is looked at.
    pub lockout: Arc<Lockout>,
    /// Terminals that want to sign in.
    pub devices: Arc<Devices>,
    /// Control's own key for users' second factors.
    pub second_factor_key: Arc<SecondFactorKey>,
    /// What passkeys have signed.
    pub challenges: Arc<UsedChallenges>,
    /// What edges tell of users who come and go.
    pub sign_ins: SignInLog,
    /// Sessions that identity providers are asked about again.
    pub refreshes: Refreshes,
    /// Domain of the fabric.
    pub domain: Hostname,
    /// Owns every open Sync.
    pub scope: Scope,
}

impl FabricContext {
    /// Does a transaction; false: a check did not hold, so read everything again.
    pub(crate) async fn commit(
        &self,
        checks: Vec<Check>,
        ops: Vec<Op>,
    ) -> Result<bool, StoreError> {
        let written = store::commit(&*self.store, checks, ops).await?;
        Ok(written.is_some())
    }
}

/// A node whose certificate TLS has verified. The listener puts it into the extensions of each request.
#[derive(Debug, Clone)]
pub struct ProvenNode {
    /// Who it is.
    pub name: NodeIdentity,
    /// SHA-256 of its public key.
    pub key_sha256: [u8; 32],
    /// When its certificate ends.
    pub expires_at: SystemTime,
}

/// The service, ready to be routed to.
#[must_use]
pub fn service(context: FabricContext) -> FabricServer<impl fabric_server::Fabric> {
    let service = Service {
        context: Arc::new(context),
        attempts: Attempts::new(enrol::REFUSED_MAX),
        enrolling: Mutex::new(()),
    };
    FabricServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

#[derive(Debug)]
struct Service {
    context: Arc<FabricContext>,
    attempts: Attempts,
    /// One enrolment at a time: those with one token would only make each other try again.
    enrolling: Mutex<()>,
}

#[tonic::async_trait]
impl fabric_server::Fabric for Service {
    async fn enrol(
        &self,
        request: Request<EnrolRequest>,
    ) -> Result<Response<EnrolResponse>, Status> {
        let peer = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
        let admission = request.extensions().get::<Admission>();
        let answer = self.enrol_from(peer, admission, request.get_ref()).await?;
        Ok(Response::new(answer))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<EnrolResponse>, Status> {
        let node = self.proven(&request)?;
        let answer = renew::renew(&self.context, &node, &request.get_ref().csr).await?;
        grant(&request);
        Ok(Response::new(answer))
    }

    async fn examine(
        &self,
        request: Request<ExamineRequest>,
    ) -> Result<Response<ExamineResponse>, Status> {
        let answer = if request.extensions().get::<ProvenNode>().is_some() {
            let node = self.proven(&request)?;
            examine::of_member(&self.context, &node).await?
        } else {
            let peer = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
            self.examine_token(peer, &request.get_ref().token).await?
        };
        grant(&request);
        Ok(Response::new(answer))
    }

    async fn recover(
        &self,
        request: Request<RecoverRequest>,
    ) -> Result<Response<EnrolResponse>, Status> {
        let peer = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
        let answer = self.recover_from(peer, &request.get_ref().csr).await?;
        grant(&request);
        Ok(Response::new(answer))
    }

    type SyncStream = Pin<Box<dyn Stream<Item = Result<SyncResponse, Status>> + Send>>;

    async fn sync(
        &self,
        request: Request<Streaming<SyncRequest>>,
    ) -> Result<Response<Self::SyncStream>, Status> {
        let node = self.proven(&request)?;
        let name = member::admit(&self.context, &node)
            .await?
            .id
            .resource_name();
        grant(&request);
        let (outgoing, answer) = mpsc::channel(OUTGOING_MAX);
        let context = Arc::clone(&self.context);
        self.context.scope.spawn("sync", async move {
            session::run(context, node, name, request.into_inner(), outgoing).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answer))))
    }

    async fn check_password(
        &self,
        request: Request<CheckPasswordRequest>,
    ) -> Result<Response<CheckPasswordResponse>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let answer = accounts::check_password(&self.context, &edge, request.get_ref()).await?;
        Ok(Response::new(answer))
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<CheckPasswordResponse>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let answer = accounts::change_password(&self.context, &edge, request.get_ref()).await?;
        Ok(Response::new(answer))
    }

    async fn end_session(
        &self,
        request: Request<EndSessionRequest>,
    ) -> Result<Response<EndSessionResponse>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let request = request.get_ref();
        accounts::end_session(&self.context, &edge, request).await?;
        // It is over either way, and would be left out when its time came.
        if let Err(error) = self.context.refreshes.forget(&request.session).await {
            tracing::warn!(%error, "a session that is over stays among those to refresh");
        }
        Ok(Response::new(EndSessionResponse {}))
    }

    async fn device(
        &self,
        request: Request<DeviceQuestion>,
    ) -> Result<Response<DeviceAnswer>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let answer = devices::answer(&self.context, &edge, request.into_inner())?;
        Ok(Response::new(answer))
    }

    async fn report_sign_ins(
        &self,
        request: Request<ReportSignInsRequest>,
    ) -> Result<Response<ReportSignInsResponse>, Status> {
        let node = self.proven(&request)?;
        let edge = accounts::admit_edge(&self.context, &node).await?;
        grant(&request);
        sign_ins::report(&self.context, &edge, &node, request.into_inner()).await?;
        Ok(Response::new(ReportSignInsResponse {}))
    }

    async fn refresh_sessions(
        &self,
        request: Request<RefreshSessionsRequest>,
    ) -> Result<Response<RefreshSessionsResponse>, Status> {
        let node = self.proven(&request)?;
        let edge = accounts::admit_edge(&self.context, &node).await?;
        grant(&request);
        let request = request.into_inner();
        let answer = refreshes::exchange(&self.context, &edge, &node, request).await?;
        Ok(Response::new(answer))
    }
}

/// The connection is that of a node that may call.
fn grant<T>(request: &Request<T>) {
    if let Some(admission) = request.extensions().get::<Admission>() {
        admission.grant();
    }
}

/// The edge that calls: what it may ask is about users.
async fn admitted_edge<T>(
    context: &FabricContext,
    request: &Request<T>,
) -> Result<accounts::AdmittedEdge, Refusal> {
    let node = proven(context, request)?;
    let edge = accounts::admit_edge(context, &node).await?;
    grant(request);
    Ok(edge)
}

impl Service {
    /// Who calls. TLS has looked at the certificate once, and its connection may be older than a day.
    fn proven<T>(&self, request: &Request<T>) -> Result<ProvenNode, Refusal> {
        proven(&self.context, request)
    }
}

fn proven<T>(context: &FabricContext, request: &Request<T>) -> Result<ProvenNode, Refusal> {
    let node = request.extensions().get::<ProvenNode>();
    let node = node.cloned().ok_or(Refusal::NoCertificate)?;
    if node.expires_at <= context.clock.wall() {
        return Err(Refusal::CertificateExpired);
    }
    Ok(node)
}

#[cfg(test)]
mod tests;
