//! The file by itself: whose turn it is, and what is left for others to read.

use runtime::Clock;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

struct Bench {
    refreshes: Refreshes,
    clock: Clock,
    directory: tempfile::TempDir,
}

impl Bench {
    fn new(sessions_max: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::starting_at(Clock::system().wall());
        Self {
            refreshes: Self::open(&directory, sessions_max, &clock),
            clock,
            directory,
        }
    }

    fn open(directory: &tempfile::TempDir, sessions_max: usize, clock: &Clock) -> Refreshes {
        let key = SecondFactorKey::load_or_create(directory.path()).unwrap();
        let opened = Refreshes::open(directory.path(), Arc::new(key), sessions_max, clock.wall());
        opened.unwrap()
    }

    async fn keep(&self, id: u8) -> usize {
        let session = session(id, self.clock.wall());
        let kept = self
            .refreshes
            .keep(vec![(session, MINUTE)], self.clock.wall());
        kept.await.unwrap()
    }

    async fn take(&self) -> Vec<RefreshableSession> {
        let given = self.refreshes.take(16, self.clock.wall()).await.unwrap();
        given.into_iter().map(|given| given.session).collect()
    }

    /// Ids, and for which time they are given.
    async fn turns(&self) -> Vec<(u8, u64)> {
        let given = self.take().await;
        given.iter().map(|one| (one.session[0], one.turn)).collect()
    }
}

fn session(id: u8, began: SystemTime) -> RefreshableSession {
    RefreshableSession {
        session: vec![id; 16].into(),
        provider: "entra".to_owned(),
        user: "alice@example.com".to_owned(),
        began_ms: unix_ms(began),
        sealed: b"sealed by an edge".as_slice().into(),
        ..RefreshableSession::default()
    }
}

#[tokio::test]
async fn a_session_is_one_edges_when_its_time_has_come() {
    let bench = Bench::new(10);
    assert_eq!(bench.keep(1).await, 0);
    assert_eq!(bench.turns().await, [], "it is not due");
    bench.clock.move_wall(MINUTE);
    let given = bench.take().await;
    let want = RefreshableSession {
        turn: 1,
        began_ms: given[0].began_ms,
        ..session(1, bench.clock.wall() - MINUTE)
    };
    assert_eq!(given, [want]);
    assert_eq!(bench.turns().await, [], "it is somebody's");
    // That edge is gone, and what it says later is too late.
    bench.clock.move_wall(LEASE);
    assert_eq!(bench.turns().await, [(1, 2)]);
    assert_eq!(bench.refreshes.given(&[1; 16], 1).await.unwrap(), None);
    let renew = async |turn| {
        let next = (&b"another"[..], MINUTE);
        let renewed = bench
            .refreshes
            .renewed(&[1; 16], turn, next, bench.clock.wall());
        renewed.await.unwrap();
        bench.refreshes.given(&[1; 16], 2).await.unwrap().is_some()
    };
    assert!(renew(1).await, "nothing has changed");
    assert!(!renew(2).await, "it is nobody's now");
    bench.clock.move_wall(MINUTE);
    let given = bench.take().await;
    assert_eq!((given[0].turn, &*given[0].sealed), (3, &b"another"[..]));
}

#[tokio::test]
async fn who_is_not_answered_for_is_asked_about_later() {
    let bench = Bench::new(10);
    bench.keep(1).await;
    let began_ms = unix_ms(bench.clock.wall());
    bench.clock.move_wall(MINUTE);
    assert_eq!(bench.turns().await, [(1, 1)]);
    let (id, now) = ([1; 16], bench.clock.wall());
    let put_off = bench.refreshes.unanswered(&id, 1, (b"", 2 * MINUTE), now);
    put_off.await.unwrap();
    bench.clock.move_wall(MINUTE);
    assert_eq!(bench.turns().await, []);
    bench.clock.move_wall(MINUTE);
    assert_eq!(bench.turns().await, [(1, 2)]);
    let given = bench.refreshes.given(&id, 2).await.unwrap().unwrap();
    assert_eq!(given.failures, 1);
    // Not moved on by an answer that did not come.
    assert!((began_ms - 30_000..=began_ms).contains(&given.answered_ms));
}

#[tokio::test]
async fn who_was_stood_by_longest_ago_is_asked_about_first() {
    let bench = Bench::new(10);
    bench.keep(1).await;
    bench.clock.move_wall(MINUTE);
    bench.keep(2).await;
    assert_eq!(bench.turns().await, [(1, 1)]);
    // Due after the other by now, and answered for before it.
    let put_off = bench
        .refreshes
        .unanswered(&[1; 16], 1, (b"", 2 * MINUTE), bench.clock.wall());
    put_off.await.unwrap();
    bench.clock.move_wall(2 * MINUTE);
    let first = bench.refreshes.take(1, bench.clock.wall()).await.unwrap();
    assert_eq!(first[0].session.session[0], 1);
    assert_eq!((first[0].failures, first[0].is_unreported), (1, false));
    assert_eq!(bench.turns().await, [(2, 1)]);
    bench.clock.move_wall(LEASE);
    let again = bench.refreshes.take(1, bench.clock.wall()).await.unwrap();
    assert!(again[0].is_unreported, "{again:?}");
}

#[tokio::test]
async fn edges_say_what_became_of_sessions_while_control_was_away() {
    let bench = Bench::new(10);
    bench.keep(1).await;
    bench.clock.move_wall(MINUTE);
    assert_eq!(bench.turns().await, [(1, 1)]);
    bench.clock.move_wall(60 * MINUTE);
    let anew = Bench::open(&bench.directory, 10, &bench.clock);
    assert_eq!(anew.take(16, bench.clock.wall()).await.unwrap(), []);
    assert!(anew.given(&[1; 16], 1).await.unwrap().is_some());
}

#[tokio::test]
async fn there_is_room_for_so_many_and_for_as_long_as_they_live() {
    let bench = Bench::new(2);
    for (id, left_out) in [(1, 0), (2, 0), (3, 1)] {
        assert_eq!(bench.keep(id).await, left_out, "{id}");
    }
    bench.refreshes.forget(&[1; 16]).await.unwrap();
    assert_eq!(bench.keep(3).await, 0);
    bench.clock.move_wall(SESSION_LIFE + MINUTE);
    bench.refreshes.sweep(bench.clock.wall()).await.unwrap();
    assert_eq!(bench.turns().await, []);
}

#[tokio::test]
async fn a_copy_of_the_file_is_of_no_use() {
    let bench = Bench::new(10);
    bench.keep(1).await;
    let mut found = 0;
    for entry in std::fs::read_dir(bench.directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with(FILE_NAME)
        {
            let bytes = std::fs::read(&path).unwrap();
            assert!(
                !bytes.windows(17).any(|part| part == b"sealed by an edge"),
                "{path:?}"
            );
            found += 1;
        }
    }
    assert!(found > 0);
    // Nor under another key.
    std::fs::remove_file(
        bench
            .directory
            .path()
            .join(crate::second_factors::key::KEY_FILE),
    )
    .unwrap();
    let other = Bench::open(&bench.directory, 10, &bench.clock);
    bench.clock.move_wall(MINUTE);
    assert_eq!(other.take(16, bench.clock.wall()).await.unwrap(), []);
}
