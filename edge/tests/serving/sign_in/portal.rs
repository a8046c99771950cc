//! Users find the apps that they may use, and no others.

use proto::fabric::{
    Brand, BrandLink, EdgeApp, FabricSettings, Image, SignInKind, Tile, TileListing,
};

use super::*;

const PORTAL: &str = "apps.example.com";
/// All of it ASCII, so that answers can be read as text.
const PICTURE: &[u8] = b"RIFF\x24\0\0\0WEBPVP8 and so on";

fn wiki(fabric: &Fabric) -> EdgeApp {
    match fabric.resources["apps/wiki"].kind.clone() {
        Some(Kind::EdgeApp(app)) => app,
        _ => panic!("apps/wiki is there from the start"),
    }
}

/// An app for the staff, but for what `change` says.
fn add(fabric: &mut Fabric, id: &str, change: impl FnOnce(&mut EdgeApp)) {
    let mut app = wiki(fabric);
    app.id = id.to_owned();
    app.hosts = vec![format!("{id}.example.com")];
    change(&mut app);
    fabric.set(&format!("apps/{id}"), Kind::EdgeApp(app));
}

fn image(fabric: &mut Fabric, id: &str, content: &'static [u8]) {
    let image = Image {
        id: id.to_owned(),
        content: Bytes::from_static(content),
    };
    fabric.set(&format!("images/{id}"), Kind::Image(image));
}

async fn apps(fabric: &Fabric, browser: &mut Browser, query: &str) -> Vec<String> {
    let line = format!("GET /.adit/apps{query}");
    let reply = browser
        .ask(fabric, PORTAL, &line, "accept: application/json\r\n")
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.field("cache-control"), Some("no-store"));
    let list: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    let apps = list["apps"].as_array().unwrap().iter();
    apps.map(|app| app["app"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_portal_shows_exactly_what_the_user_may_use() {
    let mut fabric = fabric().await;
    add(&mut fabric, "open", |app| {
        app.access = AccessKind::Passthrough.into();
        app.assignment = None;
    });
    add(&mut fabric, "shown", |app| {
        app.access = AccessKind::Passthrough.into();
        app.assignment = None;
        app.tile = Some(Tile {
            listing: TileListing::Shown.into(),
            category: "A first one".to_owned(),
            ..Tile::default()
        });
    });
    add(&mut fabric, "hidden", |app| {
        app.tile = Some(Tile {
            listing: TileListing::Hidden.into(),
            ..Tile::default()
        });
    });
    add(&mut fabric, "star", |app| {
        app.hosts = vec!["*.star.example.com".to_owned()]
    });
    add(&mut fabric, "led", |app| {
        app.hosts = vec!["*.led.example.com".to_owned()];
        app.home_path = "/home?x=1&y".to_owned();
        app.tile = Some(Tile {
            host: "a.led.example.com".to_owned(),
            ..Tile::default()
        });
    });
    fabric.publish(3);
    let mut browser = Browser::default();
    let url = format!("https://{PORTAL}/");
    let (end, page) = browser.sign_in(&fabric, &url, "alice").await;
    assert_eq!((end, page.status), (url, 200));
    assert!(page.body.contains("<h1>Your apps</h1>"), "{}", page.body);
    assert!(page.body.contains("Alice &lt;b&gt;"), "{}", page.body);
    assert!(
        page.body
            .contains("href=\"https://a.led.example.com/home?x=1&amp;y\"")
    );
    assert!(!page.body.contains("crm"), "bob's alone: {}", page.body);
    assert_eq!(page.field("cache-control"), Some("no-store"));
    assert_eq!(
        apps(&fabric, &mut browser, "").await,
        ["shown", "led", "wiki"]
    );
    assert_eq!(
        apps(&fabric, &mut browser, "?q=FIRST+shown").await,
        ["shown"]
    );
    assert!(apps(&fabric, &mut browser, "?q=crm").await.is_empty());
    // By the same decision: what is taken away is gone at once.
    fabric.change_app(|app| app.assignment = Some(Assignment::default()));
    fabric.publish(4);
    assert_eq!(apps(&fabric, &mut browser, "").await, ["shown", "led"]);
}

#[tokio::test]
async fn nobody_sees_the_portal_without_a_session() {
    let mut fabric = fabric().await;
    image(&mut fabric, "apps/wiki", PICTURE);
    fabric.publish(3);
    let mut browser = Browser::default();
    for path in ["/", "/?q=wiki", "/.adit/apps", "/icons/wiki"] {
        let reply = browser
            .ask(&fabric, PORTAL, &format!("GET {path}"), NAVIGATION)
            .await;
        assert_eq!(reply.status, 302, "{path}");
        assert!(
            reply
                .location()
                .starts_with("https://auth.example.com/sign-in?to=")
        );
        let reply = browser
            .ask(&fabric, PORTAL, &format!("GET {path}"), "")
            .await;
        assert_eq!(reply.status, 401, "{path}");
        assert!(!reply.body.contains("wiki"), "{reply:?}");
    }
    for line in [
        "POST /",
        "GET /other",
        "POST /.adit/apps",
        "DELETE /icons/wiki",
    ] {
        let reply = browser
            .ask(&fabric, PORTAL, line, "content-length: 0\r\n")
            .await;
        assert_eq!(reply.status, 404, "{line}");
    }
}

#[tokio::test]
async fn icons_are_pictures_of_apps_that_the_user_may_use() {
    let mut fabric = fabric().await;
    image(&mut fabric, "apps/wiki", PICTURE);
    image(&mut fabric, "apps/crm", PICTURE);
    image(&mut fabric, "logo", b"<svg onload=alert(1)>");
    fabric.publish(3);
    let mut browser = Browser::default();
    let (_, page) = browser
        .sign_in(&fabric, &format!("https://{PORTAL}/"), "alice")
        .await;
    let (_, rest) = page.body.split_once("src=\"/icons/wiki?").unwrap();
    let tag = rest.split('"').next().unwrap();
    let icon = browser
        .ask(&fabric, PORTAL, &format!("GET /icons/wiki?{tag}"), "")
        .await;
    assert_eq!(
        (icon.status, icon.field("content-type")),
        (200, Some("image/webp"))
    );
    assert_eq!(icon.field("x-content-type-options"), Some("nosniff"));
    assert!(
        icon.field("content-security-policy")
            .unwrap()
            .contains("sandbox")
    );
    assert_eq!(icon.field("cache-control"), Some("private, max-age=86400"));
    let known = format!("if-none-match: \"{tag}\"\r\n");
    let again = browser
        .ask(&fabric, PORTAL, "GET /icons/wiki", &known)
        .await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    for path in [
        "/icons/crm",
        "/icons/none",
        "/icons/",
        "/icons/../wiki",
        "/.adit/logo",
    ] {
        let reply = browser
            .ask(&fabric, PORTAL, &format!("GET {path}"), "")
            .await;
        assert_eq!(reply.status, 404, "{path}");
    }
}

#[tokio::test]
async fn every_page_shows_whose_it_is() {
    let mut fabric = fabric().await;
    let settings = FabricSettings {
        domain: "example.com".to_owned(),
        brand: Some(Brand {
            name: "Acme <&>".to_owned(),
            accent: "#ffdd00".to_owned(),
            help: "Call 1234".to_owned(),
            help_url: "javascript:alert(1)".to_owned(),
            links: vec![BrandLink {
                text: "Privacy".to_owned(),
                url: "https://example.com/privacy".to_owned(),
            }],
        }),
        ..FabricSettings::default()
    };
    fabric.set("fabric", Kind::Fabric(settings));
    image(&mut fabric, "logo", PICTURE);
    fabric.publish(3);
    let mut browser = Browser::default();
    let mut pages = Vec::new();
    for (host, path) in [
        (AUTH, "/sign-in"),
        (AUTH, "/sign-out"),
        ("nobody.example.com", "/"),
        (PORTAL, "/x"),
    ] {
        pages.push(
            browser
                .ask(&fabric, host, &format!("GET {path}"), NAVIGATION)
                .await,
        );
    }
    let (_, portal) = browser
        .sign_in(&fabric, &format!("https://{PORTAL}/"), "alice")
        .await;
    pages.push(portal);
    let (_, denied) = browser.open(&fabric, &format!("https://{CRM}/")).await;
    assert!(
        denied.body.contains("href=\"/.adit/portal\""),
        "{}",
        denied.body
    );
    pages.push(denied);
    for page in pages {
        let body = &page.body;
        assert!(body.contains(" · Acme &lt;&amp;&gt;</title>"), "{body}");
        assert!(body.contains("alt=\"Acme &lt;&amp;&gt;\""), "{body}");
        assert!(
            body.contains("--accent:#ffdd00;--accent-ink:#000000"),
            "{body}"
        );
        assert!(body.contains("Call 1234"), "{body}");
        assert!(
            body.contains("href=\"https://example.com/privacy\">Privacy"),
            "{body}"
        );
        assert!(!body.contains("javascript:"), "{body}");
        let policy = page.field("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(policy.contains("img-src 'self';"), "{policy}");
        let length: usize = page.field("content-length").unwrap().parse().unwrap();
        assert_eq!(length, body.len());
    }
    for host in [AUTH, HOST, PORTAL, "nobody.example.com"] {
        let logo = browser.ask(&fabric, host, "GET /.adit/logo", "").await;
        assert_eq!(
            (logo.status, logo.field("content-type")),
            (200, Some("image/webp")),
            "{host}"
        );
        let head = browser.ask(&fabric, host, "HEAD /.adit/logo", "").await;
        assert_eq!((head.status, head.body.len()), (200, 0));
    }
}

#[tokio::test]
async fn apps_lead_to_the_portal_and_passes_of_it_open_nothing_else() {
    let fabric = fabric().await;
    let mut browser = Browser::default();
    for host in [HOST, AUTH] {
        let reply = browser
            .ask(&fabric, host, "GET /.adit/portal", NAVIGATION)
            .await;
        assert_eq!(
            (reply.status, reply.location()),
            (303, "https://apps.example.com/")
        );
    }
    browser
        .sign_in(&fabric, &format!("https://{PORTAL}/"), "alice")
        .await;
    let jar = browser.jar[PORTAL].clone();
    let mut thief = Browser::default();
    thief.jar.insert(HOST.to_owned(), jar);
    let reply = thief.ask(&fabric, HOST, "GET /", NAVIGATION).await;
    assert_eq!(
        reply.status, 302,
        "a cookie of the portal is none of an app"
    );
    let who = browser
        .ask(&fabric, PORTAL, "GET /.adit/identity", "")
        .await;
    assert!(who.body.starts_with("{\"user\":\"alice\","), "{who:?}");
    let out = browser
        .ask(&fabric, PORTAL, "GET /.adit/sign-out", NAVIGATION)
        .await;
    assert_eq!(out.location(), "https://auth.example.com/sign-out");
}

#[tokio::test]
async fn who_comes_and_goes_is_told_to_control() {
    let fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/x");
    let (_, page) = browser.open(&fabric, &url).await;
    let typed = [("user", "alice"), ("password", "not hers")];
    let page = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    assert_eq!(page.status, 401);
    browser.sign_in(&fabric, &url, "alice").await;
    // Refused twice, and told of once.
    for _ in 0..2 {
        let (_, denied) = browser.open(&fabric, &format!("https://{CRM}/")).await;
        assert_eq!(denied.status, 403);
    }
    let (_, page) = browser.open(&fabric, &format!("https://{AUTH}/")).await;
    let token = escape(&page.hidden("token"));
    let body = format!("token={token}");
    let fields = format!(
        "content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n",
        body.len()
    );
    let out = browser
        .send(&fabric, AUTH, "POST /sign-out", &fields, &body)
        .await;
    assert_eq!(out.status, 200, "{out:?}");
    let told = fabric.reports.oldest().events;
    let seen: Vec<_> = told
        .iter()
        .map(|event| (event.kind(), &*event.user, &*event.app, &*event.reason))
        .collect();
    assert_eq!(
        seen,
        [
            (SignInKind::Refused, "alice", "", "wrong"),
            (SignInKind::SignedIn, "alice", "wiki", ""),
            (SignInKind::AppOpened, "alice", "wiki", ""),
            (SignInKind::AppOpened, "alice", "crm", ""),
            (SignInKind::AppDenied, "alice", "crm", "not_assigned"),
            (SignInKind::SignedOut, "alice", "", ""),
        ]
    );
    assert!(
        told.iter()
            .all(|event| event.client == "127.0.0.1" && event.id.len() == 16)
    );
    assert!(told.iter().all(|event| event.request_id.len() == 32));
}
