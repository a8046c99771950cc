//! What an edge listens on: sockets of its own, or those that another process of it gave.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdTcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tunnel::{
    quic::EdgeEndpoint,
    steering::{Generation, Steering, WorkerSocket, bind_beside, bind_group},
};

use crate::{
    serving::{ServeError, ServingConfig, TunnelTls},
    takeover::Given,
};

/// Connections that wait to be accepted; a burst of one tick of a busy listener.
const BACKLOG: i32 = 1024;

/// What one worker gets to listen on.
pub(crate) struct Sockets {
    pub https: StdTcpListener,
    pub http: Option<StdTcpListener>,
    pub tunnel: WorkerSocket,
}

impl Sockets {
    /// Gives them to the runtime of their worker, in which this is called.
    pub(crate) fn open(
        self,
        tls: &TunnelTls,
    ) -> Result<(TcpListener, Option<TcpListener>, EdgeEndpoint), ServeError> {
        let listener =
            |listener: StdTcpListener| TcpListener::from_std(listener).map_err(ServeError::Workers);
        let https = listener(self.https)?;
        let http = self.http.map(listener).transpose()?;
        let agents_tls = tls.agents.borrow().clone();
        let endpoint = EdgeEndpoint::new(self.tunnel, agents_tls, &tls.resets)
            .map_err(ServeError::Endpoint)?;
        Ok((https, http, endpoint))
    }

    /// Where users are served, where they are redirected, and where agents dial.
    pub(crate) fn addresses(
        &self,
        config: &ServingConfig,
    ) -> Result<(SocketAddr, Option<SocketAddr>, SocketAddr), ServeError> {
        let failed = |address| move |source| ServeError::Listen { address, source };
        let of = |listener: &StdTcpListener| listener.local_addr().map_err(failed(config.https));
        let tunnel = self.tunnel.local_addr().map_err(failed(config.tunnel))?;
        let http = self.http.as_ref().map(of).transpose()?;
        Ok((of(&self.https)?, http, tunnel))
    }
}

/// Binds them all.
pub(crate) fn bind(config: &ServingConfig) -> Result<Vec<Sockets>, ServeError> {
    let count = u32::try_from(config.workers.count().get()).unwrap_or(u32::MAX);
    let tunnels = match &config.network {
        None => bind_group(config.tunnel, count, config.generation),
        Some(network) => WorkerSocket::on(&**network, config.tunnel).map(|one| vec![one]),
    };
    let tunnels = tunnels.map_err(ServeError::Tunnel)?;
    tell_buffers(&tunnels);
    let (mut https, mut http) = (config.https, config.http);
    for address in [Some(https), http].into_iter().flatten() {
        free(address)?;
    }
    let mut sockets = Vec::with_capacity(tunnels.len());
    for tunnel in tunnels {
        sockets.push(Sockets {
            https: listen_shared(&mut https)?,
            http: http.as_mut().map(listen_shared).transpose()?,
            tunnel,
        });
    }
    Ok(sockets)
}

/// Fails if anybody listens there: workers share their listeners' port, and with them would whoever else asks for that.
fn free(address: SocketAddr) -> Result<(), ServeError> {
    let bound = StdTcpListener::bind(address);
    bound
        .map(drop)
        .map_err(|source| ServeError::Listen { address, source })
}

/// Listens on an address that other workers share. The first listener of port 0 decides the port for all.
fn listen_shared(address: &mut SocketAddr) -> Result<StdTcpListener, ServeError> {
    let listen = || {
        let socket = Socket::new(
            Domain::for_address(*address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            // One socket for both families.
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&(*address).into())?;
        socket.listen(BACKLOG)?;
        let listener = StdTcpListener::from(socket);
        Ok((listener.local_addr()?, listener))
    };
    let (bound, listener) = listen().map_err(|source| ServeError::Listen {
        address: *address,
        source,
    })?;
    *address = bound;
    Ok(listener)
}

/// Takes the listeners of the process that serves, and binds a tunnel beside its own.
pub(crate) fn inherit(given: &Given, config: &ServingConfig) -> Result<Vec<Sockets>, ServeError> {
    let shared = |listener: &StdTcpListener| {
        listener.try_clone().map_err(|source| ServeError::Listen {
            address: config.https,
            source,
        })
    };
    let count = u32::try_from(given.https.len()).unwrap_or(u32::MAX);
    let (_, _, tunnel) = given.addresses().map_err(|source| ServeError::Listen {
        address: config.https,
        source,
    })?;
    let tunnels = bind_beside(tunnel, count, config.generation).map_err(ServeError::Tunnel)?;
    tell_buffers(&tunnels);
    let mut sockets = Vec::with_capacity(tunnels.len());
    for (index, tunnel) in tunnels.into_iter().enumerate() {
        sockets.push(Sockets {
            https: shared(&given.https[index])?,
            http: given.http.get(index).map(shared).transpose()?,
            tunnel,
        });
    }
    Ok(sockets)
}

/// What another process can be given of these.
pub(crate) fn share(
    sockets: &[Sockets],
    admin: StdTcpListener,
    generation: Generation,
) -> io::Result<Given> {
    let tunnels = sockets.iter().map(|sockets| &sockets.tunnel);
    Ok(Given {
        https: sockets
            .iter()
            .map(|sockets| sockets.https.try_clone())
            .collect::<io::Result<_>>()?,
        http: sockets
            .iter()
            .filter_map(|sockets| sockets.http.as_ref())
            .map(StdTcpListener::try_clone)
            .collect::<io::Result<_>>()?,
        tunnel: Steering::of(tunnels)?,
        admin,
        generation,
    })
}

fn tell_buffers(tunnels: &[WorkerSocket]) {
    if let Some(granted) = tunnels.first().and_then(|first| first.granted) {
        tracing::info!(
            receive_bytes = granted.receive_bytes,
            send_bytes = granted.send_bytes,
            advice = granted.advice(),
            "socket buffers of the tunnel"
        );
    }
}
