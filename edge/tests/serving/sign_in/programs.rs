//! Programs that show tokens in place of cookies.

use aws_lc_rs::digest::{SHA256, digest};
use proto::fabric::ServiceToken;

use super::*;

pub(super) const TOKEN: &str = "adit_st_correct-horse";
const CHALLENGE: &str = "Bearer realm=\"adit\", error=\"invalid_token\"";

/// Tells the edge of a program, for the next publication.
pub(super) fn set_service(fabric: &mut Fabric, id: &str, token: &str, expires_ms: i64) {
    let token = ServiceToken {
        id: id.to_owned(),
        display_name: "CI jobs".to_owned(),
        token_sha256: digest(&SHA256, token.as_bytes()).as_ref().to_vec().into(),
        expires_ms,
    };
    fabric.set(&format!("serviceTokens/{id}"), Kind::ServiceToken(token));
}

/// A fabric whose first app is for the program "ci", and tells its origin who it is; "cron" is a program that is assigned to nothing.
async fn with_services() -> Fabric {
    let mut fabric = fabric().await;
    fabric.change_app(|app| {
        let assignment = app.assignment.as_mut().unwrap();
        assignment.services = vec!["ci".to_owned(), "late".to_owned()];
        app.identity_fields = vec![IdentityField {
            name: "x-user".to_owned(),
            value: IdentityValue::User.into(),
            ..IdentityField::default()
        }];
    });
    set_service(&mut fabric, "ci", TOKEN, 0);
    set_service(&mut fabric, "cron", "adit_st_cron", 0);
    let ended = milliseconds(&fabric.clock);
    set_service(&mut fabric, "late", "adit_st_late", ended);
    fabric.publish(3);
    fabric
}

async fn ask(fabric: &Fabric, host: &str, line: &str, fields: &str) -> Reply {
    Browser::default().ask(fabric, host, line, fields).await
}

#[tokio::test]
async fn a_program_gets_in_by_its_token_and_the_origin_sees_who_but_not_the_token() {
    let fabric = with_services().await;
    let agent = fabric.agent("a1").await;
    for (fields, authorization) in [
        (format!("authorization: Bearer {TOKEN}\r\n"), None),
        (format!("authorization: bearer  {TOKEN} \r\n"), None),
        (format!("adit-authorization: Bearer {TOKEN}\r\n"), None),
        (
            format!("adit-authorization: Bearer {TOKEN}\r\nauthorization: Basic eDp5\r\n"),
            Some("Basic eDp5"),
        ),
        (
            format!("Authorization: Bearer eyJ\r\nAdit-Authorization: Bearer {TOKEN}\r\n"),
            Some("Bearer eyJ"),
        ),
        // Whoever has a cookie too is the program all the same.
        (
            format!(
                "cookie: __Host-adit-app=x\r\nx-user: root\r\nadit_authorization: Bearer {TOKEN}\r\nauthorization: Bearer {TOKEN}\r\n"
            ),
            None,
        ),
    ] {
        let asked = async {
            let asked = agent.request().await;
            for name in ["adit-authorization", "adit_authorization"] {
                assert_eq!(asked.field(name), None, "{fields}");
            }
            assert_eq!(asked.field("authorization").as_deref(), authorization);
            assert_eq!(asked.field("x-user").as_deref(), Some("service:ci"));
            asked.answer(200, "from the origin").await;
        };
        let (reply, ()) = tokio::join!(ask(&fabric, HOST, "POST /", &fields), asked);
        assert_eq!(reply.status, 200, "{fields} {reply:?}");
    }
    let fields = format!("authorization: Bearer {TOKEN}\r\n");
    let who = ask(&fabric, HOST, "GET /.adit/identity", &fields).await;
    assert_eq!(who.status, 200, "{who:?}");
    let who: serde_json::Value = serde_json::from_str(&who.body).unwrap();
    let want = serde_json::json!({ "service": "ci", "display_name": "CI jobs" });
    assert_eq!(who, want);
}

#[tokio::test]
async fn tokens_that_do_not_hold_reach_no_origin() {
    let fabric = with_services().await;
    let agent = fabric.agent("a1").await;
    let seen = serve(&fabric, &agent);
    let mut browser = Browser::default();
    browser
        .sign_in(&fabric, &format!("https://{HOST}/"), "alice")
        .await;
    assert_eq!(seen.load(SeqCst), 1);
    let long = format!("adit-authorization: Bearer {}\r\n", "x".repeat(17_000));
    for (fields, status, reason) in [
        ("authorization: Bearer adit_st_wrong\r\n", 401, "bad_token"),
        ("authorization: Bearer adit_st_\r\n", 401, "bad_token"),
        ("authorization: Bearer adit_api-token\r\n", 401, "bad_token"),
        ("authorization: Bearer adit_st_late\r\n", 401, "bad_token"),
        (
            "authorization: Bearer adit_st_cron\r\n",
            403,
            "not_assigned",
        ),
        ("adit-authorization: Bearer eyJ\r\n", 401, "bad_token"),
        ("adit-authorization: Basic eDp5\r\n", 401, "bad_token"),
        ("adit-authorization: \r\n", 401, "bad_token"),
        (&long, 401, "bad_token"),
        (
            "authorization: Bearer adit_st_correct-horse\r\nauthorization: Bearer adit_st_correct-horse\r\n",
            400,
            "bad_request",
        ),
        (
            "adit-authorization: Bearer adit_st_correct-horse\r\nauthorization: Bearer adit_st_correct-horse\r\n",
            400,
            "bad_request",
        ),
    ] {
        // A good cookie beside it changes nothing.
        for browser in [&mut Browser::default(), &mut browser] {
            for more in ["", NAVIGATION] {
                let fields = format!("{fields}{more}");
                let reply = browser.ask(&fabric, HOST, "GET /", &fields).await;
                assert_eq!(reply.status, status, "{fields} {reply:?}");
                assert!(reply.body.contains(reason), "{fields} {reply:?}");
                let challenge = reply.field("www-authenticate");
                assert_eq!(challenge == Some(CHALLENGE), status == 401, "{reply:?}");
            }
        }
    }
    // Of other schemes nothing is asked: there is no token then.
    let reply = ask(&fabric, HOST, "GET /", "authorization: Basic eDp5\r\n").await;
    assert!(reply.body.contains("sign_in_required"), "{reply:?}");
    // A program that is assigned to one app is not to the next.
    let fields = format!("authorization: Bearer {TOKEN}\r\n");
    let reply = ask(&fabric, CRM, "GET /", &fields).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    assert_eq!(seen.load(SeqCst), 1);
}

#[tokio::test]
async fn whoever_guesses_is_told_to_wait_and_a_good_token_is_not_held_up() {
    let fabric = with_services().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut told = Vec::new();
    for number in 0..80 {
        let fields = format!("authorization: Bearer adit_st_{number}\r\n");
        let reply = ask(&fabric, HOST, "GET /", &fields).await;
        if reply.status == 429 {
            assert!(reply.body.contains("too_many_guesses"), "{reply:?}");
            assert!(reply.field("retry-after").is_some(), "{reply:?}");
        }
        told.push(reply.status);
    }
    assert_eq!(&told[..60], [401; 60]);
    assert!(told[60..].contains(&429), "{told:?}");
    let fields = format!("authorization: Bearer {TOKEN}\r\n");
    let reply = ask(&fabric, HOST, "GET /", &fields).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn an_open_app_gets_authorization_as_it_is_and_nothing_of_ours_aside() {
    let mut fabric = with_services().await;
    fabric.change_app(|app| {
        app.access = AccessKind::Passthrough.into();
        app.assignment = None;
        app.identity_fields.clear();
    });
    fabric.publish(4);
    let agent = fabric.agent("a1").await;
    for authorization in [
        "Bearer adit_st_wrong",
        "Bearer adit_st_correct-horse",
        "Basic x",
    ] {
        let fields = format!(
            "authorization: {authorization}\r\nadit-authorization: Bearer {TOKEN}\r\nadit_authorization: Bearer x\r\n"
        );
        let asked = async {
            let asked = agent.request().await;
            assert_eq!(asked.field("authorization").as_deref(), Some(authorization));
            for name in ["adit-authorization", "adit_authorization"] {
                assert_eq!(asked.field(name), None);
            }
            asked.answer(200, "open").await;
        };
        let (reply, ()) = tokio::join!(ask(&fabric, HOST, "GET /", &fields), asked);
        assert_eq!(reply.status, 200);
    }
}

#[tokio::test]
async fn a_token_that_is_taken_back_cuts_what_is_open() {
    for change in ["deleted", "made anew", "not assigned any more"] {
        let mut fabric = with_services().await;
        let agent = fabric.agent("a1").await;
        let mut socket = RawUser::connect(&fabric).await;
        let fields = format!("host: {HOST}\r\nauthorization: Bearer {TOKEN}\r\n");
        socket
            .write(format!(
                "GET /socket HTTP/1.1\r\n{fields}connection: Upgrade\r\nupgrade: websocket\r\n\r\n"
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
            .write(format!("GET /endless HTTP/1.1\r\n{fields}\r\n"))
            .await;
        let mut endless = agent.request().await;
        endless.send.queue(crate::fabric::streamed(200)).unwrap();
        endless.send.queue(Frame::Data("so far".into())).unwrap();
        endless.send.flush().await.unwrap();
        reader.read_until("so far\r\n").await;
        // What has nothing to do with it changes nothing.
        set_service(&mut fabric, "cron", "adit_st_other", 0);
        fabric.publish(4);

        match change {
            "deleted" => drop(fabric.resources.remove("serviceTokens/ci")),
            "made anew" => set_service(&mut fabric, "ci", "adit_st_new", 0),
            _ => fabric.change_app(|app| app.assignment.as_mut().unwrap().services.clear()),
        }
        endless.send.queue(Frame::Data("more".into())).unwrap();
        endless.send.flush().await.unwrap();
        reader.read_until("more\r\n").await;
        fabric.publish(5);
        let mut close = [0; 4];
        for byte in &mut close {
            *byte = socket.read_byte().await;
        }
        assert_eq!(close, [0x88, 0x02, 0x03, 0xf0], "{change}");
        assert_eq!(reader.read_to_end().await, "", "{change}");
        let fields = format!("authorization: Bearer {TOKEN}\r\n");
        let reply = ask(&fabric, HOST, "GET /", &fields).await;
        assert!(matches!(reply.status, 401 | 403), "{change} {reply:?}");
    }
}
