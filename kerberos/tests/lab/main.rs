//! Against a real KDC and a real application: who gets in as whom, and what a KDC costs that is away.
//!
//! Each test has a lab of its own, and is run in a process of its own, as the library reads its environment.

mod delegation;
mod keeping;
mod outages;
mod slow;

use kerberos::{Ask, Failure, Framing, Kerberos, Mutual, Settings, Spn, Token, UserName};
use kit::kerberos::{Account, App, Lab};

fn settings(lab: &Lab, account: Account) -> Settings {
    let principal = lab.principal(account).parse().expect("a principal");
    Settings::new(principal, lab.keytab(account))
}

fn load(lab: &Lab, account: Account) -> Kerberos {
    Kerberos::load(settings(lab, account)).expect("library and keytab are there")
}

fn upn(name: &str) -> UserName {
    UserName::upn(name).expect("a name")
}

fn ask(user: &UserName, spn: &str) -> Ask {
    Ask {
        user: user.clone(),
        target: Spn::parse(spn).expect("a service"),
        bindings: None,
        framing: Framing::Spnego,
        mutual: true,
    }
}

/// Runs on a runtime that does not wait for exchanges that nothing can stop.
fn on_runtime(paused: bool, work: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(paused).build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(work);
    runtime.shutdown_background();
}

/// Shows a token to an application; whom it took the caller for, and whether it proved itself.
fn show(lab: &Lab, app: App, token: Token) -> (Option<String>, Result<Mutual, Failure>) {
    let visit = lab.visit(app, "/whoami", Some(&token.header));
    let challenge = visit.challenges.first().map(|value| value.as_bytes());
    (visit.user, token.pending.finish(challenge))
}

/// One of many users.
fn crowd(number: usize) -> UserName {
    upn(&format!("crowd{number:04}@lab.test"))
}
