//! From a field section to a request, by the rules of RFC 9114, sections 4.2 to 4.4.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header,
    uri::{Authority, Parts, PathAndQuery, Scheme},
};
use hyper::ext::Protocol;

use super::qpack::Line;

/// A request that breaks HTTP, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed request: {0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// Fields about a connection, which HTTP/3 does not have (RFC 9114, section 4.2).
const CONNECTION_FIELDS: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A head, understood.
#[derive(Debug)]
pub(super) struct Head {
    /// The request, its protocol among the extensions if it is an extended CONNECT.
    pub(super) request: Request<()>,
    /// Bytes of the body, if the user says so.
    pub(super) length: Option<u64>,
}

/// Reads a request's head.
pub(super) fn read(lines: Vec<Line>) -> Result<Head, Malformed> {
    let mut pseudo = Pseudo::default();
    let mut fields = HeaderMap::with_capacity(lines.len());
    for line in lines {
        if line.name.starts_with(b":") {
            if !fields.is_empty() {
                return Err(Malformed("pseudo field behind a field"));
            }
            pseudo.take(&line)?;
        } else {
            add(&mut fields, line)?;
        }
    }
    let length = length(&fields)?;
    let mut request = Request::new(());
    *request.version_mut() = Version::HTTP_3;
    *request.uri_mut() = pseudo.target()?;
    if let Some(protocol) = &pseudo.protocol {
        request
            .extensions_mut()
            .insert(Protocol::from(protocol.as_str()));
    }
    *request.method_mut() = pseudo.method.ok_or(Malformed("no method"))?;
    *request.headers_mut() = fields;
    Ok(Head { request, length })
}

/// Reads trailers.
pub(super) fn read_trailers(lines: Vec<Line>) -> Result<HeaderMap, Malformed> {
    let mut fields = HeaderMap::with_capacity(lines.len());
    for line in lines {
        if line.name.starts_with(b":") {
            return Err(Malformed("pseudo field in trailers"));
        }
        add(&mut fields, line)?;
    }
    Ok(fields)
}

/// Whether an answer may carry a field over HTTP/3.
pub(super) fn may_be_sent(name: &HeaderName) -> bool {
    !CONNECTION_FIELDS.contains(name)
}

fn add(fields: &mut HeaderMap, line: Line) -> Result<(), Malformed> {
    let name = HeaderName::from_lowercase(&line.name).map_err(|_| Malformed("field name"))?;
    if CONNECTION_FIELDS.contains(&name) {
        return Err(Malformed("field about a connection"));
    }
    if name == header::TE && !line.value.eq_ignore_ascii_case(b"trailers") {
        return Err(Malformed("te"));
    }
    let value = HeaderValue::from_maybe_shared(line.value).map_err(|_| Malformed("field value"))?;
    fields.append(name, value);
    Ok(())
}

/// What the user says of its body's length: once, or the same each time.
fn length(fields: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut said = None;
    for value in fields.get_all(header::CONTENT_LENGTH) {
        let digits = value.as_bytes();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(Malformed("content-length"));
        }
        let bytes = value.to_str().ok().and_then(|digits| digits.parse().ok());
        let bytes: u64 = bytes.ok_or(Malformed("content-length"))?;
        if said.is_some_and(|said| said != bytes) {
            return Err(Malformed("two lengths"));
        }
        said = Some(bytes);
    }
    Ok(said)
}

/// What HTTP/1 has in its first line.
#[derive(Default)]
struct Pseudo {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    protocol: Option<String>,
}

impl Pseudo {
    fn take(&mut self, line: &Line) -> Result<(), Malformed> {
        let value: &[u8] = &line.value;
        match &line.name[..] {
            b":method" => put(&mut self.method, Method::from_bytes(value).ok()),
            b":scheme" => put(&mut self.scheme, Scheme::try_from(value).ok()),
            b":authority" => put(&mut self.authority, Authority::try_from(value).ok()),
            b":path" => put(
                &mut self.path,
                Some(value)
                    .filter(|path| path.starts_with(b"/") || *path == b"*")
                    .and_then(|path| PathAndQuery::try_from(path).ok()),
            ),
            b":protocol" => put(
                &mut self.protocol,
                Some(value)
                    .filter(|name| !name.is_empty() && name.is_ascii())
                    .and_then(|name| String::from_utf8(name.to_vec()).ok()),
            ),
            _ => Err(Malformed("unknown pseudo field")),
        }
    }

    /// RFC 9114, sections 4.3.1 and 4.4; RFC 9220, section 3.
    fn target(&mut self) -> Result<Uri, Malformed> {
        let connects = self.method == Some(Method::CONNECT);
        match (connects, self.protocol.is_some()) {
            (false, true) => return Err(Malformed("protocol without connect")),
            (true, false) if self.scheme.is_some() || self.path.is_some() => {
                return Err(Malformed("connect with a path"));
            }
            (true, _) if self.authority.is_none() => {
                return Err(Malformed("connect without authority"));
            }
            (false, _) | (_, true) if self.scheme.is_none() || self.path.is_none() => {
                return Err(Malformed("no scheme or path"));
            }
            (_, _) => {}
        }
        let mut parts = Parts::default();
        parts.path_and_query = self.path.take();
        if let Some(authority) = self.authority.take() {
            parts.scheme = self.scheme.take();
            parts.authority = Some(authority);
        }
        Uri::from_parts(parts).map_err(|_| Malformed("target"))
    }
}

fn put<T>(slot: &mut Option<T>, value: Option<T>) -> Result<(), Malformed> {
    if slot.is_some() {
        return Err(Malformed("pseudo field twice"));
    }
    *slot = Some(value.ok_or(Malformed("pseudo field"))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const GET: [(&str, &str); 4] = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "wiki.example.com"),
        (":path", "/a?b"),
    ];

    fn lines(fields: &[(&'static str, &'static str)]) -> Vec<Line> {
        let line = |(name, value): &(&'static str, &'static str)| Line {
            name: Bytes::from_static(name.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
        };
        fields.iter().map(line).collect()
    }

    fn with(more: &[(&'static str, &'static str)]) -> Result<Head, Malformed> {
        read(lines(&[&GET[..], more].concat()))
    }

    #[test]
    fn an_ordinary_head_is_understood() {
        let head = with(&[("cookie", "a=b"), ("cookie", "c="), ("te", "trailers")]).unwrap();
        let request = head.request;
        assert_eq!(request.method(), Method::GET);
        assert_eq!(request.uri(), "https://wiki.example.com/a?b");
        assert_eq!(request.version(), Version::HTTP_3);
        assert_eq!(request.headers().get_all("cookie").iter().count(), 2);
        assert_eq!(head.length, None);
        assert_eq!(with(&[("content-length", "07")]).unwrap().length, Some(7));
    }

    #[test]
    fn host_may_stand_for_the_authority() {
        let fields = [GET[0], GET[1], GET[3], ("host", "wiki.example.com")];
        let request = read(lines(&fields)).unwrap().request;
        assert_eq!(request.uri(), "/a?b");
        assert_eq!(request.headers()["host"], "wiki.example.com");
    }

    #[test]
    fn malformed_fields_are_refused() {
        for more in [
            ("Accept", "*/*"),
            ("accept\r\nx", "1"),
            ("", "1"),
            ("x", "a\r\nb: c"),
            ("x", "a\0"),
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("te", "gzip"),
            ("content-length", "1x"),
            ("content-length", "+1"),
            ("content-length", ""),
            ("content-length", "99999999999999999999"),
            (":status", "200"),
            (":method", "GET"),
            (":path", "/b"),
            (":authority", "b"),
            (":protocol", "websocket"),
            (":new", "1"),
        ] {
            assert!(with(&[more]).is_err(), "{more:?}");
        }
        let twice = [("content-length", "1"), ("content-length", "2")];
        assert_eq!(with(&twice).unwrap_err(), Malformed("two lengths"));
        let behind = [&[("accept", "*/*")], &GET[..]].concat();
        assert!(read(lines(&behind)).is_err());
    }

    #[test]
    fn incomplete_targets_are_refused() {
        for (fields, good) in [
            (&GET[..], true),
            (&GET[1..], false),
            (&[GET[0], GET[2], GET[3]], false),
            (&GET[..3], false),
            (&[GET[0], GET[1], GET[2], (":path", "")], false),
            (&[GET[0], GET[1], GET[2], (":path", "a")], false),
            (&[GET[0], GET[1], GET[3], (":authority", "a b")], false),
            (&[(":method", "CONNECT"), GET[2]], true),
            (&[(":method", "CONNECT"), GET[1], GET[2], GET[3]], false),
            (
                &[(":method", "CONNECT"), (":protocol", "websocket"), GET[2]],
                false,
            ),
            (
                &[
                    (":method", "CONNECT"),
                    (":protocol", "websocket"),
                    GET[1],
                    GET[2],
                    GET[3],
                ],
                true,
            ),
            (
                &[
                    (":method", "CONNECT"),
                    (":protocol", "websocket"),
                    GET[1],
                    GET[3],
                ],
                false,
            ),
        ] {
            assert_eq!(read(lines(fields)).is_ok(), good, "{fields:?}");
        }
    }

    #[test]
    fn trailers_have_no_pseudo_fields() {
        assert!(read_trailers(lines(&[("grpc-status", "0")])).is_ok());
        assert!(read_trailers(lines(&[GET[0]])).is_err());
        assert!(read_trailers(lines(&[("connection", "close")])).is_err());
    }
}
