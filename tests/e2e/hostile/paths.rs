//! Access that is scoped to a path: whatever a path looks like, the app that it is routed to is the one that an origin would take
//! it for.

use std::time::Duration;

use kit::{
    frames::{END_STREAM, Frames, Outcome, headers},
    recorder::{Heard, Recorder},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{SAW, Table};

/// How long the edge may take for what it can say at once.
const SOON: Duration = Duration::from_secs(20);

/// Where a target may come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lands {
    /// In the app at `/`, as it was sent.
    Outside,
    /// In the app at `/admin`, as it was sent.
    Admin,
    /// Nowhere: two readings.
    Nowhere,
}

use Lands::{Admin, Nowhere, Outside};

const TARGETS: &[(&str, Lands)] = &[
    ("/public/a", Outside),
    ("/admin", Admin),
    ("/admin/", Admin),
    ("/admin/a?b=/../c", Admin),
    ("/public?x=/../admin", Outside),
    ("/administrator", Outside),
    ("/public/a%20b", Outside),
    ("/public/caf%C3%A9", Outside),
    ("/public/a;v=1", Outside),
    ("/public/100%", Outside),
    ("/public/a%2520b", Outside),
    ("//admin", Nowhere),
    ("/public//admin", Nowhere),
    ("/./admin", Nowhere),
    ("/public/../admin", Nowhere),
    ("/public/..", Nowhere),
    ("/public/%2e%2e/admin", Nowhere),
    ("/public/.%2E/admin", Nowhere),
    ("/public/%252e%252e/admin", Nowhere),
    ("/public/%252e%252e%252fadmin", Nowhere),
    ("/public%2f..%2fadmin", Nowhere),
    ("/%2fadmin", Nowhere),
    ("/public/..%5cadmin", Nowhere),
    ("/public\\..\\admin", Nowhere),
    ("\\admin", Nowhere),
    ("/public/..;/admin", Nowhere),
    ("/public/..;x=1/admin", Nowhere),
    ("/public;x=/../admin", Nowhere),
    ("/public/..%3bx/admin", Nowhere),
    ("/admin;x", Nowhere),
    ("/admin;x/a", Nowhere),
    ("/%61dmin", Nowhere),
    ("/%2561dmin", Nowhere),
    ("/adm%69n/a", Nowhere),
    ("/public/%00/../admin", Nowhere),
    ("/admin%00", Nowhere),
    ("/admin%0a", Nowhere),
    ("/admin%09/a", Nowhere),
    ("/admin%20", Nowhere),
    ("/admin./a", Nowhere),
    ("/admin::$INDEX_ALLOCATION/a", Nowhere),
    ("/Admin", Nowhere),
    ("/ADMIN/a", Nowhere),
    ("/public/%c0%ae%c0%ae/admin", Nowhere),
    ("/public/%c0%af..%c0%afadmin", Nowhere),
    ("/public/%e0%80%ae%e0%80%ae/admin", Nowhere),
    ("/public/%f0%80%80%ae/admin", Nowhere),
    ("/public/%ef%bc%8e%ef%bc%8e/admin", Nowhere),
    ("/public/%e2%80%a5/admin", Nowhere),
    ("/public%ef%bc%8fadmin", Outside),
    ("/public/@scope%2fname", Outside),
    ("/public%2fadmin", Outside),
    ("/admin%2fa", Nowhere),
    ("/admin/a%2fb", Admin),
    ("/public%ef%bc%bcadmin", Nowhere),
    ("/public/%u002e%u002e/admin", Nowhere),
    ("/%ef%bd%81dmin", Nowhere),
];

/// A host with an app at `/` and another at `/admin`.
struct Scoped {
    fabric: kit::fabric::Fabric,
    outside: Recorder,
    admin: Recorder,
    host: String,
}

impl Scoped {
    async fn set() -> Self {
        let fabric = crate::fabric().await;
        let (outside, admin) = (Recorder::start().await, Recorder::start().await);
        let host = fabric.publish("scoped", &outside.url()).await;
        fabric.site().ok(&[
            "app",
            "publish",
            "admin",
            "--host",
            &host,
            "--path",
            "/admin",
            "--origin",
            &admin.url(),
            "--access",
            "passthrough",
        ]);
        kit::process::eventually("the edge knows the app at /admin", async || {
            fabric.user().status(&host, "/admin").await;
            !admin.take().is_empty()
        })
        .await;
        outside.take();
        Self {
            fabric,
            outside,
            admin,
            host,
        }
    }

    /// Where the target came out, and what was told.
    async fn ask(&self, target: &str, h2: bool) -> (Option<Lands>, String) {
        let told = if h2 {
            self.ask_http2(target).await
        } else {
            self.ask_http1(target).await
        };
        let landed = |origin: &Recorder| -> Vec<String> {
            let heard = origin.take().into_iter();
            heard
                .map(|heard| match heard {
                    Heard::Whole(message) => message.line,
                    Heard::Odd(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                })
                .collect()
        };
        let line = format!("GET {target}");
        let lands = match (&landed(&self.outside)[..], &landed(&self.admin)[..]) {
            ([], []) => Some(Nowhere),
            ([one], []) if *one == line => Some(Outside),
            ([], [one]) if *one == line => Some(Admin),
            _ => None,
        };
        (lands, told)
    }

    async fn ask_http1(&self, target: &str) -> String {
        let socket = self.fabric.user().tls(&self.host, b"http/1.1").await;
        let mut socket = socket.expect("the edge takes connections");
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.host
        );
        socket.write_all(head.as_bytes()).await.expect("open");
        let mut answer = String::new();
        // The edge may close without a farewell.
        let _ = socket.read_to_string(&mut answer).await;
        answer.get(9..12).unwrap_or("closed").to_owned()
    }

    async fn ask_http2(&self, target: &str) -> String {
        let socket = self.fabric.user().tls(&self.host, b"h2").await;
        let socket = socket.expect("the edge takes connections");
        let mut frames = Frames::start(socket).await.expect("the edge speaks HTTP/2");
        let fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", &self.host),
            (":path", target),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        frames.send(&headers(1, END_STREAM, &fields)).await;
        match frames.outcome(1).await {
            Outcome::Answer(status, _) => status.to_string(),
            Outcome::Reset(_) => "reset".to_owned(),
            Outcome::Gone(_) => "closed".to_owned(),
        }
    }
}

#[tokio::test]
async fn paths_with_two_readings_never_leave_the_app_that_they_look_like() {
    let stage = Scoped::set().await;
    let mut differ = Vec::new();
    let mut table = Table::new(SAW);
    for (target, want) in TARGETS {
        for h2 in [false, true] {
            let (lands, told) = timeout(SOON, stage.ask(target, h2)).await.expect("in time");
            let name = format!("{target} over {}", if h2 { "h2" } else { "h1" });
            let seen = lands
                .filter(|lands| *lands != Nowhere)
                .map(|lands| format!("{lands:?}"));
            table.row(&name, &told, seen.as_slice());
            let refused = ["400", "reset"].contains(&told.as_str());
            if lands != Some(*want) || refused != (*want == Nowhere) {
                differ.push(format!("{name}: {told}, lands {lands:?}, wanted {want:?}"));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
