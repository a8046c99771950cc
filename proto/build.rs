//! Generates the wire types with protox, a protobuf compiler in Rust: no protoc on the machine.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 32] = [
    "adit/access/v1/access.proto",
    "adit/admin/v1/access_rules.proto",
    "adit/admin/v1/resources.proto",
    "adit/admin/v1/form_sign_on.proto",
    "adit/admin/v1/identity_providers.proto",
    "adit/admin/v1/images.proto",
    "adit/admin/v1/sign_ins.proto",
    "adit/admin/v1/sign_on_tests.proto",
    "adit/admin/v1/admin.proto",
    "adit/admin/v1/client_cas.proto",
    "adit/admin/v1/second_factors.proto",
    "adit/admin/v1/service_tokens.proto",
    "adit/admin/v1/single_sign_on.proto",
    "adit/admin/v1/terms.proto",
    "adit/admin/v1/vault.proto",
    "adit/control/v1/records.proto",
    "adit/control/v1/second_factors.proto",
    "adit/control/v1/service_tokens.proto",
    "adit/control/v1/terms.proto",
    "adit/edge/v1/second_factors.proto",
    "adit/edge/v1/session.proto",
    "adit/edge/v1/terminal.proto",
    "adit/fabric/v1/credentials.proto",
    "adit/fabric/v1/devices.proto",
    "adit/fabric/v1/fabric.proto",
    "adit/fabric/v1/refreshes.proto",
    "adit/fabric/v1/second_factors.proto",
    "adit/fabric/v1/sign_ins.proto",
    "adit/fabric/v1/sign_on_tests.proto",
    "adit/fabric/v1/terms.proto",
    "adit/fabric/v1/vault.proto",
    "adit/tunnel/v1/tunnel.proto",
];

/// Messages that carry passwords, codes and keys: `hidden.rs` says what of them may be printed.
const HIDDEN: [&str; 25] = [
    ".adit.admin.v1.CreateApiTokenResponse",
    ".adit.admin.v1.CreateIdentityProviderRequest",
    ".adit.admin.v1.CreateJoinTokenResponse",
    ".adit.admin.v1.CreateServiceTokenResponse",
    ".adit.admin.v1.CreateUserRequest",
    ".adit.admin.v1.CreateUserResponse",
    ".adit.admin.v1.ResetUserPasswordRequest",
    ".adit.admin.v1.ResetUserPasswordResponse",
    ".adit.admin.v1.UpdateIdentityProviderRequest",
    ".adit.control.v1.IdentityProviderRecord",
    ".adit.control.v1.UserRecord",
    ".adit.edge.v1.AuthenticatorOffer",
    ".adit.edge.v1.RefreshNote",
    ".adit.edge.v1.KeptIdToken",
    ".adit.edge.v1.Pass",
    ".adit.fabric.v1.AssertionKey",
    ".adit.fabric.v1.ChangePasswordRequest",
    ".adit.fabric.v1.CheckCodeRequest",
    ".adit.fabric.v1.CheckPasswordRequest",
    ".adit.fabric.v1.EnrolAuthenticatorRequest",
    ".adit.fabric.v1.EnrolRequest",
    ".adit.fabric.v1.ExamineRequest",
    ".adit.fabric.v1.IdentityProvider",
    ".adit.fabric.v1.RecoveryCodes",
    ".adit.tunnel.v1.RequestHead",
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
