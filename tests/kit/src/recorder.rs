//! An origin that keeps what it is sent, and reads it as strictly as HTTP/1.1 can be read.
//!
//! Every whole request is answered with [`answer_to`], so that whoever gets an answer can tell to which request it belongs.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use runtime::Scope;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Bytes of one request that it keeps: more than a fabric passes on of a head, and the small bodies of tests.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// What the origin heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A whole request.
    Whole(Message),
    /// Bytes that are no request, or no whole one before the connection ended.
    Odd(Vec<u8>),
}

/// A request, byte for byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Method and target, as in `GET /`.
    pub line: String,
    /// Names and values as they came.
    pub fields: Vec<(String, String)>,
    /// The body, out of its chunks.
    pub body: Vec<u8>,
    /// Behind a body in chunks.
    pub trailers: Vec<(String, String)>,
}

/// The body of the answer to a request.
pub fn answer_to(line: &str) -> String {
    format!("saw {line}")
}

/// A running origin of this kind. It stops when dropped.
#[derive(Debug)]
pub struct Recorder {
    addr: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    scope: Scope,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.scope.cancel();
    }
}

impl Recorder {
    /// Starts one on a free port of loopback.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has free ports");
        let addr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let (scope, heard) = (Scope::root(), Arc::default());
        let (inner, record) = (scope.clone(), Arc::clone(&heard));
        scope.spawn("recorder-accept", async move {
            loop {
                let socket = tokio::select! {
                    () = inner.cancelled() => return,
                    accepted = listener.accept() => accepted.expect("accept works in tests").0,
                };
                let (record, own) = (Arc::clone(&record), inner.clone());
                inner.spawn("recorder-connection", async move {
                    tokio::select! {
                        () = own.cancelled() => {}
                        () = listen(socket, &record) => {}
                    }
                });
            }
        });
        Self { addr, heard, scope }
    }

    /// Its URL, as an app's origin.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Its own name, as an app's origin is asked by.
    pub fn authority(&self) -> String {
        self.addr.to_string()
    }

    /// What was heard since the last call.
    pub fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn listen(mut socket: TcpStream, record: &Mutex<Vec<Heard>>) {
    let note = |heard| {
        record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(heard);
    };
    let mut bytes = Vec::new();
    loop {
        match parse(&bytes) {
            Ok(Some((message, length))) => {
                bytes.drain(..length);
                let answer = answer(&message.line);
                note(Heard::Whole(message));
                if socket.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Ok(None) if bytes.len() <= REQUEST_BYTES_MAX => {
                if !matches!(socket.read_buf(&mut bytes).await, Ok(read) if read > 0) {
                    break;
                }
            }
            Ok(None) | Err(Malformed) => break,
        }
    }
    if !bytes.is_empty() {
        note(Heard::Odd(bytes));
    }
}

fn answer(line: &str) -> String {
    let body = answer_to(line);
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    if line.starts_with("HEAD ") {
        head
    } else {
        head + &body
    }
}

/// Nothing that a strict reader takes for a request.
#[derive(Debug)]
struct Malformed;

type Fields = Vec<(String, String)>;

/// The request at the front of `bytes` and its length, if it is whole.
fn parse(bytes: &[u8]) -> Result<Option<(Message, usize)>, Malformed> {
    let Some((head, mut length)) = section(bytes) else {
        return Ok(None);
    };
    let (line, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
    let mut message = Message {
        line: request_line(line)?,
        fields: read_fields(fields)?,
        ..Message::default()
    };
    let said = |wanted: &str| -> Vec<&str> {
        let fields = message.fields.iter();
        fields
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.as_str())
            .collect()
    };
    match (&said("transfer-encoding")[..], &said("content-length")[..]) {
        ([], []) => {}
        (["chunked"], []) => {
            let Some((body, trailers, taken)) = chunks(&bytes[length..])? else {
                return Ok(None);
            };
            (message.body, message.trailers) = (body, trailers);
            length += taken;
        }
        ([], [digits]) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let body: usize = digits.parse().map_err(|_| Malformed)?;
            if bytes.len() - length < body {
                return Ok(None);
            }
            message.body = bytes[length..length + body].to_vec();
            length += body;
        }
        _ => return Err(Malformed),
    }
    Ok(Some((message, length)))
}

/// Text up to an empty line, without it, and how long both are. Bytes beyond ASCII are read as Latin-1, so none is lost.
fn section(bytes: &[u8]) -> Option<(String, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let text = bytes[..end].iter().copied().map(char::from).collect();
    Some((text, end + 4))
}

fn request_line(line: &str) -> Result<String, Malformed> {
    let parts: Vec<_> = line.split(' ').collect();
    let plain = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_ascii_control());
    match parts[..] {
        [method, target, "HTTP/1.1"] if plain(method) && plain(target) => {
            Ok(format!("{method} {target}"))
        }
        _ => Err(Malformed),
    }
}

fn read_fields(text: &str) -> Result<Fields, Malformed> {
    let lines = text.split("\r\n").filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.split_once(':').ok_or(Malformed)?;
            let token =
                |byte: u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte);
            let plain = !value.contains(|c: char| c.is_ascii_control() && c != '\t');
            (!name.is_empty() && name.bytes().all(token) && plain)
                .then(|| (name.to_owned(), value.trim().to_owned()))
                .ok_or(Malformed)
        })
        .collect()
}

/// Body, trailers and length of a body in chunks, if it is whole.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, Fields, usize)>, Malformed> {
    let (mut body, mut rest) = (Vec::new(), bytes);
    loop {
        let Some(line_end) = rest.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let digits = std::str::from_utf8(&rest[..line_end]).map_err(|_| Malformed)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Malformed);
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| Malformed)?;
        if size == 0 {
            break trailers(&rest[line_end..]).map(|found| {
                found.map(|(fields, taken)| {
                    let before = bytes.len() - rest.len() + line_end;
                    (body, fields, before + taken)
                })
            });
        }
        let data = &rest[line_end + 2..];
        if data.len() < size + 2 {
            return Ok(None);
        }
        if &data[size..size + 2] != b"\r\n" {
            return Err(Malformed);
        }
        body.extend_from_slice(&data[..size]);
        rest = &data[size + 2..];
    }
}

/// The fields behind the last chunk's line, whose CRLF is still there.
fn trailers(bytes: &[u8]) -> Result<Option<(Fields, usize)>, Malformed> {
    let Some((text, taken)) = section(bytes) else {
        return Ok(None);
    };
    Ok(Some((read_fields(&text)?, taken)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_cut_where_they_end() {
        for (bytes, line, body, rest) in [
            ("GET / HTTP/1.1\r\n\r\nmore", "GET /", "", "more"),
            (
                "PUT /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nabc",
                "PUT /a",
                "ab",
                "c",
            ),
            (
                "PUT /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nc",
                "PUT /a",
                "ab",
                "c",
            ),
            (
                "PUT /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-sum: 1\r\n\r\n",
                "PUT /a",
                "",
                "",
            ),
        ] {
            let (message, length) = parse(bytes.as_bytes()).unwrap().unwrap();
            assert_eq!(
                (message.line.as_str(), &message.body[..]),
                (line, body.as_bytes())
            );
            assert_eq!(&bytes[length..], rest);
        }
    }

    #[test]
    fn doubtful_requests_are_odd() {
        for bytes in [
            "GET /\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\na : b\r\n\r\n",
            "GET / HTTP/1.1\r\na: b\nc: d\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        ] {
            assert!(parse(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
    }
}
