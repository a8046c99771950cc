//! What was acknowledged is there after a crash.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kit::fabric::{DOMAIN, Site};

/// Apps that are published while control is killed again and again.
const PUBLISHES: usize = 1000;
/// Publishers at work at once.
const PUBLISHERS: usize = 8;
/// Pause between two kills: long enough to start, short enough to hit many writes.
const KILL_EVERY: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_acknowledged_publish_survives_kills_of_control() {
    let site = Arc::new(Site::new(crate::adit()));
    let mut control = site.start_control().await;
    let done = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let (site, acknowledged) = (site.clone(), acknowledged.clone());
            std::thread::spawn(move || publish(&site, publisher, &acknowledged))
        })
        .collect();
    let watcher = {
        let done = done.clone();
        std::thread::spawn(move || {
            for publisher in publishers {
                publisher.join().expect("a publisher ends well");
            }
            done.store(true, Ordering::SeqCst);
        })
    };
    let mut kills = 0;
    while !done.load(Ordering::SeqCst) {
        tokio::time::sleep(KILL_EVERY).await;
        control.kill();
        kills += 1;
        control = site.start_control().await;
    }
    watcher.join().expect("the watcher ends well");
    control.kill();
    let _control = site.start_control().await;
    let list: serde_json::Value =
        serde_json::from_str(&site.ok(&["app", "list", "--output", "json"])).expect("JSON");
    let there: BTreeSet<String> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|app| {
            app["name"]
                .as_str()
                .expect("a name")
                .trim_start_matches("apps/")
                .to_owned()
        })
        .collect();
    let acknowledged = acknowledged.lock().expect("no publisher panicked");
    assert_eq!(
        acknowledged.len(),
        PUBLISHES,
        "every publish was acknowledged in the end"
    );
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "lost after {kills} kills: {lost:?}");
    assert!(kills > 2, "control was killed while it worked");
}

/// Publishes its share, trying again whenever control is away.
fn publish(site: &Site, publisher: usize, acknowledged: &Mutex<BTreeSet<String>>) {
    for number in (publisher..PUBLISHES).step_by(PUBLISHERS) {
        let id = format!("app-{number}");
        let host = format!("{id}.{DOMAIN}");
        let args = [
            "app",
            "publish",
            &id,
            "--host",
            &host,
            "--origin",
            "http://127.0.0.1:1",
            "--access",
            "passthrough",
        ];
        // A publish that was cut off may have happened; then the next one says that it exists.
        while !acknowledges(&site.run(&args)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        acknowledged
            .lock()
            .expect("no publisher panicked")
            .insert(id);
    }
}

fn acknowledges(output: &std::process::Output) -> bool {
    output.status.success() || String::from_utf8_lossy(&output.stderr).contains("ALREADY_EXISTS")
}
