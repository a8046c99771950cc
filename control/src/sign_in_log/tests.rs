//! What is kept of sign-ins, for how long, and what is found of them.

use runtime::Clock;
use tempfile::TempDir;

use super::*;

struct Bench {
    log: SignInLog,
    clock: Clock,
    _directory: TempDir,
}

impl Bench {
    fn keeping(events_max: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::starting_at(Clock::system().wall());
        Self {
            log: SignInLog::open(directory.path(), events_max).unwrap(),
            clock,
            _directory: directory,
        }
    }

    async fn append(&self, events: Vec<SignInEvent>) {
        let edge = "e1".parse().unwrap();
        self.log
            .append(&edge, events, self.clock.wall())
            .await
            .unwrap();
    }

    async fn ids(&self, wanted: Wanted) -> Vec<String> {
        let wanted = Wanted {
            limit: 100,
            ..wanted
        };
        let found = self.log.list(wanted).await.unwrap();
        found
            .into_iter()
            .map(|(_, sign_in)| sign_in.request_id)
            .collect()
    }
}

fn event(number: u8, user: &str, app: &str, kind: SignInKind) -> SignInEvent {
    SignInEvent {
        id: vec![number; 16].into(),
        at_ms: 1_800_000_000_000 + i64::from(number) * 1_000,
        kind: kind.into(),
        user: user.to_owned(),
        app: app.to_owned(),
        request_id: number.to_string(),
        ..SignInEvent::default()
    }
}

#[tokio::test]
async fn the_newest_is_first_and_filters_hold_together() {
    let bench = Bench::keeping(EVENTS_MAX);
    bench
        .append(vec![
            event(1, "alice", "wiki", SignInKind::SignedIn),
            event(2, "bob", "wiki", SignInKind::AppDenied),
            event(3, "alice", "crm", SignInKind::AppOpened),
        ])
        .await;
    // Reported again, as the edge has not heard that it was kept.
    bench
        .append(vec![event(3, "alice", "crm", SignInKind::AppOpened)])
        .await;
    let user = |user: &str| Wanted {
        user: format!("users/{user}"),
        ..Wanted::default()
    };
    for (wanted, want) in [
        (Wanted::default(), &["3", "2", "1"][..]),
        (user("alice"), &["3", "1"]),
        (
            Wanted {
                app: "apps/wiki".to_owned(),
                ..user("alice")
            },
            &["1"],
        ),
        (
            Wanted {
                result: Some(SignInResult::AppDenied),
                ..Wanted::default()
            },
            &["2"],
        ),
        (
            Wanted {
                since: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_002)),
                ..Wanted::default()
            },
            &["3", "2"],
        ),
        (
            Wanted {
                after: Some(1),
                before: Some(3),
                ..Wanted::default()
            },
            &["2"],
        ),
        (user("carol"), &[]),
    ] {
        assert_eq!(bench.ids(wanted.clone()).await, want, "{wanted:?}");
    }
}

#[tokio::test]
async fn what_a_rule_refused_is_found_by_it_also_in_a_file_that_was_made_before() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let before = Connection::open(directory.path().join(FILE_NAME)).unwrap();
    before.execute_batch(SCHEMA).unwrap();
    let sign_in = SignIn {
        request_id: "1".to_owned(),
        ..SignIn::default()
    };
    before
        .execute(
            "INSERT INTO sign_ins (id, received_ms, at_ms, user, app, result, sign_in) VALUES (?1, ?2, 0, '', '', 5, ?3)",
            params![&[9_u8; 16][..], unix_ms(clock.wall()), sign_in.encode_to_vec()],
        )
        .unwrap();
    drop(before);
    // Once more, as the column is there by then.
    drop(SignInLog::open(directory.path(), EVENTS_MAX).unwrap());
    let bench = Bench {
        log: SignInLog::open(directory.path(), EVENTS_MAX).unwrap(),
        clock,
        _directory: directory,
    };
    let by = |number, rule: &str| SignInEvent {
        rule: rule.to_owned(),
        ..event(number, "alice", "wiki", SignInKind::AppDenied)
    };
    let events = vec![by(2, "office-only"), by(3, "mfa"), by(4, "No Id\u{1b}[2J")];
    bench.append(events).await;
    assert_eq!(bench.ids(Wanted::default()).await, ["4", "3", "2", "1"]);
    let wanted = Wanted {
        rule: "accessRules/office-only".to_owned(),
        limit: 9,
        ..Wanted::default()
    };
    let found = bench.log.list(wanted).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1.rule, "accessRules/office-only");
}

#[tokio::test]
async fn one_from_a_clock_that_was_ahead_keeps_no_others() {
    let bench = Bench::keeping(EVENTS_MAX);
    let edge = "e1".parse().unwrap();
    let now = bench.clock.wall();
    let (hour, day) = (Duration::from_secs(3_600), Duration::from_secs(86_400));
    for (number, received) in [(1, now), (2, now + 30 * day), (3, now), (4, now + hour)] {
        let events = vec![event(number, "alice", "", SignInKind::SignedIn)];
        bench.log.append(&edge, events, received).await.unwrap();
    }
    let swept = bench.log.sweep(hour, now + hour + hour / 2).await;
    assert_eq!(swept.unwrap(), 2);
    assert_eq!(bench.ids(Wanted::default()).await, ["4", "2"]);
}

#[tokio::test]
async fn who_looks_is_in_nobodys_way_who_reports() {
    let bench = Bench::keeping(EVENTS_MAX);
    let events = vec![event(1, "alice", "", SignInKind::SignedIn)];
    bench.append(events).await;
    let reading = |sql: &str| bench.log.reading.lock().unwrap().execute_batch(sql);
    reading("BEGIN; SELECT * FROM sign_ins;").unwrap();
    let events = vec![event(2, "alice", "", SignInKind::SignedIn)];
    bench.append(events).await;
    reading("COMMIT").unwrap();
    assert!(reading("DELETE FROM sign_ins").is_err());
    assert_eq!(bench.ids(Wanted::default()).await, ["2", "1"]);
}

#[test]
fn what_is_asked_for_is_found_by_an_index() {
    let directory = tempfile::tempdir().unwrap();
    let log = SignInLog::open(directory.path(), EVENTS_MAX).unwrap();
    let file = log.reading.lock().unwrap();
    let plan = |wanted: Wanted| {
        let (sql, values) = wanted.query();
        let mut statement = file.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let rows = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3));
        let lines: Result<Vec<_>, _> = rows.unwrap().collect();
        lines.unwrap().join("; ")
    };
    let since = plan(Wanted {
        since: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(9)),
        ..Wanted::default()
    });
    assert!(
        since.contains("USING INTEGER PRIMARY KEY (rowid>?)"),
        "{since}"
    );
    assert!(since.contains("INDEX sign_ins_at (at_ms>?)"), "{since}");
    let result = plan(Wanted {
        result: Some(SignInResult::Refused),
        ..Wanted::default()
    });
    assert!(
        result.contains("INDEX sign_ins_of_results (result=?)"),
        "{result}"
    );
    for plan in [since, result] {
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[tokio::test]
async fn the_oldest_goes_by_count_and_by_age() {
    let bench = Bench::keeping(2);
    for number in 1..=3 {
        bench
            .append(vec![event(number, "alice", "", SignInKind::SignedIn)])
            .await;
    }
    assert_eq!(bench.ids(Wanted::default()).await, ["3", "2"]);
    let minute = Duration::from_secs(60);
    bench.clock.move_wall(minute + Duration::from_secs(1));
    bench
        .append(vec![event(4, "alice", "", SignInKind::SignedIn)])
        .await;
    assert_eq!(bench.ids(Wanted::default()).await, ["4", "3"]);
    let now = bench.clock.wall();
    assert_eq!(bench.log.sweep(minute, now).await.unwrap(), 1);
    assert_eq!(bench.ids(Wanted::default()).await, ["4"]);
    assert_eq!(bench.log.sweep(minute, now).await.unwrap(), 0);
    // With nobody left, names go on from where they were.
    let later = now + 2 * minute;
    assert_eq!(bench.log.sweep(minute, later).await.unwrap(), 1);
    assert!(bench.ids(Wanted::default()).await.is_empty());
}

#[tokio::test]
async fn what_an_edge_says_is_cut_to_what_can_be_shown() {
    let bench = Bench::keeping(EVENTS_MAX);
    let hostile = SignInEvent {
        at_ms: i64::MIN,
        user: "Not An Id\u{1b}[2J".to_owned(),
        app: "../x".to_owned(),
        user_agent: "x\r\n\u{1b}[2Jü".repeat(1_000),
        methods: vec!["pwd".to_owned(); 1_000],
        ..event(1, "", "", SignInKind::Refused)
    };
    bench.append(vec![hostile]).await;
    let wanted = Wanted {
        limit: 1,
        ..Wanted::default()
    };
    let (_, kept) = bench.log.list(wanted).await.unwrap().remove(0);
    assert_eq!((&*kept.user, &*kept.app, &*kept.edge), ("", "", "edges/e1"));
    assert_eq!(kept.user_agent.len(), TEXT_BYTES_MAX);
    assert!(!kept.user_agent.contains(['\r', '\u{1b}', 'ü']));
    assert_eq!(kept.methods.len(), METHODS_MAX);
    assert_eq!(kept.name, "signIns/1");
}

#[tokio::test]
async fn the_log_is_private_and_survives_a_restart() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let open = || SignInLog::open(directory.path(), EVENTS_MAX).unwrap();
    let edge = "e1".parse().unwrap();
    let events = vec![event(1, "alice", "", SignInKind::SignedIn)];
    open().append(&edge, events, clock.wall()).await.unwrap();
    let wanted = Wanted {
        limit: 9,
        ..Wanted::default()
    };
    assert_eq!(open().list(wanted).await.unwrap().len(), 1);
    let mode = std::fs::metadata(directory.path().join(FILE_NAME)).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}
