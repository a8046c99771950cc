//! Modes, signals and limits, as Unix has them.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal as listen};

/// The environment variable that says where the user's files are.
pub const HOME_VARIABLE: &str = "HOME";

/// Permission bits of everyone but the owner.
const OTHERS: u32 = 0o077;
/// Those of whoever is not in the group either.
const STRANGERS: u32 = 0o007;

/// What the machine is called by those who look after it.
#[must_use]
pub fn machine_name() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}

/// Makes a file to write, with these permissions; fails if there is one.
///
/// # Errors
/// Whatever the system says.
pub fn new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

/// Makes a directory that only its owner may enter, if there is none.
///
/// # Errors
/// Whatever the system says.
pub fn make_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// What was renamed or removed in a directory is so after a crash too.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Whether the process that began this file, which it would have renamed at once, is no more.
pub(crate) fn is_abandoned(_file: &Path, writer: &str) -> bool {
    !Path::new("/proc").join(writer).exists()
}

/// Whether others than its owner may use a file.
///
/// # Errors
/// Whatever the system says.
pub fn is_open_to_others(path: &Path) -> io::Result<bool> {
    Ok(mode(path)? & OTHERS != 0)
}

/// Warns if others may use a file that holds a secret.
///
/// # Errors
/// Whatever the system says.
pub fn warn_of_open_file(path: &Path) -> io::Result<()> {
    let mode = mode(path)?;
    if mode & OTHERS != 0 {
        tracing::warn!(
            file = %path.display(),
            file.mode = format_args!("{mode:o}"),
            "others may read this secret file; run chmod 600 on it"
        );
    }
    Ok(())
}

/// Nothing to warn of: what is secret in it has modes of its own.
pub fn warn_of_open_directory(_path: &Path) {}

/// That others may look into a directory, if they may.
pub(crate) fn open_directory(path: &Path) -> Option<String> {
    let mode = mode(path).unwrap_or(0);
    (mode & STRANGERS != 0)
        .then(|| format!("others may look into it (mode {mode:o}); 700 is enough"))
}

fn mode(path: &Path) -> io::Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

/// How many descriptors the process may have at most.
pub(crate) fn descriptors_max() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(hard)
}

/// Takes as many as it may have; gives how many that are.
pub(crate) fn raise_descriptors() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// The signals that ask a process to end.
#[derive(Debug)]
pub(crate) struct Asked {
    terminate: Signal,
    interrupt: Signal,
}

impl Asked {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one and says which. Cancel-safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
