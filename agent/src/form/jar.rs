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
    name: String,
    value: Zeroizing<String>,
    /// Which part of the app has set it: under whatever name a user comes, a part is one.
    segment: String,
    /// Where users had it from; none: the user came by a host that is not of its part.
    host: Option<String>,
    /// Where it goes besides, hosts below this one included.
    domain: Option<String>,
    path: String,
    secure: bool,
    /// `None`: as long as the sign-in.
    expires: Option<SystemTime>,
    /// A cookie that takes the place of another is as old as that (section 5.3).
    created: u64,
}

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=***", self.name)
    }
}

/// A request to an app, as cookies go with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The part of the app that it is for; empty: the main one.
    pub(crate) segment: &'a str,
    /// As the user wrote it, without a port, in lower case.
    pub(crate) host: &'a str,
    /// The part is published under that host. Otherwise the agent asks it because the user asks for another part.
    pub(crate) is_of_host: bool,
    /// As the user wrote it, without a query.
    pub(crate) path: &'a str,
    /// The user's side is encrypted: that is what `Secure` speaks of, whatever lies between agent and origin.
    pub(crate) secure: bool,
    pub(crate) now: SystemTime,
}

impl Jar {
    /// Takes in one `Set-Cookie`; what cannot be read says nothing.
    pub(crate) fn take_in(&mut self, text: &str, place: Place<'_>) {
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
    pub(crate) fn field(&self, place: Place<'_>, own: &str) -> Option<Zeroizing<String>> {
        let mut mine: Vec<_> = self
            .cookies
            .iter()
            .filter(|cookie| cookie.goes_with(place))
            .collect();
        // Longer paths first, older ones before younger (section 5.4).
        mine.sort_by_key(|cookie| (std::cmp::Reverse(cookie.path.len()), cookie.created));
        let mut field = Zeroizing::new(String::new());
        let mut add = |pair: &str| {
            if !field.is_empty() {
                field.push_str("; ");
            }
            field.push_str(pair);
        };
        for cookie in &mine {
            let pair = Zeroizing::new(format!("{}={}", cookie.name, *cookie.value));
            add(&pair);
        }
        for pair in own.split(';') {
            let name = pair.split('=').next().unwrap_or_default().trim();
            let is_known = self.cookies.iter().any(|cookie| cookie.name == name);
            if !is_known && !pair.trim().is_empty() {
                add(pair.trim());
            }
        }
        (!field.is_empty()).then_some(field)
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

    /// Whether the place's host is the one that it came from.
    fn is_of(&self, place: Place<'_>) -> bool {
        place.is_of_host && self.host.as_deref() == Some(place.host)
    }

    /// Section 5.4.
    fn goes_with(&self, place: Place<'_>) -> bool {
        let is_at_home = self.segment == place.segment || self.is_of(place);
        let domain = self.domain.as_ref();
        let is_for_host = is_at_home || domain.is_some_and(|it| domain_matches(it, place.host));
        let may_be_seen = place.secure || !self.secure;
        let is_for_path = path_matches(&self.path, place.path);
        is_for_host && may_be_seen && is_for_path && self.is_alive(place.now)
    }

    /// Section 5.2. What is for a domain that the host is not of stays in its part of the app.
    fn read(text: &str, place: Place<'_>) -> Option<Self> {
        let mut parts = text.split(';');
        let (name, value) = parts.next()?.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let is_plain = |text: &str| !text.contains(|char: char| char.is_control());
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
            host: place.is_of_host.then(|| place.host.to_owned()),
            domain: None,
            path: default_path(place.path).to_owned(),
            secure: false,
            expires: None,
            created: 0,
        };
        let mut has_age = false;
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "path" if value.starts_with('/') => value.clone_into(&mut cookie.path),
                "path" => default_path(place.path).clone_into(&mut cookie.path),
                "domain" => cookie.domain = domain(value, place.host),
                "secure" => cookie.secure = true,
                "max-age" => {
                    if let Some(age) = age(value) {
                        has_age = true;
                        cookie.expires = Some(place.now + age);
                    }
                }
                // `Max-Age` counts if there are both.
                "expires" if !has_age => cookie.expires = date::read(value).or(cookie.expires),
                _ => {}
            }
        }
        let domain_bytes = cookie.domain.as_ref().map_or(0, String::len);
        (cookie.path.len() + domain_bytes <= SCOPE_BYTES_MAX).then_some(cookie)
    }
}

/// Longest age that is kept count of; a sign-in lives for hours.
const AGE_MAX: Duration = Duration::from_secs(400 * 86_400);

/// Section 5.2.2; of more digits than numbers have it is long.
fn age(text: &str) -> Option<Duration> {
    let (is_over, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let seconds = digits.parse().unwrap_or(u64::MAX);
    let age = if is_over { 0 } else { seconds };
    Some(Duration::from_secs(age).min(AGE_MAX))
}

/// Section 5.2.3, for a host that is of it. What has no dot is nobody's domain.
fn domain(text: &str, host: &str) -> Option<String> {
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
fn path_matches(cookie: &str, path: &str) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str) -> Place<'_> {
        Place {
            segment: "",
            host: "wiki.example.com",
            is_of_host: true,
            path,
            secure: true,
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        }
    }

    fn field(jar: &Jar, asked: Place<'_>, own: &str) -> String {
        let field = jar.field(asked, own);
        field.map(|field| field.to_string()).unwrap_or_default()
    }

    #[test]
    fn cookies_go_where_their_path_and_age_let_them() {
        let mut jar = Jar::default();
        let here = asked("/app/login");
        for text in [
            "session=1; Path=/; HttpOnly; Secure; SameSite=Lax",
            "deep=2",
            "other=3; path=/other",
            "old=4; Max-Age=0",
            "older=5; Expires=Wed, 21-Oct-2015 07:28:00 GMT",
            "young=6; Expires=Wed, 21 Oct 2065 07:28:00 GMT; Path=/",
            "short=7; Max-Age=60; Expires=Wed, 21 Oct 2015 07:28:00 GMT; Path=/",
            "nothing",
            "=8",
        ] {
            jar.take_in(text, here);
        }
        assert_eq!(
            field(&jar, asked("/app"), ""),
            "deep=2; session=1; young=6; short=7"
        );
        assert_eq!(
            field(&jar, asked("/apple"), ""),
            "session=1; young=6; short=7"
        );
        let plain = Place {
            secure: false,
            ..asked("/")
        };
        assert_eq!(field(&jar, plain, ""), "young=6; short=7");
        let later = Place {
            now: here.now + Duration::from_secs(60),
            ..asked("/")
        };
        assert_eq!(field(&jar, later, ""), "session=1; young=6");
    }

    #[test]
    fn a_cookie_takes_the_place_of_the_one_before_and_can_take_it_away() {
        let mut jar = Jar::default();
        jar.take_in("a=1; Path=/", asked("/"));
        jar.take_in("a=2; Path=/", asked("/"));
        assert_eq!(field(&jar, asked("/x"), ""), "a=2");
        jar.take_in("a=; Path=/; Max-Age=0", asked("/"));
        assert_eq!(field(&jar, asked("/x"), ""), "");
        for number in 0..=COOKIES_MAX {
            jar.take_in(&format!("c{number}=x; Path=/"), asked("/"));
        }
        assert_eq!(jar.cookies.len(), COOKIES_MAX);
        jar.take_in(&format!("big={}", "x".repeat(COOKIE_BYTES_MAX)), asked("/"));
        assert!(!field(&jar, asked("/"), "").contains("big"));
        jar.take_in(
            &format!("deep=x; Path=/{}", "x".repeat(SCOPE_BYTES_MAX)),
            asked("/"),
        );
        assert_eq!(jar.cookies.len(), COOKIES_MAX);
        for number in 0..8 {
            let value = "x".repeat(COOKIE_BYTES_MAX - 2);
            jar.take_in(&format!("b{number}={value}; Path=/"), asked("/"));
        }
        assert!(jar.bytes() <= JAR_BYTES_MAX);
        assert!(field(&jar, asked("/"), "").contains("b7="));
    }

    #[test]
    fn what_the_user_sends_goes_along_unless_the_app_gave_another_of_its_name() {
        let mut jar = Jar::default();
        jar.take_in("session=app; Path=/", asked("/"));
        let own = "theme=dark; session=users; lang";
        assert_eq!(
            field(&jar, asked("/"), own),
            "session=app; theme=dark; lang"
        );
        assert_eq!(field(&Jar::default(), asked("/"), ""), "");
        assert!(!format!("{jar:?}").contains("app"));
    }

    /// What a request gets of one cookie.
    fn one(set: &str, from: Place<'_>, to: Place<'_>) -> bool {
        let mut jar = Jar::default();
        jar.take_in(set, from);
        jar.field(to, "").is_some()
    }

    #[test]
    fn a_path_holds_by_whole_segments() {
        // RFC 6265, section 5.1.4.
        for (set, from, to, goes) in [
            ("a=1; Path=/wiki", "/", "/wiki", true),
            ("a=1; Path=/wiki", "/", "/wiki/", true),
            ("a=1; Path=/wiki", "/", "/wiki/page", true),
            ("a=1; Path=/wiki", "/", "/wikis", false),
            ("a=1; Path=/wiki", "/", "/crm", false),
            ("a=1; Path=/wiki", "/", "/", false),
            ("a=1; Path=/wiki/", "/", "/wiki/page", true),
            ("a=1; Path=/wiki/", "/", "/wiki", false),
            ("a=1; Path=/wiki", "/", "/WIKI", false),
            ("a=1; Path=wiki", "/crm/login", "/crm/x", true),
            ("a=1; Path=wiki", "/crm/login", "/wiki", false),
            ("a=1; Path=/x; Path=/y", "/", "/x", false),
            ("a=1; Path=/x; Path", "/crm/login", "/crm", true),
            ("a=1", "/crm/login", "/crm", true),
            ("a=1", "/crm/login", "/", false),
            ("a=1", "/login", "/crm", true),
            ("a=1", "", "/crm", true),
        ] {
            assert_eq!(one(set, asked(from), asked(to)), goes, "{set} {from} {to}");
        }
    }

    #[test]
    fn a_cookie_is_of_its_host_unless_it_says_a_domain_of_it() {
        // RFC 6265, section 5.1.3, between two parts of an app.
        for (set, from, to, goes) in [
            ("a=1", "one.example.com", "one.example.com", true),
            ("a=1", "one.example.com", "two.example.com", false),
            (
                "a=1; Domain=example.com",
                "one.example.com",
                "two.example.com",
                true,
            ),
            (
                "a=1; Domain=.Example.COM",
                "one.example.com",
                "two.example.com",
                true,
            ),
            (
                "a=1; Domain=example.com",
                "one.example.com",
                "example.com",
                true,
            ),
            (
                "a=1; Domain=example.com",
                "one.example.com",
                "badexample.com",
                false,
            ),
            (
                "a=1; Domain=two.example.com",
                "one.example.com",
                "two.example.com",
                false,
            ),
            ("a=1; Domain=com", "one.com", "two.com", false),
            ("a=1; Domain=", "one.example.com", "two.example.com", false),
            ("a=1; Domain=0.0.1", "127.0.0.1", "9.0.0.1", false),
        ] {
            let at = |segment, host| Place {
                segment,
                host,
                ..asked("/")
            };
            assert_eq!(
                one(set, at("s1", from), at("s2", to)),
                goes,
                "{set} {from} {to}"
            );
            // Its own part has it under each of its names.
            assert!(one(set, at("s1", from), at("s1", to)), "{set} {from} {to}");
        }
    }

    #[test]
    fn parts_of_an_app_keep_what_they_call_by_the_same_name() {
        let mut jar = Jar::default();
        let at = |segment, host| Place {
            segment,
            host,
            ..asked("/")
        };
        let (main, docs) = (at("", "app.example.com"), at("docs", "docs.example.com"));
        jar.take_in("sid=main; Path=/", main);
        jar.take_in("sid=docs; Path=/", docs);
        assert_eq!(field(&jar, main, ""), "sid=main");
        assert_eq!(field(&jar, docs, ""), "sid=docs");
        jar.take_in("sid=; Path=/; Max-Age=0", docs);
        assert_eq!(field(&jar, main, ""), "sid=main");
        assert_eq!(field(&jar, docs, ""), "");
    }

    #[test]
    fn what_the_main_part_sets_when_the_user_comes_for_a_part_elsewhere_is_not_for_that() {
        let at = |segment, host, is_of_host| Place {
            segment,
            host,
            is_of_host,
            ..asked("/")
        };
        let files = at("files", "files.example.com", true);
        let sign_in = at("", "files.example.com", false);
        let main = at("", "crm.example.com", true);
        let mut jar = Jar::default();
        jar.take_in("sid=main; Path=/", sign_in);
        jar.take_in("all=main; Path=/; Domain=example.com", sign_in);
        assert_eq!(field(&jar, files, ""), "all=main");
        assert_eq!(field(&jar, sign_in, ""), "sid=main; all=main");
        assert_eq!(field(&jar, main, ""), "sid=main; all=main");
        // What the other part sets is its own, and no step of the sign-in sends it on.
        jar.take_in("sid=files; Path=/", files);
        assert_eq!(field(&jar, files, ""), "all=main; sid=files");
        assert_eq!(field(&jar, sign_in, ""), "sid=main; all=main");
        // At the main part's own host it is one browser's jar.
        let beside = at("api", "crm.example.com", true);
        let mut jar = Jar::default();
        jar.take_in("sid=main; Path=/", main);
        assert_eq!(field(&jar, beside, ""), "sid=main");
    }

    #[test]
    fn ages_are_read_as_they_are_written() {
        let now = asked("/").now;
        for (text, want) in [
            ("60", Some(60)),
            ("0", Some(0)),
            ("-1", Some(0)),
            ("-", None),
            ("+60", None),
            ("6 0", None),
            ("1e3", None),
            ("", None),
            ("99999999999999999999999", Some(AGE_MAX.as_secs())),
        ] {
            let age = age(text).map(|age| age.as_secs());
            assert_eq!(age, want, "{text}");
        }
        assert!(now.checked_add(AGE_MAX).is_some());
    }

    #[test]
    fn what_is_over_makes_room_and_what_is_renewed_keeps_its_age() {
        let mut jar = Jar::default();
        let here = asked("/");
        jar.take_in("first=1; Path=/", here);
        jar.take_in("second=1; Path=/", here);
        jar.take_in("first=2; Path=/", here);
        assert_eq!(field(&jar, here, ""), "first=2; second=1");
        jar.take_in("short=1; Max-Age=1; Path=/", here);
        let later = Place {
            now: here.now + Duration::from_secs(1),
            ..here
        };
        jar.take_in("third=1; Path=/", later);
        assert_eq!(jar.cookies.len(), 3);
    }
}
