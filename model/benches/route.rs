//! Route lookup: from a request's host and path to the app that is published there.
//!
//! Tables hold one app for each hostname, which is the worst case for memory and caches. `warm` asks for one host again and again;
//! `any` asks for all hosts of the table in an order that no cache foresees.

#[path = "../../loadtest/cpu_time.rs"]
mod cpu_time;

use std::{hint::black_box, sync::Arc};

use cpu_time::CpuTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use model::{
    app::{Access, App},
    host::Hostname,
    route::RouteTable,
};

/// Hostnames of a table; without `--bench` (in `cargo test`) the last is left out, as a debug build takes long to make it.
const SIZES: [usize; 3] = [10, 10_000, 1_000_000];
/// Lookups after which the questions are repeated, at most: they touch far more memory than caches hold.
const QUESTIONS_MAX: usize = 1_000_000;

/// A host and a path that somebody asks for.
type Question = (Hostname, &'static str);

fn sizes() -> &'static [usize] {
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    if is_measured { &SIZES } else { &SIZES[..2] }
}

/// Of the length that names have in practice.
fn name(number: usize) -> String {
    format!("app-{number}.team-{}.example.com", number % 97)
}

fn app(number: usize, host: &str, path: &str) -> Arc<App> {
    Arc::new(App {
        hosts: vec![host.parse().expect("a good host")],
        path: path.parse().expect("a good path"),
        ..App::new(
            format!("app-{number}").parse().expect("a good id"),
            "office".parse().expect("a good id"),
            Access::Passthrough,
        )
    })
}

/// `count` hosts, each with one app at its root.
fn exact(count: usize) -> RouteTable {
    RouteTable::new((0..count).map(|number| app(number, &name(number), "/")))
}

/// `count` domains, each with all its names published by a wildcard.
fn wildcards(count: usize) -> RouteTable {
    RouteTable::new((0..count).map(|number| app(number, &format!("*.{}", name(number)), "/")))
}

/// `count` hosts with four apps each: at the root, and below it.
fn scoped(count: usize) -> RouteTable {
    let paths = ["/", "/api", "/api/v2", "/Docs"];
    RouteTable::new(
        (0..count).flat_map(|number| paths.map(|path| app(number, &name(number), path))),
    )
}

/// One host with `count` apps, each below a path of its own.
fn portal(count: usize) -> RouteTable {
    RouteTable::new(
        (0..count).map(|number| app(number, "portal.example.com", &format!("/app-{number}"))),
    )
}

/// Numbers below `count` in an order that nothing foresees, each once.
fn shuffled(count: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for last in (1..count).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let other = usize::try_from(state >> 33).unwrap_or_default() % (last + 1);
        numbers.swap(last, other);
    }
    numbers
}

/// Questions lie in memory as they are asked, as a request's own host does: only the table is far.
fn questions(count: usize, host: impl Fn(usize) -> String, path: &'static str) -> Vec<Question> {
    let mut numbers = shuffled(count);
    numbers.truncate(QUESTIONS_MAX);
    numbers
        .into_iter()
        .map(|number| (host(number).parse().expect("a good host"), path))
        .collect()
}

fn ask(
    group: &mut BenchmarkGroup<'_, CpuTime>,
    id: BenchmarkId,
    table: &RouteTable,
    questions: &[Question],
) {
    let (mut at, mut waited) = (0, 0);
    group.bench_function(id, |bencher| {
        bencher.iter(|| {
            let (host, path) = &questions[at + waited];
            at = if at + 1 == questions.len() { 0 } else { at + 1 };
            let found = table.find(host, path);
            // Always nothing; but as the next question depends on it, a lookup waits for the one before, as in requests.
            waited = black_box(found.map_or(0, |route| Arc::as_ptr(route.app()).addr() >> 63));
        });
    });
}

fn hits(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("route/hit");
    for &count in sizes() {
        let table = exact(count);
        let all = questions(count, name, "/index.html");
        ask(
            &mut group,
            BenchmarkId::new("warm", count),
            &table,
            &all[..1],
        );
        ask(&mut group, BenchmarkId::new("any", count), &table, &all);
    }
}

fn misses(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("route/miss");
    for &count in sizes() {
        let table = exact(count);
        let all = questions(count, |number| format!("x{}", name(number)), "/");
        ask(
            &mut group,
            BenchmarkId::new("warm", count),
            &table,
            &all[..1],
        );
        ask(&mut group, BenchmarkId::new("any", count), &table, &all);
    }
}

fn wildcard_hits(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("route/wildcard");
    for &count in sizes() {
        let table = wildcards(count);
        let all = questions(count, |number| format!("x.{}", name(number)), "/index.html");
        ask(
            &mut group,
            BenchmarkId::new("warm", count),
            &table,
            &all[..1],
        );
        ask(&mut group, BenchmarkId::new("any", count), &table, &all);
    }
}

fn prefixes(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("route/prefix");
    for &count in sizes() {
        let hosts = count / 4 + 1;
        let table = scoped(hosts);
        let all = questions(hosts, name, "/api/v2/users/4711");
        ask(
            &mut group,
            BenchmarkId::new("warm", count),
            &table,
            &all[..1],
        );
        ask(&mut group, BenchmarkId::new("any", count), &table, &all);
    }
    for count in [2, 16, 1_000] {
        let table = portal(count);
        let host: Hostname = "portal.example.com".parse().expect("a good host");
        let asked = [(host, "/app-1/start")];
        ask(
            &mut group,
            BenchmarkId::new("portal", count),
            &table,
            &asked,
        );
    }
}

fn building(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("route/build");
    group.sample_size(10);
    let sizes: &[usize] = if sizes().len() == SIZES.len() {
        &[50_000, 1_000_000]
    } else {
        &[1_000]
    };
    for &count in sizes {
        let apps: Vec<_> = (0..count)
            .map(|number| app(number, &name(number), "/"))
            .collect();
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter_with_large_drop(|| RouteTable::new(apps.iter().cloned()));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = hits, misses, wildcard_hits, prefixes, building
}
criterion_main!(benches);
