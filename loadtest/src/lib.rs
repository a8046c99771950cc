//! Load on a fabric as its users make it, and an honest account of what came of it.
//!
//! Requests start at a constant rate, whether or not earlier ones have been answered (open loop), and a latency is
//! counted from the moment a request should have started: a server that stalls is charged for everybody who waited,
//! not for one (the "coordinated omission" that closed loops hide).

pub mod compare;
pub mod population;
mod report;
mod run;
mod target;

pub use report::{Failure, Report};
pub use run::{Load, run};
pub use target::{Target, TargetError};
