//! Any bytes as one direction of a stream: decoding never panics, holds no more than came, does not depend on where the bytes
//! are split, and gives frames that encode to what decodes to them again.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tunnel::frame::{Chunks, Decoder, Direction, Frame, FrameError, decode_all};

fuzz_target!(|input: &[u8]| {
    let [choice, split, bytes @ ..] = input else {
        return;
    };
    let direction = if choice % 2 == 0 {
        Direction::Request
    } else {
        Direction::Response
    };
    let whole = decode_all(direction, bytes);
    let pieces = decode_in_pieces(direction, bytes, usize::from(*split % 16) + 1);
    assert_eq!(
        whole.clone().map(join_data),
        pieces.map(join_data),
        "the split matters"
    );
    let Ok(frames) = whole else { return };
    assert!(frames.len() <= bytes.len(), "more frames than bytes");
    let data: usize = frames.iter().map(data_bytes).sum();
    assert!(data <= bytes.len(), "more data than came");
    let again = decode_all(direction, &encode(&frames)).expect("what was encoded decodes");
    assert_eq!(join_data(again), join_data(frames), "not the same again");
});

fn decode_in_pieces(
    direction: Direction,
    bytes: &[u8],
    piece_bytes: usize,
) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = Decoder::new(direction);
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece_bytes) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(frame) = decoder.decode(&mut input)? {
            frames.push(frame);
        }
        assert!(input.is_empty(), "bytes were left");
    }
    Ok(frames)
}

fn encode(frames: &[Frame]) -> Vec<u8> {
    let mut chunks = Chunks::default();
    for frame in frames {
        chunks.push(frame).expect("what was decoded encodes");
    }
    let length = chunks.len();
    let bytes = chunks.take().collect::<Vec<_>>().concat();
    assert_eq!(bytes.len(), length, "the length is wrong");
    bytes
}

fn data_bytes(frame: &Frame) -> usize {
    match frame {
        Frame::Data(data) => data.len(),
        _ => 0,
    }
}

/// DATA comes in the pieces in which it was split.
fn join_data(frames: Vec<Frame>) -> Vec<Frame> {
    let mut joined: Vec<Frame> = Vec::new();
    for frame in frames {
        match (joined.last_mut(), frame) {
            (Some(Frame::Data(before)), Frame::Data(data)) => {
                *before = [&before[..], &data[..]].concat().into();
            }
            (_, frame) => joined.push(frame),
        }
    }
    joined
}
