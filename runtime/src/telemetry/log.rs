//! Where logs go: to standard error, or to files where nobody reads that, as of a service of Windows.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    panic,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

/// The file that is written to.
const NAME: &str = "adit.log";
/// The one before.
const NAME_BEFORE: &str = "adit.log.1";
/// Bytes of one file; a line for each request is some 300. Where the older one cannot be replaced, as a reader may keep it from that on Windows,
/// the newer one may be twice as long; then lines are left out.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The files, where there are any.
static FILES: OnceLock<Mutex<Files>> = OnceLock::new();

/// Writes to wherever the logs of this process go.
#[derive(Debug)]
pub struct Log;

/// Where the logs of this process go.
#[must_use]
pub fn log() -> Log {
    Log
}

/// From now on logs go to two files in this folder at most, the older of which is given up for a new one. Later calls change nothing.
///
/// # Errors
/// The file cannot be opened.
pub fn log_to(folder: &Path) -> io::Result<()> {
    let files = Files::open(folder, BYTES_MAX)?;
    FILES.get_or_init(|| Mutex::new(files));
    // Nobody reads what it would write to standard error.
    panic::set_hook(Box::new(|panic| {
        // There is no other place to tell it.
        let _ = Log.write_all(format!("{panic}\n").as_bytes());
    }));
    Ok(())
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match FILES.get() {
            None => io::stderr().write(bytes),
            Some(files) => {
                let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
                files.append(bytes).map(|()| bytes.len())
            }
        }
    }

    /// A line stays of one piece, as standard error keeps it.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match FILES.get() {
            None => io::stderr().write_all(bytes),
            Some(_) => self.write(bytes).map(drop),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Files {
    folder: PathBuf,
    bytes_max: u64,
    file: File,
    bytes: u64,
}

impl Files {
    fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        let path = folder.join(NAME);
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self {
            folder: folder.to_owned(),
            bytes_max,
            bytes: file.metadata()?.len(),
            file,
        })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bytes_then = self.bytes + bytes.len() as u64;
        if self.bytes > 0 && bytes_then > self.bytes_max {
            let is_turned = self.turn().is_ok();
            if !is_turned && bytes_then > self.bytes_max * 2 {
                return Ok(());
            }
        }
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        match fs::rename(self.folder.join(NAME), self.folder.join(NAME_BEFORE)) {
            // Somebody has removed it, and what is written goes nowhere.
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        *self = Self::open(&self.folder, self.bytes_max)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_hold_the_newest_lines_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let text = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        let mut files = Files::open(folder.path(), 10).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            files.append(line.as_bytes()).unwrap();
        }
        assert_eq!(text(NAME_BEFORE), "three\n");
        assert_eq!(text(NAME), "four\n");
        // Another start goes on where this one ended, and one line may be longer than a file.
        let mut files = Files::open(folder.path(), 10).unwrap();
        files.append(b"five\n").unwrap();
        assert_eq!(text(NAME), "four\nfive\n");
        files.append(b"as long as it is\n").unwrap();
        files.append(b"six\n").unwrap();
        assert_eq!(text(NAME_BEFORE), "as long as it is\n");
        assert_eq!(text(NAME), "six\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_was_removed_is_made_again_and_what_cannot_be_replaced_stays_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let mut files = Files::open(folder.path(), 10).unwrap();
        files.append(b"eight 8\n").unwrap();
        fs::remove_file(path(NAME)).unwrap();
        files.append(b"nine 9\n").unwrap();
        assert_eq!(fs::read_to_string(path(NAME)).unwrap(), "nine 9\n");
        // A folder in its place cannot be replaced by a file.
        fs::create_dir(path(NAME_BEFORE)).unwrap();
        for _ in 0..100 {
            files.append(b"more\n").unwrap();
        }
        let length = fs::metadata(path(NAME)).unwrap().len();
        assert!(length <= 20, "{length}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(log_to(&folder.path().join("none")).is_err());
    }
}
