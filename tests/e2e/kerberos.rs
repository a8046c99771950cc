//! Users are signed on to apps of a Kerberos domain, as themselves and as nobody else: a real domain controller, and Apache as the app.
//!
//! What holds, and which test says so: a lab takes seconds to start, so that many share one, each a function of its own.
//!
//! | what holds | in | by |
//! |---|---|---|
//! | alice gets in as herself, also where the agent was started with `KRB5CCNAME` of bsmith | `tests/e2e/kerberos/users.rs` | `alice_is_herself_whatever_tickets_the_agent_was_started_with` |
//! | bob by his principal name of another suffix, bsmith by account, alice by her local part | `tests/e2e/kerberos/users.rs` | `users_are_known_by_principal_name_or_by_account` |
//! | carol, dave, and somebody unknown: 403, and the log says why | `tests/e2e/kerberos/users.rs` | `carol_dave_and_unknown_are_refused_and_operators_know_why` |
//! | a service that the agent may not delegate to: 403; ghost: 502; an app with old keys: 502, and 44 in the log | `tests/e2e/kerberos/users.rs` | `services_that_are_none_or_not_the_agents_are_named` |
//! | a token of 9 KB: the app's own 400, told as that in the log | `tests/e2e/kerberos/users.rs` | `a_token_too_long_for_the_app_is_told_as_that` |
//! | an app with a cookie session asks for one token | `tests/e2e/kerberos/users.rs` | `a_session_of_the_apps_own_takes_one_token` |
//! | an app that must prove itself, and does not | `tests/e2e/kerberos/users.rs` | `an_app_that_must_prove_itself_is_refused_without` |
//! | apps that take NTLM or Basic alone: one request, no loop | `tests/e2e/kerberos/own_answers.rs` | `of_apps` |
//! | agents without protocol transition, without delegation, with an old keytab, with none: words of their own | `tests/e2e/kerberos/accounts.rs` | `each_account_that_cannot_sign_anybody_on_has_words_of_its_own` |
//! | an agent without any account | `tests/e2e/kerberos/accounts.rs` | `an_agent_without_an_account_says_so_and_serves_other_apps` |
//! | the same by the doctor, stage by stage | `tests/e2e/kerberos/doctor.rs` | `the_doctor_names_the_stage_of_a_sign_on_that_fails` |
//! | exactly one `Negotiate`, each time another, and the user's own removed | `tests/e2e/kerberos/requests.rs` | `one_token_goes_and_nothing_of_the_users_own` |
//! | bodies with and without length, large ones | `tests/e2e/kerberos/requests.rs` | `bodies_arrive_whole_with_and_without_length` |
//! | an app that refuses a ticket while a body is on its way | `tests/e2e/kerberos/requests.rs` | `a_ticket_that_is_refused_is_told_in_the_midst_of_an_upload` |
//! | users of HTTP/2 at an app of HTTP/1.1 | `tests/e2e/kerberos/requests.rs` | `users_of_http2_reach_an_app_of_http1` |
//! | WebSockets behind the app's sign-in | `tests/e2e/kerberos/requests.rs` | `websockets_open_behind_the_sign_in` |
//! | twenty users and nobody at an app that signs connections on | `tests/e2e/kerberos/crowd.rs` | `nobody_is_ever_taken_for_another` |
//! | no controller: 504 within 6 s, users with tickets go on | `tests/e2e/kerberos/outages.rs` | `a_controller_that_is_stopped_is_told_at_once_and_users_with_tickets_go_on` |
//! | a silent one: other apps are as fast as ever | `tests/e2e/kerberos/outages.rs` | `a_silent_controller_costs_those_who_wait_for_it_and_nobody_else` |
//! | it is back: nobody restarts anything | `tests/e2e/kerberos/outages.rs` | `is_signed_on_again_without_a_restart` |
//! | tokens are bound to the app's certificate (`tls-server-end-point`) | `tests/e2e/kerberos/bound.rs` | `the_app_takes_a_token_that_is_bound_to_its_certificate` |
//! | who sits in between with another certificate gains nothing | `tests/e2e/kerberos/bound.rs` | `nobody_in_between_can_pass_a_token_on` |
//! | a wildcard SPN is each origin's own | `tests/e2e/kerberos/bound.rs` | `each_origin_of_a_wildcard_is_a_service_of_its_own` |
//! | a hundred users at once are a hundred fetches | `kerberos/tests/lab/keeping.rs` | `a_hundred_users_at_once_are_one_fetch_each` |
//! | tickets end, by a short `ticket_lifetime` too | `kerberos/tests/lab/keeping.rs` | `a_short_life_ends` |
//! | a token is good once | `kerberos/tests/lab/delegation.rs` | `answers_that_are_none` |
//! | users do not wait for each other's exchanges | `kerberos/tests/lab/slow.rs` | `users_do_not_wait_for_each_others_exchanges` |
//! | Chromium, a real OpenID provider, and nobody else knows the password | `tests/conformance/test_kerberos.py` | `test_chromium_gets_users_of_a_provider_into_an_app_of_a_kerberos_domain` |
//! | a native app with the provider's access token | `tests/conformance/test_kerberos.py` | `test_a_native_app_with_a_token_of_the_provider_is_its_user_to_the_app` |
//! | its WebSockets | `tests/conformance/test_kerberos.py` | `test_a_native_app_opens_a_websocket_of_the_app` |
//! | SPNEGO is read as it is written | `kerberos/src/spnego.rs` | `answers_have_state_and_token` |
//! | names of users are one name or none | `kerberos/src/name.rs` | `names_are_one_name_or_none` |
//! | bindings are the hash of the certificate's signature | `kerberos/src/bindings.rs` | `bindings_take_the_hash_of_the_signature` |
//! | numbers of errors have kind, blame and reason | `kerberos/src/failure.rs` | `errors_have_kind_blame_and_number` |
//! | the breaker | `kerberos/src/breaker.rs` | `three_timeouts_in_a_row_open_it_for_ten_seconds` |
//! | an app that asks for ID tokens: alice and bob by theirs, nobody by the edge's word, and the provider's keys change | `tests/e2e/kerberos/id_tokens.rs` | `nobody_is_signed_on_but_by_the_word_of_their_identity_provider` |
//!
//! `tests/fuzz/fuzz_targets/spnego.rs` feeds the reader of an app's answers with what nobody would send.

mod accounts;
mod bound;
mod crowd;
mod doctor;
mod id_tokens;
mod outages;
mod own_answers;
mod requests;
mod tested;
mod users;

use std::{net::SocketAddr, path::Path, time::Duration};

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

/// The names are those of the fabric's own accounts.
const OF_LOCAL: [&str; 2] = ["--sso-identity-provider", "local"];
/// Tokens go where the app asks for them.
const ON_CHALLENGE: [&str; 1] = ["--sso-on-challenge"];

/// A fabric whose agent has an account in the lab's domain.
struct Domain {
    lab: Lab,
    fabric: Fabric,
}

impl Domain {
    /// `variables` are the agent's, besides its own.
    async fn start(lab: Lab, variables: &[String]) -> Self {
        Self::start_by(lab, &[&["env".to_owned()][..], variables].concat()).await
    }

    /// The same, with an agent that is run by a command.
    async fn start_by(lab: Lab, by: &[String]) -> Self {
        let site = Site::new(crate::adit());
        let control = site.start_control().await;
        let mut edge = site.start_edge();
        edge.ready().await;
        let keytab = lab.keytab(Account::Good);
        let account = (Account::Good, &*keytab);
        let mut agent = start_agent(&site, &lab, account, ("default", "a1"), by);
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

/// Starts the agent `name` of a group, with an account and its keytab.
fn start_agent(
    site: &Site,
    lab: &Lab,
    (account, keytab): (Account, &Path),
    (group, name): (&str, &str),
    by: &[String],
) -> Process {
    let krb5_conf = lab.krb5_conf();
    let flags = [
        "--kerberos-principal",
        &lab.principal(account),
        "--kerberos-keytab",
        text(keytab),
        "--krb5-conf",
        text(&krb5_conf),
    ];
    site.start_agent_by(by, group, name, &flags)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
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

/// How the agent's log names the stage and the number of a failure.
fn failed(stage: &str, number: i32) -> [String; 2] {
    [
        format!("\"stage\":\"{stage}\""),
        format!("\"number\":{number},"),
    ]
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

#[test]
fn each_row_of_the_table_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows = include_str!("kerberos.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .skip(1);
    let mut count = 0;
    for row in rows {
        let words: Vec<_> = row.split('`').rev().collect();
        let [_, name, _, file, ..] = words[..] else {
            panic!("{row} names no test");
        };
        let text = std::fs::read_to_string(root.join(file));
        let text = text.unwrap_or_else(|error| panic!("{file}: {error}"));
        let [rust, python] = [format!("fn {name}("), format!("def {name}(")];
        assert!(text.contains(&rust) || text.contains(&python), "{row}");
        count += 1;
    }
    assert!(count > 30, "only {count} rows are read");
}
