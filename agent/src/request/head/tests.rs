use proto::tunnel::RequestFlags;

use super::*;

fn wire() -> RequestHead {
    RequestHead {
        request_id: vec![0xab; 16].into(),
        app: "wiki".to_owned(),
        method: "GET".into(),
        scheme: "https".into(),
        authority: "wiki.example.com:8443".into(),
        path_and_query: "/a%2fb/?q=%20".into(),
        ..RequestHead::default()
    }
}

fn with_fields(rows: &[(&'static str, &'static str)]) -> RequestHead {
    let mut map = HeaderMap::new();
    for (name, value) in rows {
        map.append(*name, HeaderValue::from_static(value));
    }
    RequestHead {
        fields: fields::encode(&map).unwrap(),
        ..wire()
    }
}

fn fields_of(wire: RequestHead) -> HeaderMap {
    parse(wire).unwrap().http1_fields()
}

#[test]
fn target_and_host_are_kept_byte_for_byte() {
    let mut head = parse(wire()).unwrap();
    assert_eq!(head.target.to_string(), "/a%2fb/?q=%20");
    assert_eq!(head.id, "ab".repeat(16));
    let fields = head.http1_fields();
    assert_eq!(fields[header::HOST], "wiki.example.com:8443");
    assert_eq!(fields.len(), 1);
}

#[test]
fn another_try_says_the_same() {
    let mut head = parse(with_fields(&[
        ("cookie", "a=1"),
        ("x", "y"),
        ("cookie", "b=2"),
    ]))
    .unwrap();
    let first = head.http1_fields();
    assert_eq!(head.http1_fields(), first);
}

#[test]
fn the_host_comes_first_and_is_not_taken_from_the_fields() {
    let fields = fields_of(with_fields(&[("x", "y"), ("host", "other.example")]));
    let rows: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    assert_eq!(rows[0].0, "host");
    assert_eq!(rows[0].1, "wiki.example.com:8443");
    assert_eq!(rows.len(), 2);
}

#[test]
fn cookies_of_http2_become_one_field() {
    let fields = fields_of(with_fields(&[
        ("cookie", "a=1"),
        ("x", "y"),
        ("cookie", "b=2"),
    ]));
    let cookies: Vec<_> = fields.get_all(header::COOKIE).iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
    assert_eq!(fields["x"], "y");
}

#[test]
fn other_duplicates_stay_in_order() {
    let fields = fields_of(with_fields(&[("accept", "a"), ("accept", "b")]));
    let accepts: Vec<_> = fields.get_all(header::ACCEPT).iter().collect();
    assert_eq!(accepts, ["a", "b"]);
}

#[test]
fn the_body_is_measured_as_the_edge_says() {
    let plain = fields_of(wire());
    assert!(!plain.contains_key(header::CONTENT_LENGTH));
    assert!(!plain.contains_key(header::TRANSFER_ENCODING));
    let sized = fields_of(RequestHead {
        body_length: Some(0),
        ..with_fields(&[("content-length", "7")])
    });
    assert_eq!(sized[header::CONTENT_LENGTH], "0");
    let streamed = fields_of(RequestHead {
        body_streamed: true,
        ..wire()
    });
    assert_eq!(streamed[header::TRANSFER_ENCODING], "chunked");
}

#[test]
fn connection_names_what_is_about_the_connection() {
    let trailers = fields_of(with_fields(&[("te", "trailers")]));
    assert_eq!(trailers[header::CONNECTION], "te");
    assert_eq!(trailers[header::TE], "trailers");
    let upgrade = fields_of(RequestHead {
        upgrade: "websocket".into(),
        ..wire()
    });
    assert_eq!(upgrade[header::CONNECTION], "upgrade");
    assert_eq!(upgrade[header::UPGRADE], "websocket");
}

#[test]
fn a_request_with_a_body_is_not_upgraded() {
    let head = parse(RequestHead {
        upgrade: "h2c".into(),
        body_length: Some(3),
        ..wire()
    })
    .unwrap();
    assert_eq!(head.upgrade, None);
}

#[test]
fn the_wish_for_permission_is_passed_on_only_with_a_body() {
    let expecting = |body_length| {
        parse(RequestHead {
            flags: Some(RequestFlags {
                expect_continue: true,
                ..RequestFlags::default()
            }),
            body_length,
            ..wire()
        })
        .unwrap()
    };
    assert_eq!(
        expecting(Some(3)).http1_fields()[header::EXPECT],
        "100-continue"
    );
    assert!(!expecting(None).expects_continue);
}

#[test]
fn heads_that_make_no_request_are_refused() {
    for (broken, reason) in [
        (
            RequestHead {
                method: "B D".into(),
                ..wire()
            },
            Reason::TunnelProtocol,
        ),
        (
            RequestHead {
                path_and_query: "/a b".into(),
                ..wire()
            },
            Reason::TunnelProtocol,
        ),
        (
            RequestHead {
                authority: "a\nb".into(),
                ..wire()
            },
            Reason::TunnelProtocol,
        ),
        (
            RequestHead {
                fields: "\u{5}a".into(),
                ..wire()
            },
            Reason::TunnelProtocol,
        ),
        (
            RequestHead {
                method: "CONNECT".into(),
                ..wire()
            },
            Reason::BadRequest,
        ),
    ] {
        assert_eq!(parse(broken).unwrap_err().reason(), reason);
    }
}
