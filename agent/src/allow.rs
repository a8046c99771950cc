//! The agent's own word on which origins may be reached: the second lock beside what control publishes.
//!
//! A pattern is `*`, `name:port`, `*.domain:port`, `address:port` or `network/prefix:port`; the port may be `*`. IPv6 stands in
//! brackets. Names are matched as they are published, networks against the address that a name resolved to. Link-local
//! addresses, where clouds keep their instance metadata, are reached only by a pattern that lies within them.
//!
//! Unix sockets are reached only by a pattern of their own, `unix:/path` or `unix:/folder/*`: some of them, such as that of a
//! container engine, give away the machine.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use model::{
    app::{OriginHost, SocketPath},
    host::Hostname,
};

/// Patterns of one list, at most: an agent serves tens of origins.
pub const PATTERNS_MAX: usize = 1_024;

/// Which origins may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowList {
    patterns: Vec<AllowPattern>,
}

impl AllowList {
    /// Only what one of `patterns` matches.
    #[must_use]
    pub fn new(patterns: Vec<AllowPattern>) -> Self {
        Self { patterns }
    }

    /// Everything but link-local addresses and Unix sockets.
    #[must_use]
    pub fn all() -> Self {
        Self::new(vec![AllowPattern::ANY])
    }

    /// Every pattern as it is written.
    #[must_use]
    pub fn to_strings(&self) -> Vec<String> {
        self.patterns.iter().map(ToString::to_string).collect()
    }

    /// Whether an origin published as `host` may be reached at `address`.
    #[must_use]
    pub fn permits(&self, host: &OriginHost, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let guarded = is_link_local(ip);
        self.patterns.iter().any(|pattern| {
            (!guarded || pattern.is_link_local()) && pattern.matches(host, ip, address.port())
        })
    }

    /// Whether an origin may be asked for by this name through a proxy, which alone learns its address: networks do not
    /// speak for names.
    #[must_use]
    pub fn permits_by_name(&self, host: &OriginHost, port: u16) -> bool {
        match host {
            OriginHost::Ip(ip) => self.permits(host, SocketAddr::new(*ip, port)),
            OriginHost::Name(name) => self.patterns.iter().any(|pattern| {
                pattern.port.is_none_or(|allowed| allowed == port) && pattern.place.names(name)
            }),
            OriginHost::Socket(_) => false,
        }
    }

    /// Whether an origin behind this Unix socket may be reached.
    #[must_use]
    pub fn permits_socket(&self, path: &SocketPath) -> bool {
        self.patterns
            .iter()
            .any(|pattern| pattern.place.holds_socket(path))
    }
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowPattern {
    place: Place,
    /// `None`: every port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Anywhere,
    Name(Hostname),
    /// Every name below this domain.
    Below(Hostname),
    Network {
        base: IpAddr,
        prefix: u8,
    },
    Socket(SocketPath),
    /// Every socket below this folder.
    SocketsBelow(SocketPath),
}

impl AllowPattern {
    const ANY: Self = Self {
        place: Place::Anywhere,
        port: None,
    };

    fn matches(&self, host: &OriginHost, ip: IpAddr, port: u16) -> bool {
        self.port.is_none_or(|allowed| allowed == port) && self.place.holds(host, ip)
    }

    fn is_link_local(&self) -> bool {
        match self.place {
            Place::Network { base, prefix } => {
                let block = if base.is_ipv4() { 16 } else { 10 };
                prefix >= block && is_link_local(base)
            }
            Place::Anywhere
            | Place::Name(_)
            | Place::Below(_)
            | Place::Socket(_)
            | Place::SocketsBelow(_) => false,
        }
    }
}

impl Place {
    fn holds(&self, host: &OriginHost, ip: IpAddr) -> bool {
        match (self, host) {
            (Self::Name(_) | Self::Below(_) | Self::Anywhere, OriginHost::Name(name)) => {
                self.names(name)
            }
            (Self::Anywhere, OriginHost::Ip(_)) => true,
            (Self::Network { base, prefix }, OriginHost::Name(_) | OriginHost::Ip(_)) => {
                same_network(*base, ip, *prefix)
            }
            (Self::Name(_) | Self::Below(_), OriginHost::Ip(_))
            | (Self::Socket(_) | Self::SocketsBelow(_), _)
            | (_, OriginHost::Socket(_)) => false,
        }
    }

    fn names(&self, name: &Hostname) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Name(allowed) => allowed == name,
            Self::Below(domain) => name
                .as_str()
                .strip_suffix(domain.as_str())
                .is_some_and(|front| front.ends_with('.')),
            Self::Network { .. } | Self::Socket(_) | Self::SocketsBelow(_) => false,
        }
    }

    fn holds_socket(&self, path: &SocketPath) -> bool {
        match self {
            Self::Socket(allowed) => allowed == path,
            Self::SocketsBelow(folder) => path
                .as_str()
                .strip_prefix(folder.as_str())
                .is_some_and(|rest| rest.starts_with('/')),
            Self::Anywhere | Self::Name(_) | Self::Below(_) | Self::Network { .. } => false,
        }
    }
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowPatternError {
    /// No port behind the last colon.
    #[error("must end in a port from 1 to 65535, or in :*")]
    Port,
    /// Neither a name, a domain behind `*.`, an address nor a network.
    #[error("must be *, a name, *. and a domain, an address, or a network such as 10.0.0.0/8")]
    Place,
    /// No absolute path, or one with two readings, behind `unix:`.
    #[error("must have an absolute path behind unix:, which may end in /*")]
    Socket,
    /// The network's prefix is longer than its address.
    #[error("has a network prefix longer than the address")]
    Prefix,
}

impl FromStr for AllowPattern {
    type Err = AllowPatternError;

    fn from_str(text: &str) -> Result<Self, AllowPatternError> {
        if text == "*" {
            return Ok(Self::ANY);
        }
        if let Some(path) = text.strip_prefix(SOCKET_PREFIX) {
            return Ok(Self {
                place: parse_socket(path)?,
                port: None,
            });
        }
        let (place, port) = text.rsplit_once(':').ok_or(AllowPatternError::Port)?;
        Ok(Self {
            place: parse_place(place)?,
            port: parse_port(port)?,
        })
    }
}

impl fmt::Display for AllowPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Socket(path) => return write!(f, "{SOCKET_PREFIX}{path}"),
            Place::SocketsBelow(folder) => return write!(f, "{SOCKET_PREFIX}{folder}/*"),
            Place::Anywhere if self.port.is_none() => return f.write_str("*"),
            Place::Anywhere => f.write_str("*")?,
            Place::Name(name) => write!(f, "{name}")?,
            Place::Below(domain) => write!(f, "*.{domain}")?,
            Place::Network { base, prefix } => match base {
                IpAddr::V4(base) => write!(f, "{base}/{prefix}")?,
                IpAddr::V6(base) => write!(f, "[{base}/{prefix}]")?,
            },
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}

/// What patterns of Unix sockets begin with.
const SOCKET_PREFIX: &str = "unix:";

fn parse_socket(path: &str) -> Result<Place, AllowPatternError> {
    let (path, place): (_, fn(SocketPath) -> Place) = match path.strip_suffix("/*") {
        Some(folder) => (folder, Place::SocketsBelow),
        None => (path, Place::Socket),
    };
    path.parse()
        .map(place)
        .map_err(|_| AllowPatternError::Socket)
}

fn parse_port(text: &str) -> Result<Option<u16>, AllowPatternError> {
    if text == "*" {
        return Ok(None);
    }
    text.parse()
        .ok()
        .filter(|&port| port != 0)
        .map(Some)
        .ok_or(AllowPatternError::Port)
}

fn parse_place(text: &str) -> Result<Place, AllowPatternError> {
    if text == "*" {
        return Ok(Place::Anywhere);
    }
    if let Some(domain) = text.strip_prefix("*.") {
        let domain = domain.parse().map_err(|_| AllowPatternError::Place)?;
        return Ok(Place::Below(domain));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let (address, prefix) = match bare.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (bare, None),
    };
    match (address.parse::<IpAddr>(), prefix) {
        (Ok(base), prefix) => parse_network(base, prefix),
        (Err(_), None) => text
            .parse()
            .map(Place::Name)
            .map_err(|_| AllowPatternError::Place),
        (Err(_), Some(_)) => Err(AllowPatternError::Place),
    }
}

fn parse_network(base: IpAddr, prefix: Option<&str>) -> Result<Place, AllowPatternError> {
    let longest = if base.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => longest,
        Some(digits) => digits
            .parse()
            .ok()
            .filter(|&prefix| prefix <= longest)
            .ok_or(AllowPatternError::Prefix)?,
    };
    Ok(Place::Network { base, prefix })
}

fn same_network(base: IpAddr, ip: IpAddr, prefix: u8) -> bool {
    let prefix = u32::from(prefix);
    match (base, ip) {
        (IpAddr::V4(base), IpAddr::V4(ip)) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            base.to_bits() & mask == ip.to_bits() & mask
        }
        (IpAddr::V6(base), IpAddr::V6(ip)) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            base.to_bits() & mask == ip.to_bits() & mask
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// EC2's metadata service over IPv6: not link-local by its address, but by what it is for.
const EC2_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::is_link_local(&ip),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip == EC2_METADATA,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(patterns: &[&str], host: &str, address: &str) -> bool {
        let patterns = patterns.iter().map(|text| text.parse().unwrap()).collect();
        let url: model::app::OriginUrl = format!("http://{host}").parse().unwrap();
        AllowList::new(patterns).permits(&url.host, address.parse().unwrap())
    }

    #[test]
    fn only_what_a_pattern_matches_is_permitted() {
        for (patterns, host, address, want) in [
            (&["*"][..], "wiki", "10.0.0.1:80", true),
            (&[], "wiki", "10.0.0.1:80", false),
            (&["wiki:80"], "wiki", "10.0.0.1:80", true),
            (&["wiki:80"], "wiki", "10.0.0.1:81", false),
            (&["wiki:80"], "files", "10.0.0.1:80", false),
            (&["wiki:*"], "wiki", "10.0.0.1:81", true),
            (&["*.corp:443"], "a.b.corp", "10.0.0.1:443", true),
            (&["*.corp:443"], "corp", "10.0.0.1:443", false),
            (&["*.corp:443"], "evilcorp", "10.0.0.1:443", false),
            (&["10.0.0.0/8:80"], "wiki", "10.9.9.9:80", true),
            (&["10.0.0.0/8:80"], "wiki", "11.0.0.1:80", false),
            (&["10.0.0.0/8:80"], "10.1.1.1", "10.1.1.1:80", true),
            (&["10.0.0.0/8:80"], "wiki", "[::ffff:10.0.0.1]:80", true),
            (&["0.0.0.0/0:*"], "wiki", "11.0.0.1:80", true),
            (&["10.0.0.5:80"], "wiki", "10.0.0.5:80", true),
            (&["10.0.0.5:80"], "wiki", "10.0.0.6:80", false),
            (&["[fd00::/8]:443"], "wiki", "[fd12::1]:443", true),
            (&["[fd00::/8]:443"], "wiki", "10.0.0.1:443", false),
            (&["[::1]:443"], "wiki", "[::1]:443", true),
        ] {
            assert_eq!(
                permits(patterns, host, address),
                want,
                "{patterns:?} {host} {address}"
            );
        }
    }

    #[test]
    fn link_local_addresses_need_a_pattern_of_their_own() {
        for (patterns, address, want) in [
            (&["*"][..], "169.254.169.254:80", false),
            (&["wiki:80"], "169.254.169.254:80", false),
            (&["0.0.0.0/0:80"], "169.254.169.254:80", false),
            (&["169.254.169.254:80"], "169.254.169.254:80", true),
            (&["169.254.0.0/16:80"], "169.254.169.254:80", true),
            (&["*"], "[::ffff:169.254.169.254]:80", false),
            (&["*"], "[fe80::1]:80", false),
            (&["*"], "[fd00:ec2::254]:80", false),
            (&["[fe80::/10]:80"], "[fe80::1]:80", true),
        ] {
            assert_eq!(
                permits(patterns, "wiki", address),
                want,
                "{patterns:?} {address}"
            );
        }
    }

    #[test]
    fn unix_sockets_need_a_pattern_of_their_own() {
        for (patterns, path, want) in [
            (&["*"][..], "/run/app.sock", false),
            (&["*:*"], "/run/app.sock", false),
            (&["unix:/run/app.sock"], "/run/app.sock", true),
            (&["unix:/run/app.sock"], "/run/app.sock2", false),
            (&["unix:/run/apps/*"], "/run/apps/a.sock", true),
            (&["unix:/run/apps/*"], "/run/apps/a/b.sock", true),
            (&["unix:/run/apps/*"], "/run/apps", false),
            (&["unix:/run/apps/*"], "/run/apps2/a.sock", false),
        ] {
            let patterns_read = patterns.iter().map(|text| text.parse().unwrap()).collect();
            let list = AllowList::new(patterns_read);
            let permitted = list.permits_socket(&path.parse().unwrap());
            assert_eq!(permitted, want, "{patterns:?} {path}");
        }
    }

    #[test]
    fn through_a_proxy_only_names_count() {
        for (pattern, host, want) in [
            ("*", "wiki", true),
            ("wiki:80", "wiki", true),
            ("wiki:81", "wiki", false),
            ("*.corp:80", "a.corp", true),
            ("0.0.0.0/0:80", "wiki", false),
            ("10.0.0.0/8:80", "10.1.1.1", true),
            ("*", "169.254.169.254", false),
        ] {
            let url: model::app::OriginUrl = format!("http://{host}").parse().unwrap();
            let list = AllowList::new(vec![pattern.parse().unwrap()]);
            assert_eq!(
                list.permits_by_name(&url.host, 80),
                want,
                "{pattern} {host}"
            );
        }
    }

    #[test]
    fn patterns_are_written_back_as_they_were_read() {
        for text in [
            "*",
            "*:80",
            "wiki:80",
            "wiki:*",
            "*.corp:443",
            "10.0.0.0/8:80",
            "[fd00::/8]:443",
            "unix:/run/app.sock",
            "unix:/run/apps/*",
        ] {
            let pattern: AllowPattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), text);
        }
    }

    #[test]
    fn bad_patterns_say_why() {
        for (text, why) in [
            ("", AllowPatternError::Port),
            ("wiki", AllowPatternError::Port),
            ("wiki:0", AllowPatternError::Port),
            ("wiki:http", AllowPatternError::Port),
            ("wi ki:80", AllowPatternError::Place),
            ("*corp:80", AllowPatternError::Place),
            ("wiki/8:80", AllowPatternError::Place),
            ("10.0.0.0/33:80", AllowPatternError::Prefix),
            ("unix:run/app.sock", AllowPatternError::Socket),
            ("unix:/run/../app.sock", AllowPatternError::Socket),
            ("unix:/*", AllowPatternError::Socket),
        ] {
            assert_eq!(text.parse::<AllowPattern>(), Err(why), "{text:?}");
        }
    }
}
