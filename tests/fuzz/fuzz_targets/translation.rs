//! Any URL, path and field value, translated between the names inside and outside: a path stays below the inner one however its
//! origin reads it, and what leads outside leads to what is published.

#![no_main]

#[path = "../src/readings.rs"]
mod readings;
#[path = "../src/supply.rs"]
mod supply;

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use model::{
    app::{Origin, Scheme, Translation},
    translate::{Link, Links, Names, Public, Site, Swap, answer_field, request_field},
};
use readings::{longest, readings};
use supply::Supply;

const OUTER: &str = "/wiki";
const INNER: &str = "/apps/w";
const INNER_URL: &str = "http://wiki.internal:8080";
const PUBLIC: &str = "wiki.example.com:8443";

/// Where the sites below may lead users.
const PUBLISHED: [&str; 2] = ["//wiki.example.com:8443", "//crm.example.com:8443"];

const ANSWER_FIELDS: [&str; 9] = [
    "location",
    "content-location",
    "link",
    "refresh",
    "uri",
    "set-cookie",
    "access-control-allow-origin",
    "content-security-policy",
    "service-worker-allowed",
];
const REQUEST_FIELDS: [&str; 4] = ["origin", "referer", "destination", "if"];

fuzz_target!(|input: &[u8]| {
    let mut supply = Supply::new(input);
    let site = site(supply.byte());
    let choice = usize::from(supply.byte());
    let text = supply.text();
    match choice % 4 {
        0 => check_path(&site, &format!("{OUTER}{text}")),
        1 => check_url(&site, &text),
        2 => check_field(text.as_bytes(), |value| {
            answer_field(
                &site,
                ANSWER_FIELDS[choice / 4 % ANSWER_FIELDS.len()],
                value,
            )
        }),
        _ => check_field(text.as_bytes(), |value| {
            request_field(
                &site,
                REQUEST_FIELDS[choice / 4 % REQUEST_FIELDS.len()],
                value,
            )
        }),
    }
});

/// The app at its own path inside, or at the published one.
fn site(choice: u8) -> Site {
    let inner_path = (choice % 2 == 0).then(|| INNER.parse().expect("good"));
    let translation = Translation {
        inner_path,
        ..Translation::default()
    };
    let origin = Origin::new(INNER_URL.parse().expect("good"));
    let link = Link::parse("https://crm.internal/c", "crm.example.com/crm").expect("good");
    let links = Arc::new(Links::new([link]));
    let outer = OUTER.parse().expect("good");
    let names = Names::new(&outer, std::slice::from_ref(&origin), &translation, links);
    let public = Public::new(Scheme::Https, PUBLIC).expect("good");
    Site::new(Arc::new(names), origin.url, public)
}

fn check_path(site: &Site, path: &str) {
    let Ok(Some(swap)) = site.inward_path(path) else {
        return;
    };
    let inside = apply(path, &swap);
    for reading in readings(&inside) {
        assert!(
            longest([INNER].into_iter(), &reading, true).is_some(),
            "{path} becomes {inside}, read as {reading}"
        );
    }
}

fn check_url(site: &Site, url: &str) {
    if let Some(swap) = site.outward(url.as_bytes()) {
        let (outside, with) = (apply(url, &swap), &swap.with);
        let place = with
            .split_once(':')
            .filter(|(scheme, _)| *scheme == "https");
        let place = place.map_or(with.as_str(), |(_, place)| place);
        let led = |published: &&str| {
            let rest = place.strip_prefix(*published);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        assert!(
            with.starts_with(OUTER) || PUBLISHED.iter().any(|published| led(&published)),
            "{url} becomes {outside}"
        );
    }
    if let Some(swap) = site.inward(url.as_bytes()) {
        apply(url, &swap);
    }
}

fn check_field(value: &[u8], translate: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let breaks = |bytes: &[u8]| bytes.iter().any(|byte| b"\r\n\0".contains(byte));
    if let Some(translated) = translate(value) {
        assert!(breaks(value) || !breaks(&translated), "a line was broken");
    }
}

fn apply(url: &str, swap: &Swap) -> String {
    assert!(swap.bytes <= url.len(), "more is replaced than there is");
    assert!(swap.with.is_ascii(), "{swap:?}");
    let rest = String::from_utf8_lossy(&url.as_bytes()[swap.bytes..]);
    format!("{}{rest}", swap.with)
}
