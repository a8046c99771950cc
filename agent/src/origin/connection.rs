//! One HTTP/1.1 connection to an origin, as the pool hands it out.

use std::{future::Future, sync::Arc, time::Duration};

use http::{HeaderMap, Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use runtime::Scope;
use tokio::time::Instant;

use super::{
    Origin,
    stream::{OriginStream, Wire},
};
use crate::request::UploadBody;

/// Longest head of an answer: it must fit the tunnel's field block.
const HEAD_BYTES_MAX: usize = tunnel::fields::FIELD_BYTES_MAX;

/// Bytes that hyper holds of one direction: one DATA frame on its way in, one on its way out.
const BUFFER_BYTES_MAX: usize = 2 * tunnel::frame::DATA_BYTES_MAX as usize;

/// A connection that serves one exchange at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: http1::SendRequest<UploadBody>,
    wire: Arc<Wire>,
    origin: Arc<Origin>,
    reused: bool,
    /// How long it may lie idle.
    pub(super) idle_max: Duration,
    pub(super) idle_since: Instant,
}

impl Connection {
    /// Starts HTTP on `stream`; its driver is a task of `scope`.
    pub(super) async fn start(
        stream: OriginStream,
        wire: Arc<Wire>,
        origin: &Arc<Origin>,
        idle_max: Duration,
        now: Instant,
        scope: &Scope,
    ) -> Result<Self, hyper::Error> {
        let (sender, driver) = http1::Builder::new()
            .max_header_size(HEAD_BYTES_MAX)
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
            origin: Arc::clone(origin),
            reused: false,
            idle_max,
            idle_since: now,
        })
    }

    /// Sends a request. Dropping the future breaks the exchange off and closes the connection.
    pub(crate) fn send(
        &mut self,
        request: Request<UploadBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<UploadBody>>>> + use<>
    {
        self.wire.listen();
        self.sender.try_send_request(request)
    }

    /// Whether it served a request before: then its origin may have closed it without our knowing.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Whether the origin said anything since the last [`Connection::send`].
    pub(crate) fn heard(&self) -> bool {
        self.wire.heard()
    }

    /// The origin at its other end.
    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Takes the origin's word on how long it keeps the connection.
    pub(crate) fn note_keep_alive(&mut self, fields: &HeaderMap) {
        if let Some(promised) = promised_keep_alive(fields) {
            self.idle_max = promised
                .saturating_sub(KEEP_ALIVE_MARGIN)
                .min(IDLE_TIMEOUT_MAX);
        }
    }

    /// Whether it can go to the idle ones, or stay there.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        !self.sender.is_closed()
            && !self.wire.is_broken()
            && now.saturating_duration_since(self.idle_since) < self.idle_max
    }

    /// Waits out the moment in which hyper finishes the exchange before. False if the connection ended instead.
    pub(super) async fn make_ready(&mut self) -> bool {
        self.reused = true;
        self.sender.ready().await.is_ok()
    }
}

/// Before the origin's own limit: the request must arrive there before the limit does here.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// Longer promises are not used up: firewalls between forget silent connections.
const IDLE_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// `Keep-Alive: timeout=5`, as Apache and Node send it (RFC 2068, section 19.7.1.1).
fn promised_keep_alive(fields: &HeaderMap) -> Option<Duration> {
    let value = fields.get("keep-alive")?.to_str().ok()?;
    value
        .split(',')
        .filter_map(|part| part.trim().strip_prefix("timeout="))
        .find_map(|seconds| seconds.parse().ok())
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_origins_promise_is_read() {
        for (value, want) in [
            ("timeout=5", Some(5)),
            ("timeout=5, max=100", Some(5)),
            ("max=100, timeout=72", Some(72)),
            ("max=100", None),
            ("timeout=soon", None),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert("keep-alive", HeaderValue::from_static(value));
            assert_eq!(
                promised_keep_alive(&fields),
                want.map(Duration::from_secs),
                "{value}"
            );
        }
    }
}
