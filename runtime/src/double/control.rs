use std::{net::SocketAddr, sync::Arc};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use proto::fabric::{
    ChangePasswordRequest, CheckPasswordRequest, CheckPasswordResponse, DeviceAnswer,
    DeviceQuestion, EndSessionRequest, EndSessionResponse, EnrolRequest, EnrolResponse,
    ExamineRequest, ExamineResponse, RecoverRequest, RefreshSessionsRequest,
    RefreshSessionsResponse, RenewRequest, ReportSignInsRequest, ReportSignInsResponse, SyncHello,
    SyncRequest, SyncResponse,
    fabric_server::{Fabric, FabricServer},
    sync_request,
};
use rustls::{ServerConfig, server::WebPkiClientVerifier};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::ca::Ca;
use crate::{
    scope::Scope,
    tls::{ALPN_H2, provider, store},
};

type Sign = dyn Fn(&[u8]) -> Result<EnrolResponse, Status> + Send + Sync;

/// Serves `Fabric` on loopback over TLS until its scope ends.
pub(crate) struct ControlDouble {
    pub(crate) address: SocketAddr,
    /// Conversations that nodes opened.
    pub(crate) calls: mpsc::Receiver<SyncCall>,
    pub(crate) scope: Scope,
}

/// One conversation, seen from control.
pub(crate) struct SyncCall {
    pub(crate) hello: SyncHello,
    pub(crate) requests: Streaming<SyncRequest>,
    pub(crate) responses: mpsc::Sender<Result<SyncResponse, Status>>,
}

impl SyncCall {
    pub(crate) async fn next(&mut self) -> sync_request::Kind {
        self.requests
            .message()
            .await
            .unwrap()
            .unwrap()
            .kind
            .unwrap()
    }
}

#[derive(Clone)]
struct Script {
    sign: Arc<Sign>,
    calls: mpsc::Sender<SyncCall>,
}

impl ControlDouble {
    /// `sign` answers every request for a certificate; it gets the PKCS#10 request.
    pub(crate) async fn start<S>(ca: &Ca, sign: S) -> Self
    where
        S: Fn(&[u8]) -> Result<EnrolResponse, Status> + Send + Sync + 'static,
    {
        Self::start_at("127.0.0.1:0".parse().unwrap(), ca, sign).await
    }

    pub(crate) async fn start_at<S>(address: SocketAddr, ca: &Ca, sign: S) -> Self
    where
        S: Fn(&[u8]) -> Result<EnrolResponse, Status> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, received) = mpsc::channel(8);
        let script = Script {
            sign: Arc::new(sign),
            calls,
        };
        let acceptor = TlsAcceptor::from(Arc::new(server_config(ca)));
        let scope = Scope::root();
        scope.spawn(
            "double",
            serve(listener, acceptor, script, scope.child("double")),
        );
        Self {
            address,
            calls: received,
            scope,
        }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        vec![self.address.to_string()]
    }
}

fn server_config(ca: &Ca) -> ServerConfig {
    let identity = ca.identity_with_root("spiffe://example.com/control/c1");
    let roots = Arc::new(store(&[ca.root()]).unwrap());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain().to_vec(), identity.key())
        .unwrap();
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, script: Script, scope: Scope) {
    while let Ok((stream, _)) = listener.accept().await {
        let connection = converse(stream, acceptor.clone(), script.clone());
        scope.spawn("double connection", connection);
    }
}

async fn converse(stream: TcpStream, acceptor: TlsAcceptor, script: Script) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = TowerToHyperService::new(FabricServer::new(script));
    // How a connection of a test ends is told by the other side.
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[tonic::async_trait]
impl Fabric for Script {
    async fn enrol(
        &self,
        request: Request<EnrolRequest>,
    ) -> Result<Response<EnrolResponse>, Status> {
        (self.sign)(&request.get_ref().csr).map(Response::new)
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<EnrolResponse>, Status> {
        (self.sign)(&request.get_ref().csr).map(Response::new)
    }

    async fn examine(
        &self,
        _: Request<ExamineRequest>,
    ) -> Result<Response<ExamineResponse>, Status> {
        Err(Status::unimplemented("nobody is examined"))
    }

    async fn recover(
        &self,
        request: Request<RecoverRequest>,
    ) -> Result<Response<EnrolResponse>, Status> {
        (self.sign)(&request.get_ref().csr).map(Response::new)
    }

    // Of users, whom nothing here knows.
    async fn check_password(
        &self,
        _: Request<CheckPasswordRequest>,
    ) -> Result<Response<CheckPasswordResponse>, Status> {
        Err(Status::unimplemented("no users"))
    }

    async fn change_password(
        &self,
        _: Request<ChangePasswordRequest>,
    ) -> Result<Response<CheckPasswordResponse>, Status> {
        Err(Status::unimplemented("no users"))
    }

    async fn end_session(
        &self,
        _: Request<EndSessionRequest>,
    ) -> Result<Response<EndSessionResponse>, Status> {
        Err(Status::unimplemented("no users"))
    }

    async fn device(&self, _: Request<DeviceQuestion>) -> Result<Response<DeviceAnswer>, Status> {
        Err(Status::unimplemented("no users"))
    }

    async fn report_sign_ins(
        &self,
        _: Request<ReportSignInsRequest>,
    ) -> Result<Response<ReportSignInsResponse>, Status> {
        Err(Status::unimplemented("no users"))
    }

    async fn refresh_sessions(
        &self,
        _: Request<RefreshSessionsRequest>,
    ) -> Result<Response<RefreshSessionsResponse>, Status> {
        Err(Status::unimplemented("no users"))
    }

    type SyncStream = ReceiverStream<Result<SyncResponse, Status>>;

    async fn sync(
        &self,
        request: Request<Streaming<SyncRequest>>,
    ) -> Result<Response<Self::SyncStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|first| first.kind);
        let Some(sync_request::Kind::Hello(hello)) = first else {
            return Err(Status::invalid_argument("no hello"));
        };
        let (responses, answers) = mpsc::channel(8);
        let call = SyncCall {
            hello,
            requests,
            responses,
        };
        self.calls
            .send(call)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}
