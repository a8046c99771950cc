//! HTTP/1.1 as bytes: fields about the connection, fields that origins believe, and too many of them.

use super::{
    SAW, Stage, Table,
    conversation::talk,
    http1::{Case, check, passed},
};
use kit::recorder::Heard;

const CONNECTION: &[Case] = &[
    passed(
        "Connection cannot name our fields away",
        &["GET $P"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nConnection: close, X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, Forwarded, X-Request-Id\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
    )
    .closes(),
    passed(
        "Connection cannot name the host, a cookie or credentials away",
        &["GET $P | cookie: a=b, authorization: Basic x"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nConnection: Host, Cookie, Authorization\r\nCookie: a=b\r\nAuthorization: Basic x\r\n\r\n",
    ),
    passed(
        "Connection cannot name the length away",
        &["POST $P | content-length: 5 | hello"],
        b"POST $P HTTP/1.1\r\nHost: $H\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhello",
    ),
    passed(
        "Connection cannot name the coding away",
        &["POST $P | transfer-encoding: chunked | abc"],
        b"POST $P HTTP/1.1\r\nHost: $H\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ),
    passed(
        "fields about one connection end at the edge",
        &["GET $P | x-kept: 1"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nConnection: keep-alive, X-Private\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nX-Private: 1\r\nX-Kept: 1\r\n\r\n",
    ),
    passed(
        "a second Connection counts as well",
        &["GET $P"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nConnection: keep-alive\r\nConnection: X-Private\r\nX-Private: 1\r\n\r\n",
    ),
    passed(
        "nobody upgrades to h2c",
        &["GET $P"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    ),
    passed(
        "nobody upgrades to h2c, said in half",
        &["GET $P"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    ),
    passed(
        "nobody upgrades to h2c behind a WebSocket",
        &["GET $P"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
    ),
    passed(
        "nobody upgrades to h2c in a second field",
        &["GET $P"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n",
    ),
    passed("nobody upgrades to TLS", &["GET $P"], b"GET $P HTTP/1.1\r\nHost: $H\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2\r\n\r\n"),
    passed("an upgrade that Connection does not name", &["GET $P"], b"GET $P HTTP/1.1\r\nHost: $H\r\nUpgrade: websocket\r\n\r\n"),
    passed("TE says trailers or nothing", &["GET $P | te: trailers, connection: te"], b"GET $P HTTP/1.1\r\nHost: $H\r\nTE: gzip;q=1, trailers\r\nConnection: TE\r\n\r\n"),
];

const BELIEVED: &[Case] = &[
    passed(
        "addresses that a user claims",
        &["GET $P"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\nForwarded: for=10.0.0.1\r\nX-Real-IP: 10.0.0.1\r\nTrue-Client-IP: 10.0.0.1\r\nX-Client-IP: 10.0.0.1\r\nX-Cluster-Client-IP: 10.0.0.1\r\nCF-Connecting-IP: 10.0.0.1\r\nFastly-Client-IP: 10.0.0.1\r\nX-Original-Forwarded-For: 10.0.0.1\r\nX-Envoy-External-Address: 10.0.0.1\r\nX-ProxyUser-IP: 10.0.0.1\r\nX-Originating-IP: 10.0.0.1\r\nX-Remote-IP: 10.0.0.1\r\nX-Remote-Addr: 10.0.0.1\r\nProxy-Client-IP: 10.0.0.1\r\nWL-Proxy-Client-IP: 10.0.0.1\r\n\r\n",
    ),
    passed(
        "hosts and schemes that a user claims",
        &["GET $P"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-Server: evil\r\nX-Forwarded-Scheme: http\r\nX-Forwarded-User: root\r\nX-Forwarded: for=1\r\nX-Host: evil.example\r\nX-Original-Host: evil.example\r\nX-Scheme: http\r\nX-URL-Scheme: http\r\nFront-End-Https: off\r\nX-Request-Id: mine\r\n\r\n",
    ),
    passed(
        "other paths that a user claims",
        &["GET $P"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nX-Original-URL: /admin\r\nX-Original-URI: /admin\r\nX-Rewrite-URL: /admin\r\nX-Override-URL: /admin\r\nX-Script-Name: /admin\r\nX-Sendfile-Type: X-Accel-Redirect\r\nX-Accel-Mapping: /=/\r\n\r\n",
    ),
    passed(
        "certificates that a user claims",
        &["GET $P"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nClient-Cert: :MIIB:\r\nClient-Cert-Chain: :MIIB:\r\nX-SSL-Client-Verify: SUCCESS\r\nX-SSL-Client-S-DN: CN=root\r\nSSL-Client-Cert: x\r\nX-Client-Cert: x\r\nX-ARR-ClientCert: x\r\nX-Client-Verify: SUCCESS\r\n\r\n",
    ),
    passed("a proxy that a user claims (httpoxy)", &["GET $P"], b"GET $P HTTP/1.1\r\nHost: $H\r\nProxy: http://evil.example\r\n\r\n"),
    passed(
        "the same names in the spelling of CGI",
        &["GET $P | x_kept: 1"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nX_Forwarded_For: 6.6.6.6\r\nX.Forwarded.For: 6.6.6.6\r\nX_Forwarded-Host: evil\r\nX_Real_IP: 6.6.6.6\r\nX_Original_URL: /admin\r\nContent_Length: 9\r\nTransfer_Encoding: chunked\r\nX_Request_Id: mine\r\nClient_Cert: x\r\nX_Kept: 1\r\n\r\n",
    ),
    passed("many ranges are the origin's business", &["GET $P | range: bytes=0-,0-,0-,0-,0-,0-,0-,0-"], b"GET $P HTTP/1.1\r\nHost: $H\r\nRange: bytes=0-,0-,0-,0-,0-,0-,0-,0-\r\n\r\n"),
    passed("two cookies are one to the origin", &["GET $P | cookie: a=1; b=2"], b"GET $P HTTP/1.1\r\nHost: $H\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n"),
];

#[tokio::test]
async fn fields_of_http1_say_nothing_that_only_the_edge_may_say() {
    let stage = Stage::set("hostile").await;
    check(&stage, &[CONNECTION, BELIEVED]).await;
}

#[tokio::test]
async fn heads_have_bounds() {
    let stage = Stage::set("hostile").await;
    let mut table = Table::new(SAW);
    for (name, target, fields, told) in [
        ("250 fields", 1, (249, 10), 200),
        ("251 fields", 1, (250, 10), 431),
        ("a field of 40 KiB", 1, (1, 40 * 1024), 200),
        ("a field of 64 KiB", 1, (1, 64 * 1024), 431),
        ("a target of 16 KiB", 16 * 1024, (0, 0), 200),
        ("a target of more", 16 * 1024 + 1, (0, 0), 414),
        ("a target of 70 KB", 70_000, (0, 0), 431),
    ] {
        let mut bytes = format!(
            "GET /{} HTTP/1.1\r\nHost: {}\r\n",
            "x".repeat(target - 1),
            stage.host
        );
        for field in 0..fields.0 {
            bytes.push_str(&format!("x-{field}: {}\r\n", "y".repeat(fields.1)));
        }
        bytes.push_str("\r\n");
        let replies = talk(&stage, bytes.as_bytes(), 1).await;
        let saw = stage.origin.take().into_iter().any(
            |heard| matches!(heard, Heard::Whole(message) if !message.line.ends_with(" /last")),
        );
        let seen = saw.then(|| "a request".to_owned());
        table.row(name, &format!("{:?}", replies.statuses), seen.as_slice());
        assert_eq!(
            (&replies.statuses[..], saw),
            (&[told][..], told == 200),
            "{name}"
        );
    }
}
