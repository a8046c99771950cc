//! Origins behind Unix sockets, which Windows has too, but tokio does not there: no agent reaches one.

use std::{future, io};

use model::app::SocketPath;

/// Never made.
pub(crate) type UnixStream = tokio::io::Empty;

pub(super) fn connect(_path: &SocketPath) -> impl Future<Output = io::Result<UnixStream>> {
    let why = "an agent on Windows reaches no Unix sockets: run one on Linux";
    future::ready(Err(io::Error::new(io::ErrorKind::Unsupported, why)))
}
