//! An app with a real sign-in form: the admin pages of Django, in a process of its own.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The script beside this crate's sources.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/forms/admin.py");

/// The app. It ends with this.
#[derive(Debug)]
pub struct FormApp {
    child: Child,
    _input: ChildStdin,
    addr: SocketAddr,
}

impl FormApp {
    /// Starts it with one user; what it keeps goes to `folder`.
    pub fn start(folder: &Path, user: &str, password: &str) -> Self {
        let mut child = Command::new("/usr/bin/python3")
            .arg(SCRIPT)
            .arg(folder)
            .arg(user)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let mut input = child.stdin.take().expect("it is piped");
        writeln!(input, "{password}").expect("it reads its password");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("it says where it is");
        let port = line.trim().parse().expect("python3-django is installed");
        Self {
            child,
            _input: input,
            addr: (Ipv4Addr::LOCALHOST, port).into(),
        }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Asks it for a page, past the fabric.
    pub async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.addr);
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .await
            .expect("it answers");
        let body = answer.split_once("\r\n\r\n");
        body.map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    /// How many forms were sent to sign in.
    pub async fn attempts(&self) -> u32 {
        let said = self.get("/attempts").await;
        said.parse().expect("it is a number")
    }
}

impl Drop for FormApp {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
