//! The letter case of field names over HTTP/1.1, which hyper keeps in a type of its own and shows to nobody.
//!
//! It goes with the head in its extensions, and what hyper writes, it writes so. Hence the two ways here: a head is written into
//! memory to learn how its names were spelled, and one is read from memory to have names spelled so. Either takes some 15 µs, and
//! is done only for who asks for it.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Extensions, HeaderMap, HeaderName, Request, Response, header};
use http_body::{Body, Frame};
use hyper::{
    body::Incoming,
    client,
    rt::{Read, ReadBufCursor, Write},
    server,
    service::service_fn,
};

/// Names of one head, at most: those of the tunnel and some that are not passed on.
const NAMES_MAX: usize = 512;

/// Bytes of a head whose names are asked for, at most: the tunnel's frame has room for the names of such a one beside the head
/// itself. Those of a larger one lose their case, and mean the same.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Bytes of fields and of names together, at most: a frame of 64 KiB, less what else is in a head.
const FITTING_BYTES_MAX: usize = 52 * 1024;
/// What the wire adds to a name.
const NAME_FRAME_BYTES: usize = 3;

/// How the names of `fields` were spelled by who wrote the head that has these `extensions`, which hyper read with
/// `preserve_header_case`. Those of one name stand in their order.
#[must_use]
pub fn names(fields: &HeaderMap, extensions: &Extensions) -> Vec<Bytes> {
    let mut request = Request::new(Unsent {
        is_empty: !fields.contains_key(header::TRANSFER_ENCODING),
    });
    request.headers_mut().clone_from(fields);
    request.extensions_mut().clone_from(extensions);
    let head = Bytes::from(written(request).unwrap_or_default());
    if head.len() > HEAD_BYTES_MAX {
        return Vec::new();
    }
    let lines = head.split(|byte| *byte == b'\n').skip(1);
    lines
        .filter_map(|line| Some(head.slice_ref(line.split(|byte| *byte == b':').next()?)))
        .filter(|name| HeaderName::from_bytes(name).is_ok())
        .collect()
}

/// The names, or none if a frame has no room for them beside `fields_bytes` of fields, which may have become more since they were read.
#[must_use]
pub fn fitting(names: Vec<Bytes>, fields_bytes: usize) -> Vec<Bytes> {
    let bytes: usize = names.iter().map(|name| name.len() + NAME_FRAME_BYTES).sum();
    if fields_bytes + bytes > FITTING_BYTES_MAX {
        return Vec::new();
    }
    names
}

/// What a head needs to be written with such names by hyper; names that are none are passed over.
#[must_use]
pub fn extensions(names: &[Bytes]) -> Extensions {
    let mut head = b"GET / HTTP/1.1\r\n".to_vec();
    for name in names.iter().take(NAMES_MAX) {
        let Ok(known) = HeaderName::from_bytes(name) else {
            continue;
        };
        head.extend_from_slice(name);
        head.extend_from_slice(match known {
            header::CONTENT_LENGTH => b": 0\r\n",
            header::TRANSFER_ENCODING => b": chunked\r\n",
            _ => b":\r\n",
        });
    }
    head.extend_from_slice(b"\r\n");
    read(head).unwrap_or_default()
}

/// A request as hyper writes it. Nothing of it waits: memory takes all at once.
fn written(request: Request<Unsent>) -> Option<Vec<u8>> {
    let memory = Memory::default();
    let written = Arc::clone(&memory.written);
    let handshake = client::conn::http1::handshake(memory);
    let (mut sender, mut connection) = handshake.now_or_never()?.ok()?;
    // The answer is asked for and never comes.
    let answer = sender.send_request(request);
    let _ = (&mut connection).now_or_never();
    drop((answer, connection));
    let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
    Some(std::mem::take(&mut *written))
}

/// The extensions of a head as hyper reads it.
fn read(head: Vec<u8>) -> Option<Extensions> {
    let memory = Memory {
        unread: head.into(),
        ..Memory::default()
    };
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let extensions = std::mem::take(request.extensions_mut());
        *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(extensions);
        std::future::pending::<Result<Response<Unsent>, Infallible>>()
    });
    let connection = server::conn::http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(NAMES_MAX)
        .preserve_header_case(true)
        .serve_connection(memory, service);
    // It waits for the answer, which never comes.
    let _ = Box::pin(connection).now_or_never();
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.take()
}

/// A connection with nobody.
#[derive(Debug, Default)]
struct Memory {
    unread: Bytes,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Poll::Pending;
        }
        let count = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A body that is empty, or of which nothing comes: hyper writes `Content-Length` with the one alone, and `Transfer-Encoding`
/// with the other.
#[derive(Debug)]
struct Unsent {
    is_empty: bool,
}

impl Body for Unsent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_empty {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(spelled: &[&'static str]) {
        let wanted: Vec<_> = spelled
            .iter()
            .map(|name| Bytes::from_static(name.as_bytes()))
            .collect();
        let mut fields = HeaderMap::new();
        for name in spelled {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            fields.append(name, HeaderValue::from_static("v: w"));
        }
        let mut found = names(&fields, &extensions(&wanted));
        // hyper writes some first.
        found.sort();
        let mut wanted = wanted;
        wanted.sort();
        assert_eq!(found, wanted);
    }

    #[test]
    fn names_are_spelled_as_they_were() {
        check(&["Host", "SOAPAction", "ETag", "x-A", "X-a", "plain"]);
        check(&[
            "Host",
            "CONTENT-length",
            "Connection",
            "UpGrade",
            "Expect",
            "TE",
            "DATE",
        ]);
        check(&["Host", "Transfer-ENCODING"]);
        check(&[]);
    }

    #[test]
    fn what_is_no_name_is_passed_over() {
        let names = [
            Bytes::from_static(b"A b"),
            Bytes::from_static(b"X\r\nY"),
            Bytes::from_static(b""),
        ];
        let fields = HeaderMap::from_iter([(header::ETAG, HeaderValue::from_static("v"))]);
        assert_eq!(super::names(&fields, &extensions(&names)), ["etag"]);
    }
}
