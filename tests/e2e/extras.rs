//! What operators ask for in front of an app, as its users see it: other sites' pages, several sites, notices, portals.

use http::{Method, header};
use kit::{
    browser::Browser,
    client::{body, request},
    fabric::{DOMAIN, Fabric},
    origin::Origin,
    process::eventually,
};

/// Applies a file; its text names hosts of [`DOMAIN`] by `{domain}`, and the edge's port by `{port}`.
fn apply(fabric: &Fabric, text: &str) {
    let port = fabric.site().https().port().to_string();
    let text = text.replace("{domain}", DOMAIN).replace("{port}", &port);
    let file = fabric.site().folder().join("fabric.toml");
    std::fs::write(file, text).expect("the folder can be written");
    fabric.site().ok(&["apply", "-f", "fabric.toml"]);
}

/// An app of the group `default` with this one origin; what follows is its table, still open.
fn app(id: &str, origin: &Origin) -> String {
    format!(
        "[app.{id}]\nhosts = [\"{id}.{{domain}}\"]\norigins = [{{ url = \"{}\" }}]\ngroup = \"default\"\naccess = \"passthrough\"\n",
        origin.url()
    )
}

/// What a script of a page of `page` gets from `target`: the status, what it may read, or "refused".
async fn fetched(browser: &Browser, target: &str, how: &str) -> String {
    let script = format!(
        "return fetch({target:?}, {how}).then(\
           answer => `${{answer.status}} ${{answer.headers.get('x-request-id') ?? '-'}}`,\
           () => 'refused')"
    );
    let said = browser.run(&script).await;
    said.as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn pages_use_other_sites_as_their_rules_allow_and_not_otherwise() {
    // Browsers ask each page's site for more than the page: the one that counts has no page.
    let (fabric, origin, pages) = (
        crate::fabric().await,
        Origin::start().await,
        Origin::start().await,
    );
    let rule = "[[app.api.cors]]\npath = \"/echo\"\norigins = [\"https://shop.{domain}:{port}\"]\n\
                methods = [\"PUT\"]\nfields = [\"x-app-*\"]\ncredentials = true\n";
    let apps = [
        app("shop", &pages),
        app("api", &origin),
        rule.to_owned(),
        app("closed", &pages),
    ];
    apply(&fabric, &apps.join("\n"));
    for id in ["shop", "api", "closed"] {
        fabric.served(&format!("{id}.{DOMAIN}")).await;
    }
    let port = fabric.site().https().port();
    let at = |id: &str, path: &str| format!("https://{id}.{DOMAIN}:{port}{path}");
    let browser = Browser::open(900, 700).await;
    browser.visit(&at("shop", "/")).await;
    let asked = origin.requests();
    // One that needs no preflight, one that does, and one with cookies.
    for how in [
        "{}",
        "{ method: 'PUT', body: 'x', headers: { 'x-app-one': '1' } }",
        "{ credentials: 'include' }",
    ] {
        let said = fetched(&browser, &at("api", "/echo"), how).await;
        assert_eq!(said, "200 -", "{how}");
    }
    assert_eq!(
        origin.requests(),
        asked + 3,
        "preflights never reach an origin that has rules"
    );
    for (id, path, how) in [
        ("api", "/echo", "{ method: 'DELETE' }"),
        ("api", "/echo", "{ headers: { 'x-other': '1' } }"),
        ("closed", "/echo", "{}"),
        ("closed", "/echo", "{ method: 'PUT', body: 'x' }"),
        ("api", "/", "{}"),
    ] {
        let said = fetched(&browser, &at(id, path), how).await;
        assert_eq!(said, "refused", "{id}{path} {how}");
    }
    // Pages of another site are nobody to the rule.
    browser.visit(&at("closed", "/")).await;
    for how in ["{}", "{ method: 'PUT', body: 'x' }"] {
        let said = fetched(&browser, &at("api", "/echo"), how).await;
        assert_eq!(said, "refused", "{how}");
    }
}

#[tokio::test]
async fn an_app_of_several_sites_is_one_app_and_only_what_it_lists() {
    let (fabric, main, api) = (
        crate::fabric().await,
        Origin::start().await,
        Origin::start().await,
    );
    let segment = format!(
        "[[app.crm.segments]]\nid = \"api\"\nhosts = [\"crm.{{domain}}\", \"crm-api.{{domain}}\"]\npath = \"/status\"\norigins = [{{ url = \"{}\" }}]\n",
        api.url()
    );
    apply(&fabric, &[app("crm", &main), segment].join("\n"));
    let (crm, crm_api) = (format!("crm.{DOMAIN}"), format!("crm-api.{DOMAIN}"));
    fabric.served(&crm).await;
    for (host, path, status, served) in [
        (&crm, "/", 200, (1, 0)),
        (&crm, "/status/201", 201, (0, 1)),
        (&crm_api, "/status/202", 202, (0, 1)),
        (&crm_api, "/", 404, (0, 0)),
        (&crm_api, "/statusx", 404, (0, 0)),
    ] {
        let before = (main.requests(), api.requests());
        assert_eq!(
            fabric.user().status(host, path).await,
            status,
            "{host}{path}"
        );
        let now = (main.requests() - before.0, api.requests() - before.1);
        assert_eq!(now, served, "{host}{path}");
    }
    eventually("the access line names the segment", async || {
        fabric.edge.log().contains(r#""segment":"api""#)
    })
    .await;
}

#[tokio::test]
async fn an_app_in_maintenance_and_a_stopped_fabric_say_so_and_come_back() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let wiki = fabric.publish("wiki", &origin.url()).await;
    let other = fabric.publish("other", &origin.url()).await;
    let site = fabric.site();
    let until = async |host: &str, reason: &str| {
        eventually(&format!("{host} says {reason}"), async || {
            let answer = fabric.user().get(host, "/").await;
            answer.status == 503 && answer.json()["reason"] == reason
        })
        .await;
    };
    site.ok(&["app", "update", "wiki", "--maintenance", "Back at <five>."]);
    until(&wiki, "maintenance").await;
    let answer = fabric.user().get(&wiki, "/").await;
    assert_eq!(answer.json()["detail"], "Back at <five>.");
    assert_eq!(fabric.user().status(&other, "/").await, 200);
    let browser = Browser::open(900, 700).await;
    let port = site.https().port();
    browser.visit(&format!("https://{wiki}:{port}/")).await;
    assert_eq!(
        browser.text("h1").await,
        "This app is closed for maintenance."
    );
    assert_eq!(browser.text(".words").await, "Back at <five>.");
    site.ok(&["app", "update", "wiki", "--no-maintenance"]);
    fabric.served(&wiki).await;
    site.ok(&["settings", "update", "--stopped", "true"]);
    for host in [&wiki, &other] {
        until(host, "stopped").await;
    }
    site.ok(&["settings", "update", "--stopped", "false"]);
    for host in [&wiki, &other] {
        fabric.served(host).await;
        assert_eq!(fabric.user().status(host, "/").await, 200);
    }
}

#[tokio::test]
async fn the_edge_answers_robots_portals_and_its_own_namespace() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let home = ["--home-path", "/status/200?from=portal"];
    let wiki = fabric.publish_with("wiki", &origin.url(), &home).await;
    let open = fabric
        .publish_with("open", &origin.url(), &["--robots", "origin"])
        .await;
    let before = origin.requests();
    let robots = fabric.user().get(&wiki, "/robots.txt").await;
    assert_eq!(robots.text(), "User-agent: *\nDisallow: /\n");
    let led = fabric.user().get(&wiki, "/.adit/home").await;
    assert_eq!(led.status, 302);
    assert_eq!(led.fields[header::LOCATION], "/status/200?from=portal");
    for path in ["/.adit/x", "/.adit"] {
        let answer = fabric.user().get(&wiki, path).await;
        assert_eq!(answer.json()["reason"], "no_page", "{path}");
    }
    let head = request(Method::HEAD, &wiki, "/robots.txt", body(""));
    let head = fabric.user().send_h2(head).await.expect("a whole answer");
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.fields[header::CONTENT_LENGTH], "26");
    assert_eq!(origin.requests(), before, "the edge answered all of it");
    // The origin has none.
    assert_eq!(fabric.user().status(&open, "/robots.txt").await, 404);
    assert_eq!(origin.requests(), before + 1);
}

#[tokio::test]
async fn answers_carry_what_the_operator_says() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let rules = "[app.wiki.answer_rules]\nremove = [\"content-type\"]\nset = { x-frame-options = \"DENY\" }\n\
                 hsts = { max_age = \"365d\", include_subdomains = true }\ncontent_security_policy = \"default-src 'self'\"\n";
    apply(
        &fabric,
        &[app("wiki", &origin), rules.to_owned()].join("\n"),
    );
    let wiki = format!("wiki.{DOMAIN}");
    fabric.served(&wiki).await;
    for path in ["/echo", "/status/304"] {
        let answer = fabric.user().get(&wiki, path).await;
        let field = |name: &str| {
            answer
                .fields
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        assert_eq!(field("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(
            field("strict-transport-security"),
            Some("max-age=31536000; includeSubDomains"),
            "{path}"
        );
        assert_eq!(
            field("content-security-policy"),
            Some("default-src 'self'"),
            "{path}"
        );
        assert_eq!(field("content-type"), None, "{path}");
    }
}
