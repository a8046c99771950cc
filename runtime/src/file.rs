//! Files that are whole or absent after a crash.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process,
};

/// Only the owner reads and writes: for keys and for state that holds keys.
pub const PRIVATE: u32 = 0o600;
/// Everyone reads.
pub const PUBLIC: u32 = 0o644;

/// Replaces a file: temporary file, fsync, rename, fsync of the directory. A crash leaves the old or the new one.
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
    File::open(directory)?.sync_all()
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
        let is_gone = |writer: &str| !Path::new("/proc").join(writer).exists();
        if writer.is_some_and(is_gone) {
            remove(&path.with_file_name(&other))?;
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
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Removes a file, if there is one, so that it stays away after a crash.
///
/// # Errors
/// Whatever the system says.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => File::open(directory_of(path)?)?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn directory_of(path: &Path) -> io::Result<&Path> {
    path.parent()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Makes a directory that only its owner may enter, if there is none.
///
/// # Errors
/// Whatever the system says.
pub fn make_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Reads a file that only its owner should read; warns if others may.
///
/// # Errors
/// Whatever the system says.
pub fn read_private(path: &Path) -> io::Result<Vec<u8>> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(
            file = %path.display(),
            file.mode = format_args!("{mode:o}"),
            "others may read this secret file; run chmod 600 on it"
        );
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
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
