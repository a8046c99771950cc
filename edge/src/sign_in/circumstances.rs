//! What access rules may ask about a request, kept for as long as its answer goes on: every new revision is held against it again.

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use http::{HeaderMap, HeaderName, Method, Request, header};
use memchr::memchr3_iter;
use model::{
    access::{
        facts::{ClientKind, Country, Facts, Platform, capitals},
        ruleset::RuleSet,
    },
    app::App,
    client_ca::{Holders, Program},
    host::Hostname,
    path,
};

use super::{
    Arrival,
    session::{Session, milliseconds},
};
use crate::{client_certificates::ClientCertificate, countries::Countries, view::View};

const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const PLATFORM_HINT: HeaderName = HeaderName::from_static("sec-ch-ua-platform");
/// Names in `User-Agent`, those first that count before others: Android says Linux too, and iPhones say that they are like Mac OS X.
const MARKS: [(&[u8], Platform); 7] = [
    (b"Android", Platform::Android),
    (b"iPhone", Platform::Ios),
    (b"iPad", Platform::Ios),
    (b"Windows", Platform::Windows),
    (b"CrOS", Platform::ChromeOs),
    (b"Macintosh", Platform::Macos),
    (b"Linux", Platform::Linux),
];

/// How a request came.
#[derive(Clone, Debug)]
pub(crate) struct Circumstances {
    host: Hostname,
    address: IpAddr,
    countries: Countries,
    /// Of the address, once a rule has asked.
    country: OnceLock<Option<Country>>,
    method: Method,
    /// That it may be taken for besides, in capitals.
    other_methods: Vec<String>,
    path: String,
    client: ClientKind,
    platform: Platform,
    /// What the connection has shown at this host.
    certificate: Option<Arc<ClientCertificate>>,
}

/// Whether a session's last use counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A request has just come: how long was nothing done before?
    New,
    /// Something is under way, so the user does something.
    UnderWay,
}

impl Circumstances {
    /// Those of a request.
    pub(crate) fn of<B>(arrival: &Arrival<'_>, request: &Request<B>) -> Self {
        let host = arrival.authority.host.clone();
        let shown = arrival.certificate.filter(|shown| shown.is_for(&host));
        Self {
            certificate: shown.cloned(),
            ..Self::at(host, arrival.address, arrival.countries.clone(), request)
        }
    }

    fn at<B>(host: Hostname, address: IpAddr, countries: Countries, request: &Request<B>) -> Self {
        Self {
            host,
            address: address.to_canonical(),
            countries,
            country: OnceLock::new(),
            method: method_of(request.method()),
            other_methods: other_methods_of(request.method(), request.headers()),
            path: request.uri().path().to_owned(),
            client: client_of(request.headers()),
            platform: platform_of(request.headers()),
            certificate: None,
        }
    }

    /// The program whose certificate it is, by a CA that the app names.
    pub(crate) fn program(&self, view: &View, app: &App, now: SystemTime) -> Option<Program> {
        let programs = view
            .client_cas(app)
            .filter(|ca| ca.holders() == Holders::Programs);
        self.certificate.as_ref()?.program(programs, now)
    }

    /// Whether the certificate is one of a device, by a CA that the app names; looked at only if a rule asks.
    pub(crate) fn has_device(&self, view: &View, app: &App, now: SystemTime) -> bool {
        let devices = view
            .client_cas(app)
            .filter(|ca| ca.holders() == Holders::Devices);
        let shown = self.certificate.as_ref();
        let shown = shown.filter(|_| view.rules().needs_device());
        shown.is_some_and(|shown| shown.ca(devices, now).is_some())
    }

    /// With the session that the request shows, at a time, as far as the rules ask.
    pub(crate) fn facts<'c>(
        &'c self,
        session: &Session,
        new: Use,
        rules: &RuleSet,
        now: SystemTime,
    ) -> Facts<'c> {
        let (path, path_is_ambiguous) = self.path(rules);
        Facts {
            host: self.host.as_str(),
            method: self.method.as_str(),
            other_methods: &self.other_methods,
            path,
            path_is_ambiguous,
            address: self.address,
            country: self.country(rules),
            client: self.client,
            platform: self.platform,
            has_device_certificate: false,
            now_ms: milliseconds(now),
            // One that went on while all others of the user ended is as old as its life: going on shows nothing.
            session_began_ms: session.life_began_ms,
            seen_ms: (new == Use::New).then(|| session.seen_ms.max(session.life_began_ms)),
        }
    }
}

impl Circumstances {
    /// As servers may read it, and whether it has no sure reading, which takes a while to find out: only if a rule asks.
    fn path(&self, rules: &RuleSet) -> (Cow<'_, str>, bool) {
        if !rules.needs_path() {
            return (Cow::Borrowed("/"), true);
        }
        let read = path::read_leniently(&self.path);
        (read, path::is_ambiguous(&self.path))
    }

    /// Looked up when a rule first asks: what is open stays in the country in which it began.
    fn country(&self, rules: &RuleSet) -> Option<Country> {
        let look_up = || self.countries.find(self.address);
        rules
            .needs_country()
            .then(|| *self.country.get_or_init(look_up))?
    }

    /// Of a request of nobody, which no rule is held against.
    pub(crate) fn unknown() -> Facts<'static> {
        Facts {
            host: "",
            method: "",
            other_methods: &[],
            path: "/".into(),
            path_is_ambiguous: true,
            address: IpAddr::from([0, 0, 0, 0]),
            country: None,
            client: ClientKind::Program,
            platform: Platform::Unknown,
            has_device_certificate: false,
            now_ms: 0,
            session_began_ms: 0,
            seen_ms: None,
        }
    }
}

/// What opens a WebSocket is the same over every version of HTTP: over HTTP/2 and 3 it is an extended CONNECT (RFC 8441, RFC 9220), over
/// HTTP/1.1 a GET. No other CONNECT comes this far.
fn method_of(method: &Method) -> Method {
    match *method {
        Method::CONNECT => Method::GET,
        _ => method.clone(),
    }
}

/// Fields by which clients that have GET and POST only ask for another method, which some frameworks heed.
const OVERRIDES: [&str; 3] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// What they say, each of a list by itself, and the method in capitals, if it is not in those: methods are told apart by them (RFC 9110, section 9.1),
/// which some servers do not heed.
fn other_methods_of(method: &Method, fields: &HeaderMap) -> Vec<String> {
    // Many servers take `_` in a name for `-` (RFC 3875, section 4.1.18).
    let is = |name: &str, known: &str| {
        let mut bytes = name.bytes().zip(known.bytes());
        name.len() == known.len()
            && bytes.all(|(one, known)| one == known || (one, known) == (b'_', b'-'))
    };
    let asked = fields
        .iter()
        .filter(|(name, _)| OVERRIDES.iter().any(|known| is(name.as_str(), known)))
        .filter_map(|(_, value)| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|method| method.trim().to_ascii_uppercase());
    capitals(method.as_str()).into_iter().chain(asked).collect()
}

/// Browsers say how they fetch (Fetch Metadata), or name themselves as all of them do.
fn client_of(fields: &HeaderMap) -> ClientKind {
    let agent = fields.get(header::USER_AGENT);
    let is_browser = fields.contains_key(FETCH_MODE)
        || agent.is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"));
    if is_browser {
        ClientKind::Browser
    } else {
        ClientKind::Program
    }
}

/// What `Sec-CH-UA-Platform` says (User-Agent Client Hints, section 3.9), or else the name in `User-Agent`.
fn platform_of(fields: &HeaderMap) -> Platform {
    let says = |name: HeaderName| fields.get(name)?.to_str().ok();
    if let Some(hint) = says(PLATFORM_HINT) {
        return match hint.trim_matches('"') {
            "Android" => Platform::Android,
            "iOS" => Platform::Ios,
            "Windows" => Platform::Windows,
            "macOS" => Platform::Macos,
            "Linux" => Platform::Linux,
            "Chrome OS" | "Chromium OS" => Platform::ChromeOs,
            _ => Platform::Unknown,
        };
    }
    let agent = says(header::USER_AGENT).unwrap_or_default().as_bytes();
    // One way through it, as every browser sends a long one with each request.
    let first = |at: usize| {
        MARKS
            .iter()
            .position(|(mark, _)| agent[at..].starts_with(mark))
    };
    let capitals =
        memchr3_iter(b'A', b'W', b'L', agent).chain(memchr3_iter(b'i', b'C', b'M', agent));
    let found = capitals.filter_map(first).min();
    found.map_or(Platform::Unknown, |found| MARKS[found].1)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use model::user::User;

    use super::*;

    #[test]
    fn websockets_have_one_method_over_every_version_of_http() {
        let host: Hostname = "wiki.example.com".parse().unwrap();
        let address = IpAddr::from([192, 0, 2, 1]);
        for (method, want) in [("GET", "GET"), ("CONNECT", "GET"), ("POST", "POST")] {
            let request = Request::builder().method(method).uri("/socket");
            let request = request.body(()).unwrap();
            let circumstances =
                Circumstances::at(host.clone(), address, Countries::default(), &request);
            let session = session(1, 1);
            let facts = circumstances.facts(
                &session,
                Use::New,
                &RuleSet::default(),
                SystemTime::UNIX_EPOCH,
            );
            assert_eq!(facts.method, want, "{method}");
        }
    }

    #[test]
    fn what_a_request_asks_to_be_taken_for_is_read_of_every_field_that_servers_heed() {
        for (fields, want) in [
            (&[][..], &[][..]),
            (&[("x-http-method-override", "delete")], &["DELETE"]),
            (&[("x-http-method", "PUT")], &["PUT"]),
            (&[("x_method_override", "PATCH")], &["PATCH"]),
            (
                &[
                    ("x-method-override", "GET, delete"),
                    ("X-HTTP-Method", "PUT"),
                ],
                &["GET", "DELETE", "PUT"],
            ),
            (&[("x-http-methods", "PUT"), ("x-http", "PUT")], &[]),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in fields {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                map.append(name, HeaderValue::from_static(value));
            }
            assert_eq!(other_methods_of(&Method::GET, &map), want, "{fields:?}");
        }
    }

    #[test]
    fn a_method_that_is_not_in_capitals_counts_as_if_it_were() {
        let fields = HeaderMap::from_iter([(
            HeaderName::from_static("x-http-method"),
            HeaderValue::from_static("put"),
        )]);
        for (method, want) in [
            ("GET", &["PUT"][..]),
            ("delete", &["DELETE", "PUT"]),
            ("Delete", &["DELETE", "PUT"]),
        ] {
            let method: Method = method.parse().unwrap();
            assert_eq!(other_methods_of(&method, &fields), want, "{method}");
        }
    }

    fn session(life_began_ms: i64, began_ms: i64) -> Session {
        let session = Session::begin(User::new("alice".parse().unwrap()), life_began_ms);
        session.anew(began_ms, bytes::Bytes::new())
    }

    #[test]
    fn a_session_that_goes_on_while_all_others_end_is_as_old_as_its_life() {
        let host: Hostname = "wiki.example.com".parse().unwrap();
        let request = Request::builder().uri("/").body(()).unwrap();
        let circumstances = Circumstances::at(
            host,
            IpAddr::from([192, 0, 2, 1]),
            Countries::default(),
            &request,
        );
        let mut session = session(1_000, 5_000);
        let facts = circumstances.facts(
            &session,
            Use::New,
            &RuleSet::default(),
            SystemTime::UNIX_EPOCH,
        );
        assert_eq!(
            (facts.session_began_ms, facts.seen_ms),
            (1_000, Some(1_000))
        );
        session.seen_ms = 7_000;
        let facts = circumstances.facts(
            &session,
            Use::New,
            &RuleSet::default(),
            SystemTime::UNIX_EPOCH,
        );
        assert_eq!(facts.seen_ms, Some(7_000));
    }

    #[test]
    fn platforms_and_clients_are_what_they_say() {
        let read = |name: &'static str, value: &'static str| {
            let mut fields = HeaderMap::new();
            fields.insert(name, HeaderValue::from_static(value));
            (platform_of(&fields), client_of(&fields))
        };
        let (browser, program) = (ClientKind::Browser, ClientKind::Program);
        for (agent, want) in [
            (
                "Mozilla/5.0 (Linux; Android 15; Pixel 9)",
                (Platform::Android, browser),
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)",
                (Platform::Ios, browser),
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)",
                (Platform::Macos, browser),
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
                (Platform::Windows, browser),
            ),
            (
                "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0)",
                (Platform::ChromeOs, browser),
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64)",
                (Platform::Linux, browser),
            ),
            ("curl/8.5.0", (Platform::Unknown, program)),
        ] {
            assert_eq!(read("user-agent", agent), want, "{agent}");
        }
        assert_eq!(
            read("sec-ch-ua-platform", "\"Windows\"").0,
            Platform::Windows
        );
        assert_eq!(
            read("sec-ch-ua-platform", "\"Plan 9\"").0,
            Platform::Unknown
        );
        assert_eq!(read("sec-fetch-mode", "cors").1, browser);
    }
}
