//! Users sign in before anything of theirs reaches an app, and come back to what they asked for.

mod attacks;
mod bearers;
mod certificate_fields;
mod certificates;
mod credentials;
mod ends;
mod id_tokens;
mod kept;
mod origins;
mod portal;
mod program_certificates;
mod programs;
mod provider_attacks;
mod provider_groups;
mod provider_hints;
pub(crate) mod provider_refreshes;
mod providers;
mod rules;
mod second_factors;
mod statements;
mod terminals;
mod terms;
mod versions;

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
    AccessKind, Account, Assignment, CheckPasswordRequest, CheckPasswordResponse, EdgeApp,
    EdgeSegment, IdentityField, IdentityValue, PasswordRefusal, PasswordRefusalKind, Revocation,
    SignInKind, check_password_response::Outcome, resource::Kind, revocation::Whose,
};
use proto::tunnel::{RequestHead, ResponseHead};
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
        (user @ ("otto" | "nora"), RIGHT) => {
            second_factors::half(user, as_of_ms, request.before.as_ref())
        }
        ("bob", RIGHT) => refuse(PasswordRefusalKind::MustChange, 0),
        (user, RIGHT) => Outcome::Account(Account {
            user: user.to_owned(),
            display_name: "Alice <b>".to_owned(),
            email: "alice@example.com".to_owned(),
            user_groups: vec!["staff".to_owned()],
            as_of_ms,
            methods: vec!["pwd".to_owned()],
            proof: second_factors::proof(user, as_of_ms, &["pwd".to_owned()]),
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
async fn fabric_and_ends() -> (Fabric, mpsc::Receiver<Bytes>) {
    let (ended, ends) = mpsc::channel(16);
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
    let mut terminals = terminals::Control::default();
    let refreshes = fabric.refreshes.clone();
    let mut terms = terms::Control::new(&clock);
    let mut credentials = credentials::Control::default();
    fabric.scope.spawn("control", async move {
        while let Some(question) = questions.recv().await {
            match question {
                Question::Device(question, answer) => {
                    let _ = answer.send(Ok(terminals.answer(question)));
                }
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
                Question::SecondFactor(question) => second_factors::answer(question, &clock),
                Question::Refresh(request, answer) => {
                    let _ = answer.send(Ok(refreshes.answer(request)));
                }
                Question::Terms(question) => terms.answer(question, &clock),
                Question::Credential(question) => credentials.answer(question, &clock),
                Question::End(request, answer) => {
                    let _ = answer.send(Ok(()));
                    let at_provider = request.provider_session;
                    let name = at_provider.map(|session| session.name_sha256);
                    let _ = ended.try_send(name.unwrap_or(request.session));
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
                cookie.contains("; Path=/; Secure; HttpOnly; SameSite="),
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

/// A fabric that tells users with its keys, whose app is changed so, a browser that alice is signed in with, and an agent.
async fn signed_in(change: impl FnOnce(&mut EdgeApp)) -> (Fabric, Browser, Agent) {
    let mut fabric = fabric().await;
    fabric.change_app(change);
    fabric.set_assertion_keys(&[0]);
    fabric.publish(3);
    let agent = fabric.agent("a1").await;
    let mut browser = Browser::default();
    let (_, page) = browser.open(&fabric, &format!("https://{HOST}/")).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    let (_, target) = parts(reply.location());
    let line = format!("GET {target}");
    browser.ask(&fabric, HOST, &line, NAVIGATION).await;
    (fabric, browser, agent)
}

/// The head of a request that an agent gets.
async fn head(fabric: &Fabric, browser: &mut Browser, agent: &Agent, sent: &str) -> RequestHead {
    let ask = browser.ask(fabric, HOST, "GET /who", sent);
    let (reply, head) = tokio::join!(ask, async {
        let asked = agent.request().await;
        let head = asked.head.clone();
        asked.answer(200, "hello").await;
        head
    });
    assert_eq!(reply.status, 200, "{reply:?}");
    head
}

fn milliseconds(clock: &Clock) -> i64 {
    let since = clock.wall().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_millis()).unwrap()
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
    let (end, _) = browser.open(&fabric, reply.location()).await;
    assert_eq!(end, format!("https://{HOST}/two"));
    let (end, reply) = browser.open(&fabric, first.location()).await;
    assert_eq!((end, reply.status), (format!("https://{HOST}/one"), 200));
}

/// What control is told of who came, of one kind, in order: user, reason, provider and rule.
fn told(fabric: &Fabric, kind: SignInKind) -> Vec<[String; 4]> {
    let events = fabric.reports.oldest().events.into_iter();
    let of_kind = events.filter(|event| event.kind() == kind);
    of_kind
        .map(|event| [event.user, event.reason, event.provider, event.rule])
        .collect()
}
