use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::sync::oneshot;

use super::*;

#[tokio::test(start_paused = true)]
async fn close_waits_for_tasks_of_children() {
    let root = Scope::root();
    let child = root.child("child");
    let grandchild = child.child("grandchild");
    let ended = Arc::new(AtomicUsize::new(0));
    for scope in [&root, &child, &grandchild] {
        let (ended, own) = (Arc::clone(&ended), scope.clone());
        scope.spawn("task", async move {
            own.cancelled().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            ended.fetch_add(1, Ordering::SeqCst);
        });
    }
    assert_eq!((root.running(), grandchild.running()), (3, 1));
    assert_eq!(grandchild.running_in_all(), 3);
    assert!(root.close(Duration::from_secs(5)).await);
    assert_eq!(ended.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn task_that_ignores_cancellation_is_dropped_at_the_deadline() {
    let root = Scope::root();
    let (held, dropped) = oneshot::channel::<()>();
    root.child("deaf").spawn("deaf", async move {
        let _held = held;
        std::future::pending::<()>().await;
    });
    let deaf = root.child("deaf");
    deaf.spawn("deaf", std::future::pending());
    assert!(!root.close(Duration::from_secs(5)).await);
    assert_eq!(root.running(), 0);
    assert!(dropped.await.is_err());
}

#[tokio::test]
async fn closing_a_child_leaves_its_parent_running() {
    let root = Scope::root();
    let child = root.child("child");
    root.spawn("task", {
        let root = root.clone();
        async move { root.cancelled().await }
    });
    assert!(child.close(Duration::from_secs(5)).await);
    assert!(child.is_cancelled());
    assert!(!root.is_cancelled());
    assert_eq!(root.running(), 1);
}

#[tokio::test]
async fn dropped_scope_drops_its_tasks() {
    let root = Scope::root();
    let child = root.child("child");
    let (held, dropped) = oneshot::channel::<()>();
    child.spawn("task", async move {
        let _held = held;
        std::future::pending::<()>().await;
    });
    drop(root);
    child.cancelled().await;
    assert!(dropped.await.is_err());
}

#[tokio::test]
async fn panic_in_a_task_costs_only_that_task_and_is_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let rendered = recorder.handle();
    let guard = metrics::set_default_local_recorder(&recorder);
    let root = Scope::root();
    root.spawn("broken", async { panic!("on purpose") });
    root.ended().await;
    drop(guard);
    assert!(rendered.render().contains("runtime_task_panics_total 1"));
    let (done, answer) = oneshot::channel();
    root.spawn("whole", async move {
        let _ = done.send(7);
    });
    assert_eq!(answer.await, Ok(7));
}

const PANIC_NOW: &str = "ADIT_TEST_STANDING_PANIC";

#[tokio::test]
async fn panic_in_a_standing_task_ends_the_process() {
    if std::env::var_os(PANIC_NOW).is_some() {
        let root = Scope::root();
        root.spawn_standing("broken", async { panic!("on purpose") });
        root.ended().await;
        return;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "scope::tests::panic_in_a_standing_task_ends_the_process",
        ])
        .env(PANIC_NOW, "1")
        .output()
        .unwrap()
        .status;
    assert_eq!(
        status.code(),
        None,
        "ended by a signal, not by returning: {status}"
    );
}
