//! Users sign in before anything of theirs reaches an app, and come back to what they asked for.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use edge::{AccountsError, Question};
use http_body_util::BodyExt as _;
use hyper::Request;
use proto::fabric::{
    AccessKind, Account, Assignment, CheckPasswordRequest, CheckPasswordResponse, IdentityField,
    IdentityValue, PasswordRefusal, PasswordRefusalKind, Revocation,
    check_password_response::Outcome, resource::Kind, revocation::Whose,
};
use proto::tunnel::ResponseHead;
use runtime::Clock;
use tokio::sync::mpsc;
use tunnel::frame::Frame;

use crate::{
    fabric::{Agent, Fabric, HOST},
    user::{RawUser, connect_http2, empty},
};

const AUTH: &str = "auth.example.com";
const CRM: &str = "crm.example.com";
const RIGHT: &str = "correct horse battery";
const NAVIGATION: &str = "accept: text/html,*/*;q=0.8\r\nsec-fetch-mode: navigate\r\n";

/// Whoever has this password; "bob" has to choose another first.
fn control(request: &CheckPasswordRequest, clock: &Clock) -> CheckPasswordResponse {
    // Control's clock is not the edge's.
    let as_of_ms = milliseconds(clock) + 20_000;
    let refuse = |kind: PasswordRefusalKind, retry_after_ms| {
        Outcome::Refusal(PasswordRefusal {
            kind: kind.into(),
            retry_after_ms,
        })
    };
    let outcome = match (&*request.user, &*request.password) {
        ("bob", RIGHT) => refuse(PasswordRefusalKind::MustChange, 0),
        (user, RIGHT) => Outcome::Account(Account {
            user: user.to_owned(),
            display_name: "Alice <b>".to_owned(),
            email: "alice@example.com".to_owned(),
            user_groups: vec!["staff".to_owned()],
            as_of_ms,
        }),
        ("mallory", _) => refuse(PasswordRefusalKind::TooMany, 90_000),
        _ => refuse(PasswordRefusalKind::Wrong, 0),
    };
    CheckPasswordResponse {
        outcome: Some(outcome),
    }
}

/// A fabric whose app is for the staff, and whose control answers; and the ids of sessions that control is told to end. Another app, at
/// [`CRM`], is for bob alone.
async fn fabric_and_ends() -> (Fabric, mpsc::UnboundedReceiver<Bytes>) {
    let (ended, ends) = mpsc::unbounded_channel();
    let mut fabric = Fabric::start().await;
    fabric.change_app(|app| {
        app.access = AccessKind::SignIn.into();
        app.assignment = Some(Assignment {
            user_groups: vec!["staff".to_owned()],
            ..Assignment::default()
        });
    });
    let Some(Kind::EdgeApp(mut crm)) = fabric.resources["apps/wiki"].kind.clone() else {
        panic!("apps/wiki is there from the start");
    };
    crm.id = "crm".to_owned();
    crm.hosts = vec![CRM.to_owned()];
    crm.assignment = Some(Assignment {
        users: vec!["bob".to_owned()],
        ..Assignment::default()
    });
    fabric.set("apps/crm", Kind::EdgeApp(crm));
    fabric.set_session_keys(&[1]);
    fabric.publish(2);
    let mut questions = fabric.questions.take().unwrap();
    let clock = fabric.clock.clone();
    fabric.scope.spawn("control", async move {
        while let Some(question) = questions.recv().await {
            match question {
                Question::Check(request, answer) => {
                    let _ = answer.send(Ok(control(&request, &clock)));
                }
                Question::Change(request, answer) => {
                    let user = request.now.unwrap().user;
                    let outcome = Outcome::Account(Account {
                        user,
                        as_of_ms: milliseconds(&clock),
                        ..Account::default()
                    });
                    let outcome = Some(outcome);
                    let _ = answer.send(Ok(CheckPasswordResponse { outcome }));
                }
                Question::End(request, answer) => {
                    let _ = answer.send(Ok(()));
                    let _ = ended.send(request.session);
                }
            }
        }
    });
    (fabric, ends)
}

async fn fabric() -> Fabric {
    fabric_and_ends().await.0
}

/// Answers everything, and counts.
fn serve(fabric: &Fabric, agent: &Agent) -> Arc<AtomicUsize> {
    let seen = Arc::new(AtomicUsize::new(0));
    let (connection, count) = (agent.connection.clone(), Arc::clone(&seen));
    fabric.scope.spawn("origin", async move {
        loop {
            let asked = crate::fabric::next_request(&connection).await;
            count.fetch_add(1, SeqCst);
            let fields = tunnel::fields::decode(asked.head.fields.clone()).unwrap();
            for line in fields.get_all("cookie") {
                assert!(!line.to_str().unwrap().contains("adit"), "{line:?}");
            }
            asked.answer(200, "from the origin").await;
        }
    });
    seen
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn location(&self) -> &str {
        self.field("location").unwrap_or_default()
    }

    /// Value of a hidden field of the page's form.
    fn hidden(&self, name: &str) -> String {
        let mark = format!("name=\"{name}\" value=\"");
        let (_, rest) = self.body.split_once(&mark).unwrap();
        rest.split('"').next().unwrap().to_owned()
    }
}

/// Keeps cookies for each host, as browsers do.
#[derive(Debug, Default, Clone)]
struct Browser {
    jar: HashMap<String, HashMap<String, String>>,
}

impl Browser {
    async fn ask(&mut self, fabric: &Fabric, host: &str, line: &str, fields: &str) -> Reply {
        self.send(fabric, host, line, fields, "").await
    }

    async fn send(
        &mut self,
        fabric: &Fabric,
        host: &str,
        line: &str,
        fields: &str,
        body: &str,
    ) -> Reply {
        let jar = self.jar.entry(host.to_owned()).or_default();
        let crumbs = jar.iter().map(|(name, value)| format!("{name}={value}"));
        let cookies = crumbs.collect::<Vec<_>>().join("; ");
        let cookies = match &*cookies {
            "" => String::new(),
            cookies => format!("cookie: {cookies}\r\n"),
        };
        let mut user = RawUser::connect(fabric).await;
        user.write(format!(
            "{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{cookies}{fields}\r\n{body}"
        ))
        .await;
        let reply = Reply::read(&user.read_to_end().await);
        for line in reply.head.lines() {
            let Some(cookie) = line.strip_prefix("set-cookie: ") else {
                continue;
            };
            assert!(
                cookie.contains("; Path=/; Secure; HttpOnly; SameSite=Lax"),
                "{cookie}"
            );
            let (name, rest) = cookie.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if cookie.contains("Max-Age=0") {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        reply
    }

    /// A page, and where redirects lead from there.
    async fn open(&mut self, fabric: &Fabric, url: &str) -> (String, Reply) {
        let mut url = url.to_owned();
        for _ in 0..10 {
            let (host, target) = parts(&url);
            let line = format!("GET {target}");
            let reply = self.ask(fabric, host, &line, NAVIGATION).await;
            if !matches!(reply.status, 302 | 303) {
                return (url, reply);
            }
            url = reply.location().to_owned();
        }
        panic!("{url} leads in circles");
    }

    async fn submit(
        &mut self,
        fabric: &Fabric,
        path: &str,
        page: &Reply,
        typed: &[(&str, &str)],
    ) -> Reply {
        let hidden = ["token", "to", "fragment"].map(|name| (name, page.hidden(name)));
        let hidden = hidden.iter().map(|(name, value)| (*name, &**value));
        let pairs = hidden.chain(typed.iter().copied());
        let body = pairs
            .map(|(name, value)| format!("{name}={}", escape(value)))
            .collect::<Vec<_>>()
            .join("&");
        let fields = format!(
            "{NAVIGATION}origin: https://{AUTH}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n",
            body.len()
        );
        let line = format!("POST {path}");
        self.send(fabric, AUTH, &line, &fields, &body).await
    }

    /// Signs in on the page that the browser is led to.
    async fn sign_in(&mut self, fabric: &Fabric, url: &str, user: &str) -> (String, Reply) {
        let (_, page) = self.open(fabric, url).await;
        assert!(page.body.contains("<h1>Sign in</h1>"), "{page:?}");
        let typed = [("user", user), ("password", RIGHT)];
        let reply = self.submit(fabric, "/sign-in", &page, &typed).await;
        assert_eq!(reply.status, 303, "{reply:?}");
        let location = reply.location().to_owned();
        self.open(fabric, &location).await
    }
}

fn parts(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("https://").unwrap_or_else(|| {
        assert!(url.starts_with('/'), "{url}");
        url
    });
    let (host, target) = match rest.find('/') {
        Some(0) => (AUTH, rest),
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    (host, target.split('#').next().unwrap())
}

fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[tokio::test]
async fn a_user_signs_in_once_and_comes_back_to_the_exact_address() {
    let fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    let seen = serve(&fabric, &agent);
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/a%2fb//c?x=1&y=%20&&z");
    let (end, reply) = browser.sign_in(&fabric, &url, "alice").await;
    assert_eq!((end, reply.status), (url.clone(), 200));
    assert_eq!(reply.body, "from the origin");
    assert_eq!(seen.load(SeqCst), 1);
    // Once for all: at another host, no page is shown in between.
    let elsewhere = format!("https://{CRM}/x");
    let (end, reply) = browser.open(&fabric, &elsewhere).await;
    assert_eq!((end, reply.status), (elsewhere, 403), "not assigned");
    assert!(
        reply.body.contains("signed in as Alice &lt;b&gt; (alice)"),
        "{reply:?}"
    );
    // And again without the sign-in host.
    let reply = browser.ask(&fabric, HOST, "GET /again", NAVIGATION).await;
    assert_eq!(reply.status, 200);
    assert_eq!(seen.load(SeqCst), 2);
    let who = browser.ask(&fabric, HOST, "GET /.adit/identity", "").await;
    assert!(who.body.starts_with("{\"user\":\"alice\","), "{who:?}");
    assert!(who.body.contains("\"user_groups\":[\"staff\"]"), "{who:?}");
}

#[tokio::test]
async fn nothing_reaches_the_origin_without_a_session() {
    let fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    let seen = serve(&fabric, &agent);
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    let preflight = "origin: https://evil.example\r\naccess-control-request-method: PUT\r\n";
    for (line, fields, status) in [
        ("GET /", NAVIGATION, 302),
        ("GET /", "", 401),
        (
            "GET /",
            "accept: text/html\r\nsec-fetch-mode: cors\r\n",
            401,
        ),
        (
            "GET /",
            "accept: text/html\r\nx-requested-with: XMLHttpRequest\r\n",
            401,
        ),
        ("HEAD /", NAVIGATION, 401),
        ("POST /", "accept: text/html\r\ncontent-length: 0\r\n", 401),
        ("PUT /", "content-length: 0\r\n", 401),
        ("DELETE /x", "", 401),
        ("PROPFIND /", "", 401),
        ("OPTIONS /", preflight, 401),
        ("GET /socket", upgrade, 401),
        ("GET /", "cookie: __Host-adit-app=\r\n", 401),
        ("GET /", "cookie: __Host-adit-app=AAAA\r\n", 401),
        ("GET /.adit/identity", "", 401),
    ] {
        let reply = Browser::default().ask(&fabric, HOST, line, fields).await;
        assert_eq!(reply.status, status, "{line} {fields} {reply:?}");
        if status == 401 {
            let challenge = reply.field("www-authenticate");
            let want = format!("Adit sign_in=\"https://{AUTH}/sign-in\"");
            assert_eq!(challenge, Some(&*want));
        }
    }
    let mut http2 = connect_http2(&fabric).await;
    let request = Request::get(format!("https://{HOST}/")).body(empty());
    let reply = http2.send_request(request.unwrap()).await.unwrap();
    assert_eq!(reply.status(), 401);
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("sign_in_required"));
    assert_eq!(seen.load(SeqCst), 0);
}

#[tokio::test]
async fn what_control_says_of_a_password_is_told_and_no_more() {
    let fabric = fabric().await;
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/x");
    let (_, page) = browser.open(&fabric, &url).await;
    for (user, password, status, words) in [
        ("alice", "wrong", 401, "is not right"),
        ("nobody", "wrong", 401, "is not right"),
        ("mallory", "wrong", 429, "try again in 2 minutes"),
        ("bob", RIGHT, 200, "Choose a new password"),
    ] {
        let typed = [("user", user), ("password", password)];
        let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
        assert_eq!(reply.status, status, "{reply:?}");
        assert!(reply.body.contains(words), "{reply:?}");
        assert!(!reply.body.contains(password), "{reply:?}");
        assert!(reply.body.contains(&format!("value=\"{user}\"")));
    }
    // The errand is kept through the change.
    let typed = [("user", "bob"), ("password", RIGHT)];
    let page = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    let unequal = [
        ("user", "bob"),
        ("password", RIGHT),
        ("new", "one good password"),
        ("again", "another password"),
    ];
    let reply = browser
        .submit(&fabric, "/change-password", &page, &unequal)
        .await;
    assert!(reply.body.contains("not the same"), "{reply:?}");
    let equal = unequal.map(|(name, value)| match name {
        "again" => (name, "one good password"),
        _ => (name, value),
    });
    let reply = browser
        .submit(&fabric, "/change-password", &page, &equal)
        .await;
    assert_eq!(reply.status, 303, "{reply:?}");
    assert!(
        reply
            .location()
            .starts_with(&format!("https://{HOST}/.adit/callback?pass="))
    );
}

#[tokio::test]
async fn what_stands_behind_the_hash_comes_along() {
    let fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    let (_, mut page) = browser.open(&fabric, &format!("https://{HOST}/x")).await;
    // As the page's script does.
    page.body = page.body.replace(
        "name=\"fragment\" value=\"\"",
        "name=\"fragment\" value=\"#/inbox/42\"",
    );
    let wrong = [("user", "alice"), ("password", "wrong")];
    let page = browser.submit(&fabric, "/sign-in", &page, &wrong).await;
    let right = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &right).await;
    assert!(reply.location().ends_with("#/inbox/42"), "{reply:?}");
}

#[tokio::test]
async fn a_cookie_opens_one_host_and_only_as_it_was_given() {
    let mut fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    let seen = serve(&fabric, &agent);
    let mut browser = Browser::default();
    browser
        .sign_in(&fabric, &format!("https://{HOST}/"), "alice")
        .await;
    let cookie = browser.jar[HOST]["__Host-adit-app"].clone();
    let home = browser.jar[AUTH]["__Host-adit-session"].clone();
    let before = seen.load(SeqCst);
    let with = |name: &str, value: &str| format!("cookie: {name}={value}\r\n");
    let mut forged = Vec::new();
    for at in [0, 10, 21, 30, cookie.len() / 2, cookie.len() - 2] {
        let mut bytes = cookie.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        forged.push(String::from_utf8(bytes).unwrap());
    }
    forged.push(cookie[..cookie.len() - 1].to_owned());
    forged.push(format!("{cookie}A"));
    forged.push(home);
    forged.push(cookie.repeat(100));
    for value in &forged {
        let fields = with("__Host-adit-app", value);
        let reply = Browser::default()
            .ask(&fabric, HOST, "GET /", &fields)
            .await;
        assert_eq!(reply.status, 401, "{value}");
    }
    let fields = with("__Host-adit-app", &cookie);
    for (host, status) in [(CRM, 401), (HOST, 200)] {
        let reply = Browser::default()
            .ask(&fabric, host, "GET /", &fields)
            .await;
        assert_eq!(reply.status, status, "{host}");
    }
    assert_eq!(seen.load(SeqCst), before + 1);
    // A newer key seals, and the older opens until it is gone.
    for (revision, keys, status) in [(3, &[2, 1][..], 200), (4, &[3, 2], 401)] {
        fabric.set_session_keys(keys);
        fabric.publish(revision);
        let reply = browser.clone().ask(&fabric, HOST, "GET /", "").await;
        assert_eq!(reply.status, status, "{keys:?}");
    }
}

#[tokio::test]
async fn a_pass_is_good_for_its_browser_and_a_minute() {
    let fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/x");
    let (_, page) = browser.open(&fabric, &url).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    let (_, target) = parts(reply.location());
    let line = format!("GET {target}");
    // Whoever is sent the address of somebody else's pass must not become them (RFC 6819, section 4.4.1.8).
    let stranger = Browser::default()
        .ask(&fabric, HOST, &line, NAVIGATION)
        .await;
    assert_eq!(stranger.status, 400, "{stranger:?}");
    assert!(stranger.body.contains("sign_in_failed"));
    assert!(stranger.field("set-cookie").is_none());
    let mut other = Browser::default();
    other.open(&fabric, &url).await;
    let reply = other.ask(&fabric, HOST, &line, NAVIGATION).await;
    assert_eq!((reply.status, reply.location()), (303, &*url));
    assert!(reply.field("set-cookie").is_none(), "another's secret");
    let reply = other.ask(&fabric, HOST, "GET /x", NAVIGATION).await;
    assert_eq!(reply.status, 302, "still nobody");
    // Another host does not take it either.
    let reply = browser.ask(&fabric, CRM, &line, NAVIGATION).await;
    assert_eq!(reply.status, 400);
    let touched = format!("{}A", &line[..line.len() - 1]);
    let reply = browser.ask(&fabric, HOST, &touched, NAVIGATION).await;
    assert_eq!(reply.status, 400);
    let mut late = browser.clone();
    let reply = browser.ask(&fabric, HOST, &line, NAVIGATION).await;
    assert_eq!(reply.status, 303);
    assert_eq!(reply.location(), url);
    fabric.clock.move_wall(Duration::from_secs(61));
    let reply = late.ask(&fabric, HOST, &line, NAVIGATION).await;
    assert_eq!(reply.status, 400, "too late");
}

#[tokio::test]
async fn nobody_is_signed_in_by_a_page_of_another_site() {
    let fabric = fabric().await;
    let mut browser = Browser::default();
    let (_, page) = browser.open(&fabric, &format!("https://{HOST}/x")).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    // A form that was made for another browser.
    let mut victim = Browser::default();
    victim.open(&fabric, &format!("https://{HOST}/x")).await;
    let reply = victim.submit(&fabric, "/sign-in", &page, &typed).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(!victim.jar[AUTH].contains_key("__Host-adit-session"));
    // One that is sent from elsewhere.
    let body = format!(
        "token={}&user=alice&password={}",
        page.hidden("token"),
        escape(RIGHT)
    );
    for origin in ["https://evil.example", "null", "http://auth.example.com"] {
        let fields = format!(
            "origin: {origin}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n",
            body.len()
        );
        let reply = browser
            .send(&fabric, AUTH, "POST /sign-in", &fields, &body)
            .await;
        assert_eq!(reply.status, 400, "{origin}");
    }
    // Frames of other sites show nothing that could be clicked.
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(policy.contains("form-action 'self' https: http:;"));
    // With "no-referrer", browsers would send their forms from "null".
    assert_eq!(page.field("referrer-policy"), Some("same-origin"));
    assert_eq!(page.field("x-frame-options"), Some("DENY"));
}

#[tokio::test]
async fn an_errand_that_was_not_made_here_leads_nowhere() {
    let fabric = fabric().await;
    let mut browser = Browser::default();
    for to in ["https://evil.example/", "AAAA", &"A".repeat(7_000)] {
        let url = format!("https://{AUTH}/sign-in?to={to}");
        let (_, page) = browser.open(&fabric, &url).await;
        assert_eq!(page.hidden("to"), "");
        assert!(!page.body.contains("evil"), "{page:?}");
        let typed = [("user", "alice"), ("password", RIGHT)];
        let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
        assert_eq!((reply.status, reply.location()), (303, "/"));
        browser.jar.clear();
    }
    let mut browser = Browser::default();
    let (_, home) = browser
        .sign_in(&fabric, &format!("https://{AUTH}/"), "alice")
        .await;
    assert!(home.body.contains("You are signed in"), "{home:?}");
    assert!(home.body.contains("Alice &lt;b&gt;"), "{home:?}");
}

#[tokio::test]
async fn forms_are_bounded_and_other_requests_are_none() {
    let fabric = fabric().await;
    let kind = "content-type: application/x-www-form-urlencoded\r\n";
    let long = "a".repeat(40_000);
    for (line, fields, body, status) in [
        (
            "POST /sign-in",
            format!("{kind}content-length: {}\r\n", long.len()),
            &*long,
            413,
        ),
        (
            "POST /sign-in",
            "content-type: application/json\r\ncontent-length: 2\r\n".to_owned(),
            "{}",
            400,
        ),
        (
            "POST /sign-in",
            format!("{kind}content-length: 0\r\n"),
            "",
            400,
        ),
        ("GET /nothing", String::new(), "", 404),
        ("DELETE /sign-in", String::new(), "", 404),
        ("GET /robots.txt", String::new(), "", 200),
    ] {
        let reply = Browser::default()
            .send(&fabric, AUTH, line, &fields, body)
            .await;
        assert_eq!(reply.status, status, "{line} {reply:?}");
    }
}

#[tokio::test]
async fn tabs_that_are_opened_at_once_all_come_through() {
    let fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    // Both are led away before either has the other's secret.
    let first = Browser::default()
        .ask(&fabric, HOST, "GET /one", NAVIGATION)
        .await;
    let (_, page) = browser.open(&fabric, &format!("https://{HOST}/two")).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    let (end, _) = browser.open(&fabric, &reply.location().to_owned()).await;
    assert_eq!(end, format!("https://{HOST}/two"));
    let (end, reply) = browser.open(&fabric, &first.location().to_owned()).await;
    assert_eq!((end, reply.status), (format!("https://{HOST}/one"), 200));
}

#[tokio::test]
async fn an_app_that_is_published_no_more_is_not_gone_back_to() {
    let mut fabric = fabric().await;
    let mut browser = Browser::default();
    let (_, page) = browser.open(&fabric, &format!("https://{HOST}/x")).await;
    fabric.resources.remove("apps/wiki");
    fabric.publish(3);
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    assert_eq!((reply.status, reply.location()), (303, "/"));
}

#[tokio::test]
async fn a_session_ends_after_its_life_and_signing_out_ends_it_before() {
    let (mut fabric, mut ends) = fabric_and_ends().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/");
    browser.sign_in(&fabric, &url, "alice").await;
    let leave = browser
        .ask(&fabric, HOST, "GET /.adit/sign-out", NAVIGATION)
        .await;
    assert_eq!(leave.location(), format!("https://{AUTH}/sign-out"));
    let (_, mut page) = browser.open(&fabric, leave.location()).await;
    assert!(page.body.contains("Sign out?"), "{page:?}");
    for name in ["to", "fragment"] {
        page.body.push_str(&format!("name=\"{name}\" value=\"\""));
    }
    let reply = browser.submit(&fabric, "/sign-out", &page, &[]).await;
    assert!(reply.body.contains("signed out of all apps"), "{reply:?}");
    assert!(!browser.jar[AUTH].contains_key("__Host-adit-session"));
    // What control makes of it.
    let revocation = Revocation {
        whose: Some(Whose::Session(ends.recv().await.unwrap())),
        before_ms: 0,
    };
    fabric.set("revocations/sessions/1", Kind::Revocation(revocation));
    fabric.publish(3);
    let (_, page) = browser.open(&fabric, &url).await;
    assert!(page.body.contains("<h1>Sign in</h1>"));
    let (_, page) = browser
        .open(&fabric, &format!("https://{AUTH}/sign-out"))
        .await;
    assert!(page.body.contains("Nobody is signed in here"), "{page:?}");

    // Whoever signs in as somebody else leaves no session of the first behind.
    browser.sign_in(&fabric, &url, "alice").await;
    let (_, page) = browser
        .open(&fabric, &format!("https://{AUTH}/change-password"))
        .await;
    let typed = [
        ("user", "alice"),
        ("password", RIGHT),
        ("new", "one good password"),
        ("again", "one good password"),
    ];
    let reply = browser
        .submit(&fabric, "/change-password", &page, &typed)
        .await;
    assert_eq!((reply.status, reply.location()), (303, "/"));
    assert!(ends.recv().await.is_some());
    browser.jar.clear();
    browser.sign_in(&fabric, &url, "alice").await;
    fabric.clock.move_wall(Duration::from_secs(12 * 3_600 - 60));
    let reply = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
    assert_eq!(reply.status, 200);
    fabric.clock.move_wall(Duration::from_secs(61));
    let (_, page) = browser.open(&fabric, &url).await;
    assert!(page.body.contains("<h1>Sign in</h1>"), "{page:?}");
}

fn milliseconds(clock: &Clock) -> i64 {
    let since = clock.wall().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_millis()).unwrap()
}

/// Ends the sessions of alice that began until now.
fn revoke(fabric: &mut Fabric, revision: u64) {
    // By control's clock.
    let before_ms = milliseconds(&fabric.clock) + 20_001;
    let revocation = Revocation {
        whose: Some(Whose::User("alice".to_owned())),
        before_ms,
    };
    fabric.set("revocations/users/alice", Kind::Revocation(revocation));
    fabric.publish(revision);
}

#[tokio::test]
async fn a_revocation_ends_what_is_open_and_lets_nothing_else_in() {
    let mut fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/");
    let (_, page) = browser.open(&fabric, &url).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    let (_, target) = parts(reply.location());
    let line = format!("GET {target}");
    browser.ask(&fabric, HOST, &line, NAVIGATION).await;
    let cookie = &browser.jar[HOST]["__Host-adit-app"];

    // A WebSocket, and an answer that never ends.
    let mut socket = RawUser::connect(&fabric).await;
    socket
        .write(format!(
            "GET /socket HTTP/1.1\r\nhost: {HOST}\r\nconnection: Upgrade\r\nupgrade: websocket\r\ncookie: __Host-adit-app={cookie}\r\n\r\n"
        ))
        .await;
    let mut upgraded = agent.request().await;
    let head = ResponseHead {
        status: 101,
        upgraded: true,
        ..ResponseHead::default()
    };
    upgraded.send.send(head).await.unwrap();
    socket.read_until("\r\n\r\n").await;
    let mut reader = RawUser::connect(&fabric).await;
    reader
        .write(format!(
            "GET /endless HTTP/1.1\r\nhost: {HOST}\r\ncookie: __Host-adit-app={cookie}\r\n\r\n"
        ))
        .await;
    let mut endless = agent.request().await;
    let head = ResponseHead {
        status: 200,
        body_streamed: true,
        ..ResponseHead::default()
    };
    endless.send.queue(head).unwrap();
    endless.send.queue(Frame::Data("so far".into())).unwrap();
    endless.send.flush().await.unwrap();
    reader.read_until("so far\r\n").await;
    // And a request that waits for its answer's head.
    let mut waiting = RawUser::connect(&fabric).await;
    waiting
        .write(format!(
            "GET /slow HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\ncookie: __Host-adit-app={cookie}\r\n\r\n"
        ))
        .await;
    let _slow = agent.request().await;

    revoke(&mut fabric, 3);
    // Status 1008 of WebSocket; a body without its last chunk; an answer of the edge's own.
    let mut close = [0; 4];
    for byte in &mut close {
        *byte = socket.read_byte().await;
    }
    assert_eq!(close, [0x88, 0x02, 0x03, 0xf0]);
    assert_eq!(reader.read_to_end().await, "");
    let answer = waiting.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("session_ended"), "{answer}");
    let reply = browser.ask(&fabric, HOST, "GET /", "").await;
    assert_eq!(reply.status, 401);
    // The sign-in host asks anew as well.
    let (_, page) = browser.open(&fabric, &url).await;
    assert!(page.body.contains("<h1>Sign in</h1>"), "{page:?}");
}

#[tokio::test]
async fn who_is_assigned_no_longer_is_cut_off_too() {
    let mut fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/");
    let (_, page) = browser.open(&fabric, &url).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    let (_, target) = parts(reply.location());
    let line = format!("GET {target}");
    browser.ask(&fabric, HOST, &line, NAVIGATION).await;
    let cookie = &browser.jar[HOST]["__Host-adit-app"];
    let mut waiting = RawUser::connect(&fabric).await;
    waiting
        .write(format!(
            "GET /slow HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\ncookie: __Host-adit-app={cookie}\r\n\r\n"
        ))
        .await;
    let _slow = agent.request().await;
    fabric.change_app(|app| app.assignment = None);
    fabric.publish(3);
    let answer = waiting.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let reply = browser.ask(&fabric, HOST, "GET /", "").await;
    assert_eq!(reply.status, 403, "{reply:?}");
}

#[tokio::test]
async fn without_control_nobody_signs_in_and_who_has_a_session_goes_on() {
    let mut fabric = Fabric::start().await;
    fabric.change_app(|app| {
        app.access = AccessKind::SignIn.into();
        app.assignment = Some(Assignment {
            everyone: true,
            ..Assignment::default()
        });
    });
    // No keys yet: nothing can be sealed.
    fabric.publish(2);
    let reply = Browser::default()
        .ask(&fabric, HOST, "GET /", NAVIGATION)
        .await;
    assert_eq!(reply.status, 503, "{reply:?}");
    fabric.set_session_keys(&[1]);
    fabric.publish(3);
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut questions = fabric.questions.take().unwrap();
    let clock = fabric.clock.clone();
    fabric.scope.spawn("control", async move {
        // Control answers once, and is away from then on.
        let mut away = false;
        while let Some(question) = questions.recv().await {
            let (request, answer) = match question {
                Question::Check(request, answer) => (request, answer),
                Question::Change(..) => continue,
                Question::End(_, answer) => {
                    let _ = answer.send(Err(AccountsError::Away));
                    continue;
                }
            };
            let said = if away {
                Err(AccountsError::Away)
            } else {
                Ok(control(&request, &clock))
            };
            let _ = answer.send(said);
            away = true;
        }
    });
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/");
    let (_, reply) = browser.sign_in(&fabric, &url, "alice").await;
    assert_eq!(reply.status, 200);
    let mut late = Browser::default();
    let (_, page) = late.open(&fabric, &url).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = late.submit(&fabric, "/sign-in", &page, &typed).await;
    assert_eq!(reply.status, 503);
    assert!(reply.body.contains("not possible right now"), "{reply:?}");
    let reply = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
    assert_eq!(reply.status, 200, "sessions need no control");
    // Nobody is told to be signed out who is not, and the way to it stays.
    for _ in 0..2 {
        let leave = format!("https://{AUTH}/sign-out");
        let (_, mut page) = browser.open(&fabric, &leave).await;
        for name in ["to", "fragment"] {
            page.body.push_str(&format!("name=\"{name}\" value=\"\""));
        }
        let reply = browser.submit(&fabric, "/sign-out", &page, &[]).await;
        assert_eq!(reply.status, 503);
        assert!(reply.body.contains("still signed in"), "{reply:?}");
    }
}

#[tokio::test]
async fn origins_hear_who_the_user_is_and_not_what_the_user_says() {
    let mut fabric = fabric().await;
    fabric.change_app(|app| {
        let field = |name: &str, value: IdentityValue| IdentityField {
            name: name.to_owned(),
            value: value.into(),
        };
        app.identity_fields = vec![
            field("x-remote-user", IdentityValue::User),
            field("x-remote-groups", IdentityValue::UserGroups),
        ];
    });
    fabric.publish(3);
    let agent = fabric.agent("a1").await;
    let mut browser = Browser::default();
    let (_, page) = browser.open(&fabric, &format!("https://{HOST}/")).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    let (_, target) = parts(reply.location());
    browser
        .ask(&fabric, HOST, &format!("GET {target}"), NAVIGATION)
        .await;
    let forged = "x-remote-user: root\r\nX_Remote_User: root\r\nx-remote-groups: admins\r\n";
    let (reply, fields) = tokio::join!(browser.ask(&fabric, HOST, "GET /who", forged), async {
        let asked = agent.request().await;
        let fields = tunnel::fields::decode(asked.head.fields.clone()).unwrap();
        asked.answer(200, "hello").await;
        fields
    });
    assert_eq!(reply.body, "hello");
    assert_eq!(fields["x-remote-user"], "alice");
    assert_eq!(fields["x-remote-groups"], "staff");
    assert!(!fields.contains_key("x_remote_user"));
    assert!(!fields.contains_key("cookie"));
}
