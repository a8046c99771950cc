//! HTTP/1.1 as bytes: request lines, hosts, syntax of fields, and several requests on one connection.

use super::{SAW, Stage, Table, conversation::talk};

/// One conversation. In its texts `$H` is the app's host and `$P` a path that only this case has.
pub(super) struct Case {
    name: &'static str,
    bytes: &'static [u8],
    /// Statuses, in order.
    told: &'static [u16],
    /// The edge closes the connection then; otherwise it must be as good as new.
    closes: bool,
    /// Whole requests that the origin sees.
    saw: &'static [&'static str],
}

/// Not HTTP, or not one HTTP: 400, the connection is over, and the origin never hears of it.
pub(super) const fn refused(name: &'static str, bytes: &'static [u8]) -> Case {
    Case {
        name,
        bytes,
        told: &[400],
        closes: true,
        saw: &[],
    }
}

/// Refused with this status; what comes next on the connection is served.
pub(super) const fn turned_away(
    name: &'static str,
    status: &'static [u16],
    bytes: &'static [u8],
) -> Case {
    Case {
        name,
        bytes,
        told: status,
        closes: false,
        saw: &[],
    }
}

/// Served; the origin sees exactly this.
pub(super) const fn passed(
    name: &'static str,
    saw: &'static [&'static str],
    bytes: &'static [u8],
) -> Case {
    Case {
        name,
        bytes,
        told: &[200],
        closes: false,
        saw,
    }
}

impl Case {
    /// The same with these statuses.
    pub(super) const fn told(self, told: &'static [u16]) -> Self {
        Self { told, ..self }
    }

    /// The same, and the edge closes the connection.
    pub(super) const fn closes(self) -> Self {
        Self {
            closes: true,
            ..self
        }
    }
}

/// Runs every case, prints the table, and says what differs.
pub(super) async fn check(stage: &Stage, tables: &[&[Case]]) {
    let mut differ = Vec::new();
    let mut table = Table::new(SAW);
    for (number, case) in tables.iter().copied().flatten().enumerate() {
        let replies = talk(stage, &stage.fill(case.bytes, number), case.told.len()).await;
        let saw = stage.seen();
        let closed = if replies.closed { ", closed" } else { "" };
        table.row(case.name, &format!("{:?}{closed}", replies.statuses), &saw);
        let want: Vec<_> = case
            .saw
            .iter()
            .map(|text| stage.fill_text(text, number))
            .collect();
        if replies.statuses != case.told || replies.closed != case.closes || saw != want {
            differ.push(format!(
                "{}\n  told {:?}{closed}, wanted {:?}{}\n  saw {saw:?}\n  wanted {want:?}",
                case.name,
                replies.statuses,
                case.told,
                if case.closes { ", closed" } else { "" },
            ));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

const LINES: &[Case] = &[
    passed(
        "a plain request",
        &["GET $P"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\n\r\n",
    ),
    passed(
        "empty lines first",
        &["GET $P"],
        b"\r\n\r\nGET $P HTTP/1.1\r\nHost: $H\r\n\r\n",
    ),
    passed(
        "a method in lower case is another method",
        &["get $P"],
        b"get $P HTTP/1.1\r\nHost: $H\r\n\r\n",
    ),
    passed(
        "a method nobody knows",
        &["BREW $P"],
        b"BREW $P HTTP/1.1\r\nHost: $H\r\n\r\n",
    ),
    refused(
        "a method that is no token",
        b"GE(T $P HTTP/1.1\r\nHost: $H\r\n\r\n",
    ),
    refused(
        "a method with NUL",
        b"GE\0T $P HTTP/1.1\r\nHost: $H\r\n\r\n",
    ),
    refused("no method", b" $P HTTP/1.1\r\nHost: $H\r\n\r\n"),
    refused(
        "two spaces before the target",
        b"GET  $P HTTP/1.1\r\nHost: $H\r\n\r\n",
    ),
    refused(
        "a tab before the target",
        b"GET\t$P HTTP/1.1\r\nHost: $H\r\n\r\n",
    ),
    refused(
        "a target with a space",
        b"GET $P /x HTTP/1.1\r\nHost: $H\r\n\r\n",
    ),
    refused(
        "a target with a control character",
        b"GET $P\x01 HTTP/1.1\r\nHost: $H\r\n\r\n",
    ),
    passed(
        "a fragment is cut off",
        &["GET $P"],
        b"GET $P#top HTTP/1.1\r\nHost: $H\r\n\r\n",
    ),
    refused("HTTP/0.9", b"GET $P\r\n\r\n"),
    passed(
        "HTTP/1.0 with a host",
        &["GET $P"],
        b"GET $P HTTP/1.0\r\nHost: $H\r\n\r\n",
    )
    .closes(),
    refused("HTTP/1.2", b"GET $P HTTP/1.2\r\nHost: $H\r\n\r\n"),
    refused(
        "HTTP/2.0 as a version",
        b"GET $P HTTP/2.0\r\nHost: $H\r\n\r\n",
    ),
    refused("http in lower case", b"GET $P http/1.1\r\nHost: $H\r\n\r\n"),
    refused(
        "more behind the version",
        b"GET $P HTTP/1.1 x\r\nHost: $H\r\n\r\n",
    ),
    refused("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").told(&[]),
    turned_away(
        "CONNECT",
        &[400],
        b"CONNECT $H:443 HTTP/1.1\r\nHost: $H:443\r\n\r\n",
    ),
    turned_away(
        "OPTIONS *",
        &[400],
        b"OPTIONS * HTTP/1.1\r\nHost: $H\r\n\r\n",
    ),
    turned_away(
        "a target without a slash",
        &[400],
        b"GET x HTTP/1.1\r\nHost: $H\r\n\r\n",
    ),
];

const HOSTS: &[Case] = &[
    turned_away("no host", &[400], b"GET $P HTTP/1.1\r\n\r\n"),
    turned_away("no host in HTTP/1.0", &[400], b"GET $P HTTP/1.0\r\n\r\n").closes(),
    turned_away(
        "two hosts",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nHost: other.fabric.test\r\n\r\n",
    ),
    turned_away(
        "the same host twice",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nHost: $H\r\n\r\n",
    ),
    turned_away(
        "two hosts in one field",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: $H, other.fabric.test\r\n\r\n",
    ),
    turned_away(
        "an empty host",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: \r\n\r\n",
    ),
    turned_away(
        "a user before the host",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: me@$H\r\n\r\n",
    ),
    turned_away(
        "the host as a user",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: $H@other.example\r\n\r\n",
    ),
    turned_away(
        "a path behind the host",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: $H/admin\r\n\r\n",
    ),
    turned_away(
        "a query behind the host",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: $H?x\r\n\r\n",
    ),
    turned_away(
        "a space in the host",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: $H other.example\r\n\r\n",
    ),
    turned_away(
        "a tab in the host",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: $H\tx\r\n\r\n",
    ),
    turned_away(
        "a quote in the host",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: \"$H\r\n\r\n",
    ),
    turned_away(
        "a backslash in the host",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: $H\\@x\r\n\r\n",
    ),
    turned_away(
        "bytes beyond ASCII in the host",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: \xff$H\r\n\r\n",
    ),
    turned_away(
        "a port that is none",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: $H:8x\r\n\r\n",
    ),
    turned_away(
        "a port too large",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: $H:65536\r\n\r\n",
    ),
    turned_away(
        "a port with a sign",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: $H:+443\r\n\r\n",
    ),
    turned_away(
        "two ports",
        &[400],
        b"GET $P HTTP/1.1\r\nHost: $H:443:443\r\n\r\n",
    ),
    turned_away(
        "an address",
        &[404],
        b"GET $P HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ),
    turned_away(
        "an address of IPv6",
        &[404],
        b"GET $P HTTP/1.1\r\nHost: [::1]\r\n\r\n",
    ),
    turned_away(
        "a host that nobody published",
        &[404],
        b"GET $P HTTP/1.1\r\nHost: other.fabric.test\r\n\r\n",
    ),
    passed(
        "a host in absolute form",
        &["GET $P"],
        b"GET https://$H$P HTTP/1.1\r\nHost: $H\r\n\r\n",
    ),
    turned_away(
        "two hosts, one in absolute form",
        &[400],
        b"GET https://other.fabric.test$P HTTP/1.1\r\nHost: $H\r\n\r\n",
    ),
    turned_away(
        "two hosts, the app's in absolute form",
        &[400],
        b"GET https://$H$P HTTP/1.1\r\nHost: other.fabric.test\r\n\r\n",
    ),
    turned_away(
        "absolute form with a user",
        &[400],
        b"GET https://me@$H$P HTTP/1.1\r\nHost: me@$H\r\n\r\n",
    ),
    turned_away(
        "absolute form of another scheme",
        &[400],
        b"GET file://$H$P HTTP/1.1\r\nHost: $H\r\n\r\n",
    ),
];

const SYNTAX: &[Case] = &[
    passed(
        "fields beyond ASCII pass",
        &["GET $P | x-a: \u{e9}"],
        b"GET $P HTTP/1.1\r\nHost: $H\r\nX-A: \xe9\r\n\r\n",
    ),
    passed(
        "lines that end in LF alone are made plain",
        &["GET $P | x-a: 1"],
        b"GET $P HTTP/1.1\nHost: $H\nX-A: 1\n\n",
    ),
    refused(
        "lines that end in CR alone",
        b"GET $P HTTP/1.1\rHost: $H\r\r",
    ),
    refused(
        "CR in a value",
        b"GET $P HTTP/1.1\r\nHost: $H\r\nX-A: b\rX-C: d\r\n\r\n",
    ),
    refused(
        "NUL in a value",
        b"GET $P HTTP/1.1\r\nHost: $H\r\nX-A: b\0c\r\n\r\n",
    ),
    refused(
        "NUL in a name",
        b"GET $P HTTP/1.1\r\nHost: $H\r\nX\0A: b\r\n\r\n",
    ),
    refused(
        "DEL in a value",
        b"GET $P HTTP/1.1\r\nHost: $H\r\nX-A: b\x7fc\r\n\r\n",
    ),
    refused(
        "a value that goes on in the next line",
        b"GET $P HTTP/1.1\r\nHost: $H\r\nX-A: b\r\n c\r\n\r\n",
    ),
    refused(
        "a first field that goes on from nothing",
        b"GET $P HTTP/1.1\r\n Host: $H\r\nX-A: b\r\n\r\n",
    ),
    refused(
        "space before the colon",
        b"GET $P HTTP/1.1\r\nHost: $H\r\nX-A : b\r\n\r\n",
    ),
    refused(
        "tab before the colon",
        b"GET $P HTTP/1.1\r\nHost: $H\r\nX-A\t: b\r\n\r\n",
    ),
    refused("no name", b"GET $P HTTP/1.1\r\nHost: $H\r\n: b\r\n\r\n"),
    refused("no colon", b"GET $P HTTP/1.1\r\nHost: $H\r\nX-A\r\n\r\n"),
    refused(
        "a name that is no token",
        b"GET $P HTTP/1.1\r\nHost: $H\r\nX(A): b\r\n\r\n",
    ),
    refused(
        "a name beyond ASCII",
        b"GET $P HTTP/1.1\r\nHost: $H\r\nX\xe9: b\r\n\r\n",
    ),
];

const SEVERAL: &[Case] = &[
    passed(
        "two requests at once are answered in order",
        &["GET $P/a", "GET $P/b"],
        b"GET $P/a HTTP/1.1\r\nHost: $H\r\n\r\nGET $P/b HTTP/1.1\r\nHost: $H\r\n\r\n",
    )
    .told(&[200, 200]),
    passed(
        "two at once, the first with a body",
        &["POST $P/a | content-length: 5 | hello", "GET $P/b"],
        b"POST $P/a HTTP/1.1\r\nHost: $H\r\nContent-Length: 5\r\n\r\nhelloGET $P/b HTTP/1.1\r\nHost: $H\r\n\r\n",
    )
    .told(&[200, 200]),
    passed(
        "nothing behind Connection: close",
        &["GET $P/a"],
        b"GET $P/a HTTP/1.1\r\nHost: $H\r\nConnection: close\r\n\r\nGET $P/b HTTP/1.1\r\nHost: $H\r\n\r\n",
    )
    .closes(),
    passed(
        "nothing behind one close of two wishes",
        &["GET $P/a"],
        b"GET $P/a HTTP/1.1\r\nHost: $H\r\nConnection: close\r\nConnection: keep-alive\r\n\r\nGET $P/b HTTP/1.1\r\nHost: $H\r\n\r\n",
    )
    .closes(),
    refused("nothing behind what is no request", b"GET $P\r\n\r\nGET $P/b HTTP/1.1\r\nHost: $H\r\n\r\n"),
    passed("a request, then none", &["GET $P"], b"GET $P HTTP/1.1\r\nHost: $H\r\n\r\nx x x\r\n\r\n").told(&[200, 400]).closes(),
    turned_away(
        "the body of a refused request is no request",
        &[404],
        b"POST $P HTTP/1.1\r\nHost: other.fabric.test\r\nContent-Length: 46\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: hostile.x.test\r\n\r\n",
    ),
    passed(
        "an upgrade with a body is none",
        &["POST $P | content-length: 5 | hello"],
        b"POST $P HTTP/1.1\r\nHost: $H\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
    ),
];

#[tokio::test]
async fn heads_of_http1_have_one_meaning_or_none() {
    let stage = Stage::set("hostile").await;
    check(&stage, &[LINES, HOSTS, SYNTAX, SEVERAL]).await;
}
