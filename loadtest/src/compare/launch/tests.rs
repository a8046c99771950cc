use std::os::unix::fs::PermissionsExt as _;

use super::*;

const BRIEF: Patience = Patience {
    prepare: Duration::from_millis(700),
    ready: Duration::from_millis(700),
    end: Duration::from_millis(700),
};
/// For targets that are expected to get there, on a machine that is busy.
const CALM: Patience = Patience {
    prepare: Duration::from_secs(20),
    ready: Duration::from_secs(20),
    end: Duration::from_secs(20),
};

fn target(folder: &Path, script: &str, patience: Patience) -> (PathBuf, Surroundings) {
    let file = folder.join("target.sh");
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let surroundings = Surroundings {
        variables: vec![("HOST", "load.localhost".into())],
        work: folder.join("work"),
        patience,
    };
    (file, surroundings)
}

async fn started(script: &str, patience: Patience) -> Result<Started, String> {
    let folder = tempfile::tempdir().unwrap();
    let (file, surroundings) = target(folder.path(), script, patience);
    let started = start(&file, &surroundings).await;
    started.map_err(|error| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    })
}

#[tokio::test]
async fn a_target_is_started_and_ended() {
    let script = "echo about me; echo ready http://$HOST:1 sleep=$$; cat";
    let Ok(Started::Running(mut running)) = started(script, CALM).await else {
        panic!("not running")
    };
    assert_eq!(running.about.as_deref(), Some("me"));
    assert_eq!(running.ended(), None);
    assert!(running.account.read().unwrap().resident_bytes > 0);
    let account = running.account.clone();
    running.end().await;
    assert!(account.read().is_err(), "it is still there");
}

#[tokio::test]
async fn a_target_that_starts_again_finds_its_folder_empty() {
    let folder = tempfile::tempdir().unwrap();
    let script = "[ \"$(ls $WORK)\" = complaints ] || exit 5; touch $WORK/key; echo ready http://$HOST:1 me=$$; cat";
    let (file, surroundings) = target(folder.path(), script, CALM);
    for _ in 0..2 {
        let Ok(Started::Running(running)) = start(&file, &surroundings).await else {
            panic!("not running")
        };
        running.end().await;
    }
}

#[tokio::test]
async fn a_target_that_will_not_end_is_killed_with_its_children() {
    let script =
        "trap '' TERM; sleep 600 & echo ready http://$HOST:1 sleep=$!; while :; do sleep 600; done";
    let Ok(Started::Running(mut running)) = started(script, CALM).await else {
        panic!("not running")
    };
    running.patience = BRIEF;
    let account = running.account.clone();
    running.end().await;
    // The orphan is dead or a zombie at once; who reaps it is not our business.
    let gone = async {
        while account.read().is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(CALM.end, gone).await.unwrap();
}

#[tokio::test]
async fn a_target_that_cannot_be_had_says_why() {
    let Ok(Started::NotHere(why)) = started("echo not-here no such thing", CALM).await else {
        panic!("it is here")
    };
    assert_eq!(why, "no such thing");
    let folder = tempfile::tempdir().unwrap();
    let (file, surroundings) = target(
        folder.path(),
        "[ $1 = prepare ] && echo not-here nothing built",
        CALM,
    );
    assert_eq!(
        prepare(&file, &surroundings).await.unwrap(),
        Some("nothing built".into())
    );
    let (file, surroundings) = target(folder.path(), "exit 0", CALM);
    assert_eq!(prepare(&file, &surroundings).await.unwrap(), None);
    let (file, surroundings) = target(folder.path(), "exit 3", CALM);
    let failed = prepare(&file, &surroundings).await;
    assert!(matches!(failed, Err(LaunchError::Ended(..))), "{failed:?}");
}

#[tokio::test]
async fn hostile_output_costs_only_that_target() {
    for (script, patience, expected) in [
        ("sleep 600", BRIEF, "not ready within 700ms"),
        (
            "echo trouble >&2; exit 7",
            CALM,
            "ended with exit status: 7 before it was ready: trouble",
        ),
        (
            "printf '\\033[2Jbad\\n' >&2",
            CALM,
            "ended with exit status: 0 before it was ready:  [2Jbad",
        ),
        (
            "echo about a; exit 0",
            CALM,
            "ended with exit status: 0 before it was ready",
        ),
        ("yes | tr -d '\\n'", CALM, "it talks too much"),
        ("yes about me", CALM, "it talks too much"),
        (
            "yes",
            CALM,
            "it said what nobody understands: neither about, not-here nor ready",
        ),
        (
            "echo ready http://a:1 a=1",
            CALM,
            "it said what nobody understands: not a process id: 1",
        ),
    ] {
        match started(script, patience).await {
            Err(error) => assert!(error.ends_with(expected), "{script}: {error}"),
            Ok(other) => panic!("{script}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_run_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (_, surroundings) = target(folder.path(), "", CALM);
    let error = start(Path::new("/nowhere/target"), &surroundings).await;
    assert!(
        matches!(&error, Err(LaunchError::Run(file, _)) if file.ends_with("target")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_target_that_dies_is_noticed() {
    let script = "echo ready http://$HOST:1 me=$$; read line; echo ouch >&2; exit 4";
    let Ok(Started::Running(mut running)) = started(script, CALM).await else {
        panic!("not running")
    };
    drop(running.group.child.stdin.take());
    running.group.child.wait().await.unwrap();
    // Its log went with its folder.
    assert_eq!(
        running.ended().as_deref(),
        Some("the target ended with exit status: 4")
    );
}
