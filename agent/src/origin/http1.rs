//! One HTTP/1.1 connection to an origin: one exchange at a time.

use std::{future::Future, sync::Arc};

use http::{Request, Response};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use runtime::Scope;

use super::{
    AnswerBody, Informational, Origin, SendFailure,
    stream::{OriginStream, Wire},
};
use crate::request::UploadBody;

/// Longest head of an answer: it must fit the tunnel's field block.
const HEAD_BYTES_MAX: usize = tunnel::fields::FIELD_BYTES_MAX;

/// Bytes that hyper holds of one direction: one DATA frame on its way in, one on its way out.
const BUFFER_BYTES_MAX: usize = 2 * tunnel::frame::DATA_BYTES_MAX as usize;

/// The connection; hyper drives it in a task of its own.
#[derive(Debug)]
pub(super) struct Http1 {
    sender: http1::SendRequest<UploadBody>,
    wire: Arc<Wire>,
    reused: bool,
}

impl Http1 {
    /// Starts HTTP on `stream`, which leads to `origin`; its driver is a task of `scope`.
    pub(super) async fn start(
        stream: OriginStream,
        wire: Arc<Wire>,
        origin: &Origin,
        scope: &Scope,
    ) -> Result<Self, hyper::Error> {
        let (sender, driver) = http1::Builder::new()
            .title_case_headers(origin.published().title_case)
            .preserve_header_case(origin.keeps_field_case())
            .max_header_size(HEAD_BYTES_MAX)
            .max_headers(tunnel::fields::FIELDS_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        let driver = driver.with_upgrades();
        let own = scope.clone();
        scope.spawn_local("origin connection", async move {
            tokio::select! {
                ended = driver => if let Err(error) = ended {
                    tracing::debug!(%error, "origin connection ended");
                },
                () = own.cancelled() => {}
            }
        });
        Ok(Self {
            sender,
            wire,
            reused: false,
        })
    }

    /// Sends a request. Dropping the future breaks the exchange off and closes the connection.
    pub(super) fn send(
        &mut self,
        mut request: Request<UploadBody>,
        heard: Arc<Informational>,
    ) -> impl Future<Output = Result<Response<AnswerBody>, SendFailure>> + use<> {
        self.wire.listen();
        hyper::ext::on_informational(&mut request, move |response| {
            heard.add(response.status(), response.headers());
        });
        let (wire, reused) = (Arc::clone(&self.wire), self.reused);
        let answer = self.sender.try_send_request(request);
        async move {
            match answer.await {
                Ok(response) => Ok(response.map(AnswerBody::Http1)),
                Err(failure) => Err(SendFailure {
                    unprocessed: failure.message().is_some() || !wire.spoke(),
                    unheard: !wire.heard(),
                    reused,
                    error: failure.into_error().into(),
                }),
            }
        }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed() && !self.wire.is_broken()
    }

    /// Waits out the moment in which hyper finishes the exchange before. False if the connection ended instead.
    pub(super) async fn make_ready(&mut self) -> bool {
        self.reused = true;
        self.sender.ready().await.is_ok()
    }
}
