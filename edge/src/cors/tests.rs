//! The protocol by table.

use std::sync::Arc;

use model::{
    app::{Access, App},
    route::RouteTable,
};

use super::*;

const SHOP: &str = "https://shop.example";

fn rule(path: &str, origins: &[&str]) -> CorsRule {
    CorsRule {
        path: path.parse().unwrap(),
        origins: owned(origins),
        methods: owned(&["PUT", "PATCH"]),
        fields: owned(&["content-type", "x-app-*"]),
        exposed_fields: owned(&["ETag", "x-total"]),
        credentials: true,
        max_age: CorsRule::DEFAULT_MAX_AGE,
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[expect(
    clippy::unwrap_in_result,
    reason = "the result is the judge's; bad rows are a bad test"
)]
fn judged(
    cors: Vec<CorsRule>,
    method: &str,
    path: &str,
    rows: &[(&str, &str)],
) -> Result<Crossing, CrossingError> {
    let app = App {
        hosts: vec!["api.example".parse().unwrap()],
        cors,
        ..App::new(
            "api".parse().unwrap(),
            "office".parse().unwrap(),
            Access::Passthrough,
        )
    };
    let table = RouteTable::new([Arc::new(app)]);
    let site = table.site(&"api.example".parse().unwrap()).unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in rows {
        request = request.header(*name, *value);
    }
    judge(site.find("/").unwrap(), &request.body(()).unwrap())
}

/// The answer to a preflight as lines, or why there is none.
fn preflight(rules: Vec<CorsRule>, path: &str, rows: &[(&str, &str)]) -> Result<String, String> {
    match judged(rules, "OPTIONS", path, rows) {
        Ok(Crossing::Answered(response)) => {
            assert_eq!(response.status(), 204);
            Ok(lines(response.headers()))
        }
        Ok(Crossing::Unruled) => Ok("origin".to_owned()),
        Ok(Crossing::Ruled(_)) => Ok("origin, ruled".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What becomes of these fields of the origin's answer.
fn answered(rules: Vec<CorsRule>, path: &str, rows: &[(&str, &str)]) -> String {
    let mut fields = HeaderMap::new();
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "x-secret"),
        ("vary", "accept"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    match judged(rules, "GET", path, rows) {
        Ok(Crossing::Ruled(grant)) => grant.apply(&mut fields),
        Ok(Crossing::Unruled) => {}
        other => panic!("{other:?}"),
    }
    lines(&fields)
}

fn lines(fields: &HeaderMap) -> String {
    let mut lines: Vec<_> = fields
        .iter()
        .map(|(name, value)| {
            let name = name.as_str().replace("access-control-", "");
            format!("{name}: {}", value.to_str().unwrap())
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn an_allowed_preflight_is_answered_with_all_that_the_rule_allows() {
    let answer = preflight(
        vec![rule("/", &[SHOP])],
        "/v1",
        &[
            ("origin", SHOP),
            ("access-control-request-method", "PUT"),
            (
                "access-control-request-headers",
                "content-type, X-App-One,,",
            ),
            ("access-control-request-headers", "x-app-two"),
            ("access-control-request-private-network", "true"),
        ],
    );
    assert_eq!(
        answer.unwrap(),
        "allow-credentials: true\n\
         allow-headers: content-type, x-app-one, x-app-two\n\
         allow-methods: GET, HEAD, POST, PUT, PATCH\n\
         allow-origin: https://shop.example\n\
         allow-private-network: true\n\
         max-age: 300\n\
         vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    );
}

#[test]
fn rules_for_everybody_say_so_and_let_no_cookies_along() {
    let mut all = rule("/", &["*"]);
    (all.methods, all.fields) = (owned(&["*"]), owned(&["*"]));
    let answer = preflight(
        vec![all],
        "/",
        &[
            ("origin", "null"),
            ("access-control-request-method", "PURGE"),
            ("access-control-request-headers", "x-any"),
        ],
    );
    assert_eq!(
        answer.unwrap(),
        "allow-headers: x-any\n\
         allow-methods: GET, HEAD, POST, PURGE\n\
         allow-origin: *\n\
         max-age: 300\n\
         vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    );
}

#[test]
fn preflights_that_no_rule_allows_are_refused() {
    let rules = || {
        vec![
            rule("/", &[SHOP]),
            rule("/closed", &["https://crm.example"]),
        ]
    };
    let (page, method, field) = (
        CrossingError::Page,
        CrossingError::Method,
        CrossingError::Field,
    );
    for (path, origin, asked, fields, why) in [
        ("/", "https://evil.example", "GET", "", page),
        ("/", "null", "GET", "", page),
        ("/", "https://SHOP.example", "GET", "", page),
        ("/", "", "GET", "", page),
        ("/closed/x", SHOP, "GET", "", page),
        ("/%63losed/x", SHOP, "GET", "", page),
        ("/x/..;/closed", SHOP, "GET", "", page),
        ("/", SHOP, "DELETE", "", method),
        ("/", SHOP, "put", "", method),
        ("/", SHOP, "", "", method),
        ("/", SHOP, "PUT", "authorization", field),
        ("/", SHOP, "PUT", "content-type,x-other", field),
        ("/", SHOP, "PUT", "content type", field),
    ] {
        let rows = [
            ("origin", origin),
            ("access-control-request-method", asked),
            ("access-control-request-headers", fields),
        ];
        let refused = preflight(rules(), path, &rows);
        assert_eq!(
            refused,
            Err(why.to_string()),
            "{path} {origin} {asked} {fields}"
        );
    }
}

#[test]
fn two_pages_or_too_many_fields_are_refused() {
    let asked = ("access-control-request-method", "GET");
    let twice = [("origin", SHOP), ("origin", SHOP), asked];
    let refused = preflight(vec![rule("/", &[SHOP])], "/", &twice);
    assert_eq!(refused, Err(CrossingError::Page.to_string()));
    let many = vec!["x-app-a"; ASKED_FIELDS_MAX + 1].join(",");
    let rows = [
        ("origin", SHOP),
        asked,
        ("access-control-request-headers", &many),
    ];
    let refused = preflight(vec![rule("/", &[SHOP])], "/", &rows);
    assert_eq!(refused, Err(CrossingError::Field.to_string()));
}

#[test]
fn what_is_no_preflight_or_has_no_rule_goes_to_the_origin() {
    let asked = ("access-control-request-method", "GET");
    let page = ("origin", SHOP);
    let api = || vec![rule("/api", &[SHOP])];
    for (rules, path, rows, want) in [
        (vec![], "/", vec![page, asked], "origin"),
        (api(), "/", vec![page, asked], "origin"),
        (api(), "/api", vec![page], "origin, ruled"),
        (api(), "/api", vec![asked], "origin, ruled"),
    ] {
        assert_eq!(preflight(rules, path, &rows), Ok(want.to_owned()), "{path}");
    }
}

#[test]
fn answers_say_what_the_rule_says_and_not_what_the_origin_says() {
    let none = "vary: accept, Origin";
    let everybody = "allow-origin: *\nexpose-headers: ETag, x-total\nvary: accept, Origin";
    let shop = "allow-credentials: true\nallow-origin: https://shop.example\n\
                expose-headers: ETag, x-total\nvary: accept, Origin";
    let untouched =
        "allow-credentials: true\nallow-origin: *\nexpose-headers: x-secret\nvary: accept";
    let rules = || vec![rule("/api", &[SHOP]), rule("/api/open", &["*"])];
    for (path, page, want) in [
        ("/api/x", Some(SHOP), shop),
        ("/api/x", Some("https://evil.example"), none),
        ("/api/x", Some("null"), none),
        ("/api/x", None, none),
        ("/api/open/x", Some("null"), everybody),
        ("/api/open/x", None, none),
        ("/api/open/..;/x", Some(SHOP), none),
        ("/other", Some(SHOP), untouched),
    ] {
        let rows: Vec<_> = page.map(|page| ("origin", page)).into_iter().collect();
        assert_eq!(answered(rules(), path, &rows), want, "{path} {page:?}");
    }
}
