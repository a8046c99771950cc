//! Golden vectors: every frame as it stands on the wire. A line that has to change is a break of the protocol.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use http::{HeaderMap, HeaderValue};
use proto::tunnel::{
    End, ErrorInfo, Peer, RequestFlags, RequestHead, ResponseHead, Timings, TraceContext,
};
use tunnel::{
    Frame, Kind, fields,
    frame::{Chunks, Direction, decode_all},
    stream::read_kind,
};

const VECTORS: &str = include_str!("golden/frames.txt");

#[test]
fn every_frame_stands_on_the_wire_as_its_vector_says() {
    let written: String = samples()
        .iter()
        .map(|(name, frame)| format!("{name} {}\n", hex(&encoded(frame))))
        .collect();
    let recorded: String = VECTORS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(written, recorded, "written is:\n{written}");
}

#[test]
fn every_vector_decodes_to_its_frame() {
    for (name, frame) in samples() {
        let (direction, before) = match frame {
            Frame::Request(_) => (Direction::Request, Vec::new()),
            Frame::Response(_) | Frame::Continue => (Direction::Response, Vec::new()),
            Frame::Data(_) | Frame::Trailers(_) | Frame::Error(_) | Frame::End(_) => (
                Direction::Request,
                vec![Frame::from(RequestHead::default())],
            ),
        };
        let stream: Vec<u8> = before.iter().chain([&frame]).flat_map(encoded).collect();
        let decoded = decode_all(direction, &stream).unwrap();
        assert_eq!(decoded.last(), Some(&frame), "{name}");
    }
}

#[test]
fn kinds_have_their_numbers() {
    for (number, kind) in [
        (1, Kind::Control),
        (2, Kind::Http),
        (3, Kind::Tcp),
        (4, Kind::Udp),
        (5, Kind::Probe),
    ] {
        assert_eq!(read_kind(&[number, 0xff]), Ok(Some((kind, 1))));
    }
    assert_eq!(read_kind(&[]), Ok(None));
    assert_eq!(read_kind(&[0]), Err(0));
    assert_eq!(read_kind(&[6]), Err(6));
}

fn samples() -> Vec<(&'static str, Frame)> {
    vec![
        ("data", Frame::Data("hello".into())),
        ("request", Frame::from(request())),
        ("response", Frame::from(response())),
        ("trailers", Frame::Trailers(some_fields())),
        ("end", Frame::End(End::default())),
        ("end_with_timings", Frame::End(end())),
        ("error", Frame::Error(error())),
        ("continue", Frame::Continue),
    ]
}

fn request() -> RequestHead {
    RequestHead {
        request_id: vec![0xab; 16].into(),
        app: "wiki".into(),
        revision: 300,
        method: "POST".into(),
        scheme: "https".into(),
        authority: "wiki.example.com".into(),
        path_and_query: "/a?b".into(),
        http_version: 20,
        fields: fields::encode(&some_fields()).unwrap(),
        body_length: Some(5),
        body_streamed: false,
        deadline_ms: 60_000,
        flags: Some(RequestFlags {
            expect_continue: true,
            idempotent: true,
            attempt: 1,
        }),
        upgrade: "websocket".into(),
        peer: Some(Peer {
            ip: vec![192, 0, 2, 1].into(),
            port: 443,
            tls_version: "1.3".into(),
        }),
        identity: "signed".into(),
        trace: Some(TraceContext {
            traceparent: "00-1-2-01".into(),
            tracestate: "a=b".into(),
        }),
        ..Default::default()
    }
}

fn response() -> ResponseHead {
    ResponseHead {
        status: 200,
        fields: fields::encode(&some_fields()).unwrap(),
        body_length: Some(5),
        body_streamed: false,
        upgraded: false,
        reason_phrase: "Fine".into(),
        ..Default::default()
    }
}

const fn end() -> End {
    End {
        body_bytes: 0,
        timings: Some(Timings {
            dial_us: 1,
            head_us: 2,
            total_us: 300,
        }),
    }
}

fn error() -> ErrorInfo {
    ErrorInfo {
        code: 4,
        reason: "origin_refused".into(),
        retry_safe: true,
        detail: "connection refused".into(),
    }
}

fn some_fields() -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in [("accept", "*/*"), ("x-a", "1"), ("x-a", "2")] {
        fields.append(name, HeaderValue::from_static(value));
    }
    fields
}

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut chunks = Chunks::default();
    chunks.push(frame).unwrap();
    chunks.take().flatten().collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
