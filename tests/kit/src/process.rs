//! A real `adit` process: started as a user would, watched, and always taken down.

use std::{
    ffi::OsStr,
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

/// How long a process may take to start or to stop.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long [`eventually`] looks: long enough for a machine with many tests at once, short enough that the test ends with a name.
const LOOK_FOR: Duration = Duration::from_secs(45);
/// Pause between two looks at something that is expected to happen.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// An address of loopback that was free for TCP and UDP a moment ago.
///
/// For processes that must come back at the same address; sockets of the tests themselves bind port 0.
pub fn free_address() -> SocketAddr {
    free_address_of(Ipv4Addr::LOCALHOST.into())
}

/// The same of another address of this host.
pub fn free_address_of(host: IpAddr) -> SocketAddr {
    loop {
        let tcp = TcpListener::bind((host, 0)).expect("this host has free ports");
        let addr = tcp.local_addr().expect("a bound socket has an address");
        if UdpSocket::bind(addr).is_ok() {
            return addr;
        }
    }
}

/// Looks until `happened` says so. Panics with `what` after 45 s.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut happened: impl FnMut() -> F) {
    let looked = async {
        while !happened().await {
            sleep(LOOK_EVERY).await;
        }
    };
    if timeout(LOOK_FOR, looked).await.is_ok() {
        return;
    }
    panic!("did not happen in {LOOK_FOR:?}: {what}");
}

/// A running process. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    admin: SocketAddr,
}

impl Process {
    /// Starts `program` with `args`; what it says goes to a log beside `folder`'s other files, and what it would leave in the
    /// temporary folder when it is killed goes there too.
    pub fn start(
        program: &Path,
        folder: &Path,
        name: &str,
        admin: SocketAddr,
        args: &[&str],
    ) -> Self {
        Self::start_by(&[], program, folder, name, admin, args)
    }

    /// The same, by a command that is given the program's own, such as `ip netns exec`.
    pub fn start_by(
        command: &[String],
        program: &Path,
        folder: &Path,
        name: &str,
        admin: SocketAddr,
        args: &[&str],
    ) -> Self {
        let log = folder.join(format!("{name}.log"));
        let mut words = command.iter().map(OsStr::new).chain([program.as_os_str()]);
        let first = words.next().unwrap_or(program.as_os_str());
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("the log can be written");
        let child = Command::new(first)
            .args(words)
            .args(args)
            .current_dir(folder)
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a file can be shared"))
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Self {
            name: name.to_owned(),
            child,
            log,
            admin,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until its admin port says that it is ready.
    pub async fn ready(&mut self) {
        let answers = async {
            while admin_status(self.admin, "/ready").await != Some(200) {
                if let Some(status) = self.exited() {
                    panic!("{} ended with {status}:\n{}", self.name, self.log());
                }
                sleep(LOOK_EVERY).await;
            }
        };
        let in_time = timeout(PATIENCE, answers).await.is_ok();
        let (name, log) = (&self.name, self.log());
        assert!(in_time, "{name} did not get ready in {PATIENCE:?}:\n{log}");
    }

    /// Status of a path of its admin port; `None` when nobody listens.
    pub async fn admin_status(&self, path: &str) -> Option<u16> {
        admin_status(self.admin, path).await
    }

    /// Body of a path of its admin port.
    pub async fn admin(&self, path: &str) -> String {
        let answer = admin_answer(self.admin, path).await.unwrap_or_default();
        answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned())
            .unwrap_or_default()
    }

    /// Highest resident memory so far, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the process runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .expect("Linux says so");
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse().ok())
            .expect("a number of KiB")
    }

    /// Kills it with no warning.
    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Keeps it from running, as on a machine that sleeps, until it is [woken](Self::wake).
    pub fn suspend(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it run again.
    pub fn wake(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.id()).expect("process ids are small"));
        kill(pid, signal).expect("the process runs");
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .expect("our own child can be waited for")
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let ends = async {
            loop {
                if let Some(status) = self.exited() {
                    return status;
                }
                sleep(LOOK_EVERY).await;
            }
        };
        let status = timeout(PATIENCE, ends).await;
        status.unwrap_or_else(|_| {
            panic!("{} did not end in {PATIENCE:?}:\n{}", self.name, self.log())
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn admin_status(addr: SocketAddr, path: &str) -> Option<u16> {
    admin_answer(addr, path)
        .await?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()
}

async fn admin_answer(addr: SocketAddr, path: &str) -> Option<String> {
    let mut socket = TcpStream::connect(addr).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}
