//! A whole control, started as its process starts it, against nodes and operators over TLS.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod distribution;
mod enrolment;
mod metrics;
mod protocol;
mod recovery;
mod single_sign_on;
mod start;
mod users;
