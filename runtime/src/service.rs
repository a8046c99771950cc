//! The service manager that started this process: it is told when the process is ready, when it ends, and that it lives.
//!
//! On Unix it is systemd, or another that speaks its protocol; on Windows the service control manager, which also asks the process to end.

#[cfg(unix)]
mod systemd;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use systemd::{ServiceManager, is_carried, within};
#[cfg(windows)]
pub(crate) use windows::StopAsked;
#[cfg(windows)]
pub use windows::{ServiceManager, is_carried, within};
