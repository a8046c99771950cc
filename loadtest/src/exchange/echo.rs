//! WebSockets: a message goes out, and the same has to come back.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::Uri;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{ClientRequestBuilder, Message},
};

use super::{
    Exchange,
    socket::{Dialler, Socket},
};
use crate::{
    scenario::Load,
    tally::{Answer, Failure},
};

/// A user with a WebSocket.
pub(crate) struct Echo {
    dialler: Rc<Dialler>,
    url: Uri,
    message: Bytes,
    socket: Option<WebSocketStream<Socket>>,
}

impl Echo {
    pub(crate) fn new(dialler: &Rc<Dialler>, load: &Load) -> Self {
        let path = load.paths.first().map_or("/", |path| path.as_str());
        let url = format!("ws://{}{path}", dialler.target().authority());
        Self {
            dialler: dialler.clone(),
            url: url.parse().expect("authority and path make a URL"),
            message: Bytes::from(vec![
                b'm';
                usize::try_from(load.message_bytes()).unwrap_or(0)
            ]),
            socket: None,
        }
    }
}

impl Exchange for Echo {
    async fn connect(&mut self) -> Result<(), Failure> {
        if self.socket.is_some() {
            return Ok(());
        }
        let socket = self.dialler.dial().await?;
        let mut request = ClientRequestBuilder::new(self.url.clone());
        let cookie = self.dialler.target().cookie();
        if let Some(cookie) = cookie.and_then(|cookie| cookie.to_str().ok()) {
            request = request.with_header("cookie", cookie);
        }
        let opened = tokio_tungstenite::client_async(request, socket).await;
        let (socket, _) = opened.map_err(|_| Failure::Connect)?;
        self.socket = Some(socket);
        Ok(())
    }

    async fn exchange(&mut self) -> Result<Answer, Failure> {
        self.connect().await?;
        let socket = self.socket.as_mut().ok_or(Failure::Connect)?;
        let sent = socket.send(Message::Binary(self.message.clone())).await;
        sent.map_err(|_| Failure::Broken)?;
        loop {
            match socket.next().await {
                Some(Ok(Message::Binary(echo))) if echo == self.message => break,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(_)) => return Err(Failure::Echo),
                Some(Err(_)) | None => return Err(Failure::Broken),
            }
        }
        Ok(Answer {
            body_bytes: 2 * self.message.len() as u64,
            took: None,
        })
    }

    fn give_up(&mut self) {
        self.socket = None;
    }
}
