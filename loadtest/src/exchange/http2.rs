//! HTTP/2: users share connections, a stream for each request.

use std::{cell::RefCell, future::poll_fn, rc::Rc};

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{self, SendRequest},
};
use http::{HeaderMap, Request};
use tokio::task::JoinSet;

use super::{Protocol, http1::PIECE, socket::Dialler};
use crate::{scenario::Load, tally::Failure};

/// Windows of a browser (Chromium's), so that downloads are held up by nobody.
const STREAM_WINDOW_BYTES: u32 = 6 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 15 * 1024 * 1024;

/// The body of a request.
#[derive(Debug, Clone)]
pub(crate) enum Upload {
    /// So many bytes of anything.
    Bytes(u64),
    /// Exactly this.
    Exactly(Bytes),
}

/// The requests of a load.
pub(crate) struct Requests {
    pub(crate) heads: Vec<Request<()>>,
    pub(crate) upload: Upload,
    pub(crate) keep_alive: bool,
}

impl Requests {
    pub(crate) fn new(load: &Load, dialler: &Dialler) -> Self {
        Self {
            heads: heads(load, dialler),
            upload: Upload::Bytes(load.upload_bytes()),
            keep_alive: load.keep_alive,
        }
    }
}

/// Heads of gets and puts, for HTTP/2 and HTTP/3.
pub(crate) fn heads(load: &Load, dialler: &Dialler) -> Vec<Request<()>> {
    let method = load.ask.method();
    let heads = load.paths.iter().map(|path| {
        let mut request = Request::builder()
            .method(method)
            .uri(dialler.target().at(path));
        if method == "PUT" {
            request = request.header("content-length", load.upload_bytes());
        }
        if let Some(cookie) = dialler.target().cookie() {
            request = request.header("cookie", cookie);
        }
        request.body(()).expect("a method and a URL make a request")
    });
    heads.collect()
}

/// A connection that users share.
pub(crate) struct Link {
    dialler: Rc<Dialler>,
    dialling: tokio::sync::Mutex<()>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    sender: Option<SendRequest<Bytes>>,
    /// Counts connections, so that a user who failed on an old one does not end the new one.
    generation: u64,
    driver: JoinSet<()>,
}

impl Link {
    pub(crate) fn new(dialler: &Rc<Dialler>) -> Rc<Self> {
        Rc::new(Self {
            dialler: dialler.clone(),
            dialling: tokio::sync::Mutex::new(()),
            state: RefCell::default(),
        })
    }

    fn standing(&self) -> Option<(SendRequest<Bytes>, u64)> {
        let state = self.state.borrow();
        Some((state.sender.clone()?, state.generation))
    }

    async fn sender(&self) -> Result<(SendRequest<Bytes>, u64), Failure> {
        let _dialling = self.dialling.lock().await;
        if let Some(standing) = self.standing() {
            return Ok(standing);
        }
        let socket = self.dialler.dial().await?;
        let handshake = client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .handshake(socket);
        let (sender, connection) = handshake.await.map_err(|_| Failure::Connect)?;
        let mut state = self.state.borrow_mut();
        // A broken connection shows at the requests that it carried.
        state
            .driver
            .spawn_local(async move { drop(connection.await) });
        state.generation += 1;
        state.sender = Some(sender.clone());
        Ok((sender, state.generation))
    }

    fn forget(&self, generation: u64) {
        let mut state = self.state.borrow_mut();
        if state.generation == generation {
            state.sender = None;
            state.driver = JoinSet::new();
        }
    }
}

/// A user of a connection.
pub(crate) struct Http2 {
    link: Rc<Link>,
    requests: Rc<Requests>,
    sender: Option<(SendRequest<Bytes>, u64)>,
    body: Option<RecvStream>,
    piece: Bytes,
}

impl Http2 {
    pub(crate) fn new(link: &Rc<Link>, requests: &Rc<Requests>) -> Self {
        Self {
            link: link.clone(),
            requests: requests.clone(),
            sender: None,
            body: None,
            piece: Bytes::new(),
        }
    }

    /// A place for one more stream. A connection that ended before it was asked anything costs no request.
    async fn place(&mut self) -> Result<&mut SendRequest<Bytes>, Failure> {
        if let Some((sender, _)) = &mut self.sender
            && poll_fn(|context| sender.poll_ready(context)).await.is_err()
        {
            self.disconnect();
        }
        if self.sender.is_none() {
            let (mut sender, generation) = self.link.sender().await?;
            let ready = poll_fn(|context| sender.poll_ready(context)).await;
            self.sender = Some((sender, generation));
            if ready.is_err() {
                self.disconnect();
            }
        }
        let place = self.sender.as_mut().map(|(sender, _)| sender);
        place.ok_or(Failure::Connect)
    }

    fn disconnect(&mut self) {
        if let Some((_, generation)) = self.sender.take() {
            self.link.forget(generation);
        }
    }

    /// The fields behind the body, which has been read.
    pub(crate) async fn trailers(&mut self) -> Result<HeaderMap, Failure> {
        let Some(mut body) = self.body.take() else {
            return Ok(HeaderMap::new());
        };
        let trailers = body.trailers().await.map_err(|_| Failure::Truncated)?;
        Ok(trailers.unwrap_or_default())
    }
}

impl Protocol for Http2 {
    async fn connect(&mut self) -> Result<(), Failure> {
        self.place().await.map(|_| ())
    }

    async fn ask(&mut self, which: usize) -> Result<(), Failure> {
        let requests = self.requests.clone();
        let request = requests.heads[which % requests.heads.len()].clone();
        let empty = matches!(requests.upload, Upload::Bytes(0));
        let sent = self.place().await?.send_request(request, empty);
        let (answer, stream) = sent.map_err(|_| Failure::Broken)?;
        if !empty {
            send(stream, &requests.upload).await?;
        }
        let answer = answer.await.map_err(|_| Failure::Broken)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(Failure::Status(status.as_u16()));
        }
        self.body = Some(answer.into_body());
        Ok(())
    }

    async fn data(&mut self) -> Result<Option<&[u8]>, Failure> {
        let Some(body) = &mut self.body else {
            return Ok(None);
        };
        let Some(piece) = body.data().await else {
            if !self.requests.keep_alive {
                self.disconnect();
            }
            return Ok(None);
        };
        self.piece = piece.map_err(|_| Failure::Truncated)?;
        // Of a stream that has just ended there is nothing to release.
        let _ = body.flow_control().release_capacity(self.piece.len());
        Ok(Some(&self.piece))
    }

    fn give_up(&mut self) {
        self.body = None;
        self.disconnect();
    }

    /// Dropped, it is reset.
    fn leave(&mut self) {
        self.body = None;
    }
}

async fn send(mut stream: SendStream<Bytes>, upload: &Upload) -> Result<(), Failure> {
    let mut left = match upload {
        Upload::Exactly(bytes) => {
            let sent = stream.send_data(bytes.clone(), true);
            return sent.map_err(|_| Failure::Broken);
        }
        Upload::Bytes(bytes) => *bytes,
    };
    while left > 0 {
        let wanted = usize::try_from(left).map_or(PIECE.len(), |left| left.min(PIECE.len()));
        stream.reserve_capacity(wanted);
        let room = poll_fn(|context| stream.poll_capacity(context)).await;
        let room = room.and_then(Result::ok).ok_or(Failure::Broken)?;
        let piece = Bytes::from_static(&PIECE).slice(..room.min(wanted));
        left -= piece.len() as u64;
        let sent = stream.send_data(piece, left == 0);
        sent.map_err(|_| Failure::Broken)?;
    }
    Ok(())
}
