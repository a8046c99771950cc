//! The agent: lives beside the origins, dials out to the edges, serves the streams that they open.

pub mod agent;

pub mod config;

pub mod view;

mod credentials;

mod form;

mod uplinks;

mod uplink;

mod rejoin;

mod worker;

mod request;

mod sign_on;

mod sign_on_test;

pub mod statement;

pub mod id_token;

mod translate;

pub mod origin;

pub mod allow;

mod look;

mod probe;

mod health;

pub mod doctor;

pub mod metrics;

pub use agent::{Handle, StartError, start};
pub use config::{Config, RawConfig};
