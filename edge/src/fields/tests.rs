//! What passes, and what is said in its place.

use std::sync::OnceLock;

use super::*;

fn cleaned(rows: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in rows {
        fields.append(*name, HeaderValue::from_static(value));
    }
    let provenance = Provenance {
        peer: "[::ffff:192.0.2.7]:1234".parse().unwrap(),
        authority: &authority("wiki.example.com:8443"),
        id: RequestId::from_bytes([7; 16]),
        is_hidden: false,
    };
    encoded(&fields, provenance)
}

fn authority(text: &str) -> Authority {
    let host = text.split(':').next().unwrap_or_default();
    Authority {
        text: text.to_owned(),
        host: host.parse().unwrap(),
        told: OnceLock::new(),
    }
}

fn encoded(fields: &HeaderMap, provenance: Provenance<'_>) -> HeaderMap {
    let told = Told {
        fields: &HeaderMap::new(),
        is_copy: &|_| false,
    };
    let block = encode_request(fields, provenance, told).unwrap();
    let again = encode_request(fields, provenance, told).unwrap();
    assert_eq!(
        block, again,
        "what is known is written as it was the first time"
    );
    tunnel::fields::decode(block).unwrap()
}

#[test]
fn hop_by_hop_fields_and_those_named_by_connection_are_removed() {
    let fields = cleaned(&[
        ("connection", "close, X-Private"),
        ("x-private", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("proxy-authorization", "Basic x"),
        ("accept", "text/html"),
    ]);
    for name in HOP_BY_HOP.into_iter().chain(["x-private"]) {
        assert!(!fields.contains_key(name), "{name}");
    }
    assert_eq!(fields["accept"], "text/html");
}

#[test]
fn what_the_user_says_about_itself_is_replaced() {
    let fields = cleaned(&[
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-for", "10.0.0.2"),
        ("x_forwarded_for", "10.0.0.3"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-user", "root"),
        ("x-real-ip", "10.0.0.1"),
        ("adit-assertion", "forged"),
        ("Adit_Anything", "forged"),
        ("x-request-id", "mine"),
    ]);
    assert_eq!(
        fields["forwarded"],
        "for=192.0.2.7;host=\"wiki.example.com:8443\";proto=https"
    );
    let all: Vec<_> = fields.get_all("x-forwarded-for").iter().collect();
    assert_eq!(all, ["192.0.2.7"]);
    assert_eq!(fields["x-forwarded-host"], "wiki.example.com:8443");
    assert_eq!(fields["x-forwarded-proto"], "https");
    assert_eq!(fields["x-forwarded-port"], "8443");
    assert_eq!(fields["x-request-id"], "07".repeat(16));
    for name in [
        "x_forwarded_for",
        "x-forwarded-user",
        "x-real-ip",
        "adit-assertion",
        "adit_anything",
    ] {
        assert!(!fields.contains_key(name), "{name}");
    }
}

#[test]
fn the_port_is_told_when_it_is_not_that_of_https() {
    for (authority, want) in [
        ("a.example", None),
        ("a.example:", None),
        ("a.example:443", None),
        ("a.example:8443", Some("8443")),
    ] {
        assert_eq!(other_port(authority), want, "{authority}");
    }
}

#[test]
fn a_hidden_provenance_is_told_by_nobody() {
    let mut fields = HeaderMap::new();
    let trusted = TRUSTED.into_iter().filter(|name| *name != "x-request-id");
    for name in trusted.chain(["x-forwarded-for", "x-forwarded-any", "x_real_ip"]) {
        fields.insert(name, HeaderValue::from_static("192.0.2.9"));
    }
    let provenance = Provenance {
        peer: "192.0.2.7:1".parse().unwrap(),
        authority: &authority("a.example:8443"),
        id: RequestId::from_bytes([0; 16]),
        is_hidden: true,
    };
    let fields = encoded(&fields, provenance);
    let names: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["x-request-id"]);
}

#[test]
fn what_an_answer_depends_on_is_said_once() {
    for (held, want) in [
        (&[][..], "Origin"),
        (&["Accept"], "Accept, Origin"),
        (&["Accept", "Cookie"], "Accept, Cookie, Origin"),
        (&["accept, origin"], "accept, origin"),
        (&["*"], "*"),
    ] {
        let mut fields = HeaderMap::new();
        for value in held {
            fields.append(header::VARY, HeaderValue::from_static(value));
        }
        add_vary(&mut fields, "Origin");
        let all: Vec<_> = fields.get_all(header::VARY).iter().collect();
        assert_eq!(all, [want], "{held:?}");
    }
}

#[test]
fn what_ends_here_is_found_by_its_first_letter_and_length() {
    assert!(HOP_BY_HOP.into_iter().all(ends_here));
    assert!(FRAMING.into_iter().all(ends_here));
    assert!(TRUSTED.into_iter().all(is_trusted));
    for name in [
        "",
        "a",
        "x",
        "hosts",
        "cookie",
        "x-a",
        "\u{fc}",
        "accept-encoding",
    ] {
        assert!(!ends_here(name) && !is_trusted(name), "{name}");
    }
}

#[test]
fn what_the_origin_is_told_replaces_the_users_own_and_the_edges() {
    let mut told = HeaderMap::new();
    told.insert("x-user", HeaderValue::from_static("alice"));
    told.insert("x-forwarded-host", HeaderValue::from_static("named"));
    let mut fields = HeaderMap::new();
    for name in ["x-user", "x_user", "x-forwarded-host", "x-other"] {
        fields.insert(name, HeaderValue::from_static("forged"));
    }
    let provenance = Provenance {
        peer: "192.0.2.7:1".parse().unwrap(),
        authority: &authority("a.example"),
        id: RequestId::from_bytes([0; 16]),
        is_hidden: false,
    };
    let told = Told {
        fields: &told,
        is_copy: &|name| name.replace('_', "-") == "x-user",
    };
    let block = encode_request(&fields, provenance, told).unwrap();
    let sent = tunnel::fields::decode(block).unwrap();
    let said = |name: &str| {
        let all = sent.get_all(name).iter();
        all.map(|value| value.to_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(said("x-user"), ["alice"]);
    assert_eq!(said("x-forwarded-host"), ["named"]);
    assert_eq!(said("x-other"), ["forged"]);
    assert!(said("x_user").is_empty());
}

#[test]
fn naming_our_fields_in_connection_does_not_strip_them() {
    let fields = cleaned(&[
        ("connection", "x-forwarded-for, forwarded, authorization"),
        ("authorization", "Bearer t"),
    ]);
    assert_eq!(fields["x-forwarded-for"], "192.0.2.7");
    assert!(fields.contains_key("forwarded"));
    assert_eq!(fields["authorization"], "Bearer t");
}

#[test]
fn the_wish_for_trailers_survives() {
    assert_eq!(cleaned(&[("te", "gzip, trailers")])["te"], "trailers");
    assert!(!cleaned(&[("te", "gzip")]).contains_key("te"));
    let named = cleaned(&[("connection", "te"), ("te", "trailers")]);
    assert_eq!(named["te"], "trailers");
}

#[test]
fn an_upgrade_counts_only_when_connection_names_it() {
    let mut fields = HeaderMap::new();
    fields.insert("upgrade", HeaderValue::from_static("websocket"));
    assert_eq!(upgrade_token(&fields), None);
    fields.insert(
        "connection",
        HeaderValue::from_static("keep-alive, Upgrade"),
    );
    assert_eq!(upgrade_token(&fields).unwrap(), "websocket");
}

#[test]
fn ipv6_users_are_quoted() {
    let provenance = Provenance {
        peer: "[2001:db8::1]:1".parse().unwrap(),
        authority: &authority("a.example"),
        id: RequestId::from_bytes([0; 16]),
        is_hidden: false,
    };
    let fields = encoded(&HeaderMap::new(), provenance);
    assert_eq!(
        fields["forwarded"],
        "for=\"[2001:db8::1]\";host=\"a.example\";proto=https"
    );
    assert_eq!(fields["x-forwarded-for"], "2001:db8::1");
}
