//! Any bytes as what the other side of a link over TCP sends: frames of HTTP/2, the farewell, and the tunnel's streams in them. Either
//! side bears it: it ends when the other has, and no stream says more once it has said its last.

#![no_main]

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use libfuzzer_sys::fuzz_target;
use proto::tunnel::{End, RequestHead, ResponseHead};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::Builder,
    time::timeout,
};
use tunnel::{
    Accepted, Connection, Frame, Kind, RecvHalf,
    tcp::{self, Peer},
};

/// Far more than any wait of the tunnel, by a clock that jumps.
const ENDS_WITHIN: Duration = Duration::from_secs(120);
/// Streams that the edge opens.
const OPENED: usize = 3;
/// Every HTTP/2 connection begins so (RFC 9113, section 3.4), and with settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 0x4;
/// `POST https://e/` and a 200, by the static table of RFC 7541.
const REQUEST: &[u8] = b"\x83\x87\x84\x41\x01e";
const RESPONSE: &[u8] = b"\x88";
const END_HEADERS: u8 = 0x4;

fuzz_target!(|input: &[u8]| {
    let [choice, piece, input @ ..] = input else {
        return;
    };
    let is_agent = choice % 2 == 0;
    let said = match choice / 2 % 2 {
        // As it comes.
        0 => input.to_vec(),
        _ => frames(is_agent, input),
    };
    let wire = Wire {
        said,
        read: 0,
        piece: usize::from(*piece) + 1,
    };
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can be made");
    let ended = runtime.block_on(async {
        let either = async {
            match is_agent {
                true => agent(wire).await,
                false => edge(wire).await,
            }
        };
        timeout(ENDS_WITHIN, either).await
    });
    assert!(ended.is_ok(), "it goes on without the other side");
});

/// The input as frames of HTTP/2, so that little of it is lost on what the connection ends by.
fn frames(is_agent: bool, mut input: &[u8]) -> Vec<u8> {
    let mut said = Vec::new();
    if is_agent {
        said.extend_from_slice(PREFACE);
    }
    frame(&mut said, SETTINGS, 0, 0, b"");
    while let [what, stream, rest @ ..] = input {
        let (flags, stream) = (what >> 4, stream % 16);
        input = match what % 16 {
            0..=4 => {
                frame(&mut said, 0x1, END_HEADERS | flags & 1, stream, REQUEST);
                rest
            }
            5..=7 => {
                frame(&mut said, 0x1, END_HEADERS | flags & 1, stream, RESPONSE);
                rest
            }
            8..=12 => with_payload(&mut said, 0x0, flags, stream, rest),
            _ => {
                let (kind, rest) = rest.split_first().unwrap_or((&0, rest));
                with_payload(&mut said, *kind, flags, stream, rest)
            }
        };
    }
    said
}

/// One whose payload is in the input too. Gives what is left of that.
fn with_payload<'a>(
    said: &mut Vec<u8>,
    kind: u8,
    flags: u8,
    stream: u8,
    input: &'a [u8],
) -> &'a [u8] {
    let (length, rest) = input.split_first().unwrap_or((&0, input));
    let (payload, rest) = rest.split_at(rest.len().min(usize::from(*length)));
    frame(said, kind, flags, stream, payload);
    rest
}

fn frame(said: &mut Vec<u8>, kind: u8, flags: u8, stream: u8, payload: &[u8]) {
    let length = u32::try_from(payload.len())
        .unwrap_or_default()
        .to_be_bytes();
    said.extend_from_slice(&length[1..]);
    said.extend_from_slice(&[kind, flags, 0, 0, 0, stream]);
    said.extend_from_slice(payload);
}

async fn agent(wire: Wire) {
    let Ok((connection, driver)) = tcp::agent(wire, nobody()).await else {
        return;
    };
    let serving = async {
        while let Ok(accepted) = connection.accept().await {
            serve(accepted).await;
        }
    };
    tokio::join!(driver, serving);
}

async fn serve(accepted: Accepted) {
    let Ok((_, mut send, recv)) = accepted.kind().await else {
        return;
    };
    drain(recv).await;
    let head = ResponseHead {
        status: 200,
        ..ResponseHead::default()
    };
    let end = End {
        body_bytes: 0,
        timings: None,
    };
    // The other side may be gone.
    if send.send(Frame::from(head)).await.is_ok() {
        let _ = send.send(Frame::End(end)).await;
    }
}

async fn edge(wire: Wire) {
    let Ok((connection, driver)) = tcp::edge(wire, nobody()).await else {
        return;
    };
    let asking = async {
        for _ in 0..OPENED {
            ask(&connection).await;
        }
        connection.closed().await;
    };
    tokio::join!(driver, asking);
}

async fn ask(connection: &Connection) {
    let Ok((mut send, recv)) = connection.open(Kind::Http).await else {
        return;
    };
    let head = RequestHead {
        app: "wiki".to_owned(),
        ..RequestHead::default()
    };
    // As above.
    let _ = send.send(Frame::from(head)).await;
    drain(recv).await;
}

/// Everything that a stream says. Its end is its end.
async fn drain(mut recv: RecvHalf) {
    while let Ok(Some(_)) = recv.next().await {}
    let more = recv.next().await;
    assert!(!matches!(more, Ok(Some(_))), "{more:?} after the end");
}

fn nobody() -> Peer {
    Peer {
        address: ([127, 0, 0, 1], 1).into(),
        certificates: Vec::new(),
    }
}

/// Says what it was given, piece by piece, then ends; takes whatever is written.
struct Wire {
    said: Vec<u8>,
    read: usize,
    piece: usize,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let from = self.read;
        let count = self
            .piece
            .min(buffer.remaining())
            .min(self.said.len() - from);
        buffer.put_slice(&self.said[from..from + count]);
        self.read += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
