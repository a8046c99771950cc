use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use proto::tunnel::{End, ErrorInfo, RequestHead, ResponseHead};

use super::*;

fn encoded(frames: &[Frame]) -> Bytes {
    let mut chunks = Chunks::default();
    for frame in frames {
        chunks.push(frame).unwrap();
    }
    let length = chunks.len();
    let bytes: Vec<u8> = chunks.take().flatten().collect();
    assert_eq!(bytes.len(), length);
    assert!(chunks.is_empty());
    bytes.into()
}

/// Decodes `bytes` cut at `cuts`, with pieces of DATA joined again.
fn decode_in_pieces(direction: Direction, bytes: &Bytes, cuts: &[usize]) -> Vec<Frame> {
    let mut decoder = Decoder::new(direction);
    let mut frames = Vec::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        let mut input = bytes.slice(start..end);
        while let Some(frame) = decoder.decode(&mut input).unwrap() {
            frames.push(frame);
        }
        assert!(input.is_empty());
        start = end;
    }
    assert!(decoder.is_complete());
    join_data(frames)
}

fn join_data(frames: Vec<Frame>) -> Vec<Frame> {
    let mut joined: Vec<Frame> = Vec::new();
    for frame in frames {
        if let (Some(Frame::Data(last)), Frame::Data(data)) = (joined.last_mut(), &frame) {
            *last = [last.as_ref(), data].concat().into();
        } else {
            joined.push(frame);
        }
    }
    joined
}

fn request() -> Frame {
    Frame::from(RequestHead {
        app: "wiki".into(),
        method: "GET".into(),
        ..RequestHead::default()
    })
}

fn response(status: u32) -> Frame {
    Frame::from(ResponseHead {
        status,
        ..ResponseHead::default()
    })
}

fn data(bytes: usize) -> Frame {
    Frame::Data(vec![7; bytes].into())
}

fn trailers() -> Frame {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    Frame::Trailers(trailers)
}

fn end(body_bytes: u64) -> Frame {
    Frame::End(End {
        body_bytes,
        timings: None,
    })
}

fn error() -> Frame {
    Frame::Error(ErrorInfo {
        reason: "origin_refused".into(),
        ..ErrorInfo::default()
    })
}

#[test]
fn a_stream_split_at_every_byte_decodes_to_the_same_frames() {
    let frames = vec![
        Frame::Continue,
        response(103),
        response(200),
        data(300),
        trailers(),
        end(300),
    ];
    let bytes = encoded(&frames);
    for cut in 0..=bytes.len() {
        assert_eq!(
            decode_in_pieces(Direction::Response, &bytes, &[cut]),
            frames
        );
    }
    let every: Vec<usize> = (0..bytes.len()).collect();
    assert_eq!(
        decode_in_pieces(Direction::Response, &bytes, &every),
        frames
    );
}

#[test]
fn data_above_the_bound_is_split_and_never_copied() {
    let body = Bytes::from(vec![7; 150 * 1024]);
    let mut chunks = Chunks::default();
    chunks.push(&Frame::Data(body.clone())).unwrap();
    let payloads: Vec<Bytes> = chunks.take().filter(|chunk| chunk.len() > 16).collect();
    assert_eq!(
        payloads.iter().map(Bytes::len).collect::<Vec<_>>(),
        [65_536, 65_536, 22_528]
    );
    assert_eq!(payloads[0].as_ptr(), body.as_ptr());
}

#[test]
fn a_small_answer_is_one_chunk() {
    let mut chunks = Chunks::default();
    for frame in [response(200), data(1000), end(1000)] {
        chunks.push(&frame).unwrap();
    }
    assert_eq!(chunks.take().count(), 1);
}

#[test]
fn data_comes_before_its_frame_is_complete() {
    let mut decoder = Decoder::new(Direction::Request);
    let mut head = encoded(&[request()]);
    decoder.decode(&mut head).unwrap().unwrap();
    let mut part = Bytes::from_static(b"\x00\x80\x01\x00\x00abc");
    assert_eq!(
        decoder.decode(&mut part).unwrap(),
        Some(Frame::Data(Bytes::from_static(b"abc")))
    );
    assert!(!decoder.is_complete());
}

#[test]
fn unknown_high_types_are_skipped() {
    let skipped: &[u8] = b"\x40\x40\x03abc\x7f\xff\x00";
    let stream = [
        skipped,
        &encoded(&[request()]),
        skipped,
        &encoded(&[end(0)]),
    ]
    .concat();
    assert_eq!(
        decode_all(Direction::Request, &stream).unwrap(),
        [request(), end(0)]
    );
}

#[test]
fn broken_frames_are_refused() {
    let many_1xx = vec![response(103); usize::from(INFORMATIONAL_MAX) + 1];
    for (bytes, error) in [
        (b"\x07\x00".to_vec(), FrameError::UnknownType(7)),
        (b"\x3f\x00".to_vec(), FrameError::UnknownType(0x3f)),
        (b"\x00\x00".to_vec(), FrameError::EmptyData),
        (too_long(0x00, 65_537), long("DATA", 65_537)),
        (too_long(0x01, 65_537), long("REQUEST", 65_537)),
        (too_long(0x02, 65_537), long("RESPONSE", 65_537)),
        (too_long(0x03, 65_537), long("TRAILERS", 65_537)),
        (too_long(0x04, 4_097), long("END", 4_097)),
        (too_long(0x05, 4_097), long("ERROR", 4_097)),
        (b"\x06\x01".to_vec(), long("CONTINUE", 1)),
        (too_long(0x3000, 65_537), long("unknown frame", 65_537)),
        (
            encoded(&many_1xx).to_vec(),
            FrameError::Order(OrderError::Informational),
        ),
    ] {
        assert_eq!(decode_all(Direction::Response, &bytes), Err(error));
    }
    assert!(matches!(
        decode_all(Direction::Response, b"\x02\x01\xff"),
        Err(FrameError::Payload {
            frame: "RESPONSE",
            ..
        })
    ));
}

fn too_long(number: u32, length: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::varint::encode(number, &mut bytes);
    crate::varint::encode(length, &mut bytes);
    bytes
}

fn long(frame: &'static str, bytes: u64) -> FrameError {
    FrameError::TooLong { frame, bytes }
}

#[test]
fn heads_above_the_bound_are_not_written() {
    let mut chunks = Chunks::default();
    let head = RequestHead {
        fields: vec![0; HEAD_BYTES_MAX as usize].into(),
        ..RequestHead::default()
    };
    assert!(matches!(
        chunks.push(&Frame::from(head)),
        Err(EncodeError::TooLong {
            frame: "REQUEST",
            ..
        })
    ));
    assert!(chunks.is_empty());
}

#[test]
fn frames_in_order_pass() {
    use Direction::{Request, Response};
    for (direction, frames) in [
        (Request, vec![request(), end(0)]),
        (
            Request,
            vec![request(), data(1), data(2), trailers(), end(3)],
        ),
        (Request, vec![request(), error()]),
        (Response, vec![error()]),
        (Response, vec![response(200), end(0)]),
        (
            Response,
            vec![
                response(100),
                Frame::Continue,
                response(103),
                response(200),
                end(0),
            ],
        ),
        (Response, vec![response(101), data(5), end(5)]),
        (Response, vec![response(200), data(5), error()]),
    ] {
        let mut order = Order::new(direction);
        for frame in &frames {
            order.follow(frame).unwrap();
        }
        assert!(order.is_closed());
    }
}

#[test]
fn frames_out_of_order_are_refused() {
    use Direction::{Request, Response};
    for (direction, frames) in [
        (Request, vec![data(1)]),
        (Request, vec![end(0)]),
        (Request, vec![response(200)]),
        (Request, vec![Frame::Continue]),
        (Request, vec![request(), request()]),
        (Request, vec![request(), trailers(), data(1)]),
        (Request, vec![request(), trailers(), trailers()]),
        (Request, vec![request(), end(0), data(1)]),
        (Request, vec![request(), end(0), error()]),
        (Request, vec![request(), data(1), end(2)]),
        (Response, vec![request()]),
        (Response, vec![data(1)]),
        (Response, vec![response(103), end(0)]),
        (Response, vec![response(103), data(1)]),
        (Response, vec![response(200), response(200)]),
        (Response, vec![response(101), response(200)]),
        (Response, vec![response(200), Frame::Continue]),
        (Response, vec![Frame::Continue, Frame::Continue]),
        (Response, vec![error(), end(0)]),
    ] {
        let mut order = Order::new(direction);
        let (last, first) = frames.split_last().unwrap();
        for frame in first {
            order.follow(frame).unwrap();
        }
        order.follow(last).unwrap_err();
    }
}

fn any_trailers() -> impl Strategy<Value = Frame> {
    proptest::collection::vec(("[a-z-]{1,20}", "[ -~]{0,40}"), 0..10).prop_map(|rows| {
        let mut fields = HeaderMap::new();
        for (name, value) in rows {
            fields.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        Frame::Trailers(fields)
    })
}

prop_compose! {
    fn any_stream()(
        app in "[a-z]{0,30}",
        path in proptest::collection::vec(any::<u8>(), 0..2000),
        body in proptest::collection::vec(any::<u8>(), 0..5000),
        trailers in proptest::option::of(any_trailers()),
    ) -> Vec<Frame> {
        let head = RequestHead { app, path_and_query: path.into(), ..RequestHead::default() };
        let closing = end(body.len() as u64);
        let body = (!body.is_empty()).then(|| Frame::Data(body.into()));
        [Some(Frame::from(head)), body, trailers, Some(closing)].into_iter().flatten().collect()
    }
}

proptest! {
    #[test]
    fn any_stream_cut_anywhere_survives(frames in any_stream(), cuts: Vec<proptest::sample::Index>) {
        let bytes = encoded(&frames);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(decode_in_pieces(Direction::Request, &bytes, &cuts), frames);
    }

    #[test]
    fn any_bytes_decode_or_fail_within_bounds(bytes: Vec<u8>, response: bool) {
        let direction = if response { Direction::Response } else { Direction::Request };
        for frame in decode_all(direction, &bytes).into_iter().flatten() {
            if let Frame::Data(data) = frame {
                prop_assert!(!data.is_empty() && data.len() <= bytes.len());
            }
        }
    }

    #[test]
    fn a_damaged_stream_never_panics(frames in any_stream(), at: proptest::sample::Index, byte: u8) {
        let mut bytes = encoded(&frames).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode_all(Direction::Request, &bytes);
    }
}
