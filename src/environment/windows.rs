//! The environment of a process on Windows: as it is, since nobody is signed on by Kerberos there.

use std::{io, path::Path};

/// # Errors
/// None; they are of Unix.
pub(crate) fn settle(_krb5_conf: Option<&Path>) -> io::Result<()> {
    Ok(())
}
