//! Files that are whole or absent after a crash.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process,
};

use crate::system;
pub use crate::system::{
    is_open_to_others, make_private_directory, new, warn_of_open_directory, warn_of_open_file,
};

/// Only the owner reads and writes: for keys and for state that holds keys.
pub const PRIVATE: u32 = 0o600;
/// Everyone reads.
pub const PUBLIC: u32 = 0o644;

/// Replaces a file: temporary file, fsync, rename, fsync of the directory. A crash leaves the old or the new one.
///
/// Windows syncs no directories; there its journal has the rename.
///
/// # Errors
/// Whatever the system says; the old file then stands.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let directory = directory_of(path)?;
    remove_leftovers(path)?;
    let temporary = temporary(path)?;
    let written = write_new(&temporary, content, mode).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // What remains of it would only confuse; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    system::sync_directory(directory)
}

/// Of this process alone: two processes of one node may write at the same moment, and a key and its certificate differ by their ending.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name();
    let mut name = name.ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", process::id()));
    Ok(path.with_file_name(name))
}

/// What processes left that were killed while they wrote: it may hold a key.
fn remove_leftovers(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for entry in fs::read_dir(directory_of(path)?)? {
        let other = entry?.file_name();
        let writer = other
            .to_str()
            .and_then(|other| {
                other
                    .strip_prefix(&*name)?
                    .strip_prefix('.')?
                    .strip_suffix(".new")
            })
            .filter(|writer| writer.parse::<u32>().is_ok());
        let leftover = path.with_file_name(&other);
        if writer.is_some_and(|writer| system::is_abandoned(&leftover, writer)) {
            remove(&leftover)?;
        }
    }
    Ok(())
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // A leftover of a crash may have another mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = new(path, mode)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Removes a file, if there is one, so that it stays away after a crash.
///
/// # Errors
/// Whatever the system says.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => system::sync_directory(directory_of(path)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn directory_of(path: &Path) -> io::Result<&Path> {
    path.parent()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Reads a file that only its owner should read; warns if others may.
///
/// # Errors
/// Whatever the system says.
pub fn read_private(path: &Path) -> io::Result<Vec<u8>> {
    warn_of_open_file(path)?;
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn replaced_file_has_new_content_and_mode_and_no_leftover() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity.key");
        let leftover = directory.path().join("identity.key.0.new");
        fs::write(leftover, "leftover of a crash").unwrap();
        replace(&path, b"one", PRIVATE).unwrap();
        replace(&path, b"two", PRIVATE).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn failed_replacement_keeps_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity.key");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"one", PRIVATE).is_err());
        assert!(path.is_dir());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
