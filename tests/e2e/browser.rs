//! The demo in a real browser: its page, its clock and its WebSocket work.

use std::{fs, path::PathBuf, process::Command};

use kit::{
    browser::Browser,
    process::{Process, eventually, free_address},
};
use tempfile::TempDir;

pub(crate) struct Demo {
    pub(crate) process: Process,
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
}

impl Demo {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().expect("the temporary folder can be written");
        let address = free_address();
        let port = address.port();
        let args = ["demo", "--port", &port.to_string()].map(str::to_owned);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let process = Process::start(crate::adit(), folder.path(), "demo", address, &args);
        let demo = Self {
            process,
            folder,
            port,
        };
        eventually("the demo says where it is", async || {
            demo.process.log().contains("curl ")
        })
        .await;
        demo
    }

    fn curl_line(&self) -> String {
        let log = self.process.log();
        let line = log
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with("curl "));
        line.expect("the demo prints a curl line").to_owned()
    }
}

#[tokio::test]
async fn a_demo_that_is_killed_leaves_nothing_beside_the_folder_of_its_test() {
    let demo = Demo::start().await;
    let folder = demo.folder.path().to_str().expect("UTF-8").to_owned();
    let line = demo.curl_line();
    assert!(line.contains(&format!("{folder}/adit-demo-")), "{line}");
    drop(demo);
    assert!(!PathBuf::from(folder).exists());
}

#[tokio::test]
async fn the_printed_curl_line_works_as_printed() {
    let demo = Demo::start().await;
    let line = format!("{} -sS -o body -w '%{{http_code}}'", demo.curl_line());
    let output = Command::new("sh")
        .args(["-c", &line])
        .current_dir(demo.folder.path())
        .output()
        .expect("sh runs");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "200",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let page = fs::read_to_string(demo.folder.path().join("body")).expect("curl wrote it");
    assert!(page.contains("Hello from the inside"), "{page}");
}

#[tokio::test]
async fn an_upload_to_the_demo_is_counted_whole() {
    // More than fits into buffers on the way.
    const BYTES: usize = 24 * 1024 * 1024 + 7;
    let demo = Demo::start().await;
    fs::write(demo.folder.path().join("file"), vec![b'x'; BYTES])
        .expect("the folder can be written");
    let page = demo.curl_line();
    for how in [
        "-T file",
        "-X POST --data-binary @file",
        "-H 'Transfer-Encoding: chunked' -T file",
    ] {
        let line = format!("{page}upload -sS {how}");
        let output = Command::new("sh")
            .args(["-c", &line])
            .current_dir(demo.folder.path())
            .output()
            .expect("sh runs");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("{BYTES} bytes arrived\n"),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[tokio::test]
async fn the_demo_ends_when_asked_and_cleans_up() {
    let mut demo = Demo::start().await;
    let line = demo.curl_line();
    let mut words = line.split_whitespace();
    let ca = words
        .find(|word| *word == "--cacert")
        .and_then(|_| words.next())
        .expect("the line names a CA file");
    let ca = PathBuf::from(ca.trim_matches('\''));
    assert!(ca.exists());
    demo.process.terminate();
    assert!(
        demo.process.ended().await.success(),
        "{}",
        demo.process.log()
    );
    assert!(!ca.exists(), "the demo's folder is gone");
}

#[tokio::test]
async fn a_browser_sees_the_page_the_clock_and_the_echo() {
    let demo = Demo::start().await;
    let browser = Browser::open(900, 900).await;
    browser
        .visit(&format!("https://hello.localhost:{}/", demo.port))
        .await;
    assert_eq!(browser.text("h1").await, "Hello from the inside");
    eventually("the clock ticks", async || {
        browser.text("#clock").await.ends_with(" UTC")
    })
    .await;
    eventually("the request is shown", async || {
        browser
            .text("#seen")
            .await
            .contains("x-forwarded-proto: https")
    })
    .await;
    eventually("the WebSocket echoes", async || {
        browser
            .run("document.querySelector('#talk button').click()")
            .await;
        browser.text("#echo").await == "hello"
    })
    .await;
}
