//! An agent's traffic against a scripted edge (the real tunnel over loopback) and real TCP origins.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod ca;
mod documents;
mod edge;
mod origin;

mod addresses;
mod bodies;
mod faults;
mod http2;
mod id_tokens;
mod kept;
mod links;
mod malformed;
mod origins;
mod probes;
mod requests;
mod secure;
mod sign_on;
mod statements;
mod translation;
mod transports;
mod upgrades;
mod ways;
