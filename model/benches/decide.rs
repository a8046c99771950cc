//! What else is decided for every request: whether the caller may, and which agent it goes to.

#[path = "../../loadtest/cpu_time.rs"]
mod cpu_time;

use std::{hint::black_box, net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use cpu_time::CpuTime;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use model::{
    access::{
        Caller, authorise,
        facts::{ClientKind, Facts, Platform},
        needs::Requirements,
        place::Location,
        policy::{Grant, Policy},
        ruleset::{RuleSet, Unreadable},
        when::Expression,
    },
    app::{Access, App, Assignment},
    balance::{self, AgentLoad, Draw, Outcome},
    path,
    user::User,
};

/// Long enough after the start for every agent to be warm.
const NOW: Duration = Duration::from_secs(3_600);
/// A morning, in Unix milliseconds.
const NOW_MS: i64 = 1_795_680_000_000;

/// Of every kind that there is: about groups, apps, places, times, clients, and by expressions; every fifth is about the request.
fn rules(count: u32) -> RuleSet {
    let policy = |number: u32| {
        let mut policy = Policy::new(Grant::Require(Requirements {
            mfa: true,
            sign_in_within: Some(Duration::from_secs(3_600)),
            ..Requirements::default()
        }));
        policy.which.all_apps = true;
        policy.who.include.groups = ["staff".parse().expect("a group")].into();
        match number % 5 {
            0 => {}
            1 => policy.who.include.groups = ["lab".parse().expect("a group")].into(),
            2 => policy.place.exclude.locations = vec!["office".parse().expect("an id")],
            3 => policy.which.paths = vec!["/admin".parse().expect("a path")],
            _ => {
                let text = "request.method == 'POST' && client.country in ['US', 'FR']";
                policy.when = Expression::new(text).ok();
            }
        }
        let id = format!("rule-{number}").parse().expect("an id");
        (id, Arc::new(policy))
    };
    let networks = (0..200).map(|third| format!("10.0.{third}.0/28"));
    let office = Location {
        networks: networks
            .map(|text| text.parse().expect("a network"))
            .collect(),
        ..Location::default()
    };
    let locations = [("office".parse().expect("an id"), office)];
    RuleSet::new(
        (0..count).map(policy),
        &locations.into(),
        Unreadable::default(),
    )
}

fn permit(criterion: &mut Criterion<CpuTime>) {
    let app = |access| {
        App::new(
            "wiki".parse().expect("a good id"),
            "office".parse().expect("a good id"),
            access,
        )
    };
    let open = app(Access::Passthrough);
    let none = RuleSet::default();
    criterion.bench_function("access/authorise", |bencher| {
        bencher.iter(|| {
            let caller = black_box(Caller::Anonymous);
            authorise(black_box(&open), caller, &none, facts, &mut |_| {}).is_ok()
        });
    });
    let closed = app(Access::SignIn(Assignment {
        everyone: true,
        ..Assignment::default()
    }));
    let user = user();
    let mut group = criterion.benchmark_group("access/authorise/rules");
    for count in [0, 1, 50, 200] {
        let rules = rules(count);
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                let caller = Caller::User(Arc::clone(black_box(&user)));
                let decided = authorise(black_box(&closed), caller, &rules, facts, &mut |_| {});
                assert!(decided.is_ok());
            });
        });
    }
}

/// Two factors, a while ago, from the office.
fn user() -> Arc<User> {
    let mut user = User::new("alice".parse().expect("an id"));
    let groups = ["all", "staff", "operators"].map(|name| name.parse().expect("a group"));
    user.groups = groups.into();
    user.authentication.methods = vec!["pwd".to_owned(), "otp".to_owned()];
    user.authentication.at_ms = NOW_MS - 60_000;
    Arc::new(user)
}

fn facts() -> Facts<'static> {
    Facts {
        host: "wiki.example.com",
        method: "GET",
        other_methods: &[],
        path: "/pages/start".into(),
        path_is_ambiguous: false,
        address: IpAddr::from([10, 0, 77, 3]),
        country: None,
        client: ClientKind::Browser,
        platform: Platform::Linux,
        has_device_certificate: false,
        now_ms: NOW_MS,
        session_began_ms: NOW_MS - 60_000,
        seen_ms: None,
    }
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
