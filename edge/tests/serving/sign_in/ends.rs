//! How sessions end, and what ends with them.

use super::*;

#[tokio::test]
async fn an_app_that_is_published_no_more_is_not_gone_back_to() {
    let mut fabric = fabric().await;
    let mut browser = Browser::default();
    let (_, page) = browser.open(&fabric, &format!("https://{HOST}/x")).await;
    fabric.resources.remove("apps/wiki");
    fabric.publish(3);
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    assert_eq!((reply.status, reply.location()), (303, "/"));
}

#[tokio::test]
async fn a_session_ends_after_its_life_and_signing_out_ends_it_before() {
    let (mut fabric, mut ends) = fabric_and_ends().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/");
    browser.sign_in(&fabric, &url, "alice").await;
    let leave = browser
        .ask(&fabric, HOST, "GET /.adit/sign-out", NAVIGATION)
        .await;
    assert_eq!(leave.location(), format!("https://{AUTH}/sign-out"));
    let (_, mut page) = browser.open(&fabric, leave.location()).await;
    assert!(page.body.contains("Sign out?"), "{page:?}");
    for name in ["to", "fragment"] {
        page.body.push_str(&format!("name=\"{name}\" value=\"\""));
    }
    let reply = browser.submit(&fabric, "/sign-out", &page, &[]).await;
    assert!(reply.body.contains("signed out of all apps"), "{reply:?}");
    assert!(!browser.jar[AUTH].contains_key("__Host-adit-session"));
    // What control makes of it.
    let revocation = Revocation {
        whose: Some(Whose::Session(ends.recv().await.unwrap())),
        before_ms: 0,
    };
    fabric.set("revocations/sessions/1", Kind::Revocation(revocation));
    fabric.publish(3);
    let (_, page) = browser.open(&fabric, &url).await;
    assert!(page.body.contains("<h1>Sign in</h1>"));
    let (_, page) = browser
        .open(&fabric, &format!("https://{AUTH}/sign-out"))
        .await;
    assert!(page.body.contains("Nobody is signed in here"), "{page:?}");

    // Whoever signs in as somebody else leaves no session of the first behind.
    browser.sign_in(&fabric, &url, "alice").await;
    let (_, page) = browser
        .open(&fabric, &format!("https://{AUTH}/change-password"))
        .await;
    let typed = [
        ("user", "alice"),
        ("password", RIGHT),
        ("new", "one good password"),
        ("again", "one good password"),
    ];
    let reply = browser
        .submit(&fabric, "/change-password", &page, &typed)
        .await;
    assert_eq!((reply.status, reply.location()), (303, "/"));
    assert!(ends.recv().await.is_some());
    browser.jar.clear();
    browser.sign_in(&fabric, &url, "alice").await;
    fabric.clock.move_wall(Duration::from_secs(12 * 3_600 - 60));
    let reply = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
    assert_eq!(reply.status, 200);
    // And a little, as control's clock is ahead.
    fabric.clock.move_wall(Duration::from_secs(90));
    let (_, page) = browser.open(&fabric, &url).await;
    assert!(page.body.contains("<h1>Sign in</h1>"), "{page:?}");
}

/// Ends the sessions of alice that began until now.
fn revoke(fabric: &mut Fabric, revision: u64) {
    // By control's clock.
    let before_ms = milliseconds(&fabric.clock) + 20_001;
    let revocation = Revocation {
        whose: Some(Whose::User("alice".to_owned())),
        before_ms,
    };
    fabric.set("revocations/users/alice", Kind::Revocation(revocation));
    fabric.publish(revision);
}

#[tokio::test]
async fn a_revocation_ends_what_is_open_and_lets_nothing_else_in() {
    let mut fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/");
    let (_, page) = browser.open(&fabric, &url).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    let (_, target) = parts(reply.location());
    let line = format!("GET {target}");
    browser.ask(&fabric, HOST, &line, NAVIGATION).await;
    let cookie = &browser.jar[HOST]["__Host-adit-app"];

    // A WebSocket, and an answer that never ends.
    let mut socket = RawUser::connect(&fabric).await;
    socket
        .write(format!(
            "GET /socket HTTP/1.1\r\nhost: {HOST}\r\nconnection: Upgrade\r\nupgrade: websocket\r\ncookie: __Host-adit-app={cookie}\r\n\r\n"
        ))
        .await;
    let mut upgraded = agent.request().await;
    let head = ResponseHead {
        status: 101,
        upgraded: true,
        ..ResponseHead::default()
    };
    upgraded.send.send(head).await.unwrap();
    socket.read_until("\r\n\r\n").await;
    let mut reader = RawUser::connect(&fabric).await;
    reader
        .write(format!(
            "GET /endless HTTP/1.1\r\nhost: {HOST}\r\ncookie: __Host-adit-app={cookie}\r\n\r\n"
        ))
        .await;
    let mut endless = agent.request().await;
    let head = ResponseHead {
        status: 200,
        body_streamed: true,
        ..ResponseHead::default()
    };
    endless.send.queue(head).unwrap();
    endless.send.queue(Frame::Data("so far".into())).unwrap();
    endless.send.flush().await.unwrap();
    reader.read_until("so far\r\n").await;
    // And a request that waits for its answer's head.
    let mut waiting = RawUser::connect(&fabric).await;
    waiting
        .write(format!(
            "GET /slow HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\ncookie: __Host-adit-app={cookie}\r\n\r\n"
        ))
        .await;
    let _slow = agent.request().await;

    revoke(&mut fabric, 3);
    // Status 1008 of WebSocket; a body without its last chunk; an answer of the edge's own.
    let mut close = [0; 4];
    for byte in &mut close {
        *byte = socket.read_byte().await;
    }
    assert_eq!(close, [0x88, 0x02, 0x03, 0xf0]);
    assert_eq!(reader.read_to_end().await, "");
    let answer = waiting.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("session_ended"), "{answer}");
    let reply = browser.ask(&fabric, HOST, "GET /", "").await;
    assert_eq!(reply.status, 401);
    // The sign-in host asks anew as well.
    let (_, page) = browser.open(&fabric, &url).await;
    assert!(page.body.contains("<h1>Sign in</h1>"), "{page:?}");
}

#[tokio::test]
async fn an_answer_that_is_cut_does_not_bring_the_ended_session_back() {
    let mut fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    rules::limit_idling(&mut fabric, 3);
    let mut browser = Browser::default();
    let (_, page) = browser.open(&fabric, &format!("https://{HOST}/")).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    let (_, target) = parts(reply.location());
    let line = format!("GET {target}");
    browser.ask(&fabric, HOST, &line, NAVIGATION).await;
    // It is time to write down that the user is here.
    fabric.clock.move_wall(Duration::from_secs(300));
    let cookie = &browser.jar[HOST]["__Host-adit-app"];
    let mut poll = RawUser::connect(&fabric).await;
    poll.write(format!(
        "GET /poll HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\ncookie: __Host-adit-app={cookie}\r\n\r\n"
    ))
    .await;
    let _open = agent.request().await;
    revoke(&mut fabric, 4);
    let answer = poll.read_to_end().await.to_ascii_lowercase();
    assert!(answer.contains("session_ended"), "{answer}");
    assert!(!answer.contains("set-cookie"), "{answer}");
}

#[tokio::test]
async fn who_is_assigned_no_longer_is_cut_off_too() {
    let mut fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/");
    let (_, page) = browser.open(&fabric, &url).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    let (_, target) = parts(reply.location());
    let line = format!("GET {target}");
    browser.ask(&fabric, HOST, &line, NAVIGATION).await;
    let cookie = &browser.jar[HOST]["__Host-adit-app"];
    let mut waiting = RawUser::connect(&fabric).await;
    waiting
        .write(format!(
            "GET /slow HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\ncookie: __Host-adit-app={cookie}\r\n\r\n"
        ))
        .await;
    let _slow = agent.request().await;
    fabric.change_app(|app| app.assignment = None);
    fabric.publish(3);
    let answer = waiting.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let reply = browser.ask(&fabric, HOST, "GET /", "").await;
    assert_eq!(reply.status, 403, "{reply:?}");
}

#[tokio::test]
async fn without_control_nobody_signs_in_and_who_has_a_session_goes_on() {
    let mut fabric = Fabric::start().await;
    fabric.change_app(|app| {
        app.access = AccessKind::SignIn.into();
        app.assignment = Some(Assignment {
            everyone: true,
            ..Assignment::default()
        });
    });
    // No keys yet: nothing can be sealed.
    fabric.publish(2);
    let reply = Browser::default()
        .ask(&fabric, HOST, "GET /", NAVIGATION)
        .await;
    assert_eq!(reply.status, 503, "{reply:?}");
    fabric.set_session_keys(&[1]);
    fabric.publish(3);
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut questions = fabric.questions.take().unwrap();
    let clock = fabric.clock.clone();
    fabric.scope.spawn("control", async move {
        // Control answers once, and is away from then on.
        let mut away = false;
        while let Some(question) = questions.recv().await {
            let (request, answer) = match question {
                Question::Check(request, answer) => (request, answer),
                Question::Change(..)
                | Question::Device(..)
                | Question::Refresh(..)
                | Question::SecondFactor(_)
                | Question::Terms(_)
                | Question::Credential(_) => continue,
                Question::End(_, answer) => {
                    let _ = answer.send(Err(AccountsError::Away));
                    continue;
                }
            };
            let said = if away {
                Err(AccountsError::Away)
            } else {
                Ok(control(&request, &clock))
            };
            let _ = answer.send(said);
            away = true;
        }
    });
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/");
    let (_, reply) = browser.sign_in(&fabric, &url, "alice").await;
    assert_eq!(reply.status, 200);
    let mut late = Browser::default();
    let (_, page) = late.open(&fabric, &url).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = late.submit(&fabric, "/sign-in", &page, &typed).await;
    assert_eq!(reply.status, 503);
    assert!(reply.body.contains("not possible right now"), "{reply:?}");
    let reply = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
    assert_eq!(reply.status, 200, "sessions need no control");
    // Nobody is told to be signed out who is not, and the way to it stays.
    for _ in 0..2 {
        let leave = format!("https://{AUTH}/sign-out");
        let (_, mut page) = browser.open(&fabric, &leave).await;
        for name in ["to", "fragment"] {
            page.body.push_str(&format!("name=\"{name}\" value=\"\""));
        }
        let reply = browser.submit(&fabric, "/sign-out", &page, &[]).await;
        assert_eq!(reply.status, 503);
        assert!(reply.body.contains("still signed in"), "{reply:?}");
    }
}

#[tokio::test]
async fn who_sets_an_app_up_to_sign_in_leaves_no_session_of_another_behind() {
    let (fabric, mut ends) = fabric_and_ends().await;
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/deep?x=1");
    let (_, page) = browser.open(&fabric, &url).await;
    // In another tab.
    let home = format!("https://{AUTH}/");
    browser.sign_in(&fabric, &home, "alice").await;
    let typed = [("user", "nora"), ("password", RIGHT)];
    let page = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    assert!(
        page.body
            .contains("Your organisation asks for a second factor"),
        "{page:?}"
    );
    assert!(ends.try_recv().is_err(), "nobody else has signed in yet");
    let names = ["token", "to", "fragment", "halfway", "offer"];
    let typed = [("code", second_factors::CODE)];
    let path = "/authenticator/confirm";
    let done = second_factors::submit(&mut browser, &fabric, path, (&page, &names), &typed).await;
    assert!(done.body.contains("abcd-efgh-jkmn-pqrs"), "{done:?}");
    assert_eq!(ends.try_recv().map(|session| session.len()), Ok(16));
    let told = fabric.reports.oldest().events;
    assert!(told.iter().any(|event| event.user == "nora"), "{told:?}");
    let (_, page) = browser.open(&fabric, &home).await;
    assert!(page.body.contains("(nora)"), "{page:?}");
}
