//! What the tunnel does with the bytes of a request: field blocks, heads, frames. No I/O.

#[path = "../../loadtest/cpu_time.rs"]
mod cpu_time;

use std::hint::black_box;

use bytes::Bytes;
use cpu_time::CpuTime;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue};
use proto::tunnel::{End, RequestFlags, RequestHead, ResponseHead};
use tunnel::{
    Frame, fields,
    frame::{Chunks, Decoder, Direction},
};

/// Fields of a browser's request, then some more of an app's own.
const NAMES: [&str; 12] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "cookie",
    "user-agent",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "referer",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-request-id",
];

fn some_fields(count: usize) -> HeaderMap {
    (0..count)
        .map(|number| {
            let name = match NAMES.get(number) {
                Some(name) => HeaderName::from_static(name),
                None => format!("x-app-{number}").parse().expect("a good name"),
            };
            (
                name,
                HeaderValue::from_static("a value of usual length, neither long nor short"),
            )
        })
        .collect()
}

fn request() -> Frame {
    let head = RequestHead {
        request_id: Bytes::from_static(&[7; 16]),
        app: "wiki".to_owned(),
        revision: 4711,
        method: Bytes::from_static(b"GET"),
        scheme: Bytes::from_static(b"https"),
        authority: Bytes::from_static(b"wiki.example.com"),
        path_and_query: Bytes::from_static(b"/pages/start?view=full"),
        http_version: 11,
        fields: fields::encode(&some_fields(NAMES.len())).expect("a block that fits"),
        flags: Some(RequestFlags {
            idempotent: true,
            ..RequestFlags::default()
        }),
        user_connection: Bytes::from_static(&[9; 16]),
        ..RequestHead::default()
    };
    head.into()
}

fn response() -> Frame {
    let head = ResponseHead {
        status: 200,
        fields: fields::encode(&some_fields(8)).expect("a block that fits"),
        body_length: Some(1024),
        ..ResponseHead::default()
    };
    head.into()
}

fn encoded(frames: &[Frame]) -> Bytes {
    let mut chunks = Chunks::default();
    for frame in frames {
        chunks.push(frame).expect("a frame that fits");
    }
    let parts: Vec<Bytes> = chunks.take().collect();
    parts.concat().into()
}

/// As a sender does it: into what goes to the transport.
fn encode(frames: &[Frame]) -> usize {
    let mut chunks = Chunks::default();
    for frame in frames {
        chunks.push(frame).expect("a frame that fits");
    }
    chunks.take().map(|chunk| black_box(chunk).len()).sum()
}

fn decode(direction: Direction, mut input: Bytes) -> usize {
    let mut decoder = Decoder::new(direction);
    let mut frames = 0;
    while let Some(frame) = decoder.decode(&mut input).expect("good frames") {
        black_box(frame);
        frames += 1;
    }
    frames
}

fn field_blocks(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("fields");
    for count in [4, 12, 40] {
        let map = some_fields(count);
        group.bench_function(BenchmarkId::new("encode", count), |bencher| {
            bencher.iter(|| fields::encode(black_box(&map)));
        });
        // The block is one among several in a buffer that is held elsewhere too, as in a stream.
        let block = fields::encode(&map).expect("a block that fits");
        group.bench_function(BenchmarkId::new("decode", count), |bencher| {
            bencher.iter(|| fields::decode(block.clone()));
        });
    }
}

/// What is a write of its own in a small exchange.
fn exchanges(criterion: &mut Criterion<CpuTime>) {
    let end = |body_bytes| {
        Frame::End(End {
            body_bytes,
            timings: None,
        })
    };
    let data = Frame::Data(Bytes::from(vec![b'x'; 1024]));
    let mut group = criterion.benchmark_group("frames");
    for (name, direction, frames) in [
        ("request", Direction::Request, vec![request(), end(0)]),
        (
            "response",
            Direction::Response,
            vec![response(), data, end(1024)],
        ),
    ] {
        group.bench_function(BenchmarkId::new("encode", name), |bencher| {
            bencher.iter(|| encode(black_box(&frames)));
        });
        let bytes = encoded(&frames);
        group.bench_function(BenchmarkId::new("decode", name), |bencher| {
            bencher.iter_batched(
                || bytes.clone(),
                |bytes| decode(direction, bytes),
                BatchSize::SmallInput,
            );
        });
    }
}

/// Bodies in bulk: DATA, read in packets of QUIC or as it was written.
fn bodies(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("data");
    let body = Bytes::from(vec![b'x'; 64 * 1024]);
    let frames = [Frame::Data(body.clone())];
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("encode/64KiB", |bencher| {
        bencher.iter(|| encode(black_box(&frames)));
    });
    let all = encoded(&[response(), frames[0].clone()]);
    for piece in [1_200, 64 * 1024] {
        let pieces: Vec<Bytes> = all.chunks(piece).map(Bytes::copy_from_slice).collect();
        group.bench_function(BenchmarkId::new("decode/64KiB", piece), |bencher| {
            bencher.iter(|| {
                let mut decoder = Decoder::new(Direction::Response);
                for piece in &pieces {
                    let mut input = piece.clone();
                    while let Some(frame) = decoder.decode(&mut input).expect("good frames") {
                        black_box(frame);
                    }
                }
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = field_blocks, exchanges, bodies
}
criterion_main!(benches);
