//! Users are signed on to apps of a Kerberos domain, as themselves and as nobody else: a real domain controller, and Apache as the app.

mod doctor;
mod id_tokens;
mod own_answers;

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Method};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use kit::{
    client::{Answer, Body, Message, User, body, collect, request},
    fabric::{DOMAIN, Fabric, Site},
    kerberos::{Account, App, Lab},
    origin::Origin,
    process::{Process, eventually},
    recorder::{Heard, Recorder},
};
use runtime::{Clock, Scope};

use crate::{doctor::Said, sign_in::Visitor};

/// What a user waits for at most while no domain controller answers.
const REFUSED_WITHIN: Duration = Duration::from_secs(6);
/// How long after a controller is back somebody may still be refused: it is asked again every ten seconds.
const RECOVERED_WITHIN: Duration = Duration::from_secs(20);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Users who come at the same time.
const CROWD: usize = 20;
/// Requests of all of them.
const REQUESTS: usize = 1_000;
/// Connections to the edge on which they come.
const LINES: usize = 8;

/// The names are those of the fabric's own accounts.
const OF_LOCAL: [&str; 2] = ["--sso-identity-provider", "local"];

/// A fabric whose agent has an account in the lab's domain.
struct Domain {
    lab: Lab,
    fabric: Fabric,
}

impl Domain {
    /// `variables` are the agent's, besides its own.
    async fn start(lab: Lab, variables: &[String]) -> Self {
        let site = Site::new(crate::adit());
        let control = site.start_control().await;
        let mut edge = site.start_edge();
        edge.ready().await;
        let by = [&["env".to_owned()][..], variables].concat();
        let mut agent = start_agent(&site, &lab, Account::Good, &by);
        agent.ready().await;
        let fabric = Fabric::of(control, edge, agent, site);
        Self { lab, fabric }
    }

    /// Publishes an app, whose users are known to it by their ids in the fabric.
    fn publish(&self, id: &str, origin: &str, spn: &str, more: &[&str]) -> String {
        let host = format!("{id}.{DOMAIN}");
        let args = [
            "app",
            "publish",
            id,
            "--host",
            &host,
            "--origin",
            origin,
            "--access",
            "sign-in",
            "--assign-everyone",
            "--sso",
            "kerberos",
            "--sso-spn",
            spn,
        ];
        self.fabric.site().ok(&[&args, more].concat());
        host
    }

    /// An app of the lab's, by its own name.
    fn publish_of(&self, id: &str, app: App, more: &[&str]) -> String {
        let origin = url(self.lab.address(app));
        let more = [&["--sso-identity", "user"], more].concat();
        self.publish(id, &origin, self.lab.spn(app), &more)
    }

    /// Somebody with an account in the fabric, signed in at `host`.
    async fn user(&self, id: &str, host: &str) -> Visitor {
        let password = self.fabric.site().ok(&["user", "create", id]);
        let mut visitor = Visitor::new(self.fabric.user());
        visitor.sign_in(host, id, password.trim()).await;
        visitor
    }

    /// Waits until the agent's log has a line with all of these.
    async fn agent_says(&self, parts: &[&str]) {
        eventually(&format!("the agent says {parts:?}"), async || {
            let log = self.fabric.agent.log();
            log.lines()
                .any(|line| parts.iter().all(|part| line.contains(part)))
        })
        .await;
    }
}

fn start_agent(site: &Site, lab: &Lab, account: Account, by: &[String]) -> Process {
    let (principal, keytab) = (lab.principal(account), lab.keytab(account));
    let krb5_conf = lab.krb5_conf();
    let path = |path: &std::path::Path| path.to_str().expect("paths of tests are UTF-8").to_owned();
    let (keytab, krb5_conf) = (path(&keytab), path(&krb5_conf));
    let flags = [
        "--kerberos-principal",
        &principal,
        "--kerberos-keytab",
        &keytab,
        "--krb5-conf",
        &krb5_conf,
    ];
    site.start_agent_by(by, "default", "a1", &flags)
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// How the domain writes a user principal name for the app.
fn known(id: &str) -> String {
    format!("{}@LAB.TEST", id.replace('@', "\\@"))
}

/// Whom the app took the caller for.
fn seen(answer: &Answer) -> &str {
    let user = answer.fields.get("x-lab-user");
    user.map_or("", |user| user.to_str().expect("visible ASCII"))
}

fn refused(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.text().contains(reason), "{}", answer.text());
    let words = answer.text().to_lowercase();
    for inner in ["kerberos", "krb", "kdc", "ticket", "lab.test"] {
        assert!(!words.contains(inner), "{inner} is told to a user: {words}");
    }
    assert!(words.contains("request"), "its id is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_signed_on_as_themselves_and_as_nobody_else() {
    let crowd = CROWD.to_string();
    let Some(lab) = Lab::start_with(&[("LAB_CROWD", &crowd)]) else {
        return;
    };
    // Whoever starts an agent may have tickets of their own: they are nobody's here.
    let someone = lab.sign_in("bsmith");
    let variables = [
        format!("KRB5CCNAME={someone}"),
        "KRB5_CLIENT_KTNAME=/nowhere.keytab".to_owned(),
    ];
    let domain = Domain::start(lab, &variables).await;
    let environment = std::fs::read(format!("/proc/{}/environ", domain.fabric.agent.id()));
    let environment = environment.expect("our own child");
    let environment = String::from_utf8_lossy(&environment);
    assert!(!environment.contains("KRB5CCNAME"), "{environment}");
    assert!(environment.contains("KRB5_CONFIG="), "{environment}");

    let app = domain.publish_of("app", App::App, &[]);
    let other = domain.publish_of("other", App::Other, &[]);
    let stale = domain.publish_of("stale", App::Stale, &[]);
    let origin = url(domain.lab.address(App::App));
    let of_user = ["--sso-identity", "user"];
    let ghost = domain.publish("ghost", &origin, &domain.lab.ghost_spn(), &of_user);
    let by_claim = domain.publish("claim", &origin, domain.lab.spn(App::App), &OF_LOCAL);
    let by_account = domain.publish_of("account", App::App, &["--sso-name-form", "account"]);
    domain.fabric.served(&app).await;

    let mut alice = domain.user("alice@lab.test", &app).await;
    let answer = alice.get(&app, "/whoami").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("alice"), "{}", answer.text());
    assert!(!answer.fields.contains_key("www-authenticate"));
    domain
        .agent_says(&["a new ticket", "alice@lab.test", "HTTP/app.lab.test", "app"])
        .await;
    let mut bob = domain.user("bob@corp.example", &app).await;
    assert!(bob.get(&app, "/whoami").await.text().contains("bob"));
    let mut smith = domain.user("bsmith", &by_account).await;
    let answer = smith.get(&by_account, "/whoami").await;
    assert!(
        answer.text().contains("user=bsmith@LAB.TEST"),
        "{}",
        answer.text()
    );

    // Whose account the domain does not let be used, and why, in the agent's words.
    for (id, number) in [
        ("carol@lab.test", "13"),
        ("dave@lab.test", "12"),
        ("unknown@lab.test", "6"),
    ] {
        let mut visitor = domain.user(id, &app).await;
        refused(&visitor.get(&app, "/whoami").await, 403, "sso_user_refused");
        domain
            .agent_says(&["cannot be signed on", id, number])
            .await;
    }
    refused(&smith.get(&app, "/whoami").await, 403, "sso_no_identity");
    let nameless = alice.get(&by_claim, "/whoami").await;
    refused(&nameless, 403, "sso_no_identity");
    refused(&alice.get(&other, "/whoami").await, 403, "sso_user_refused");
    refused(&alice.get(&ghost, "/whoami").await, 502, "sso_failed");
    domain
        .agent_says(&["HTTP/ghost.lab.test", "proxy", "7"])
        .await;
    refused(&alice.get(&stale, "/whoami").await, 502, "sso_failed");
    domain
        .agent_says(&["HTTP/stale.lab.test", "app", "44"])
        .await;

    let lazy = apps_of_other_ways(&domain, &mut alice).await;
    bodies_and_upgrades(&domain, &mut alice, &app).await;
    nobody_is_ever_taken_for_another(&domain, &[app, lazy]).await;

    let metrics = domain.fabric.agent.admin("/metrics").await;
    for line in [
        "agent_kerberos_exchanges_total{stage=\"proxy\",outcome=\"ok\"}",
        "agent_kerberos_exchanges_total{stage=\"self\",outcome=\"no_user\"} 1",
        "agent_kerberos_exchanges_total{stage=\"app\",outcome=\"ok\"}",
        "agent_kerberos_exchanges_total{stage=\"app\",outcome=\"refused\"}",
        "agent_kerberos_breaker_open 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

/// Apps with sessions of their own, and such as do not take Kerberos. Gives the host of one that is sent a token when it asks for one.
async fn apps_of_other_ways(domain: &Domain, alice: &mut Visitor) -> String {
    let lazy = domain.publish_of("lazy", App::App, &["--sso-on-challenge"]);
    let proven = domain.publish_of("proven", App::App, &["--sso-require-mutual"]);
    domain.fabric.served(&lazy).await;
    domain.fabric.served(&proven).await;
    let answer = alice.get(&lazy, "/session").await;
    assert_eq!(seen(&answer), known("alice@lab.test"), "{answer:?}");
    assert!(alice.cookies(&lazy).contains("iwa="));
    assert_eq!(alice.get(&lazy, "/session").await.status, 200);
    // Asked for in the midst of it, it could not be sent twice.
    let answer = alice.post(&lazy, "/echo", vec![b'x'; 300_000], &[]).await;
    assert!(
        answer.text().contains("body-bytes=300000"),
        "{}",
        answer.text()
    );
    let answer = alice.post(&lazy, "/echo", vec![b'x'; 30_000], &[]).await;
    assert!(
        answer.text().contains("body-bytes=30000\n"),
        "{}",
        answer.text()
    );
    assert_eq!(alice.get(&proven, "/whoami").await.status, 200);
    refused(&alice.get(&proven, "/public").await, 502, "sso_failed");
    own_answers::of_apps(domain, alice, [&lazy, &proven]).await;
    lazy
}

/// One token, whatever the request itself brings, and the rest as it came.
async fn bodies_and_upgrades(domain: &Domain, alice: &mut Visitor, app: &str) {
    let own = [("authorization", "NTLM TlRMTVNTUAABAAAAB4IIAA==")];
    let answer = alice.post(app, "/echo", vec![b'x'; 50_000], &own).await;
    for line in [
        "user=alice",
        "authorization-scheme=Negotiate",
        "body-bytes=50000",
    ] {
        assert!(answer.text().contains(line), "{}", answer.text());
    }
    let cookies = alice.cookies(app);
    let mut by_http2 = request(Method::GET, app, "/whoami", body(""));
    let fields = by_http2.headers_mut();
    fields.insert("cookie", cookies.parse().expect("visible ASCII"));
    fields.insert(
        "authorization",
        "Basic eDp5".parse().expect("visible ASCII"),
    );
    let answer = domain.fabric.user().send_h2(by_http2).await;
    let answer = answer.expect("an answer");
    assert!(answer.text().contains("alice"), "{}", answer.text());

    let (recorder, echo) = (Recorder::start().await, Origin::start().await);
    let of_user = ["--sso-identity", "user"];
    let spn = domain.lab.spn(App::App);
    let recorded = domain.publish("recorded", &recorder.url(), spn, &of_user);
    let echoing = domain.publish("echoing", &echo.url(), spn, &of_user);
    domain.fabric.served(&recorded).await;
    domain.fabric.served(&echoing).await;
    for host in [&recorded, &echoing] {
        assert_eq!(alice.get(host, "/").await.status, 200);
    }
    let mut socket = domain
        .fabric
        .user()
        .websocket_as(&echoing, "/websocket", &alice.cookies(&echoing))
        .await;
    socket
        .send(Message::text("hello"))
        .await
        .expect("it is open");
    let said = socket.next().await.expect("it echoes").expect("a message");
    assert_eq!(said, Message::text("hello"));
    recorder.take();
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket"), own[0]];
    alice.get_with(&recorded, "/", &upgrade).await;
    alice.post(&recorded, "/", b"abc".to_vec(), &own).await;
    let heard = recorder.take();
    assert_eq!(heard.len(), 2, "{heard:?}");
    for message in heard {
        let Heard::Whole(message) = message else {
            panic!("{message:?}");
        };
        let mut tokens = message.fields.iter();
        let tokens: Vec<_> = tokens
            .by_ref()
            .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
            .collect();
        assert_eq!(tokens.len(), 1, "{message:?}");
        assert!(tokens[0].1.starts_with("Negotiate Y"), "{message:?}");
    }
}

/// Somebody of many, and their cookies at each app; or nobody, without any.
struct OfCrowd {
    id: String,
    cookies: Vec<String>,
}

/// Many users and nobody, on connections that they share up to the edge, at a server that signs connections on: it takes whoever comes
/// without a token for whoever came before. So the app that is sent one when it asks is the one that would tell.
async fn nobody_is_ever_taken_for_another(domain: &Domain, apps: &[String]) {
    let mut crowd = vec![OfCrowd {
        id: String::new(),
        cookies: vec![String::new(); apps.len()],
    }];
    for number in 0..CROWD {
        let id = format!("crowd{number:04}@lab.test");
        let mut visitor = domain.user(&id, &apps[0]).await;
        let mut cookies = Vec::new();
        for app in apps {
            assert_eq!(visitor.get(app, "/public").await.status, 200);
            cookies.push(visitor.cookies(app));
        }
        crowd.push(OfCrowd { id, cookies });
    }
    let lines = (0..LINES).map(|line| {
        let app = line % apps.len();
        mixed(domain.fabric.user(), (&apps[app], app), &crowd, line)
    });
    futures_util::future::join_all(lines).await;
}

/// A share of the requests, one after the other on one connection.
async fn mixed(user: &User, (host, app): (&str, usize), crowd: &[OfCrowd], line: usize) {
    let scope = Scope::root();
    let mut sender = keep_alive(user, host, &scope).await;
    for step in 0..REQUESTS / LINES {
        let one = &crowd[(step * 8 + line * 5) % crowd.len()];
        let mut asked = request(Method::GET, host, "/connection", body(""));
        if !one.id.is_empty() {
            let cookies = one.cookies[app].parse().expect("visible ASCII");
            asked.headers_mut().insert("cookie", cookies);
        }
        sender.ready().await.expect("the connection is kept");
        let answer = sender.send_request(asked).await.expect("a head");
        let answer = collect(answer).await.expect("a whole answer");
        if one.id.is_empty() {
            assert_eq!((answer.status.as_u16(), seen(&answer)), (401, ""));
        } else {
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(seen(&answer), known(&one.id));
        }
    }
}

async fn keep_alive(user: &User, host: &str, scope: &Scope) -> SendRequest<Body> {
    let socket = user.tls(host, b"http/1.1").await;
    let socket = socket.expect("the edge takes connections");
    let (sender, connection) = handshake(TokioIo::new(socket)).await.expect("HTTP begins");
    scope.spawn("user-connection", async move {
        // A broken connection shows at its request.
        let _ = connection.await;
    });
    sender
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_no_domain_controller_answers_only_those_wait_who_need_one() {
    let Some(lab) = Lab::start_with(&[("LAB_CROWD", "4")]) else {
        return;
    };
    doctor::names_what_is_wrong_with_the_account(&lab).await;
    let domain = Domain::start(lab, &[]).await;
    let clock = Clock::system();
    let app = domain.publish_of("app", App::App, &[]);
    let origin = Origin::start().await;
    let plain = domain.fabric.publish("plain", &origin.url()).await;
    domain.fabric.served(&app).await;
    let mut alice = domain.user("alice@lab.test", &app).await;
    assert_eq!(alice.get(&app, "/whoami").await.status, 200);
    let mut others = Vec::new();
    for number in 0..4 {
        let id = format!("crowd{number:04}@lab.test");
        let password = domain.fabric.site().ok(&["user", "create", &id]);
        others.push((id, password));
    }

    // None is there: whoever has a ticket goes on, and others are told so at once.
    domain.lab.stop_kdc();
    let mut visitors = Vec::new();
    for (id, password) in others {
        let mut visitor = Visitor::new(domain.fabric.user());
        let began = clock.now();
        let answer = visitor.sign_in(&app, &id, password.trim()).await;
        refused(&answer, 504, "sso_unavailable");
        let began_again = clock.now();
        refused(&visitor.get(&app, "/whoami").await, 504, "sso_unavailable");
        let took = clock.now() - began_again;
        assert!(
            took < REFUSED_WITHIN,
            "{took:?} of {:?}",
            clock.now() - began
        );
        visitors.push(visitor);
    }
    assert_eq!(alice.get(&app, "/whoami").await.status, 200);
    domain.lab.start_kdc();
    let mut first = visitors.remove(0);
    recovers(&mut first, &app).await;

    // One is there and says nothing: that costs those who wait for it, and nobody else.
    domain.lab.stop_kdc();
    let silent = domain.lab.silence_kdc();
    let slowest = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..200 {
            let began = clock.now();
            assert_eq!(domain.fabric.user().status(&plain, "/").await, 200);
            slowest = slowest.max(clock.now() - began);
        }
        slowest
    };
    let waited = async {
        for visitor in &mut visitors {
            let began = clock.now();
            refused(&visitor.get(&app, "/whoami").await, 504, "sso_unavailable");
            assert!(clock.now() - began < REFUSED_WITHIN);
        }
    };
    let (slowest, ()) = tokio::join!(slowest, waited);
    println!("slowest request of another app beside a silent controller: {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert_eq!(alice.get(&app, "/whoami").await.status, 200);
    drop(silent);
    domain.lab.start_kdc();
    for visitor in &mut visitors {
        recovers(visitor, &app).await;
    }
}

/// Waits until the user is signed on again, without anybody's help.
async fn recovers(visitor: &mut Visitor, app: &str) {
    for _ in 0..RECOVERED_WITHIN.as_millis() / LOOK_EVERY.as_millis() {
        if visitor.get(app, "/whoami").await.status == 200 {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    panic!("nobody is signed on {RECOVERED_WITHIN:?} after the controller is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_without_an_account_says_so_and_serves_other_apps() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let plain = fabric.publish("plain", &origin.url()).await;
    let app = format!("hr.{DOMAIN}");
    let site = fabric.site();
    site.ok(&[
        "app",
        "publish",
        "hr",
        "--host",
        &app,
        "--origin",
        &origin.url(),
        "--access",
        "sign-in",
        "--assign-everyone",
        "--sso",
        "kerberos",
        "--sso-spn",
        "HTTP/hr.lab.test",
        "--sso-identity",
        "user",
    ]);
    eventually("the app is there", async || {
        fabric.user().status(&app, "/").await == 401
    })
    .await;
    let password = site.ok(&["user", "create", "alice@lab.test"]);
    let mut alice = Visitor::new(fabric.user());
    let before = origin.requests();
    let answer = alice.sign_in(&app, "alice@lab.test", password.trim()).await;
    refused(&answer, 502, "sso_failed");
    assert_eq!(origin.requests(), before, "the app was asked");
    assert_eq!(fabric.user().status(&plain, "/").await, 200);
    eventually("the status names the agent", async || {
        let status = site.ok(&["status", "--output", "json"]);
        status.contains("sso_failed") && status.contains("kerberos.principal")
    })
    .await;
    let said = Said::of(&site.run(&["doctor", "agent", "--json", "--data-dir", "a1"]));
    said.names("kerberos_account", 41, "kerberos.principal");
}

/// Fields by name, for requests.
fn put(fields: &mut HeaderMap, more: &[(&'static str, &str)]) {
    for (name, value) in more {
        fields.insert(*name, value.parse().expect("visible ASCII"));
    }
}

impl Visitor {
    /// A page, with more fields.
    async fn get_with(&mut self, host: &str, path: &str, more: &[(&'static str, &str)]) -> Answer {
        let mut asked = self.request(Method::GET, host, path, String::new());
        put(asked.headers_mut(), more);
        self.send(asked, host).await
    }

    async fn get(&mut self, host: &str, path: &str) -> Answer {
        self.open(&format!("https://{host}{path}")).await
    }

    async fn post(
        &mut self,
        host: &str,
        path: &str,
        bytes: Vec<u8>,
        more: &[(&'static str, &str)],
    ) -> Answer {
        let text = String::from_utf8(bytes).expect("bodies of tests are text");
        let mut asked = self.request(Method::POST, host, path, text);
        put(asked.headers_mut(), more);
        self.send(asked, host).await
    }
}
