//! Many users at a time, and nobody taken for another.

use super::*;

/// Users who come at the same time.
pub(super) const CROWD: usize = 20;
/// Requests of all of them.
const REQUESTS: usize = 1_000;
/// Connections to the edge on which they come.
const LINES: usize = 8;

/// Somebody of many, and their cookies at each app; or nobody, without any: the edge refuses them, and their requests lie between the others.
struct OfCrowd {
    id: String,
    cookies: Vec<String>,
}

/// Many users, and requests of nobody between theirs, on connections that they share up to the edge, at a server that signs connections on: it takes whoever comes
/// without a token for whoever came before. So the app that is sent one when it asks is the one that would tell.
pub(super) async fn nobody_is_ever_taken_for_another(domain: &Domain, apps: &[String]) {
    let mut crowd = vec![OfCrowd {
        id: String::new(),
        cookies: vec![String::new(); apps.len()],
    }];
    for number in 0..CROWD {
        let id = format!("crowd{number:04}@lab.test");
        let mut visitor = domain.user(&id, &apps[0]).await;
        let mut cookies = Vec::new();
        for app in apps {
            assert_eq!(visitor.get(app, "/public").await.status, 200);
            cookies.push(visitor.cookies(app));
        }
        crowd.push(OfCrowd { id, cookies });
    }
    let lines = (0..LINES).map(|line| {
        let app = line % apps.len();
        mixed(domain.fabric.user(), (&apps[app], app), &crowd, line)
    });
    futures_util::future::join_all(lines).await;
}

/// A share of the requests, one after the other on one connection.
async fn mixed(user: &User, (host, app): (&str, usize), crowd: &[OfCrowd], line: usize) {
    let scope = Scope::root();
    let mut sender = keep_alive(user, host, &scope).await;
    for step in 0..REQUESTS / LINES {
        let one = &crowd[(step * 8 + line * 5) % crowd.len()];
        let mut asked = request(Method::GET, host, "/connection", body(""));
        if !one.id.is_empty() {
            let cookies = one.cookies[app].parse().expect("visible ASCII");
            asked.headers_mut().insert("cookie", cookies);
        }
        sender.ready().await.expect("the connection is kept");
        let answer = sender.send_request(asked).await.expect("a head");
        let answer = collect(answer).await.expect("a whole answer");
        if one.id.is_empty() {
            // By the edge: no agent hears of it.
            assert_eq!((answer.status.as_u16(), seen(&answer)), (401, ""));
        } else {
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(seen(&answer), known(&one.id));
        }
    }
}

async fn keep_alive(user: &User, host: &str, scope: &Scope) -> SendRequest<Body> {
    let socket = user.tls(host, b"http/1.1").await;
    let socket = socket.expect("the edge takes connections");
    let (sender, connection) = handshake(TokioIo::new(socket)).await.expect("HTTP begins");
    scope.spawn("user-connection", async move {
        // A broken connection shows at its request.
        let _ = connection.await;
    });
    sender
}
