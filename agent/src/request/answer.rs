//! From the head of the origin's answer to its end.

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, response::Parts,
};
use http_body::{Body as _, Frame as BodyFrame};
use hyper::ext::ReasonPhrase;
use model::reason::Reason;
use proto::tunnel::{End, ResponseHead, Timings};
use runtime::field_case;
use tokio::task::yield_now;
use tunnel::{
    codes::Code,
    fields,
    frame::{DATA_BYTES_MAX, Frame},
    stream::SendHalf,
};

use super::{Exchange, Failure, websocket};
use crate::{
    origin::{AnswerBody, Connection, OriginError, SignIn, Speech, sign_in},
    translate::TranslatedBody,
};

impl Exchange<'_> {
    /// Sends the origin's answer to the edge, as it comes.
    pub(super) async fn answer(
        &mut self,
        send: &mut SendHalf,
        mut connection: Connection,
        response: Response<AnswerBody>,
    ) -> Result<(), Failure> {
        let now = self.worker.clock.now();
        self.activity.moved(now);
        self.head_came = Some(now);
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // The user's other requests do not wait for its end.
            self.pin = None;
            return self.switch(send, response).await;
        }
        check_framing(response.headers())?;
        if self.head.handshake.is_some() && response.status().is_success() {
            return Err(websocket::refuse_success());
        }
        connection.note_keep_alive(response.headers());
        self.note_sign_on(&connection, response.status(), response.headers());
        let (mut parts, body) = response.into_parts();
        let field_names = self.field_names(&connection, &parts);
        self.translate(&mut parts.headers);
        let mut body = match &self.translation {
            Some(translation) => translation.body(&mut parts, body),
            None => TranslatedBody::AsIs(body),
        };
        let head = final_head(&self.head.method, parts, &body)?;
        send.queue(ResponseHead {
            field_names: field_case::fitting(field_names, head.fields.len()),
            ..head
        })?;
        self.relay(send, &mut body).await?;
        // An answer in full makes the rest of an upload pointless. The connection is in the midst of it and ends here too.
        let whole = self.upload.is_complete();
        self.upload.stop(Code::BodyNotNeeded);
        if whole {
            self.put_back(connection);
        }
        self.in_time(send.end(self.end())).await?;
        Ok(())
    }

    /// How the origin wrote the names of its fields, if the user can be told.
    fn field_names(&self, connection: &Connection, parts: &Parts) -> Vec<Bytes> {
        if self.head.field_names.is_empty() || connection.speech() != Speech::Http1 {
            return Vec::new();
        }
        field_case::names(&parts.headers, &parts.extensions)
    }

    /// A connection that somebody signs on leaves the shared ones.
    fn note_sign_on(&mut self, connection: &Connection, status: StatusCode, answer: &HeaderMap) {
        if self.sign_on.is_some() {
            return;
        }
        self.sign_in = sign_in(status, answer);
        let asks = self.head.leg.is_none() && self.sign_in != SignIn::Done;
        if asks && self.pin.is_none() && connection.speech() == Speech::Http1 {
            let pins = &self.worker.pool.pins;
            self.pin = self.pin_key().and_then(|key| pins.pin(&key));
        }
        if let Some(pin) = &mut self.pin {
            pin.note(self.sign_in);
        }
    }

    fn put_back(&mut self, connection: Connection) {
        match self.pin.take() {
            Some(pin) => pin.put_back(connection, self.sign_in),
            // It may be signed on, and it is nobody's: it ends here.
            None if self.head.leg.is_some() => {}
            None => self.worker.pool.release(connection),
        }
    }

    /// The body, until its end. What is there goes in one write; nothing that is there waits for what is not.
    async fn relay(&self, send: &mut SendHalf, body: &mut TranslatedBody) -> Result<(), Failure> {
        let sized = body.size_hint().exact().is_some();
        let mut queued = 0;
        loop {
            let frame = match ready_frame(body).await {
                Some(frame) => frame,
                None => {
                    self.in_time(send.flush()).await?;
                    queued = 0;
                    self.next_frame(body).await?
                }
            };
            let Some(frame) = frame else {
                return Ok(());
            };
            let frame = frame.map_err(|error| self.broken(&error, sized))?;
            self.activity.touch(&self.worker.clock);
            let bytes = queue(send, frame)?;
            self.worker
                .metrics
                .from_origin_bytes
                .increment(bytes as u64);
            queued += bytes;
            if queued >= DATA_BYTES_MAX as usize {
                self.in_time(send.flush()).await?;
                queued = 0;
            }
        }
    }

    async fn next_frame(&self, body: &mut TranslatedBody) -> Result<OriginFrame, Failure> {
        tokio::select! {
            biased;
            frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)) => Ok(frame),
            () = self.silence() => Err(Failure::new(
                Reason::OriginTimeout,
                "the origin stopped in the midst of its answer",
            )),
        }
    }

    /// Waits for the user to take what was sent.
    pub(super) async fn in_time<T, E: Into<Failure>>(
        &self,
        sending: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            sent = sending => {
                self.activity.touch(&self.worker.clock);
                sent.map_err(Into::into)
            }
            () = self.silence() => Err(Failure::new(
                Reason::UserTimeout,
                "no more of the answer is taken",
            )),
        }
    }

    pub(super) async fn silence(&self) {
        let idle = self.app.timeouts().idle;
        self.activity.silence(idle).await;
    }

    /// If the upload broke, the answer broke because of it.
    fn broken(&self, error: &OriginError, sized: bool) -> Failure {
        let upload = self.upload.failure();
        upload.unwrap_or_else(|| Failure::from_origin(error, sized))
    }

    /// END with what was measured; the tunnel counts the bytes.
    pub(super) fn end(&self) -> End {
        // The last of the answer came just before.
        let now = self.activity.last();
        let head_came = self.head_came.unwrap_or(now);
        End {
            body_bytes: 0,
            timings: Some(Timings {
                dial_us: micros(self.dial),
                head_us: micros(head_came - self.began),
                total_us: micros(now - self.began),
            }),
        }
    }
}

/// What comes of a body; `None` at its end.
type OriginFrame = Option<Result<BodyFrame<Bytes>, OriginError>>;

/// The next frame if it is there already. It is read on the connection's own task, so that task gets one turn.
async fn ready_frame(body: &mut TranslatedBody) -> Option<OriginFrame> {
    if let Some(frame) = polled(body).await {
        return Some(frame);
    }
    yield_now().await;
    polled(body).await
}

async fn polled(body: &mut TranslatedBody) -> Option<OriginFrame> {
    if body.is_end_stream() {
        return Some(None);
    }
    poll_fn(|context| match Pin::new(&mut *body).poll_frame(context) {
        Poll::Ready(frame) => Poll::Ready(Some(frame)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Queues a frame and says how many bytes of body it held.
fn queue(send: &mut SendHalf, frame: BodyFrame<Bytes>) -> Result<usize, Failure> {
    let frame = match frame.into_data() {
        Ok(data) => {
            let bytes = data.len();
            send.queue(Frame::Data(data))?;
            return Ok(bytes);
        }
        Err(frame) => frame,
    };
    if let Ok(mut trailers) = frame.into_trailers() {
        remove_hop_by_hop(&mut trailers);
        send.queue(Frame::Trailers(trailers))?;
    }
    Ok(0)
}

fn final_head(
    method: &Method,
    parts: Parts,
    body: &TranslatedBody,
) -> Result<ResponseHead, Failure> {
    // The length that such an answer tells is that of a body which does not follow (RFC 9110, section 8.6).
    let bodiless = *method == Method::HEAD
        || matches!(
            parts.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let body_length = body.size_hint().exact().filter(|_| !bodiless);
    let reason_phrase = parts
        .extensions
        .get::<ReasonPhrase>()
        .map(|phrase| Bytes::copy_from_slice(phrase.as_bytes()))
        .unwrap_or_default();
    Ok(ResponseHead {
        body_length,
        body_streamed: body_length.is_none() && !bodiless,
        reason_phrase,
        ..informational(parts.status, parts.headers)?
    })
}

/// Refuses an answer that others would take to end elsewhere than hyper does: in codings besides chunked, which hyper leaves in the
/// body and the user would not be told of, or of a length as well (RFC 9112, section 6.3).
fn check_framing(fields: &HeaderMap) -> Result<(), Failure> {
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    let plain = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(one), None) => {
            one.as_bytes().eq_ignore_ascii_case(b"chunked")
                && !fields.contains_key(header::CONTENT_LENGTH)
        }
        (Some(_), Some(_)) => false,
    };
    plain.then_some(()).ok_or_else(|| {
        let detail = "it is not clear where the origin's answer ends";
        Failure::new(Reason::OriginProtocol, detail)
    })
}

/// A head without a body: any 1xx, and a tunnel's.
pub(super) fn informational(
    status: StatusCode,
    mut fields: HeaderMap,
) -> Result<ResponseHead, Failure> {
    remove_hop_by_hop(&mut fields);
    head(status, &fields)
}

/// The head behind which the connection speaks `protocol`.
pub(super) fn switching(
    status: StatusCode,
    mut fields: HeaderMap,
    protocol: HeaderValue,
) -> Result<ResponseHead, Failure> {
    remove_hop_by_hop(&mut fields);
    fields.insert(header::UPGRADE, protocol);
    Ok(ResponseHead {
        upgraded: true,
        ..head(status, &fields)?
    })
}

fn head(status: StatusCode, fields: &HeaderMap) -> Result<ResponseHead, Failure> {
    let fields = fields::encode(fields).map_err(|error| {
        Failure::new(
            Reason::OriginProtocol,
            format!("the fields of the answer: {error}"),
        )
    })?;
    Ok(ResponseHead {
        status: status.as_u16().into(),
        fields,
        ..ResponseHead::default()
    })
}

/// Fields about the connection to the origin (RFC 9110, section 7.6.1), and those that `Connection` names.
const HOP_BY_HOP: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.contains(&name)
}

fn remove_hop_by_hop(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> = fields
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        // Most name what is removed anyway.
        .filter(|name| !is_hop_by_hop(name))
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        // Naming it there does not make the body's measure a matter of the connection.
        .filter(|name| name != header::CONTENT_LENGTH)
        .collect();
    let here = fields.keys().filter(|name| is_hop_by_hop(name.as_str()));
    let here: Vec<HeaderName> = here.cloned().collect();
    for name in named.iter().chain(&here) {
        fields.remove(name);
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_the_connection_stays_at_the_agent() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, x-private, content-length"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("content-length", "3"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
        ] {
            fields.append(name, HeaderValue::from_static(value));
        }
        remove_hop_by_hop(&mut fields);
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["content-length", "set-cookie", "set-cookie"]);
    }
}
