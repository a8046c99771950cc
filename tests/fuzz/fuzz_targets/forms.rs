//! Any bytes as an application's page with a form, and as the cookies that it sets: reading never panics, what is read is bounded by what there
//! was, a page that was cut off has the whole form or none, and neither chooses what is typed, nor where a cookie goes.

#![no_main]

#[path = "../../../agent/src/form/date.rs"]
mod date;
#[path = "../../../agent/src/form/jar.rs"]
mod jar;
#[path = "../../../agent/src/form/page.rs"]
mod page;
#[path = "../src/supply.rs"]
mod supply;

use std::time::{Duration, SystemTime};

use jar::{Jar, Place};
use libfuzzer_sys::fuzz_target;
use model::app::{CredentialOf, Expired, FormSso, Success};
use page::Form;
use supply::Supply;

const USER: &str = "alice";
const PASSWORD: &str = "p&ss=w\u{f6}rd";
/// Cookies that go with one request, at most: as `agent/src/form/jar.rs` has it, with what stands between them.
const FIELD_BYTES_MAX: usize = 17 * 1024;

fuzz_target!(|input: &[u8]| {
    let mut supply = Supply::new(input);
    match supply.byte() % 2 {
        0 => check_page(supply.byte(), input.get(2..).unwrap_or_default()),
        _ => check_cookies(&mut supply),
    }
});

fn check_page(cut: u8, bytes: &[u8]) {
    let sso = sso();
    let whole = Form::find(bytes, &sso);
    let end = bytes.len() * usize::from(cut) / 256;
    let part = Form::find(&bytes[..end], &sso);
    assert!(part.is_none() || part == whole, "half a form is taken");
    let Some(form) = whole else {
        return;
    };
    // A byte that is no UTF-8 becomes three, and each of those three more.
    assert!(form.action.len() <= 3 * bytes.len());
    let sent = form.filled(&sso, (USER, PASSWORD));
    assert!(sent.len() <= 9 * bytes.len() + 256, "a page grows");
    let pairs: Vec<_> = form_urlencoded::parse(sent.as_bytes()).collect();
    for (name, typed) in [("u", USER), ("p", PASSWORD), ("said", "1")] {
        let mut values = pairs.iter().filter(|pair| pair.0 == name);
        assert!(values.next().is_some_and(|pair| pair.1 == typed));
        assert!(values.next().is_none(), "{name} is sent twice");
    }
}

fn check_cookies(supply: &mut Supply<'_>) {
    let mut jar = Jar::default();
    for _ in 0..4 {
        let (text, path) = (supply.text(), supply.prefix());
        jar.take_in(text.as_bytes(), asked(&path));
    }
    let own = supply.text();
    for path in ["/", "/admin", "/admin/users", "/b"] {
        let Some(field) = jar.field(asked(path), b"") else {
            continue;
        };
        assert!(field.len() <= FIELD_BYTES_MAX);
        assert!(!field.iter().any(|byte| b"\r\n\0".contains(byte)), "a line is broken");
    }
    let all = jar.field(asked("/"), own.as_bytes());
    assert!(all.is_none_or(|all| all.len() <= FIELD_BYTES_MAX + 3 * own.len()));
}

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

fn sso() -> FormSso {
    FormSso {
        credential: CredentialOf::User,
        page: "/login".to_owned(),
        action: None,
        user_field: "u".to_owned(),
        password_field: "p".to_owned(),
        fields: vec![("said".to_owned(), "1".to_owned())],
        success: Success::default(),
        expired: Expired::default(),
        user_cookies: Vec::new(),
    }
}
