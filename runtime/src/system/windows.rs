//! Access lists, console events and limits, as Windows has them.

use std::{
    env,
    fs::{self, File},
    io,
    path::Path,
    time::Duration,
};

use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlClose, ctrl_break, ctrl_c, ctrl_close};

use crate::service::StopAsked;

/// The environment variable that says where the user's files are.
pub const HOME_VARIABLE: &str = "USERPROFILE";

/// Permission bits of everyone but the owner, in the modes that files are asked for with.
const OTHERS: u32 = 0o077;

/// Handles that Windows lets a process have, if memory suffices; no setting is below it.
const HANDLES_MAX: u64 = 1 << 24;

/// After this a file that was to be renamed at once will not be.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// What the machine is called by those who look after it.
#[must_use]
pub fn machine_name() -> Option<String> {
    env::var("COMPUTERNAME").ok()
}

/// Makes a file to write; fails if there is one. Where the mode has nothing for others, nobody else may use it but the system and
/// administrators; else it is as open as its directory.
///
/// # Errors
/// Whatever the system says.
pub fn new(path: &Path, mode: u32) -> io::Result<File> {
    if mode & OTHERS == 0 {
        return acl::create_file(path);
    }
    File::create_new(path)
}

/// Makes a directory that only its owner may enter, besides the system and administrators, if there is none.
///
/// # Errors
/// Whatever the system says.
pub fn make_private_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_private_directory(above)?;
    }
    match acl::create_directory(path) {
        // Another process of this node was faster.
        Err(_) if path.is_dir() => Ok(()),
        made => made,
    }
}

/// Windows opens no directory to sync it; the file system's journal has what was renamed and removed.
pub(crate) fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether whoever began this file, which was to be renamed at once, is no more: nobody is told of another's processes, so it is by the time.
pub(crate) fn is_abandoned(file: &Path, _writer: &str) -> bool {
    let written = fs::metadata(file).and_then(|about| about.modified());
    let age = written.ok().and_then(|written| written.elapsed().ok());
    age.is_some_and(|age| age > ABANDONED_AFTER)
}

/// Whether others than its owner, the system and administrators may use a file.
///
/// # Errors
/// Whatever the system says: it is not known then.
pub fn is_open_to_others(path: &Path) -> io::Result<bool> {
    Ok(!acl::others(path)?.is_empty())
}

/// Warns if others may use a file that holds a secret, or if that cannot be told.
///
/// # Errors
/// There is no such file.
pub fn warn_of_open_file(path: &Path) -> io::Result<()> {
    fs::metadata(path)?;
    if let Some(open) = open(path) {
        tracing::warn!(file = %path.display(), "a secret file: {open}");
    }
    Ok(())
}

/// Warns if others may use a directory of keys and state, or if that cannot be told.
pub fn warn_of_open_directory(path: &Path) {
    if let Some(open) = open(path).filter(|_| path.exists()) {
        tracing::warn!(directory = %path.display(), "the data directory: {open}");
    }
}

/// That others may use a directory, if they may.
pub(crate) fn open_directory(path: &Path) -> Option<String> {
    open(path).filter(|_| path.exists())
}

fn open(path: &Path) -> Option<String> {
    match acl::others(path) {
        Ok(others) if others.is_empty() => None,
        Ok(others) => Some(format!(
            "others may use it ({}); take that from them by icacls, as docs/services.md shows",
            others.join(", ")
        )),
        Err(error) => Some(format!("who may use it cannot be told: {error}")),
    }
}

/// How many descriptors the process may have at most.
pub(crate) fn descriptors_max() -> io::Result<u64> {
    Ok(HANDLES_MAX)
}

/// It has them from the start.
pub(crate) fn raise_descriptors() -> io::Result<u64> {
    descriptors_max()
}

/// What asks a process to end: keys and the close button of its console, and the service manager. Log-off and shutdown are not listened for:
/// programs of a user are ended by then, and services are told by their manager.
#[derive(Debug)]
pub(crate) struct Asked {
    interrupt: CtrlC,
    broken: CtrlBreak,
    closed: CtrlClose,
    manager: StopAsked,
}

impl Asked {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: ctrl_c()?,
            broken: ctrl_break()?,
            closed: ctrl_close()?,
            manager: StopAsked::listen(),
        })
    }

    /// Waits for the next one and says which. Cancel-safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "CTRL_C",
            _ = self.broken.recv() => "CTRL_BREAK",
            _ = self.closed.recv() => "CTRL_CLOSE",
            which = self.manager.next() => which,
        }
    }
}
