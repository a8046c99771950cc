//! Any bytes as what a user of HTTP/3 sends: frame headers, settings, field sections with their Huffman codes, heads. What is
//! read keeps within its bounds, and reads as the same again when it is written.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| http3::check::any(input));

// The parser itself, which the edge keeps to itself: the folder is that of its modules.
#[path = "../../../edge/src/http3"]
#[allow(dead_code, reason = "the edge uses the rest")]
mod http3 {
    mod frame;
    mod head;
    mod qpack;

    pub(super) mod check {
        use bytes::Bytes;
        use http::{Request, Uri, Version};
        use hyper::ext::Protocol;

        use super::{
            frame::{Kind, are_settings, header, read_header},
            head::{self, Head},
            qpack::{self, Bounds, Line, Section},
        };

        /// What RFC 9114, section 4.2.2 adds to the bytes of each field.
        const FIELD_OVERHEAD_BYTES: usize = 32;
        /// Bytes of a frame's header.
        const HEADER_BYTES_MAX: usize = 16;

        const BOUNDS: Bounds = Bounds {
            bytes: 2_048,
            lines: 24,
        };

        pub(crate) fn any(input: &[u8]) {
            let [choice, bytes @ ..] = input else { return };
            match choice % 3 {
                0 => frame_header(bytes),
                1 => settings(bytes),
                _ => section(Bytes::copy_from_slice(bytes)),
            }
        }

        fn frame_header(bytes: &[u8]) {
            let Some(read) = read_header(bytes) else {
                assert!(bytes.len() < HEADER_BYTES_MAX, "that is all a header needs");
                return;
            };
            assert!(read.bytes <= bytes.len() && read.bytes <= HEADER_BYTES_MAX);
            // It is never taken for whole before it is.
            for short in 0..read.bytes {
                assert_eq!(read_header(&bytes[..short]), None);
            }
            if let (Kind::Data | Kind::Headers | Kind::Settings | Kind::GoAway, Ok(length)) =
                (read.kind, usize::try_from(read.length))
                && u32::try_from(length).is_ok()
                && length < 1 << 30
            {
                let again = read_header(&header(read.kind, length)).expect("it is whole");
                assert_eq!((again.kind, again.length), (read.kind, read.length));
            }
        }

        fn settings(bytes: &[u8]) {
            if are_settings(bytes) && !bytes.is_empty() {
                let twice = [bytes, bytes].concat();
                assert!(!are_settings(&twice), "each is there twice");
            }
        }

        fn section(bytes: Bytes) {
            let Ok(lines) = qpack::decode(bytes, BOUNDS) else {
                return;
            };
            assert!(lines.len() <= BOUNDS.lines);
            let of_line = |line: &Line| line.name.len() + line.value.len() + FIELD_OVERHEAD_BYTES;
            assert!(lines.iter().map(of_line).sum::<usize>() <= BOUNDS.bytes);
            let mut written = Section::new();
            for line in &lines {
                if let Ok(name) = std::str::from_utf8(&line.name) {
                    written.add(name, &line.value);
                } else {
                    // No name of a field; the head refuses it.
                    assert!(head::read(lines).is_err());
                    return;
                }
            }
            let again = qpack::decode(written.finish(), BOUNDS).expect("it is within its bounds");
            let plain = |lines: &[Line]| -> Vec<(Bytes, Bytes)> {
                let pairs = lines
                    .iter()
                    .map(|line| (line.name.clone(), line.value.clone()));
                pairs.collect()
            };
            assert_eq!(plain(&lines), plain(&again));
            if let Ok(head) = head::read(lines) {
                request(&head);
            }
        }

        /// A head that was understood is a request, written as HTTP/1.1 or as HTTP/3.
        fn request(head: &Head) {
            let request = &head.request;
            assert_eq!(request.version(), Version::HTTP_3);
            for (name, value) in request.headers() {
                let name = name.as_str();
                assert!(!name.is_empty() && !name.starts_with(':'));
                assert!(!["connection", "transfer-encoding", "upgrade"].contains(&name));
                assert!(!value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte)));
            }
            let again = head::read(
                qpack::decode(
                    write(request),
                    Bounds {
                        bytes: 1 << 20,
                        lines: 64,
                    },
                )
                .expect("what was written is a section"),
            )
            .expect("what was read is a request");
            assert_eq!(again.length, head.length);
            assert_eq!(again.request.method(), request.method());
            assert_eq!(again.request.uri(), request.uri());
            assert_eq!(again.request.headers(), request.headers());
        }

        fn write(request: &Request<()>) -> Bytes {
            let uri: &Uri = request.uri();
            let mut section = Section::new();
            section.add(":method", request.method().as_str().as_bytes());
            if let Some(protocol) = request.extensions().get::<Protocol>() {
                section.add(":protocol", protocol.as_str().as_bytes());
            }
            if uri.path_and_query().is_some() {
                // One that came without an authority is not kept.
                let scheme = uri.scheme_str().unwrap_or("https");
                section.add(":scheme", scheme.as_bytes());
            }
            if let Some(authority) = uri.authority() {
                section.add(":authority", authority.as_str().as_bytes());
            }
            if let Some(path) = uri.path_and_query() {
                section.add(":path", path.as_str().as_bytes());
            }
            for (name, value) in request.headers() {
                section.add(name.as_str(), value.as_bytes());
            }
            section.finish()
        }
    }
}
