//! Connections of TCP, with TLS or without.

use std::{
    io,
    net::Ipv4Addr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    tally::Failure,
    target::{Sessions, Target, TargetError},
};

/// How long a connection may take, TLS included.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes connections to one target, for one protocol.
#[derive(Clone)]
pub(crate) struct Dialler {
    target: Target,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// One connection.
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Dialler {
    pub(crate) fn new(
        target: &Target,
        protocol: &[u8],
        sessions: Sessions,
    ) -> Result<Self, TargetError> {
        let connector = target
            .tls(protocol, sessions)?
            .map(|config| TlsConnector::from(Arc::new(config)));
        Ok(Self {
            target: target.clone(),
            tls: connector.zip(target.server_name().cloned()),
        })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) async fn dial(&self) -> Result<Socket, Failure> {
        self.in_time(TcpStream::connect(self.target.addr())).await
    }

    /// As [`Self::dial`], from an address of this machine's.
    pub(crate) async fn dial_from(&self, address: Ipv4Addr) -> Result<Socket, Failure> {
        let connecting = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind((address, 0).into())?;
            socket.connect(self.target.addr()).await
        };
        self.in_time(connecting).await
    }

    async fn in_time(
        &self,
        connecting: impl Future<Output = io::Result<TcpStream>>,
    ) -> Result<Socket, Failure> {
        let dialled = tokio::time::timeout(CONNECT_TIMEOUT, self.handshake(connecting)).await;
        dialled.ok().and_then(Result::ok).ok_or(Failure::Connect)
    }

    async fn handshake(
        &self,
        connecting: impl Future<Output = io::Result<TcpStream>>,
    ) -> io::Result<Socket> {
        let socket = connecting.await?;
        socket.set_nodelay(true)?;
        let Some((connector, name)) = &self.tls else {
            return Ok(Socket::Plain(socket));
        };
        let stream = connector.connect(name.clone(), socket).await?;
        Ok(Socket::Tls(Box::new(stream)))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(socket) => Pin::new(socket).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(socket) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}
