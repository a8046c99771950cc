//! Generates the wire types with protox, a protobuf compiler in Rust: no protoc on the machine.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 6] = [
    "adit/admin/v1/resources.proto",
    "adit/admin/v1/admin.proto",
    "adit/control/v1/records.proto",
    "adit/edge/v1/session.proto",
    "adit/fabric/v1/fabric.proto",
    "adit/tunnel/v1/tunnel.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=adit");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
