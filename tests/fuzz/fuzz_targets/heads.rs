//! Any bytes as the heads and field blocks that the tunnel carries: what is read of them can be sent on without becoming another
//! message, and reads as the same again.

#![no_main]

use bytes::Bytes;
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use proto::tunnel::{ErrorInfo, RequestHead, ResponseHead};
use tunnel::{
    codes::Code,
    fields::{self, FIELD_BYTES_MAX, FIELDS_MAX},
    frame::{Chunks, Direction, Frame, decode_all},
};

fuzz_target!(|input: &[u8]| {
    let [choice, bytes @ ..] = input else { return };
    let bytes = Bytes::copy_from_slice(bytes);
    match choice % 4 {
        0 => check_block(bytes),
        1 => {
            if let Ok(head) = RequestHead::decode(bytes) {
                check_block(head.fields.clone());
                check_frame(Direction::Request, head.into());
            }
        }
        2 => {
            if let Ok(head) = ResponseHead::decode(bytes) {
                check_block(head.fields.clone());
                check_frame(Direction::Response, head.into());
            }
        }
        _ => {
            if let Ok(error) = ErrorInfo::decode(bytes) {
                // Any number is a code, and keeps its meaning.
                let code = Code::from(error.code);
                assert_eq!(Code::from(u32::from(code)), code);
                check_frame(Direction::Response, Frame::Error(error));
            }
        }
    }
});

fn check_block(block: Bytes) {
    let Ok(decoded) = fields::decode(block.clone()) else {
        return;
    };
    assert!(decoded.len() <= FIELDS_MAX && block.len() <= FIELD_BYTES_MAX);
    check_lines(&decoded);
    let encoded = fields::encode(&decoded).expect("what was decoded encodes");
    assert!(
        encoded.len() <= block.len(),
        "the shortest form is the one written"
    );
    assert_eq!(fields::decode(encoded).as_ref(), Ok(&decoded));
}

/// Written as HTTP/1.1, each field is one line.
fn check_lines(fields: &HeaderMap) {
    for (name, value) in fields {
        let token = |byte: u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte);
        let name = name.as_str();
        assert!(!name.is_empty() && name.bytes().all(token), "{name:?}");
        assert!(
            !name.bytes().any(|byte| byte.is_ascii_uppercase()),
            "{name:?}"
        );
        assert!(
            !value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte)),
            "{value:?}"
        );
    }
}

fn check_frame(direction: Direction, frame: Frame) {
    let mut chunks = Chunks::default();
    // Too large is an answer, too.
    if chunks.push(&frame).is_ok() {
        let bytes = chunks.take().collect::<Vec<_>>().concat();
        assert_eq!(decode_all(direction, &bytes), Ok(vec![frame]));
    }
}
