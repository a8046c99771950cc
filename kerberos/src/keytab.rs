//! Looks into the agent's keytab before the library does, whose word for all that can be wrong with it is "No credentials cache found".
//!
//! Keys are passed over, not kept.

use std::{
    collections::BTreeSet,
    fmt,
    fs::{File, Metadata},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::realm::Principal;

/// Bytes of a file; a hundred keys take ten thousand.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Keys of a file, holes included.
const ENTRIES_MAX: usize = 10_000;
/// Parts of a principal's name.
const COMPONENTS_MAX: u16 = 8;
/// Principals that a message names.
const NAMED_MAX: usize = 5;
/// The format's second version, which all programs write.
const VERSION: [u8; 2] = [5, 2];
/// AES in both generations (RFC 3962, RFC 8009).
const AES: [u16; 4] = [17, 18, 19, 20];
/// What the file's mode must not have: anything for everybody, writing for the group.
const MODE_TOO_OPEN: u32 = 0o027;

/// Why a keytab is of no use.
#[derive(Debug, Error)]
pub enum KeytabError {
    /// It cannot be opened or read.
    #[error("the keytab {path} cannot be read: {source}", path = path.display())]
    Read {
        /// Where it is looked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a folder, or a device.
    #[error("the keytab {} is not a file", .0.display())]
    NotAFile(PathBuf),
    /// Others may read or change it.
    #[error("the keytab {path} is open to others, mode {mode:04o}: chmod 0400, or 0440 with a group of the agent's own", path = path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no keytab.
    #[error("the keytab {path} is not one: {what}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// It has keys of others only.
    #[error("the keytab {path} has no key of {principal}, but of {others}", path = path.display())]
    Principal {
        /// The file.
        path: PathBuf,
        /// Whose key is looked for.
        principal: Principal,
        /// Whose are there.
        others: String,
    },
    /// Its keys are of old kinds.
    #[error("the keytab {path} has no AES key of {principal}, but of {kinds}: give the account AES keys and export them", path = path.display())]
    Kinds {
        /// The file.
        path: PathBuf,
        /// Whose keys they are.
        principal: Principal,
        /// Of which kinds they are.
        kinds: String,
    },
}

/// What of a keytab is the agent's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keytab {
    /// Key version numbers: the highest is the newest password's.
    pub versions: BTreeSet<u32>,
    /// Encryption types, by their numbers: 18 is aes256-cts-hmac-sha1-96.
    pub kinds: BTreeSet<u16>,
}

impl Keytab {
    /// Looks for keys of `principal`.
    pub fn check(path: &Path, principal: &Principal) -> Result<Self, KeytabError> {
        let entries = entries(&read(path)?).map_err(|what| KeytabError::Format {
            path: path.to_owned(),
            what,
        })?;
        let wanted = principal.to_string();
        let (mine, others): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|entry| entry.principal == wanted);
        if mine.is_empty() {
            return Err(KeytabError::Principal {
                path: path.to_owned(),
                principal: principal.clone(),
                others: named(others.into_iter().map(|entry| entry.principal)),
            });
        }
        let kinds: BTreeSet<u16> = mine.iter().map(|entry| entry.kind).collect();
        if !kinds.iter().any(|kind| AES.contains(kind)) {
            return Err(KeytabError::Kinds {
                path: path.to_owned(),
                principal: principal.clone(),
                kinds: named(kinds.into_iter().map(kind_name)),
            });
        }
        let versions = mine.iter().map(|entry| entry.version).collect();
        Ok(Self { versions, kinds })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeytabError> {
    let failed = |source| KeytabError::Read {
        path: path.to_owned(),
        source,
    };
    // Before it is opened: opening a pipe would wait for its other end.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(KeytabError::NotAFile(path.to_owned()));
    }
    let file = File::open(path).map_err(failed)?;
    let mode = mode(&file.metadata().map_err(failed)?);
    if mode & MODE_TOO_OPEN != 0 {
        return Err(KeytabError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    let mut bytes = Vec::new();
    let most = FILE_BYTES_MAX + 1;
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 == most {
        return Err(KeytabError::Format {
            path: path.to_owned(),
            what: "it is far too large",
        });
    }
    Ok(bytes)
}

#[cfg(unix)]
fn mode(about: &Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::mode(about) & 0o7777
}

/// As of a file that is open to everybody: no keytab is used where there are no modes.
#[cfg(not(unix))]
fn mode(_about: &Metadata) -> u32 {
    0o777
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    principal: String,
    version: u32,
    kind: u16,
}

/// The format as MIT's `doc/formats/keytab_file_format.rst` has it, big-endian.
fn entries(file: &[u8]) -> Result<Vec<Entry>, &'static str> {
    let Some(mut rest) = file.strip_prefix(&VERSION) else {
        return Err("it does not begin with 05 02");
    };
    let mut entries = Vec::new();
    for _ in 0..ENTRIES_MAX {
        if rest.is_empty() {
            return Ok(entries);
        }
        let size = i32::from_be_bytes(fixed(&mut rest).ok_or(CUT)?);
        let length = usize::try_from(size.unsigned_abs()).map_err(|_| CUT)?;
        let entry = bytes(&mut rest, length).ok_or(CUT)?;
        match size {
            // MIT takes it for the end.
            0 => return Ok(entries),
            // A hole, where a key was.
            ..0 => {}
            1.. => entries.push(Entry::of(entry).ok_or("an entry is not whole")?),
        }
    }
    Err("it has far too many keys")
}

const CUT: &str = "it is cut off";

impl Entry {
    fn of(mut entry: &[u8]) -> Option<Self> {
        let rest = &mut entry;
        let components = u16::from_be_bytes(fixed(rest)?);
        if components == 0 || components > COMPONENTS_MAX {
            return None;
        }
        let realm = text(rest)?;
        let mut names = Vec::with_capacity(components.into());
        for _ in 0..components {
            names.push(text(rest)?);
        }
        let _name_type: [u8; 4] = fixed(rest)?;
        let _time: [u8; 4] = fixed(rest)?;
        let [short_version] = fixed(rest)?;
        let kind = u16::from_be_bytes(fixed(rest)?);
        let key_length = u16::from_be_bytes(fixed(rest)?);
        bytes(rest, key_length.into())?;
        // A longer version follows where one byte may not be enough; zero if it was not known.
        let long_version = fixed(rest).map(u32::from_be_bytes).filter(|it| *it != 0);
        Some(Self {
            principal: format!("{}@{realm}", names.join("/")),
            version: long_version.unwrap_or_else(|| short_version.into()),
            kind,
        })
    }
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let length = u16::from_be_bytes(fixed(rest)?);
    Some(String::from_utf8_lossy(bytes(rest, length.into())?).into_owned())
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

fn bytes<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (first, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(first)
}

/// A few of many, once each; control characters of a hostile file do not reach a terminal.
fn named(all: impl Iterator<Item = impl fmt::Display>) -> String {
    let all: BTreeSet<String> = all
        .map(|it| it.to_string().escape_debug().to_string())
        .collect();
    let shown: Vec<_> = all.iter().take(NAMED_MAX).cloned().collect();
    match all.len() {
        0 => "nobody".to_owned(),
        count if count > NAMED_MAX => {
            format!("{} and {} more", shown.join(", "), count - NAMED_MAX)
        }
        _ => shown.join(", "),
    }
}

fn kind_name(kind: u16) -> String {
    match kind {
        1 => "des-cbc-crc".to_owned(),
        3 => "des-cbc-md5".to_owned(),
        16 => "des3-cbc-sha1".to_owned(),
        17 => "aes128-cts-hmac-sha1-96".to_owned(),
        18 => "aes256-cts-hmac-sha1-96".to_owned(),
        19 => "aes128-cts-hmac-sha256-128".to_owned(),
        20 => "aes256-cts-hmac-sha384-192".to_owned(),
        23 => "arcfour-hmac".to_owned(),
        other => format!("kind {other}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn entry(principal: &str, kind: u16, short: u8, long: Option<u32>) -> Vec<u8> {
        let (name, realm) = principal.split_once('@').expect("a realm");
        let parts: Vec<_> = name.split('/').collect();
        let counted = |text: &str| {
            let length = u16::try_from(text.len()).expect("short").to_be_bytes();
            [&length[..], text.as_bytes()].concat()
        };
        let mut body = u16::try_from(parts.len())
            .expect("few")
            .to_be_bytes()
            .to_vec();
        body.extend(counted(realm));
        body.extend(parts.iter().flat_map(|part| counted(part)));
        body.extend([0, 0, 0, 1, 0, 0, 0, 0, short]);
        body.extend(kind.to_be_bytes());
        body.extend(counted("a key of some length"));
        body.extend(long.map(u32::to_be_bytes).into_iter().flatten());
        let length = i32::try_from(body.len()).expect("short").to_be_bytes();
        [&length[..], &body].concat()
    }

    fn hole(length: i32) -> Vec<u8> {
        let body = vec![0xee; usize::try_from(length).expect("a length")];
        [&(-length).to_be_bytes()[..], &body].concat()
    }

    fn check(parts: &[Vec<u8>]) -> Result<Keytab, String> {
        check_file(&[&VERSION[..], &parts.concat()].concat(), 0o400)
    }

    fn check_file(bytes: &[u8], mode: u32) -> Result<Keytab, String> {
        let folder = folder_with(bytes, mode);
        let path = folder.path().join(FILE);
        Keytab::check(&path, &agent()).map_err(|error| {
            let text = error.to_string();
            text.replace(&path.display().to_string(), "FILE")
        })
    }

    const FILE: &str = "agent.keytab";

    fn folder_with(bytes: &[u8], mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        fs::write(&path, bytes).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        folder
    }

    fn agent() -> Principal {
        "svc-agent@LAB.TEST".parse().expect("a principal")
    }

    #[test]
    fn keys_of_the_agent_are_found() {
        let found = check(&[
            entry("svc-other@LAB.TEST", 18, 9, None),
            hole(40),
            entry("svc-agent@LAB.TEST", 17, 1, None),
            entry("svc-agent@LAB.TEST", 18, 1, Some(257)),
            entry("svc-agent@LAB.TEST", 23, 3, Some(0)),
        ]);
        let expected = Keytab {
            versions: [1, 3, 257].into(),
            kinds: [17, 18, 23].into(),
        };
        assert_eq!(found, Ok(expected));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let whole = entry("svc-agent@LAB.TEST", 18, 1, None);
        let many: Vec<_> = (0..8)
            .map(|at| entry(&format!("a{at}@LAB.TEST"), 18, 1, None))
            .collect();
        for (parts, expected) in [
            (vec![], "no key of svc-agent@LAB.TEST, but of nobody"),
            (
                vec![entry("svc-agent@OTHER", 18, 1, None)],
                "no key of svc-agent@LAB.TEST, but of svc-agent@OTHER",
            ),
            (
                vec![entry("host/a.b@LAB.TEST\u{1b}[2J", 18, 1, None)],
                "but of host/a.b@LAB.TEST\\u{1b}[2J",
            ),
            (
                many,
                "a0@LAB.TEST, a1@LAB.TEST, a2@LAB.TEST, a3@LAB.TEST, a4@LAB.TEST and 3 more",
            ),
            (
                vec![
                    entry("svc-agent@LAB.TEST", 23, 1, None),
                    entry("svc-agent@LAB.TEST", 99, 1, None),
                ],
                "no AES key of svc-agent@LAB.TEST, but of arcfour-hmac, kind 99",
            ),
            (vec![whole[..whole.len() - 1].to_vec()], "it is cut off"),
            (vec![vec![0x7f, 0xff, 0xff, 0xff]], "it is cut off"),
            (vec![vec![0x80, 0, 0, 0]], "it is cut off"),
            (vec![vec![0, 0, 0, 1, 0]], "an entry is not whole"),
            (vec![hole(0).repeat(1), whole.clone()], "but of nobody"),
            (vec![hole(1).repeat(ENTRIES_MAX + 1)], "far too many keys"),
        ] {
            let found = check(&parts).expect_err(expected);
            assert!(found.contains(expected), "{found}");
        }
        let error = check_file(b"not a keytab", 0o400).expect_err("no keytab");
        assert!(error.contains("does not begin with 05 02"), "{error}");
        let large = vec![5; usize::try_from(FILE_BYTES_MAX).expect("small") + 2];
        let error = check_file(&large, 0o400).expect_err("too large");
        assert!(error.contains("far too large"), "{error}");
    }

    #[test]
    fn files_open_to_others_are_refused() {
        let file = [&VERSION[..], &entry("svc-agent@LAB.TEST", 18, 1, None)].concat();
        for mode in [0o400, 0o600, 0o440, 0o640] {
            assert!(check_file(&file, mode).is_ok(), "{mode:o}");
        }
        for mode in [0o644, 0o444, 0o404, 0o660, 0o620, 0o602] {
            let error = check_file(&file, mode).expect_err("open");
            assert!(
                error.contains(&format!("mode {mode:04o}: chmod")),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let check = |path: &str| {
            let error = Keytab::check(Path::new(path), &agent()).expect_err("no file");
            error.to_string()
        };
        assert!(check("/").ends_with("is not a file"));
        assert!(check("/dev/zero").ends_with("is not a file"));
        assert!(check("/nowhere/agent.keytab").contains("cannot be read: No such file"));
    }
}
