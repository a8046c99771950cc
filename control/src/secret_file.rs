//! Private keys in files of their own: made once, readable by their owner only.

use std::{
    io,
    path::{Path, PathBuf},
};

use rcgen::KeyPair;
use runtime::file;

use crate::ca;

/// Why a secret's file cannot be used.
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
    /// The file holds no key.
    #[error("{} holds no key: a copy of it belongs into the backups", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
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
    if path.exists() {
        return load_key(path);
    }
    let key = ca::new_key().map_err(unusable(path))?;
    write(path, &key.serialize_pem())?;
    Ok(key)
}

/// Reads a key as [`load_or_create_key`] wrote it.
pub(crate) fn load_key(path: &Path) -> Result<KeyPair, SecretFileError> {
    let pem = file::read_private(path).map_err(refused(path))?;
    KeyPair::from_pem(&String::from_utf8_lossy(&pem)).map_err(unusable(path))
}

/// Writes a file that only its owner reads, in place of one that may be there.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), SecretFileError> {
    file::replace(path, text.as_bytes(), file::PRIVATE).map_err(refused(path))
}

fn refused(path: &Path) -> impl FnOnce(io::Error) -> SecretFileError {
    move |source| SecretFileError::File {
        path: path.to_owned(),
        source,
    }
}

fn unusable(path: &Path) -> impl FnOnce(rcgen::Error) -> SecretFileError {
    move |source| SecretFileError::Key {
        path: path.to_owned(),
        source,
    }
}
