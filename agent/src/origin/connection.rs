//! A connection to an origin as the pool hands it out, whichever HTTP is spoken on it.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use futures_util::future::Either;
use http::{HeaderMap, Request, Response};
use tokio::time::Instant;

use super::{AnswerBody, Informational, Origin, OriginError, Owner, http1::Http1, http2::Turn};
use crate::request::UploadBody;

/// The right to one exchange with an origin.
pub(crate) struct Connection {
    pub(super) line: Line,
    origin: Arc<Origin>,
    /// How long it may lie idle.
    idle_max: Duration,
    pub(super) idle_since: Instant,
    /// Whose it is; `None`: it serves anybody in apps without single sign-on.
    pub(super) owner: Option<Owner>,
    /// The certificate that the origin showed, where somebody has to know.
    pub(super) certificate: Option<Vec<u8>>,
}

/// What is spoken, and on what.
pub(super) enum Line {
    /// A connection of its own.
    Http1(Http1),
    /// A stream of a connection that others use too.
    Http2(Turn),
}

/// What a request to an origin must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    Http1,
    Http2,
}

/// A request without an answer.
#[derive(Debug)]
pub(crate) struct SendFailure {
    /// What happened.
    pub(crate) error: OriginError,
    /// The origin surely did nothing with it: never written, or refused in so many words.
    pub(crate) unprocessed: bool,
    /// The connection ended without a word of an answer.
    pub(crate) unheard: bool,
    /// The connection had been used before.
    pub(crate) reused: bool,
}

impl SendFailure {
    /// The connection had been idle and ended without a word, as those do that their origin closes at this moment.
    pub(crate) fn closed_idle(&self) -> bool {
        self.reused && self.unheard
    }

    /// The same request is welcome over HTTP/1.1.
    pub(crate) fn wants_http1(&self) -> bool {
        self.error.wants_http1()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("speech", &self.speech())
            .field("origin", &self.origin.published().url)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(line: Line, origin: &Arc<Origin>, idle_max: Duration, now: Instant) -> Self {
        Self {
            line,
            origin: Arc::clone(origin),
            idle_max,
            idle_since: now,
            owner: None,
            certificate: None,
        }
    }

    pub(crate) fn speech(&self) -> Speech {
        match self.line {
            Line::Http1(_) => Speech::Http1,
            Line::Http2(_) => Speech::Http2,
        }
    }

    /// Sends a request; 1xx heads are told to `heard`. Dropping the future breaks the exchange off.
    pub(crate) fn send(
        &mut self,
        request: Request<UploadBody>,
        heard: Arc<Informational>,
    ) -> impl Future<Output = Result<Response<AnswerBody>, SendFailure>> + use<> {
        match &mut self.line {
            Line::Http1(http1) => Either::Left(http1.send(request, heard)),
            Line::Http2(turn) => Either::Right(turn.send(request, heard)),
        }
    }

    /// What the origin showed in the handshake, in DER; kept for connections that belong to somebody.
    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }

    /// The origin at its other end.
    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Begins nothing more on it; what others do on it goes on.
    pub(crate) fn retire(&self) {
        match &self.line {
            // It is used alone, and gone with this.
            Line::Http1(_) => {}
            Line::Http2(turn) => turn.retire(),
        }
    }

    /// Takes the origin's word on how long it keeps the connection.
    pub(crate) fn note_keep_alive(&mut self, fields: &HeaderMap) {
        if let Some(promised) = promised_keep_alive(fields) {
            self.idle_max = promised
                .saturating_sub(KEEP_ALIVE_MARGIN)
                .min(IDLE_TIMEOUT_MAX);
        }
    }

    /// Whether another exchange may follow on it, for one who has it alone.
    pub(super) fn is_open(&self) -> bool {
        match &self.line {
            Line::Http1(http1) => http1.is_open(),
            // It is never anybody's alone.
            Line::Http2(_) => false,
        }
    }

    /// Whether it can go to the idle ones, or stay there.
    pub(crate) fn is_usable(&self, now: Instant) -> bool {
        match &self.line {
            Line::Http1(http1) => {
                http1.is_open() && now.saturating_duration_since(self.idle_since) < self.idle_max
            }
            // Streams are not kept; their connection is.
            Line::Http2(_) => false,
        }
    }

    /// Waits out the moment in which the exchange before ends. False if the connection ended instead.
    pub(super) async fn make_ready(&mut self) -> bool {
        match &mut self.line {
            Line::Http1(http1) => http1.make_ready().await,
            Line::Http2(_) => true,
        }
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
