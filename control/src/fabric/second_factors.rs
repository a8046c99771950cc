//! The service by which edges ask for second factors, passkeys, and the pages of accounts.

use std::sync::Arc;

use proto::fabric::{
    CheckCodeRequest, CheckPasskeyRequest, CheckPasswordResponse, EndUserSessionsRequest,
    EnrolAuthenticatorRequest, EnrolAuthenticatorResponse, RegisterPasskeyRequest,
    RemoveAuthenticatorRequest, RemovePasskeyRequest, ShowAccountRequest, ShowAccountResponse,
    second_factors_server::{self, SecondFactorsServer},
};
use tonic::{Request, Response, Status};

use super::{
    FabricContext,
    accounts::{authenticator, own_account, passkeys, second_factors},
    admitted_edge,
};

/// Largest request: a ceremony of some kilobytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The service, ready to be routed to.
#[must_use]
pub fn service(
    context: FabricContext,
) -> SecondFactorsServer<impl second_factors_server::SecondFactors> {
    let service = Service {
        context: Arc::new(context),
    };
    SecondFactorsServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

#[derive(Debug)]
struct Service {
    context: Arc<FabricContext>,
}

#[tonic::async_trait]
impl second_factors_server::SecondFactors for Service {
    async fn check_code(
        &self,
        request: Request<CheckCodeRequest>,
    ) -> Result<Response<CheckPasswordResponse>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let answer = second_factors::check_code(&self.context, &edge, request.get_ref());
        Ok(Response::new(answer.await?))
    }

    async fn enrol_authenticator(
        &self,
        request: Request<EnrolAuthenticatorRequest>,
    ) -> Result<Response<EnrolAuthenticatorResponse>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let answer = authenticator::enrol_authenticator(&self.context, &edge, request.get_ref());
        Ok(Response::new(answer.await?))
    }

    async fn remove_authenticator(
        &self,
        request: Request<RemoveAuthenticatorRequest>,
    ) -> Result<Response<CheckPasswordResponse>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let answer = authenticator::remove_authenticator(&self.context, &edge, request.get_ref());
        Ok(Response::new(answer.await?))
    }

    async fn register_passkey(
        &self,
        request: Request<RegisterPasskeyRequest>,
    ) -> Result<Response<CheckPasswordResponse>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let answer = passkeys::register_passkey(&self.context, &edge, request.get_ref());
        Ok(Response::new(answer.await?))
    }

    async fn check_passkey(
        &self,
        request: Request<CheckPasskeyRequest>,
    ) -> Result<Response<CheckPasswordResponse>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let answer = passkeys::check_passkey(&self.context, &edge, request.get_ref());
        Ok(Response::new(answer.await?))
    }

    async fn remove_passkey(
        &self,
        request: Request<RemovePasskeyRequest>,
    ) -> Result<Response<CheckPasswordResponse>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let answer = passkeys::remove_passkey(&self.context, &edge, request.get_ref());
        Ok(Response::new(answer.await?))
    }

    async fn show_account(
        &self,
        request: Request<ShowAccountRequest>,
    ) -> Result<Response<ShowAccountResponse>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let answer = own_account::show_account(&self.context, &edge, request.get_ref());
        Ok(Response::new(answer.await?))
    }

    async fn end_user_sessions(
        &self,
        request: Request<EndUserSessionsRequest>,
    ) -> Result<Response<CheckPasswordResponse>, Status> {
        let edge = admitted_edge(&self.context, &request).await?;
        let answer = own_account::end_user_sessions(&self.context, &edge, request.get_ref());
        Ok(Response::new(answer.await?))
    }
}
