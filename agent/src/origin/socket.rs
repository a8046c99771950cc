//! Origins behind Unix sockets.

use std::io;

use model::app::SocketPath;

pub(crate) use tokio::net::UnixStream;

pub(super) async fn connect(path: &SocketPath) -> io::Result<UnixStream> {
    UnixStream::connect(path.as_str()).await
}
