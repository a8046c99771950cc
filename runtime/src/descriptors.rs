//! File descriptors: one for each connection, and most systems grant a process 1,024 unless it asks for more.

use crate::system;

/// Raises the soft limit to the hard one, which needs no privileges. Gives the limit that now holds.
///
/// # Errors
/// What the system says; the limit is as before then.
pub fn raise() -> std::io::Result<u64> {
    system::raise_descriptors()
}

#[cfg(test)]
mod tests {
    use nix::sys::resource::{Resource, getrlimit};

    use super::*;

    #[test]
    fn soft_limit_becomes_the_hard_one() {
        let granted = raise().expect("no privileges are needed");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a process has limits");
        assert_eq!((soft, hard), (granted, granted));
    }
}
