//! What each operating system has a way of its own for: who may use a file, what asks a process to end, names and limits of the machine.
//!
//! `system/unix.rs` and `system/windows.rs` have the same items; of what is asked for here nothing else of this crate says which system it is on,
//! but for the service manager's door (`service.rs`).

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use self::unix as own;
#[cfg(windows)]
use self::windows as own;

pub(crate) use own::{
    Asked, descriptors_max, is_abandoned, open_directory, raise_descriptors, sync_directory,
};
pub use own::{
    HOME_VARIABLE, is_open_to_others, machine_name, make_private_directory, new,
    warn_of_open_directory, warn_of_open_file,
};
