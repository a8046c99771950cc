//! A real browser: Debian's Chromium, driven through its chromedriver (WebDriver, W3C).

use std::{
    fs,
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::process::{PATIENCE, eventually, free_address};

/// Switches for a machine without a screen and without the internet.
const SWITCHES: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
    // Every host of the tests' fabrics is at an edge on loopback.
    "--host-resolver-rules=MAP *.fabric.test 127.0.0.1",
];

/// How long a page or a script may take, in milliseconds: without a bound a page that loads for ever holds its test up until that is killed, and nobody knows where.
const LONGEST_MS: u32 = 20_000;

/// One window. Closed when dropped.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// Opens a window of this size. Certificates are not checked: those of the tests are nobody's.
    pub async fn open(width: u32, height: u32) -> Self {
        Self::open_with(width, height, &[]).await
    }

    /// The same, with more switches.
    pub async fn open_with(width: u32, height: u32, more: &[&str]) -> Self {
        let port = free_address().port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed");
        let profile = TempDir::new().expect("the temporary folder can be written");
        let mut browser = Self {
            driver,
            port,
            session: String::new(),
            _profile: profile,
        };
        eventually("chromedriver listens", async || {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        let mut switches = SWITCHES.map(str::to_owned).to_vec();
        switches.extend(more.iter().map(|switch| (*switch).to_owned()));
        switches.push(format!("--window-size={width},{height}"));
        switches.push(format!(
            "--user-data-dir={}",
            browser._profile.path().display()
        ));
        let options = json!({ "args": switches, "binary": "/usr/bin/chromium" });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options, "acceptInsecureCerts": true, "timeouts": { "pageLoad": LONGEST_MS, "script": LONGEST_MS } } } });
        let session = browser.call("POST", "/session", &wanted).await;
        browser.session = session["sessionId"]
            .as_str()
            .unwrap_or_else(|| panic!("no session: {session}"))
            .to_owned();
        browser
    }

    /// Goes to a page and waits until it is loaded.
    pub async fn visit(&self, url: &str) {
        self.of_session("POST", "/url", &json!({ "url": url }))
            .await;
    }

    /// Runs a script in the page; what it returns.
    pub async fn run(&self, script: &str) -> Value {
        self.of_session(
            "POST",
            "/execute/sync",
            &json!({ "script": script, "args": [] }),
        )
        .await
    }

    /// Text of the element that `selector` finds.
    pub async fn text(&self, selector: &str) -> String {
        let found = self
            .run(&format!(
                "return document.querySelector({selector:?})?.textContent ?? ''"
            ))
            .await;
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Gives the browser a device that keeps passkeys, whose user is there and verified whenever it is asked (Web Authentication, section 11).
    ///
    /// Its id.
    pub async fn add_passkey_device(&self) -> String {
        let device = json!({
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": true,
            "hasUserVerification": true,
            "isUserVerified": true,
            "isUserConsenting": true,
        });
        let made = self
            .of_session("POST", "/webauthn/authenticator", &device)
            .await;
        let made = made.as_str().unwrap_or_else(|| panic!("no device: {made}"));
        made.to_owned()
    }

    /// Has a device's user be verified from now on, or not.
    pub async fn verify_passkey_user(&self, device: &str, verified: bool) {
        let path = format!("/webauthn/authenticator/{device}/uv");
        let asked = json!({ "isUserVerified": verified });
        self.of_session("POST", &path, &asked).await;
    }

    /// Saves what is seen as a PNG.
    pub async fn screenshot(&self, to: &Path) {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        let picture = self.of_session("GET", "/screenshot", &Value::Null).await;
        let picture = BASE64_STANDARD
            .decode(picture.as_str().unwrap_or_default())
            .expect("WebDriver sends base64");
        fs::write(to, picture).expect("the picture can be written");
    }

    async fn of_session(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}{path}", self.session), body)
            .await
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("127.0.0.1:{}", self.port))
            .body(Full::new(Bytes::from(text)))
            .expect("WebDriver's paths are plain");
        let socket = TcpStream::connect(("127.0.0.1", self.port))
            .await
            .expect("chromedriver listens");
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket))
            .await
            .expect("chromedriver speaks HTTP");
        let asked = async {
            let answer = sender
                .send_request(request)
                .await
                .expect("chromedriver answers");
            answer
                .into_body()
                .collect()
                .await
                .expect("a whole answer")
                .to_bytes()
        };
        let answer = tokio::select! {
            answer = asked => answer,
            ended = connection => panic!("chromedriver closed the connection: {ended:?}"),
        };
        let mut answer: Value = serde_json::from_slice(&answer).expect("WebDriver speaks JSON");
        let told = answer["value"].take();
        assert!(
            told["error"] != "timeout" && told["error"] != "script timeout",
            "{path}: {told}"
        );
        told
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A driver that is only stopped leaves its browser behind.
        self.quit();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    /// Closes the window, waiting as long as that takes: this is no place to be asynchronous.
    fn quit(&self) {
        let Ok(mut socket) = std::net::TcpStream::connect(("127.0.0.1", self.port)) else {
            return;
        };
        let request = format!(
            "DELETE /session/{} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\n\r\n",
            self.session, self.port
        );
        // Whatever fails here, the driver is stopped next.
        let _ = socket.set_read_timeout(Some(PATIENCE));
        let _ = socket.write_all(request.as_bytes());
        let _ = socket.read(&mut [0; 1024]);
    }
}
