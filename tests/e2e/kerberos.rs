//! Users are signed on to apps of a Kerberos domain, as themselves and as nobody else: a real domain controller, and Apache as the app.

mod accounts;
mod crowd;
mod doctor;
mod id_tokens;
mod outages;
mod own_answers;
mod requests;
mod users;

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
