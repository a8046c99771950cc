//! Generates the wire types with protox, a protobuf compiler in Rust: no protoc on the machine.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 9] = [
    "adit/admin/v1/images.proto",
    "adit/admin/v1/sign_ins.proto",
    "adit/fabric/v1/sign_ins.proto",
    "adit/admin/v1/resources.proto",
    "adit/admin/v1/admin.proto",
    "adit/control/v1/records.proto",
    "adit/edge/v1/session.proto",
    "adit/fabric/v1/fabric.proto",
    "adit/tunnel/v1/tunnel.proto",
];

/// Messages that carry passwords: `hidden.rs` says what of them may be printed.
const HIDDEN: [&str; 7] = [
    ".adit.admin.v1.CreateUserRequest",
    ".adit.admin.v1.CreateUserResponse",
    ".adit.admin.v1.ResetUserPasswordRequest",
    ".adit.admin.v1.ResetUserPasswordResponse",
    ".adit.control.v1.UserRecord",
    ".adit.fabric.v1.ChangePasswordRequest",
    ".adit.fabric.v1.CheckPasswordRequest",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=adit");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .skip_debug(HIDDEN)
        .compile_fds(descriptors)?;
    Ok(())
}
