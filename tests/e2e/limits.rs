//! Limits that operators set, for the whole fabric and for one app, hold for users within seconds and without a restart.

use http::Method;
use kit::{
    client::{body, request},
    fabric::Fabric,
    origin::Origin,
    process::eventually,
};

/// Waits until a request for `path` with so many fields more is answered so.
async fn until(fabric: &Fabric, host: &str, (path, fields): (&str, usize), want: (u16, &str)) {
    let (status, reason) = want;
    eventually(&format!("{host} answers {status}"), async || {
        let mut asked = request(Method::GET, host, path, body(""));
        for number in 0..fields {
            let name = format!("x-{number}").parse::<http::HeaderName>();
            let name = name.expect("a good name");
            asked
                .headers_mut()
                .insert(name, http::HeaderValue::from_static("y"));
        }
        let Ok(answer) = fabric.user().send_h2(asked).await else {
            return false;
        };
        answer.status == status && answer.text().contains(reason)
    })
    .await;
}

#[tokio::test]
async fn limits_of_the_fabric_and_of_one_app_hold_without_a_restart() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let wiki = fabric.publish("wiki", &origin.url()).await;
    let crm = fabric.publish("crm", &origin.url()).await;
    let site = fabric.site();
    let (ok, long) = ((200, ""), format!("/echo?{}", "a".repeat(300)));
    let many = ("/echo", 40);
    until(&fabric, &wiki, (&long, 0), ok).await;
    until(&fabric, &wiki, many, ok).await;

    // Those of one app are not those of another.
    site.ok(&[
        "app",
        "update",
        "wiki",
        "--target-bytes",
        "256B",
        "--head-fields",
        "30",
    ]);
    until(&fabric, &wiki, (&long, 0), (414, "uri_too_long")).await;
    until(&fabric, &wiki, many, (431, "head_too_large")).await;
    until(&fabric, &crm, (&long, 0), ok).await;

    // An app that says nothing takes what the fabric's apps take, and no app more than the edges.
    let update = ["settings", "update"];
    site.ok(&[&update[..], &["--target-bytes", "256B"]].concat());
    until(&fabric, &crm, (&long, 0), (414, "uri_too_long")).await;
    site.ok(&["app", "update", "wiki", "--target-bytes", "16KiB"]);
    until(&fabric, &wiki, (&long, 0), ok).await;
    site.ok(&[&update[..], &["--edge-limit", "target_bytes=256B"]].concat());
    until(&fabric, &wiki, (&long, 0), (414, "uri_too_long")).await;
    let shown = site.ok(&["settings", "show"]);
    assert!(shown.contains("target_bytes 256B"), "{shown}");
    site.ok(&[&update[..], &["--edge-limit", "target_bytes="]].concat());
    until(&fabric, &wiki, (&long, 0), ok).await;

    site.ok(&[&update[..], &["--client-rate", "1/1"]].concat());
    until(&fabric, &crm, ("/echo", 0), (429, "client_rate_limited")).await;

    let refused = site.refused(&[&update[..], &["--edge-limit", "head_bytes=1KiB"]].concat());
    assert!(
        refused.contains("settings.edge_limits.head_bytes must be 8192 to 65536"),
        "{refused}"
    );
}
