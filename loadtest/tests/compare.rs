//! `adit-loadtest compare` as its users run it, on the two targets that every machine with nginx has.

use std::{fs, path::Path, process::Command};

fn compare(folder: &Path, extra: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_adit-loadtest"))
        .args([
            "compare",
            "--quick",
            "--rounds",
            "2",
            "--targets",
            "direct,nginx",
        ])
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

#[test]
fn two_targets_are_compared_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (well, said) = compare(folder.path(), &[]);
    assert!(well, "{said}");
    let json = fs::read_to_string(folder.path().join("out/outcome.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    for case in json["cases"].as_array().unwrap() {
        assert_eq!(case["failures"], serde_json::json!({}), "{said}");
        for target in ["direct", "nginx"] {
            let rounds = case["rounds"][target].as_array().unwrap();
            assert_eq!(rounds.len(), 2);
            for round in rounds {
                assert!(
                    round["answered"].as_u64() > Some(0) && round["peak_bytes"].as_u64() > Some(0),
                    "{round}"
                );
                assert_eq!(round["failures"], serde_json::json!({}), "{round}");
            }
        }
    }
    let page = fs::read_to_string(folder.path().join("out/index.html")).unwrap();
    assert!(
        page.contains("<svg") && page.contains("adit was not asked for"),
        "{page}"
    );
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
