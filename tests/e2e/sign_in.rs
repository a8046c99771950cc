//! Users sign in, in a real browser, and come back to where they wanted to go.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use futures_util::StreamExt as _;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use kit::{
    browser::Browser,
    client::{Answer, Body, Broken, Message, User, WebSocket, body, collect, request},
    origin::Origin,
    process::eventually,
};
use runtime::Clock;
use tokio::time::timeout;

use crate::browser::Demo;

pub(crate) const CHOSEN: &str = "plum jam on toast";

/// The password that the demo prints for a user.
pub(crate) fn password(demo: &Demo, user: &str) -> String {
    let log = demo.process.log();
    let line = log.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(user)).then(|| words.next().map(str::to_owned))?
    });
    line.expect("the demo prints a password")
}

/// Fills in what the page's form asks for, and sends it.
pub(crate) async fn submit(browser: &Browser, typed: &[(&str, &str)]) {
    for (id, text) in typed {
        browser
            .run(&format!("document.getElementById({id:?}).value = {text:?}"))
            .await;
    }
    browser
        .run("document.querySelector('form button').click()")
        .await;
}

pub(crate) async fn address(browser: &Browser) -> String {
    let address = browser.run("return location.href").await;
    address.as_str().unwrap_or_default().to_owned()
}

pub(crate) async fn shows(browser: &Browser, heading: &str) {
    eventually(heading, async || browser.text("h1").await == heading).await;
}

/// Screenshots, for people who want to see the pages, if they say where.
pub(crate) async fn picture(browser: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("ADIT_TEST_PICTURES") {
        let file = PathBuf::from(folder).join(format!("{name}.png"));
        browser.screenshot(&file).await;
    }
}

#[tokio::test]
async fn a_browser_signs_in_keeps_the_deep_link_and_signs_out_everywhere() {
    let demo = Demo::start().await;
    let port = demo.port;
    let team = format!("https://team.localhost:{port}");
    let browser = Browser::open(900, 900).await;
    let deep = format!("{team}/?tab=2#part/7");
    browser.visit(&deep).await;
    shows(&browser, "Sign in").await;
    let at = address(&browser).await;
    assert!(at.starts_with(&format!("https://auth.localhost:{port}/sign-in?to=")));
    picture(&browser, "sign-in").await;

    submit(
        &browser,
        &[("user", "alice"), ("password", "not hers at all")],
    )
    .await;
    eventually("the fault is told", async || {
        browser.text(".fault").await.contains("not right")
    })
    .await;
    picture(&browser, "wrong").await;

    // What an operator has made must be changed.
    let first = password(&demo, "alice");
    submit(&browser, &[("user", "alice"), ("password", &first)]).await;
    shows(&browser, "Choose a new password").await;
    picture(&browser, "change").await;
    submit(
        &browser,
        &[("password", &first), ("new", CHOSEN), ("again", CHOSEN)],
    )
    .await;
    shows(&browser, "Hello from the inside").await;
    assert_eq!(address(&browser).await, deep, "query and fragment are kept");
    eventually("the app knows who it is", async || {
        let seen = browser.text("#seen").await;
        seen.contains("x-remote-user: alice") && seen.contains("x-remote-name: Alice Adams")
    })
    .await;
    let seen = browser.text("#seen").await;
    assert!(!seen.contains("adit-"), "no cookie of the edge's: {seen}");
    eventually("the WebSocket echoes", async || {
        browser
            .run("document.querySelector('#talk button').click()")
            .await;
        browser.text("#echo").await == "hello"
    })
    .await;

    // The session at the sign-in host leads back without a question.
    browser
        .visit(&format!("https://auth.localhost:{port}/"))
        .await;
    shows(&browser, "You are signed in").await;
    picture(&browser, "home").await;

    browser.visit(&format!("{team}/.adit/sign-out")).await;
    shows(&browser, "Sign out?").await;
    submit(&browser, &[]).await;
    shows(&browser, "Signed out").await;
    picture(&browser, "signed-out").await;
    eventually("the app asks again", async || {
        browser.visit(&team).await;
        browser.text("h1").await == "Sign in"
    })
    .await;
    submit(&browser, &[("user", "alice"), ("password", CHOSEN)]).await;
    shows(&browser, "Hello from the inside").await;
}

#[tokio::test]
async fn who_is_not_assigned_is_told_so() {
    let demo = Demo::start().await;
    let team = format!("https://team.localhost:{}/", demo.port);
    let browser = Browser::open(400, 800).await;
    browser.visit(&team).await;
    shows(&browser, "Sign in").await;
    picture(&browser, "sign-in-phone").await;
    let first = password(&demo, "bob");
    submit(&browser, &[("user", "Bob"), ("password", &first)]).await;
    shows(&browser, "Choose a new password").await;
    picture(&browser, "change-phone").await;
    submit(
        &browser,
        &[("password", &first), ("new", CHOSEN), ("again", CHOSEN)],
    )
    .await;
    shows(&browser, "You may not use this app.").await;
    let words = browser.text(".words").await;
    assert!(words.contains("signed in as Bob Brown (bob)"), "{words}");
    picture(&browser, "not-assigned-phone").await;
}

pub(crate) const AUTH: &str = "auth.fabric.test";
const NAVIGATION: [(&str, &str); 1] = [("accept", "text/html")];

/// Somebody who keeps cookies by host, and goes where redirects lead.
pub(crate) struct Visitor {
    user: User,
    jar: HashMap<String, HashMap<String, String>>,
}

impl Visitor {
    pub(crate) fn new(user: &User) -> Self {
        Self {
            user: user.clone(),
            jar: HashMap::new(),
        }
    }

    pub(crate) fn cookies(&self, host: &str) -> String {
        let jar = self.jar.get(host).into_iter().flatten();
        let crumbs: Vec<_> = jar.map(|(name, value)| format!("{name}={value}")).collect();
        crumbs.join("; ")
    }

    /// Drops a cookie.
    pub(crate) fn forget(&mut self, host: &str, name: &str) {
        self.jar.entry(host.to_owned()).or_default().remove(name);
    }

    pub(crate) fn request(
        &self,
        method: Method,
        host: &str,
        path: &str,
        text: String,
    ) -> Request<Body> {
        let mut request = request(method, host, path, body(text));
        let fields = request.headers_mut();
        let cookies = self.cookies(host);
        for (name, value) in [("cookie", &*cookies), NAVIGATION[0]] {
            if !value.is_empty() {
                fields.insert(name, value.parse().expect("visible ASCII"));
            }
        }
        request
    }

    pub(crate) async fn send(&mut self, request: Request<Body>, host: &str) -> Answer {
        let answer = self.user.send(request).await.expect("a whole answer");
        for line in answer.fields.get_all("set-cookie") {
            let line = line.to_str().expect("visible ASCII");
            let (name, rest) = line.split_once('=').expect("a cookie");
            let value = rest.split(';').next().unwrap_or_default();
            let jar = self.jar.entry(host.to_owned()).or_default();
            jar.insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    /// A page, and where redirects lead from there.
    pub(crate) async fn open(&mut self, url: &str) -> Answer {
        let mut url = url.to_owned();
        for _ in 0..10 {
            let rest = url.trim_start_matches("https://").to_owned();
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let request = self.request(Method::GET, host, path, String::new());
            let answer = self.send(request, host).await;
            let Some(location) = answer.fields.get("location") else {
                return answer;
            };
            url = location.to_str().expect("visible ASCII").to_owned();
        }
        panic!("{url} leads in circles");
    }

    /// Signs in for the first time: the password that an operator has made is changed.
    pub(crate) async fn sign_in(&mut self, host: &str, user: &str, password: &str) -> Answer {
        let page = self.open(&format!("https://{host}/")).await;
        let hidden = |name: &str| {
            let mark = format!("name=\"{name}\" value=\"");
            let (_, rest) = page.text().split_once(&mark).expect("a form");
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        let escaped =
            |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02x}")).collect() };
        let form = [
            ("token", hidden("token")),
            ("to", hidden("to")),
            ("user", user.to_owned()),
            ("password", password.to_owned()),
            ("new", CHOSEN.to_owned()),
            ("again", CHOSEN.to_owned()),
        ];
        let form = form.map(|(name, value)| format!("{name}={}", escaped(&value)));
        let mut request = self.request(Method::POST, AUTH, "/change-password", form.join("&"));
        let fields = request.headers_mut();
        let kind = "application/x-www-form-urlencoded";
        fields.insert("content-type", kind.parse().expect("visible ASCII"));
        let answer = self.send(request, AUTH).await;
        let location = answer.fields.get("location").unwrap_or_else(|| {
            panic!("{} {}", answer.status, answer.text());
        });
        let location = location.to_str().expect("visible ASCII").to_owned();
        self.open(&location).await
    }
}

/// What a user has open: two answers and a WebSocket at each edge.
pub(crate) struct Open {
    answers: Vec<Response<Incoming>>,
    sockets: Vec<WebSocket>,
}

pub(crate) async fn open_at(alice: &Visitor, edges: &[User], host: &str) -> Open {
    let (mut answers, mut sockets) = (Vec::new(), Vec::new());
    for edge in edges {
        for path in ["/events", "/hang"] {
            let asked = alice.request(Method::GET, host, path, String::new());
            let answer = edge.open(asked).await.expect("a head");
            assert_eq!(answer.status(), 200);
            answers.push(answer);
        }
        let cookies = alice.cookies(host);
        sockets.push(edge.websocket_as(host, "/websocket", &cookies).await);
    }
    Open { answers, sockets }
}

impl Open {
    pub(crate) async fn end_within(self, bound: Duration) {
        for answer in self.answers {
            let ended = timeout(bound, collect(answer)).await;
            let ended = ended.expect("an answer goes on after its session's end");
            assert!(matches!(ended, Err(Broken::Truncated(..))), "{ended:?}");
        }
        for mut socket in self.sockets {
            let closed = async {
                while let Some(Ok(message)) = socket.next().await {
                    if let Message::Close(Some(frame)) = message {
                        return u16::from(frame.code);
                    }
                }
                0
            };
            let code = timeout(bound, closed).await;
            assert_eq!(code.expect("a WebSocket goes on"), 1008);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_ends_what_is_open_at_two_edges_and_control_may_be_away() {
    /// What is promised.
    const BOUND: Duration = Duration::from_secs(2);
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let https = kit::process::free_address();
    let mut other = fabric.site().start_edge_at("e2", https);
    other.ready().await;
    let edges = [fabric.user().clone(), fabric.user().at(https)];
    eventually("the second edge serves", async || {
        edges[1].status(&host, "/").await == 200
    })
    .await;
    let site = fabric.site();
    let made = site.ok(&["user", "create", "alice", "--user-group", "staff"]);
    site.ok(&[
        "app",
        "update",
        "wiki",
        "--access",
        "sign-in",
        "--assign-user-group",
        "staff",
    ]);
    for edge in &edges {
        eventually("the app is closed", async || {
            edge.status(&host, "/").await == 401
        })
        .await;
    }
    let before = origin.requests();
    let mut alice = Visitor::new(&edges[0]);
    let page = alice.sign_in(&host, "alice", made.trim()).await;
    assert_eq!((page.status.as_u16(), page.text()), (200, "hello"));
    assert_eq!(origin.requests(), before + 1);

    // What one edge has sealed, the other opens; and control is not needed for it.
    fabric.control.kill();
    for edge in &edges {
        let asked = alice.request(Method::GET, &host, "/", String::new());
        assert_eq!(edge.send(asked).await.expect("an answer").status, 200);
    }
    fabric.control = fabric.site().start_control().await;
    let open = open_at(&alice, &edges, &host).await;
    let control = fabric.site();
    eventually("both edges hear of revocations again", async || {
        let shown = control.ok(&["edge", "list", "--output", "json"]);
        shown.matches("\"online\"").count() == 2
    })
    .await;

    let clock = Clock::system();
    let began = clock.now();
    control.ok(&["user", "sign-out", "alice"]);
    let told = clock.now() - began;
    open.end_within(BOUND).await;
    let all = clock.now() - began;
    println!("two edges: {told:?} for the command, {all:?} until all that was open had ended");
    assert!(all < told + BOUND, "{all:?}");
    is_led_to_sign_in(&alice, &edges, &host).await;

    // Somebody else's sessions go on, until everybody's end and nothing that was sealed before opens any more.
    let made = control.ok(&["user", "create", "bob", "--user-group", "staff"]);
    let mut bob = Visitor::new(&edges[1]);
    bob.sign_in(&host, "bob", made.trim()).await;
    let open = open_at(&bob, &edges, &host).await;
    control.ok(&["user", "sign-out", "--everyone"]);
    open.end_within(BOUND).await;
    is_led_to_sign_in(&bob, &edges, &host).await;
    let made = control.ok(&["user", "create", "carol", "--user-group", "staff"]);
    let mut carol = Visitor::new(&edges[0]);
    let page = carol.sign_in(&host, "carol", made.trim()).await;
    assert_eq!((page.status.as_u16(), page.text()), (200, "hello"));
}

async fn is_led_to_sign_in(visitor: &Visitor, edges: &[User], host: &str) {
    for edge in edges {
        let asked = visitor.request(Method::GET, host, "/", String::new());
        let answer = edge.send(asked).await.expect("an answer");
        assert_eq!(answer.status, 302);
    }
}

fn with(mut request: Request<Body>, fields: &[(&'static str, &str)]) -> Request<Body> {
    for (name, value) in fields {
        let value = value.parse().expect("visible ASCII");
        request.headers_mut().insert(*name, value);
    }
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_of_every_kind_without_a_session_reach_no_origin() {
    const ROUNDS: usize = 50;
    const METHODS: [&str; 9] = [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "PROPFIND",
        "RDG_OUT_DATA",
    ];
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    fabric.site().ok(&[
        "app",
        "update",
        "wiki",
        "--access",
        "sign-in",
        "--assign-everyone",
    ]);
    eventually("the app is closed", async || {
        fabric.user().status(&host, "/").await == 401
    })
    .await;
    let before = origin.requests();
    let mut asked = 0;
    for round in 0..ROUNDS {
        for method in METHODS {
            let of = |path: &str| {
                let method = Method::from_bytes(method.as_bytes()).expect("a token");
                let forged = format!("__Host-adit-app=forged{round}; __Host-adit-session=x");
                with(
                    request(method, &host, path, body("")),
                    &[
                        ("cookie", &forged),
                        ("authorization", "Bearer forged"),
                        ("x-forwarded-for", "127.0.0.1"),
                        ("x-remote-user", "root"),
                    ],
                )
            };
            let user = fabric.user();
            let first = user.send(of("/echo")).await.expect("an answer");
            let second = user.send_h2(of("/bytes/10")).await.expect("an answer");
            for answer in [first, second] {
                assert_eq!(answer.status, 401, "{method}");
            }
            asked += 2;
        }
        let upgrade = with(
            request(Method::GET, &host, "/websocket", body("")),
            &[
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ],
        );
        let preflight = with(
            request(Method::OPTIONS, &host, "/", body("")),
            &[
                ("origin", "https://evil.example"),
                ("access-control-request-method", "PUT"),
            ],
        );
        for request in [upgrade, preflight] {
            let answer = fabric.user().send(request).await.expect("an answer");
            assert_eq!(answer.status, 401);
        }
        let mut http3 = fabric.user().http3(&host).await.expect("HTTP/3");
        assert_eq!(http3.get("/").await.status, 401);
        asked += 3;
    }
    assert!(asked >= 1_000, "{asked}");
    assert_eq!(origin.requests(), before);
}

#[tokio::test]
async fn a_browser_keeps_a_form_over_the_sign_in_and_scripts_renew_without_leaving() {
    const POST: &str = "const f = document.createElement('form'); f.method = 'post'; f.action = '/upload?from=form'; \
        const i = document.createElement('textarea'); i.name = 'text'; i.value = 'a & b'; f.append(i); document.body.append(f); f.submit()";
    const RENEW: &str = "const asked = new XMLHttpRequest(); asked.open('GET', '/.adit/renew', false); asked.send(); return asked.status";
    let demo = Demo::start().await;
    let team = format!("https://team.localhost:{}", demo.port);
    let browser = Browser::open(900, 900).await;
    // A page of the app's host that needs no session, as one that has been open for too long.
    browser.visit(&format!("{team}/robots.txt")).await;
    assert_eq!(browser.run(RENEW).await, 401);
    browser.run(POST).await;
    shows(&browser, "Sign in").await;
    let first = password(&demo, "alice");
    submit(&browser, &[("user", "alice"), ("password", &first)]).await;
    shows(&browser, "Choose a new password").await;
    submit(
        &browser,
        &[("password", &first), ("new", CHOSEN), ("again", CHOSEN)],
    )
    .await;
    // "text=a+%26+b", as the browser has written it the first time.
    eventually("the app has the form", async || {
        browser.text("body").await.contains("12 bytes")
    })
    .await;
    let at = address(&browser).await;
    assert!(
        at.starts_with(&format!("{team}/upload?from=form&adit-form=")),
        "{at}"
    );
    let kept = browser.run("return sessionStorage.length").await;
    assert_eq!(kept, 0, "it is sent once");

    // A window of the app's takes the session over from the sign-in host, and closes by itself; the page stays.
    assert_eq!(browser.run(RENEW).await, 200);
    browser
        .run("window.renewing = window.open('/.adit/renew')")
        .await;
    eventually("the window is closed", async || {
        browser.run("return window.renewing.closed").await == true
    })
    .await;
    assert_eq!(address(&browser).await, at);
    assert_eq!(browser.run(RENEW).await, 200);
}
