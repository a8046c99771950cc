//! The service by which edges have credentials of apps kept that users enter. What comes is sealed already, by the user's browser.

use std::sync::Arc;

use proto::fabric::{
    KeepCredentialRequest, KeepCredentialResponse, RemoveCredentialRequest,
    RemoveCredentialResponse, ShowCredentialRequest, ShowCredentialResponse,
    credentials_server::{self, CredentialsServer},
};
use tonic::{Request, Response, Status};

use super::{FabricContext, accounts::credentials, admitted_edge};

/// Largest request: names, a proof, and what is sealed.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// The service, ready to be routed to.
#[must_use]
pub fn service(context: FabricContext) -> CredentialsServer<impl credentials_server::Credentials> {
    let service = Service {
        context: Arc::new(context),
    };
    CredentialsServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

#[derive(Debug)]
struct Service {
    context: Arc<FabricContext>,
}

#[tonic::async_trait]
impl credentials_server::Credentials for Service {
    async fn show_credential(
        &self,
        request: Request<ShowCredentialRequest>,
    ) -> Result<Response<ShowCredentialResponse>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let kept_ms = credentials::show(&self.context, &edge, request.get_ref()).await?;
        Ok(Response::new(ShowCredentialResponse { kept_ms }))
    }

    async fn keep_credential(
        &self,
        request: Request<KeepCredentialRequest>,
    ) -> Result<Response<KeepCredentialResponse>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let kept_ms = credentials::keep(&self.context, &edge, request.get_ref()).await?;
        Ok(Response::new(KeepCredentialResponse { kept_ms }))
    }

    async fn remove_credential(
        &self,
        request: Request<RemoveCredentialRequest>,
    ) -> Result<Response<RemoveCredentialResponse>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let removed = credentials::remove(&self.context, &edge, request.get_ref()).await?;
        Ok(Response::new(RemoveCredentialResponse { removed }))
    }
}
