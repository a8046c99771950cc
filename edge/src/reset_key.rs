//! The key by which an edge that was started again ends the connections of its earlier life; a file of its data directory.

use std::{io, path::Path};

use runtime::file;
use tunnel::quic::ResetKey;

/// Holds the key's bytes, and only the edge reads it.
const FILE: &str = "reset.key";

/// The key that was kept, or a new one, which is kept. A disk that fails costs no more than a quick return of agents after the
/// next crash, so it is told and lived with.
pub(crate) fn kept(directory: &Path) -> ResetKey {
    let path = directory.join(FILE);
    match file::read_private(&path) {
        Ok(bytes) => match <[u8; _]>::try_from(bytes) {
            Ok(bytes) => return ResetKey::new(bytes),
            Err(_) => {
                tracing::warn!(file = %path.display(), "the reset key is broken and made anew")
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(%error, file = %path.display(), "cannot read the reset key");
            return ResetKey::random();
        }
    }
    let key = ResetKey::random();
    if let Err(error) = file::replace(&path, key.expose(), file::PRIVATE) {
        tracing::warn!(%error, file = %path.display(), "cannot keep the reset key: after a crash agents come back late");
    }
    key
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn the_key_is_kept_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let key = kept(directory.path());
        assert_eq!(kept(directory.path()), key);
        let file = fs::metadata(directory.path().join(FILE)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_or_missing_place_gives_a_key_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), "short").unwrap();
        let key = kept(directory.path());
        assert_eq!(kept(directory.path()), key, "the broken one was replaced");
        let nowhere = directory.path().join("nowhere");
        assert_ne!(kept(&nowhere), kept(&nowhere));
    }
}
