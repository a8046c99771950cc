//! An app's names on their way in and out.

use http::{HeaderMap, HeaderValue};
use model::app::{AgentApp, AgentSegment, HostSent, Translation};
use proto::tunnel::RequestHead;
use tokio::io::AsyncWriteExt as _;
use tunnel::fields;

use crate::{
    edge::{Bench, app, get},
    origin::{ScriptedOrigin, read_head},
};

/// Answers with its own head and these fields; `ORIGIN` in them stands for its own URL.
async fn echo(told: &'static str) -> ScriptedOrigin {
    ScriptedOrigin::start(move |mut stream, _| async move {
        let url = format!("http://{}", stream.local_addr().unwrap());
        while let Some(head) = read_head(&mut stream).await {
            let (told, length) = (told.replace("ORIGIN", &url), head.len());
            let answer =
                format!("HTTP/1.1 302 Found\r\ncontent-length: {length}\r\n{told}\r\n{head}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

fn translated(origin: &ScriptedOrigin, translation: Translation) -> AgentApp {
    AgentApp {
        translation,
        ..app("app", &[&origin.url()])
    }
}

fn asking(path: &'static str, rows: &[(&'static str, &'static str)]) -> RequestHead {
    let mut map = HeaderMap::new();
    for (name, value) in rows {
        map.append(*name, HeaderValue::from_static(value));
    }
    RequestHead {
        fields: fields::encode(&map).unwrap(),
        ..get(path)
    }
}

#[tokio::test]
async fn the_origin_is_asked_by_its_own_name_unless_another_is_set() {
    let origin = echo("").await;
    let inner = format!("127.0.0.1:{}", origin.port());
    for (host, want) in [
        (HostSent::Inner, inner.as_str()),
        (HostSent::Public, "app.example.com"),
        (HostSent::Named("wiki.corp".to_owned()), "wiki.corp"),
    ] {
        let translation = Translation {
            host,
            ..Translation::default()
        };
        let bench = Bench::with(vec![translated(&origin, translation)]).await;
        let seen = bench.get("/a%2fb?c").await.text();
        let start = format!("get /a%2fb?c http/1.1\r\nhost: {want}\r\n");
        assert!(seen.starts_with(&start), "{seen}");
    }
}

#[tokio::test]
async fn names_in_fields_are_translated_both_ways() {
    let origin = echo(
        "location: ORIGIN/in/x\r\nset-cookie: a=b; Domain=127.0.0.1; Path=/in; SameSite=Lax\r\n\
         set-cookie: c=; odd\r\nlink: </in/y>; rel=next\r\n",
    )
    .await;
    let moved = AgentApp {
        path: "/out".parse().unwrap(),
        ..translated(
            &origin,
            Translation {
                inner_path: Some("/in".parse().unwrap()),
                ..Translation::default()
            },
        )
    };
    let bench = Bench::with(vec![moved]).await;
    let request = asking(
        "/out/a%20b?c=/out",
        &[
            ("origin", "https://app.example.com"),
            ("referer", "https://app.example.com/out/z"),
        ],
    );
    let answer = bench.ask(request, b"").await;
    let told = answer.fields();
    assert_eq!(told["location"], "https://app.example.com/out/x");
    assert_eq!(told["link"], "</out/y>; rel=next");
    let cookies: Vec<_> = told.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=b; Path=/out; SameSite=Lax", "c=; odd"]);
    let seen = answer.text();
    let inner = origin.url();
    assert!(
        seen.starts_with("get /in/a%20b?c=/out http/1.1\r\n"),
        "{seen}"
    );
    assert!(seen.contains(&format!("origin: {inner}\r\n")), "{seen}");
    assert!(
        seen.contains(&format!("referer: {inner}/in/z\r\n")),
        "{seen}"
    );
}

#[tokio::test]
async fn a_segment_has_an_inner_path_of_its_own_or_none() {
    let (main, other) = (echo("").await, echo("").await);
    let inner = |path: &str| Some(path.parse().unwrap());
    let mut moved = translated(
        &main,
        Translation {
            inner_path: inner("/crm"),
            ..Translation::default()
        },
    );
    let segment = |id: &str, path: &str, inner_path| AgentSegment {
        id: id.parse().unwrap(),
        path: path.parse().unwrap(),
        inner_path,
        origins: app("app", &[&other.url()]).origins,
    };
    moved.segments = vec![
        segment("api", "/api", None),
        segment("docs", "/docs", inner("/in")),
    ];
    let bench = Bench::with(vec![moved]).await;
    for (segment, path, want) in [
        ("", "/users", "get /crm/users "),
        ("api", "/api/users", "get /api/users "),
        ("docs", "/docs/users", "get /in/users "),
    ] {
        let request = RequestHead {
            segment: segment.to_owned(),
            ..asking(path, &[])
        };
        let seen = bench.ask(request, b"").await.text();
        assert!(seen.starts_with(want), "{seen}");
    }
}

#[tokio::test]
async fn a_path_that_leaves_the_published_one_is_refused() {
    let origin = echo("").await;
    let moved = translated(
        &origin,
        Translation {
            inner_path: Some("/in".parse().unwrap()),
            ..Translation::default()
        },
    );
    let bench = Bench::with(vec![moved]).await;
    for path in ["/../secret", "/a/%2e%2e/%2e%2e/secret", "/..%2fsecret"] {
        let answer = bench.get(path).await;
        assert_eq!(answer.error().reason, "bad_request", "{path}");
    }
}

#[tokio::test]
async fn fields_stay_where_the_app_asks_for_it() {
    let origin = echo("location: ORIGIN/x\r\n").await;
    let kept = Translation {
        keep_fields: true,
        ..Translation::default()
    };
    let bench = Bench::with(vec![translated(&origin, kept)]).await;
    let told = bench.get("/").await.fields();
    assert_eq!(told["location"], format!("{}/x", origin.url()));
}
