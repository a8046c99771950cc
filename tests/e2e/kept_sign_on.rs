//! Users are signed on to apps by credentials that are kept for them, which nobody but the app's agents can read.

mod tested;

use std::fs;

use http::Method;
use kit::{
    browser::Browser,
    client::{Answer, User, body, request},
    fabric::Site,
    forms::FormApp,
    origin::Origin,
    plain_app::PlainApp,
    process::{Process, eventually},
    search::{files_with, memory_has},
};

use crate::sign_in::{CHOSEN, Visitor, picture, shows, submit};

/// What alice has at the app, and types in no test but into the page that seals it.
const SECRET: &str = "zebra-crossing-4711";

/// A fabric whose agent has a vault key.
struct Vault {
    site: Site,
    control: Process,
    edge: Process,
    _agent: Process,
    user: User,
}

impl Vault {
    async fn start() -> Self {
        let site = Site::new(crate::adit());
        let control = site.start_control().await;
        let mut edge = site.start_edge();
        edge.ready().await;
        let create = ["vault-key", "create", "--group", "default"];
        site.ok(&[&create[..], &["--out", "default.vault-key"]].concat());
        let key = ["--vault-key-file", "default.vault-key"];
        let mut agent = site.start_agent_of("default", "a1", &key);
        agent.ready().await;
        let user = site.user();
        Self {
            site,
            control,
            edge,
            _agent: agent,
            user,
        }
    }

    /// Publishes an app for everybody who signs in, and waits until the edge has it.
    async fn publish(&self, id: &str, origin: &str, more: &[&str]) -> String {
        let host = format!("{id}.fabric.test");
        let args = ["app", "publish", id, "--host", &host, "--origin", origin];
        let access = ["--access", "sign-in", "--assign-everyone"];
        self.site.ok(&[&args[..], &access, more].concat());
        eventually("the app is published", async || {
            self.user.status(&host, "/").await == 401
        })
        .await;
        host
    }

    fn set_credential(&self, more: &[&str]) {
        self.set_password(SECRET, more);
    }

    fn set_password(&self, password: &str, more: &[&str]) {
        fs::write(self.site.folder().join("app.password"), password).expect("it can be written");
        let args = ["credential", "set", "--password-file", "app.password"];
        self.site.ok(&[&args[..], more].concat());
        fs::remove_file(self.site.folder().join("app.password")).expect("it is there");
    }

    fn create_user(&self, id: &str) -> String {
        self.site.ok(&["user", "create", id]).trim().to_owned()
    }
}

/// Asks for a page with more fields than a visitor has.
async fn ask(vault: &Vault, visitor: &Visitor, host: &str, path: &str, method: Method) -> String {
    let answer = ask_whole(vault, visitor, host, path, method).await;
    format!("{} {}", answer.status.as_u16(), answer.text())
}

async fn ask_whole(
    vault: &Vault,
    visitor: &Visitor,
    host: &str,
    path: &str,
    method: Method,
) -> Answer {
    let mut asked = request(method, host, path, body("x=1"));
    let fields = asked.headers_mut();
    for (name, value) in [
        ("cookie", &*visitor.cookies(host)),
        ("authorization", "Basic bWFsbG9yeTpndWVzcw=="),
        ("accept", "text/html"),
    ] {
        fields.insert(name, value.parse().expect("visible ASCII"));
    }
    vault.user.send(asked).await.expect("an answer")
}

#[tokio::test]
async fn an_app_gets_the_users_own_credential_by_basic_and_no_other() {
    let (vault, origin) = (Vault::start().await, Origin::start().await);
    let host = vault
        .publish("wiki", &origin.url(), &["--sso", "basic"])
        .await;
    let first = vault.create_user("alice");
    let mut alice = Visitor::new(&vault.user);
    let page = alice.sign_in(&host, "alice", &first).await;
    assert_eq!(page.status, 403);
    assert!(page.text().contains("sso_credentials"), "{}", page.text());
    assert!(
        page.text().contains("/.adit/app-sign-in?app=wiki\""),
        "{}",
        page.text()
    );
    vault.set_credential(&["--app", "wiki", "--user", "alice", "--login", "asmith"]);
    eventually("the agent has the credential", async || {
        let said = ask(&vault, &alice, &host, "/echo", Method::POST).await;
        // asmith:zebra-crossing-4711
        said.contains("Basic YXNtaXRoOnplYnJhLWNyb3NzaW5nLTQ3MTE=") && !said.contains("bWFsbG9y")
    })
    .await;
    let said = ask(&vault, &alice, &host, "/status/401", Method::GET).await;
    assert!(said.starts_with("403 "), "{said}");
    assert!(said.contains("sso_credentials_refused"), "{said}");
    // There are pages that refuse everybody: what the app has taken does not rest for them.
    for _ in 0..4 {
        ask(&vault, &alice, &host, "/status/401", Method::GET).await;
    }
    let said = ask(&vault, &alice, &host, "/echo", Method::POST).await;
    assert!(said.starts_with("200 "), "{said}");
    // Another one, which it never took, does after three.
    vault.set_credential(&["--app", "wiki", "--user", "alice", "--login", "other"]);
    let before = origin.requests();
    eventually("the new credential rests", async || {
        let asked = origin.requests();
        ask(&vault, &alice, &host, "/status/401", Method::GET).await;
        origin.requests() == asked
    })
    .await;
    assert!(origin.requests() >= before + 3);
    let before = origin.requests();
    let said = ask(&vault, &alice, &host, "/echo", Method::POST).await;
    assert!(said.contains("sso_credentials_refused"), "{said}");
    assert_eq!(origin.requests(), before);
    // The next is tried at once, though it says the same.
    vault.set_credential(&["--app", "wiki", "--user", "alice", "--login", "other"]);
    eventually("the new credential is used", async || {
        let said = ask(&vault, &alice, &host, "/echo", Method::POST).await;
        said.starts_with("200 ")
    })
    .await;
    // Nobody else's.
    let first = vault.create_user("bob");
    let mut bob = Visitor::new(&vault.user);
    let page = bob.sign_in(&host, "bob", &first).await;
    assert!(page.text().contains("sso_credentials"), "{}", page.text());
    let listed = vault.site.ok(&["credential", "list"]);
    assert!(
        listed.contains("alice") && listed.contains("operator"),
        "{listed}"
    );
    // What an operator enters is sealed before it leaves the command. What the edge has seen is the app's own echo of it.
    let found = files_with(vault.site.folder(), SECRET);
    assert!(found.is_empty(), "{found:?}");
    let control = vault.control.id();
    assert!(!memory_has(control, SECRET));
    assert!(memory_has(control, "fabric.test"), "the search finds");
    let delete = ["credential", "delete", "--app", "wiki", "--user", "alice"];
    vault.site.ok(&delete);
    eventually("the agent has forgotten it", async || {
        let said = ask(&vault, &alice, &host, "/echo", Method::POST).await;
        said.starts_with("403 ")
    })
    .await;
}

const FORM: [&str; 8] = [
    "--sso",
    "form",
    "--sso-page",
    "/admin/login/?next=/admin/",
    "--sso-user-field",
    "username",
    "--sso-password-field",
    "password",
];

#[tokio::test]
async fn a_form_with_a_token_is_filled_in_and_again_when_the_app_asks() {
    let vault = Vault::start().await;
    let app = FormApp::start(vault.site.folder(), "asmith", SECRET);
    let host = vault.publish("admin", &app.url(), &FORM).await;
    let first = vault.create_user("alice");
    vault.set_credential(&["--app", "admin", "--user", "alice", "--login", "asmith"]);
    let mut alice = Visitor::new(&vault.user);
    alice.sign_in(&host, "alice", &first).await;
    eventually("alice is in", async || {
        let page = ask(&vault, &alice, &host, "/admin/", Method::GET).await;
        page.starts_with("200 ") && page.contains("Site administration")
    })
    .await;
    assert_eq!(app.attempts().await, 1);
    // The app's cookies are not the browser's, and the user's own go along.
    assert!(!alice.cookies(&host).contains("sessionid"));
    let said = ask(&vault, &alice, &host, "/upload", Method::POST).await;
    assert_eq!(said, "200 3 bytes of asmith");
    // The app ends the session: a body that is short goes again, behind another sign-in.
    app.get("/end-sessions").await;
    let said = ask(&vault, &alice, &host, "/upload", Method::POST).await;
    assert_eq!(said, "200 3 bytes of asmith");
    assert_eq!(app.attempts().await, 2);
    // Ten at once sign in once.
    app.get("/end-sessions").await;
    let asked = (0..10).map(|_| ask(&vault, &alice, &host, "/upload", Method::POST));
    for said in futures_util::future::join_all(asked).await {
        assert_eq!(said, "200 3 bytes of asmith");
    }
    assert_eq!(app.attempts().await, 3);
    // The password is another now: it is tried once, and not again however often the user comes.
    app.get("/password?another").await;
    app.get("/end-sessions").await;
    for _ in 0..5 {
        let said = ask(&vault, &alice, &host, "/admin/", Method::GET).await;
        assert!(said.starts_with("403 "), "{said}");
        assert!(said.contains("sso_credentials_refused"), "{said}");
    }
    assert_eq!(app.attempts().await, 4);
}

const PLAIN: [&str; 8] = [
    "--sso",
    "form",
    "--sso-page",
    "/login",
    "--sso-user-field",
    "u",
    "--sso-password-field",
    "p",
];

#[tokio::test]
async fn an_app_that_seems_to_take_a_wrong_password_gets_it_once() {
    let (vault, app) = (
        Vault::start().await,
        PlainApp::start("asmith", "right").await,
    );
    let host = vault.publish("plain", &app.url(), &PLAIN).await;
    let first = vault.create_user("alice");
    let mut alice = Visitor::new(&vault.user);
    alice.sign_in(&host, "alice", &first).await;
    vault.set_credential(&["--app", "plain", "--user", "alice", "--login", "asmith"]);
    let get = async |path| ask(&vault, &alice, &host, path, Method::GET).await;
    eventually("the agent has the credential", async || {
        get("/").await.contains("sso_credentials_refused")
    })
    .await;
    for path in ["/", "/a", "/public", "/b", "/"] {
        get(path).await;
    }
    // Its form leads to a page that leads back: that is a refusal, and is not tried again.
    assert_eq!(app.attempts(), 1);
}

#[tokio::test]
async fn a_page_says_whether_a_password_is_right_where_the_status_does_not() {
    let vault = Vault::start().await;
    let first = vault.create_user("alice");
    let mut alice = Visitor::new(&vault.user);
    for (id, flag, text) in [
        ("one", "--sso-success-text", "Gr\u{fc}\u{df}e"),
        ("two", "--sso-failure-text", "Passwort ung\u{fc}ltig"),
    ] {
        let app = PlainApp::start_with_page("asmith", "right").await;
        let flags = [&PLAIN[..], &[flag, text]].concat();
        let host = vault.publish(id, &app.url(), &flags).await;
        if id == "one" {
            alice.sign_in(&host, "alice", &first).await;
        } else {
            alice.open(&format!("https://{host}/")).await;
        }
        let get = async |path| ask(&vault, &alice, &host, path, Method::GET).await;
        let credential = ["--app", id, "--user", "alice", "--login", "asmith"];
        vault.set_credential(&credential);
        eventually("the app refuses what the agent has", async || {
            get("/").await.contains("sso_credentials_refused")
        })
        .await;
        get("/").await;
        assert_eq!(app.attempts(), 1);
        vault.set_password("right", &credential);
        eventually("the right one lets alice in", async || {
            get("/").await == "200 session 2"
        })
        .await;
        assert_eq!(app.attempts(), 2);
    }
}

#[tokio::test]
async fn cookies_of_a_sign_in_go_to_the_parts_of_an_app_that_browsers_would_send_them_to() {
    let (vault, app) = (
        Vault::start().await,
        PlainApp::start("asmith", SECRET).await,
    );
    let moved = PlainApp::start("asmith", SECRET).await;
    let (files, docs) = (Origin::start().await, Origin::start().await);
    let published = format!(
        r#"[app.plain]
hosts = ["plain.fabric.test"]
origins = ["{}"]
access = "sign-in"
assign = {{ everyone = true }}
single_sign_on = {{ form = {{ page = "/login", user_field = "u", password_field = "p" }} }}
[[app.plain.segments]]
id = "files"
hosts = ["plain.fabric.test"]
path = "/echo"
origins = ["{}"]
[[app.plain.segments]]
id = "docs"
hosts = ["docs.fabric.test"]
origins = ["{}"]
[app.moved]
hosts = ["moved.fabric.test"]
path = "/p"
translation = {{ inner_path = "/" }}
origins = ["{}"]
access = "sign-in"
assign = {{ everyone = true }}
single_sign_on = {{ form = {{ page = "/login", user_field = "u", password_field = "p" }} }}
"#,
        app.url(),
        files.url(),
        docs.url(),
        moved.url()
    );
    fs::write(vault.site.folder().join("apps.toml"), published).expect("it can be written");
    vault.site.ok(&["apply", "-f", "apps.toml"]);
    let (plain, other) = ("plain.fabric.test", "docs.fabric.test");
    eventually("the app is published", async || {
        vault.user.status(other, "/").await == 401
    })
    .await;
    let first = vault.create_user("alice");
    let mut alice = Visitor::new(&vault.user);
    alice.sign_in(plain, "alice", &first).await;
    vault.set_credential(&["--app", "plain", "--user", "alice", "--login", "asmith"]);
    eventually("alice is in", async || {
        ask(&vault, &alice, plain, "/", Method::GET).await == "200 session 1"
    })
    .await;
    alice.open(&format!("https://{other}/")).await;
    let said = ask(&vault, &alice, plain, "/echo", Method::GET).await;
    assert!(said.starts_with("200 ") && said.contains("sid=1"), "{said}");
    let said = ask(&vault, &alice, other, "/echo", Method::GET).await;
    assert!(said.starts_with("200 ") && !said.contains("sid="), "{said}");
    assert_eq!(app.attempts(), 1);
    // What is for the origin's own path is for the public one.
    let other = "moved.fabric.test";
    alice.open(&format!("https://{other}/p/")).await;
    vault.set_credential(&["--app", "moved", "--user", "alice", "--login", "asmith"]);
    eventually("alice is in there, too", async || {
        ask(&vault, &alice, other, "/p/", Method::GET).await == "200 session 1"
    })
    .await;
    assert_eq!(moved.attempts(), 1);
}

#[tokio::test]
async fn users_of_one_credential_are_signed_in_at_once_and_get_the_cookies_that_are_named() {
    let (vault, app) = (
        Vault::start().await,
        PlainApp::start("asmith", SECRET).await,
    );
    let more = ["--sso-shared", "--sso-user-cookie", "theme"];
    let host = vault
        .publish("plain", &app.url(), &[&PLAIN[..], &more].concat())
        .await;
    let mut visitors = Vec::new();
    for user in ["alice", "bob", "carol"] {
        let first = vault.create_user(user);
        let mut visitor = Visitor::new(&vault.user);
        visitor.sign_in(&host, user, &first).await;
        visitors.push(visitor);
    }
    let alice = &visitors[0];
    vault.set_credential(&["--app", "plain", "--shared", "--login", "asmith"]);
    eventually("the agent has the credential", async || {
        ask(&vault, alice, &host, "/", Method::GET).await == "200 session 1"
    })
    .await;
    let others = visitors[1..]
        .iter()
        .map(|visitor| ask(&vault, visitor, &host, "/", Method::GET));
    let mut said = futures_util::future::join_all(others).await;
    said.sort();
    assert_eq!(said, ["200 session 2", "200 session 3"]);
    // Nobody's requests go on a connection on which another's went.
    for _ in 0..5 {
        for visitor in &visitors {
            ask(&vault, visitor, &host, "/", Method::GET).await;
        }
    }
    assert_eq!(app.mixed(), 0);
    // What scripts could read stays at the agent, too, but for what is named.
    let page = ask_whole(&vault, alice, &host, "/", Method::GET).await;
    let set: Vec<_> = page.fields.get_all("set-cookie").iter().collect();
    assert_eq!(set, ["theme=dark; Path=/"]);
    // A page that is not for alice is the app's own matter, is not asked for without end, and costs the others nothing.
    for _ in 0..3 {
        ask(&vault, alice, &host, "/forbidden", Method::GET).await;
    }
    assert_eq!(app.attempts(), 4);
    for visitor in &visitors {
        let said = ask(&vault, visitor, &host, "/", Method::GET).await;
        assert!(said.starts_with("200 "), "{said}");
    }
    assert_eq!(app.attempts(), 4);
}

#[tokio::test]
async fn a_part_at_another_host_that_is_visited_first_gets_no_session_of_the_main_part() {
    let vault = Vault::start().await;
    let (app, files) = (
        PlainApp::start("asmith", SECRET).await,
        Origin::start().await,
    );
    let text = format!(
        "[app.crm]\nhosts = [\"crm.fabric.test\"]\norigins = [{{ url = \"{}\" }}]\ngroup = \"default\"\naccess = \"sign-in\"\n\
         assign = {{ everyone = true }}\n\
         single_sign_on = {{ form = {{ page = \"/login\", user_field = \"u\", password_field = \"p\" }} }}\n\
         [[app.crm.segments]]\nid = \"files\"\nhosts = [\"files.fabric.test\"]\norigins = [{{ url = \"{}\" }}]\n\
         [[app.crm.segments]]\nid = \"beside\"\nhosts = [\"crm.fabric.test\"]\npath = \"/echo\"\norigins = [{{ url = \"{}\" }}]\n",
        app.url(),
        files.url(),
        files.url()
    );
    fs::write(vault.site.folder().join("fabric.toml"), text).expect("it can be written");
    vault.site.ok(&["apply", "-f", "fabric.toml"]);
    let (crm, host) = ("crm.fabric.test", "files.fabric.test");
    eventually("the app is published", async || {
        vault.user.status(host, "/").await == 401
    })
    .await;
    let first = vault.create_user("alice");
    vault.set_credential(&["--app", "crm", "--user", "alice", "--login", "asmith"]);
    let mut alice = Visitor::new(&vault.user);
    alice.sign_in(host, "alice", &first).await;
    eventually("the agent has the credential", async || {
        let said = ask(&vault, &alice, host, "/echo", Method::POST).await;
        assert!(!said.contains("sid="), "{said}");
        said.starts_with("200 ")
    })
    .await;
    assert_eq!(app.attempts(), 1);
    let page = alice.open(&format!("https://{crm}/")).await;
    assert_eq!((page.status.as_u16(), page.text()), (200, "session 1"));
    let said = ask(&vault, &alice, crm, "/echo", Method::POST).await;
    assert!(said.contains("sid=1"), "{said}");
    assert_eq!(app.attempts(), 1);
}

#[tokio::test]
async fn a_user_enters_it_once_and_no_part_of_the_fabric_but_the_agent_has_it() {
    let vault = Vault::start().await;
    let elsewhere = tempfile::tempdir().expect("the temporary folder can be written");
    let app = FormApp::start(elsewhere.path(), "asmith", SECRET);
    let host = vault.publish("admin", &app.url(), &FORM).await;
    let first = vault.create_user("alice");
    let browser = Browser::open(900, 1_000).await;
    let port = vault.site.https().port();
    let home = format!("https://{host}:{port}/admin/");
    browser.visit(&home).await;
    shows(&browser, "Sign in").await;
    submit(&browser, &[("user", "alice"), ("password", &first)]).await;
    shows(&browser, "Choose a new password").await;
    let typed = [("password", &*first), ("new", CHOSEN), ("again", CHOSEN)];
    submit(&browser, &typed).await;
    shows(&browser, "Your sign-in for this app is not known yet.").await;
    picture(&browser, "kept-none").await;
    let link = "document.querySelector('a[href$=\"/app-sign-in?app=admin\"]').click()";
    browser.run(link).await;
    shows(&browser, "Your sign-in for admin").await;
    seals_as_the_rfc_does(&browser).await;
    picture(&browser, "kept-page").await;
    submit(&browser, &[("user", "asmith"), ("password", SECRET)]).await;
    eventually("it is kept", async || {
        browser.text("[role=status]").await.contains("Kept.")
    })
    .await;
    picture(&browser, "kept-done").await;
    eventually("the app is opened", async || {
        browser.visit(&home).await;
        browser.text("#content h1").await == "Site administration"
    })
    .await;
    picture(&browser, "kept-app").await;
    let cookies = browser.run("return document.cookie").await;
    assert_eq!(cookies, "", "the app's cookies stay at the agent");
    let listed = vault.site.ok(&["credential", "list"]);
    assert!(
        listed.contains("alice") && listed.contains("user"),
        "{listed}"
    );
    let audit = vault.site.ok(&["audit", "list", "--output", "json"]);
    assert!(audit.contains("KeepCredential"), "{audit}");

    // The portal leads there, too.
    browser
        .visit(&format!("https://apps.fabric.test:{port}/"))
        .await;
    shows(&browser, "Your apps").await;
    picture(&browser, "kept-portal").await;
    browser.run("document.querySelector('.own').click()").await;
    shows(&browser, "Your sign-in for admin").await;

    // The agent alone has it.
    let found = files_with(vault.site.folder(), SECRET);
    assert!(found.is_empty(), "{found:?}");
    for (process, name) in [(&vault.control, "control"), (&vault.edge, "edge")] {
        assert!(!memory_has(process.id(), SECRET), "{name}");
        // The search finds what is there.
        assert!(memory_has(process.id(), "fabric.test"), "{name}");
    }

    let remove = "document.querySelector('form[action$=remove] button').click()";
    browser.run(remove).await;
    eventually("it is removed", async || {
        browser.text("[role=status]").await == "Removed."
    })
    .await;
    eventually("the app is closed", async || {
        browser.visit(&home).await;
        browser.text("h1").await == "Your sign-in for this app is not known yet."
    })
    .await;
}

/// RFC 9180, appendix A.3.1, by the page's own code.
async fn seals_as_the_rfc_does(browser: &Browser) {
    const TRY: &str = "return (async () => { const hex = s => Uint8Array.from(s.match(/../g), b => parseInt(b, 16));
        const url = b => btoa(String.fromCharCode(...b)).replace(/\\+/g, '-').replace(/\\//g, '_').replace(/=+$/, '');
        const point = hex('04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4');
        const jwk = {kty: 'EC', crv: 'P-256', ext: true, d: url(hex('4995788ef4b9d6132b249ce59a77281493eb39af373d236a1fe415cb0c2d7beb')),
            x: url(point.slice(1, 33)), y: url(point.slice(33))};
        const curve = {name: 'ECDH', namedCurve: 'P-256'}, own = crypto.subtle.generateKey;
        const privateKey = await crypto.subtle.importKey('jwk', jwk, curve, true, ['deriveBits']);
        const publicKey = await crypto.subtle.importKey('raw', point, curve, true, []);
        crypto.subtle.generateKey = async () => ({privateKey, publicKey});
        const sealed = await seal(hex('04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a826a779b4cf969b8a0e539c7f62fb3d30ad6aa8f80e30f1d128aafd68a2ce72ea0'),
            hex('4f6465206f6e2061204772656369616e2055726e'), hex('436f756e742d30'), hex('4265617574792069732074727574682c20747275746820626561757479'));
        crypto.subtle.generateKey = own;
        return [...sealed.slice(65)].map(b => b.toString(16).padStart(2, '0')).join('') })()";
    let sealed = browser.run(TRY).await;
    assert_eq!(
        sealed,
        "5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434"
    );
}
