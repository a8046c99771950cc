//! How any adit process lives: tasks, time, configuration, identity, TLS, its line to control, telemetry. No domain.
//!
//! Only this crate spawns tasks and reads the clock; everything else takes a [`scope::Scope`] and a [`clock::Clock`].

pub mod backoff;
pub mod clock;
pub mod config;
pub mod scope;
pub mod secret;
pub mod worker;

pub use backoff::Backoff;
pub use clock::Clock;
pub use scope::Scope;
pub use secret::Secret;
pub use worker::Workers;
