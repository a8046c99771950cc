//! The data plane outlives the control plane, and a disk that fails loses nothing.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use kit::{fabric::DOMAIN, fabric::Site, origin::Origin, process::eventually, told::not_run};

#[tokio::test]
async fn an_edge_and_an_agent_start_and_serve_without_control() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    // What they know is on their disks a moment later.
    for file in ["edge/snapshot.bin", "a1/snapshot.bin"] {
        let path = fabric.site().folder().join(file);
        eventually("the snapshot is on disk", async || {
            fs::read(&path).is_ok_and(|disk| disk.windows(4).any(|window| window == b"wiki"))
        })
        .await;
    }
    fabric.control.kill();
    fabric.edge.kill();
    fabric.agent.kill();
    fabric.edge = fabric.site().start_edge();
    fabric.agent = fabric.site().start_agent("a1");
    fabric.edge.ready().await;
    eventually("it serves from disk", async || {
        fabric.user().status(&host, "/").await == 200
    })
    .await;
}

#[tokio::test]
async fn an_edge_that_was_killed_has_its_agents_back_within_seconds() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    fabric.edge.kill();
    fabric.edge = fabric.site().start_edge();
    fabric.edge.ready().await;
    let back = eventually("the agent is back", async || {
        fabric.user().status(&host, "/").await == 200
    });
    // QUIC alone would notice after 20 s.
    let in_time = tokio::time::timeout(Duration::from_secs(10), back).await;
    assert!(in_time.is_ok(), "agents are away for too long");
}

#[tokio::test]
async fn control_may_go_and_come_back_while_users_are_served() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    fabric.control.kill();
    for _ in 0..20 {
        assert_eq!(fabric.user().status(&host, "/").await, 200);
    }
    fabric.control = fabric.site().start_control().await;
    // Changes arrive again, without anybody restarting a node.
    let second = fabric.publish("second", &origin.url()).await;
    assert_eq!(fabric.user().status(&second, "/").await, 200);
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_used_is_a_clear_error() {
    let site = Site::new(crate::adit());
    // A file where the folder should be: not even root can write below it.
    fs::write(site.folder().join("file"), "kept").expect("the folder can be written");
    let output = Command::new(crate::adit())
        .args([
            "control",
            "--domain",
            DOMAIN,
            "--advertise",
            "127.0.0.1:7443",
            "--data-dir",
        ])
        .arg(site.folder().join("file/control"))
        .output()
        .expect("the program runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("file/control"), "{complaint}");
    assert!(complaint.contains("Not a directory"), "{complaint}");
    assert_eq!(
        fs::read_to_string(site.folder().join("file")).expect("still there"),
        "kept"
    );
}

/// A tiny file system of its own, unmounted when dropped.
struct Disk<'a>(&'a std::path::Path);

impl<'a> Disk<'a> {
    /// `None` where mounting is not allowed.
    fn mount(at: &'a std::path::Path, kib: u32) -> Option<Self> {
        fs::create_dir_all(at).ok()?;
        let options = format!("size={kib}k,mode=700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at)
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(at))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = Command::new("mount")
            .args(["-o", &options])
            .arg(self.0)
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "remount {options}"
        );
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        // Lazily, as a process may still be on its way out.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test]
async fn a_full_or_read_only_disk_is_a_clear_error_and_nothing_is_lost() {
    let site = Site::new(crate::adit());
    let at = site.folder().join("control");
    let Some(disk) = Disk::mount(&at, 16 * 1024) else {
        not_run("a full disk, a disk that becomes read-only: no right to mount one");
        if is_root() {
            not_run("a folder without the right to write: root has it everywhere");
            return;
        }
        fs::create_dir_all(&at).expect("the folder can be written");
        fs::set_permissions(&at, fs::Permissions::from_mode(0o500)).expect("our own folder");
        refuses_to_start(&site, "Permission denied");
        return;
    };
    let mut control = site.start_control().await;
    site.ok(&["group", "create", "before"]);
    // Fill what is left, and find the limit by a write that is refused.
    let filler = at.join("filler");
    let filled = fs::write(&filler, vec![0; 32 * 1024 * 1024]);
    assert!(filled.is_err(), "the disk is full");
    let refused = (0..200).find_map(|round| {
        let tried = site.run(&["group", "create", &format!("late-{round}")]);
        (!tried.status.success()).then(|| String::from_utf8_lossy(&tried.stderr).into_owned())
    });
    let refused = refused.expect("a full disk refuses writes at some point");
    for part in ["STORE_READ_ONLY", "disk is full"] {
        assert!(refused.contains(part), "{part} is missing: {refused}");
    }
    // Who looks into the log learns which of the two it is.
    assert!(control.log().contains("disk is full"), "{}", control.log());
    let acknowledged = site.ok(&["group", "list", "--output", "json"]);
    control.kill();
    refuses_to_start(&site, "disk is full");
    fs::remove_file(&filler).expect("a file can be removed from a full disk");
    disk.remount("ro");
    refuses_to_start(&site, "Read-only file system");
    disk.remount("rw");
    let _control = site.start_control().await;
    let now: serde_json::Value =
        serde_json::from_str(&site.ok(&["group", "list", "--output", "json"])).expect("JSON");
    let before: serde_json::Value = serde_json::from_str(&acknowledged).expect("JSON");
    for group in before.as_array().expect("a list") {
        assert!(
            now.as_array()
                .expect("a list")
                .iter()
                .any(|other| other["name"] == group["name"]),
            "{group} is lost"
        );
    }
}

fn is_root() -> bool {
    let own = fs::metadata("/proc/self");
    own.is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Starts control in vain; it says what is wrong in the system's words, and with which file or folder.
fn refuses_to_start(site: &Site, why: &str) {
    let address = kit::process::free_address().to_string();
    let admin = kit::process::free_address().to_string();
    let output = Command::new("timeout")
        .arg("20")
        .arg(crate::adit())
        .args([
            "control",
            "--data-dir",
            "control",
            "--domain",
            DOMAIN,
            "--listen",
            &address,
            "--advertise",
            &address,
            "--admin",
            &admin,
        ])
        .current_dir(site.folder())
        .output()
        .expect("the program runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains(why), "{why} is missing: {complaint}");
    // The folder is "control", and so is the process: only a path into it names it.
    let named = ["control/", "data directory control", "in control"];
    assert!(
        named.iter().any(|name| complaint.contains(name)),
        "neither folder nor file is named: {complaint}"
    );
}
