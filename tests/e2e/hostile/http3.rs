//! What the tables of HTTP/2 say, over HTTP/3, and frames that are none of HTTP/3.

use kit::{
    client::raw_http3::{Outcome, RawHttp3, data, frame, headers},
    recorder::answer_to,
};
use tokio::time::timeout;

use super::{
    SAW, Stage, Table,
    http2::{
        AUTHORITY, BODIES, Case, FIELDS, METHOD, PATH, PSEUDO_FIELDS,
        Part::{self, Data, Head, LastData, LastHead, Raw},
        SCHEME, SOON,
        Want::{self, Gone, Reset, Status},
        case,
    },
};

/// Where HTTP/3 says another thing of a case than HTTP/2: what becomes of it, and what the origin sees.
const OTHERWISE: &[(&str, Want, &[&str])] = &[
    // Malformed messages cost their stream (RFC 9114, section 4.1.2); the library for HTTP/2 takes them for broken compression.
    ("an unknown pseudo field", Reset, &[]),
    ("an empty :method", Reset, &[]),
    ("a request line as :method", Reset, &[]),
    ("a space in :method", Reset, &[]),
    ("CR and LF in a value", Reset, &[]),
    ("LF in a value", Reset, &[]),
    ("CR in a value", Reset, &[]),
    ("NUL in a value", Reset, &[]),
    ("CR and LF in a name", Reset, &[]),
    ("a colon in a name", Reset, &[]),
    ("a space in a name", Reset, &[]),
    ("capitals in a name", Reset, &[]),
    ("no name", Reset, &[]),
    // Behind a good head the answer says what was wrong.
    ("a body longer than its length", Status(400), &[]),
    ("a body shorter than its length", Status(400), &[]),
    ("a body in no frame, but with a length", Status(400), &[]),
    ("pseudo fields of trailers are left out", Status(400), &[]),
    ("trailers with LF", Status(400), &[]),
    // Nothing in them says whether they end something: the stream does.
    (
        "trailers that end nothing",
        Status(200),
        &["POST $P | transfer-encoding: chunked | hello"],
    ),
];

/// Frames on a request's stream. Of [`Raw`], only type and payload count.
const FRAMES: &[Case] = &[
    case("DATA before HEADERS", Gone, &[], &[LastData(b"hello")]),
    case(
        "SETTINGS on a request's stream",
        Gone,
        &[],
        &[Raw(4, 0, 0, &[])],
    ),
    case(
        "GOAWAY on a request's stream",
        Gone,
        &[],
        &[Raw(7, 0, 0, &[0])],
    ),
    case(
        "PUSH_PROMISE from a client",
        Gone,
        &[],
        &[Raw(5, 0, 0, &[0, 0])],
    ),
    case("PRIORITY of HTTP/2", Gone, &[], &[Raw(2, 0, 0, &[0; 5])]),
    case(
        "WINDOW_UPDATE of HTTP/2 in a body",
        Gone,
        &[],
        &[
            Head(&[(":method", "POST"), SCHEME, AUTHORITY, PATH]),
            Raw(8, 0, 0, &[0, 0, 0, 1]),
        ],
    ),
    case(
        "unknown frames around everything",
        Status(200),
        &["POST $P | transfer-encoding: chunked | hello"],
        &[
            Raw(0x21, 0, 0, b"grease"),
            Head(&[(":method", "POST"), SCHEME, AUTHORITY, PATH]),
            Raw(0x21, 0, 0, b""),
            Data(b"hello"),
            Raw(0x21, 0, 0, b"grease"),
        ],
    ),
    case(
        "a dynamic table that was not granted",
        Gone,
        &[],
        &[Raw(1, 0, 0, &[2, 0, 0x80])],
    ),
    case(
        "an index of no entry",
        Gone,
        &[],
        &[Raw(1, 0, 0, &[0, 0, 0xff, 0x7f])],
    ),
    case(
        "a name longer than the section",
        Gone,
        &[],
        &[Raw(1, 0, 0, &[0, 0, 0x27, 0xff, 0x7f, b'a'])],
    ),
    case(
        "an integer without end",
        Gone,
        &[],
        &[Raw(
            1,
            0,
            0,
            &[0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        )],
    ),
    case(
        "a Huffman code that is none",
        Gone,
        &[],
        &[Raw(1, 0, 0, &[0, 0, 0x51, 0x84, 0xff, 0xff, 0xff, 0xff])],
    ),
    case(
        "a section without a line",
        Reset,
        &[],
        &[Raw(1, 0, 0, &[0, 0])],
    ),
    case("a stream without a frame", Reset, &[], &[]),
];

fn bytes(part: &Part, stage: &Stage, number: usize) -> Vec<u8> {
    match part {
        Head(fields) | LastHead(fields) => {
            let filled: Vec<_> = fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), stage.fill_text(value, number)))
                .collect();
            headers(&filled)
        }
        Data(bytes) | LastData(bytes) => data(bytes),
        Raw(kind, _, _, payload) => frame(*kind, payload),
    }
}

/// What becomes of the case's stream and, behind it, of a plain request on the same connection.
async fn run(stage: &Stage, case: &Case, number: usize) -> (Outcome, Outcome) {
    let user = stage.fabric.user();
    let connection = RawHttp3::dial(user, &stage.host).await;
    let parts = case.parts.iter();
    let all: Vec<_> = parts.flat_map(|part| bytes(part, stage, number)).collect();
    let outcome = connection.ask(&all).await;
    if matches!(outcome, Outcome::Gone(_)) {
        return (outcome.clone(), outcome);
    }
    let plain = [METHOD, SCHEME, AUTHORITY, (":path", "/last")]
        .map(|(name, value)| (name.to_owned(), stage.fill_text(value, number)));
    (outcome, connection.ask(&headers(&plain)).await)
}

#[tokio::test]
async fn http3_that_is_none_costs_its_stream_or_its_connection_and_reaches_no_origin() {
    let stage = Stage::set("hostile").await;
    let last = answer_to("GET /last").into_bytes();
    let mut differ = Vec::new();
    let mut table = Table::new(SAW);
    let tables = [PSEUDO_FIELDS, FIELDS, BODIES, FRAMES];
    for (number, case) in tables.into_iter().flatten().enumerate() {
        let (outcome, after) = timeout(SOON, run(&stage, case, number))
            .await
            .unwrap_or_else(|_| panic!("{}: the edge neither answers nor closes", case.name));
        let saw = stage.seen();
        let (came, told) = match &outcome {
            Outcome::Answer(status, _) => (Status(*status), format!("[{status}]")),
            Outcome::Reset(code) => (Reset, format!("reset {code:#x}")),
            Outcome::Gone(code) => (Gone, format!("gone {code:#x?}")),
        };
        table.row(case.name, &told, &saw);
        let other = OTHERWISE.iter().find(|(name, ..)| *name == case.name);
        let (want, wanted) = other.map_or((case.want, case.saw), |(_, want, saw)| (*want, *saw));
        let wanted: Vec<_> = wanted
            .iter()
            .map(|text| stage.fill_text(text, number))
            .collect();
        let lives = after == Outcome::Answer(200, last.clone());
        if came != want || lives != (want != Gone) || saw != wanted {
            differ.push(format!(
                "{}\n  came {outcome:x?}, wanted {want:?}; then {after:x?}\n  saw {saw:?}\n  wanted {wanted:?}",
                case.name,
            ));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
