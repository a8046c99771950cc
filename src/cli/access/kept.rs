//! What a user's terminal keeps of sign-ins, by sign-in host: one file, readable by its owner only.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use prost_types::Timestamp;
use runtime::{Secret, file, system::HOME_VARIABLE};
use serde::{Deserialize, Serialize, Serializer};

/// Where it lies under the home directory.
const PATH: &str = ".local/state/adit/access.json";
/// Sign-ins that are kept; the one that ends first is forgotten for another.
const SIGN_INS_MAX: usize = 32;
/// Only its owner may read it.
const MODE: u32 = 0o600;

/// A sign-in at one host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SignIn {
    /// What is shown there.
    #[serde(serialize_with = "exposed")]
    pub(super) token: Secret<String>,
    /// Whose.
    pub(super) user: String,
    /// When it ends by itself (RFC 3339).
    pub(super) ends: String,
    /// Certificates that were trusted then; none: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ca: Option<PathBuf>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    sign_ins: BTreeMap<String, SignIn>,
}

/// The file as written.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Raw {
    sign_ins: BTreeMap<String, SignIn>,
}

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeptError {
    /// Nothing says where it is.
    #[error("{HOME_VARIABLE} is not set: there is no place to keep a sign-in")]
    NoHome,
    /// It cannot be read, or others may read it.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not as it was written.
    #[error("{} is not valid; remove it and sign in again", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Kept {
    /// What this user's terminal keeps; nothing, before the first sign-in.
    pub(super) fn read() -> Result<Self, KeptError> {
        let home = env::var_os(HOME_VARIABLE).filter(|home| !home.is_empty());
        Self::read_at(Path::new(&home.ok_or(KeptError::NoHome)?).join(PATH))
    }

    fn read_at(path: PathBuf) -> Result<Self, KeptError> {
        let raw = match read(&path) {
            Ok(bytes) => match serde_json::from_slice::<Raw>(&bytes) {
                Ok(raw) => raw,
                Err(_) => return Err(KeptError::Invalid { path }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Raw::default(),
            Err(source) => return Err(KeptError::Read { path, source }),
        };
        Ok(Self {
            path,
            sign_ins: raw.sign_ins,
        })
    }

    /// Writes what is kept now.
    pub(super) fn write(&self) -> Result<(), KeptError> {
        let raw = Raw {
            sign_ins: self.sign_ins.clone(),
        };
        let written = serde_json::to_vec_pretty(&raw)
            .map_err(io::Error::from)
            .and_then(|text| {
                if let Some(folder) = self.path.parent() {
                    file::make_private_directory(folder)?;
                }
                file::replace(&self.path, &text, MODE)
            });
        written.map_err(|source| KeptError::Write {
            path: self.path.clone(),
            source,
        })
    }

    pub(super) fn get(&self, host: &str) -> Option<&SignIn> {
        self.sign_ins.get(host)
    }

    pub(super) fn put(&mut self, host: String, sign_in: SignIn) {
        self.sign_ins.insert(host, sign_in);
        while self.sign_ins.len() > SIGN_INS_MAX {
            let first = self.sign_ins.iter().min_by_key(|(_, one)| &one.ends);
            let Some(first) = first.map(|(host, _)| host.clone()) else {
                return;
            };
            self.sign_ins.remove(&first);
        }
    }

    pub(super) fn forget(&mut self, host: &str) {
        self.sign_ins.remove(host);
    }

    /// Every sign-in with its host.
    pub(super) fn all(&self) -> Vec<(String, SignIn)> {
        let all = self.sign_ins.iter();
        all.map(|(host, one)| (host.clone(), one.clone())).collect()
    }

    /// What to trust, each once.
    pub(super) fn trusted(&self) -> Vec<Option<PathBuf>> {
        let mut trusted: Vec<_> = self.sign_ins.values().map(|one| one.ca.clone()).collect();
        trusted.sort_unstable();
        trusted.dedup();
        trusted
    }
}

/// A file that others may read is none to keep a sign-in in, nor to take one from.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if file::is_open_to_others(path)? {
        let what = "others may read it, or write to it; remove it and sign in again";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    fs::read(path)
}

impl SignIn {
    /// Whether it has ended by itself; what cannot be read has not.
    pub(super) fn has_ended(&self, now: SystemTime) -> bool {
        let ends = self.ends.parse::<Timestamp>().ok();
        let ends = ends.and_then(|ends| proto::time::system_time(&ends).ok());
        ends.is_some_and(|ends| ends <= now)
    }
}

/// This file is where it is kept.
fn exposed<S: Serializer>(token: &Secret<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token.expose())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, time::Duration};

    use super::*;

    fn sign_in(ends: &str) -> SignIn {
        SignIn {
            token: Secret::new("adit_tt_secret".to_owned()),
            user: "alice".to_owned(),
            ends: ends.to_owned(),
            ca: Some("/ca.pem".into()),
        }
    }

    #[test]
    fn a_sign_in_is_kept_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/adit/access.json");
        let mut kept = Kept::read_at(path.clone()).unwrap();
        assert!(kept.all().is_empty());
        kept.put("auth.example".to_owned(), sign_in("2030-01-01T00:00:00Z"));
        kept.write().unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let mut read = Kept::read_at(path.clone()).unwrap();
        let found = read.get("auth.example").unwrap();
        assert_eq!(found.token.expose(), "adit_tt_secret");
        assert_eq!(read.trusted(), [Some("/ca.pem".into())]);
        assert!(!format!("{read:?}").contains("secret"), "{read:?}");
        read.forget("auth.example");
        read.write().unwrap();
        assert!(Kept::read_at(path.clone()).unwrap().all().is_empty());
        fs::write(&path, "{").unwrap();
        let invalid = Kept::read_at(path);
        assert!(matches!(invalid, Err(KeptError::Invalid { .. })));
    }

    #[test]
    fn what_others_may_read_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.json");
        fs::write(&path, "{\"sign_ins\":{}}").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Kept::read_at(path), Err(KeptError::Read { .. })));
    }

    #[test]
    fn so_many_are_kept_and_the_one_that_ends_first_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept::read_at(folder.path().join("access.json")).unwrap();
        for number in 0..=SIGN_INS_MAX {
            let ends = format!("20{:02}-01-01T00:00:00Z", 90 - number);
            kept.put(format!("auth{number}.example"), sign_in(&ends));
        }
        assert_eq!(kept.all().len(), SIGN_INS_MAX);
        assert!(kept.get(&format!("auth{SIGN_INS_MAX}.example")).is_none());
    }

    #[test]
    fn a_sign_in_ends() {
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let one = sign_in("1970-01-01T00:00:10Z");
        assert!(!one.has_ended(SystemTime::UNIX_EPOCH));
        assert!(one.has_ended(end));
        assert!(!sign_in("").has_ended(end));
    }
}
