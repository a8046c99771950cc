use proptest::prelude::*;

mod returns;

use super::*;
use crate::path;

/// An app at `http://wiki.internal:8080` and `https://wiki2.internal`, published at `https://wiki.example.com:8443`.
struct Fixture {
    translation: Translation,
    path: &'static str,
    links: Vec<(&'static str, &'static str)>,
}

impl Default for Fixture {
    fn default() -> Self {
        Self {
            translation: Translation::default(),
            path: "/",
            links: Vec::new(),
        }
    }
}

impl Fixture {
    fn at(path: &'static str, inner_path: &str) -> Self {
        Self {
            translation: Translation {
                inner_path: Some(inner_path.parse().expect("good")),
                ..Translation::default()
            },
            path,
            ..Self::default()
        }
    }

    fn sending(host: HostSent) -> Self {
        Self {
            translation: Translation {
                host,
                ..Translation::default()
            },
            ..Self::default()
        }
    }

    fn linked(links: &[(&'static str, &'static str)]) -> Self {
        Self {
            links: links.to_vec(),
            ..Self::default()
        }
    }

    fn site(&self) -> Site {
        let origin = |url: &str| Origin::new(url.parse().expect("good"));
        let origins = [
            origin("http://wiki.internal:8080"),
            origin("https://wiki2.internal"),
        ];
        let links = self
            .links
            .iter()
            .map(|(inner, outer)| Link::parse(inner, outer).expect("good"));
        let names = Names::new(
            &self.path.parse().expect("good"),
            &origins,
            &self.translation,
            Arc::new(Links::new(links)),
        );
        let public = Public::new(Scheme::Https, "wiki.Example.com:8443").expect("good");
        Site::new(Arc::new(names), origins[0].url.clone(), public)
    }

    fn out(&self, url: &str) -> String {
        apply(url, self.site().outward(url.as_bytes()))
    }

    fn inside(&self, url: &str) -> String {
        apply(url, self.site().inward(url.as_bytes()))
    }

    fn answer(&self, name: &str, value: &str) -> String {
        text(value, answer_field(&self.site(), name, value.as_bytes()))
    }

    fn request(&self, name: &str, value: &str) -> String {
        text(value, request_field(&self.site(), name, value.as_bytes()))
    }
}

fn apply(url: &str, swap: Option<Swap>) -> String {
    match swap {
        Some(swap) => format!("{}{}", swap.with, &url[swap.bytes..]),
        None => url.to_owned(),
    }
}

fn text(value: &str, changed: Option<Vec<u8>>) -> String {
    changed.map_or_else(
        || value.to_owned(),
        |changed| String::from_utf8(changed).expect("text"),
    )
}

#[test]
fn urls_of_any_origin_become_public() {
    let app = Fixture::default();
    for (url, want) in [
        (
            "http://wiki.internal:8080/a?b#c",
            "https://wiki.Example.com:8443/a?b#c",
        ),
        ("HTTP://Wiki.Internal:8080", "https://wiki.Example.com:8443"),
        (
            "https://wiki.internal:8080/",
            "https://wiki.Example.com:8443/",
        ),
        (
            "https://wiki2.internal/x",
            "https://wiki.Example.com:8443/x",
        ),
        (
            "https://wiki2.internal:443/x",
            "https://wiki.Example.com:8443/x",
        ),
        ("http://wiki2.internal/x", "https://wiki.Example.com:8443/x"),
        ("//wiki.internal:8080/x", "//wiki.Example.com:8443/x"),
        ("ws://wiki.internal:8080/s", "wss://wiki.Example.com:8443/s"),
    ] {
        assert_eq!(app.out(url), want, "{url}");
    }
}

#[test]
fn whatever_else_stays() {
    let app = Fixture::default();
    for url in [
        "/a",
        "a/b",
        "",
        "#x",
        "http://wiki.internal/a",
        "http://wiki.internal:80800/a",
        "http://wiki.internal:8080.evil.example/a",
        "http://wiki.internal.evil.example:8080/a",
        "http://evil.example/http://wiki.internal:8080/",
        "http://user@wiki.internal:8080/",
        "http://wiki.internal:8080@evil.example/",
        "http://wiki.internal:8080\\@evil.example/",
        "http:/wiki.internal:8080/",
        "http:\\\\wiki.internal:8080/",
        "/\\wiki.internal:8080/",
        "ftp://wiki.internal:8080/",
        "mailto:a@wiki.internal:8080",
        "https://wiki.Example.com:8443/a",
    ] {
        assert_eq!(app.out(url), url);
    }
}

#[test]
fn the_host_sent_is_an_inner_name_too() {
    let named = Fixture::sending(HostSent::Named("wiki.corp:443".to_owned()));
    assert_eq!(
        named.out("https://wiki.corp/a"),
        "https://wiki.Example.com:8443/a"
    );
    assert_eq!(
        named.out("http://wiki.corp:443/a"),
        "https://wiki.Example.com:8443/a"
    );
    assert_eq!(named.out("http://wiki.corp:8/a"), "http://wiki.corp:8/a");
    let public = Fixture::sending(HostSent::Public);
    assert_eq!(
        public.out("http://wiki.example.com:8443/a"),
        "https://wiki.Example.com:8443/a"
    );
    // Nobody inside goes by that name unless it is sent there.
    let inner = Fixture::default();
    assert_eq!(
        inner.out("http://wiki.example.com:8443/a"),
        "http://wiki.example.com:8443/a"
    );
}

#[test]
fn paths_are_moved_by_whole_segments() {
    let app = Fixture::at("/wiki", "/app/v1");
    for (url, want) in [
        ("/app/v1", "/wiki"),
        ("/app/v1/?q=/app/v1", "/wiki/?q=/app/v1"),
        ("/app/v1#f", "/wiki#f"),
        ("/app/v10", "/app/v10"),
        ("/app", "/app"),
        (
            "http://wiki.internal:8080/app/v1/x",
            "https://wiki.Example.com:8443/wiki/x",
        ),
        (
            "http://wiki.internal:8080/app/v2/x",
            "http://wiki.internal:8080/app/v2/x",
        ),
    ] {
        assert_eq!(app.out(url), want, "{url}");
    }
    // Of a page that is not published, cookies are as of the first that is.
    for (path, want) in [
        ("/app/v1/x", "/wiki/x"),
        ("/app/v1", "/wiki"),
        ("/login", "/wiki"),
    ] {
        assert_eq!(app.site().path_outside(path), want, "{path}");
    }
    assert_eq!(Fixture::default().site().path_outside("/login"), "/login");
    let root = Fixture::at("/", "/app");
    assert_eq!(root.out("/app"), "/");
    assert_eq!(root.out("/app?x"), "/?x");
    assert_eq!(root.out("/app/x"), "/x");
    for other_host in [
        "/app//evil.example",
        "/app/\\evil.example",
        "/app/\t/evil.example",
    ] {
        assert_eq!(root.out(other_host), other_host);
    }
    assert_eq!(app.out("/app/v1//x"), "/wiki//x");
    let deeper = Fixture::at("/wiki", "/");
    assert_eq!(deeper.out("/x"), "/wiki/x");
    assert_eq!(deeper.out("/"), "/wiki/");
    assert_eq!(
        deeper.out("http://wiki.internal:8080"),
        "https://wiki.Example.com:8443/wiki"
    );
}

#[test]
fn a_request_cannot_leave_its_scope() {
    let site = Fixture::at("/wiki", "/app").site();
    for (path, want) in [
        ("/wiki", "/app"),
        ("/wiki/a%20b", "/app/a%20b"),
        ("/wiki/", "/app/"),
    ] {
        let swap = site.inward_path(path).expect("inside");
        assert_eq!(apply(path, swap), want);
    }
    assert_eq!(site.inward_path("*"), Ok(None));
    for path in [
        "/",
        "/wikipedia",
        "/wiki/../secret",
        "/wiki/%2e%2e/secret",
        "/wiki/..;/secret",
        "/wiki/..%2fsecret",
        "/wiki\\..\\secret",
        "/wiki//x",
        "/wiki/%252e%252e/secret",
    ] {
        assert_eq!(site.inward_path(path), Err(OutsideScope), "{path}");
    }
    let root = Fixture::at("/", "/app").site();
    assert_eq!(root.inward_path("/../secret"), Err(OutsideScope));
    let same = Fixture::default().site();
    assert_eq!(same.inward_path("/a/../b//c"), Ok(None));
}

#[test]
fn links_lead_to_other_published_apps() {
    let app = Fixture::linked(&[
        ("http://mail.internal", "mail.example.com"),
        ("http://wiki.internal:8080/blog", "blog.example.com/b"),
        ("https://two.internal", "two-tls.example.com"),
        ("http://two.internal", "two.example.com"),
    ]);
    for (url, want) in [
        ("http://mail.internal/x", "https://mail.example.com:8443/x"),
        ("http://mail.internal", "https://mail.example.com:8443"),
        (
            "http://wiki.internal:8080/blog/1",
            "https://blog.example.com:8443/b/1",
        ),
        (
            "http://wiki.internal:8080/blogs/1",
            "https://wiki.Example.com:8443/blogs/1",
        ),
        (
            "https://two.internal/x",
            "https://two-tls.example.com:8443/x",
        ),
        ("http://two.internal/x", "https://two.example.com:8443/x"),
        ("http://other.internal/", "http://other.internal/"),
    ] {
        assert_eq!(app.out(url), want, "{url}");
    }
    assert_eq!(
        app.inside("https://blog.example.com:8443/b/1"),
        "http://wiki.internal:8080/blog/1"
    );
    assert_eq!(
        app.request("origin", "https://mail.example.com:8443"),
        "http://mail.internal"
    );
    // Another port is another site.
    assert_eq!(
        app.inside("https://mail.example.com/"),
        "https://mail.example.com/"
    );
}

#[test]
fn requests_name_the_origin_by_what_it_is_sent() {
    let inner = Fixture::default();
    let public = Fixture::sending(HostSent::Public);
    let named = Fixture::sending(HostSent::Named("wiki.corp".to_owned()));
    for (name, value, want) in [
        (
            "origin",
            "https://wiki.example.com:8443",
            "http://wiki.internal:8080",
        ),
        ("origin", "https://evil.example", "https://evil.example"),
        ("origin", "null", "null"),
        (
            "referer",
            "https://wiki.example.com:8443/a?b",
            "http://wiki.internal:8080/a?b",
        ),
        (
            "referer",
            "https://wiki.example.com/a",
            "https://wiki.example.com/a",
        ),
        (
            "destination",
            "https://wiki.example.com:8443/b",
            "http://wiki.internal:8080/b",
        ),
        (
            "destination",
            "https://wiki.example.com:8443/a/../b",
            "https://wiki.example.com:8443/a/../b",
        ),
        ("destination", "/b", "/b"),
        (
            "if",
            "<https://wiki.example.com:8443/a> (<urn:uuid:1> [\"<x\"])",
            "<http://wiki.internal:8080/a> (<urn:uuid:1> [\"<x\"])",
        ),
        (
            "x-other",
            "https://wiki.example.com:8443/a",
            "https://wiki.example.com:8443/a",
        ),
    ] {
        assert_eq!(inner.request(name, value), want, "{name}: {value}");
        assert_eq!(public.request(name, value), value, "{name}: {value}");
    }
    assert_eq!(
        named.request("origin", "https://wiki.example.com:8443"),
        "http://wiki.corp"
    );
    let moved = Fixture::at("/wiki", "/app");
    assert_eq!(
        moved.request("referer", "https://wiki.example.com:8443/wiki/x"),
        "http://wiki.internal:8080/app/x"
    );
    assert_eq!(moved.request("destination", "/wiki/x"), "/app/x");
    assert_eq!(moved.request("destination", "/wiki/../x"), "/wiki/../x");
}

#[test]
fn fields_of_answers_become_public() {
    let app = Fixture::at("/wiki", "/app");
    for (name, value, want) in [
        ("location", "/app/x", "/wiki/x"),
        (
            "content-location",
            "http://wiki.internal:8080/app/",
            "https://wiki.Example.com:8443/wiki/",
        ),
        ("refresh", "5", "5"),
        ("refresh", "5; URL=/app/x", "5; URL=/wiki/x"),
        (
            "refresh",
            " 0.5 , url = '/app/x' ",
            " 0.5 , url = '/wiki/x' ",
        ),
        ("refresh", "0;/app", "0;/wiki"),
        ("refresh", "never", "never"),
        (
            "link",
            "</app/a.css>; rel=preload; title=\"</app/b>\", <http://wiki.internal:8080/app/c>; rel=next",
            "</wiki/a.css>; rel=preload; title=\"</app/b>\", <https://wiki.Example.com:8443/wiki/c>; rel=next",
        ),
        ("link", "</app/x", "</app/x"),
        (
            "uri",
            "<http://wiki.internal:8080/app>",
            "<https://wiki.Example.com:8443/wiki>",
        ),
        (
            "access-control-allow-origin",
            "http://wiki.internal:8080",
            "https://wiki.Example.com:8443",
        ),
        ("access-control-allow-origin", "*", "*"),
        ("access-control-allow-origin", "null", "null"),
        (
            "access-control-allow-origin",
            "http://wiki.internal:8080/",
            "http://wiki.internal:8080/",
        ),
        ("service-worker-allowed", "/app/", "/wiki/"),
        (
            "x-other",
            "http://wiki.internal:8080/app",
            "http://wiki.internal:8080/app",
        ),
    ] {
        assert_eq!(app.answer(name, value), want, "{name}: {value}");
    }
}

#[test]
fn policies_name_public_hosts() {
    let app = Fixture::default();
    for (value, want) in [
        (
            "default-src 'self' http://wiki.internal:8080 wiki.internal:8080; img-src *.internal data:",
            "default-src 'self' https://wiki.Example.com:8443 wiki.Example.com:8443; img-src *.internal data:",
        ),
        (
            "frame-ancestors wiki2.internal, connect-src ws://wiki.internal:8080/s;",
            "frame-ancestors wiki.Example.com:8443, connect-src wss://wiki.Example.com:8443/s;",
        ),
        ("report-to wiki2.internal", "report-to wiki2.internal"),
        ("wiki2.internal 'self'", "wiki2.internal 'self'"),
        ("", ""),
    ] {
        assert_eq!(app.answer("content-security-policy", value), want);
    }
}

#[test]
fn only_the_domain_and_path_of_a_cookie_change() {
    let same = Fixture::default();
    let moved = Fixture::at("/wiki", "/app/v1");
    for (value, want) in [
        ("a=b; Domain=wiki.internal; Path=/", "a=b; Path=/"),
        ("a=b; domain = .Internal ;Secure", "a=b;Secure"),
        ("a=; Domain=internal", "a="),
        ("a=b;Domain=wiki2.internal;Domain=wiki.internal", "a=b"),
        ("a=b; Domain=example.com", "a=b; Domain=example.com"),
        ("a=b; Domain=evil.example", "a=b; Domain=evil.example"),
        ("a=b; Domain=", "a=b; Domain="),
        ("a=b; Domain", "a=b; Domain"),
        ("a=b; Domain=iki.internal", "a=b; Domain=iki.internal"),
        (
            "a=\"; odd ;;x; SameSite=None;  Partitioned ; Domain=wiki.internal; Max-Age=1  ",
            "a=\"; odd ;;x; SameSite=None;  Partitioned ; Max-Age=1  ",
        ),
        ("", ""),
        (";;=;", ";;=;"),
    ] {
        assert_eq!(same.answer("set-cookie", value), want);
    }
    for (value, want) in [
        ("a=b; Path=/app/v1; x", "a=b; Path=/wiki; x"),
        ("a=b; PATH = /app/v1/x ; x", "a=b; PATH = /wiki/x ; x"),
        ("a=b; Path=/", "a=b; Path=/wiki"),
        ("a=b; Path=/app", "a=b; Path=/wiki"),
        ("a=b; Path=/app/", "a=b; Path=/wiki"),
        ("a=b; Path=/ap", "a=b; Path=/ap"),
        ("a=b; Path=/other", "a=b; Path=/other"),
        ("a=b; Path=", "a=b; Path="),
        ("__Host-a=b; Path=/", "__Host-a=b; Path=/"),
        ("a=/app/v1", "a=/app/v1"),
    ] {
        assert_eq!(moved.answer("set-cookie", value), want);
    }
}

fn prefix() -> impl Strategy<Value = PathPrefix> {
    "(/[a-c]{1,2}){0,2}".prop_map(|path| {
        let path = if path.is_empty() { "/" } else { &path };
        path.parse().expect("good")
    })
}

fn site_at(outer: &PathPrefix, inner: &PathPrefix) -> Site {
    let translation = Translation {
        inner_path: Some(inner.clone()),
        ..Translation::default()
    };
    let origin = Origin::new("http://wiki.internal:8080".parse().expect("good"));
    let names = Names::new(
        outer,
        std::slice::from_ref(&origin),
        &translation,
        Arc::default(),
    );
    let public = Public::new(Scheme::Https, "wiki.example.com").expect("good");
    Site::new(Arc::new(names), origin.url, public)
}

proptest! {
    #[test]
    fn what_was_led_inside_is_led_back(outer in prefix(), inner in prefix(), rest in "(/[a-c]{0,2}){0,3}(\\?[a-c/]{0,4})?") {
        let site = site_at(&outer, &inner);
        let path = format!("{}{rest}", outer.as_str().trim_end_matches('/'));
        let url = format!("https://wiki.example.com{path}");
        let inside = apply(&url, site.inward(url.as_bytes()));
        if inside != url {
            let bare = |text: &str| text.replace("/?", "?").trim_end_matches('/').to_owned();
            let back = apply(&inside, site.outward(inside.as_bytes()));
            prop_assert_eq!(bare(&back), bare(&url));
        }
    }

    #[test]
    fn paths_led_inside_are_below_the_inner_path(outer in prefix(), inner in prefix(), path in "(/|\\.|%2e|%2F|;|\\\\|[a-c]){0,8}") {
        let path = format!("/{path}");
        let site = site_at(&outer, &inner);
        if let Ok(Some(swap)) = site.inward_path(&path) {
            let inside = apply(&path, Some(swap));
            prop_assert!(inner.holds(&inside) && inner.holds(&path::read_leniently(&inside)), "{}", inside);
        }
    }

    #[test]
    fn no_value_makes_it_panic(name in prop::sample::select(vec![
        "location", "refresh", "link", "uri", "set-cookie", "content-security-policy", "access-control-allow-origin",
    ]), value in prop::collection::vec(prop::sample::select(b"ab/:;,=<>\"'\\ .?#url0\xff".to_vec()), 0..40)) {
        for site in [Fixture::default().site(), Fixture::at("/wiki", "/a").site()] {
            let _ = answer_field(&site, name, &value);
            let _ = request_field(&site, "if", &value);
            let _ = request_field(&site, "referer", &value);
        }
    }
}

#[test]
fn a_refresh_to_the_root_is_led_outside() {
    let app = Fixture::at("/wiki", "/");
    for (value, want) in [("0;/", "0;/wiki/"), ("0; /a", "0; /wiki/a"), ("0;", "0;")] {
        assert_eq!(app.answer("refresh", value), want, "{value}");
    }
}

#[test]
fn a_plain_page_does_not_speak_for_one_over_tls() {
    let app = Fixture::default();
    for (name, value) in [
        ("origin", "http://wiki.example.com:8443"),
        ("referer", "http://wiki.example.com:8443/a"),
    ] {
        assert_eq!(app.request(name, value), value);
    }
}
