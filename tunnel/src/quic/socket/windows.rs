//! The UDP socket of an endpoint on Windows: quinn's own, as what `socket.rs` spares is spared by means that Unix has.

use std::{io, net::UdpSocket, sync::Arc};

use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime};

/// A socket in the tokio runtime of its caller.
pub(super) struct EndpointSocket;

impl EndpointSocket {
    /// # Errors
    /// What the system says.
    ///
    /// # Panics
    /// There is no tokio runtime here. The same holds for sending.
    #[expect(
        clippy::new_ret_no_self,
        reason = "as on Unix, where the socket is ours; here it is quinn's"
    )]
    pub(super) fn new(socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }
}
