use std::{os::unix::fs::PermissionsExt as _, sync::Arc};

use bytes::Bytes;
use futures_util::future::join_all;
use runtime::Clock;
use tempfile::TempDir;

use super::*;
use crate::store::{Event, WatchError};

fn open_in(directory: &Path) -> Arc<dyn Store> {
    Arc::new(open(directory, &Clock::system()).expect("the store opens"))
}

fn empty() -> (TempDir, Arc<dyn Store>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open_in(directory.path());
    (directory, store)
}

fn put(key: &str, value: &str) -> Op {
    Op::Put(key.into(), Bytes::copy_from_slice(value.as_bytes()))
}

async fn write(store: &dyn Store, key: &str, value: &str) -> Revision {
    store
        .txn(Vec::new(), vec![put(key, value)])
        .await
        .expect("a write without checks succeeds")
}

async fn text(store: &dyn Store, key: &str) -> Option<String> {
    let entry = store.get(key).await.expect("the store reads");
    entry.map(|entry| String::from_utf8(entry.value.into()).expect("text"))
}

#[tokio::test]
async fn every_transaction_makes_one_revision() {
    let (_directory, store) = empty();
    assert_eq!(store.revision().await.ok(), Some(Revision(0)));
    assert_eq!(write(&*store, "a", "1").await, Revision(1));
    let nothing = store.txn(Vec::new(), vec![Op::Delete("none".into())]).await;
    assert_eq!(nothing.ok(), Some(Revision(2)));
    let entry = store.get("a").await.expect("reads").expect("is there");
    assert_eq!(entry.modified, Revision(1));
}

#[tokio::test]
async fn a_check_that_fails_leaves_everything_as_it_was() {
    let (_directory, store) = empty();
    let first = write(&*store, "a", "1").await;
    for check in [
        Check::Absent("a".into()),
        Check::Present("b".into()),
        Check::Unchanged("a".into(), Revision(first.0 + 1)),
        Check::Unchanged("b".into(), first),
    ] {
        let refused = store
            .txn(
                vec![Check::Present("a".into()), check.clone()],
                vec![put("a", "2"), put("c", "3")],
            )
            .await;
        assert!(
            matches!(&refused, Err(TxnError::Conflict(named)) if *named == check),
            "{refused:?}"
        );
    }
    assert_eq!(text(&*store, "a").await.as_deref(), Some("1"));
    assert_eq!(text(&*store, "c").await, None);
    assert_eq!(store.revision().await.ok(), Some(first));
}

#[tokio::test]
async fn of_many_that_race_for_a_key_one_wins() {
    let (_directory, store) = empty();
    let attempts = (0..50).map(|index| {
        let store = Arc::clone(&store);
        async move {
            store
                .txn(
                    vec![Check::Absent("key".into())],
                    vec![put("key", &index.to_string())],
                )
                .await
                .is_ok()
        }
    });
    let wins = join_all(attempts).await.into_iter().filter(|won| *won);
    assert_eq!(wins.count(), 1);
    assert_eq!(store.revision().await.ok(), Some(Revision(1)));
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let (directory, store) = empty();
    let id = store.id().to_owned();
    let writes = (0..200).map(|index| {
        let store = Arc::clone(&store);
        async move { write(&*store, &format!("apps/{index:03}"), "x").await }
    });
    join_all(writes).await;
    drop(store);
    let store = open_in(directory.path());
    assert_eq!(store.id(), id);
    assert_eq!(store.revision().await.ok(), Some(Revision(200)));
    let all = store.snapshot(&["apps/"]).await.expect("reads");
    assert_eq!(all.entries.len(), 200);
    let mode = directory.path().join(FILE_NAME).metadata().expect("a file");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn ranges_go_by_prefix_and_page() {
    let (_directory, store) = empty();
    for key in ["apps/a", "apps/b", "apps/c", "appsx", "app", "apps/ü"] {
        write(&*store, key, key).await;
    }
    let keys = |range: &Range| -> Vec<String> {
        range
            .entries
            .iter()
            .map(|entry| entry.key.to_string())
            .collect()
    };
    let first = store.range("apps/", None, 2).await.expect("reads");
    assert_eq!(keys(&first), ["apps/a", "apps/b"]);
    assert!(first.more);
    let rest = store
        .range("apps/", Some("apps/b"), 2)
        .await
        .expect("reads");
    assert_eq!(keys(&rest), ["apps/c", "apps/ü"]);
    assert!(!rest.more);
    assert_eq!(rest.revision, Revision(6));
    let both = store
        .snapshot(&["apps/", "app", "apps/a"])
        .await
        .expect("reads");
    assert_eq!(both.entries.len(), 6);
}

#[tokio::test]
async fn a_watch_sees_each_revision_once_and_in_order() {
    let (_directory, store) = empty();
    write(&*store, "before", "1").await;
    let mut late = store.watch(Revision(0));
    let mut live = store.watch(Revision(1));
    let writes = (0..300).map(|index| {
        let store = Arc::clone(&store);
        async move { write(&*store, &format!("k{}", index % 7), &index.to_string()).await }
    });
    join_all(writes).await;
    for (watch, from) in [(&mut late, 1), (&mut live, 2)] {
        for revision in from..=301 {
            let batch = watch.next().await.expect("a batch");
            assert_eq!(batch.revision, Revision(revision));
        }
    }
}

#[tokio::test]
async fn events_tell_before_and_after_in_order_of_key() {
    let (_directory, store) = empty();
    write(&*store, "b", "1").await;
    let mut watch = store.watch(Revision(1));
    let ops = vec![
        put("c", "3"),
        Op::Delete("b".into()),
        put("a", "0"),
        put("a", "2"),
    ];
    store.txn(Vec::new(), ops).await.expect("a write");
    let event = |key: &str, before: Option<&'static str>, after: Option<&'static str>| Event {
        key: key.into(),
        before: before.map(Bytes::from),
        after: after.map(Bytes::from),
    };
    let want = [
        event("a", None, Some("2")),
        event("b", Some("1"), None),
        event("c", None, Some("3")),
    ];
    assert_eq!(*watch.next().await.expect("live").events, want);
    let from_log = store.watch(Revision(1)).next().await.expect("from the log");
    assert_eq!(*from_log.events, want);
}

#[tokio::test]
async fn a_watch_behind_the_log_is_told() {
    let (_directory, store) = empty();
    let mut slow = store.watch(Revision(0));
    let total = LOG_REVISIONS_MAX + 10;
    let writes = (0..total).map(|_| write(&*store, "key", "value"));
    join_all(writes).await;
    assert!(matches!(
        slow.next().await,
        Err(WatchError::Compacted(Revision(0)))
    ));
    let mut kept = store.watch(Revision(10));
    assert_eq!(
        kept.next().await.expect("still there").revision,
        Revision(11)
    );
    let mut future = store.watch(Revision(total + 1));
    assert!(matches!(future.next().await, Err(WatchError::Compacted(_))));
}

#[tokio::test]
async fn a_second_control_is_kept_out() {
    let (directory, store) = empty();
    let second = open(directory.path(), &Clock::system());
    assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
    drop(store);
    open_in(directory.path());
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join(FILE_NAME);
    fs::write(
        &path,
        "this is no database, and long enough to be read as one".repeat(20),
    )
    .expect("writes");
    let before = fs::read(&path).expect("reads");
    let refused = open(directory.path(), &Clock::system());
    let text = refused.err().map(|error| error.to_string());
    assert!(text.is_some_and(|text| text.contains(FILE_NAME)));
    assert_eq!(fs::read(&path).expect("reads"), before);
}

#[tokio::test]
async fn a_later_schema_is_refused() {
    let (directory, store) = empty();
    drop(store);
    let connection = Connection::open(directory.path().join(FILE_NAME)).expect("opens");
    connection
        .pragma_update(None, "user_version", 99)
        .expect("writes");
    drop(connection);
    let refused = open(directory.path(), &Clock::system());
    assert!(matches!(
        refused,
        Err(OpenError::Schema {
            source: SchemaError::Newer { found: 99 },
            ..
        })
    ));
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let (_directory, store) = empty();
    let long_key = "k".repeat(KEY_BYTES_MAX + 1);
    for ops in [
        vec![put(&long_key, "")],
        vec![put("k", &"v".repeat(VALUE_BYTES_MAX + 1))],
        vec![Op::Delete("k".into()); TXN_STEPS_MAX + 1],
    ] {
        let refused = store.txn(Vec::new(), ops).await;
        assert!(matches!(
            refused,
            Err(TxnError::Store(StoreError::TooLarge { .. }))
        ));
    }
}

#[tokio::test]
async fn a_full_disk_is_read_only_and_loses_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    drop(open(directory.path(), &Clock::system()).expect("opens"));
    let (connection, opened) = schema::open(&directory.path().join(FILE_NAME)).expect("opens");
    // SQLite itself says "full" at this size, just as it does when the disk is.
    let pages: i64 = connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .expect("reads");
    connection
        .pragma_update(None, "max_page_count", pages + 20)
        .expect("limits");
    let (jobs, waiting) = mpsc::channel(1);
    let (commits, _watch) = broadcast::channel(1);
    let writer = Writer::new(connection, &opened, commits, Clock::system());
    let thread = thread::spawn(move || writer.run(waiting));
    let send = async |ops| {
        let (answer, outcome) = oneshot::channel();
        let checks = Vec::new();
        jobs.send(Job {
            checks,
            ops,
            answer,
        })
        .await
        .expect("a writer");
        outcome.await.expect("an answer")
    };
    send(vec![put("small", "kept")])
        .await
        .expect("there is room");
    let refused = send(vec![put("large", &"v".repeat(VALUE_BYTES_MAX))]).await;
    assert!(
        matches!(refused, Err(TxnError::Store(StoreError::ReadOnly(_)))),
        "{refused:?}"
    );
    assert_eq!(
        send(vec![put("small", "still")]).await.ok(),
        Some(Revision(2))
    );
    drop(jobs);
    thread.join().expect("the writer ends");
    let store = open_in(directory.path());
    assert_eq!(text(&*store, "small").await.as_deref(), Some("still"));
    assert_eq!(text(&*store, "large").await, None);
}
