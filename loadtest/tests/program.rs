//! `adit-loadtest` as its users run it, against its own origin.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

struct Origin {
    child: Child,
    addr: String,
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_adit-loadtest"))
}

fn origin() -> Origin {
    let child = program().arg("origin").stdout(Stdio::piped()).spawn();
    let mut child = child.expect("the program can be run");
    let output = child.stdout.take().expect("its output is piped");
    let mut said = String::new();
    let read = BufReader::new(output).read_line(&mut said);
    read.expect("it says where it listens");
    let addr = said.trim().strip_prefix("listening on ");
    let addr = addr.expect("it listens").to_owned();
    Origin { child, addr }
}

/// Whether it was content, and its JSON.
fn run(command: &mut Command, origin: &Origin) -> (bool, Value) {
    let output = command.args(["--json", "--connect", &origin.addr]).output();
    let output = output.expect("the program can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_slice(&output.stdout);
    (
        output.status.success(),
        json.unwrap_or_else(|error| panic!("{error}: {said}")),
    )
}

#[test]
fn a_url_is_got_at_a_rate() {
    let origin = origin();
    let gets = |path: &str| {
        let url = format!("http://load.localhost{path}");
        let rate = ["--rate", "100", "--duration", "300ms"];
        run(program().args(rate).arg(url), &origin)
    };
    let (well, json) = gets("/1k");
    assert!(well, "{json}");
    assert_eq!(
        (&json["answered"], &json["failed"]),
        (&30.into(), &0.into())
    );
    let (well, json) = gets("/none");
    assert!(!well);
    assert_eq!(json["failures"]["status 404"], 30, "{json}");
}

#[test]
fn the_loads_of_a_scenario_are_put_one_after_the_other() {
    let (origin, folder) = (origin(), tempfile::tempdir().unwrap());
    let file = folder.path().join("two.toml");
    let load = "loop = 'closed'\nduration = '100ms'\npath = '/1k'\nbytes = 1024\n";
    let text = ["one", "two"].map(|name| format!("[[load]]\nname = '{name}'\n{load}"));
    fs::write(&file, text.concat()).unwrap();
    let run_with = |extra: &[&str]| {
        let url = ["--url", "http://load.localhost"];
        run(
            program().arg("run").arg(&file).args(url).args(extra),
            &origin,
        )
    };
    let (well, json) = run_with(&[]);
    assert!(well, "{json}");
    let loads = json.as_array().unwrap();
    assert_eq!(loads.len(), 2);
    for load in loads {
        assert!(load["tally"]["answered"].as_u64() > Some(0), "{load}");
        assert_eq!(load["seed"], 1);
    }
    let (_, json) = run_with(&["--loads", "two"]);
    assert_eq!(json[0]["name"], "two");
}
