//! What a publication is and what follows from it: names, routing, access decisions, balancing, snapshots.
//!
//! Nothing here does I/O, waits, reads a clock or knows a wire type: time and randomness are arguments, so every rule can
//! be tested as a plain function.

pub mod name;

pub mod host;

pub mod path;

pub mod user;

pub mod terms;

pub mod service;

pub mod client_ca;

pub mod identity_provider;

pub mod app;

pub mod image;

pub mod brand;

pub mod settings;

pub mod access;

pub mod route;

pub mod cors;

pub mod translate;

pub mod sign_on;

pub mod vault;

pub mod balance;

pub mod snapshot;

pub mod reason;
