//! The head of a request: from the edge's frame to what an origin is sent.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header,
    uri::{self, PathAndQuery},
};
use model::{app::Scheme, reason::Reason, sign_on::Leg, translate::Public};
use proto::tunnel::RequestHead;
use runtime::{Secret, field_case};
use tunnel::{
    fields::{self, FieldError},
    frame::Frame,
    stream::RecvHalf,
};

use super::{Failure, UploadBody, websocket::Handshake};
use crate::origin::{Connection, Speech, signs_on};

/// What the edge wants from an app.
#[derive(Debug)]
pub(crate) struct Head {
    /// 32 hex digits.
    pub(crate) id: String,
    /// How often the edge has tried it before.
    pub(crate) attempt: u32,
    /// What the edge states of the user, as it came.
    pub(crate) statement: Bytes,
    /// The user's ID token, as it came.
    pub(crate) id_token: Secret<Bytes>,
    /// Id of the app, as the edge wrote it.
    pub(crate) app: String,
    /// Id of the app's segment; empty: its main part.
    pub(crate) segment: String,
    /// The user's host is one of the app's main part.
    pub(crate) is_at_main_host: bool,
    pub(crate) method: Method,
    target: Uri,
    /// Host and port as the user wrote them.
    authority: HeaderValue,
    /// The same with the scheme, for translation.
    pub(crate) public: Public,
    /// The user's fields as the edge wrote them.
    block: Bytes,
    /// The same behind `Host`, for the first try.
    fields: Option<HeaderMap>,
    pub(crate) body: BodyKind,
    /// The user waits for permission to send its body.
    pub(crate) expects_continue: bool,
    /// Doing it twice does no more than doing it once.
    pub(crate) idempotent: bool,
    /// It signs a connection on, as NTLM and Negotiate do.
    pub(crate) leg: Option<Leg>,
    /// The user's connection may have several requests under way.
    pub(crate) has_siblings: bool,
    /// Stands for the user's connection, if the edge says which.
    pub(crate) user_connection: Option<[u8; 16]>,
    /// Protocol that the user wants to go on with.
    pub(crate) upgrade: Option<HeaderValue>,
    /// The user asked for it with CONNECT, so that the handshake is the agent's.
    pub(crate) handshake: Option<Handshake>,
    /// Names of fields as the user wrote them, if the app keeps their case.
    pub(crate) field_names: Vec<Bytes>,
    /// How long the edge waits for the answer's head, if it says.
    pub(crate) patience: Option<Duration>,
}

/// HTTP/2 as the wire writes versions.
const HTTP_2: u32 = 20;

/// How a request's body is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyKind {
    None,
    Length(u64),
    Streamed,
}

impl BodyKind {
    /// Whether not a byte is to come.
    pub(crate) fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// Reads the head from a fresh stream.
pub(crate) async fn read(recv: &mut RecvHalf) -> Result<Head, Failure> {
    match recv.next().await? {
        Some(Frame::Request(head)) => parse(*head),
        Some(
            frame @ (Frame::Data(_)
            | Frame::Response(_)
            | Frame::Trailers(_)
            | Frame::End(_)
            | Frame::Error(_)
            | Frame::Continue),
        ) => Err(bad(format_args!("{} instead of REQUEST", frame.name()))),
        None => Err(bad(format_args!("a stream without REQUEST"))),
    }
}

fn parse(wire: RequestHead) -> Result<Head, Failure> {
    let flags = wire.flags.unwrap_or_default();
    let body = match (wire.body_length, wire.body_streamed) {
        (Some(length), _) => BodyKind::Length(length),
        (None, true) => BodyKind::Streamed,
        (None, false) => BodyKind::None,
    };
    let (method, handshake) = method(&wire)?;
    let authority = value("authority", wire.authority.clone())?;
    let fields = fields_behind(&authority, wire.fields.clone())
        .map_err(|error| bad(format_args!("fields: {error}")))?;
    Ok(Head {
        id: hex(&wire.request_id),
        attempt: flags.attempt,
        statement: wire.identity,
        id_token: Secret::new(wire.id_token),
        app: wire.app,
        is_at_main_host: wire.segment.is_empty() || wire.main_shares_host,
        segment: wire.segment,
        method,
        target: target(wire.path_and_query)?,
        public: public(&wire.scheme, &wire.authority)?,
        authority,
        leg: signs_on(&fields),
        has_siblings: wire.http_version >= HTTP_2,
        user_connection: wire.user_connection.as_ref().try_into().ok(),
        block: wire.fields,
        fields: Some(fields),
        body,
        expects_continue: flags.expect_continue && !body.is_empty(),
        idempotent: flags.idempotent,
        upgrade: upgrade(wire.upgrade, body)?,
        handshake,
        field_names: wire.field_names,
        patience: (wire.deadline_ms != 0)
            .then(|| Duration::from_millis(u64::from(wire.deadline_ms))),
    })
}

/// `Host` first, as RFC 9110, section 7.2 asks, whatever the edge says of it among the fields.
fn fields_behind(host: &HeaderValue, block: Bytes) -> Result<HeaderMap, FieldError> {
    let mut fields = HeaderMap::with_capacity(fields::count(&block) + FIELDS_ADDED);
    fields.insert(header::HOST, host.clone());
    fields::decode_behind(&mut fields, block)?;
    fields.insert(header::HOST, host.clone());
    Ok(fields)
}

fn public(scheme: &[u8], authority: &[u8]) -> Result<Public, Failure> {
    let scheme = match scheme {
        b"http" => Scheme::Http,
        _ => Scheme::Https,
    };
    std::str::from_utf8(authority)
        .ok()
        .and_then(|authority| Public::new(scheme, authority))
        .ok_or_else(|| bad(format_args!("no host and port")))
}

/// CONNECT to an origin is a WebSocket's handshake or nothing: an origin is not asked to connect further.
fn method(wire: &RequestHead) -> Result<(Method, Option<Handshake>), Failure> {
    let method = Method::from_bytes(&wire.method).map_err(|_| bad(format_args!("no method")))?;
    if method != Method::CONNECT {
        return Ok((method, None));
    }
    let bodiless = wire.body_length.is_none() && !wire.body_streamed;
    match Handshake::of(&wire.upgrade).filter(|_| bodiless) {
        Some(handshake) => Ok((Method::GET, Some(handshake))),
        None => Err(Failure::refusal(
            Reason::BadRequest,
            "an origin is not asked to connect further",
        )),
    }
}

/// A request with a body keeps its protocol (RFC 9110, section 7.8 lets a server ignore the wish): nothing would say where
/// the body ends and the new protocol begins.
fn upgrade(token: Bytes, body: BodyKind) -> Result<Option<HeaderValue>, Failure> {
    if token.is_empty() || body != BodyKind::None {
        return Ok(None);
    }
    value("upgrade", token).map(Some)
}

fn target(path_and_query: Bytes) -> Result<Uri, Failure> {
    let mut parts = uri::Parts::default();
    let path = PathAndQuery::from_maybe_shared(path_and_query)
        .map_err(|error| bad(format_args!("path: {error}")))?;
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|error| bad(format_args!("path: {error}")))
}

fn value(what: &str, bytes: Bytes) -> Result<HeaderValue, Failure> {
    HeaderValue::from_maybe_shared(bytes).map_err(|error| bad(format_args!("{what}: {error}")))
}

fn bad(what: std::fmt::Arguments<'_>) -> Failure {
    Failure::refusal(Reason::TunnelProtocol, format!("the edge sent {what}"))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

impl Head {
    /// Host and port as the user wrote them.
    pub(crate) fn authority(&self) -> Bytes {
        Bytes::copy_from_slice(self.authority.as_bytes())
    }

    /// The path as the user wrote it, without a query.
    pub(crate) fn path(&self) -> &str {
        self.target.path()
    }

    /// What the user's request says in its fields.
    pub(crate) fn said(&self) -> HeaderMap {
        // They were read before, so they can be read.
        fields_behind(&self.authority, self.block.clone()).unwrap_or_default()
    }

    /// The request as the origin gets it on this connection. May be called again for another try.
    pub(crate) fn request(
        &mut self,
        connection: &Connection,
        body: UploadBody,
    ) -> Request<UploadBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        match connection.speech() {
            Speech::Http1 => {
                *request.uri_mut() = self.target.clone();
                *request.headers_mut() = self.http1_fields();
                if !self.field_names.is_empty() {
                    *request.extensions_mut() = field_case::extensions(&self.field_names);
                }
            }
            Speech::Http2 => {
                *request.version_mut() = Version::HTTP_2;
                *request.uri_mut() = self.absolute(connection.origin().published().url.scheme);
                *request.headers_mut() = self.http2_fields();
            }
        }
        request
    }

    /// With scheme and authority, from which HTTP/2 makes its pseudo fields.
    fn absolute(&self, scheme: Scheme) -> Uri {
        let mut parts = self.target.clone().into_parts();
        parts.scheme = uri::Scheme::try_from(scheme.as_str()).ok();
        parts.authority = uri::Authority::try_from(self.authority.as_bytes()).ok();
        // Without an authority it says too little, and the origin refuses it.
        Uri::from_parts(parts).unwrap_or_else(|_| self.target.clone())
    }

    /// HTTP/2 has no fields about the connection (RFC 9113, section 8.2.2), and frames its bodies itself.
    fn http2_fields(&mut self) -> HeaderMap {
        let UserFields {
            mut fields,
            trailers,
        } = self.user_fields();
        fields.remove(header::HOST);
        if trailers {
            fields.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        if let BodyKind::Length(length) = self.body {
            fields.insert(header::CONTENT_LENGTH, length.into());
        }
        if self.expects_continue {
            fields.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        }
        fields
    }

    fn http1_fields(&mut self) -> HeaderMap {
        let UserFields {
            mut fields,
            trailers,
        } = self.user_fields();
        self.add_framing(&mut fields);
        self.add_connection(&mut fields, trailers);
        fields
    }

    /// What the user said, behind `Host`.
    fn user_fields(&mut self) -> UserFields {
        let first = self.fields.take();
        let mut fields = first.unwrap_or_else(|| {
            // They were read before, so they can be read.
            fields_behind(&self.authority, self.block.clone()).unwrap_or_default()
        });
        let trailers = fields.remove(header::TE).is_some();
        for name in OWN {
            fields.remove(name);
        }
        if let Some(cookies) = joined_cookies(&fields) {
            fields.insert(header::COOKIE, cookies);
        }
        UserFields { fields, trailers }
    }

    fn add_framing(&self, fields: &mut HeaderMap) {
        match self.body {
            BodyKind::None => {}
            BodyKind::Length(length) => {
                fields.insert(header::CONTENT_LENGTH, length.into());
            }
            BodyKind::Streamed => {
                fields.insert(
                    header::TRANSFER_ENCODING,
                    HeaderValue::from_static("chunked"),
                );
            }
        }
        if self.expects_continue {
            fields.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        }
    }

    /// What speaks of this connection is named in `Connection` (RFC 9110, section 7.6.1).
    fn add_connection(&self, fields: &mut HeaderMap, trailers: bool) {
        if trailers {
            fields.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        if let Some(upgrade) = &self.upgrade {
            fields.insert(header::UPGRADE, upgrade.clone());
        }
        if let Some(handshake) = &self.handshake {
            handshake.put_into(fields);
        }
        let options = match (trailers, self.upgrade.is_some()) {
            (false, false) => return,
            (true, false) => "te",
            (false, true) => "upgrade",
            (true, true) => "te, upgrade",
        };
        fields.insert(header::CONNECTION, HeaderValue::from_static(options));
    }
}

/// Fields without those that the agent writes itself.
struct UserFields {
    fields: HeaderMap,
    /// The user takes trailers.
    trailers: bool,
}

/// HTTP/2 splits cookies for its compression; an HTTP/1.1 origin gets them in one field (RFC 9113, section 8.2.3).
fn joined_cookies(fields: &HeaderMap) -> Option<HeaderValue> {
    let mut cookies = fields.get_all(header::COOKIE).iter();
    let (first, second) = (cookies.next()?, cookies.next()?);
    let mut joined = first.as_bytes().to_vec();
    for cookie in std::iter::once(second).chain(cookies) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    HeaderValue::from_maybe_shared(Bytes::from(joined)).ok()
}

/// Fields that a usual request gets at the agent: `Host`, one for its framing, and those about its connection.
const FIELDS_ADDED: usize = 4;

/// Fields that the agent writes itself.
const OWN: [HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::EXPECT,
];

#[cfg(test)]
mod tests;
