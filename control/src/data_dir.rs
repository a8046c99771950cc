//! The data directory: made for its owner only if there is none.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

/// Name of a file that is written and removed to see whether the directory takes any.
const PROBE: &str = ".writable";

/// Makes the directory, or takes the one that is there, and proves that files can be written.
pub(crate) fn prepare(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        // Not ours to change: it may be a directory of many, given by mistake. The secret files have modes of their own.
        tracing::warn!(directory = %path.display(), "others may enter the data directory; run chmod 700 on it");
    }
    let probe = path.join(PROBE);
    File::create(&probe)?.sync_all()?;
    fs::remove_file(&probe)
}
