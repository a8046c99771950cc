//! The README's lines, run as they stand, with nginx as the app.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use kit::process::{eventually, free_address};
use tempfile::TempDir;

/// Stands before the block of lines that is run here.
const MARK: &str = "<!-- e2e: these lines are run by tests/e2e/readme.rs as they stand -->";
/// Ports in the README, which may be taken on the machine that runs the tests.
const PORTS: [&str; 3] = ["7443", "8443", "8000"];

fn lines() -> String {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))
        .expect("the README is there");
    let (_, after) = readme.split_once(MARK).expect("the mark is there");
    let (_, block) = after
        .split_once("```sh\n")
        .expect("a block follows the mark");
    block
        .split_once("```")
        .expect("the block ends")
        .0
        .to_owned()
}

/// A process that is killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn nginx(folder: &Path, port: u16) -> Killed {
    fs::create_dir_all(folder.join("www")).expect("the folder can be written");
    fs::write(folder.join("www/index.html"), "from nginx\n").expect("the folder can be written");
    let config = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr; events {{}}\n\
         http {{ access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;\n\
         server {{ listen 127.0.0.1:{port}; root www; }} }}\n"
    );
    fs::write(folder.join("nginx.conf"), config).expect("the folder can be written");
    let child = Command::new("nginx")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .args(["-e", "stderr", "-p", "."])
        .args(["-c", "nginx.conf"])
        .current_dir(folder)
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx is installed");
    Killed(child)
}

/// A folder with `adit` in it, as if installed, that adds what the README leaves at its default but a shared machine cannot spare.
fn installed(folder: &Path, control: u16, https: u16) -> PathBuf {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).expect("the folder can be written");
    let admin = || free_address();
    let (program, http) = (crate::adit().display(), free_address());
    let script = format!(
        "#!/bin/sh\ncase \"$1 $2\" in\n\
         'control --'*) exec {program} \"$@\" --listen 127.0.0.1:{control} --admin {} ;;\n\
         'edge --'*) exec {program} \"$@\" --https 127.0.0.1:{https} --http {http} --admin {} ;;\n\
         'agent --'*) exec {program} \"$@\" --admin {} ;;\n\
         esac\nexec {program} \"$@\"\n",
        admin(),
        admin(),
        admin(),
    );
    let adit = bin.join("adit");
    fs::write(&adit, script).expect("the folder can be written");
    fs::set_permissions(&adit, fs::Permissions::from_mode(0o755)).expect("our own file");
    bin
}

#[tokio::test]
async fn the_lines_of_the_readme_work_as_written() {
    let folder = TempDir::new().expect("the temporary folder can be written");
    let mut script = lines();
    let ports: Vec<u16> = PORTS.iter().map(|_| free_address().port()).collect();
    for (port, free) in PORTS.iter().zip(&ports) {
        script = script.replace(port, &free.to_string());
    }
    let _nginx = nginx(folder.path(), ports[2]);
    eventually("nginx listens", async || {
        tokio::net::TcpStream::connect(("127.0.0.1", ports[2]))
            .await
            .is_ok()
    })
    .await;
    let script = format!("set -eu\ntrap 'kill $(jobs -p)' EXIT\n{script}");
    let bin = installed(folder.path(), ports[0], ports[1]);
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display());
    let output = Command::new("timeout")
        .args(["60", "bash", "-c", &script])
        .env("PATH", path)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let (said, complaint) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && said.ends_with("from nginx\n"),
        "{said}\n{complaint}"
    );
}
