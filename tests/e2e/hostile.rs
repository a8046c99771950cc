//! Messages that two parsers could read in two ways are refused or made plain: what an origin gets has one meaning, and it is
//! the one that the edge decided by.
//!
//! The cases stand in `hostile/`. Each goes through a real edge and agent to an origin that reads as strictly as possible and
//! keeps what it got. Each test leaves its table in `target/tmp/hostile/`: case, what the user was told, what the origin saw.

mod conversation;
mod http1;
mod http1_bodies;
mod http1_fields;
mod http2;
mod http3;
mod origins;
mod paths;

use std::{fs::File, io::Write as _, path::Path};

use kit::{
    fabric::Fabric,
    recorder::{Heard, Message, Recorder},
};

/// What is known of a fabric while a case runs.
struct Stage {
    fabric: Fabric,
    origin: Recorder,
    host: String,
}

impl Stage {
    async fn set(id: &str) -> Self {
        let (fabric, origin) = (crate::fabric().await, Recorder::start().await);
        let host = fabric.publish(id, &origin.url()).await;
        origin.take();
        Self {
            fabric,
            origin,
            host,
        }
    }

    /// Fills in the host (`$H`) and the path of the case (`$P`).
    fn fill(&self, text: &[u8], case: usize) -> Vec<u8> {
        let path = format!("/{case}");
        let mut filled = Vec::with_capacity(text.len() + self.host.len());
        let mut rest = text;
        while let [first, after @ ..] = rest {
            rest = match rest {
                [b'$', b'H', after @ ..] => {
                    filled.extend(self.host.as_bytes());
                    after
                }
                [b'$', b'P', after @ ..] => {
                    filled.extend(path.as_bytes());
                    after
                }
                _ => {
                    filled.push(*first);
                    after
                }
            };
        }
        filled
    }

    fn fill_text(&self, text: &str, case: usize) -> String {
        String::from_utf8(self.fill(text.as_bytes(), case)).expect("text stays text")
    }

    /// What the origin saw of whole requests, less those for `/last`, in short.
    fn seen(&self) -> Vec<String> {
        let heard = self.origin.take();
        let whole = heard.iter().filter_map(|heard| match heard {
            Heard::Whole(message) => Some(message),
            Heard::Odd(bytes) => {
                // A body that the user broke off is no request; anything else here would be one that can be misread.
                let text = String::from_utf8_lossy(bytes);
                let head = text.split("\r\n\r\n").next().unwrap_or_default();
                assert!(
                    text.contains("\r\n\r\n") && !head.replace("\r\n", "").contains(['\r', '\n']),
                    "the agent sent what is no HTTP: {text}"
                );
                None
            }
        });
        whole
            .filter(|message| !message.line.ends_with(" /last"))
            .map(|message| summary(message, &self.host, &self.origin.authority()))
            .collect()
    }
}

/// A request in short: line, fields beyond those that the edge makes, body, trailers.
fn summary(message: &Message, host: &str, inner: &str) -> String {
    let (ours, theirs): (Vec<_>, Vec<_>) = message
        .fields
        .iter()
        .partition(|(name, value)| is_ours(name, value, host, inner));
    assert_eq!(ours.len(), 6, "our own fields, once each: {message:?}");
    let text = |fields: &[&(String, String)]| {
        fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let trailers: Vec<_> = message.trailers.iter().collect();
    let body = String::from_utf8_lossy(&message.body);
    let parts = [
        message.line.as_str(),
        &text(&theirs),
        &body,
        &text(&trailers),
    ];
    parts.join(" | ").trim_end_matches([' ', '|']).to_owned()
}

/// Whether a field is one that the edge makes, as it must be for this user.
fn is_ours(name: &str, value: &str, host: &str, inner: &str) -> bool {
    match name {
        "host" => value == inner,
        "x-forwarded-host" => value.eq_ignore_ascii_case(host),
        "x-forwarded-for" => value == "127.0.0.1",
        "x-forwarded-proto" => value == "https",
        "forwarded" => value.starts_with("for=127.0.0.1;host=") && value.ends_with(";proto=https"),
        "x-request-id" => value.len() == 32,
        _ => false,
    }
}

/// The table of one test, in a file of its name.
struct Table(File);

impl Table {
    /// Begins it anew; `last` is what stands beside what the user was told.
    fn new(last: &str) -> Self {
        let thread = std::thread::current();
        let test = thread.name().and_then(|name| name.rsplit("::").next());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile");
        std::fs::create_dir_all(&folder).expect("a folder for tables");
        let path = folder.join(format!("{}.md", test.expect("tests have names")));
        let mut file = File::create(path).expect("a table");
        writeln!(file, "| case | the user was told | {last} |\n|---|---|---|")
            .expect("room for a table");
        Self(file)
    }

    fn row(&mut self, case: &str, told: &str, saw: &[String]) {
        let saw = match saw {
            [] => "nothing".to_owned(),
            saw => saw.join(" and ").escape_debug().to_string(),
        };
        let saw = saw.replace('|', "\\|");
        writeln!(self.0, "| {case} | {told} | {saw} |").expect("room for a row");
    }
}

/// The column of tables about requests.
const SAW: &str = "the origin saw";
