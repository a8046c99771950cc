//! The control plane: stores what is published, enrols nodes, and distributes desired state. Never on a request's path.

pub mod audit;
pub mod denied;
pub mod presence;
pub mod store;
pub mod telemetry;
