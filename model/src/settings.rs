//! What holds for the whole fabric.

use crate::app::{Limits, Timeouts};

/// Settings of the fabric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Every app answers 503; publications are kept.
    pub stopped: bool,
    /// Of apps that say nothing of their own.
    pub timeouts: Timeouts,
    /// Of apps that say nothing of their own.
    pub limits: Limits,
}
