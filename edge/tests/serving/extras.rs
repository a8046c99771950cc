//! What operators ask for in front of an app: several sites, rules for answers, CORS, notices, and the edge's own pages.

use proto::{
    fabric::{AnswerRules, CorsRule, EdgeSegment, Field, Hsts, Maintenance, answer_rules::Robots},
    tunnel::{End, RequestHead, ResponseHead},
};
use tunnel::frame::Frame;

use crate::{
    fabric::{Agent, Fabric, HOST},
    user::RawUser,
};

const SHOP: &str = "https://shop.example";

/// One request with these further lines, and the whole answer.
async fn ask(fabric: &Fabric, line: &str, fields: &str) -> String {
    ask_host(fabric, HOST, line, fields).await
}

async fn ask_host(fabric: &Fabric, host: &str, line: &str, fields: &str) -> String {
    let mut user = RawUser::connect(fabric).await;
    user.write(format!(
        "{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{fields}\r\n"
    ))
    .await;
    user.read_to_end().await
}

/// Answers the next request with these fields; gives the request's head.
async fn origin(
    agent: &Agent,
    status: u32,
    fields: &[(&'static str, &'static str)],
) -> RequestHead {
    let mut asked = agent.request().await;
    let mut map = http::HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, http::HeaderValue::from_static(value));
    }
    let head = ResponseHead {
        status,
        fields: tunnel::fields::encode(&map).unwrap(),
        body_length: Some(0),
        ..ResponseHead::default()
    };
    asked.send.queue(head).unwrap();
    asked.send.queue(Frame::End(End::default())).unwrap();
    asked.send.flush().await.unwrap();
    asked.head
}

fn cors(path: &str) -> CorsRule {
    CorsRule {
        path: path.to_owned(),
        origins: vec![SHOP.to_owned()],
        methods: vec!["PUT".to_owned()],
        fields: vec!["content-type".to_owned()],
        exposed_fields: vec!["etag".to_owned()],
        credentials: true,
        max_age_s: 600,
    }
}

fn has(answer: &str, lines: &[&str]) {
    for line in lines {
        assert!(answer.contains(&format!("{line}\r\n")), "{line}: {answer}");
    }
}

fn has_not(answer: &str, words: &[&str]) {
    for word in words {
        assert!(!answer.contains(word), "{word}: {answer}");
    }
}

#[tokio::test]
async fn a_segment_is_named_to_the_agent_and_nothing_else_is_reachable() {
    let mut fabric = Fabric::start().await;
    fabric.change_app(|app| {
        app.hosts.clear();
        app.segments = vec![EdgeSegment {
            identity_fields: Vec::new(),
            id: "api".to_owned(),
            hosts: vec!["*.example.com".to_owned()],
            path: "/api".to_owned(),
            ..EdgeSegment::default()
        }];
    });
    fabric.publish(2);
    let agent = fabric.agent("a1").await;
    let (answer, head) = tokio::join!(ask(&fabric, "GET /api/x", ""), origin(&agent, 200, &[]));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!((&*head.segment, head.main_shares_host), ("api", false));
    let other = ask(&fabric, "GET /", "").await;
    assert!(other.contains("\"no_app\""), "{other}");
    // The main part at the same host, and then at another.
    for (number, host) in [(3, HOST), (4, "crm.example.com")] {
        fabric.change_app(|app| {
            app.hosts = vec![host.to_owned()];
            app.segments[0].hosts = vec![HOST.to_owned()];
        });
        fabric.publish(number);
        let (_, head) = tokio::join!(ask(&fabric, "GET /api/x", ""), origin(&agent, 200, &[]));
        assert_eq!(
            (&*head.segment, head.main_shares_host),
            ("api", host == HOST)
        );
    }
    fabric.change_app(|app| app.hosts.clear());
    // With no segment left, nothing is open.
    fabric.change_app(|app| app.segments.clear());
    fabric.publish(5);
    let closed = ask(&fabric, "GET /api/x", "").await;
    assert!(closed.contains("\"no_app\""), "{closed}");
}

#[tokio::test]
async fn answers_are_changed_by_the_rules_also_those_without_a_body() {
    let mut fabric = Fabric::start().await;
    fabric.change_app(|app| {
        app.answer_rules = Some(AnswerRules {
            hsts: Some(Hsts {
                max_age_s: 600,
                ..Hsts::default()
            }),
            content_security_policy: "default-src 'self'".to_owned(),
            set: vec![Field {
                name: "x-frame-options".to_owned(),
                value: "DENY".to_owned(),
            }],
            remove: vec!["server".to_owned()],
            robots: Some(Robots::RobotsDisallow(true)),
        });
    });
    fabric.publish(2);
    let agent = fabric.agent("a1").await;
    let says = [("server", "old"), ("x-frame-options", "ALLOWALL")];
    for status in [200, 304] {
        let (answer, _) = tokio::join!(ask(&fabric, "GET /", ""), origin(&agent, status, &says));
        has(
            &answer,
            &[
                "strict-transport-security: max-age=600",
                "content-security-policy: default-src 'self'",
                "x-frame-options: DENY",
            ],
        );
        has_not(&answer, &["server:", "ALLOWALL"]);
    }
    // The edge's own page: its own policy, but transport security all the same.
    let page = ask(&fabric, "GET /.adit/nothing", "").await;
    assert!(page.contains("\"no_page\""), "{page}");
    has(&page, &["strict-transport-security: max-age=600"]);
    has_not(&page, &["x-frame-options"]);
}

#[tokio::test]
async fn robots_and_the_namespace_are_answered_without_an_agent() {
    let mut fabric = Fabric::start().await;
    fabric.change_app(|app| {
        app.path = "/wiki".to_owned();
        app.home_path = "/wiki/start?a=b".to_owned();
    });
    fabric.publish(2);
    let robots = ask(&fabric, "GET /robots.txt", "").await;
    assert!(robots.starts_with("HTTP/1.1 200 "), "{robots}");
    assert!(
        robots.ends_with("\r\n\r\nUser-agent: *\nDisallow: /\n"),
        "{robots}"
    );
    let head = ask(&fabric, "HEAD /robots.txt", "").await;
    has(&head, &["content-length: 26"]);
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    let home = ask(&fabric, "GET /.adit/home", "").await;
    assert!(home.starts_with("HTTP/1.1 302 "), "{home}");
    has(&home, &["location: /wiki/start?a=b"]);
    let disguised = ask(&fabric, "GET /wiki/%2e%2e/.adit/home", "").await;
    assert!(disguised.contains("\"bad_request\""), "{disguised}");
}

#[tokio::test]
async fn preflights_are_answered_or_refused_by_the_edge() {
    let mut fabric = Fabric::start().await;
    fabric.change_app(|app| app.cors = vec![cors("/api")]);
    fabric.publish(2);
    let preflight = |page: &str, method: &str| {
        format!("origin: {page}\r\naccess-control-request-method: {method}\r\n")
    };
    let allowed = ask(&fabric, "OPTIONS /api/x", &preflight(SHOP, "PUT")).await;
    assert!(allowed.starts_with("HTTP/1.1 204 "), "{allowed}");
    has(
        &allowed,
        &[
            "access-control-allow-origin: https://shop.example",
            "access-control-allow-methods: GET, HEAD, POST, PUT",
            "access-control-allow-credentials: true",
            "access-control-max-age: 600",
        ],
    );
    for (page, method) in [("https://evil.example", "PUT"), (SHOP, "DELETE")] {
        let refused = ask(&fabric, "OPTIONS /api/x", &preflight(page, method)).await;
        assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
        assert!(refused.contains("\"cross_site\""), "{refused}");
        has_not(&refused, &["access-control-"]);
    }
    // Where no rule holds, the origin is asked.
    let agent = fabric.agent("a1").await;
    let says = [("access-control-allow-origin", "*")];
    let elsewhere = preflight("https://evil.example", "PUT");
    let asked = ask(&fabric, "OPTIONS /other", &elsewhere);
    let (answer, _) = tokio::join!(asked, origin(&agent, 200, &says));
    has(&answer, &["access-control-allow-origin: *"]);
}

#[tokio::test]
async fn answers_and_failures_say_what_the_cors_rule_says() {
    let mut fabric = Fabric::start().await;
    fabric.change_app(|app| app.cors = vec![cors("/")]);
    fabric.publish(2);
    let own = [
        "access-control-allow-origin: https://shop.example",
        "access-control-allow-credentials: true",
        "access-control-expose-headers: etag",
    ];
    // Nobody serves the app yet: pages can read that, too.
    let origin_field = format!("origin: {SHOP}\r\n");
    let failure = ask(&fabric, "GET /", &origin_field).await;
    assert!(failure.contains("\"no_agent\""), "{failure}");
    has(&failure, &own);
    let agent = fabric.agent("a1").await;
    let says = [
        ("access-control-allow-origin", "*"),
        ("vary", "accept-encoding"),
    ];
    let (answer, _) = tokio::join!(
        ask(&fabric, "GET /", &origin_field),
        origin(&agent, 200, &says)
    );
    has(&answer, &own);
    has(&answer, &["vary: accept-encoding, Origin"]);
    let (answer, _) = tokio::join!(
        ask(&fabric, "GET /", "origin: https://evil.example\r\n"),
        origin(&agent, 200, &says)
    );
    has(&answer, &["vary: accept-encoding, Origin"]);
    has_not(&answer, &["access-control-"]);
}

#[tokio::test]
async fn maintenance_closes_an_app_for_everybody_and_leaves_what_runs() {
    let mut fabric = Fabric::start().await;
    let agent = fabric.agent("a1").await;
    let mut waiting = RawUser::connect(&fabric).await;
    waiting.get("/slow").await;
    let slow = agent.request().await;
    fabric.change_app(|app| {
        app.maintenance = Some(Maintenance {
            message: "Back at <five>.".to_owned(),
            retry_after_s: 1_200,
        });
    });
    fabric.publish(2);
    let page = ask(&fabric, "GET /", "accept: text/html\r\n").await;
    assert!(page.starts_with("HTTP/1.1 503 "), "{page}");
    has(&page, &["retry-after: 1200"]);
    assert!(page.contains("Back at &lt;five&gt;."), "{page}");
    let problem = ask(&fabric, "GET /", "").await;
    assert!(
        problem.contains("\"detail\":\"Back at <five>.\""),
        "{problem}"
    );
    let mut user = RawUser::connect(&fabric).await;
    user.write(format!(
        "GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    ))
    .await;
    let socket = user.read_until("\r\n\r\n").await;
    assert!(socket.starts_with("HTTP/1.1 503 "), "{socket}");
    slow.answer(200, "done").await;
    let answer = waiting.read_to_end().await;
    assert!(answer.ends_with("done"), "{answer}");
    fabric.change_app(|app| app.maintenance = None);
    fabric.publish(3);
    let (answer, _) = tokio::join!(ask(&fabric, "GET /", ""), origin(&agent, 200, &[]));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_stopped_fabric_answers_for_no_app_and_keeps_its_links() {
    let mut fabric = Fabric::start().await;
    let _agent = fabric.agent("a1").await;
    fabric.stop_all();
    fabric.publish(2);
    let answer = ask(&fabric, "GET /", "").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\"stopped\""), "{answer}");
    has_not(&answer, &["retry-after"]);
    assert_eq!(fabric.edge.link_count(), 1);
}

#[tokio::test]
async fn origins_need_not_learn_where_requests_come_from() {
    let mut fabric = Fabric::with_public_port(true, 8443).await;
    let agent = fabric.agent("a1").await;
    let host = format!("{HOST}:8443");
    for (revision, hidden) in [(2, false), (3, true)] {
        fabric.change_app(|app| app.hide_forwarded = hidden);
        fabric.publish(revision);
        let asking = ask_host(
            &fabric,
            &host,
            "GET /",
            "x-forwarded-for: 10.9.8.7\r\nx-real-ip: 10.9.8.7\r\n",
        );
        let served = async {
            let asked = agent.request().await;
            let fields = [
                "x-forwarded-for",
                "x-forwarded-port",
                "forwarded",
                "x-real-ip",
            ];
            let seen = fields.map(|name| asked.field(name));
            let has_id = asked.field("x-request-id").is_some();
            asked.answer(200, "").await;
            (seen, has_id)
        };
        let (_, (seen, has_id)) = tokio::join!(asking, served);
        assert!(has_id);
        let text = |text: &str| Some(text.to_owned());
        let forwarded = text(&format!("for=127.0.0.1;host=\"{host}\";proto=https"));
        let want = if hidden {
            [None, None, None, None]
        } else {
            [text("127.0.0.1"), text("8443"), forwarded, None]
        };
        assert_eq!(seen, want);
    }
}
