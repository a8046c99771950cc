//! The control plane: stores what is published, enrols nodes, and distributes desired state. Never on a request's path.

pub mod config;
pub mod control;
mod data_dir;

pub mod server;

pub mod admin;
pub mod fabric;

mod attempts;
pub mod ca;
pub mod certificates;
pub mod presence;
pub mod secret_file;
pub mod tokens;

pub mod audit;
pub mod denied;
pub mod store;
pub mod telemetry;

pub use config::{Config, RawConfig};
pub use control::{FirstStart, Handle, StartError, start};
