//! Users whose sign-in belongs to a connection: their requests go where that connection is.

use bytes::Bytes;
use futures_util::future::select_all;
use http::{HeaderMap, HeaderValue, Request};
use proto::tunnel::{End, ResponseHead};

use crate::{
    fabric::{Agent, Asked, Fabric, HOST},
    user::{RawUser, UserBody, connect_http2, empty},
};

/// More than balancing gives to one of two agents by chance.
const REQUESTS: usize = 20;

async fn ask(user: &mut RawUser, field: &str) {
    user.write(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{field}\r\n"))
        .await;
}

/// The next request, and which agent has it.
async fn next(agents: [&Agent; 2]) -> (usize, Asked) {
    tokio::select! {
        asked = agents[0].request() => (0, asked),
        asked = agents[1].request() => (1, asked),
    }
}

async fn challenge(mut asked: Asked) {
    let mut fields = HeaderMap::new();
    fields.insert("www-authenticate", HeaderValue::from_static("Negotiate"));
    let head = ResponseHead {
        status: 401,
        fields: tunnel::fields::encode(&fields).unwrap(),
        body_length: Some(0),
        ..ResponseHead::default()
    };
    asked.send.queue(head).unwrap();
    asked.send.end(End::default()).await.unwrap();
    asked.send.stopped().await;
}

#[tokio::test]
async fn who_signs_a_connection_on_stays_with_its_agent() {
    let fabric = Fabric::start().await;
    let (one, two) = (fabric.agent("a1").await, fabric.agent("a2").await);
    let agents = [&one, &two];
    let mut connections: Vec<Bytes> = Vec::new();
    for is_challenged in [true, false] {
        let mut user = RawUser::connect(&fabric).await;
        let field = if is_challenged {
            ""
        } else {
            "authorization: NTLM TlRM\r\n"
        };
        ask(&mut user, field).await;
        let (first, asked) = next(agents).await;
        let connection = asked.head.user_connection.clone();
        assert_eq!(connection.len(), 16);
        if is_challenged {
            tokio::join!(challenge(asked), user.read_until("\r\n\r\n"));
        } else {
            tokio::join!(asked.answer(200, "ok"), user.read_until("\r\n\r\nok"));
        }
        for _ in 0..REQUESTS {
            ask(&mut user, "").await;
            let (agent, asked) = next(agents).await;
            assert_eq!(agent, first);
            assert_eq!(asked.head.user_connection, connection);
            tokio::join!(asked.answer(200, "ok"), user.read_until("\r\n\r\nok"));
        }
        connections.push(connection);
    }
    assert_ne!(connections[0], connections[1]);
}

#[tokio::test]
async fn another_agent_serves_when_the_one_with_the_sign_in_is_gone() {
    let fabric = Fabric::start().await;
    let (one, two) = (fabric.agent("a1").await, fabric.agent("a2").await);
    let mut user = RawUser::connect(&fabric).await;
    ask(&mut user, "authorization: NTLM TlRM\r\n").await;
    let (first, asked) = next([&one, &two]).await;
    tokio::join!(asked.answer(200, "ok"), user.read_until("\r\n\r\nok"));
    let (gone, left) = if first == 0 { (one, two) } else { (two, one) };
    gone.connection
        .close(tunnel::codes::Code::Internal, "on purpose");
    ask(&mut user, "").await;
    let asked = left.request().await;
    tokio::join!(asked.answer(200, "ok"), user.read_until("\r\n\r\nok"));
}

fn request(path: &str, token: Option<&str>) -> Request<UserBody> {
    let request = Request::get(format!("https://{HOST}{path}"));
    let request = match token {
        Some(token) => request.header("authorization", format!("NTLM {token}")),
        None => request,
    };
    request.body(empty()).unwrap()
}

#[tokio::test]
async fn the_first_agent_that_asks_for_a_sign_in_keeps_it_whatever_the_others_say() {
    let fabric = Fabric::start().await;
    let (one, two) = (fabric.agent("a1").await, fabric.agent("a2").await);
    let agents = [&one, &two];
    let mut user = connect_http2(&fabric).await;
    let mut asked: [Vec<Asked>; 2] = Default::default();
    let mut answers = Vec::new();
    for _ in 0..REQUESTS {
        answers.push(Box::pin(user.send_request(request("/", None))));
        let (agent, request) = next(agents).await;
        asked[agent].push(request);
    }
    let [mut first, mut late] = asked;
    challenge(first.pop().unwrap()).await;
    // The edge has it once the user has: over TCP, what another link brings may overtake it.
    let (answer, _, mut answers) = select_all(answers).await;
    assert_eq!(answer.unwrap().status(), 401);
    for round in 0..REQUESTS {
        if let Some(late) = late.pop() {
            challenge(late).await;
        }
        let again = request(&format!("/{round}"), Some("TlRMTVNTUAAB"));
        answers.push(Box::pin(user.send_request(again)));
        let (agent, asked) = next(agents).await;
        assert_eq!(agent, 0);
        asked.answer(200, "ok").await;
    }
}
