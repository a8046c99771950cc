//! The environment of a process that signs users on by Kerberos.
//!
//! The library for Kerberos takes files and credentials from variables: whose tickets it uses must not depend on who started the process,
//! and which file tells of domains is said by a variable alone. Variables cannot be changed in a process that may have threads, so the
//! process begins once more, as the same process of the system, before it has any.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
};

/// The program that runs, wherever its file is by now.
const PROGRAM: &str = "/proc/self/exe";

/// All that the library reads begins with this.
const PREFIX: &[u8] = b"KRB5";

/// The variable that says which file tells of domains: the only one that is kept.
const CONFIG: &str = "KRB5_CONFIG";

/// Sees to it that the library finds nothing in the environment but `krb5_conf`, or what [`CONFIG`] says if there is none. Returns if all is
/// as it should be.
///
/// # Errors
/// The process cannot begin once more.
pub(crate) fn settle(krb5_conf: Option<&Path>) -> io::Result<()> {
    let names = env::vars_os().map(|(name, _)| name);
    let unwanted: Vec<_> = names.filter(|name| is_unwanted(name)).collect();
    let said = env::var_os(CONFIG);
    let wanted = krb5_conf.filter(|file| said.as_deref() != Some(file.as_os_str()));
    if unwanted.is_empty() && wanted.is_none() {
        return Ok(());
    }
    let mut args = env::args_os();
    let mut again = Command::new(PROGRAM);
    again.arg0(args.next().unwrap_or_else(|| OsString::from("adit")));
    again.args(args);
    for name in unwanted {
        again.env_remove(name);
    }
    if let Some(file) = wanted {
        again.env(CONFIG, file);
    }
    Err(again.exec())
}

fn is_unwanted(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX) && name != CONFIG
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_kerberos_are_not_kept_but_for_one() {
        for (name, unwanted) in [
            ("KRB5CCNAME", true),
            ("KRB5_KTNAME", true),
            ("KRB5_CLIENT_KTNAME", true),
            ("KRB5_CONFIG", false),
            ("PATH", false),
            ("MY_KRB5CCNAME", false),
        ] {
            assert_eq!(is_unwanted(OsStr::new(name)), unwanted, "{name}");
        }
    }
}
