//! Networks other than the system's.

use std::{
    fmt, io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

use quinn::AsyncUdpSocket;

use super::socket::EndpointSocket;

/// What a worker's socket is bound in.
#[derive(Debug)]
pub(crate) enum Underlay {
    System(UdpSocket),
    Other(Arc<dyn AsyncUdpSocket>),
}

impl Underlay {
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::System(socket) => socket.local_addr(),
            Self::Other(socket) => socket.local_addr(),
        }
    }

    /// The system's socket, if it is one.
    pub(crate) fn system(&self) -> Option<&UdpSocket> {
        match self {
            Self::System(socket) => Some(socket),
            Self::Other(_) => None,
        }
    }

    /// # Panics
    /// There is no tokio runtime here.
    pub(super) fn open(self) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        match self {
            Self::System(socket) => Ok(EndpointSocket::new(socket)?),
            Self::Other(socket) => Ok(socket),
        }
    }
}

/// A network that endpoints may be on instead of the system's, so that tests decide what it does to packets.
pub trait Network: fmt::Debug + Send + Sync {
    /// A socket at this address; port 0 is any that is free.
    ///
    /// # Errors
    /// The address is taken, or there is no such one.
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;

    /// Where `address`, as `name:port`, is in this network.
    ///
    /// # Errors
    /// Nobody knows, or nobody answers.
    fn look_up(&self, address: &str) -> io::Result<Vec<SocketAddr>>;
}
