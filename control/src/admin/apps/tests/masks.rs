//! Updates change what their mask names, and no more.

use proptest::prelude::*;
use proto::admin::{App, Origin, OriginProtocol, Timeouts};

use super::{get, mask, seconds, update};
use crate::admin::tests::{Bench, app};

/// Paths that an update may name, with what they do, told a second time and in the plainest way.
const PATHS: [&str; 9] = [
    "display_name",
    "hosts",
    "path",
    "origins",
    "access",
    "timeouts",
    "timeouts.connect",
    "timeouts.response",
    "timeouts.idle",
];

fn merged(before: &App, wanted: &App, paths: &[&str]) -> App {
    let mut after = before.clone();
    let all = paths.contains(&"*");
    let says = |path: &str| all || paths.contains(&path);
    if says("display_name") {
        after.display_name = wanted.display_name.clone();
    }
    if says("hosts") {
        after.hosts = wanted.hosts.clone();
    }
    if says("path") {
        after.path = wanted.path.clone();
    }
    if says("origins") {
        after.origins = wanted.origins.clone();
    }
    if says("access") {
        after.access = wanted.access;
    }
    if all {
        after.group = wanted.group.clone();
    }
    let (mut times, new) = (before.timeouts.unwrap(), wanted.timeouts.unwrap());
    if says("timeouts") || says("timeouts.connect") {
        times.connect = new.connect;
    }
    if says("timeouts") || says("timeouts.response") {
        times.response = new.response;
    }
    if says("timeouts") || says("timeouts.idle") {
        times.idle = new.idle;
    }
    after.timeouts = Some(times);
    after
}

fn any_app() -> impl Strategy<Value = App> {
    let host = prop::sample::select(vec!["a.example.test", "b.example.test", "*.example.test"]);
    let hosts = prop::collection::hash_set(host, 1..3);
    let path = prop::sample::select(vec!["/", "/a", "/a/b"]);
    (
        hosts,
        path,
        "[a-z]{0,8}",
        1_u16..9,
        1_i64..100,
        1_i64..100,
        1_i64..100,
    )
        .prop_map(
            |(hosts, path, display_name, port, connect, response, idle)| App {
                name: "apps/wiki".to_owned(),
                display_name,
                hosts: hosts.into_iter().map(str::to_owned).collect(),
                path: path.to_owned(),
                origins: vec![Origin {
                    url: format!("http://10.0.0.5:{port}"),
                    tls: None,
                    weight: 1,
                    protocol: OriginProtocol::Auto.into(),
                    title_case: false,
                }],
                timeouts: Some(Timeouts {
                    connect: Some(seconds(connect)),
                    response: Some(seconds(response)),
                    idle: Some(seconds(idle)),
                    ..Default::default()
                }),
                ..app("unused.example.test")
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_update_leaves_what_the_mask_says(
        before in any_app(),
        wanted in any_app(),
        paths in prop::sample::subsequence(PATHS.to_vec(), 0..=9),
        all in any::<bool>(),
    ) {
        let paths = if all { vec!["*"] } else { paths };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (got, want) = runtime.block_on(async {
            let bench = Bench::with_office().await;
            let before = bench.create_app("wiki", before).await.unwrap();
            let want = merged(&before, &wanted, &paths);
            update(&bench, wanted, mask(&paths)).await.unwrap();
            (get(&bench, "apps/wiki").await.unwrap(), want)
        });
        let bare = |app: App| App { etag: String::new(), update_time: None, ..app };
        prop_assert_eq!(bare(got), bare(want));
    }
}
