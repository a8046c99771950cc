//! Programs use closed apps by tokens, and people do from terminals, as docs/programs.md says.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Mutex,
    time::Duration,
};

use http::{Method, Response};
use hyper::body::Incoming;
use kit::{
    browser::Browser,
    client::{Http3, Http3Answer, User, body, collect, request},
    fabric::DOMAIN,
    origin::Origin,
    process::eventually,
};
use runtime::Clock;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    browser::Demo,
    sign_in::{CHOSEN, password, picture, shows, submit},
};

/// The address in the document.
const DOCUMENTED: &str = "https://wiki.example.com/api/pages";

/// A line of the document, by how it begins.
fn documented(start: &str) -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/programs.md");
    let text = fs::read_to_string(document).expect("the document is there");
    let line = text.lines().find(|line| line.starts_with(start));
    line.expect("the document has such a line").to_owned()
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_gets_in_with_curl_as_documented_until_its_token_is_deleted() {
    /// What is promised.
    const BOUND: Duration = Duration::from_secs(2);
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let (site, port) = (fabric.site(), fabric.site().https().port());
    let token = site.ok(&["service-token", "create", "ci", "--ttl", "90d"]);
    fs::write(site.folder().join("ci.token"), &token).expect("the folder can be written");
    let close = ["app", "update", "wiki", "--access", "sign-in"];
    let more = ["--assign-service", "ci", "--identity-field", "x-user=user"];
    site.ok(&[&close[..], &more].concat());
    eventually("the app is closed", async || {
        fabric.user().status(&host, "/").await == 401
    })
    .await;
    let curl = |path: &str, more: &str| {
        let line = documented("printf 'header");
        assert!(line.contains(DOCUMENTED), "{line}");
        let line = line.replace(DOCUMENTED, &format!("https://{host}:{port}{path}"));
        let mut command = Command::new("sh");
        let trust = format!("--cacert control/ca.pem --resolve {host}:{port}:127.0.0.1");
        command
            .args(["-c", &format!("{line} -sS {trust} {more}")])
            .current_dir(site.folder());
        command
    };
    let answer = curl("/echo", "").output().expect("sh runs");
    let seen: Value = serde_json::from_slice(&answer.stdout).expect("the origin's answer");
    let fields = seen["fields"].to_string();
    assert!(fields.contains("[\"x-user\",\"service:ci\"]"), "{fields}");
    assert!(!fields.contains("adit_st_"), "{fields}");

    let open = curl("/hang", "--no-buffer")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh runs");
    let open = Mutex::new(open);
    eventually("the answer is under way", async || origin.hanging() == 1).await;
    let clock = Clock::system();
    let began = clock.now();
    site.ok(&["service-token", "delete", "ci"]);
    let told = clock.now() - began;
    eventually("the answer breaks off", async || {
        let mut open = open.lock().expect("nobody panics with it");
        open.try_wait().expect("our own child").is_some()
    })
    .await;
    let all = clock.now() - began;
    println!("{told:?} for the command, {all:?} until what was open had ended");
    assert!(all < told + BOUND, "{all:?}");
    let answer = curl("/", "-i").output().expect("sh runs");
    let answer = said(&answer);
    assert!(answer.contains(" 401"), "{answer}");
    assert!(answer.contains("error=\"invalid_token\""), "{answer}");
}

/// What a program has open at one edge, over each version of HTTP.
struct Open {
    http1: Response<Incoming>,
    http2: Response<Incoming>,
    http3: Http3Answer,
    _connection: Http3,
}

impl Open {
    async fn at(edge: &User, host: &str, bearer: &str) -> Self {
        let asked = || {
            let mut asked = request(Method::GET, host, "/hang", body(""));
            let fields = asked.headers_mut();
            fields.insert("authorization", bearer.parse().expect("visible ASCII"));
            asked
        };
        let mut connection = edge.http3(host).await.expect("the edge speaks HTTP/3");
        let http3 = connection.open_with("/hang", "authorization", bearer).await;
        Self {
            http1: edge.open(asked()).await.expect("a head"),
            http2: edge.open_h2(asked()).await.expect("a head"),
            http3: http3.expect("a head"),
            _connection: connection,
        }
    }

    async fn end_within(self, bound: Duration) {
        let ended = timeout(bound, async {
            let http1 = collect(self.http1).await.is_err();
            let http2 = collect(self.http2).await.is_err();
            let http3 = self.http3.collect().await.is_err();
            http1 && http2 && http3
        });
        assert!(ended.await.expect("they end in time"), "none looks whole");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_service_token_is_refused_and_cut_at_two_edges_over_every_version() {
    /// What is promised.
    const BOUND: Duration = Duration::from_secs(2);
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let https = kit::process::free_address();
    let mut other = fabric.site().start_edge_at("e2", https);
    other.ready().await;
    let edges = [fabric.user().clone(), fabric.user().at(https)];
    let site = fabric.site();
    let token = site.ok(&["service-token", "create", "ci"]);
    let bearer = format!("Bearer {}", token.trim_end());
    let close = ["app", "update", "wiki", "--access", "sign-in"];
    site.ok(&[&close[..], &["--assign-service", "ci"]].concat());
    for edge in &edges {
        eventually("the app is closed", async || {
            edge.status(&host, "/").await == 401
        })
        .await;
    }
    let one = Open::at(&edges[0], &host, &bearer).await;
    let two = Open::at(&edges[1], &host, &bearer).await;
    let clock = Clock::system();
    let began = clock.now();
    site.ok(&["service-token", "delete", "ci"]);
    let told = clock.now() - began;
    tokio::join!(one.end_within(BOUND), two.end_within(BOUND));
    println!(
        "{told:?} for the command, {:?} until six answers had ended",
        clock.now() - began
    );
    for edge in &edges {
        let asked = || {
            let mut asked = request(Method::GET, &host, "/", body(""));
            let fields = asked.headers_mut();
            fields.insert("authorization", bearer.parse().expect("visible ASCII"));
            asked
        };
        assert_eq!(edge.send(asked()).await.expect("an answer").status, 401);
        assert_eq!(edge.send_h2(asked()).await.expect("an answer").status, 401);
        let mut by_http3 = edge.http3(&host).await.expect("HTTP/3");
        let answer = by_http3.get_with("/", "authorization", &bearer).await;
        assert_eq!(answer.status, 401);
    }
}

#[tokio::test]
async fn operators_make_change_and_take_away_service_tokens() {
    let fabric = crate::fabric().await;
    let ok = |args: &[&str]| fabric.site().ok(args);
    assert!(ok(&["service-token", "list"]).is_empty());
    let token = ok(&["service-token", "create", "ci", "--display-name", "CI"]);
    assert!(token.starts_with("adit_st_"), "it alone: {token}");
    assert_eq!(token.trim_end().len(), 51);
    let list = ok(&["service-token", "list"]);
    for part in ["ci", "CI", "active", "never"] {
        assert!(list.contains(part), "{part} is missing in\n{list}");
    }
    ok(&["service-token", "update", "ci", "--disable"]);
    assert!(ok(&["service-token", "show", "ci"]).contains("disabled"));
    ok(&["service-token", "update", "ci", "--enable"]);
    let shown = ok(&["service-token", "show", "ci", "--output", "json"]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["disabled"], false);
    assert!(!shown.to_string().contains(token.trim_end()));
    let refused = |args: &[&str]| fabric.site().refused(args);
    let again = refused(&["service-token", "create", "ci"]);
    assert!(again.contains("ALREADY_EXISTS"), "{again}");
    let host = format!("wiki.{DOMAIN}");
    let publish = ["app", "publish", "wiki", "--host", &host];
    let site = ["--origin", "http://127.0.0.1:1", "--access", "sign-in"];
    ok(&[&publish[..], &site, &["--assign-service", "ci"]].concat());
    assert!(ok(&["app", "list"]).contains("sign-in: 1 service"));
    ok(&["service-token", "delete", "ci"]);
    let gone = refused(&["service-token", "show", "ci"]);
    assert!(gone.contains("NOT_FOUND"), "{gone}");
    let audit = ok(&["audit", "list", "--output", "json"]);
    assert!(audit.contains("DeleteServiceToken") && !audit.contains("adit_st_"));
}

/// A user's terminal: a home of its own, and no profile.
struct Terminal {
    home: PathBuf,
    url: String,
    ca: String,
}

impl Terminal {
    fn at(demo: &Demo) -> Self {
        let log = demo.process.log();
        let mut words = log.split_whitespace();
        words.find(|word| *word == "--cacert");
        Self {
            home: demo.folder.path().join("home"),
            url: format!("https://team.localhost:{}", demo.port),
            ca: words.next().expect("the demo's CA").to_owned(),
        }
    }

    /// `adit access ...`, as the document writes it.
    fn command(&self, line: &str) -> Command {
        let line = line.replace("https://wiki.example.com", &self.url);
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("adit"), "{line}");
        let mut command = Command::new(crate::adit());
        command
            .args(words)
            .env("HOME", &self.home)
            .env_remove("ADIT_PROFILE")
            .current_dir(&self.home);
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().expect("the program runs")
    }
}

#[tokio::test]
async fn a_person_signs_in_at_a_terminal_and_uses_apps_from_there() {
    let demo = Demo::start().await;
    let terminal = Terminal::at(&demo);
    fs::create_dir_all(&terminal.home).expect("the folder can be written");
    let early = terminal.run("adit access token https://wiki.example.com");
    assert!(said(&early).contains("adit access login"), "{early:?}");

    let login = documented("adit access login");
    let mut login = terminal
        .command(&login)
        .args(["--ca", &terminal.ca])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let told = login.stderr.take().expect("a pipe");
    // Kept open, or the program would have nobody to tell.
    let mut lines = BufReader::new(told).lines();
    let told = lines.next().expect("a line").expect("UTF-8");
    let page = format!("https://auth.localhost:{}/device", demo.port);
    let code = told.strip_prefix(&format!("Open {page} in a browser and type the code "));
    let code = code.unwrap_or_else(|| panic!("{told}")).to_owned();

    let browser = Browser::open(700, 900).await;
    browser.visit(&page).await;
    shows(&browser, "Sign in").await;
    let first = password(&demo, "alice");
    submit(&browser, &[("user", "alice"), ("password", &first)]).await;
    shows(&browser, "Choose a new password").await;
    submit(
        &browser,
        &[("password", &first), ("new", CHOSEN), ("again", CHOSEN)],
    )
    .await;
    shows(&browser, "Sign in a terminal").await;
    picture(&browser, "terminal-code").await;
    submit(&browser, &[("code", &code.to_lowercase())]).await;
    shows(&browser, "Let this terminal in?").await;
    let shown = browser.text("dl").await;
    assert!(shown.contains("adit access") && shown.contains("127.0.0.1"));
    picture(&browser, "terminal-confirm").await;
    submit(&browser, &[]).await;
    shows(&browser, "The terminal is signed in").await;
    picture(&browser, "terminal-done").await;
    let login = login.wait_with_output().expect("our own child");
    assert!(login.status.success(), "{login:?}");
    assert!(said(&login).contains("as alice"), "{login:?}");

    let state = terminal.home.join(".local/state/adit/access.json");
    let mode = fs::metadata(&state)
        .expect("it is kept")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // The demo's sample tells what of a request came to it.
    let seen = terminal.run("adit access curl https://wiki.example.com/request -sS");
    let seen = said(&seen);
    assert!(seen.contains("x-remote-user: alice"), "{seen}");
    assert!(!seen.contains("adit_"), "{seen}");
    let token = terminal.run(&documented("adit access token"));
    let token = said(&token);
    assert!(token.starts_with("adit_at_"), "{token}");
    let open = terminal.run(&format!(
        "adit access token https://hello.localhost:{}",
        demo.port
    ));
    assert!(said(&open).contains("does not ask users to sign in"));
    let out = terminal.run("adit access logout");
    assert!(
        said(&out).starts_with("signed out at auth.localhost"),
        "{out:?}"
    );
    let late = terminal.run("adit access token https://wiki.example.com");
    assert!(!late.status.success(), "{late:?}");
}
