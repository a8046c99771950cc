//! File descriptors: one for each connection, and most systems grant a process 1,024 unless it asks for more.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, which needs no privileges. Gives the limit that now holds.
///
/// # Errors
/// What the system says; the limit is as before then.
pub fn raise() -> std::io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_limit_becomes_the_hard_one() {
        let granted = raise().expect("no privileges are needed");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a process has limits");
        assert_eq!((soft, hard), (granted, granted));
    }
}
