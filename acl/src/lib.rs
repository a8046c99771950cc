//! Who may use a file, where Windows says so by access lists, as modes do on Unix.
//!
//! A file or folder that is made here is open to the account that makes it, to the system and to administrators, whatever
//! the folder above it lets in; and `others` tells who else may use one that somebody made. Windows itself is asked in `system.rs`, the
//! only file of this crate with unsafe code: what it is told and what it answers is text (SDDL), which is read here.

mod descriptor;
#[cfg(windows)]
mod system;

pub use descriptor::{Descriptor, DescriptorError};
#[cfg(windows)]
pub use system::{create_directory, create_file, others};
