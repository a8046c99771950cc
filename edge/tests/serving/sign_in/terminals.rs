//! Terminals that sign in by a code, and what they show apps.

use proto::fabric::{
    DeviceAnswer, DeviceBegun, DeviceDecided, DeviceFound, DevicePolled, DeviceQuestion,
    DeviceRefusal, DeviceRefusalKind, DeviceState, device_answer::Outcome as Said,
    device_question::Kind as Asked,
};
use serde_json::Value;

use super::*;

const CODE: &str = "BCDFGHJK";
const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

/// Control, for one terminal; and the third wrong code is one too many.
#[derive(Default)]
pub(super) struct Control {
    device: Bytes,
    program: String,
    grant: Option<Bytes>,
    wrong: usize,
}

impl Control {
    pub(super) fn answer(&mut self, question: DeviceQuestion) -> DeviceAnswer {
        let refuse = |kind: DeviceRefusalKind| Said::Refusal(DeviceRefusal { kind: kind.into() });
        let outcome = match question.kind.unwrap() {
            Asked::Begin(begin) => {
                (self.device, self.program) = (begin.device_sha256, begin.program);
                self.grant = None;
                Said::Begun(DeviceBegun {
                    user_code: CODE.to_owned(),
                    expires_in_s: 600,
                    interval_s: 5,
                })
            }
            Asked::Find(find) if find.user_code == CODE => Said::Found(DeviceFound {
                device_sha256: self.device.clone(),
                program: self.program.clone(),
                client: "192.0.2.77".to_owned(),
                age_s: 70,
            }),
            Asked::Find(_) => {
                self.wrong += 1;
                refuse(if self.wrong > 2 {
                    DeviceRefusalKind::TooMany
                } else {
                    DeviceRefusalKind::Unknown
                })
            }
            Asked::Decide(decide) => {
                assert_eq!(decide.device_sha256, self.device);
                self.grant = Some(decide.grant);
                Said::Decided(DeviceDecided {})
            }
            Asked::Poll(poll) => {
                let is_known = poll.device_sha256 == self.device;
                let state = match &self.grant {
                    _ if !is_known => DeviceState::Expired,
                    None => DeviceState::Pending,
                    Some(grant) if grant.is_empty() => DeviceState::Denied,
                    Some(_) => DeviceState::Granted,
                };
                Said::Polled(DevicePolled {
                    state: state.into(),
                    grant: self.grant.clone().unwrap_or_default(),
                })
            }
        };
        DeviceAnswer {
            outcome: Some(outcome),
        }
    }
}

/// Posts a form as a terminal does, without a cookie.
async fn post(fabric: &Fabric, path: &str, token: Option<&str>, form: &str) -> (u16, Value) {
    let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
    let fields = format!(
        "{FORM}{}content-length: {}\r\n",
        token.unwrap_or_default(),
        form.len()
    );
    let line = format!("POST {path}");
    let mut terminal = Browser::default();
    let reply = terminal.send(fabric, AUTH, &line, &fields, form).await;
    let body = serde_json::from_str(&reply.body).unwrap();
    (reply.status, body)
}

async fn begin(fabric: &Fabric) -> String {
    let (status, begun) = post(fabric, "/device/authorize", None, "client_id=adit+<on>+x").await;
    assert_eq!(status, 200, "{begun}");
    assert_eq!(begun["user_code"], "BCDF-GHJK");
    let page = format!("https://{AUTH}/device");
    assert_eq!(begun["verification_uri"], page);
    assert!(begun.get("verification_uri_complete").is_none(), "{begun}");
    begun["device_code"].as_str().unwrap().to_owned()
}

async fn poll(fabric: &Fabric, device_code: &str) -> (u16, Value) {
    let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code";
    let form = format!("{grant}&device_code={device_code}");
    post(fabric, "/device/token", None, &form).await
}

/// Fills in a form of the page: with its token, and the code that it has, if it has one.
async fn submit(
    browser: &mut Browser,
    fabric: &Fabric,
    path: &str,
    page: &Reply,
    typed: &str,
) -> Reply {
    let token = page.hidden("token");
    let body = format!("token={token}&{typed}");
    let fields = format!(
        "{NAVIGATION}origin: https://{AUTH}\r\n{FORM}content-length: {}\r\n",
        body.len()
    );
    let line = format!("POST {path}");
    browser.send(fabric, AUTH, &line, &fields, &body).await
}

/// A browser in which alice has signed in, at the page where codes are typed.
async fn at_the_page(fabric: &Fabric) -> (Browser, Reply) {
    let mut browser = Browser::default();
    let page = format!("https://{AUTH}/device");
    let (end, page) = browser.sign_in(fabric, &page, "alice").await;
    assert_eq!(end, "/device", "back from the sign-in");
    assert!(page.body.contains("Sign in a terminal"), "{page:?}");
    (browser, page)
}

/// A terminal's token, and the browser that let it in.
pub(super) async fn let_in(fabric: &Fabric) -> (String, Browser) {
    let device_code = begin(fabric).await;
    let (mut browser, page) = at_the_page(fabric).await;
    let page = submit(&mut browser, fabric, "/device", &page, "code=bcdfghjk").await;
    assert_eq!(page.status, 200, "{page:?}");
    let typed = format!("code={}&answer=allow", page.hidden("code"));
    let page = submit(&mut browser, fabric, "/device/confirm", &page, &typed).await;
    assert!(page.body.contains("The terminal is signed in"), "{page:?}");
    let (status, granted) = poll(fabric, &device_code).await;
    assert_eq!(status, 200, "{granted}");
    assert_eq!(granted["user"], "alice");
    assert_eq!(granted["token_type"], "Bearer");
    let left = granted["expires_in"].as_i64().unwrap();
    assert!((43_000..=43_220).contains(&left), "{granted}");
    let token = granted["access_token"].as_str().unwrap();
    assert!(token.starts_with("adit_tt_"), "{token}");
    (token.to_owned(), browser)
}

pub(super) async fn app_token(fabric: &Fabric, terminal: &str, host: &str) -> (u16, Value) {
    let form = format!("host={host}");
    post(fabric, "/device/app-token", Some(terminal), &form).await
}

async fn ask(fabric: &Fabric, host: &str, token: &str) -> Reply {
    let fields = format!("authorization: Bearer {token}\r\n");
    Browser::default().ask(fabric, host, "GET /", &fields).await
}

#[tokio::test]
async fn a_terminal_is_let_in_and_uses_an_app_as_its_user() {
    let fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let (terminal, _) = let_in(&fabric).await;
    let (status, made) = app_token(&fabric, &terminal, HOST).await;
    assert_eq!((status, &made["expires_in"]), (200, &600.into()));
    let token = made["access_token"].as_str().unwrap();
    assert!(token.starts_with("adit_at_"), "{token}");
    let reply = ask(&fabric, HOST, token).await;
    assert_eq!((reply.status, &*reply.body), (200, "from the origin"));
    let fields = format!("adit-authorization: Bearer {token}\r\n");
    let who = Browser::default()
        .ask(&fabric, HOST, "GET /.adit/identity", &fields)
        .await;
    assert!(who.body.starts_with("{\"user\":\"alice\","), "{who:?}");
    // What the terminal keeps is for the sign-in host alone, and an app's token for that app.
    for (host, token) in [(HOST, &*terminal), (CRM, token)] {
        let reply = ask(&fabric, host, token).await;
        assert_eq!(reply.status, 401, "{reply:?}");
        assert!(reply.body.contains("bad_token"), "{reply:?}");
    }
    // Of who is not assigned.
    let (_, made) = app_token(&fabric, &terminal, CRM).await;
    let reply = ask(&fabric, CRM, made["access_token"].as_str().unwrap()).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    // Ten minutes later it is good for nothing, and the terminal gets another.
    fabric.clock.move_wall(Duration::from_secs(601));
    assert_eq!(ask(&fabric, HOST, token).await.status, 401);
    let (_, made) = app_token(&fabric, &terminal, HOST).await;
    let again = made["access_token"].as_str().unwrap();
    assert_eq!(ask(&fabric, HOST, again).await.status, 200);
    fabric.clock.move_wall(Duration::from_secs(12 * 3_600));
    assert_eq!(app_token(&fabric, &terminal, HOST).await.0, 401);
}

#[tokio::test]
async fn a_token_of_some_minutes_never_becomes_a_cookie() {
    let mut fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let (terminal, _) = let_in(&fabric).await;
    rules::limit_idling(&mut fabric, 3);
    // Time for a browser's cookie to be renewed; and then too much of it, as a terminal that gets tokens shows nobody.
    for (seconds, status) in [(300, 200), (330, 401)] {
        fabric.clock.move_wall(Duration::from_secs(seconds));
        let (_, made) = app_token(&fabric, &terminal, HOST).await;
        let reply = ask(&fabric, HOST, made["access_token"].as_str().unwrap()).await;
        assert_eq!(reply.status, status, "{reply:?}");
        assert_eq!(reply.field("set-cookie"), None, "{reply:?}");
    }
}

#[tokio::test]
async fn a_terminal_that_is_signed_in_in_another_way_is_told_so() {
    let mut fabric = fabric().await;
    let (terminal, _) = let_in(&fabric).await;
    let (_, made) = app_token(&fabric, &terminal, HOST).await;
    fabric.change_app(|app| app.identity_providers = vec!["entra".to_owned()]);
    fabric.publish(3);
    let reply = ask(&fabric, HOST, made["access_token"].as_str().unwrap()).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    for part in ["not_assigned", "with an account of the fabric's own"] {
        assert!(reply.body.contains(part), "{part}: {reply:?}");
    }
}

#[tokio::test]
async fn the_user_is_told_who_asks_and_may_refuse() {
    let fabric = fabric().await;
    let device_code = begin(&fabric).await;
    assert_eq!(poll(&fabric, &device_code).await.0, 400);
    let (mut browser, page) = at_the_page(&fabric).await;
    assert!(page.body.contains("Has somebody sent you a code?"));
    let page = submit(&mut browser, &fabric, "/device", &page, "code=BCDF-GHJK").await;
    for part in [
        "adit &lt;on&gt; x",
        "192.0.2.77",
        "about 2 minutes ago",
        "not the address that you come from",
        "Alice &lt;b&gt;",
    ] {
        assert!(page.body.contains(part), "{part} is missing in {page:?}");
    }
    let pending = poll(&fabric, &device_code).await.1;
    assert_eq!(pending["error"], "authorization_pending");
    let typed = "code=BCDF-GHJK&answer=refuse";
    let page = submit(&mut browser, &fabric, "/device/confirm", &page, typed).await;
    assert!(page.body.contains("The terminal was refused"), "{page:?}");
    let (status, denied) = poll(&fabric, &device_code).await;
    assert_eq!((status, &denied["error"]), (400, &"access_denied".into()));
    let want = ["alice", "terminal", "", ""].map(str::to_owned);
    assert_eq!(told(&fabric, SignInKind::Refused), [want]);
}

#[tokio::test]
async fn signing_out_in_the_browser_or_in_the_terminal_ends_it() {
    let (mut fabric, mut ends) = fabric_and_ends().await;
    let agent = fabric.agent("a1").await;
    let (terminal, mut browser) = let_in(&fabric).await;
    let (_, made) = app_token(&fabric, &terminal, HOST).await;
    let token = made["access_token"].as_str().unwrap().to_owned();
    let mut waiting = RawUser::connect(&fabric).await;
    waiting
        .write(format!(
            "GET /slow HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
        ))
        .await;
    let _slow = agent.request().await;
    // In the browser.
    let (_, page) = browser
        .open(&fabric, &format!("https://{AUTH}/sign-out"))
        .await;
    submit(&mut browser, &fabric, "/sign-out", &page, "").await;
    let mut end = |session| {
        let revocation = Revocation {
            whose: Some(Whose::Session(session)),
            before_ms: 0,
        };
        fabric.set("revocations/sessions/1", Kind::Revocation(revocation));
        fabric.publish(3);
    };
    end(ends.recv().await.unwrap());
    let answer = waiting.read_to_end().await;
    assert!(answer.contains("session_ended"), "{answer}");
    assert_eq!(app_token(&fabric, &terminal, HOST).await.0, 401);
    assert_eq!(ask(&fabric, HOST, &token).await.status, 401);
}

#[tokio::test]
async fn a_terminal_that_signs_out_leaves_its_browser_signed_in() {
    let (mut fabric, mut ends) = fabric_and_ends().await;
    let (terminal, mut browser) = let_in(&fabric).await;
    let (status, _) = post(&fabric, "/device/sign-out", Some(&terminal), "").await;
    assert_eq!(status, 200);
    let revocation = Revocation {
        whose: Some(Whose::Session(ends.recv().await.unwrap())),
        before_ms: 0,
    };
    fabric.set("revocations/sessions/1", Kind::Revocation(revocation));
    fabric.publish(3);
    assert_eq!(app_token(&fabric, &terminal, HOST).await.0, 401);
    let (_, page) = browser.open(&fabric, &format!("https://{AUTH}/")).await;
    assert!(page.body.contains("You are signed in"), "{page:?}");
    let line = |reason: &str| ["alice", reason, "", ""].map(str::to_owned);
    let came = told(&fabric, SignInKind::SignedIn);
    assert_eq!(came, [line(""), line("terminal")], "she, and her terminal");
    assert_eq!(told(&fabric, SignInKind::SignedOut), [line("terminal")]);
}

#[tokio::test]
async fn pages_of_other_sites_let_nobody_in_and_wrong_codes_are_few() {
    let fabric = fabric().await;
    let device_code = begin(&fabric).await;
    let (mut browser, page) = at_the_page(&fabric).await;
    // Whoever is led here by a form of another site, or of another browser.
    let (_, other) = at_the_page(&fabric).await;
    let body = "code=BCDFGHJK&answer=allow";
    for (origin, token) in [
        (AUTH, String::new()),
        (AUTH, other.hidden("token")),
        ("evil.example", page.hidden("token")),
        (HOST, page.hidden("token")),
    ] {
        let body = format!("token={token}&{body}");
        let fields = format!(
            "{NAVIGATION}origin: https://{origin}\r\n{FORM}content-length: {}\r\n",
            body.len()
        );
        for line in ["POST /device/confirm", "POST /device"] {
            let reply = browser.send(&fabric, AUTH, line, &fields, &body).await;
            assert_eq!(reply.status, 400, "{line} {origin} {reply:?}");
        }
    }
    // Without a session nobody decides anything.
    let mut nobody = Browser::default();
    let fields = format!("{FORM}content-length: {}\r\n", body.len());
    let reply = nobody
        .send(&fabric, AUTH, "POST /device/confirm", &fields, body)
        .await;
    assert_eq!((reply.status, reply.location()), (303, "/device"));
    let pending = poll(&fabric, &device_code).await.1;
    assert_eq!(pending["error"], "authorization_pending");
    for (code, status) in [
        ("", 404),
        ("BCDFGHJKL", 404),
        ("BCDFGHJL", 404),
        ("<script>", 404),
        ("BBBBBBBB", 404),
        ("CCCCCCCC", 429),
    ] {
        let typed = format!("code={code}");
        let reply = submit(&mut browser, &fabric, "/device", &page, &typed).await;
        assert_eq!(reply.status, status, "{code} {reply:?}");
        assert!(!reply.body.contains("<script>"), "{reply:?}");
    }
}

#[tokio::test]
async fn what_terminals_send_is_looked_at() {
    let fabric = fabric().await;
    let long = format!("client_id={}", "x".repeat(65));
    for (path, form, error) in [
        ("/device/authorize", "", "invalid_request"),
        ("/device/authorize", &*long, "invalid_request"),
        ("/device/authorize", "client_id=a%0ab", "invalid_request"),
        ("/device/token", "device_code=x", "unsupported_grant_type"),
        (
            "/device/token",
            "grant_type=authorization_code&code=x",
            "unsupported_grant_type",
        ),
    ] {
        let (status, body) = post(&fabric, path, None, form).await;
        assert_eq!((status, &body["error"]), (400, &error.into()), "{form}");
    }
    let (_, unknown) = poll(&fabric, "never-begun").await;
    assert_eq!(unknown["error"], "expired_token");
    let (terminal, _) = let_in(&fabric).await;
    for host in ["", "evil.example", AUTH, "wiki.example.com:8443", "%00"] {
        let (status, body) = app_token(&fabric, &terminal, host).await;
        let want = (400, &"invalid_target".into());
        assert_eq!((status, &body["error"]), want, "{host}");
    }
    for token in ["", "x", "adit_tt_AAAA", &terminal[..terminal.len() - 2]] {
        let (status, body) = app_token(&fabric, token, HOST).await;
        assert_eq!((status, &body["reason"]), (401, &"bad_token".into()));
    }
    let reply = Browser::default()
        .ask(&fabric, AUTH, "GET /device/token", "")
        .await;
    assert_eq!(reply.status, 404);
}

#[tokio::test]
async fn whoever_asks_without_end_is_told_to_slow_down_before_control_hears_of_it() {
    let fabric = fabric().await;
    let mut told = Vec::new();
    while told.last() != Some(&(400, "slow_down".into())) && told.len() < 1_000 {
        let (status, mut body) = poll(&fabric, "never-begun").await;
        told.push((status, body["error"].take()));
    }
    assert!(told.len() > 100, "{told:?}");
    assert_eq!(told[..100], vec![(400, "expired_token".into()); 100]);
    assert_eq!(told.last(), Some(&(400, "slow_down".into())));
    // Nor is another begun; there may have been time for a few more.
    let mut statuses = Vec::new();
    while statuses.last() != Some(&429) && statuses.len() < 100 {
        let (status, _) = post(&fabric, "/device/authorize", None, "client_id=x").await;
        statuses.push(status);
    }
    assert_eq!(statuses.last(), Some(&429));
}
