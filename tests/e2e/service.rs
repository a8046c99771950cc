//! What a service manager is told, and what its units say.

use std::{
    fs,
    io::Read as _,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use kit::{
    fabric::{DOMAIN, Site},
    process::{Process, free_address},
    told::not_run,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// That have units.
const PROCESSES: [&str; 3] = ["agent", "edge", "control"];
/// By how much the figure of another version of systemd may be worse.
const OTHER_VERSIONS: f64 = 0.5;

fn heard(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = socket
        .recv(&mut buffer)
        .expect("the service manager is told in time");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[tokio::test]
async fn a_process_says_when_it_serves_that_it_lives_and_when_it_ends() {
    let site = Site::new(crate::adit());
    let folder = site.folder();
    let path = folder.join("notify");
    let manager = UnixDatagram::bind(&path).expect("the folder can be written");
    manager
        .set_read_timeout(Some(PATIENCE))
        .expect("it can wait");
    let (listen, admin) = (free_address().to_string(), free_address());
    let admin_text = admin.to_string();
    let notify = format!("NOTIFY_SOCKET={}", path.display());
    // `env` becomes the program, so it is the program that is watched.
    let args = [
        &notify,
        "WATCHDOG_USEC=200000",
        crate::adit().to_str().expect("UTF-8"),
        "control",
        "--data-dir",
        "control",
        "--domain",
        DOMAIN,
        "--listen",
        &listen,
        "--advertise",
        &listen,
        "--admin",
        &admin_text,
    ];
    let mut control = Process::start(Path::new("env"), folder, "control", admin, &args);
    assert_eq!(
        heard(&manager),
        format!("READY=1\nMAINPID={}\nSTATUS=serving", control.id())
    );
    assert_eq!(control.admin_status("/ready").await, Some(200));
    for _ in 0..3 {
        assert_eq!(heard(&manager), "WATCHDOG=1");
    }
    control.terminate();
    let last = loop {
        match heard(&manager).as_str() {
            "WATCHDOG=1" => {}
            other => break other.to_owned(),
        }
    };
    assert_eq!(last, "STOPPING=1\nSTATUS=draining");
    assert!(control.ended().await.success(), "{}", control.log());
}

#[test]
fn units_start_each_process_with_flags_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for process in PROCESSES {
        let unit = root.join(format!("packaging/systemd/adit-{process}.service"));
        let unit = fs::read_to_string(unit).expect("the unit is there");
        let help = Command::new(crate::adit())
            .args([process, "--help"])
            .output()
            .expect("the program runs");
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let commands: Vec<_> = unit
            .lines()
            .filter(|line| line.starts_with("ExecStart"))
            .collect();
        assert_eq!(commands.len(), 2, "{process}");
        for command in commands {
            assert!(
                command.contains(&format!("/usr/bin/adit {process} ")),
                "{command}"
            );
            for flag in command.split(' ').filter(|word| word.starts_with("--")) {
                assert!(help.contains(flag), "adit {process} has no {flag}");
            }
        }
        let config = root.join(format!("packaging/debian/{process}.toml"));
        let config = fs::read_to_string(config).expect("the configuration is there");
        let uncommented = config
            .replace("# advertise", "advertise")
            .replace("# domain", "domain");
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        let file = folder.path().join("adit.toml");
        fs::write(&file, uncommented).expect("the folder can be written");
        let checked = Command::new(crate::adit())
            .args([process, "--config"])
            .arg(&file)
            .arg("--check-config")
            .output()
            .expect("the program runs");
        let complaint = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{process}: {complaint}");
    }
}

/// The units, in a folder of their own, with the program under test for the one that a package installs. None where systemd is not.
#[expect(
    clippy::unwrap_in_result,
    reason = "none is for a machine without systemd alone"
)]
fn units() -> Option<(tempfile::TempDir, [PathBuf; 3])> {
    if !has_systemd() {
        not_run("it takes systemd-analyze");
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let program = crate::adit().to_str().expect("UTF-8");
    let units = PROCESSES.map(|process| {
        let name = format!("adit-{process}.service");
        let unit = fs::read_to_string(root.join("packaging/systemd").join(&name));
        let unit = unit
            .expect("the unit is there")
            .replace("/usr/bin/adit", program);
        let path = folder.path().join(name);
        fs::write(&path, unit).expect("the folder can be written");
        path
    });
    Some((folder, units))
}

fn has_systemd() -> bool {
    let asked = Command::new("systemd-analyze").arg("--version").output();
    asked.is_ok_and(|answer| answer.status.success())
}

fn analyze(words: &[&str], units: &[PathBuf]) -> String {
    let answer = Command::new("systemd-analyze")
        .args(words)
        .args(units)
        .env("SYSTEMD_PAGER", "cat")
        .output()
        .expect("it runs");
    let said = [answer.stdout, answer.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(answer.status.success(), "{words:?}: {said}");
    said
}

#[test]
fn systemd_has_nothing_to_say_against_the_units() {
    let Some((_folder, units)) = units() else {
        return;
    };
    assert_eq!(analyze(&["verify"], &units), "");
}

/// With a figure for each unit in the documents, which is that of one version of systemd: others weigh the same settings otherwise.
#[test]
fn units_are_as_closed_as_the_documents_say() {
    let Some((_folder, units)) = units() else {
        return;
    };
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/services.md");
    let document = fs::read_to_string(document).expect("the document is there");
    let is_documented = analyze(&["--version"], &[]).starts_with("systemd 252 ");
    for unit in units {
        let name = unit.file_stem().and_then(|name| name.to_str());
        let name = name.expect("UTF-8");
        let row = document
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")));
        let told = row.and_then(|row| row.trim_end_matches(" |").rsplit("| ").next());
        let said = analyze(&["security", "--offline=true"], std::slice::from_ref(&unit));
        let (_, level) = said.split_once("Overall exposure level").expect("a level");
        let level = level.split_ascii_whitespace().nth(2);
        if is_documented {
            assert_eq!(level, told, "{name}");
        }
        let [level, told] = [level, told].map(|figure| {
            let figure = figure.and_then(|figure| figure.parse::<f64>().ok());
            figure.expect("a figure")
        });
        assert!(
            level <= told + OTHER_VERSIONS,
            "{name}: {level}, told {told}"
        );
    }
}

/// After a reload the main process is none that systemd started, and it waits for no such process by itself.
#[test]
fn an_edge_is_waited_for_while_it_drains() {
    const DRAINS: &str = "trap 'sleep 1; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let unit = fs::read_to_string(root.join("packaging/systemd/adit-edge.service"));
    let unit = unit.expect("the unit is there");
    let stop = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStop=-/bin/sh -c '"))
        .and_then(|command| command.strip_suffix('\''))
        .expect("a command");
    let mut edge = Command::new("sh")
        .args(["-c", DRAINS])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let pid = edge.id().to_string();
    let mut ready = [0; 6];
    let mut said = edge.stdout.take().expect("it is piped");
    said.read_exact(&mut ready).expect("it says so");
    let ended = thread::spawn(move || edge.wait().expect("it ends"));
    let asked = tokio::time::Instant::now();
    let stopped = Command::new("sh")
        .args(["-c", stop])
        .env("MAINPID", pid)
        .status();
    assert!(stopped.expect("it runs").success());
    let waited = asked.elapsed();
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    let code = ended.join().expect("no panic").code();
    assert_eq!(code, Some(7), "it ended by itself");
}
