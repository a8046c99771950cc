//! What a service manager is told, and what its units say.

use std::{fs, os::unix::net::UnixDatagram, path::Path, time::Duration};

use kit::{
    fabric::{DOMAIN, Site},
    process::{Process, free_address},
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

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
    for process in ["agent", "edge", "control"] {
        let unit = root.join(format!("packaging/systemd/adit-{process}.service"));
        let unit = fs::read_to_string(unit).expect("the unit is there");
        let help = std::process::Command::new(crate::adit())
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
        let checked = std::process::Command::new(crate::adit())
            .args([process, "--config"])
            .arg(&file)
            .arg("--check-config")
            .output()
            .expect("the program runs");
        let complaint = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{process}: {complaint}");
    }
}
