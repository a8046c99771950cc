//! What origins are told of users: a signed assertion, and how the documents say to verify it.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::*;

const FIELD: &str = "adit-assertion";

/// A fabric whose app asks for assertions, a browser that alice is signed in with, and an agent.
async fn asserting() -> (Fabric, Browser, Agent) {
    signed_in(|app| app.assertion_field = FIELD.to_owned()).await
}

/// The fields of a request that an origin gets.
async fn told(
    fabric: &Fabric,
    browser: &mut Browser,
    agent: &Agent,
    sent: &str,
) -> http::HeaderMap {
    let head = head(fabric, browser, agent, sent).await;
    tunnel::fields::decode(head.fields).unwrap()
}

async fn assertion(fabric: &Fabric, browser: &mut Browser, agent: &Agent) -> String {
    let fields = told(fabric, browser, agent, "").await;
    fields[FIELD].to_str().unwrap().to_owned()
}

async fn published(fabric: &Fabric) -> String {
    let line = "GET /.well-known/jwks.json";
    let reply = Browser::default().ask(fabric, AUTH, line, "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let cache = reply.field("cache-control");
    assert_eq!(cache, Some("public, max-age=3600"));
    assert_eq!(reply.field("content-type"), Some("application/json"));
    reply.body
}

fn verified(assertion: &str, keys: &str) -> Value {
    let keys: JwkSet = serde_json::from_str(keys).unwrap();
    let name = decode_header(assertion).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(keys.find(&name).unwrap()).unwrap();
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_audience(&["wiki"]);
    rules.set_issuer(&["https://auth.example.com"]);
    decode::<Value>(assertion, &key, &rules).unwrap().claims
}

#[tokio::test]
async fn an_assertion_says_who_the_user_is_and_nobody_else_can() {
    let (fabric, mut browser, agent) = asserting().await;
    let forged = "adit-assertion: forged\r\nAdit_Assertion: forged\r\nAdit-Assertion: again\r\nAdit-User: root\r\n";
    let fields = told(&fabric, &mut browser, &agent, forged).await;
    let ours: Vec<_> = fields
        .keys()
        .filter(|name| name.as_str().starts_with("adit"))
        .collect();
    assert_eq!(ours, [FIELD]);
    assert_eq!(fields.get_all(FIELD).iter().count(), 1);
    let assertion = fields[FIELD].to_str().unwrap();
    let said = verified(assertion, &published(&fabric).await);
    let now = milliseconds(&fabric.clock) / 1_000;
    assert_eq!(said["sub"], "alice");
    assert_eq!(said["name"], "Alice <b>");
    assert_eq!(said["email"], "alice@example.com");
    assert_eq!(said["groups"], serde_json::json!(["staff"]));
    assert_eq!(said["amr"], serde_json::json!(["pwd"]));
    let number = |name: &str| said[name].as_i64().unwrap();
    assert_eq!(number("exp") - number("iat"), 60);
    assert!((now - 5..=now).contains(&number("iat")), "{said} at {now}");
    assert!((now..=now + 20).contains(&number("auth_time")), "{said}");
    for absent in ["idp", "acr", "jti"] {
        assert!(said.get(absent).is_none(), "{said}");
    }
}

#[tokio::test]
async fn users_assertions_reach_no_app_whether_it_asks_for_one_or_not() {
    let mut fabric = fabric().await;
    fabric.change_app(|app| {
        app.access = AccessKind::Passthrough.into();
        app.assignment = None;
    });
    fabric.publish(3);
    let agent = fabric.agent("a1").await;
    let forged = "adit-assertion: forged\r\nAdit_Assertion: forged\r\nx-other: kept\r\n";
    let fields = told(&fabric, &mut Browser::default(), &agent, forged).await;
    assert_eq!(fields["x-other"], "kept");
    let ours = fields.keys().find(|name| name.as_str().contains("adit"));
    assert_eq!(ours, None);
}

#[tokio::test]
async fn keys_are_published_before_they_sign_and_assertions_are_made_anew() {
    let (mut fabric, mut browser, agent) = asserting().await;
    let kid = |assertion: &str| decode_header(assertion).unwrap().kid.unwrap();
    let first = assertion(&fabric, &mut browser, &agent).await;
    let now = milliseconds(&fabric.clock) / 1_000;
    fabric.set_assertion_keys(&[now + 86_400, 0]);
    fabric.publish(4);
    // Not the same keys as before, but the older of the two signs still.
    let keys = published(&fabric).await;
    let second = assertion(&fabric, &mut browser, &agent).await;
    verified(&second, &keys);
    assert_ne!(kid(&first), kid(&second));
    // A session would have ended by then; the clock of signing is the same.
    fabric.set_assertion_keys(&[now, 0]);
    fabric.publish(5);
    let third = assertion(&fabric, &mut browser, &agent).await;
    let set: JwkSet = serde_json::from_str(&published(&fabric).await).unwrap();
    assert_eq!(set.keys.len(), 2);
    assert_eq!(set.keys[0].common.key_id, Some(kid(&third)));
}

#[tokio::test]
async fn without_keys_nothing_is_sent_to_an_app_that_asks_for_assertions() {
    let (mut fabric, mut browser, _agent) = asserting().await;
    fabric.set_assertion_keys(&[]);
    fabric.publish(4);
    let reply = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    fabric.resources.remove("assertionKeys");
    fabric.publish(5);
    let reply = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
    assert_eq!(reply.status, 503, "{reply:?}");
}

#[tokio::test]
async fn a_connection_is_told_the_same_for_half_a_minute_and_never_what_another_user_is() {
    let (fabric, browser, agent) = asserting().await;
    let cookie = &browser.jar[HOST]["__Host-adit-app"];
    let mut user = RawUser::connect(&fabric).await;
    let mut all = Vec::new();
    for moved in [0, 29, 2] {
        fabric.clock.move_wall(Duration::from_secs(moved));
        user.write(format!(
            "GET / HTTP/1.1\r\nhost: {HOST}\r\ncookie: __Host-adit-app={cookie}\r\n\r\n"
        ))
        .await;
        let asked = agent.request().await;
        let fields = tunnel::fields::decode(asked.head.fields.clone()).unwrap();
        all.push(fields[FIELD].to_str().unwrap().to_owned());
        asked.answer(200, "hello").await;
        user.read_until("hello").await;
    }
    assert_eq!(all[0], all[1]);
    assert_ne!(all[1], all[2]);
    // A session that is ended is over on the same connection, too.
    let mut fabric = fabric;
    fabric.set(
        "revocations/users/alice",
        Kind::Revocation(Revocation {
            whose: Some(Whose::User("alice".to_owned())),
            before_ms: milliseconds(&fabric.clock) + 60_000,
        }),
    );
    fabric.publish(4);
    user.write(format!(
        "GET / HTTP/1.1\r\nhost: {HOST}\r\ncookie: __Host-adit-app={cookie}\r\nconnection: close\r\n\r\n"
    ))
    .await;
    assert!(user.read_to_end().await.starts_with("HTTP/1.1 401 "));
}

/// The block of a language in the document.
fn snippet(language: &str) -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/identity-at-origins.md");
    let document = fs::read_to_string(document).unwrap();
    let (_, rest) = document.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// An assertion, the same with one bit of the signature another, and the public keys.
async fn evidence() -> (String, String, String) {
    let (fabric, mut browser, agent) = asserting().await;
    let good = assertion(&fabric, &mut browser, &agent).await;
    let mut bytes = good.clone().into_bytes();
    let at = bytes.len() - 10;
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    let keys = published(&fabric).await;
    (good, String::from_utf8(bytes).unwrap(), keys)
}

#[tokio::test]
async fn python_verifies_as_the_document_says() {
    let (good, bad, keys) = evidence().await;
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("keys.json");
    fs::write(&kept, keys).unwrap();
    // Debian's, whose package the document names.
    for (issuer, app, assertion, want) in [
        ("https://auth.example.com", "wiki", &good, "alice ['staff']"),
        ("https://auth.example.com", "wiki", &bad, "refused"),
        ("https://auth.example.com", "crm", &good, "refused"),
        ("https://auth.example.org", "wiki", &good, "refused"),
    ] {
        let code = snippet("python")
            .replace("https://auth.example.com", issuer)
            .replace("\"wiki\"", &format!("\"{app}\""));
        let driver = format!(
            "{code}\nimport json, sys\nKEYS.fetch_data = lambda: json.load(open({kept:?}))\n\
             try:\n    said = claims(sys.argv[1])\n    print(said['sub'], said['groups'])\n\
             except jwt.InvalidTokenError:\n    print('refused')\n"
        );
        let ran = Command::new("/usr/bin/python3")
            .args(["-c", &driver, assertion])
            .output()
            .expect("python3 runs");
        let (said, errors) = (&ran.stdout, String::from_utf8_lossy(&ran.stderr));
        assert_eq!(String::from_utf8_lossy(said).trim(), want, "{errors}");
    }
}

/// nginx in front of an echo, both at sockets of a directory.
struct Nginx {
    child: std::process::Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nginx {
    fn start(directory: &Path, keys: &str) -> Self {
        let place = directory.display();
        let (socket, log) = (directory.join("front"), directory.join("error.log"));
        fs::write(directory.join("keys.json"), keys).unwrap();
        let script = snippet("js").replace("/etc/nginx/adit", &place.to_string());
        fs::write(directory.join("adit.js"), script).unwrap();
        let server = snippet("nginx")
            .replace("/etc/nginx/adit", &place.to_string())
            .replace("listen 80;", &format!("listen unix:{};", socket.display()))
            .replace(
                "http://127.0.0.1:8080",
                &format!("http://unix:{place}/behind"),
            );
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let kinds = kinds.map(|kind| format!("{kind}_temp_path {place}/{kind};"));
        let configuration = format!(
            "load_module modules/ngx_http_js_module.so;\npid {place}/pid;\nmaster_process off;\nevents {{}}\n\
             http {{\naccess_log off;\n{}\n{server}\nserver {{ listen unix:{place}/behind; \
             location / {{ return 200 \"user=$http_x_remote_user assertion=$http_adit_assertion.\"; }} }}\n}}\n",
            kinds.join("\n")
        );
        let file = directory.join("nginx.conf");
        let mut written = fs::File::create(&file).unwrap();
        written.write_all(configuration.as_bytes()).unwrap();
        let child = Command::new("/usr/sbin/nginx")
            .args(["-g", "daemon off;", "-p", "/usr/share/nginx", "-c"])
            .arg(&file)
            .arg("-e")
            .arg(&log)
            .stderr(Stdio::inherit())
            .spawn()
            .expect("nginx runs");
        Self { child, socket, log }
    }

    async fn ask(&self, fields: &str) -> String {
        let mut stream = loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let request = format!("GET /x HTTP/1.1\r\nhost: wiki\r\nconnection: close\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }
}

#[tokio::test]
async fn nginx_verifies_as_the_document_says() {
    let (good, bad, keys) = evidence().await;
    let directory = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(directory.path(), &keys);
    let answered = tokio::time::timeout(crate::fabric::PATIENCE, nginx.ask("")).await;
    let log = || fs::read_to_string(&nginx.log).unwrap_or_default();
    let reply = answered.unwrap_or_else(|_| panic!("nginx does not come: {}", log()));
    assert!(reply.starts_with("HTTP/1.1 403 "), "{reply} {}", log());
    let field = |assertion: &str| format!("x-remote-user: root\r\nadit-assertion: {assertion}\r\n");
    let reply = nginx.ask(&field(&good)).await;
    assert!(
        reply.ends_with("user=alice assertion=."),
        "{reply} {}",
        log()
    );
    let unsigned = good.rsplit_once('.').unwrap().0;
    for wrong in [&*bad, unsigned, &format!("{unsigned}."), "", "a.b.c"] {
        let reply = nginx.ask(&field(wrong)).await;
        assert!(reply.starts_with("HTTP/1.1 403 "), "{wrong}: {reply}");
    }
}
