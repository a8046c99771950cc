//! What holds for the whole fabric.

use crate::{
    app::{Limits, Timeouts},
    brand::Brand,
};

mod edge_limits;
mod sign_in_log;

pub use edge_limits::EdgeLimits;
pub use sign_in_log::SignInLogDays;

/// Settings of the fabric.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Every app answers 503; publications are kept.
    pub stopped: bool,
    /// Of apps that say nothing of their own.
    pub timeouts: Timeouts,
    /// Of apps that say nothing of their own.
    pub limits: Limits,
    /// Of edges whose own file says nothing else.
    pub edge_limits: EdgeLimits,
    /// Over HTTP/1.1 answers have names of fields as `Content-Type`, not `content-type`.
    pub title_case: bool,
    /// What users with a password are asked for besides.
    pub second_factor: SecondFactor,
    /// Whose fabric it is, as pages show it.
    pub brand: Brand,
    /// How long control keeps the log of sign-ins.
    pub sign_in_log: SignInLogDays,
}

/// Whether accounts of the fabric's own have a second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecondFactor {
    /// Nobody is asked for one.
    Off,
    /// Who has set one up is asked for it.
    #[default]
    Optional,
    /// Who has none sets one up at the next sign-in.
    Required,
}
