//! A user over HTTP/3, by the crate `h3`.

use std::{fmt, future::poll_fn, net::Ipv4Addr, sync::Arc};

use bytes::{Buf as _, Bytes, BytesMut};
use h3::error::StreamError;
use h3_quinn::BidiStream;
use http::{Request, Response, Version, header};
use quinn::{Endpoint, crypto::rustls::QuicClientConfig};

use super::{Answer, User};

/// A connection.
pub struct Http3 {
    host: String,
    sender: h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
    connection: quinn::Connection,
    _endpoint: Endpoint,
}

/// An answer whose head is there.
pub struct Http3Answer {
    head: Response<()>,
    stream: h3::client::RequestStream<BidiStream<Bytes>, Bytes>,
}

impl fmt::Debug for Http3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http3")
    }
}

impl fmt::Debug for Http3Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http3Answer")
    }
}

impl User {
    /// Connects to `host` over HTTP/3.
    pub async fn http3(&self, host: &str) -> Result<Http3, quinn::ConnectionError> {
        let crypto = QuicClientConfig::try_from(self.tls_config(b"h3")).expect("TLS 1.3 is there");
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let connecting = endpoint
            .connect_with(config, self.edge, host)
            .expect("hosts of tests are names");
        let connection = connecting.await?;
        let transport = h3_quinn::Connection::new(connection.clone());
        let (mut driver, sender) = h3::client::new(transport)
            .await
            .expect("the edge speaks HTTP/3");
        self.scope.spawn("user-connection", async move {
            // A broken connection shows at its request.
            poll_fn(|context| driver.poll_close(context)).await;
        });
        Ok(Http3 {
            host: host.to_owned(),
            sender,
            connection,
            _endpoint: endpoint,
        })
    }
}

impl Http3 {
    /// GETs `path` and gives the whole answer.
    pub async fn get(&mut self, path: &str) -> Answer {
        let answer = self.open(path).await.expect("an answer");
        answer.collect().await.expect("a whole answer")
    }

    /// GETs `path` with a field, and gives the whole answer.
    pub async fn get_with(&mut self, path: &str, name: &str, value: &str) -> Answer {
        let answer = self.open_with(path, name, value).await.expect("an answer");
        answer.collect().await.expect("a whole answer")
    }

    /// GETs `path`, trailers welcome, as far as the answer's head.
    pub async fn open(&mut self, path: &str) -> Result<Http3Answer, StreamError> {
        self.open_with(path, header::TE.as_str(), "trailers").await
    }

    /// The same with a field of the caller's.
    pub async fn open_with(
        &mut self,
        path: &str,
        name: &str,
        value: &str,
    ) -> Result<Http3Answer, StreamError> {
        let request = Request::get(format!("https://{}{path}", self.host))
            .header(name, value)
            .body(())
            .expect("a path makes a URL");
        let mut stream = self.sender.send_request(request).await?;
        stream.finish().await?;
        let head = stream.recv_response().await?;
        Ok(Http3Answer { head, stream })
    }

    /// Waits until the connection is gone.
    pub async fn closed(&self) -> quinn::ConnectionError {
        self.connection.closed().await
    }
}

impl Http3Answer {
    /// The next piece of the body.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, StreamError> {
        let piece = self.stream.recv_data().await?;
        Ok(piece.map(|mut piece| piece.copy_to_bytes(piece.remaining())))
    }

    /// What is left of the body, as a whole answer.
    pub async fn collect(mut self) -> Result<Answer, StreamError> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
        }
        let trailers = self.stream.recv_trailers().await?;
        let (head, ()) = self.head.into_parts();
        Ok(Answer {
            status: head.status,
            version: Version::HTTP_3,
            fields: head.headers,
            body: body.freeze(),
            trailers,
        })
    }
}
