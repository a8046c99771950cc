//! Starts the files of `targets/`, listens to what they say, and takes them down with all that they started.

use std::{
    fs::{self, File},
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
};

use super::{
    account::Account,
    ready::{Line, LineError, Ready, parse},
};

/// Bytes of one line of a target.
const LINE_BYTES_MAX: u64 = 4 * 1024;
/// Lines before the one that matters.
const LINES_MAX: usize = 16;
/// Ports that a target is given; the fabric, which needs most, takes two.
const PORTS: usize = 8;
/// What is shown of the standard error of a target that failed.
const COMPLAINT_CHARS_MAX: usize = 600;

/// How long targets may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// To build what is missing.
    pub prepare: Duration,
    /// To say that they are ready.
    pub ready: Duration,
    /// To end when they are asked to.
    pub end: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            // A release build of the fabric takes ten minutes on two slow cores.
            prepare: Duration::from_secs(1_800),
            ready: Duration::from_secs(60),
            end: Duration::from_secs(10),
        }
    }
}

/// Why a target did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The file cannot be run.
    #[error("{} cannot be run", .0.display())]
    Run(PathBuf, #[source] io::Error),
    /// Its folder or its ports cannot be had.
    #[error("no folder or ports for a target")]
    Surroundings(#[source] io::Error),
    /// It says nothing for too long.
    #[error("not ready within {0:?}{1}")]
    Late(Duration, Complaint),
    /// It ended instead of being ready.
    #[error("ended with {0} before it was ready{1}")]
    Ended(ExitStatus, Complaint),
    /// A line is too long, or there are too many.
    #[error("it talks too much")]
    Babble,
    /// A line cannot be read.
    #[error("it said what nobody understands")]
    Line(#[source] LineError),
    /// What it says cannot be read at all.
    #[error("its output cannot be read")]
    Output(#[source] io::Error),
}

/// The end of a target's standard error, for people.
#[derive(Debug)]
pub struct Complaint(String);

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.0)
    }
}

/// What all targets of a run find in their environment; `targets/README.md` names each.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Variables, by name.
    pub variables: Vec<(&'static str, String)>,
    /// Folder in which each target gets one of its own.
    pub work: PathBuf,
    /// How long targets may take.
    pub patience: Patience,
}

/// A target that takes requests. Dropped, it is killed with all that it started.
#[derive(Debug)]
pub struct Running {
    /// Where it takes them.
    pub ready: Ready,
    /// The versions of what is measured.
    pub about: Option<String>,
    /// The processes that are charged for them.
    pub account: Account,
    group: Group,
    complaints: PathBuf,
    patience: Patience,
}

/// What came of a start.
#[derive(Debug)]
pub enum Started {
    /// It takes requests.
    Running(Box<Running>),
    /// It cannot be had on this machine, and why.
    NotHere(String),
}

/// Builds what the target in `file` needs. `Some` says why it cannot be had on this machine.
pub async fn prepare(
    file: &Path,
    surroundings: &Surroundings,
) -> Result<Option<String>, LaunchError> {
    let mut group = Group::start(file, "prepare", surroundings, Stdio::inherit())?;
    let said = tokio::time::timeout(surroundings.patience.prepare, async {
        let said = Listener::new(&mut group.child)?.last_word().await?;
        Ok((said, group.child.wait().await.map_err(LaunchError::Output)?))
    });
    match said.await {
        Ok(Ok((Some(Line::NotHere(why)), _))) => Ok(Some(why)),
        Ok(Ok((_, status))) if status.success() => Ok(None),
        Ok(Ok((_, status))) => Err(LaunchError::Ended(status, Complaint(String::new()))),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(LaunchError::Late(
            surroundings.patience.prepare,
            Complaint(String::new()),
        )),
    }
}

/// Starts the target in `file` and waits until it is ready.
pub async fn start(file: &Path, surroundings: &Surroundings) -> Result<Started, LaunchError> {
    let folder = surroundings
        .empty_folder(file)
        .map_err(LaunchError::Surroundings)?;
    let complaints = folder.join("complaints");
    let log = File::create(&complaints).map_err(LaunchError::Surroundings)?;
    let mut group = Group::start(file, "run", surroundings, log.into())?;
    let patience = surroundings.patience;
    let mut about = None;
    let last = tokio::time::timeout(patience.ready, async {
        let mut listener = Listener::new(&mut group.child)?;
        loop {
            match listener.line().await? {
                Some(Line::About(text)) => about = Some(text),
                other => return Ok(other),
            }
        }
    });
    let ready = match last.await {
        Ok(Ok(Some(Line::Ready(ready)))) => ready,
        Ok(Ok(Some(Line::NotHere(why)))) => return Ok(Started::NotHere(why)),
        Ok(Ok(_)) => {
            let status = group.end(patience.end).await.map_err(LaunchError::Output)?;
            return Err(LaunchError::Ended(status, complaint(&complaints)));
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => return Err(LaunchError::Late(patience.ready, complaint(&complaints))),
    };
    Ok(Started::Running(Box::new(Running {
        account: Account::new(ready.processes.clone()),
        ready,
        about,
        group,
        complaints,
        patience,
    })))
}

impl Running {
    /// Whether it has ended on its own, and what it said then.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.group.child.try_wait().ok().flatten()?;
        Some(format!(
            "the target ended with {status}{}",
            complaint(&self.complaints)
        ))
    }

    /// Ends it and all that it started.
    pub async fn end(mut self) {
        // A target that is deaf is killed with its group when it is dropped, which is now.
        let _ = self.group.end(self.patience.end).await;
    }
}

impl Surroundings {
    fn folder(&self, file: &Path) -> PathBuf {
        self.work.join(file.file_name().unwrap_or_default())
    }

    /// What an earlier start of the target left is removed: it would find its own keys and data.
    fn empty_folder(&self, file: &Path) -> io::Result<PathBuf> {
        let folder = self.folder(file);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// A process and all that it starts.
#[derive(Debug)]
struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Group {
    fn start(
        file: &Path,
        word: &str,
        surroundings: &Surroundings,
        stderr: Stdio,
    ) -> Result<Self, LaunchError> {
        let ports = free_ports().map_err(LaunchError::Surroundings)?;
        let child = Command::new(file)
            .arg(word)
            .envs(
                surroundings
                    .variables
                    .iter()
                    .map(|(name, value)| (name, value)),
            )
            .env("WORK", surroundings.folder(file))
            .env("PORTS", ports)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .map_err(|error| LaunchError::Run(file.to_owned(), error))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Ok(Self {
            child,
            leader: id.map(Pid::from_raw),
        })
    }

    /// Asks the leader to end, and waits. Its group is killed when this is dropped.
    async fn end(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        drop(self.child.stdin.take());
        if let (Some(leader), None) = (self.leader, self.child.try_wait()?) {
            // It may end in between; there is nobody to ask then.
            let _ = kill(leader, Signal::SIGTERM);
        }
        tokio::time::timeout(patience, self.child.wait()).await?
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // Nobody is left in the group of a target that ended as it should.
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

/// Reads lines of bounded number and length.
struct Listener {
    output: BufReader<ChildStdout>,
    lines: usize,
}

impl Listener {
    fn new(child: &mut Child) -> Result<Self, LaunchError> {
        let gone = || LaunchError::Output(io::ErrorKind::BrokenPipe.into());
        Ok(Self {
            output: BufReader::new(child.stdout.take().ok_or_else(gone)?),
            lines: 0,
        })
    }

    /// The next line; `None` when there are no more.
    async fn line(&mut self) -> Result<Option<Line>, LaunchError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.output).take(LINE_BYTES_MAX);
        let read = bounded.read_until(b'\n', &mut line).await;
        if read.map_err(LaunchError::Output)? == 0 {
            return Ok(None);
        }
        self.lines += 1;
        if line.pop() != Some(b'\n') || self.lines > LINES_MAX {
            return Err(LaunchError::Babble);
        }
        let line = printable(&String::from_utf8_lossy(&line));
        parse(&line).map(Some).map_err(LaunchError::Line)
    }

    async fn last_word(&mut self) -> Result<Option<Line>, LaunchError> {
        let mut last = None;
        while let Some(line) = self.line().await? {
            last = Some(line);
        }
        Ok(last)
    }
}

/// Ports of loopback that were free a moment ago, for TCP.
fn free_ports() -> io::Result<String> {
    let sockets: Vec<TcpListener> = (0..PORTS)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<io::Result<_>>()?;
    let ports = sockets
        .iter()
        .map(|socket| Ok(socket.local_addr()?.port().to_string()));
    Ok(ports.collect::<io::Result<Vec<_>>>()?.join(" "))
}

fn complaint(file: &Path) -> Complaint {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let text = printable(&lines.join("; "));
    let surplus = text.chars().count().saturating_sub(COMPLAINT_CHARS_MAX);
    Complaint(text.chars().skip(surplus).collect())
}

/// Text that does nothing to a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests;
