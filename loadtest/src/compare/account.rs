//! What processes cost, read from `/proc`: processor time, and memory now and at its peak.
//!
//! A process counts with all its threads and all its descendants, such as the workers of nginx. Memory is the sum of what each has
//! resident, so pages that processes share count for each of them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Ticks a second in `/proc/PID/stat`. The kernel's `USER_HZ`, which is 100 on every architecture that we build for.
const TICKS_PER_SECOND: u64 = 100;
/// Generations of descendants that are followed; sshd, the deepest, has two.
const GENERATIONS_MAX: usize = 8;
/// Written to `/proc/PID/clear_refs`, this makes the peak what is resident now.
const FORGET_PEAK: &str = "5";

/// Why an account could not be read.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// `/proc` itself cannot be read.
    #[error("/proc cannot be read")]
    Proc(#[source] io::Error),
    /// A process of the account has ended.
    #[error("the process {0} has ended")]
    Gone(String),
}

/// The processes that one target is charged for.
#[derive(Debug, Clone)]
pub struct Account {
    processes: Vec<(String, u32)>,
}

/// What the processes of an account have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since each process began, children that ended included.
    pub cpu: Duration,
    /// Resident memory now.
    pub resident_bytes: u64,
    /// The sum of each process's highest resident memory, since it began or [`Account::forget_peaks`].
    pub peak_bytes: u64,
}

impl Usage {
    fn add(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.resident_bytes += other.resident_bytes;
        self.peak_bytes += other.peak_bytes;
    }
}

impl Account {
    /// An account of `processes`, by name and id.
    pub fn new(processes: Vec<(String, u32)>) -> Self {
        Self { processes }
    }

    /// What all processes together have used so far.
    pub fn read(&self) -> Result<Usage, AccountError> {
        let all = stats().map_err(AccountError::Proc)?;
        let mut sum = Usage::default();
        for (name, pid) in &self.processes {
            if !all.contains_key(pid) {
                return Err(AccountError::Gone(name.clone()));
            }
            for (pid, stat) in family(&all, *pid) {
                sum.add(Usage {
                    cpu: stat.cpu,
                    ..memory(pid)
                });
            }
        }
        Ok(sum)
    }

    /// Peaks begin anew. Where the kernel refuses, they stay those of the processes' whole life.
    pub fn forget_peaks(&self) -> Result<(), AccountError> {
        let all = stats().map_err(AccountError::Proc)?;
        for (_, pid) in &self.processes {
            for (pid, _) in family(&all, *pid) {
                // A kernel may be built without it, and a child may have just ended: either way there is nothing to do.
                let _ = fs::write(file(pid, "clear_refs"), FORGET_PEAK);
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    cpu: Duration,
}

fn file(pid: u32, name: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(name)
}

/// Every process that can be seen. Those that end meanwhile are left out.
fn stats() -> io::Result<BTreeMap<u32, Stat>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(file(pid, "stat")).ok();
        if let Some(stat) = stat.as_deref().and_then(parse_stat) {
            found.insert(pid, stat);
        }
    }
    Ok(found)
}

/// Reads a line of `/proc/PID/stat`: proc(5). `None` for a process that has ended and waits to be reaped.
fn parse_stat(line: &str) -> Option<Stat> {
    // The second field is the command in brackets, and may hold spaces and brackets itself.
    let (_, rest) = line.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    if *fields.first()? == "Z" {
        return None;
    }
    // utime, stime, and the same of children that were waited for.
    let times = fields.get(11..15)?.iter();
    let ticks: u64 = times
        .map(|field| field.parse::<u64>().ok())
        .sum::<Option<u64>>()?;
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        cpu: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
    })
}

/// A process and its descendants.
fn family(all: &BTreeMap<u32, Stat>, pid: u32) -> Vec<(u32, Stat)> {
    let mut members: Vec<(u32, Stat)> =
        all.get(&pid).map(|stat| (pid, *stat)).into_iter().collect();
    let mut parents = vec![pid];
    for _ in 0..GENERATIONS_MAX {
        let children: Vec<_> = all
            .iter()
            .filter(|(_, stat)| parents.contains(&stat.parent))
            .map(|(pid, stat)| (*pid, *stat))
            .collect();
        parents = children.iter().map(|(pid, _)| *pid).collect();
        members.extend(children);
    }
    members
}

/// The memory of one process; nothing for one that has just ended.
fn memory(pid: u32) -> Usage {
    let status = fs::read_to_string(file(pid, "status")).unwrap_or_default();
    Usage {
        cpu: Duration::ZERO,
        resident_bytes: kilobytes(&status, "VmRSS:"),
        peak_bytes: kilobytes(&status, "VmHWM:"),
    }
}

fn kilobytes(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    number
        .and_then(|number| number.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        process::{Child, Command, Stdio},
    };

    use super::*;

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A shell that runs `script` and then waits for its standard input to end.
    fn shell(script: &str) -> Killed {
        let child = Command::new("sh")
            .args(["-c", &format!("{script}; echo done; read line")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let mut said = [0; 4];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut said)
            .unwrap();
        Killed(child)
    }

    fn account(child: &Killed) -> Account {
        Account::new(vec![("child".into(), child.0.id())])
    }

    #[test]
    fn work_of_a_process_is_seen() {
        let idle = account(&shell(":")).read().unwrap();
        let busy = shell("i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done");
        let busy = account(&busy).read().unwrap();
        assert!(
            busy.cpu >= idle.cpu + Duration::from_millis(50),
            "{busy:?} {idle:?}"
        );
        assert!(idle.resident_bytes > 0 && idle.peak_bytes >= idle.resident_bytes);
    }

    #[test]
    fn children_count_while_they_run_and_after() {
        let work = "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done";
        let ended = shell(&format!("({work}) & wait"));
        assert!(account(&ended).read().unwrap().cpu >= Duration::from_millis(50));
        let running = shell("sleep 60 >/dev/null & :");
        let alone = account(&shell(":")).read().unwrap();
        assert!(account(&running).read().unwrap().resident_bytes > alone.resident_bytes);
        // The sleeping child ends with its parent's group in real use; here by its own id.
        let all = stats().unwrap();
        for (pid, _) in family(&all, running.0.id()).into_iter().skip(1) {
            let _ = Command::new("kill").arg(pid.to_string()).status();
        }
    }

    #[test]
    fn a_process_that_ended_is_named() {
        let child = shell(":");
        let account = account(&child);
        drop(child);
        assert!(matches!(account.read(), Err(AccountError::Gone(name)) if name == "child"));
    }

    #[test]
    fn commands_with_brackets_and_spaces_are_read() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 0 0 0 150 50 4 6 20 0 1 0 1 1 1";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.parent, stat.cpu), (3, Duration::from_millis(2_100)));
        for broken in [
            "",
            "7 (a",
            "7 (a) S",
            "7 (a) S x 7 7 0 -1 0 1 0 0 0 1 1 1 1",
            &line.replace(" S ", " Z "),
        ] {
            assert_eq!(parse_stat(broken), None, "{broken}");
        }
    }
}
