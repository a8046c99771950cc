//! Promises to users, kept by real processes: one file per promise.

mod access_rules;
mod availability;
mod balancing;
mod browser;
mod bulk;
mod certificates;
mod channels;
mod completions;
mod doctor;
mod durability;
mod extras;
mod fallback;
mod faults;
mod hostile;
mod http3;
mod joining;
mod kept_sign_on;
mod kerberos;
mod limits;
mod networks;
mod operators;
mod outward;
mod population;
mod portal;
mod programs;
mod publishing;
mod readme;
mod second_factors;
mod semantics;
mod service;
mod sign_in;
mod simulated;
mod single_sign_on;
mod status;
mod takeover;
mod telemetry;
mod terms;
mod tidy;

use std::path::Path;

use kit::fabric::Fabric;

/// The binary under test.
fn adit() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_adit"))
}

/// A fabric of one edge and one agent, ready to serve.
async fn fabric() -> Fabric {
    Fabric::start(adit()).await
}
