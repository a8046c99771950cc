//! Load on a fabric as its users make it, and an honest account of what came of it.
//!
//! In a closed loop every user asks again as soon as it has an answer: how much can be had. In an open loop requests start at a
//! given rate, whether or not earlier ones have been answered, and a latency is counted from the moment a request should have
//! started: a server that stalls is charged for everybody who waited, not for one (the "coordinated omission" that closed
//! loops hide).
//!
//! The generator shares its machine with what it measures, so it is made to be cheap: threads that share nothing, no task and no
//! lock for a request, bodies that are thrown away where they arrive.

pub mod compare;
mod engine;
mod exchange;
pub mod origin;
mod pace;
pub mod population;
pub mod progress;
pub mod quinn_server;
pub mod run;
pub mod scenario;
mod tally;
mod target;

pub use engine::{Crew, CrewError};
pub use scenario::{Load, Scenario};
pub use tally::{Failure, Tally};
pub use target::{Target, TargetError};
