//! An edge's data plane between real users and scripted agents, over loopback.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod body;
#[path = "../../src/countries/written.rs"]
mod country_file;
mod extras;
mod fabric;
mod failure;
mod http3;
mod lifecycle;
mod limits;
mod malformed;
mod passage;
mod provider;
mod proxy;
mod quotas;
mod settled;
mod sign_in;
mod special;
mod stall;
mod ties;
mod tls;
mod transports;
mod user;
