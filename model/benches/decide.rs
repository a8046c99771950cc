//! What else is decided for every request: whether the caller may, and which agent it goes to.

#[path = "../../loadtest/cpu_time.rs"]
mod cpu_time;

use std::{hint::black_box, num::NonZeroU32, time::Duration};

use cpu_time::CpuTime;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use model::{
    access::{self, Caller},
    app::{Access, App},
    balance::{self, AgentLoad, Draw, Outcome},
    path,
};

/// Long enough after the start for every agent to be warm.
const NOW: Duration = Duration::from_secs(3_600);

fn permit(criterion: &mut Criterion<CpuTime>) {
    let app = App::new(
        "wiki".parse().expect("a good id"),
        "office".parse().expect("a good id"),
        Access::Passthrough,
    );
    criterion.bench_function("access/authorise", |bencher| {
        bencher.iter(|| access::authorise(black_box(&app), black_box(Caller::Anonymous)));
    });
}

/// A group that serves: every agent has answered lately, some faster than others.
fn agents(count: u32) -> Vec<AgentLoad> {
    (0..count)
        .map(|number| {
            let load = AgentLoad::new(Duration::ZERO, NonZeroU32::MIN);
            let latency = Duration::from_micros(u64::from(500 + number * 37 % 5_000));
            load.record(NOW, Outcome::Head(latency));
            load
        })
        .collect()
}

fn pick(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("balance/pick");
    for count in [2, 16, 256] {
        let agents = agents(count);
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let draw = Draw { now: NOW, random };
                balance::pick(black_box(&agents), |one| one, |_| false, draw).is_some()
            });
        });
    }
}

/// How servers may read a path: asked for every request, and once more where paths decide.
fn readings(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("path/read_leniently");
    for (name, path) in [
        ("plain", "/pages/start"),
        ("file", "/static/js/app.4f2a.js"),
        ("capitals", "/wiki/Main_Page"),
        ("escapes", "/wiki/Main%20Page"),
    ] {
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| path::read_leniently(black_box(path)).len());
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = permit, pick, readings
}
criterion_main!(benches);
