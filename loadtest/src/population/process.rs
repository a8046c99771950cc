//! A process of the fabric: started as an operator would, asked at its admin port, and accounted from `/proc`.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use runtime::Clock;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time::sleep,
};

/// How long a process may take to be ready. The largest one that is measured has a bar of ten seconds.
const READY_WAIT: Duration = Duration::from_secs(120);
/// Pause between two looks; figures of starts are as coarse.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Ticks a second in `/proc/PID/stat`. The kernel's `USER_HZ`, which is 100 on every architecture that we build for.
const TICKS_PER_SECOND: u64 = 100;
/// Ports that are tried until one is free for TCP and UDP.
const PORTS_MAX: usize = 100;

/// Metric of every process: tasks that run.
const TASKS: &str = "runtime_tasks";

/// What a process holds now.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Holding {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open files and sockets.
    pub descriptors: u64,
    /// Tasks.
    pub tasks: f64,
}

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Resident memory now.
    pub(super) resident_bytes: u64,
    /// The highest resident memory since the process began.
    pub(super) peak_bytes: u64,
    /// Processor time since the process began.
    pub(super) cpu: Duration,
}

/// A running process. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    pid: u32,
    admin: SocketAddr,
    log: std::path::PathBuf,
}

impl Process {
    /// Starts `program` in `folder`; what it says goes to a log there.
    pub(super) fn start(
        program: &Path,
        folder: &Path,
        name: &str,
        admin: SocketAddr,
        args: &[&str],
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log)?;
        let child = Command::new(program)
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let pid = child.id().context("a process that ended at once")?;
        Ok(Self {
            name: name.to_owned(),
            child,
            pid,
            admin,
            log,
        })
    }

    /// Waits until it says that it is ready; gives the time that took.
    pub(super) async fn ready(&mut self, clock: &Clock) -> anyhow::Result<Duration> {
        let began = clock.now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}:\n{}", self.name, self.log());
            }
            if let Some(answer) = self.ask("/ready").await
                && answer.starts_with("HTTP/1.1 200")
            {
                return Ok(clock.now() - began);
            }
            if clock.now() - began > READY_WAIT {
                bail!(
                    "{} is not ready after {READY_WAIT:?}:\n{}",
                    self.name,
                    self.log()
                );
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The sum of a metric over all its labels.
    pub(super) async fn metric(&self, name: &str) -> Option<f64> {
        let answer = self.ask("/metrics").await?;
        let is_meant = |line: &&str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        let values = answer.lines().filter(is_meant);
        values
            .map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    async fn ask(&self, path: &str) -> Option<String> {
        let mut socket = TcpStream::connect(self.admin).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    /// What it has used so far.
    pub(super) fn usage(&self) -> anyhow::Result<Usage> {
        usage_of(&self.pid.to_string()).with_context(|| format!("reading what {} uses", self.name))
    }

    /// What it holds now.
    pub(super) async fn holding(&self) -> anyhow::Result<Holding> {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid))
            .with_context(|| format!("counting what {} has open", self.name))?
            .count();
        let tasks = self.metric(TASKS).await;
        let tasks = tasks.with_context(|| format!("{} says no {TASKS}", self.name))?;
        Ok(Holding {
            resident_bytes: self.usage()?.resident_bytes,
            descriptors: u64::try_from(descriptors)?,
            tasks,
        })
    }

    /// Ends it without a warning, as a crash would.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        self.child
            .kill()
            .await
            .with_context(|| format!("killing {}", self.name))
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// What this process has used so far.
pub(super) fn own_usage() -> anyhow::Result<Usage> {
    usage_of("self")
}

fn usage_of(pid: &str) -> anyhow::Result<Usage> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let usage = || {
        Some(Usage {
            resident_bytes: kilobytes(&status, "VmRSS:")? * 1024,
            peak_bytes: kilobytes(&status, "VmHWM:")? * 1024,
            cpu: cpu(&stat)?,
        })
    };
    usage().context("/proc speaks in another way")
}

fn kilobytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// User and system time: the 14th and 15th field (proc(5)). The second one is a name in brackets and may hold blanks.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let times = fields.get(11..13)?.iter();
    let ticks: u64 = times
        .map(|field| field.parse::<u64>().ok())
        .sum::<Option<u64>>()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// An address of loopback that was free for TCP and UDP a moment ago, for processes that come back at the same address.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    for _ in 0..PORTS_MAX {
        let tcp = TcpListener::bind("127.0.0.1:0").context("taking a port")?;
        let address = tcp.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port of loopback is free for TCP and UDP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_usage_is_read() {
        let usage = own_usage().unwrap();
        assert!(usage.resident_bytes > 0 && usage.peak_bytes >= usage.resident_bytes);
    }

    #[test]
    fn processor_time_is_user_and_system_time_whatever_the_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 4 0 100 1000 10";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu("7"), None);
    }
}
