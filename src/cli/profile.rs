//! The operator's profile: where control is, and the token to show it.
//!
//! Control writes one at its first start (`operator.toml`):
//!
//! ```toml
//! control = "127.0.0.1:7443"
//! token = "..."
//! ca = """
//! -----BEGIN CERTIFICATE-----
//! ...
//! """
//! ```

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use runtime::{Secret, config, file, system::HOME_VARIABLE};
use serde::Deserialize;

/// Environment variable with the profile's path.
const VARIABLE: &str = "ADIT_PROFILE";
/// Where the profile lies under the home directory, unless something else is said.
const DEFAULT_PATH: &str = ".config/adit/profile.toml";

/// How to reach control as one operator.
#[derive(Debug)]
pub(crate) struct Profile {
    /// File it was read from.
    pub(crate) path: PathBuf,
    /// Control's addresses, each "host:port", tried in turn.
    pub(crate) addresses: Vec<String>,
    pub(crate) token: Secret<String>,
    /// Certificates that control's must come from.
    pub(crate) ca_pem: String,
    /// Whether someone else on this machine may read the token.
    pub(crate) is_open_to_others: bool,
}

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    control: Addresses,
    token: Secret<String>,
    /// PEM text, or a file beside the profile.
    ca: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Addresses {
    One(String),
    Several(Vec<String>),
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProfileError {
    /// Neither a flag nor a home directory says where it is.
    #[error("no profile is given (--profile FILE or ADIT_PROFILE) and {HOME_VARIABLE} is not set")]
    NoPath,
    /// No file at the place where it lies by default.
    #[error(
        "there is no profile at {}; `adit control` writes operator.toml into its data directory: copy it there, or give it with --profile or ADIT_PROFILE",
        path.display()
    )]
    Missing {
        /// The place.
        path: PathBuf,
    },
    /// The file cannot be read or is not valid.
    #[error("cannot use the profile")]
    Invalid(#[source] config::ReadError),
    /// No address in it.
    #[error("the profile {} names no address of control", path.display())]
    NoAddress {
        /// The profile.
        path: PathBuf,
    },
    /// The CA file that it names cannot be read.
    #[error("cannot read the CA certificates {}", path.display())]
    Ca {
        /// The CA file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Profile {
    /// Reads the profile at `path`, or the one that the environment names, or where it lies by default.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, ProfileError> {
        let named = path.map(Path::to_owned);
        let named = named.or_else(|| set(VARIABLE).map(PathBuf::from));
        let path = named.map_or_else(default_path, Ok)?;
        if !path.exists() {
            return Err(ProfileError::Missing { path });
        }
        let raw: RawProfile = config::read(&path).map_err(ProfileError::Invalid)?;
        let addresses = match raw.control {
            Addresses::One(address) => vec![address],
            Addresses::Several(addresses) => addresses,
        };
        if addresses.is_empty() {
            return Err(ProfileError::NoAddress { path });
        }
        Ok(Self {
            addresses,
            token: raw.token,
            ca_pem: ca_pem(raw.ca, &path)?,
            is_open_to_others: file::is_open_to_others(&path).unwrap_or(cfg!(windows)),
            path,
        })
    }
}

fn default_path() -> Result<PathBuf, ProfileError> {
    let home = set(HOME_VARIABLE).ok_or(ProfileError::NoPath)?;
    Ok(Path::new(&home).join(DEFAULT_PATH))
}

/// The value of an environment variable; an empty one is not set.
fn set(variable: &str) -> Option<OsString> {
    env::var_os(variable).filter(|value| !value.is_empty())
}

/// The certificates themselves, whether they are in the profile or in a file that it names.
fn ca_pem(ca: String, profile: &Path) -> Result<String, ProfileError> {
    if ca.contains("-----BEGIN ") {
        return Ok(ca);
    }
    let path = profile.with_file_name(ca);
    fs::read_to_string(&path).map_err(|source| ProfileError::Ca { path, source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\\nAA==\\n-----END CERTIFICATE-----\\n";

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("profile.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    #[test]
    fn profile_of_control_is_read() {
        let text = format!("control = \"c:7443\"\ntoken = \"secret\"\nca = \"{PEM}\"");
        let (_directory, path) = written(&text, 0o600);
        let profile = Profile::read(Some(&path)).unwrap();
        assert_eq!(profile.addresses, ["c:7443"]);
        assert!(profile.ca_pem.starts_with("-----BEGIN CERTIFICATE-----\n"));
        assert!(!profile.is_open_to_others);
        assert!(!format!("{profile:?}").contains("secret"));
    }

    #[test]
    fn several_addresses_and_a_ca_file_are_understood() {
        let text = "control = [\"a:1\", \"b:1\"]\ntoken = \"t\"\nca = \"ca.pem\"";
        let (directory, path) = written(text, 0o644);
        fs::write(directory.path().join("ca.pem"), "pem").unwrap();
        let profile = Profile::read(Some(&path)).unwrap();
        assert_eq!(profile.addresses, ["a:1", "b:1"]);
        assert_eq!(profile.ca_pem, "pem");
        assert!(profile.is_open_to_others);
    }

    #[test]
    fn bad_profiles_say_what_is_wrong() {
        let missing = Profile::read(Some(Path::new("/nonexistent/profile.toml"))).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/profile.toml"));
        let (_directory, path) = written("control = []\ntoken = \"t\"\nca = \"x\"", 0o600);
        let error = Profile::read(Some(&path)).unwrap_err();
        assert!(matches!(error, ProfileError::NoAddress { .. }));
        let (_directory, path) = written("contrl = \"a:1\"", 0o600);
        let error = Profile::read(Some(&path)).unwrap_err();
        assert!(matches!(error, ProfileError::Invalid(_)));
    }
}
