//! Requests of every kind get a token, and arrive as they were sent.

use super::*;

/// One token, whatever the request itself brings, and the rest as it came.
pub(super) async fn bodies_and_upgrades(domain: &Domain, alice: &mut Visitor, app: &str) {
    let own = [("authorization", "NTLM TlRMTVNTUAABAAAAB4IIAA==")];
    let answer = alice.post(app, "/echo", vec![b'x'; 50_000], &own).await;
    for line in [
        "user=alice",
        "authorization-scheme=Negotiate",
        "body-bytes=50000",
    ] {
        assert!(answer.text().contains(line), "{}", answer.text());
    }
    let cookies = alice.cookies(app);
    let mut by_http2 = request(Method::GET, app, "/whoami", body(""));
    let fields = by_http2.headers_mut();
    fields.insert("cookie", cookies.parse().expect("visible ASCII"));
    fields.insert(
        "authorization",
        "Basic eDp5".parse().expect("visible ASCII"),
    );
    let answer = domain.fabric.user().send_h2(by_http2).await;
    let answer = answer.expect("an answer");
    assert!(answer.text().contains("alice"), "{}", answer.text());

    let (recorder, echo) = (Recorder::start().await, Origin::start().await);
    let of_user = ["--sso-identity", "user"];
    let spn = domain.lab.spn(App::App);
    let recorded = domain.publish("recorded", &recorder.url(), spn, &of_user);
    let echoing = domain.publish("echoing", &echo.url(), spn, &of_user);
    domain.fabric.served(&recorded).await;
    domain.fabric.served(&echoing).await;
    for host in [&recorded, &echoing] {
        assert_eq!(alice.get(host, "/").await.status, 200);
    }
    let mut socket = domain
        .fabric
        .user()
        .websocket_as(&echoing, "/websocket", &alice.cookies(&echoing))
        .await;
    socket
        .send(Message::text("hello"))
        .await
        .expect("it is open");
    let said = socket.next().await.expect("it echoes").expect("a message");
    assert_eq!(said, Message::text("hello"));
    recorder.take();
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket"), own[0]];
    alice.get_with(&recorded, "/", &upgrade).await;
    alice.post(&recorded, "/", b"abc".to_vec(), &own).await;
    let heard = recorder.take();
    assert_eq!(heard.len(), 2, "{heard:?}");
    for message in heard {
        let Heard::Whole(message) = message else {
            panic!("{message:?}");
        };
        let mut tokens = message.fields.iter();
        let tokens: Vec<_> = tokens
            .by_ref()
            .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
            .collect();
        assert_eq!(tokens.len(), 1, "{message:?}");
        assert!(tokens[0].1.starts_with("Negotiate Y"), "{message:?}");
    }
}
