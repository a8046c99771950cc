//! Who knocks at the port of users over TLS: users, and agents whose network lets no UDP through.
//!
//! The server name of the ClientHello tells them apart, and proves nothing: who asks for the name that agents ask for is served
//! nothing but the tunnel, and that only with a certificate of the fabric.

use std::{io, sync::Arc};

use runtime::node::edge_server_name;
use rustls::{
    ServerConfig,
    server::{Acceptor, ClientHello},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tunnel::tcp;

use crate::serving::Shared;

/// Someone who has shaken hands.
#[derive(Debug)]
pub(crate) enum Knock<S> {
    /// A user.
    User(TlsStream<S>),
    /// An agent of some fabric whose CA this edge trusts: which one, its certificate says.
    Agent(TlsStream<S>),
}

/// TLS settings towards both.
#[derive(Clone)]
pub(crate) struct Keys {
    users: Arc<ServerConfig>,
    agents: watch::Receiver<Arc<ServerConfig>>,
    /// What agents ask for; none for an edge whose id and domain are too long for a name of DNS.
    agents_name: Option<Arc<str>>,
}

impl Keys {
    /// `agents` are the settings of the tunnel over QUIC, which may be replaced later.
    pub(crate) fn new(
        users: Arc<ServerConfig>,
        agents: watch::Receiver<Arc<ServerConfig>>,
        edge: &Shared,
    ) -> Self {
        let name = edge_server_name(&edge.domain, &edge.id).ok();
        Self {
            users,
            agents,
            agents_name: name.map(|name| name.to_str().to_lowercase().into()),
        }
    }

    /// Shakes hands with whoever it is.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<Knock<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        if !self.is_for_agents(&begun.client_hello()) {
            let users = Arc::clone(&self.users);
            return begun.into_stream(users).await.map(Knock::User);
        }
        let stream = begun.into_stream(self.over_tcp()).await?;
        if stream.get_ref().1.alpn_protocol() == Some(tcp::ALPN) {
            Ok(Knock::Agent(stream))
        } else {
            Err(io::Error::other(
                "agent does not speak the tunnel's protocol",
            ))
        }
    }

    fn is_for_agents(&self, hello: &ClientHello<'_>) -> bool {
        // rustls gives the name in lower case.
        self.agents_name.is_some() && hello.server_name() == self.agents_name.as_deref()
    }

    /// The settings of the moment, for the protocol of this transport.
    fn over_tcp(&self) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.agents.borrow());
        config.alpn_protocols = vec![tcp::ALPN.to_vec()];
        Arc::new(config)
    }
}
