//! Long because its tables are: HTTP/2 as frames that no client of good manners sends. What they say goes over HTTP/3 too (`http3.rs`).

use std::time::Duration;

use kit::{
    frames::{END_STREAM, Frames, Outcome, data, frame, headers},
    recorder::answer_to,
};
use tokio::time::timeout;

use super::{SAW, Stage, Table};

/// How long the edge may take for what it can say at once.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// A part of the conversation on stream 1. In its texts `$H` is the app's host and `$P` a path that only this case has.
pub(super) enum Part {
    /// HEADERS with these fields.
    Head(&'static [Field]),
    /// The same, and nothing follows.
    LastHead(&'static [Field]),
    /// DATA.
    Data(&'static [u8]),
    /// The same, and nothing follows.
    LastData(&'static [u8]),
    /// Any frame: type, flags, stream, payload.
    Raw(u8, u8, u32, &'static [u8]),
}

pub(super) type Field = (&'static str, &'static str);

use Part::{Data, Head, LastData, LastHead, Raw};

/// What becomes of the stream, and of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// An answer; the connection is as good as new.
    Status(u16),
    /// The stream is reset; the connection is as good as new.
    Reset,
    /// The connection ends: the frames make no HTTP/2 at all.
    Gone,
}

use Want::{Gone, Reset, Status};

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) parts: &'static [Part],
    pub(super) want: Want,
    /// Whole requests that the origin sees.
    pub(super) saw: &'static [&'static str],
}

pub(super) const fn case(
    name: &'static str,
    want: Want,
    saw: &'static [&'static str],
    parts: &'static [Part],
) -> Case {
    Case {
        name,
        parts,
        want,
        saw,
    }
}

pub(super) const METHOD: Field = (":method", "GET");
pub(super) const POST: Field = (":method", "POST");
pub(super) const SCHEME: Field = (":scheme", "https");
pub(super) const AUTHORITY: Field = (":authority", "$H");
pub(super) const PATH: Field = (":path", "$P");

pub(super) const PSEUDO_FIELDS: &[Case] = &[
    case(
        "a plain request",
        Status(200),
        &["GET $P"],
        &[LastHead(&[METHOD, SCHEME, AUTHORITY, PATH])],
    ),
    case(
        "a host instead of :authority",
        Status(200),
        &["GET $P"],
        &[LastHead(&[METHOD, SCHEME, PATH, ("host", "$H")])],
    ),
    case(
        "the same host twice",
        Status(200),
        &["GET $P"],
        &[LastHead(&[METHOD, SCHEME, AUTHORITY, PATH, ("host", "$H")])],
    ),
    case(
        "two hosts",
        Status(400),
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("host", "other.fabric.test"),
        ])],
    ),
    case(
        "two host fields",
        Status(400),
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("host", "$H"),
            ("host", "$H"),
        ])],
    ),
    case(
        "no host",
        Status(400),
        &[],
        &[LastHead(&[METHOD, SCHEME, PATH])],
    ),
    case(
        "a user in :authority",
        Status(400),
        &[],
        &[LastHead(&[METHOD, SCHEME, (":authority", "me@$H"), PATH])],
    ),
    case(
        "a path in :authority",
        Reset,
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            (":authority", "$H/admin"),
            PATH,
        ])],
    ),
    case(
        "a space in :authority",
        Reset,
        &[],
        &[LastHead(&[METHOD, SCHEME, (":authority", "$H x"), PATH])],
    ),
    case(
        "a port that is none",
        Status(400),
        &[],
        &[LastHead(&[METHOD, SCHEME, (":authority", "$H:8x"), PATH])],
    ),
    case(
        "an empty :authority",
        Reset,
        &[],
        &[LastHead(&[METHOD, SCHEME, (":authority", ""), PATH])],
    ),
    case(
        ":method twice",
        Reset,
        &[],
        &[LastHead(&[METHOD, METHOD, SCHEME, AUTHORITY, PATH])],
    ),
    case(
        ":path twice",
        Reset,
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            (":path", "/admin"),
        ])],
    ),
    case(
        ":authority twice",
        Reset,
        &[],
        &[LastHead(&[METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH])],
    ),
    case(
        ":scheme twice",
        Reset,
        &[],
        &[LastHead(&[METHOD, SCHEME, SCHEME, AUTHORITY, PATH])],
    ),
    case(
        "a pseudo field behind others",
        Reset,
        &[],
        &[LastHead(&[METHOD, SCHEME, AUTHORITY, ("x-a", "1"), PATH])],
    ),
    case(
        "an unknown pseudo field",
        Gone,
        &[],
        &[LastHead(&[METHOD, SCHEME, AUTHORITY, PATH, (":x", "1")])],
    ),
    case(
        "a pseudo field of answers",
        Reset,
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            (":status", "200"),
        ])],
    ),
    case(
        ":protocol without CONNECT",
        Reset,
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            (":protocol", "websocket"),
        ])],
    ),
    case(
        "no :method",
        Reset,
        &[],
        &[LastHead(&[SCHEME, AUTHORITY, PATH])],
    ),
    case(
        "an empty :method",
        Gone,
        &[],
        &[LastHead(&[(":method", ""), SCHEME, AUTHORITY, PATH])],
    ),
    case(
        "a request line as :method",
        Gone,
        &[],
        &[LastHead(&[
            (":method", "GET /admin HTTP/1.1\r\nx: y\r\n\r\nGET"),
            SCHEME,
            AUTHORITY,
            PATH,
        ])],
    ),
    case(
        "a space in :method",
        Gone,
        &[],
        &[LastHead(&[
            (":method", "GET /admin"),
            SCHEME,
            AUTHORITY,
            PATH,
        ])],
    ),
    case(
        "no :scheme",
        Reset,
        &[],
        &[LastHead(&[METHOD, AUTHORITY, PATH])],
    ),
    case(
        ":scheme file",
        Status(400),
        &[],
        &[LastHead(&[METHOD, (":scheme", "file"), AUTHORITY, PATH])],
    ),
    case(
        "a URL as :scheme",
        Reset,
        &[],
        &[LastHead(&[
            METHOD,
            (":scheme", "https://$H/admin?"),
            AUTHORITY,
            PATH,
        ])],
    ),
    case(
        "no :path",
        Reset,
        &[],
        &[LastHead(&[METHOD, SCHEME, AUTHORITY])],
    ),
    case(
        "an empty :path",
        Reset,
        &[],
        &[LastHead(&[METHOD, SCHEME, AUTHORITY, (":path", "")])],
    ),
    case(
        ":path without a slash",
        Reset,
        &[],
        &[LastHead(&[METHOD, SCHEME, AUTHORITY, (":path", "x")])],
    ),
    case(
        "a URL as :path",
        Reset,
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            (":path", "https://other.fabric.test/"),
        ])],
    ),
    case(
        ":path *",
        Status(400),
        &[],
        &[LastHead(&[
            (":method", "OPTIONS"),
            SCHEME,
            AUTHORITY,
            (":path", "*"),
        ])],
    ),
    case(
        ":path with a fragment",
        Status(200),
        &["GET $P"],
        &[LastHead(&[METHOD, SCHEME, AUTHORITY, (":path", "$P#top")])],
    ),
    case(
        ":path with a space",
        Reset,
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            (":path", "$P HTTP/1.1"),
        ])],
    ),
    case(
        ":path with a line's end",
        Reset,
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            (":path", "$P HTTP/1.1\r\nx: y\r\n\r\n"),
        ])],
    ),
    case(
        ":path with NUL",
        Reset,
        &[],
        &[LastHead(&[METHOD, SCHEME, AUTHORITY, (":path", "$P\0")])],
    ),
    case(
        "CONNECT",
        Status(400),
        &[],
        &[LastHead(&[
            (":method", "CONNECT"),
            (":authority", "$H:443"),
        ])],
    ),
    case(
        "CONNECT with a path",
        Reset,
        &[],
        &[LastHead(&[(":method", "CONNECT"), SCHEME, AUTHORITY, PATH])],
    ),
];

pub(super) const FIELDS: &[Case] = &[
    case(
        "CR and LF in a value",
        Gone,
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("x-a", "b\r\nx-c: d"),
        ])],
    ),
    case(
        "LF in a value",
        Gone,
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("x-a", "b\nx-c: d"),
        ])],
    ),
    case(
        "CR in a value",
        Gone,
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("x-a", "b\rc"),
        ])],
    ),
    case(
        "NUL in a value",
        Gone,
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("x-a", "b\0c"),
        ])],
    ),
    case(
        "CR and LF in a name",
        Gone,
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("x-a: b\r\nx-c", "d"),
        ])],
    ),
    case(
        "a colon in a name",
        Gone,
        &[],
        &[LastHead(&[METHOD, SCHEME, AUTHORITY, PATH, ("x-a:", "b")])],
    ),
    case(
        "a space in a name",
        Gone,
        &[],
        &[LastHead(&[METHOD, SCHEME, AUTHORITY, PATH, ("x a", "b")])],
    ),
    case(
        "a quotation mark in a name",
        Status(400),
        &[],
        &[LastHead(&[METHOD, SCHEME, AUTHORITY, PATH, ("x\"a", "b")])],
    ),
    case(
        "capitals in a name",
        Gone,
        &[],
        &[LastHead(&[METHOD, SCHEME, AUTHORITY, PATH, ("X-A", "b")])],
    ),
    case(
        "no name",
        Gone,
        &[],
        &[LastHead(&[METHOD, SCHEME, AUTHORITY, PATH, ("", "b")])],
    ),
    case(
        "connection",
        Reset,
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("connection", "x-forwarded-for"),
        ])],
    ),
    case(
        "keep-alive",
        Reset,
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("keep-alive", "timeout=5"),
        ])],
    ),
    case(
        "proxy-connection",
        Reset,
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("proxy-connection", "close"),
        ])],
    ),
    case(
        "transfer-encoding",
        Reset,
        &[],
        &[
            Head(&[
                POST,
                SCHEME,
                AUTHORITY,
                PATH,
                ("transfer-encoding", "chunked"),
            ]),
            LastData(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
        ],
    ),
    case(
        "upgrade",
        Reset,
        &[],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("upgrade", "websocket"),
        ])],
    ),
    case(
        "te: gzip",
        Reset,
        &[],
        &[LastHead(&[METHOD, SCHEME, AUTHORITY, PATH, ("te", "gzip")])],
    ),
    case(
        "te: trailers",
        Status(200),
        &["GET $P | te: trailers, connection: te"],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("te", "trailers"),
        ])],
    ),
    case(
        "http2-settings",
        Status(200),
        &["GET $P"],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("http2-settings", "AAMAAABkAAQAAP__"),
        ])],
    ),
    case(
        "crumbs of cookies are joined",
        Status(200),
        &["GET $P | cookie: a=1; b=2; c="],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("cookie", "c="),
        ])],
    ),
    case(
        "what only a proxy may say",
        Status(200),
        &["GET $P"],
        &[LastHead(&[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("x-forwarded-for", "6.6.6.6"),
            ("x_forwarded_for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("proxy", "x"),
            ("x-original-url", "/admin"),
        ])],
    ),
];

pub(super) const BODIES: &[Case] = &[
    case(
        "a body of its length",
        Status(200),
        &["POST $P | content-length: 5 | hello"],
        &[
            Head(&[POST, SCHEME, AUTHORITY, PATH, ("content-length", "5")]),
            LastData(b"hello"),
        ],
    ),
    case(
        "a body without a length",
        Status(200),
        &["POST $P | transfer-encoding: chunked | hello"],
        &[
            Head(&[POST, SCHEME, AUTHORITY, PATH]),
            Data(b"he"),
            LastData(b"llo"),
        ],
    ),
    case(
        "a body longer than its length",
        Reset,
        &[],
        &[
            Head(&[POST, SCHEME, AUTHORITY, PATH, ("content-length", "5")]),
            LastData(b"helloGET /smuggled HTTP/1.1\r\n\r\n"),
        ],
    ),
    case(
        "a body shorter than its length",
        Reset,
        &[],
        &[
            Head(&[POST, SCHEME, AUTHORITY, PATH, ("content-length", "50")]),
            LastData(b"hello"),
        ],
    ),
    case(
        "a body in no frame, but with a length",
        Reset,
        &[],
        &[LastHead(&[
            POST,
            SCHEME,
            AUTHORITY,
            PATH,
            ("content-length", "50"),
        ])],
    ),
    case(
        "two lengths",
        Reset,
        &[],
        &[
            Head(&[
                POST,
                SCHEME,
                AUTHORITY,
                PATH,
                ("content-length", "5"),
                ("content-length", "6"),
            ]),
            LastData(b"hello"),
        ],
    ),
    case(
        "a length that is no number",
        Reset,
        &[],
        &[
            Head(&[POST, SCHEME, AUTHORITY, PATH, ("content-length", "+5")]),
            LastData(b"hello"),
        ],
    ),
    case(
        "a list of lengths",
        Reset,
        &[],
        &[
            Head(&[POST, SCHEME, AUTHORITY, PATH, ("content-length", "5, 5")]),
            LastData(b"hello"),
        ],
    ),
    case(
        "a length of nothing",
        Status(200),
        &["POST $P | content-length: 0"],
        &[LastHead(&[
            POST,
            SCHEME,
            AUTHORITY,
            PATH,
            ("content-length", "0"),
        ])],
    ),
    case(
        "trailers bring what they may",
        Status(200),
        &["POST $P | trailer: x-sum, transfer-encoding: chunked | hello | x-sum: 1"],
        &[
            Head(&[POST, SCHEME, AUTHORITY, PATH, ("trailer", "x-sum")]),
            Data(b"hello"),
            LastHead(&[
                ("x-sum", "1"),
                ("content-length", "9"),
                ("host", "other.example"),
                ("x-forwarded-for", "6.6.6.6"),
                ("authorization", "Basic x"),
            ]),
        ],
    ),
    case(
        "pseudo fields of trailers are left out",
        Status(200),
        &["POST $P | transfer-encoding: chunked | hello"],
        &[
            Head(&[POST, SCHEME, AUTHORITY, PATH]),
            Data(b"hello"),
            LastHead(&[(":path", "/admin")]),
        ],
    ),
    case(
        "trailers with LF",
        Gone,
        &[],
        &[
            Head(&[POST, SCHEME, AUTHORITY, PATH]),
            Data(b"hello"),
            LastHead(&[("x-sum", "1\nx: y")]),
        ],
    ),
    case(
        "trailers that end nothing",
        Reset,
        &[],
        &[
            Head(&[POST, SCHEME, AUTHORITY, PATH]),
            Data(b"hello"),
            Head(&[("x-sum", "1")]),
        ],
    ),
];

const FRAMES: &[Case] = &[
    case("DATA before HEADERS", Gone, &[], &[LastData(b"hello")]),
    case(
        "HEADERS on a stream of the server",
        Gone,
        &[],
        &[Raw(1, 5, 2, &[0x82])],
    ),
    case("HEADERS on stream 0", Gone, &[], &[Raw(1, 5, 0, &[0x82])]),
    case(
        "PUSH_PROMISE from a client",
        Gone,
        &[],
        &[Raw(5, 4, 1, &[0, 0, 0, 2])],
    ),
    case(
        "another frame within a block",
        Gone,
        &[],
        &[Raw(1, 1, 1, &[0x82]), Raw(6, 0, 0, &[0; 8])],
    ),
    case(
        "padding longer than the frame",
        Gone,
        &[],
        &[Raw(1, 0xd, 1, &[200, 0x82])],
    ),
    case(
        "a stream that waits for itself",
        Reset,
        &[],
        &[Raw(2, 0, 1, &[0, 0, 0, 1, 0])],
    ),
    case(
        "a table size beyond what was granted",
        Gone,
        &[],
        &[Raw(1, 5, 1, &[0x3f, 0xff, 0xff, 0x7f])],
    ),
    case(
        "an index of no entry",
        Gone,
        &[],
        &[Raw(1, 5, 1, &[0xff, 0x7f])],
    ),
    case(
        "a window that grows too large",
        Gone,
        &[],
        &[Raw(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])],
    ),
    case(
        "a frame longer than allowed",
        Gone,
        &[],
        &[Raw(0, 0, 1, &[0; 70_000])],
    ),
];

impl Part {
    fn bytes(&self, stage: &Stage, number: usize) -> Vec<u8> {
        let filled = |fields: &[Field]| -> Vec<(String, String)> {
            fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), stage.fill_text(value, number)))
                .collect()
        };
        match self {
            Head(fields) => headers(1, 0, &filled(fields)),
            LastHead(fields) => headers(1, END_STREAM, &filled(fields)),
            Data(bytes) => data(1, 0, bytes),
            LastData(bytes) => data(1, END_STREAM, bytes),
            Raw(kind, flags, stream, payload) => frame(*kind, *flags, *stream, payload),
        }
    }
}

/// What becomes of the case's stream and, behind it, of a plain request on the same connection.
async fn run(stage: &Stage, case: &Case, number: usize) -> (Outcome, Outcome) {
    let socket = stage.fabric.user().tls(&stage.host, b"h2").await;
    let socket = socket.expect("the edge takes connections");
    let mut frames = Frames::start(socket).await.expect("the edge speaks HTTP/2");
    let bytes: Vec<_> = case
        .parts
        .iter()
        .flat_map(|part| part.bytes(stage, number))
        .collect();
    frames.send(&bytes).await;
    let outcome = frames.outcome(1).await;
    if matches!(outcome, Outcome::Gone(_)) {
        return (outcome.clone(), outcome);
    }
    let plain = [METHOD, SCHEME, AUTHORITY, (":path", "/last")]
        .map(|(name, value)| (name.to_owned(), stage.fill_text(value, number)));
    frames.send(&headers(3, END_STREAM, &plain)).await;
    (outcome, frames.outcome(3).await)
}

async fn check(stage: &Stage, tables: &[&[Case]]) {
    let last = answer_to("GET /last").into_bytes();
    let mut differ = Vec::new();
    let mut table = Table::new(SAW);
    for (number, case) in tables.iter().copied().flatten().enumerate() {
        let (outcome, after) = timeout(SOON, run(stage, case, number))
            .await
            .unwrap_or_else(|_| panic!("{}: the edge neither answers nor closes", case.name));
        let saw = stage.seen();
        let (came, told) = match &outcome {
            Outcome::Answer(status, _) => (Status(*status), format!("[{status}]")),
            Outcome::Reset(code) => (Reset, format!("reset {code}")),
            Outcome::Gone(code) => (Gone, format!("gone {code:?}")),
        };
        table.row(case.name, &told, &saw);
        let want: Vec<_> = case
            .saw
            .iter()
            .map(|text| stage.fill_text(text, number))
            .collect();
        let lives = after == Outcome::Answer(200, last.clone());
        if came != case.want || lives != (case.want != Gone) || saw != want {
            differ.push(format!(
                "{}\n  came {outcome:?}, wanted {:?}; then {after:?}\n  saw {saw:?}\n  wanted {want:?}",
                case.name, case.want,
            ));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[tokio::test]
async fn http2_that_is_none_costs_its_stream_or_its_connection_and_reaches_no_origin() {
    let stage = Stage::set("hostile").await;
    check(&stage, &[PSEUDO_FIELDS, FIELDS, BODIES, FRAMES]).await;
}
