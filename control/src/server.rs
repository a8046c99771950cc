//! Control's only listener: TLS always, HTTP/2 only, nodes proven by their certificates, operators by their tokens.

mod calls;
mod certificate;
mod connection;
mod places;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use runtime::{Clock, Scope};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;

use crate::{ca::Ca, telemetry};
use places::Places;

pub(crate) use calls::Admission;
#[cfg(test)]
pub(crate) use calls::Calls;

pub use certificate::CertificateError;

/// Connections at once: ten thousand agents, their edges, and some operators.
const CONNECTIONS_MAX: usize = 20_000;
/// After `accept` failed, as it does while no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the listener works with.
#[derive(Debug)]
pub struct ServerConfig {
    /// Already bound.
    pub listener: TcpListener,
    /// Signs the listener's certificate, and those of nodes.
    pub ca: Arc<Ca>,
    /// Who control is.
    pub name: runtime::node::NodeIdentity,
    /// Hosts, each a name or an address, under which it is dialled.
    pub hosts: Vec<String>,
    /// Everything that is served.
    pub routes: Routes,
    /// Time.
    pub clock: Clock,
}

/// Starts to serve, by tasks of `scope`: cancelled, they finish the calls that run and end.
///
/// # Errors
/// See [`CertificateError`].
pub fn start(config: ServerConfig, scope: &Scope) -> Result<(), CertificateError> {
    let own = certificate::Own::issue(&config)?;
    let acceptor = TlsAcceptor::from(own.tls()?);
    let renewal = scope.child("server certificate");
    scope.spawn_standing("server certificate", async move {
        tokio::select! {
            () = renewal.cancelled() => {}
            () = own.renew() => {}
        }
    });
    let door = connection::Door {
        acceptor,
        routes: config.routes.prepare(),
        places: Arc::new(Places::new()),
        scope: scope.child("connections"),
    };
    let listening = scope.child("listener");
    scope.spawn_standing("listener", async move {
        tokio::select! {
            () = listening.cancelled() => {}
            () = accept_all(&config.listener, &door) => {}
        }
        // The scope of the connections lives until they have ended.
        door.scope.ended().await;
    });
    Ok(())
}

async fn accept_all(listener: &TcpListener, door: &connection::Door) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        match accept(listener, &permits).await {
            Ok((stream, peer, permit)) => {
                let Some(shaking) = door.places.shake_hands(peer.ip()) else {
                    telemetry::refused_connections().increment(1);
                    continue;
                };
                let serving = door.child().serve(stream, peer, shaking);
                door.scope.spawn("connection", async move {
                    let _permit = permit;
                    serving.await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer, permit.map_err(io::Error::other)?))
}
