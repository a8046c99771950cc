//! Origins that do not behave: each answers every connection with a script of raw bytes.

use std::{net::SocketAddr, time::Duration};

use runtime::Scope;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Longest request head it reads before it answers.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What happens on each connection, after the request's head was read.
#[derive(Debug, Clone)]
pub enum Script {
    /// These bytes, then a good close.
    SendAndClose(&'static [u8]),
    /// These bytes, then a reset.
    SendAndReset(&'static [u8]),
    /// These bytes, then silence for this long, then a close.
    SendAndHang(&'static [u8], Duration),
}

/// A running origin of this kind. It stops when dropped.
#[derive(Debug)]
pub struct Rude {
    addr: SocketAddr,
    scope: Scope,
}

impl Drop for Rude {
    fn drop(&mut self) {
        self.scope.cancel();
    }
}

impl Rude {
    /// Starts one on a free port of loopback.
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has free ports");
        let addr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let scope = Scope::root();
        let inner = scope.clone();
        scope.spawn("rude-accept", async move {
            loop {
                let socket = tokio::select! {
                    () = inner.cancelled() => return,
                    accepted = listener.accept() => accepted.expect("accept works in tests").0,
                };
                let script = script.clone();
                inner.spawn("rude-connection", async move { play(socket, script).await });
            }
        });
        Self { addr, scope }
    }

    /// Its URL, as an app's origin.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

async fn play(mut socket: TcpStream, script: Script) {
    read_head(&mut socket).await;
    match script {
        Script::SendAndClose(bytes) => {
            // The other side may be gone; then there is nothing more to show.
            let _ = socket.write_all(bytes).await;
            let _ = socket.shutdown().await;
        }
        Script::SendAndReset(bytes) => {
            let _ = socket.write_all(bytes).await;
            // A close with zero linger is a reset.
            socket2::SockRef::from(&socket)
                .set_linger(Some(Duration::ZERO))
                .expect("linger can be set");
        }
        Script::SendAndHang(bytes, while_silent) => {
            let _ = socket.write_all(bytes).await;
            tokio::time::sleep(while_silent).await;
        }
    }
}

async fn read_head(socket: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        match socket.read_buf(&mut head).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
    }
}
