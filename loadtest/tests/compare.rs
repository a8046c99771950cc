//! `adit-loadtest compare` as its users run it, on the targets that every machine with nginx has.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

/// Each kind of load, with bodies that a busy machine moves in no time.
const SCENARIO: &str = "
seed = 5
[[load]]
name = 'h1'
loop = 'closed'
connections = 4
path = '/1k'
bytes = 1024
[[load]]
name = 'h2'
protocol = 'h2'
loop = 'closed'
connections = 2
streams = 2
path = '/1k'
bytes = 1024
[[load]]
name = 'rise'
loop = 'open'
rate = [50, 100]
connections = 2
path = '/1k'
bytes = 1024
[[load]]
name = 'up'
ask = 'put'
loop = 'closed'
path = '/put/up'
bytes = '1MiB'
[[load]]
name = 'events'
ask = 'events'
loop = 'closed'
path = '/events/50'
[[load]]
name = 'echo'
ask = 'websocket'
loop = 'closed'
path = '/echo'
bytes = 10
[[load]]
name = 'calls'
ask = 'grpc'
loop = 'closed'
path = '/a.B/C'
bytes = 10
";

fn compare(folder: &Path, extra: &[&str]) -> (bool, String) {
    let scenario = folder.join("scenario.toml");
    fs::write(&scenario, SCENARIO).expect("a file can be written");
    let output = Command::new(env!("CARGO_BIN_EXE_adit-loadtest"))
        .args(["compare", "--quick", "--rounds", "2"])
        .args(["--targets", "direct,nginx,quinn", "--scenario"])
        .arg(scenario)
        .arg("--out")
        .arg(folder.join("out"))
        .arg("--cache")
        .arg(folder.join("cache"))
        .args(extra)
        .output()
        .expect("the program can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

fn is_well(rounds: &Value) {
    let rounds = rounds.as_array().expect("a list of rounds");
    assert_eq!(rounds.len(), 2);
    for round in rounds {
        assert!(round["answered"].as_u64() > Some(0), "{round}");
        assert!(round["peak_bytes"].as_u64() > Some(0), "{round}");
        assert_eq!(round["failures"], json!({}), "{round}");
    }
}

#[test]
fn every_kind_of_load_is_compared_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (well, said) = compare(folder.path(), &[]);
    assert!(well, "{said}");
    let json = fs::read_to_string(folder.path().join("out/outcome.json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["seed"], 5);
    let cases = json["cases"].as_array().unwrap();
    let names: Vec<_> = cases
        .iter()
        .filter_map(|case| case["name"].as_str())
        .collect();
    let expected = [
        "h1", "h2", "rise-50", "rise-100", "up", "events", "echo", "calls",
    ];
    assert_eq!(names, expected);
    let files_only = "it serves files only";
    for case in cases {
        is_well(&case["rounds"]["nginx"]);
        let without = match case["name"].as_str().unwrap() {
            "events" | "echo" => Some("does not speak HTTP/1.1"),
            "calls" => Some("does not speak gRPC"),
            _ => None,
        };
        let Some(without) = without else {
            assert_eq!(case["failures"], json!({}), "{said}");
            is_well(&case["rounds"]["direct"]);
            is_well(&case["rounds"]["quinn"]);
            continue;
        };
        let failures = json!({ "direct": files_only, "quinn": without });
        assert_eq!(case["failures"], failures, "{said}");
    }
    let page = fs::read_to_string(folder.path().join("out/index.html")).unwrap();
    for expected in ["<svg", "small-h1 was not run", "<h2>rise</h2>"] {
        assert!(page.contains(expected), "no {expected}");
    }
}

#[test]
fn a_scenario_with_faults_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.toml");
    fs::write(&wrong, "[[load]]\nname = 'a'\nlop = 'closed'").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_adit-loadtest"))
        .args(["compare", "--scenario"])
        .arg(&wrong)
        .output()
        .expect("the program can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    for expected in ["load 1: loop: is missing", "load 1: lop: is not known"] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn an_unknown_target_is_refused_with_those_that_exist() {
    let folder = tempfile::tempdir().unwrap();
    let (well, said) = compare(folder.path(), &["--targets", "nobody"]);
    assert!(
        !well && said.contains("no target nobody; there are adit, nginx-nginx, "),
        "{said}"
    );
}
