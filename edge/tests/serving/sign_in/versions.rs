//! Tokens count alike over every version of HTTP, and at every edge that has the fabric's keys.

use serde_json::json;

use super::*;
use crate::{
    http3,
    provider::Provider,
    user::{UserBody, connect_http2},
};

const SERVICE: &str = "adit_st_correct-horse";
const INVALID: &str = "Bearer realm=\"adit\", error=\"invalid_token\"";

/// What came of a request.
#[derive(Debug)]
struct Told {
    status: u16,
    challenge: Option<String>,
    body: String,
}

/// A GET of the app over that version, with these fields.
async fn ask(fabric: &Fabric, version: u8, fields: &[(&str, &str)]) -> Told {
    if version == 1 {
        let lines = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let lines: String = lines.collect();
        let reply = Browser::default().ask(fabric, HOST, "GET /", &lines).await;
        return Told {
            status: reply.status,
            challenge: reply.field("www-authenticate").map(str::to_owned),
            body: reply.body,
        };
    }
    let mut request = Request::get(format!("https://{HOST}/"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (head, body) = if version == 2 {
        let request: Request<UserBody> = request.body(empty()).unwrap();
        let answer = connect_http2(fabric).await.send_request(request).await;
        let (head, body) = answer.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head, String::from_utf8(body.to_vec()).unwrap())
    } else {
        let mut user = http3::User::connect(fabric).await;
        let (answer, body) = user.ask(request.body(()).unwrap()).await;
        (answer.into_parts().0, body)
    };
    let challenge = head.headers.get("www-authenticate");
    Told {
        status: head.status.as_u16(),
        challenge: challenge.map(|value| value.to_str().unwrap().to_owned()),
        body,
    }
}

/// Answers everything; no token that edges take away may come this far.
fn serve_and_look(fabric: &Fabric, agent: &Agent) {
    let connection = agent.connection.clone();
    fabric.scope.spawn("origin", async move {
        loop {
            let asked = crate::fabric::next_request(&connection).await;
            let fields = tunnel::fields::decode(asked.head.fields.clone()).unwrap();
            for (name, value) in &fields {
                let value = value.to_str().unwrap();
                assert!(
                    !value.contains("adit_") && !value.contains("eyJ"),
                    "{name}: {value}"
                );
            }
            asked.answer(200, "from the origin").await;
        }
    });
}

/// An edge at which the app is for the program "ci", for staff by tokens of a provider, and for alice's terminal.
async fn edge_with_all() -> (Fabric, Agent, Provider) {
    let (mut fabric, provider) = bearers::start().await;
    fabric.change_app(|app| {
        app.assignment.as_mut().unwrap().services = vec!["ci".to_owned()];
    });
    programs::set_service(&mut fabric, "ci", SERVICE, 0);
    programs::set_service(&mut fabric, "cron", "adit_st_cron", 0);
    fabric.publish(4);
    let agent = fabric.agent("a1").await;
    serve_and_look(&fabric, &agent);
    (fabric, agent, provider)
}

async fn of_terminal(fabric: &Fabric) -> String {
    let (terminal, _) = terminals::let_in(fabric).await;
    let (status, made) = terminals::app_token(fabric, &terminal, HOST).await;
    assert_eq!(status, 200, "{made}");
    made["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn tokens_count_alike_over_every_version() {
    let (fabric, _agent, provider) = edge_with_all().await;
    let of_provider = provider.access_token(json!({}));
    let of_terminal = of_terminal(&fabric).await;
    let foreign = provider.access_token(json!({"aud": "crm-api"}));
    let without_scope = provider.access_token(json!({"scope": null}));
    let broken = format!("{of_terminal}x");
    for version in 1..=3 {
        for good in [SERVICE, &of_provider, &of_terminal] {
            let bearer = format!("Bearer {good}");
            for name in ["authorization", "adit-authorization"] {
                let told = ask(&fabric, version, &[(name, &bearer)]).await;
                assert_eq!(told.status, 200, "{version} {name} {good} {told:?}");
                assert_eq!(told.body, "from the origin");
            }
        }
        let service = format!("Bearer {SERVICE}");
        let twice = [
            ("authorization", &*service),
            ("adit-authorization", &*service),
        ];
        let told = ask(&fabric, version, &twice).await;
        assert_eq!(told.status, 400, "{version} {told:?}");
        for (bad, status, reason) in [
            ("adit_st_wrong", 401, "bad_token"),
            ("adit_st_cron", 403, "not_assigned"),
            (&*broken, 401, "bad_token"),
            (&*foreign, 401, "bad_token"),
            (&*without_scope, 403, "insufficient_scope"),
        ] {
            let bearer = format!("Bearer {bad}");
            let told = ask(&fabric, version, &[("authorization", &bearer)]).await;
            assert_eq!(told.status, status, "{version} {bad} {told:?}");
            assert!(told.body.contains(reason), "{version} {bad} {told:?}");
            if status == 401 {
                assert_eq!(told.challenge.as_deref(), Some(INVALID), "{version} {bad}");
            }
        }
        let told = ask(&fabric, version, &[]).await;
        assert!(told.body.contains("sign_in_required"), "{version} {told:?}");
    }
}

#[tokio::test]
async fn tokens_count_at_two_edges_and_are_refused_at_both_once_they_hear() {
    let (mut one, _agent, provider) = edge_with_all().await;
    let (mut other, _other_agent, _) = edge_with_all().await;
    // Both are told of one provider.
    let published = one.resources["identityProviders/entra"]
        .kind
        .clone()
        .unwrap();
    other.set("identityProviders/entra", published);
    other.publish(5);
    let of_provider = provider.access_token(json!({}));
    let of_terminal = of_terminal(&one).await;
    let tokens = [SERVICE, &of_provider, &of_terminal].map(|token| format!("Bearer {token}"));
    let statuses = async |edges: [&Fabric; 2]| {
        let mut statuses = Vec::new();
        for edge in edges {
            for (token, version) in tokens.iter().zip([2, 3, 1]) {
                let told = ask(edge, version, &[("authorization", token)]).await;
                statuses.push(told.status);
            }
        }
        statuses
    };
    assert_eq!(statuses([&one, &other]).await, [200; 6]);
    for edge in [&mut one, &mut other] {
        edge.resources.remove("serviceTokens/ci");
        let before_ms = milliseconds(&edge.clock) + 60_000;
        for user in ["alice", "alice@example.com"] {
            edge.set(
                &format!("revocations/{user}"),
                bearers::revocation(user, before_ms),
            );
        }
        edge.publish(6);
    }
    assert_eq!(statuses([&one, &other]).await, [401; 6]);
}
