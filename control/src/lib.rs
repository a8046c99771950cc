//! The control plane: stores what is published, enrols nodes, and distributes desired state. Never on a request's path.
//!
//! What the store keeps is what operators said ([`admin`]); what a node is told follows from it, from the fabric's settings and from
//! who the node is ([`fabric`]).

pub mod config;
pub mod control;
mod data_dir;

pub mod server;

pub mod admin;
pub mod fabric;

mod attempts;
pub mod ca;
pub mod certificates;
mod client_cas;
pub mod devices;
mod hex;
pub mod lockout;
pub mod passwords;
pub mod presence;
mod provider_keys;
pub mod questions;
pub mod refreshes;
mod revocations;
mod sealing_keys;
pub mod second_factors;
pub mod secret_file;
mod terms;
mod time;
pub mod tokens;
mod vault;

pub mod audit;
pub mod denied;
pub mod sign_in_log;

pub mod store;
pub mod telemetry;

pub use config::{Config, RawConfig};
pub use control::{FirstStart, Handle, StartError, start};
