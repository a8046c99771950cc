use super::*;

fn fields(rows: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in rows {
        fields.append(*name, HeaderValue::from_static(value));
    }
    fields
}

fn asked(rows: &[(&'static str, &'static str)]) -> Asked {
    Asked::of(&Method::GET, &mut fields(rows))
}

fn planned(asked: &Asked, status: u16, told: &mut HeaderMap) -> Option<Plan> {
    let settings = app::Translation::default();
    plan(
        &settings,
        asked,
        StatusCode::from_u16(status).unwrap(),
        told,
    )
}

#[test]
fn the_head_says_what_is_true_of_the_translated_body() {
    let mut told = fields(&[
        ("content-type", "text/html"),
        ("content-length", "5"),
        ("content-encoding", "br"),
        ("etag", "\"x\""),
        ("accept-ranges", "bytes"),
        ("content-md5", "x"),
        ("repr-digest", "x"),
        ("x-other", "1"),
    ]);
    let plan = planned(&asked(&[("accept-encoding", "br, gzip")]), 200, &mut told);
    let want = Plan {
        kind: Kind::Html,
        coding: Coding::Brotli,
        gzip: true,
    };
    assert_eq!(plan, Some(want));
    let left = fields(&[
        ("content-type", "text/html"),
        ("content-encoding", "gzip"),
        ("etag", "W/\"x\""),
        ("x-other", "1"),
    ]);
    assert_eq!(told, left);
    let mut told = fields(&[("content-type", "text/html"), ("content-encoding", "br")]);
    let plan = planned(
        &asked(&[("accept-encoding", "br, gzip;q=0")]),
        200,
        &mut told,
    );
    assert_eq!(plan.map(|plan| plan.gzip), Some(false));
    assert!(!told.contains_key("content-encoding"));
}

#[test]
fn a_head_alone_says_the_same() {
    let rows = [
        ("content-type", "text/css"),
        ("content-length", "5"),
        ("etag", "\"x\""),
    ];
    let head_only = Asked::of(&Method::HEAD, &mut HeaderMap::new());
    let (mut head, mut whole) = (fields(&rows), fields(&rows));
    assert_eq!(planned(&head_only, 200, &mut head), None);
    assert!(planned(&asked(&[]), 200, &mut whole).is_some());
    assert_eq!(head, whole);
}

#[test]
fn what_is_not_translated_keeps_its_head() {
    for (status, rows) in [
        (
            206,
            vec![
                ("content-type", "text/html"),
                ("content-range", "bytes 0-1/2"),
            ],
        ),
        (204, vec![("content-type", "text/html")]),
        (
            200,
            vec![("content-type", "text/event-stream"), ("etag", "\"x\"")],
        ),
        (
            200,
            vec![
                ("content-type", "text/html"),
                ("content-encoding", "gzip, br"),
            ],
        ),
        (
            200,
            vec![
                ("content-type", "text/html"),
                ("content-encoding", "gzip"),
                ("content-encoding", "br"),
            ],
        ),
        (
            200,
            vec![
                ("content-type", "text/html"),
                ("cache-control", "private, No-Transform"),
            ],
        ),
        (
            200,
            vec![
                ("content-type", "text/html"),
                ("content-disposition", "Attachment; filename=a.html"),
            ],
        ),
        (200, vec![("content-length", "5")]),
        (304, vec![("etag", "\"x\"")]),
    ] {
        let before = fields(&rows);
        let mut told = before.clone();
        assert_eq!(planned(&asked(&[]), status, &mut told), None, "{rows:?}");
        assert_eq!(told, before);
    }
}

#[test]
fn an_unchanged_page_keeps_the_tag_that_the_user_knows() {
    let mut told = fields(&[("etag", "\"x\"")]);
    planned(
        &asked(&[("if-none-match", "\"a\", W/\"x\"")]),
        304,
        &mut told,
    );
    assert_eq!(told["etag"], "W/\"x\"");
}

#[test]
fn origins_are_not_offered_codings_that_cannot_be_read() {
    for (value, want) in [
        ("gzip, deflate, br, zstd", "gzip, deflate, br, zstd"),
        ("gzip, dcb, dcz;q=0.5, br;q=0.9, compress", "gzip, br;q=0.9"),
        ("dcb", ""),
        ("*;q=0", "*;q=0"),
    ] {
        let mut asked = fields(&[("accept-encoding", value)]);
        Asked::of(&Method::GET, &mut asked);
        assert_eq!(asked["accept-encoding"], want);
    }
}
