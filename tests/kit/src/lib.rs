//! What tests stand on: origins that behave and origins that do not, a whole fabric in one process, and its users.

pub mod browser;
pub mod client;
pub mod fabric;
pub mod forms;
pub mod frames;
pub mod kerberos;
pub mod net;
pub mod network;
pub mod origin;
pub mod plain_app;
pub mod process;
pub mod provider;
pub mod recorder;
pub mod rude;
pub mod search;
pub mod told;
