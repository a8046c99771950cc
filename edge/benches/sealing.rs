//! Sealing and opening what users bring back: the cookie of a session, asked for with every request, and tickets of TLS sessions.
//!
//! The edge's own file is compiled in here, as nothing outside of the edge seals.

#[path = "../../loadtest/cpu_time.rs"]
mod cpu_time;
#[path = "../src/sealing.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the edge shows its errors, and tests what it seals"
)]
mod sealing;

use std::hint::black_box;

use cpu_time::CpuTime;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use proto::fabric;
use sealing::{Purpose, SealingKeys};

/// Bytes of a TLS session as rustls writes it for TLS 1.3, without client certificates, and of a user's session with ten groups.
const BYTES: [usize; 2] = [120, 300];

const HERE: Purpose<'_> = Purpose {
    kind: "app",
    place: "wiki.example.com",
};

fn keys(count: u8) -> SealingKeys {
    let keys = (0..count).map(|number| fabric::SealingKey {
        name: vec![number; 16].into(),
        key: vec![number; 32].into(),
    });
    let keys = fabric::SealingKeys {
        keys: keys.collect(),
    };
    SealingKeys::new(&keys).expect("good keys")
}

fn sealing(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("sealing");
    let keys = keys(8);
    for bytes in BYTES {
        let plain = vec![7; bytes];
        group.bench_function(BenchmarkId::new("seal", bytes), |bencher| {
            bencher.iter(|| keys.seal(HERE, black_box(&plain)));
        });
        let sealed = keys.seal(HERE, &plain).expect("there is a key");
        group.bench_function(BenchmarkId::new("open", bytes), |bencher| {
            bencher.iter(|| keys.open(HERE, black_box(&sealed)));
        });
        let mut forged = sealed.clone();
        forged[sealed.len() - 1] ^= 1;
        group.bench_function(BenchmarkId::new("refuse", bytes), |bencher| {
            bencher.iter(|| keys.open(HERE, black_box(&forged)));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = sealing
}
criterion_main!(benches);
