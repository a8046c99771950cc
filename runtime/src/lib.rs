//! How any adit process lives: tasks, time, configuration, identity, TLS, its line to control, telemetry. No domain.
//!
//! Only this crate spawns tasks and reads the clock; everything else takes a [`scope::Scope`] and a [`clock::Clock`].

pub mod scope;

pub mod worker;

pub mod clock;

pub mod system;

pub mod shutdown;

pub mod service;

pub mod backoff;

pub mod secret;

pub mod descriptors;

pub mod memory;

pub mod config;

pub mod file;

pub mod vault;

pub mod node;

pub mod identity;

pub mod tls;

pub mod field_case;

pub mod dial;

pub mod control_client;

pub mod join;

pub mod renew;

pub mod sync;

pub mod telemetry;

pub mod admin_port;

pub mod doctor;

#[cfg(test)]
mod double;

pub use backoff::Backoff;
pub use clock::Clock;
pub use scope::Scope;
pub use secret::Secret;
pub use worker::Workers;
