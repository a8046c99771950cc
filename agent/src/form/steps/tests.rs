//! Pages, forms and answers, without an app.

use bytes::Bytes;
use http::HeaderValue;
use model::app::{CredentialOf, Expired, Success};

use super::*;

fn sso() -> FormSso {
    FormSso {
        credential: CredentialOf::User,
        page: "/login?next=/".to_owned(),
        action: None,
        user_field: "u".to_owned(),
        password_field: "p".to_owned(),
        fields: Vec::new(),
        success: Success::default(),
        expired: Expired::default(),
        user_cookies: Vec::new(),
    }
}

fn answer(status: u16, fields: &[(&'static str, &'static str)], body: &'static str) -> Answer {
    let pairs = fields.iter().map(|(name, value)| {
        let name = http::HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    });
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        fields: pairs.collect(),
        body: Bytes::from_static(body.as_bytes()),
        is_cut: false,
    }
}

#[test]
fn references_are_read_as_browsers_read_them() {
    for (base, reference, want) in [
        ("/a/login?x=1", "", Some("/a/login?x=1")),
        ("/a/login?x=1", "?y=2", Some("/a/login?y=2")),
        ("/a/login", "check", Some("/a/check")),
        ("/a/login", "../check?z", Some("/check?z")),
        ("/a/login", "/b#c", Some("/b")),
        ("/a/login", "https://other.test/c?d", Some("/c?d")),
        ("/a/login", "//other.test", Some("/")),
        ("/a/login", "HTTPS://other.test/c", Some("/c")),
        (
            "/a/login",
            "check?to=http://a/b",
            Some("/a/check?to=http://a/b"),
        ),
        (
            "/a/login",
            "/check?to=http://a/b",
            Some("/check?to=http://a/b"),
        ),
        ("/a/login", "./a:b", Some("/a/a:b")),
        ("/a/login", "javascript:x", None),
        ("/a/login", "javascript://x/%0Ay", None),
        ("/a/login", "ftp://other.test/c", None),
        ("/a/login", "mailto:a@b.test", None),
        ("/a/login", "data:text/html,x", None),
        ("/a/login", "/../../x/.", Some("/x/")),
        ("/a/login", "/a b", None),
    ] {
        assert_eq!(resolved(base, reference).as_deref(), want, "{reference}");
    }
}

#[test]
fn the_form_goes_where_the_page_says_or_where_the_app_was_told() {
    let page = answer(200, &[], "<form action='go'><input name=p></form>");
    let credential = Credential::new("alice".to_owned(), "secret".to_owned());
    let Next::Send(step) = Step::form(&sso(), &page, &credential) else {
        panic!("there is a form");
    };
    assert_eq!(step.path, "/go");
    assert_eq!(step.form.unwrap().as_str(), "u=alice&p=secret");
    for (page, want) in [
        ("<form><input name=p></form>", "/login?next=/"),
        (
            "<base href=/app/><form><input name=p></form>",
            "/login?next=/",
        ),
        (
            "<base href=/app/><form action=go><input name=p></form>",
            "/app/go",
        ),
        (
            "<base href='https://a.test/b/'><form action=go><input name=p></form>",
            "/b/go",
        ),
        (
            "<base href=/a/><base href=/b/><form action=go><input name=p></form>",
            "/a/go",
        ),
        (
            "<base target=_top><form action=go><input name=p></form>",
            "/go",
        ),
    ] {
        let Next::Send(step) = Step::form(&sso(), &answer(200, &[], page), &credential) else {
            panic!("there is a form in {page}");
        };
        assert_eq!(step.path, want, "{page}");
    }
    let told = FormSso {
        action: Some("/elsewhere".to_owned()),
        ..sso()
    };
    let Next::Send(step) = Step::form(&told, &page, &credential) else {
        panic!("there is a form");
    };
    assert_eq!(step.path, "/elsewhere");
    for (page, words) in [
        (answer(500, &[], ""), "answers 500"),
        (answer(200, &[], "<p>hello"), "no whole form with a field p"),
        (
            answer(
                200,
                &[],
                "<form action='javascript:go()'><input name=p></form>",
            ),
            "leads to \"javascript:go()\", which is no path",
        ),
        (
            answer(
                200,
                &[],
                "<base href='data:x'><form action=go><input name=p></form>",
            ),
            "leads to \"go\", which is no path",
        ),
    ] {
        let Next::Stuck(said) = Step::form(&sso(), &page, &credential) else {
            panic!("there is none");
        };
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_look_is_taken_at_where_the_form_leads_if_that_is_the_apps() {
    for (location, want) in [
        ("home", Some("/home")),
        ("/home?x", Some("/home?x")),
        ("http://app.internal/home", Some("/home")),
        ("http://other.test/home", None),
        ("//app.internal/home", None),
        ("javascript:x", None),
    ] {
        let led = answer(302, &[("location", location)], "");
        let landing = Step::landing(&sso(), "/login", &led, |host| host == "app.internal");
        let path = landing.map(|landing| landing.path);
        assert_eq!(path.as_deref(), want, "{location}");
    }
    let told = FormSso {
        success: Success {
            statuses: vec![302],
            ..Success::default()
        },
        ..sso()
    };
    let led = answer(302, &[("location", "/home")], "");
    assert!(Step::landing(&told, "/login", &led, |_| true).is_none());
}

#[test]
fn who_is_in_is_told_from_who_is_not() {
    let judged = |sso: &FormSso, answer: &Answer| judge(sso, "/login", answer);
    let failed = |status: &str| Judged::Failed(format!("the app answers the form with {status}"));
    for (answer, want) in [
        (answer(302, &[("location", "/home")], ""), Judged::In),
        (
            answer(302, &[("location", "/login?again")], ""),
            Judged::Refused,
        ),
        (answer(200, &[], "wrong"), Judged::Refused),
        (answer(401, &[], ""), Judged::Refused),
        (answer(403, &[], ""), failed("403 Forbidden")),
        (answer(503, &[], ""), failed("503 Service Unavailable")),
    ] {
        assert_eq!(judged(&sso(), &answer), want, "{answer:?}");
    }
    let strict = FormSso {
        success: Success {
            statuses: vec![200, 302],
            redirect: Some("/home".to_owned()),
            cookie: Some("sid".to_owned()),
            ..Success::default()
        },
        ..sso()
    };
    let cookie = ("set-cookie", "sid=1; Path=/");
    for (answer, want) in [
        (
            answer(302, &[("location", "/home/1"), cookie], ""),
            Judged::In,
        ),
        (answer(302, &[("location", "/home/1")], ""), Judged::Refused),
        (
            answer(302, &[("location", "/other"), cookie], ""),
            Judged::Refused,
        ),
        (answer(200, &[cookie], ""), Judged::Refused),
    ] {
        assert_eq!(judged(&strict, &answer), want, "{answer:?}");
    }
}

fn told(text: Option<&str>, failure_text: Option<&str>) -> FormSso {
    FormSso {
        success: Success {
            text: text.map(str::to_owned),
            failure_text: failure_text.map(str::to_owned),
            ..Success::default()
        },
        ..sso()
    }
}

#[test]
fn a_page_tells_who_is_in_where_statuses_do_not() {
    let failed = |why: &str| Judged::Failed(why.to_owned());
    let (out, wrong) = (Some("Log out"), Some("Wrong password"));
    let page = |status, body| answer(status, &[], body);
    for (sso, answer, want) in [
        (told(out, None), page(200, "<a>Log out</a>"), Judged::In),
        (
            told(out, None),
            page(200, "<a>log out</a>"),
            Judged::Refused,
        ),
        (
            told(out, None),
            page(500, ""),
            failed("the app answers the form with 500 Internal Server Error"),
        ),
        (told(None, wrong), page(200, "Welcome"), Judged::In),
        (
            told(None, wrong),
            page(200, "Wrong password!"),
            Judged::Refused,
        ),
        (
            told(None, wrong),
            page(403, "Wrong password!"),
            Judged::Refused,
        ),
        (
            told(None, wrong),
            page(403, "Forbidden"),
            failed("the app answers the form with 403 Forbidden"),
        ),
        (
            told(None, wrong),
            page(503, "Wrong password!"),
            failed("the app answers the form with 503 Service Unavailable"),
        ),
        (
            told(None, wrong),
            answer(302, &[("location", "/home")], ""),
            Judged::In,
        ),
        (
            told(None, wrong),
            answer(302, &[("location", "/login")], ""),
            Judged::Refused,
        ),
        (
            told(None, wrong),
            answer(302, &[("location", "/home")], "Wrong password"),
            Judged::Refused,
        ),
        (told(out, wrong), page(200, "Log out"), Judged::In),
        (
            told(out, wrong),
            page(200, "Log out? Wrong password"),
            Judged::Refused,
        ),
        (told(out, wrong), page(200, "Hello"), Judged::Refused),
        (
            told(out, None),
            answer(200, &[("content-encoding", "gzip")], "Log out"),
            failed("the app answers the form with an encoded page, which it was not asked for"),
        ),
    ] {
        assert_eq!(judge(&sso, "/login", &answer), want, "{answer:?}");
    }
}

#[test]
fn of_a_page_that_goes_on_it_counts_what_is_found_in_its_beginning() {
    let cut = |body| Answer {
        is_cut: true,
        ..answer(200, &[], body)
    };
    let credential = Credential::new("alice".to_owned(), "secret".to_owned());
    let page = "<form><input name=u><input type=password name=p></form> and so on";
    let filled = Step::form(&told(None, None), &cut(page), &credential);
    assert!(matches!(filled, Next::Send(_)), "{filled:?}");
    match Step::form(&told(None, None), &cut("<form><input name=p>"), &credential) {
        Next::Stuck(why) => assert!(why.contains("first 256 KiB"), "{why}"),
        Next::Send(step) => panic!("{step:?}"),
    }
    let judge = |text, failure_text, body| judge(&told(text, failure_text), "/login", &cut(body));
    assert_eq!(judge(Some("Log out"), None, "Log out"), Judged::In);
    assert_eq!(judge(Some("Log out"), Some("Wrong"), "Log out"), Judged::In);
    assert_eq!(judge(None, Some("Wrong"), "Wrong"), Judged::Refused);
    // A password is not called wrong for a text that may come yet, nor right.
    for (text, failure_text) in [
        (Some("Log out"), None),
        (None, Some("Wrong")),
        (Some("Log out"), Some("Wrong")),
    ] {
        let judged = judge(text, failure_text, "a page");
        assert!(matches!(judged, Judged::Failed(_)), "{judged:?}");
    }
}

#[test]
fn a_page_is_read_in_the_charset_that_it_says() {
    let greeting = told(Some("Gr\u{fc}\u{df}e"), None);
    for (kind, body, want) in [
        ("text/html", &b"Gr\xc3\xbc\xc3\x9fe"[..], Judged::In),
        (
            "text/html; Charset=\"utf-8\"",
            b"Gr\xc3\xbc\xc3\x9fe",
            Judged::In,
        ),
        ("text/html; charset=iso-8859-1", b"Gr\xfc\xdfe", Judged::In),
        (
            "text/html;charset=ISO-8859-1",
            b"Gr\xc3\xbc\xc3\x9fe",
            Judged::Refused,
        ),
        ("text/html", b"Gr\xfc\xdfe", Judged::Refused),
        (
            "text/html; charset=no-such",
            b"Gr\xc3\xbc\xc3\x9fe",
            Judged::In,
        ),
    ] {
        let page = Answer {
            body: Bytes::from_static(body),
            ..answer(200, &[("content-type", kind)], "")
        };
        assert_eq!(judge(&greeting, "/login", &page), want, "{kind}");
    }
}

#[test]
fn an_app_says_in_its_own_way_that_a_user_is_out() {
    let to = |location: &'static str| answer(302, &[("location", location)], "").fields;
    let out = |sso: &FormSso, status: u16, fields: &HeaderMap| {
        leads_to(
            sso,
            "/wiki/page",
            StatusCode::from_u16(status).unwrap(),
            fields,
        )
    };
    assert!(out(&sso(), 302, &to("/login?next=/wiki/page")));
    assert!(out(&sso(), 303, &to("https://inner/login")));
    assert!(!out(&sso(), 200, &to("/login")));
    assert!(!out(&sso(), 302, &to("/wiki/other")));
    assert!(!out(&sso(), 401, &HeaderMap::new()));
    let said = FormSso {
        expired: Expired {
            statuses: vec![401, 440],
            redirect: Some("/timeout".to_owned()),
        },
        ..sso()
    };
    assert!(out(&said, 440, &HeaderMap::new()));
    assert!(out(&said, 302, &to("/timeout/now")));
}
