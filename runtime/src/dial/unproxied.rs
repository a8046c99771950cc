//! What is dialled directly although there is a proxy: the rules of `NO_PROXY`, as curl reads them.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

/// Entries of one list; more are a mistake.
const ENTRIES_MAX: usize = 1_000;

/// Hosts that no proxy leads to.
///
/// Text is a list, separated by commas or blanks, of domains (which stand for all below them too, with a leading dot or without), addresses and
/// networks; `*` alone stands for everything. Addresses and networks are compared with what is written in a target: no name is looked up
/// for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unproxied {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Everything,
    /// This machine, by any of its names and addresses for itself.
    Loopback,
    Network(IpNet),
    /// In small letters, without dots around it.
    Domain(String),
}

/// Why text is no such list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnproxiedError {
    /// One entry of it is none.
    #[error("{entry:?} is neither a domain, an address nor a network such as 10.0.0.0/8")]
    Entry {
        /// As it was written.
        entry: String,
    },
    /// It is too long.
    #[error("has more than {ENTRIES_MAX} entries")]
    TooMany,
}

impl Unproxied {
    /// Reads entries, each of them strictly.
    ///
    /// # Errors
    /// The first that is none, or there are too many.
    pub fn new<T: AsRef<str>>(entries: &[T]) -> Result<Self, UnproxiedError> {
        if entries.len() > ENTRIES_MAX {
            return Err(UnproxiedError::TooMany);
        }
        let entries = entries
            .iter()
            .map(|entry| entry.as_ref().parse())
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// Reads a variable, which other programs read too: what is no entry here is passed over. This machine itself is part of it, as in
    /// most programs: nobody means a proxy to lead back.
    ///
    /// # Errors
    /// There are too many entries.
    pub fn of_variable(text: &str) -> Result<Self, UnproxiedError> {
        let written = text.split([',', ' ', '\t']);
        let written: Vec<_> = written
            .filter(|entry| !entry.is_empty())
            .take(ENTRIES_MAX + 1)
            .collect();
        if written.len() > ENTRIES_MAX {
            return Err(UnproxiedError::TooMany);
        }
        let known = written.iter().filter_map(|entry| entry.parse().ok());
        Ok(Self {
            entries: known.chain([Entry::Loopback]).collect(),
        })
    }

    /// The entries, as they could have been written; none for none.
    pub(super) fn written(&self) -> Option<Vec<String>> {
        let written: Vec<_> = self.entries.iter().map(ToString::to_string).collect();
        (!written.is_empty()).then_some(written)
    }

    /// Whether a host, an IPv6 address without brackets, is dialled directly.
    #[must_use]
    pub fn holds(&self, host: &str) -> bool {
        let ip: Option<IpAddr> = host.parse().ok();
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        self.entries.iter().any(|entry| match entry {
            Entry::Everything => true,
            Entry::Loopback => ip.map_or(name == "localhost", |ip| ip.to_canonical().is_loopback()),
            Entry::Network(network) => ip.is_some_and(|ip| network.contains(&ip.to_canonical())),
            Entry::Domain(domain) => ip.is_none() && is_within(&name, domain),
        })
    }
}

fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

impl FromStr for Entry {
    type Err = UnproxiedError;

    fn from_str(text: &str) -> Result<Self, UnproxiedError> {
        if text == "*" {
            return Ok(Self::Everything);
        }
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Self::Network(ip.to_canonical().into()));
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network));
        }
        let domain = text.trim_matches('.').to_ascii_lowercase();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if domain.is_empty() || !domain.bytes().all(is_plain) {
            return Err(UnproxiedError::Entry {
                entry: text.to_owned(),
            });
        }
        Ok(Self::Domain(domain))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Loopback => f.write_str("localhost"),
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                write!(f, "{}", network.addr())
            }
            Self::Network(network) => write!(f, "{network}"),
            Self::Domain(domain) => f.write_str(domain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_exempt_as_curl_has_it() {
        for (list, host, want) in [
            ("example.com", "example.com", true),
            ("example.com", "a.b.example.com", true),
            (".example.com", "a.example.com", true),
            (".example.com", "example.com", true),
            ("example.com.", "EXAMPLE.com.", true),
            ("example.com", "badexample.com", false),
            ("example.com", "example.com.evil.org", false),
            ("a.org, example.com", "x.example.com", true),
            ("a.org example.com", "x.example.com", true),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "::ffff:10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "10.example.com", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.30", false),
            ("fd00::/8", "fd00::1", true),
            ("[fd00::1]", "fd00::1", true),
            ("*", "anything.example", true),
            ("*", "192.0.2.1", true),
            ("", "example.com", false),
            ("!, example.com", "example.com", true),
        ] {
            let unproxied = Unproxied::of_variable(list).unwrap();
            assert_eq!(unproxied.holds(host), want, "{list:?} {host}");
        }
    }

    #[test]
    fn a_variable_leaves_this_machine_out_and_a_file_says_all() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "::1"] {
            assert!(Unproxied::of_variable("").unwrap().holds(host), "{host}");
            assert!(!Unproxied::default().holds(host), "{host}");
        }
    }

    #[test]
    fn an_entry_that_is_none_is_told() {
        assert!(Unproxied::new(&["10.0.0.0/8", "wiki.internal"]).is_ok());
        for entry in ["", ".", "10.0.0.0/33", "a b", "http://x", "*.example.com"] {
            assert!(Unproxied::new(&[entry]).is_err(), "{entry:?}");
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_told_and_not_cut() {
        for (length, want) in [
            (ENTRIES_MAX, Ok(())),
            (ENTRIES_MAX + 1, Err(UnproxiedError::TooMany)),
        ] {
            let entries = vec!["example.com"; length];
            assert_eq!(Unproxied::new(&entries).map(drop), want);
            let variable = Unproxied::of_variable(&entries.join(","));
            assert_eq!(variable.map(drop), want);
        }
    }
}
