//! Cookies as RFC 6265 has them, without an app.

use super::*;

fn asked(path: &str) -> Place<'_> {
    Place {
        segment: "",
        host: "wiki.example.com",
        is_main_host: true,
        path,
        inner_path: None,
        secure: true,
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
    }
}

fn field(jar: &Jar, asked: Place<'_>, own: &str) -> String {
    let field = jar.field(asked, own.as_bytes());
    let field = field.map(|field| String::from_utf8(field.to_vec()).unwrap());
    field.unwrap_or_default()
}

fn set(jar: &mut Jar, text: &str, place: Place<'_>) {
    jar.take_in(text.as_bytes(), place);
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
        set(&mut jar, text, here);
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
    set(&mut jar, "a=1; Path=/", asked("/"));
    set(&mut jar, "a=2; Path=/", asked("/"));
    assert_eq!(field(&jar, asked("/x"), ""), "a=2");
    set(&mut jar, "a=; Path=/; Max-Age=0", asked("/"));
    assert_eq!(field(&jar, asked("/x"), ""), "");
    for number in 0..=COOKIES_MAX {
        set(&mut jar, &format!("c{number}=x; Path=/"), asked("/"));
    }
    assert_eq!(jar.cookies.len(), COOKIES_MAX);
    set(
        &mut jar,
        &format!("big={}", "x".repeat(COOKIE_BYTES_MAX)),
        asked("/"),
    );
    assert!(!field(&jar, asked("/"), "").contains("big"));
    set(
        &mut jar,
        &format!("deep=x; Path=/{}", "x".repeat(SCOPE_BYTES_MAX)),
        asked("/"),
    );
    assert_eq!(jar.cookies.len(), COOKIES_MAX);
    for number in 0..8 {
        let value = "x".repeat(COOKIE_BYTES_MAX - 2);
        set(&mut jar, &format!("b{number}={value}; Path=/"), asked("/"));
    }
    assert!(jar.bytes() <= JAR_BYTES_MAX);
    assert!(field(&jar, asked("/"), "").contains("b7="));
}

#[test]
fn what_the_user_sends_goes_along_unless_the_app_gave_another_of_its_name() {
    let mut jar = Jar::default();
    set(&mut jar, "session=app; Path=/", asked("/"));
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
    jar.take_in(set.as_bytes(), from);
    jar.field(to, b"").is_some()
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
            is_main_host: false,
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
    let docs = Place {
        is_main_host: false,
        ..docs
    };
    set(&mut jar, "sid=main; Path=/", main);
    set(&mut jar, "sid=docs; Path=/", docs);
    assert_eq!(field(&jar, main, ""), "sid=main");
    assert_eq!(field(&jar, docs, ""), "sid=docs");
    set(&mut jar, "sid=; Path=/; Max-Age=0", docs);
    assert_eq!(field(&jar, main, ""), "sid=main");
    assert_eq!(field(&jar, docs, ""), "");
}

#[test]
fn what_the_main_part_sets_when_the_user_comes_for_a_part_elsewhere_is_not_for_that() {
    let at = |segment, host, is_main_host| Place {
        segment,
        host,
        is_main_host,
        ..asked("/")
    };
    let files = at("files", "files.example.com", false);
    let sign_in = at("", "files.example.com", false);
    let main = at("", "crm.example.com", true);
    let beside = at("api", "crm.example.com", true);
    let mut jar = Jar::default();
    set(&mut jar, "sid=main; Path=/", sign_in);
    set(&mut jar, "all=main; Path=/; Domain=example.com", sign_in);
    assert_eq!(field(&jar, files, ""), "all=main");
    for own in [sign_in, main, beside] {
        assert_eq!(field(&jar, own, ""), "sid=main; all=main");
    }
    // What the other part sets is its own, and no step of the sign-in sends it on.
    set(&mut jar, "sid=files; Path=/", files);
    assert_eq!(field(&jar, files, ""), "all=main; sid=files");
    for other in [sign_in, main, beside] {
        assert_eq!(field(&jar, other, ""), "sid=main; all=main");
    }
}

#[test]
fn a_path_at_the_origin_is_one_of_the_page_as_well() {
    let mut jar = Jar::default();
    let page = Place {
        inner_path: Some("/login"),
        ..asked("/crm")
    };
    for text in ["csrf=1; Path=/crm", "step=2; Path=/login", "x=3; Path=/x"] {
        set(&mut jar, text, page);
    }
    assert_eq!(field(&jar, page, ""), "step=2; csrf=1");
    assert_eq!(field(&jar, asked("/crm/home"), ""), "csrf=1");
}

#[test]
fn letters_of_any_kind_stay_as_they_are() {
    let mut jar = Jar::default();
    jar.take_in(b"name=J\xfcrgen; Path=/", asked("/"));
    let field = jar.field(asked("/"), b"theme=gr\xc3\xbcn; lang=de");
    assert_eq!(
        field.unwrap().as_slice(),
        b"name=J\xfcrgen; theme=gr\xc3\xbcn; lang=de"
    );
}

#[test]
fn names_that_promise_something_keep_it() {
    // RFC 6265bis, section 4.1.3.
    for (text, is_kept) in [
        ("__Host-a=1; Secure; Path=/", true),
        ("__HOST-a=1; Secure; Path=/", true),
        ("__Host-a=1; Path=/", false),
        ("__Host-a=1; Secure", false),
        ("__Host-a=1; Secure; Path=/x", false),
        ("__Host-a=1; Secure; Path=/; Domain=wiki.example.com", false),
        ("__Host-a=1; Secure; Path=/; Domain=other.test", false),
        ("__Secure-a=1; Secure", true),
        ("__Secure-a=1; Secure; Domain=example.com", true),
        ("__secure-a=1", false),
        ("__Hosta=1", true),
    ] {
        assert_eq!(one(text, asked("/"), asked("/")), is_kept, "{text}");
    }
}

#[test]
fn a_name_is_the_apps_only_while_it_has_a_cookie_of_it_there() {
    let mut jar = Jar::default();
    let here = asked("/");
    set(&mut jar, "lang=app; Path=/; Max-Age=60", here);
    set(&mut jar, "deep=app; Path=/deep", here);
    let own = "lang=de; deep=users";
    assert_eq!(field(&jar, here, own), "lang=app");
    let later = Place {
        now: here.now + Duration::from_secs(60),
        ..here
    };
    assert_eq!(field(&jar, later, own), "lang=de");
    let elsewhere = Place {
        segment: "files",
        host: "files.example.com",
        is_main_host: false,
        ..here
    };
    assert_eq!(field(&jar, elsewhere, own), "lang=de; deep=users");
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
        let age = age(text.as_bytes()).map(|age| age.as_secs());
        assert_eq!(age, want, "{text}");
    }
    assert!(now.checked_add(AGE_MAX).is_some());
}

#[test]
fn what_is_over_makes_room_and_what_is_renewed_keeps_its_age() {
    let mut jar = Jar::default();
    let here = asked("/");
    set(&mut jar, "first=1; Path=/", here);
    set(&mut jar, "second=1; Path=/", here);
    set(&mut jar, "first=2; Path=/", here);
    assert_eq!(field(&jar, here, ""), "first=2; second=1");
    set(&mut jar, "short=1; Max-Age=1; Path=/", here);
    let later = Place {
        now: here.now + Duration::from_secs(1),
        ..here
    };
    set(&mut jar, "third=1; Path=/", later);
    assert_eq!(jar.cookies.len(), 3);
}
