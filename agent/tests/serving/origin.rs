//! Origins that do exactly what a test says, byte by byte.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use runtime::Scope;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// An origin whose connections each follow a script. It ends when dropped.
pub(crate) struct ScriptedOrigin {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _scope: Scope,
}

impl ScriptedOrigin {
    /// `script` is given each connection with its number, from 0.
    pub(crate) async fn start<S, F>(script: S) -> Self
    where
        S: Fn(TcpStream, usize) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let scope = Scope::root();
        let (counted, own) = (Arc::clone(&connections), scope.child("connections"));
        scope.spawn("origin", async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let number = counted.fetch_add(1, Ordering::SeqCst);
                own.spawn("script", script(stream, number));
            }
        });
        Self {
            address,
            connections,
            _scope: scope,
        }
    }

    /// Answers every request on every connection with the same bytes.
    pub(crate) async fn answering(answer: impl Into<Arc<str>>) -> Self {
        let answer = answer.into();
        Self::start(move |mut stream, _| {
            let answer = Arc::clone(&answer);
            async move {
                while let Some(_head) = read_head(&mut stream).await {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        })
        .await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// One head, in lower case, and not a byte more; `None` at the end of the connection.
pub(crate) async fn read_head<R: AsyncRead + Unpin>(stream: &mut R) -> Option<String> {
    let head = read_head_as_written(stream).await?;
    Some(head.to_ascii_lowercase())
}

/// The same in its own case.
pub(crate) async fn read_head_as_written<R: AsyncRead + Unpin>(stream: &mut R) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await.ok()?;
        head.push(byte);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Exactly this many bytes.
pub(crate) async fn read_body<R: AsyncRead + Unpin>(stream: &mut R, length: usize) -> Vec<u8> {
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    body
}

/// Waits until the agent's side is closed, whatever it still sends; says how much that was.
pub(crate) async fn read_to_close<R: AsyncRead + Unpin>(stream: &mut R) -> usize {
    let mut rest = Vec::new();
    // A reset is an end as good as any.
    let _ = stream.read_to_end(&mut rest).await;
    rest.len()
}

/// A URL at which nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
