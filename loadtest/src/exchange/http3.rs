//! HTTP/3, by the crate `h3`: users share connections, a stream for each request.

use std::{future::poll_fn, rc::Rc};

use bytes::{Buf as _, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3_quinn::{BidiStream, OpenStreams};
use http::Request;

use super::{
    Protocol,
    http1::PIECE,
    http2,
    quic::{Link, Speaker},
    socket::Dialler,
};
use crate::{scenario::Load, tally::Failure};

/// The requests of a load.
pub(crate) struct Requests {
    heads: Vec<Request<()>>,
    upload_bytes: u64,
    keep_alive: bool,
}

impl Requests {
    pub(crate) fn new(load: &Load, dialler: &Dialler) -> Self {
        Self {
            heads: http2::heads(load, dialler),
            upload_bytes: load.upload_bytes(),
            keep_alive: load.keep_alive,
        }
    }
}

/// What opens requests on a connection.
pub(crate) type Sender = SendRequest<OpenStreams, Bytes>;

/// HTTP/3 on a fresh connection of QUIC.
pub(crate) struct Http3Speaker;

impl Speaker for Http3Speaker {
    type Opener = Sender;

    async fn begin(
        connection: quinn::Connection,
    ) -> Result<(Sender, impl Future<Output = ()> + 'static), Failure> {
        let transport = h3_quinn::Connection::new(connection);
        let (mut driver, sender) = h3::client::new(transport)
            .await
            .map_err(|_| Failure::Connect)?;
        // A broken connection shows at the requests that it carried.
        let drive = async move {
            poll_fn(|context| driver.poll_close(context)).await;
        };
        Ok((sender, drive))
    }
}

/// A user of a connection.
pub(crate) struct Http3 {
    link: Rc<Link<Http3Speaker>>,
    requests: Rc<Requests>,
    sender: Option<(Sender, u64)>,
    stream: Option<RequestStream<BidiStream<Bytes>, Bytes>>,
    piece: Bytes,
}

impl Http3 {
    pub(crate) fn new(link: &Rc<Link<Http3Speaker>>, requests: &Rc<Requests>) -> Self {
        Self {
            link: link.clone(),
            requests: requests.clone(),
            sender: None,
            stream: None,
            piece: Bytes::new(),
        }
    }

    fn disconnect(&mut self) {
        self.stream = None;
        if let Some((_, generation)) = self.sender.take() {
            self.link.forget(generation);
        }
    }
}

impl Protocol for Http3 {
    async fn connect(&mut self) -> Result<(), Failure> {
        if self.sender.is_none() {
            self.sender = Some(self.link.opener().await?);
        }
        Ok(())
    }

    async fn ask(&mut self, which: usize) -> Result<(), Failure> {
        self.connect().await?;
        let request = self.requests.heads[which % self.requests.heads.len()].clone();
        let (sender, _) = self.sender.as_mut().ok_or(Failure::Connect)?;
        let stream = sender.send_request(request).await;
        let mut stream = stream.map_err(|_| Failure::Broken)?;
        let mut left = self.requests.upload_bytes;
        while left > 0 {
            let wanted = usize::try_from(left).map_or(PIECE.len(), |left| left.min(PIECE.len()));
            let sent = stream.send_data(Bytes::from_static(&PIECE).slice(..wanted));
            sent.await.map_err(|_| Failure::Broken)?;
            left -= wanted as u64;
        }
        stream.finish().await.map_err(|_| Failure::Broken)?;
        let head = stream.recv_response().await.map_err(|_| Failure::Broken)?;
        if !head.status().is_success() {
            return Err(Failure::Status(head.status().as_u16()));
        }
        self.stream = Some(stream);
        Ok(())
    }

    async fn data(&mut self) -> Result<Option<&[u8]>, Failure> {
        let Some(stream) = &mut self.stream else {
            return Ok(None);
        };
        let piece = stream.recv_data().await.map_err(|_| Failure::Truncated)?;
        self.piece = piece
            .map(|mut piece| piece.copy_to_bytes(piece.remaining()))
            .unwrap_or_default();
        if self.piece.is_empty() {
            self.stream = None;
            if !self.requests.keep_alive {
                self.disconnect();
            }
            return Ok(None);
        }
        Ok(Some(&self.piece))
    }

    fn give_up(&mut self) {
        self.disconnect();
    }

    /// Dropped, it is stopped.
    fn leave(&mut self) {
        self.stream = None;
    }
}
