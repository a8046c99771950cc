//! Who the agent is in a Kerberos domain, so that it can sign users on to apps there.

use std::path::{Path, PathBuf};

use kerberos::Principal;
use runtime::config::Problems;
use serde::{Deserialize, Serialize};

/// The table `[kerberos]`, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawKerberos {
    /// The agent's account, as `name@REALM`.
    pub principal: Option<String>,
    /// File with its keys.
    pub keytab: Option<PathBuf>,
    /// File that says where domains and their controllers are; as `KRB5_CONFIG` says, or `/etc/krb5.conf`.
    pub krb5_conf: Option<PathBuf>,
}

impl RawKerberos {
    /// Whether nothing of it was written.
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The agent's account in a Kerberos domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KerberosConfig {
    /// The account.
    pub principal: Principal,
    /// File with its keys.
    pub keytab: PathBuf,
    /// File that says where domains and their controllers are; `None`: as the library finds it.
    pub krb5_conf: Option<PathBuf>,
}

impl KerberosConfig {
    /// As it could have been written.
    pub(super) fn written(&self) -> RawKerberos {
        RawKerberos {
            principal: Some(self.principal.to_string()),
            keytab: Some(self.keytab.clone()),
            krb5_conf: self.krb5_conf.clone(),
        }
    }
}

/// Reads the table. Files are not looked at: they may come later, and `adit doctor agent` says what is wrong with them.
pub(super) fn read(
    raw: Option<&RawKerberos>,
    found: &mut Problems,
) -> Option<Option<KerberosConfig>> {
    let Some(raw) = raw.filter(|raw| !raw.is_empty()) else {
        return Some(None);
    };
    let principal = principal(raw.principal.as_deref(), found);
    let keytab = file("kerberos.keytab", raw.keytab.as_deref(), found);
    let krb5_conf = match raw.krb5_conf.as_deref() {
        Some(path) => file("kerberos.krb5_conf", Some(path), found).map(Some),
        None => Some(None),
    };
    Some(Some(KerberosConfig {
        principal: principal?,
        keytab: keytab?,
        krb5_conf: krb5_conf?,
    }))
}

fn principal(written: Option<&str>, found: &mut Problems) -> Option<Principal> {
    const KEY: &str = "kerberos.principal";
    let Some(text) = written else {
        found.add(KEY, "must say which account the keytab is of");
        return None;
    };
    found.take(KEY, text.parse())
}

fn file(key: &str, written: Option<&Path>, found: &mut Problems) -> Option<PathBuf> {
    match written {
        Some(path) if !path.as_os_str().is_empty() => Some(path.to_owned()),
        _ => {
            found.add(key, "must name a file");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(principal: &str, keytab: &str) -> RawKerberos {
        let written = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        RawKerberos {
            principal: written(principal),
            keytab: written(keytab).map(Into::into),
            krb5_conf: None,
        }
    }

    #[test]
    fn an_account_is_named_with_its_realm() {
        for (text, is_one) in [
            ("svc-adit@EXAMPLE.COM", true),
            ("svc-adit", false),
            ("svc adit@EXAMPLE.COM", false),
        ] {
            let mut problems = Problems::new();
            let read = read(Some(&raw(text, "agent.keytab")), &mut problems);
            assert_eq!(read.flatten().is_some(), is_one, "{text}");
            assert_eq!(problems.found().is_empty(), is_one, "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_told_by_its_key() {
        for (raw, keys) in [
            (raw("", ""), &[][..]),
            (raw("svc@A", ""), &["kerberos.keytab"]),
            (raw("", "a.keytab"), &["kerberos.principal"]),
            (
                RawKerberos {
                    krb5_conf: Some("".into()),
                    ..RawKerberos::default()
                },
                &[
                    "kerberos.principal",
                    "kerberos.keytab",
                    "kerberos.krb5_conf",
                ],
            ),
        ] {
            let mut problems = Problems::new();
            let read = read(Some(&raw), &mut problems);
            let told: Vec<_> = problems.found().iter().map(|p| p.key.as_str()).collect();
            assert_eq!(told, keys);
            assert_eq!(read == Some(None), keys.is_empty());
        }
    }
}
