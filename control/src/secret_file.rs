//! Private keys in files of their own: made once, readable by their owner only.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rcgen::KeyPair;

use crate::ca;

/// Only the owner reads and writes.
const PRIVATE: u32 = 0o600;
/// Everyone reads.
const PUBLIC: u32 = 0o644;

/// Why a key's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The system refused.
    #[error("cannot use {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file holds no key, or none that can be used.
    #[error("{} holds no private key", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rcgen::Error,
    },
}

/// Reads the key in a file, or makes a new one.
pub(crate) fn load_or_create_key(path: &Path) -> Result<KeyPair, SecretFileError> {
    if path.exists() { read_key(path) } else { create_key(path) }
}

/// Makes a new key, whose file must not exist yet.
pub(crate) fn create_key(path: &Path) -> Result<KeyPair, SecretFileError> {
    let key = ca::new_key().map_err(|source| SecretFileError::Key {
        path: path.to_owned(),
        source,
    })?;
    write_secret(path, key.serialize_pem().as_bytes()).map_err(file_error(path))?;
    Ok(key)
}

/// Reads a key as [`create_key`] wrote it.
pub(crate) fn read_key(path: &Path) -> Result<KeyPair, SecretFileError> {
    let pem = fs::read_to_string(path).map_err(file_error(path))?;
    KeyPair::from_pem(&pem).map_err(|source| SecretFileError::Key {
        path: path.to_owned(),
        source,
    })
}

/// Writes a new file that only its owner reads. Refused if there is one.
pub(crate) fn write_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    write_new(path, content, PRIVATE)
}

/// Writes a new file that everyone may read. Refused if there is one.
pub(crate) fn write_public(path: &Path, content: &[u8]) -> io::Result<()> {
    write_new(path, content, PUBLIC)
}

/// Under another name first, so that a crash leaves no half-written file behind the name that counts.
fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(mode)
        .open(&part)?;
    file.write_all(content)?;
    file.sync_all()?;
    // A link, unlike a rename, never replaces what is there.
    fs::hard_link(&part, path)?;
    fs::remove_file(&part)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> SecretFileError {
    move |source| SecretFileError::File {
        path: path.to_owned(),
        source,
    }
}
