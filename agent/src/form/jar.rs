//! The cookies that an app has given for one user, kept here instead of in a browser (RFC 6265).
//!
//! They are what the browser would have got: paths and domains are those that users see, of answers whose names are translated.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use zeroize::Zeroizing;

use super::date;

/// Cookies of one sign-in; what comes beyond takes the place of the oldest.
const COOKIES_MAX: usize = 64;
/// Longest name and value together (RFC 6265, section 6.1).
const COOKIE_BYTES_MAX: usize = 4_096;
/// Longest path and domain of one. What has longer ones says nothing.
const SCOPE_BYTES_MAX: usize = 1_024;
/// All that the cookies of one sign-in have; what comes beyond takes the place of the oldest. Web servers take less in a head.
const JAR_BYTES_MAX: usize = 16 * 1024;

/// Cookies in the order in which they were set last.
#[derive(Debug, Default)]
pub(crate) struct Jar {
    cookies: Vec<Cookie>,
    /// How many were set.
    count: u64,
}

struct Cookie {
    name: Vec<u8>,
    value: Zeroizing<Vec<u8>>,
    /// Which part of the app has set it: under whatever name a user comes, a part is one.
    segment: String,
    /// Where users had it from; none: the user came by a host that is not of its part.
    host: Option<String>,
    /// Where it goes besides, hosts below this one included.
    domain: Option<String>,
    path: Vec<u8>,
    secure: bool,
    /// `None`: as long as the sign-in.
    expires: Option<SystemTime>,
    /// A cookie that takes the place of another is as old as that (section 5.3).
    created: u64,
}

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=***", String::from_utf8_lossy(&self.name))
    }
}

/// A request to an app, as cookies go with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The part of the app that it is for; empty: the main one.
    pub(crate) segment: &'a str,
    /// As the user wrote it, without a port, in lower case.
    pub(crate) host: &'a str,
    /// The main part is published under that host. Otherwise, what is asked of that is asked because the user wants another part.
    pub(crate) is_main_host: bool,
    /// As the user wrote it, without a query.
    pub(crate) path: &'a str,
    /// At the origin, if the agent asks for a page: that may lie outside of what is published, and its cookies with it.
    pub(crate) inner_path: Option<&'a str>,
    /// The user's side is encrypted: that is what `Secure` speaks of, whatever lies between agent and origin.
    pub(crate) secure: bool,
    pub(crate) now: SystemTime,
}

impl Place<'_> {
    /// Whether its part is published under its host.
    fn is_of_host(self) -> bool {
        !self.segment.is_empty() || self.is_main_host
    }
}

impl Jar {
    /// Takes in one `Set-Cookie`; what cannot be read says nothing.
    pub(crate) fn take_in(&mut self, text: &[u8], place: Place<'_>) {
        let Some(mut cookie) = Cookie::read(text, place) else {
            return;
        };
        cookie.created = self.count;
        self.count += 1;
        self.cookies.retain(|known| {
            let is_same = known.is_replaced_by(&cookie);
            if is_same {
                cookie.created = known.created;
            }
            !is_same && known.is_alive(place.now)
        });
        if !cookie.is_alive(place.now) {
            return;
        }
        self.cookies.push(cookie);
        while self.cookies.len() > COOKIES_MAX || self.bytes() > JAR_BYTES_MAX {
            self.cookies.remove(0);
        }
    }

    fn bytes(&self) -> usize {
        self.cookies.iter().map(Cookie::bytes).sum()
    }

    /// What `Cookie` says of a request, with what the user's own says of other names; `None`: nothing.
    pub(crate) fn field(&self, place: Place<'_>, own: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut mine: Vec<_> = self
            .cookies
            .iter()
            .filter(|cookie| cookie.goes_with(place))
            .collect();
        // Longer paths first, older ones before younger (section 5.4).
        mine.sort_by_key(|cookie| (std::cmp::Reverse(cookie.path.len()), cookie.created));
        let own = own.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let own: Vec<_> = own
            .filter(|pair| !pair.is_empty() && !self.has(name_of(pair), place))
            .collect();
        // At once as long as it gets: what is moved leaves a copy behind.
        let bytes = mine.iter().map(|cookie| cookie.bytes() + "=; ".len());
        let own_bytes = own.iter().map(|pair| pair.len() + "; ".len());
        let bytes = bytes.sum::<usize>() + own_bytes.sum::<usize>();
        let mut field = Zeroizing::new(Vec::with_capacity(bytes));
        for cookie in mine {
            begin_pair(&mut field);
            field.extend_from_slice(&cookie.name);
            field.push(b'=');
            field.extend_from_slice(&cookie.value);
        }
        for pair in own {
            begin_pair(&mut field);
            field.extend_from_slice(pair);
        }
        (!field.is_empty()).then_some(field)
    }

    /// Whether the app gave the place's host one of this name, for whichever of its paths.
    fn has(&self, name: &[u8], place: Place<'_>) -> bool {
        let mut cookies = self.cookies.iter();
        cookies.any(|it| it.name == name && it.is_for_host(place) && it.is_alive(place.now))
    }
}

fn name_of(pair: &[u8]) -> &[u8] {
    let name = pair.split(|byte| *byte == b'=').next();
    name.unwrap_or_default().trim_ascii()
}

fn begin_pair(field: &mut Vec<u8>) {
    if !field.is_empty() {
        field.extend_from_slice(b"; ");
    }
}

impl Cookie {
    fn bytes(&self) -> usize {
        let scope = self.path.len() + self.domain.as_ref().map_or(0, String::len);
        self.name.len() + self.value.len() + scope
    }

    fn is_alive(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|end| now < end)
    }

    /// Section 5.3: one of the same name, domain and path.
    fn is_replaced_by(&self, other: &Self) -> bool {
        let is_of_host = self.host.is_some() && self.host == other.host;
        let is_at_home = self.segment == other.segment || is_of_host;
        let has_same_domain = match (&self.domain, &other.domain) {
            (None, None) => is_at_home,
            (one, other) => one == other,
        };
        self.name == other.name && self.path == other.path && has_same_domain
    }

    fn is_for_host(&self, place: Place<'_>) -> bool {
        let is_of_main = self.segment.is_empty() && place.is_main_host;
        let is_of_host = place.is_of_host() && self.host.as_deref() == Some(place.host);
        let is_at_home = self.segment == place.segment || is_of_main || is_of_host;
        let domain = self.domain.as_ref();
        is_at_home || domain.is_some_and(|it| domain_matches(it, place.host))
    }

    /// Section 5.4.
    fn goes_with(&self, place: Place<'_>) -> bool {
        let may_be_seen = place.secure || !self.secure;
        let mut paths = [Some(place.path), place.inner_path].into_iter().flatten();
        let is_for_path = paths.any(|path| path_matches(&self.path, path.as_bytes()));
        self.is_for_host(place) && may_be_seen && is_for_path && self.is_alive(place.now)
    }

    /// Section 5.2. What is for a domain that the host is not of stays in its part of the app.
    fn read(text: &[u8], place: Place<'_>) -> Option<Self> {
        let mut parts = text.split(|byte| *byte == b';');
        let (name, value) = halves(parts.next()?);
        let value = value?;
        if name.is_empty() || name.len() + value.len() > COOKIE_BYTES_MAX {
            return None;
        }
        if !is_plain(name) || !is_plain(value) {
            return None;
        }
        let mut cookie = Self {
            name: name.to_owned(),
            value: Zeroizing::new(value.to_owned()),
            segment: place.segment.to_owned(),
            host: place.is_of_host().then(|| place.host.to_owned()),
            domain: None,
            path: default_path(place.path).into(),
            secure: false,
            expires: None,
            created: 0,
        };
        let mut said = Said::default();
        for part in parts {
            cookie.heed(halves(part), place, &mut said);
        }
        let domain_bytes = cookie.domain.as_ref().map_or(0, String::len);
        let is_short = cookie.path.len() + domain_bytes <= SCOPE_BYTES_MAX;
        (is_short && cookie.keeps_its_prefix(said)).then_some(cookie)
    }

    /// One attribute.
    fn heed(&mut self, (name, value): (&[u8], Option<&[u8]>), place: Place<'_>, said: &mut Said) {
        let value = value.unwrap_or_default();
        match &*name.to_ascii_lowercase() {
            b"path" => {
                said.path = value.starts_with(b"/");
                self.path = match said.path {
                    true => value.to_owned(),
                    false => default_path(place.path).into(),
                };
            }
            b"domain" => {
                said.domain = !value.is_empty();
                self.domain = domain(value, place.host);
            }
            b"secure" => self.secure = true,
            b"max-age" => {
                if let Some(age) = age(value) {
                    said.age = true;
                    self.expires = Some(place.now + age);
                }
            }
            // `Max-Age` counts if there are both.
            b"expires" if !said.age => {
                let end = std::str::from_utf8(value).ok().and_then(date::read);
                self.expires = end.or(self.expires);
            }
            _ => {}
        }
    }

    /// What a name promises (RFC 6265bis, section 4.1.3), in any case of letters, as browsers hold it. Both speak of the user's side: there
    /// `Path=/` is what such a cookie has, and `Secure` what it says.
    fn keeps_its_prefix(&self, said: Said) -> bool {
        let begins = |prefix: &[u8]| {
            let front = self.name.get(..prefix.len());
            front.is_some_and(|front| front.eq_ignore_ascii_case(prefix))
        };
        if begins(b"__Host-") {
            return self.secure && !said.domain && said.path && self.path == b"/";
        }
        self.secure || !begins(b"__Secure-")
    }
}

/// Which attributes a cookie has.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    path: bool,
    domain: bool,
    age: bool,
}

/// Name and value, without the spaces around them.
fn halves(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let equals = text.iter().position(|byte| *byte == b'=');
    let value = equals.map(|equals| text[equals + 1..].trim_ascii());
    (text[..equals.unwrap_or(text.len())].trim_ascii(), value)
}

/// Octets, of any letters that the app writes.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| !byte.is_ascii_control())
}

/// Longest age that is kept count of; a sign-in lives for hours.
const AGE_MAX: Duration = Duration::from_secs(400 * 86_400);

/// Section 5.2.2; of more digits than numbers have it is long.
fn age(text: &[u8]) -> Option<Duration> {
    let (is_over, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok()?;
    let seconds = digits.parse().unwrap_or(u64::MAX);
    let age = if is_over { 0 } else { seconds };
    Some(Duration::from_secs(age).min(AGE_MAX))
}

/// Section 5.2.3, for a host that is of it. What has no dot is nobody's domain.
fn domain(text: &[u8], host: &str) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let domain = text.strip_prefix('.').unwrap_or(text).to_ascii_lowercase();
    let is_good = domain.contains('.') && domain_matches(&domain, host);
    is_good.then_some(domain)
}

/// Section 5.1.3.
fn domain_matches(domain: &str, host: &str) -> bool {
    let is_address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
    let above = host.strip_suffix(domain);
    above.is_some_and(|above| above.is_empty() || (above.ends_with('.') && !is_address))
}

/// Section 5.1.4.
fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(end) => &path[..end],
    }
}

/// Section 5.1.4, too.
fn path_matches(cookie: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || cookie.ends_with(b"/") || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests;
