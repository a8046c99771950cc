//! The cookies that an app has given for one user, kept here instead of in a browser (RFC 6265).

use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

/// Cookies of one sign-in; what comes beyond takes the place of the oldest.
const COOKIES_MAX: usize = 64;
/// Longest name and value together (RFC 6265, section 6.1).
const COOKIE_BYTES_MAX: usize = 4_096;
/// Longest path of one. What has a longer one says nothing.
const PATH_BYTES_MAX: usize = 1_024;
/// All that the cookies of one sign-in have; what comes beyond takes the place of the oldest. Web servers take less in a head.
const JAR_BYTES_MAX: usize = 16 * 1024;

/// Cookies in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Jar {
    cookies: Vec<Cookie>,
}

struct Cookie {
    name: String,
    value: Zeroizing<String>,
    path: String,
    secure: bool,
    /// `None`: as long as the sign-in.
    expires: Option<SystemTime>,
}

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=***", self.name)
    }
}

/// A request, as it decides which cookies go with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// Its path, without a query.
    pub(super) path: &'a str,
    /// The user's side is encrypted: that is what `Secure` speaks of, whatever lies between agent and origin.
    pub(super) secure: bool,
    pub(super) now: SystemTime,
}

impl Jar {
    /// Takes in one `Set-Cookie`; what cannot be read says nothing.
    pub(super) fn take_in(&mut self, text: &str, asked: Asked<'_>) {
        let Some(cookie) = Cookie::read(text, asked) else {
            return;
        };
        self.cookies
            .retain(|known| known.name != cookie.name || known.path != cookie.path);
        if cookie.expires.is_some_and(|end| end <= asked.now) {
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
    pub(super) fn field(&self, asked: Asked<'_>, own: Option<&str>) -> Option<Zeroizing<String>> {
        let mut mine: Vec<_> = self
            .cookies
            .iter()
            .filter(|cookie| cookie.goes_with(asked))
            .collect();
        // Longer paths first, older ones before younger (section 5.4).
        mine.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
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
        for pair in own.unwrap_or_default().split(';') {
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
        self.name.len() + self.value.len() + self.path.len()
    }

    fn goes_with(&self, asked: Asked<'_>) -> bool {
        let is_alive = self.expires.is_none_or(|end| asked.now < end);
        is_alive && (asked.secure || !self.secure) && path_matches(&self.path, asked.path)
    }

    /// Section 5.2. Which host it is for is not looked at: the jar is of one app.
    fn read(text: &str, asked: Asked<'_>) -> Option<Self> {
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
            path: default_path(asked.path).to_owned(),
            secure: false,
            expires: None,
        };
        let mut has_age = false;
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "path" if value.starts_with('/') => value.clone_into(&mut cookie.path),
                "path" => default_path(asked.path).clone_into(&mut cookie.path),
                "secure" => cookie.secure = true,
                "max-age" => {
                    if let Ok(seconds) = value.parse::<i64>() {
                        has_age = true;
                        cookie.expires = Some(after(asked.now, seconds));
                    }
                }
                // `Max-Age` counts if there are both.
                "expires" if !has_age => cookie.expires = date(value).or(cookie.expires),
                _ => {}
            }
        }
        (cookie.path.len() <= PATH_BYTES_MAX).then_some(cookie)
    }
}

/// Longest age that is kept count of; a sign-in lives for hours.
const AGE_MAX: Duration = Duration::from_secs(400 * 86_400);

fn after(now: SystemTime, seconds: i64) -> SystemTime {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    now + Duration::from_secs(seconds).min(AGE_MAX)
}

/// Many servers write the hyphens of an older format.
fn date(text: &str) -> Option<SystemTime> {
    let read = httpdate::parse_http_date(text);
    read.or_else(|_| httpdate::parse_http_date(&text.replace('-', " ")))
        .ok()
}

/// Section 5.1.4.
fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(end) => &path[..end],
    }
}

fn path_matches(cookie: &str, path: &str) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str) -> Asked<'_> {
        Asked {
            path,
            secure: true,
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        }
    }

    fn field(jar: &Jar, asked: Asked<'_>, own: Option<&str>) -> String {
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
            field(&jar, asked("/app"), None),
            "deep=2; session=1; young=6; short=7"
        );
        assert_eq!(
            field(&jar, asked("/apple"), None),
            "session=1; young=6; short=7"
        );
        let plain = Asked {
            secure: false,
            ..asked("/")
        };
        assert_eq!(field(&jar, plain, None), "young=6; short=7");
        let later = Asked {
            now: here.now + Duration::from_secs(60),
            ..asked("/")
        };
        assert_eq!(field(&jar, later, None), "session=1; young=6");
    }

    #[test]
    fn a_cookie_takes_the_place_of_the_one_before_and_can_take_it_away() {
        let mut jar = Jar::default();
        jar.take_in("a=1; Path=/", asked("/"));
        jar.take_in("a=2; Path=/", asked("/"));
        assert_eq!(field(&jar, asked("/x"), None), "a=2");
        jar.take_in("a=; Path=/; Max-Age=0", asked("/"));
        assert_eq!(field(&jar, asked("/x"), None), "");
        for number in 0..=COOKIES_MAX {
            jar.take_in(&format!("c{number}=x; Path=/"), asked("/"));
        }
        assert_eq!(jar.cookies.len(), COOKIES_MAX);
        jar.take_in(&format!("big={}", "x".repeat(COOKIE_BYTES_MAX)), asked("/"));
        assert!(!field(&jar, asked("/"), None).contains("big"));
        jar.take_in(
            &format!("deep=x; Path=/{}", "x".repeat(PATH_BYTES_MAX)),
            asked("/"),
        );
        assert_eq!(jar.cookies.len(), COOKIES_MAX);
        for number in 0..8 {
            let value = "x".repeat(COOKIE_BYTES_MAX - 2);
            jar.take_in(&format!("b{number}={value}; Path=/"), asked("/"));
        }
        assert!(jar.bytes() <= JAR_BYTES_MAX);
        assert!(field(&jar, asked("/"), None).contains("b7="));
    }

    #[test]
    fn what_the_user_sends_goes_along_unless_the_app_gave_another_of_its_name() {
        let mut jar = Jar::default();
        jar.take_in("session=app; Path=/", asked("/"));
        let own = Some("theme=dark; session=users; lang");
        assert_eq!(
            field(&jar, asked("/"), own),
            "session=app; theme=dark; lang"
        );
        assert_eq!(field(&Jar::default(), asked("/"), None), "");
        assert!(!format!("{jar:?}").contains("app"));
    }
}
