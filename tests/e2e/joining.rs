//! Who may join: each token for what it was made, as often as it says, for as long as it says.

use std::{fs, path::Path, time::Duration};

use kit::{
    fabric::{Fabric, Site},
    origin::Origin,
    process::{Process, eventually, free_address},
};

/// Starts an agent that must not get in; gives what it said.
async fn refused(site: &Site, name: &str, token: &str) -> String {
    fs::create_dir_all(site.folder().join(name)).expect("the folder can be written");
    fs::write(site.folder().join(format!("{name}.token")), token)
        .expect("the folder can be written");
    let mut agent =
        site.start_agent_of("default", name, &["--join-file", &format!("{name}.token")]);
    let status = agent.ended().await;
    assert_eq!(status.code(), Some(1), "{}", agent.log());
    agent.log()
}

fn token(site: &Site, args: &[&str]) -> String {
    site.ok(&[&["token", "create", "--output", "json"], args].concat())
}

fn parts(made: &str) -> (String, String) {
    let made: serde_json::Value = serde_json::from_str(made).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let name = if made["name"].is_string() {
        &made["name"]
    } else {
        &made["join_token"]["name"]
    };
    (
        text(name).trim_start_matches("joinTokens/").to_owned(),
        text(&made["token"]),
    )
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused_with_the_reason() {
    let site = Site::new(crate::adit());
    let _control = site.start_control().await;
    let (_, used) = parts(&token(&site, &["--group", "default"]));
    let (revoked_id, revoked) = parts(&token(&site, &["--group", "default"]));
    let (deleted_id, deleted) = parts(&token(&site, &["--group", "default"]));
    let (_, expired) = parts(&token(&site, &["--group", "default", "--ttl", "1s"]));
    let (_, for_edges) = parts(&token(&site, &["--role", "edge"]));
    site.ok(&["token", "revoke", &revoked_id]);
    site.ok(&["token", "delete", &deleted_id]);
    let listed = site.ok(&["token", "list"]);
    assert!(listed.contains(&revoked_id) && !listed.contains(&deleted_id));
    fs::create_dir_all(site.folder().join("first")).expect("the folder can be written");
    fs::write(site.folder().join("used.token"), &used).expect("the folder can be written");
    let first = site.start_agent_of("default", "first", &["--join-file", "used.token"]);
    eventually("the first agent has joined", async || {
        site.ok(&["agent", "list"]).contains("first")
    })
    .await;
    drop(first);
    let forged = {
        let (rest, signature) = used.rsplit_once('.').expect("a JWT has three parts");
        let flipped: String = signature.chars().rev().collect();
        format!("{rest}.{flipped}")
    };
    tokio::time::sleep(Duration::from_millis(1500)).await; // the life of the expired one
    for (name, token, part) in [
        ("used", used.as_str(), "used"),
        ("revoked", &revoked, "revoked"),
        ("deleted", &deleted, "not known"),
        ("expired", &expired, "expired"),
        ("forged", &forged, "token"),
        ("nonsense", "nonsense", "token"),
        ("role", &for_edges, "edge"),
    ] {
        let said = refused(&site, name, token).await;
        assert!(said.to_lowercase().contains(part), "{name}: {said}");
        assert!(
            !said.contains(token) || token == "nonsense",
            "{name}: the token is in the log"
        );
    }
}

#[tokio::test]
async fn a_node_joins_by_an_argument_or_a_variable_and_keeps_neither() {
    let site = Site::new(crate::adit());
    let _control = site.start_control().await;
    let folder = site.folder();
    for name in ["by-argument", "by-variable", "by-named-variable"] {
        fs::create_dir_all(folder.join(name)).expect("the folder can be written");
    }
    let of_agents = || parts(&token(&site, &["--group", "default"])).1;
    let argument = of_agents();
    let mut nodes = vec![site.start_agent_of("default", "by-argument", &["--join", &argument])];
    for (name, variable, more) in [
        ("by-variable", "ADIT_JOIN_TOKEN", ""),
        (
            "by-named-variable",
            "OUR_TOKEN",
            "join_token_env = \"OUR_TOKEN\"\n",
        ),
    ] {
        let (admin, given) = (free_address(), format!("{variable}={}", of_agents()));
        let config = format!("{name}.toml");
        fs::write(folder.join(&config), more).expect("the folder can be written");
        let (program, admin_text) = (crate::adit().to_str().expect("UTF-8"), admin.to_string());
        // `env` becomes the program, so it is the program that is watched.
        let args = [
            &given,
            program,
            "agent",
            "--data-dir",
            name,
            "--name",
            name,
            "--admin",
            &admin_text,
            "--config",
            &config,
        ];
        nodes.push(Process::start(Path::new("env"), folder, name, admin, &args));
    }
    eventually("all have joined", async || {
        let listed = site.ok(&["agent", "list"]);
        ["by-argument", "by-variable", "by-named-variable"]
            .iter()
            .all(|name| listed.contains(name))
    })
    .await;
    for node in &nodes {
        assert!(
            !node.log().contains("eyJ"),
            "a token is in a log: {}",
            node.log()
        );
    }
    drop(nodes);
    let mut again = site.start_agent("by-variable");
    eventually("it is itself without a token", async || {
        again.log().contains("identity loaded")
    })
    .await;
    assert_eq!(again.exited(), None, "{}", again.log());
}

/// From the command's end to control's word that no link is left, which edges tell twice a second.
const CUT_OFF_MAX: Duration = Duration::from_secs(2);

/// How many links an agent has.
fn links(fabric: &Fabric, agent: &str) -> u64 {
    let shown = fabric
        .site()
        .ok(&["agent", "show", agent, "--output", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let links = shown["links"].as_array().cloned().unwrap_or_default();
    links.iter().filter_map(|link| link["links"].as_u64()).sum()
}

#[tokio::test]
async fn a_revoked_agent_is_cut_off_and_stays_out() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let mut second = fabric.site().start_agent("a2");
    second.ready().await;
    eventually("a2 has links", async || links(&fabric, "a2") > 0).await;
    let before = links(&fabric, "a2");
    fabric.site().ok(&["agent", "revoke", "a1"]);
    let revoked = tokio::time::Instant::now();
    eventually("a1 has no link", async || links(&fabric, "a1") == 0).await;
    let took = revoked.elapsed();
    println!("no link of the revoked agent is left after {took:?}");
    assert!(took < CUT_OFF_MAX, "{took:?}");
    assert!(links(&fabric, "a2") >= before, "the other's links stay");
    assert_eq!(
        fabric.user().status(&host, "/").await,
        200,
        "the other agent is untouched"
    );
    second.kill();
    eventually("nobody is left", async || {
        fabric.user().status(&host, "/").await == 503
    })
    .await;
}

#[tokio::test]
async fn a_node_starts_again_without_a_token() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    fabric.agent.kill();
    fabric.agent = fabric.site().start_agent("a1");
    fabric.agent.ready().await;
    eventually("it serves again", async || {
        fabric.user().status(&host, "/").await == 200
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_lost_its_identity_comes_back_under_its_name_by_a_token_for_it_alone() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    fabric.agent.kill();
    let site = fabric.site();
    // Somebody has a copy of what was lost.
    let folder = site.folder();
    fs::rename(folder.join("a1"), folder.join("copy")).expect("the folder can be written");
    let taken = refused(site, "a1", &parts(&token(site, &["--group", "default"])).1).await;
    assert!(taken.contains("exists already"), "{taken}");
    fs::remove_dir_all(folder.join("a1")).expect("the folder can be written");
    let only = parts(&token(site, &["--replace-agent", "a1"])).1;
    fs::create_dir_all(folder.join("anew")).expect("the folder can be written");
    fs::write(folder.join("anew.token"), &only).expect("the folder can be written");
    // The token says which agent it is, whatever the machine would call it.
    let mut anew = site.start_agent_of("default", "anew", &["--join-file", "anew.token"]);
    anew.ready().await;
    assert!(anew.log().contains("agent/a1"), "{}", anew.log());
    eventually("it serves", async || {
        fabric.user().status(&host, "/").await == 200
    })
    .await;
    fs::create_dir_all(folder.join("late")).expect("the folder can be written");
    let used_up = refused(site, "late", &only).await;
    assert!(used_up.contains("used up"), "{used_up}");
    // The copy's key is good no longer.
    let copy = site.start_agent_of("default", "copy", &[]);
    eventually("the copy is refused", async || {
        copy.log().contains("enrolled anew, with another key")
    })
    .await;
    assert_eq!(fabric.user().status(&host, "/").await, 200);
}

#[tokio::test]
async fn an_agent_that_keeps_nothing_joins_anew_at_every_start() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    fabric.agent.kill();
    let site = fabric.site();
    let made = token(site, &["--group", "default", "--uses", "2"]);
    fs::write(site.folder().join("fleet.token"), parts(&made).1)
        .expect("the folder can be written");
    let start = |name: &str| {
        let admin = free_address();
        let admin_text = admin.to_string();
        let args = [
            "agent",
            "--ephemeral",
            "--name",
            "fleet",
            "--join-file",
            "fleet.token",
            "--admin",
            &admin_text,
        ];
        Process::start(crate::adit(), site.folder(), name, admin, &args)
    };
    let listed = || {
        let listed = site.ok(&["agent", "list", "--output", "json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
        let listed = listed.as_array().cloned().unwrap_or_default();
        let of_fleet = listed.iter().filter(|agent| agent["ephemeral"] == true);
        of_fleet.count()
    };
    for count in [1, 2] {
        let mut agent = start(&format!("fleet-{count}"));
        agent.ready().await;
        assert_eq!(listed(), count, "each start has an id of its own");
        eventually("it serves", async || {
            fabric.user().status(&host, "/").await == 200
        })
        .await;
    }
    let left: Vec<_> = fs::read_dir(site.folder())
        .expect("the folder can be read")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("fleet") && !name.ends_with(".log"))
        .collect();
    assert_eq!(left, ["fleet.token"], "nothing is kept");
}
