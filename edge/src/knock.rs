//! Who knocks at the port of users over TLS: users, agents whose network lets no UDP through, and nodes that look for control.
//!
//! The server name of the ClientHello tells them apart, and proves nothing: who asks for the name that agents ask for is served
//! nothing but the tunnel, and that only with a certificate of the fabric; who asks for control is led to it, unread.

use std::{io, sync::Arc};

use runtime::node::{CONTROL_SERVER_NAME, edge_server_name};
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

use crate::{
    passage::{Passage, Recorded},
    serving::Shared,
};

/// Who it is.
#[derive(Debug)]
pub(crate) enum Knock<'a, S> {
    /// A user, who has shaken hands.
    User(Box<TlsStream<Recorded<S>>>),
    /// An agent of some fabric whose CA this edge trusts, which has: which one, its certificate says.
    Agent(Box<TlsStream<Recorded<S>>>),
    /// A node, or whoever else asks for control, and the way there.
    ForControl(Recorded<S>, &'a Passage),
}

/// TLS settings towards agents, and the way to control.
#[derive(Clone)]
pub(crate) struct Keys {
    agents: watch::Receiver<Arc<ServerConfig>>,
    /// What agents ask for; none for an edge whose id and domain are too long for a name of DNS.
    agents_name: Option<Arc<str>>,
    passage: Option<Passage>,
}

impl Keys {
    /// `agents` are the settings of the tunnel over QUIC, which may be replaced later.
    pub(crate) fn new(
        agents: watch::Receiver<Arc<ServerConfig>>,
        passage: Option<Passage>,
        edge: &Shared,
    ) -> Self {
        let name = edge_server_name(&edge.domain, &edge.id).ok();
        Self {
            agents,
            agents_name: name.map(|name| name.to_str().to_lowercase().into()),
            passage,
        }
    }

    /// Shakes hands with whoever it is; with users by these settings.
    pub(crate) async fn accept<S>(
        &self,
        stream: S,
        users: Arc<ServerConfig>,
    ) -> io::Result<Knock<'_, S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = match self.passage {
            Some(_) => Recorded::new(stream),
            None => Recorded::not(stream),
        };
        let mut begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let asks_for_control = begun.client_hello().server_name() == Some(CONTROL_SERVER_NAME);
        if let Some(passage) = self.passage.as_ref().filter(|_| asks_for_control) {
            return Ok(Knock::ForControl(begun.io, passage));
        }
        // What was read of the hello is not read again.
        begun.io.forget();
        if !self.is_for_agents(&begun.client_hello()) {
            let stream = begun.into_stream(users).await?;
            return Ok(Knock::User(Box::new(stream)));
        }
        let stream = begun.into_stream(self.over_tcp()).await?;
        if stream.get_ref().1.alpn_protocol() == Some(tcp::ALPN) {
            Ok(Knock::Agent(Box::new(stream)))
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
