//! Header hygiene: what may pass from the user to the origin and back.
//!
//! Hop-by-hop fields end here (RFC 9110, section 7.6.1). Fields in which an origin trusts its proxy are removed as the user
//! sent them and set anew, so that an origin never reads a user's word as the edge's.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{cookies, id::RequestId};

/// Fields about one connection only. `Proxy-Connection` is no standard, but old clients send it; `HTTP2-Settings` belongs to an
/// upgrade that ends here.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields that origins believe because a proxy sets them: the user's address, the public name and scheme, the path before a
/// rewrite (which would lead around access that is scoped to a path), files to be sent, the user's certificate. CGI makes
/// `HTTP_PROXY` of `Proxy`, which programs take for their own proxy (CVE-2016-5385). And the field in which programs show the edge who they are.
const TRUSTED: [&str; 38] = [
    "adit-authorization",
    "cf-connecting-ip",
    "client-cert",
    "client-cert-chain",
    "fastly-client-ip",
    "forwarded",
    "front-end-https",
    "proxy",
    "proxy-client-ip",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-accel-mapping",
    "x-arr-clientcert",
    "x-client-cert",
    "x-client-ip",
    "x-client-verify",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-forwarded",
    "x-host",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-remote-addr",
    "x-original-uri",
    "x-original-url",
    "x-originating-ip",
    "x-override-url",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-request-id",
    "x-rewrite-uri",
    "x-rewrite-url",
    "x-scheme",
    "x-script-name",
    "x-sendfile-type",
    "x-url-scheme",
];

/// Every field with one of these starts is a proxy's word, whoever invented it; the first is the edge's own.
const TRUSTED_PREFIXES: [&str; 4] = ["adit-", "x-forwarded-", "ssl-client-", "x-ssl-client-"];

/// Fields that say where a message goes and where it ends.
const FRAMING: [&str; 4] = ["content-length", "host", "te", "transfer-encoding"];

/// What trailers must not say besides (RFC 9110, section 6.5.1): how the message is to be treated, who sends it, what its body
/// is. A server that merges them with the head would act on it.
const NOT_IN_TRAILERS: [&str; 16] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "range",
    "set-cookie",
    "trailer",
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the edge itself says about a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Provenance<'a> {
    /// The user's address.
    pub peer: SocketAddr,
    /// Host, and the port where users come unless that is the one of https.
    pub authority: &'a str,
    /// Id of the request.
    pub id: RequestId,
    /// The origin learns nothing of this but the id.
    pub is_hidden: bool,
}

/// Turns the user's fields into those that the tunnel carries. `Host` and `Content-Length` leave the block because the
/// request's head says them in places of their own.
pub(crate) fn clean_request(fields: &mut HeaderMap, provenance: Provenance<'_>) {
    let wants_trailers = accepts_trailers(fields);
    remove_hop_by_hop(fields);
    remove_where(fields, is_trusted);
    cookies::strip(fields);
    for name in [
        header::HOST,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::TE,
    ] {
        fields.remove(name);
    }
    if wants_trailers {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if !provenance.is_hidden {
        add_forwarded(fields, provenance);
    }
    insert_text(fields, X_REQUEST_ID, provenance.id.digits().as_str());
}

/// Removes from the origin's fields what is about the connection between agent and origin, and where else the origin could
/// be asked: users cannot go there.
pub(crate) fn clean_response(fields: &mut HeaderMap) {
    remove_hop_by_hop(fields);
    cookies::strip_answer(fields);
    fields.remove(header::ALT_SVC);
}

/// Removes from trailers what must never be there (RFC 9110, section 6.5.1) or is about one connection.
pub(crate) fn clean_trailers(fields: &mut HeaderMap) {
    remove_hop_by_hop(fields);
    remove_where(fields, is_trusted);
    for name in FRAMING.iter().chain(&NOT_IN_TRAILERS) {
        fields.remove(*name);
    }
}

/// Fields that frame a message or speak of one connection: without them as they are, the message would be another one.
pub(crate) fn is_of_connection(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
        || matches!(
            *name,
            header::CONTENT_LENGTH | header::HOST | header::TE | header::TRAILER
        )
}

/// Says that the answer depends on `name`, beside what it says to depend on already.
pub(crate) fn add_vary(fields: &mut HeaderMap, name: &str) {
    let values = fields.get_all(header::VARY).iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    let mut named = values.iter().flat_map(|value| value.split(','));
    if named.any(|held| held.trim() == "*" || held.trim().eq_ignore_ascii_case(name)) {
        return;
    }
    let mut all = values.join(", ");
    if !all.is_empty() {
        all.push_str(", ");
    }
    all.push_str(name);
    insert_text(fields, header::VARY, &all);
}

/// Protocol that the user wants to upgrade to: `Upgrade`, if `Connection` names it (RFC 9110, section 7.8).
pub(crate) fn upgrade_token(fields: &HeaderMap) -> Option<HeaderValue> {
    let named = connection_options(fields).any(|option| option.eq_ignore_ascii_case("upgrade"));
    let mut tokens = fields.get_all(header::UPGRADE).iter();
    // Of two fields the origin might heed the other one.
    match (tokens.next(), tokens.next()) {
        (Some(token), None) if named => Some(token.clone()),
        _ => None,
    }
}

/// Whether the user waits for permission to send its body.
pub(crate) fn expects_continue(fields: &HeaderMap) -> bool {
    fields
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn add_forwarded(fields: &mut HeaderMap, provenance: Provenance<'_>) {
    let ip = provenance.peer.ip().to_canonical();
    let address = ip.to_string();
    let (opened, closed) = match ip {
        IpAddr::V4(_) => ("for=", ""),
        // Brackets are no token characters, so the value is quoted (RFC 7239, section 6).
        IpAddr::V6(_) => ("for=\"[", "]\""),
    };
    let parts = [
        opened,
        &address,
        closed,
        ";host=\"",
        provenance.authority,
        "\";proto=https",
    ];
    insert_text(fields, header::FORWARDED, &parts.concat());
    insert_text(fields, X_FORWARDED_FOR, &address);
    insert_text(fields, X_FORWARDED_HOST, provenance.authority);
    if let Some(port) = other_port(provenance.authority) {
        insert_text(fields, X_FORWARDED_PORT, port);
    }
    fields.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
}

/// The port, if it is not that of https.
fn other_port(authority: &str) -> Option<&str> {
    let (_, port) = authority.rsplit_once(':')?;
    (!port.is_empty() && port != "443").then_some(port)
}

fn insert_text(fields: &mut HeaderMap, name: HeaderName, text: &str) {
    // Addresses, ids and authorities are plain ASCII by their types.
    if let Ok(value) = HeaderValue::from_str(text) {
        fields.insert(name, value);
    }
}

fn remove_hop_by_hop(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_options(fields)
        .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
        .filter(|name| !is_framing(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        fields.remove(name);
    }
}

/// Fields without which the message would be another one; naming them in `Connection` is an attack, not a wish.
fn is_framing(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::HOST | header::CONTENT_LENGTH | header::TE | header::COOKIE | header::AUTHORIZATION
    )
}

fn connection_options(fields: &HeaderMap) -> impl Iterator<Item = &str> {
    fields
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn accepts_trailers(fields: &HeaderMap) -> bool {
    fields
        .get_all(header::TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// Whether a field of that name, in lower case, is a proxy's word.
pub(crate) fn is_trusted(name: &str) -> bool {
    match folded(name) {
        None => is_proxys_word(name),
        // Such a spelling of a field that ends here is nobody's wish.
        Some(name) => {
            is_proxys_word(&name)
                || HOP_BY_HOP.iter().any(|hop| hop.as_str() == name)
                || FRAMING.contains(&name.as_str())
        }
    }
}

fn is_proxys_word(name: &str) -> bool {
    TRUSTED.contains(&name) || TRUSTED_PREFIXES.iter().any(|start| name.starts_with(start))
}

/// The name that CGI, WSGI and their like cannot tell from this one: they write `_` for `-`, and some for any other sign.
pub(crate) fn folded(name: &str) -> Option<String> {
    let plain = |char: char| char.is_ascii_alphanumeric() || char == '-';
    (!name.chars().all(plain))
        .then(|| name.replace(|char: char| !char.is_ascii_alphanumeric(), "-"))
}

fn remove_where(fields: &mut HeaderMap, unwanted: fn(&str) -> bool) {
    let names: Vec<HeaderName> = fields
        .keys()
        .filter(|name| unwanted(name.as_str()))
        .cloned()
        .collect();
    for name in names {
        fields.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in rows {
            fields.append(*name, HeaderValue::from_static(value));
        }
        let provenance = Provenance {
            peer: "[::ffff:192.0.2.7]:1234".parse().unwrap(),
            authority: "wiki.example.com:8443",
            id: RequestId::from_bytes([7; 16]),
            is_hidden: false,
        };
        clean_request(&mut fields, provenance);
        fields
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
        let named = HeaderName::from_static("x-private");
        for name in HOP_BY_HOP.iter().chain([&named]) {
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
            authority: "a.example:8443",
            id: RequestId::from_bytes([0; 16]),
            is_hidden: true,
        };
        clean_request(&mut fields, provenance);
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
        let mut fields = HeaderMap::new();
        let provenance = Provenance {
            peer: "[2001:db8::1]:1".parse().unwrap(),
            authority: "a.example",
            id: RequestId::from_bytes([0; 16]),
            is_hidden: false,
        };
        clean_request(&mut fields, provenance);
        assert_eq!(
            fields["forwarded"],
            "for=\"[2001:db8::1]\";host=\"a.example\";proto=https"
        );
        assert_eq!(fields["x-forwarded-for"], "2001:db8::1");
    }
}
