//! Unary calls of gRPC, framed by hand: the answer has to be the message that was sent.

use std::rc::Rc;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::Request;

use super::{
    Exchange, Protocol as _,
    http2::{Http2, Link, Requests, Upload},
    socket::Dialler,
};
use crate::{
    scenario::Load,
    tally::{Answer, Failure},
};

/// A user who calls.
pub(crate) struct Call {
    http2: Http2,
    frame: Bytes,
    answer: BytesMut,
}

/// A message in its frame: no compression, and the length.
pub(crate) fn frame(bytes: u32) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(bytes);
    frame.put_bytes(b'm', usize::try_from(bytes).unwrap_or(usize::MAX));
    frame.freeze()
}

impl Call {
    pub(crate) fn requests(load: &Load, dialler: &Dialler) -> Requests {
        let heads = load.paths.iter().map(|path| {
            let mut request = Request::post(dialler.target().at(path))
                .header("content-type", "application/grpc")
                .header("te", "trailers");
            if let Some(cookie) = dialler.target().cookie() {
                request = request.header("cookie", cookie);
            }
            request.body(()).expect("a URL makes a request")
        });
        Requests {
            heads: heads.collect(),
            upload: Upload::Exactly(frame(load.message_bytes())),
            keep_alive: load.keep_alive,
        }
    }

    pub(crate) fn new(link: &Rc<Link>, requests: &Rc<Requests>, load: &Load) -> Self {
        Self {
            http2: Http2::new(link, requests),
            frame: frame(load.message_bytes()),
            answer: BytesMut::new(),
        }
    }
}

impl Exchange for Call {
    async fn connect(&mut self) -> Result<(), Failure> {
        self.http2.connect().await
    }

    async fn exchange(&mut self) -> Result<Answer, Failure> {
        self.answer.clear();
        self.http2.ask(0).await?;
        while let Some(piece) = self.http2.data().await? {
            if self.answer.len() + piece.len() > self.frame.len() {
                return Err(Failure::Echo);
            }
            self.answer.extend_from_slice(piece);
        }
        let trailers = self.http2.trailers().await?;
        if trailers.get("grpc-status").map(|status| status.as_bytes()) != Some(b"0") {
            return Err(Failure::Grpc);
        }
        if self.answer != self.frame {
            return Err(Failure::Echo);
        }
        Ok(Answer {
            body_bytes: 2 * self.frame.len() as u64,
            took: None,
        })
    }

    fn give_up(&mut self) {
        self.http2.give_up();
    }
}
