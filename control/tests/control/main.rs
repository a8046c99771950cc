//! A whole control, started as its process starts it, against nodes and operators over TLS.

mod bench;
mod distribution;
mod enrolment;
mod start;
