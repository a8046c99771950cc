//! A Kerberos realm and an application that signs on by it: a real KDC and a real web server on loopback, by `tests/kit/kerberos`.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tempfile::TempDir;

use crate::told::not_run;

/// What `up` ends with where a Debian package is missing.
const MISSING: i32 = 75;
/// How long an answer of the application may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Bytes of an answer of the application.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// Set in a process that another one with a lab started.
const INHERITED: &str = "ADIT_TEST_IN_LAB";

/// A running lab. Stopped and removed when dropped, or when the process that started it ends.
///
/// The library of Kerberos finds its KDC by the variable `KRB5_CONFIG`, which a process must have from its beginning: programs under test
/// are started with [`Lab::krb5_conf`], tests that ask the KDC themselves run [`Lab::within`].
#[derive(Debug)]
pub struct Lab {
    exports: BTreeMap<String, String>,
    /// Of who started it.
    folder: Option<TempDir>,
}

/// An account of the agent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// As it should be: `svc-agent`.
    Good,
    /// Without protocol transition.
    WithoutTransition,
    /// Without delegation.
    WithoutDelegation,
    /// With a password that is newer than its keytab.
    Stale,
}

impl Account {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "agent",
            Self::WithoutTransition => "agent-kcd",
            Self::WithoutDelegation => "agent-none",
            Self::Stale => "agent-stale",
        }
    }
}

/// An application of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum App {
    /// The agent may delegate to it.
    App,
    /// It may not.
    Other,
    /// It may, but the application's keytab is out of date.
    Stale,
    /// It may, and it is another service than [`App::App`].
    Second,
}

impl App {
    fn name(self) -> &'static str {
        match self {
            Self::App => "APP",
            Self::Other => "OTHER",
            Self::Stale => "STALE",
            Self::Second => "SECOND",
        }
    }
}

/// What an application answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// The status.
    pub status: u16,
    /// Whom it took the caller for.
    pub user: Option<String>,
    /// The values of `WWW-Authenticate`.
    pub challenges: Vec<String>,
    /// The body.
    pub body: String,
}

/// What became of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It was taken for this user.
    As(String),
    /// It was refused for this reason.
    Not(String),
}

impl Lab {
    /// Starts one. `None`, and a loud word about it, where Debian packages are missing, which `./test` installs.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same with more settings of `tests/kit/kerberos/README.md`.
    pub fn start_with(settings: &[(&str, &str)]) -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("adit-kerberos-")
            .tempdir()
            .expect("a temporary folder");
        // The web server gives root up, and must still reach its files.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).expect("it is ours");
        let output = script("up")
            .env("LAB_DIR", folder.path().join("lab"))
            .env("LAB_ADDR", free_loopback().to_string())
            .env("LAB_OWNER", std::process::id().to_string())
            .envs(settings.iter().copied())
            .output()
            .expect("the lab's script is there");
        if output.status.code() == Some(MISSING) {
            let missing = String::from_utf8_lossy(&output.stderr);
            not_run(&format!("{}: ./test installs them", missing.trim()));
            return None;
        }
        Some(Self {
            exports: exports(&said(&output)),
            folder: Some(folder),
        })
    }

    /// Runs `body` in a process whose library of Kerberos knows the lab: the first time, this starts a lab and runs the test of the name
    /// `test` once more, in a process of its own with the variables `more` besides.
    pub fn within(
        test: &str,
        settings: &[(&str, &str)],
        more: impl FnOnce(&Self) -> Vec<(String, String)>,
        body: impl FnOnce(&Self),
    ) {
        if let Some(lab) = Self::inherited() {
            return body(&lab);
        }
        let Some(lab) = Self::start_with(settings) else {
            return;
        };
        lab.run_again(test, &more(&lab));
    }

    /// The lab of the process that started this one.
    pub fn inherited() -> Option<Self> {
        std::env::var_os(INHERITED)?;
        let ours = |(name, _): &(String, String)| name.starts_with("LAB_") || name == "KRB5_CONFIG";
        Some(Self {
            exports: std::env::vars().filter(ours).collect(),
            folder: None,
        })
    }

    /// Runs one test of this program in a process of its own, which inherits the lab. Panics with what it said if it fails.
    pub fn run_again(&self, test: &str, more: &[(String, String)]) {
        let program = std::env::current_exe().expect("a test has a program");
        let output = Command::new(program)
            .args(["--exact", test, "--nocapture"])
            .envs(&self.exports)
            .env(INHERITED, "1")
            .envs(more.iter().cloned())
            .output()
            .expect("it runs already");
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{complained}");
        assert!(said.contains("1 passed"), "no test {test}: {said}");
    }

    /// The realm.
    pub fn realm(&self) -> &str {
        self.export("LAB_REALM")
    }

    /// The file for `KRB5_CONFIG`.
    pub fn krb5_conf(&self) -> PathBuf {
        self.export("KRB5_CONFIG").into()
    }

    /// The folder with all of its files.
    pub fn folder(&self) -> PathBuf {
        self.export("LAB_DIR").into()
    }

    /// The principal of an account of the agent's.
    pub fn principal(&self, account: Account) -> String {
        format!("svc-{}@{}", account.name(), self.realm())
    }

    /// Its keytab.
    pub fn keytab(&self, account: Account) -> PathBuf {
        let name = format!("{}.keytab", account.name());
        Path::new(self.export("LAB_KEYTABS")).join(name)
    }

    /// The keytab of the application itself.
    pub fn app_keytab(&self) -> PathBuf {
        Path::new(self.export("LAB_KEYTABS")).join("app.keytab")
    }

    /// The service principal name of an application.
    pub fn spn(&self, app: App) -> &str {
        self.export(&format!("LAB_{}_SPN", app.name()))
    }

    /// A service that the agent may delegate to, and that is not there.
    pub fn ghost_spn(&self) -> String {
        format!("HTTP/ghost.{}", self.realm().to_lowercase())
    }

    /// Where an application listens, without TLS.
    pub fn address(&self, app: App) -> SocketAddr {
        self.address_of(app.name())
    }

    /// Where [`App::App`] listens with TLS, and shows [`Self::tls_certificate`].
    pub fn tls(&self) -> SocketAddr {
        self.address_of("TLS")
    }

    /// Where somebody in between listens who passes all on to [`Self::tls`], and shows another certificate.
    pub fn between(&self) -> SocketAddr {
        self.address_of("BETWEEN")
    }

    /// The file with the certificate.
    pub fn tls_certificate(&self) -> PathBuf {
        self.folder().join("tls.pem")
    }

    fn address_of(&self, name: &str) -> SocketAddr {
        let address = self.export(&format!("LAB_{name}_ADDR"));
        address.parse().expect("the lab names addresses")
    }

    /// The KDC, over TCP and UDP.
    pub fn kdc(&self) -> SocketAddr {
        self.export("LAB_KDC").parse().expect("the lab names it")
    }

    /// The password of each user.
    pub fn user_password(&self) -> &str {
        self.export("LAB_USER_PASSWORD")
    }

    /// Stops the KDC. Connections to it are refused.
    pub fn stop_kdc(&self) {
        self.run("kdc", "stop");
    }

    /// Starts it again, where it was, and waits until it gives tickets.
    pub fn start_kdc(&self) {
        self.run("kdc", "start");
    }

    /// Takes the place of a KDC that was stopped, and never answers.
    pub fn silence_kdc(&self) -> SilentKdc {
        SilentKdc {
            _tcp: TcpListener::bind(self.kdc()).expect("the KDC is stopped"),
            _udp: UdpSocket::bind(self.kdc()).expect("the KDC is stopped"),
        }
    }

    /// The requests that the applications have logged: one a line, with the user and the status.
    pub fn access_log(&self) -> String {
        let log = fs::read(self.folder().join("web/log/access.log")).expect("it has a log");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// What the KDC has said so far.
    pub fn kdc_log(&self) -> String {
        let log = fs::read(self.folder().join("dc/log/samba.log")).expect("it has a log");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// A user's ticket in a file, as after signing in with the password; the value of `KRB5CCNAME` for it.
    pub fn sign_in(&self, account: &str) -> String {
        let cache = format!("FILE:{}", self.folder().join(account).display());
        let mut kinit = Command::new("kinit")
            .args(["-c", &cache, &format!("{account}@{}", self.realm())])
            .env("KRB5_CONFIG", self.krb5_conf())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("kinit is there");
        let mut stdin = kinit.stdin.take().expect("it is a pipe");
        let password = format!("{}\n", self.user_password());
        stdin.write_all(password.as_bytes()).expect("kinit asks");
        drop(stdin);
        assert!(kinit.wait().expect("it ends").success(), "kinit failed");
        cache
    }

    /// Asks an application for a path, on a connection of its own.
    pub fn visit(&self, app: App, path: &str, authorization: Option<&str>) -> Visit {
        let authorization = authorization
            .map(|value| format!("Authorization: {value}\r\n"))
            .unwrap_or_default();
        let host = self.spn(app).trim_start_matches("HTTP/");
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{authorization}\r\n"
        );
        let mut stream = TcpStream::connect(self.address(app)).expect("the application listens");
        let waits = stream.set_read_timeout(Some(ANSWER_WITHIN));
        waits.expect("a socket can wait");
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        let mut answers = stream.take(ANSWER_BYTES_MAX);
        answers.read_to_end(&mut answer).expect("it answers");
        Visit::read(&String::from_utf8_lossy(&answer))
    }

    /// What MIT's own acceptor makes of a token, with the application's key and these channel bindings.
    pub fn accept(&self, token: &str, bindings: Option<&[u8]>) -> Accepted {
        let output = script("accept")
            .arg(self.app_keytab())
            .arg(token)
            .args(bindings.map(|bytes| BASE64_STANDARD.encode(bytes)))
            .env("KRB5_CONFIG", self.krb5_conf())
            .env("KRB5RCACHETYPE", "none")
            .output()
            .expect("the script is there");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Accepted::As(text(&output.stdout))
        } else {
            Accepted::Not(text(&output.stderr))
        }
    }

    fn run(&self, name: &str, word: &str) {
        let output = script(name).arg(word).envs(&self.exports).output();
        said(&output.expect("the lab's script is there"));
    }

    fn export(&self, name: &str) -> &str {
        let value = self.exports.get(name);
        value.unwrap_or_else(|| panic!("the lab exports no {name}"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.folder.is_some() {
            let _ = script("down").envs(&self.exports).output();
        }
    }
}

/// A KDC that accepts connections and datagrams, and says nothing.
#[derive(Debug)]
pub struct SilentKdc {
    /// The system completes handshakes, which nobody takes up.
    _tcp: TcpListener,
    _udp: UdpSocket,
}

impl Visit {
    fn read(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let fields: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
        let values = |wanted: &str| {
            let of_name = fields
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            of_name.map(|(_, value)| (*value).to_owned()).collect()
        };
        let user: Vec<String> = values("x-lab-user");
        Self {
            status: status.and_then(|it| it.parse().ok()).expect("a status"),
            user: user.into_iter().next().filter(|user| !user.is_empty()),
            challenges: values("www-authenticate"),
            body: body.to_owned(),
        }
    }
}

/// A loopback address that other labs of the moment do not have.
fn free_loopback() -> Ipv4Addr {
    static LABS: AtomicU8 = AtomicU8::new(0);
    let number = LABS.fetch_add(1, Ordering::Relaxed) % 32;
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + number, high, low.clamp(1, 254))
}

fn script(name: &str) -> Command {
    Command::new(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("kerberos")
            .join(name),
    )
}

fn exports(said: &str) -> BTreeMap<String, String> {
    let exports = said.lines().filter_map(|line| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('\'').to_owned()))
    });
    exports.collect()
}

fn said(output: &Output) -> String {
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the lab fails: {complained}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
