//! How many tokens and how many new users a second, and what a kept user takes, against a running lab:
//!
//! ```sh
//! eval "$(LAB_CROWD=1000 tests/kit/kerberos/up)"
//! cargo run --release -p adit-kerberos --example rates
//! tests/kit/kerberos/down
//! ```

#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::{env, fs, sync::Arc, thread, time::Duration};

use futures_util::{StreamExt as _, stream};
use kerberos::{Ask, Framing, Kerberos, Settings, Spn, UserName};
use tokio::time::Instant;

/// How many users come at the same time.
const AT_ONCE: usize = 16;
/// How long tokens are made.
const MAKE_FOR: Duration = Duration::from_secs(5);
/// Tokens after which the memory is looked at again.
const MANY_TOKENS: usize = 30_000;

#[tokio::main]
async fn main() {
    let asks = asks();
    let kerberos = load();
    let began = Instant::now();
    kerberos.agent_ticket().await.expect("the lab is up");
    println!("the agent's own ticket: {:?}", began.elapsed());

    let (before, began) = (resident_kib(), Instant::now());
    let fetched = stream::iter(asks.clone()).map(|ask| kerberos.token(ask));
    let mut fetched = fetched.buffer_unordered(AT_ONCE);
    while let Some(token) = fetched.next().await {
        token.expect("the crowd may sign on");
    }
    let (took, users) = (began.elapsed(), asks.len());
    println!("new users: {:.0} a second", rate(users, took));
    let kib = resident_kib().saturating_sub(before);
    println!(
        "memory: {:.1} KiB a user, of {users}",
        kib as f64 / users as f64
    );

    let asks: Arc<[Ask]> = asks.into();
    for threads in [1, 2, 4] {
        println!(
            "tokens: {:.0} a second on {threads} threads",
            tokens(&kerberos, &asks, threads)
        );
    }
    let before = resident_kib();
    for ask in asks.iter().cycle().take(MANY_TOKENS) {
        kerberos
            .token(ask.clone())
            .await
            .expect("its ticket is kept");
    }
    let more = resident_kib().saturating_sub(before);
    println!("memory after {MANY_TOKENS} tokens: {more} KiB more");
    println!("{:?}", kerberos.stats());
}

fn load() -> Kerberos {
    let principal = variable("LAB_AGENT_PRINCIPAL").parse();
    let principal = principal.expect("the lab names one");
    let settings = Settings::new(principal, variable("LAB_AGENT_KEYTAB"));
    Kerberos::load(settings).expect("library and keytab are there")
}

fn asks() -> Vec<Ask> {
    let count: usize = variable("LAB_CROWD").parse().expect("a number");
    assert!(count > 0, "start the lab with LAB_CROWD=1000");
    let target = Spn::parse(&variable("LAB_APP_SPN")).expect("the lab names one");
    let domain = variable("LAB_REALM").to_lowercase();
    let users = (0..count).map(|number| UserName::upn(&format!("crowd{number:04}@{domain}")));
    users
        .map(|user| Ask {
            user: user.expect("a name"),
            target: target.clone(),
            bindings: None,
            framing: Framing::Spnego,
            mutual: false,
        })
        .collect()
}

/// Tokens a second from tickets that are kept, by threads of their own.
fn tokens(kerberos: &Kerberos, asks: &Arc<[Ask]>, threads: usize) -> f64 {
    let began = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|worker| {
            let (kerberos, asks) = (kerberos.clone(), Arc::clone(asks));
            thread::spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                runtime
                    .enable_time()
                    .build()
                    .expect("a runtime")
                    .block_on(async {
                        let mut made = 0;
                        for ask in asks.iter().cycle().skip(worker * 7) {
                            if began.elapsed() >= MAKE_FOR {
                                break;
                            }
                            kerberos
                                .token(ask.clone())
                                .await
                                .expect("its ticket is kept");
                            made += 1;
                        }
                        made
                    })
            })
        })
        .collect();
    let made: usize = workers
        .into_iter()
        .map(|worker| worker.join().expect("it does not panic"))
        .sum();
    rate(made, began.elapsed())
}

fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

fn variable(name: &str) -> String {
    env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: start the lab as the top of this file says"))
}
