//! Sign-ins that belong to a connection: an origin that takes whoever speaks on it for the one who signed on there.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use proto::tunnel::RequestHead;
use tokio::io::AsyncWriteExt as _;
use tunnel::fields;

use crate::{
    edge::{Answer, Bench, app, final_head, get, post, view},
    origin::{ScriptedOrigin, read_body, read_head, read_to_close},
};

/// How the first message of NTLM begins (MS-NLMP, section 2.2.1.1), in base64.
const NEGOTIATE_MESSAGE: &str = "TlRMTVNTUAABAAAA";

/// Speaks something like NTLM in three legs, and says who is signed on to the connection.
async fn ntlm() -> ScriptedOrigin {
    ScriptedOrigin::start(|mut stream, number| async move {
        let mut user = None;
        while let Some(head) = read_head(&mut stream).await {
            let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
            let length = field("content-length: ").map_or(0, |length| length.parse().unwrap());
            let body = String::from_utf8(read_body(&mut stream, length).await).unwrap();
            let mut challenge = "NTLM".to_owned();
            // The answer that completes a sign-in by Negotiate brings a last token (RFC 4559, section 5).
            let mut last_word = "";
            if let Some(token) = field("authorization: ntlm ") {
                user = None;
                let answer = token.strip_prefix("answer-");
                match answer.and_then(|answer| answer.split_once('-')) {
                    Some((name, nonce)) if nonce == number.to_string() => {
                        user = Some(name.to_owned());
                        last_word = "www-authenticate: Negotiate done\r\n";
                    }
                    _ => challenge = format!("NTLM challenge-{number}"),
                }
            }
            if user.is_some() && head.starts_with("get /events ") {
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
                stream.write_all(head).await.unwrap();
                read_to_close(&mut stream).await;
                return;
            }
            let answer = match &user {
                Some(user) => {
                    let said = format!("{user}:{body}");
                    format!(
                        "HTTP/1.1 200 OK\r\n{last_word}content-length: {}\r\n\r\n{said}",
                        said.len()
                    )
                }
                None => format!(
                    "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: {challenge}\r\ncontent-length: 4\r\n\r\nwho?"
                ),
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

/// Somebody's connection to an edge.
struct User<'a> {
    bench: &'a Bench,
    connection: [u8; 16],
    name: &'static str,
}

impl User<'_> {
    async fn ask(&self, head: RequestHead, token: Option<String>, body: &'static [u8]) -> Answer {
        let mut map = HeaderMap::new();
        if let Some(token) = token {
            let value = HeaderValue::try_from(format!("NTLM {token}")).unwrap();
            map.insert("authorization", value);
        }
        let head = RequestHead {
            fields: fields::encode(&map).unwrap(),
            user_connection: Bytes::copy_from_slice(&self.connection),
            // HTTP/2, which has many requests at once.
            http_version: 20,
            ..head
        };
        self.bench.ask(head, body).await
    }

    async fn get(&self) -> Answer {
        self.ask(get("/"), None, b"").await
    }

    /// The second leg; gives the challenge.
    async fn begin(&self) -> String {
        let answer = self
            .ask(get("/"), Some(NEGOTIATE_MESSAGE.to_owned()), b"")
            .await;
        assert_eq!(answer.status(), 401);
        let challenge = answer.fields()["www-authenticate"]
            .to_str()
            .unwrap()
            .to_owned();
        challenge
            .strip_prefix("NTLM challenge-")
            .unwrap()
            .to_owned()
    }

    /// The third leg, with a body.
    async fn finish(&self, challenge: &str) {
        let token = format!("answer-{}-{challenge}", self.name);
        let answer = self.ask(post("/", Some(4)), Some(token), b"body").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text(), format!("{}:body", self.name));
    }
}

#[tokio::test]
async fn a_signed_on_connection_serves_its_own_user_and_nobody_else() {
    let origin = ntlm().await;
    let bench = Bench::of(&origin.url()).await;
    let user = |name, number| User {
        bench: &bench,
        connection: [number; 16],
        name,
    };
    let (alice, bob, eve) = (user("alice", 1), user("bob", 2), user("eve", 3));
    assert_eq!(alice.get().await.status(), 401);
    assert_eq!(bob.get().await.status(), 401);
    let (for_alice, for_bob) = (alice.begin().await, bob.begin().await);
    assert_ne!(for_alice, for_bob);
    alice.finish(&for_alice).await;
    bob.finish(&for_bob).await;
    for _ in 0..10 {
        assert_eq!(alice.get().await.text(), "alice:");
        assert_eq!(bob.get().await.text(), "bob:");
        assert_eq!(eve.get().await.status(), 401);
        // A user whose connection the edge does not tell.
        assert_eq!(bench.get("/").await.status(), 401);
    }
}

#[tokio::test]
async fn requests_of_one_user_take_turns_on_its_connection() {
    let origin = ntlm().await;
    let bench = Bench::of(&origin.url()).await;
    let alice = User {
        bench: &bench,
        connection: [1; 16],
        name: "alice",
    };
    let challenge = alice.begin().await;
    alice.finish(&challenge).await;
    let answers = futures_util::future::join_all((0..20).map(|_| alice.get())).await;
    assert!(answers.iter().all(|answer| answer.text() == "alice:"));
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_long_answer_holds_up_none_of_its_users_other_requests() {
    let origin = ntlm().await;
    let bench = Bench::of(&origin.url()).await;
    let alice = User {
        bench: &bench,
        connection: [1; 16],
        name: "alice",
    };
    let challenge = alice.begin().await;
    alice.finish(&challenge).await;
    let head = RequestHead {
        user_connection: Bytes::copy_from_slice(&alice.connection),
        ..get("/events")
    };
    let (mut send, mut recv) = bench.open(head).await;
    send.end(Default::default()).await.unwrap();
    assert_eq!(final_head(&mut recv).await.status, 200);
    // Its connection is taken, so another one is signed on.
    let clock = runtime::Clock::system();
    let began = clock.now();
    assert_eq!(alice.get().await.status(), 401);
    let challenge = alice.begin().await;
    alice.finish(&challenge).await;
    for _ in 0..3 {
        assert_eq!(alice.get().await.text(), "alice:");
    }
    let took = clock.now() - began;
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn sign_ins_of_one_user_at_once_do_not_mix() {
    let origin = ntlm().await;
    let bench = Bench::of(&origin.url()).await;
    let alice = User {
        bench: &bench,
        connection: [1; 16],
        name: "alice",
    };
    let sign_in = async || {
        assert_eq!(alice.get().await.status(), 401);
        let challenge = alice.begin().await;
        // The others begin meanwhile.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        alice.finish(&challenge).await;
    };
    futures_util::future::join_all((0..20).map(|_| sign_in())).await;
    assert_eq!(alice.get().await.text(), "alice:");
}

#[tokio::test]
async fn a_sign_in_that_is_given_up_holds_up_the_next_for_a_moment_only() {
    let origin = ntlm().await;
    let bench = Bench::of(&origin.url()).await;
    let alice = User {
        bench: &bench,
        connection: [1; 16],
        name: "alice",
    };
    alice.begin().await;
    let challenge = alice.begin().await;
    alice.finish(&challenge).await;
    assert_eq!(alice.get().await.text(), "alice:");
}

#[tokio::test]
async fn a_long_answer_to_the_last_leg_holds_up_no_other_sign_in() {
    let origin = ntlm().await;
    let bench = Bench::of(&origin.url()).await;
    let alice = User {
        bench: &bench,
        connection: [1; 16],
        name: "alice",
    };
    let challenge = alice.begin().await;
    let token = format!("NTLM answer-alice-{challenge}");
    let mut map = HeaderMap::new();
    map.insert("authorization", HeaderValue::try_from(token).unwrap());
    let head = RequestHead {
        fields: fields::encode(&map).unwrap(),
        user_connection: Bytes::copy_from_slice(&alice.connection),
        ..get("/events")
    };
    let (mut send, mut recv) = bench.open(head).await;
    send.end(Default::default()).await.unwrap();
    assert_eq!(final_head(&mut recv).await.status, 200);
    let challenge = alice.begin().await;
    alice.finish(&challenge).await;
    assert_eq!(alice.get().await.text(), "alice:");
}

#[tokio::test]
async fn without_a_word_on_the_users_connection_nothing_is_kept() {
    let origin = ntlm().await;
    let bench = Bench::of(&origin.url()).await;
    let mut map = HeaderMap::new();
    map.insert(
        "authorization",
        HeaderValue::from_static("NTLM answer-mallory-0"),
    );
    let head = RequestHead {
        fields: fields::encode(&map).unwrap(),
        ..get("/")
    };
    assert_eq!(bench.ask(head, b"").await.text(), "mallory:");
    assert_eq!(bench.get("/").await.status(), 401);
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn pinned_connections_are_counted() {
    let scope = runtime::Scope::root();
    let rendered = runtime::telemetry::install_metrics(&scope).unwrap();
    let origin = ntlm().await;
    let bench = Bench::of(&origin.url()).await;
    let alice = User {
        bench: &bench,
        connection: [1; 16],
        name: "alice",
    };
    alice.begin().await;
    let text = rendered.render();
    assert!(text.contains("agent_pinned_connections 1"), "{text}");
}

#[tokio::test]
async fn a_signed_on_connection_ends_when_the_app_has_moved_elsewhere() {
    let (before, after) = (ntlm().await, ntlm().await);
    let bench = Bench::of(&before.url()).await;
    let alice = User {
        bench: &bench,
        connection: [1; 16],
        name: "alice",
    };
    let challenge = alice.begin().await;
    alice.finish(&challenge).await;
    let edges = [("e1", bench.edge.addresses())];
    bench
        .views
        .store(view(vec![app("app", &[&after.url()])], &edges));
    assert_eq!(alice.get().await.status(), 401);
    assert_eq!(after.connections(), 1);
}
