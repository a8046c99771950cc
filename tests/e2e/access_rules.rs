//! Access rules as their document has them.

use std::{fs, path::Path};

use kit::fabric::{DOMAIN, Site};
use serde_json::Value;

/// The words of every command in a document's blocks of code, as a shell splits them.
pub(crate) fn commands(document: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = fs::read_to_string(path).expect("the document is there");
    let lines = text.lines().filter_map(|line| line.strip_prefix("adit "));
    lines
        .map(|line| {
            let mut words = vec![String::new()];
            let mut quoted = false;
            for letter in line.chars() {
                match letter {
                    '"' => quoted = !quoted,
                    ' ' if !quoted => words.push(String::new()),
                    _ => words.last_mut().expect("one at least").push(letter),
                }
            }
            words
        })
        .collect()
}

/// What the document speaks of.
pub(crate) fn publish(site: &Site) {
    for app in ["wiki", "crm"] {
        let host = format!("{app}.{DOMAIN}");
        site.ok(&[
            "app",
            "publish",
            app,
            "--host",
            &host,
            "--origin",
            "http://127.0.0.1:1",
            "--access",
            "sign-in",
            "--assign-everyone",
        ]);
    }
}

/// By the document's rule about countries, whoever comes from another, or from an unknown one, is blocked.
fn countries_count(site: &Site) {
    let crm = ["access-rule", "what-if", "--user", "alice", "--app", "crm"];
    for (country, decision) in [
        (&["--country", "DE"][..], "step-up: "),
        (&["--country", "FR"], "blocked: "),
        (&[], "blocked: "),
    ] {
        let said = site.ok(&[&crm[..], &["--ip", "203.0.113.9"], country].concat());
        assert!(said.starts_with(decision), "{country:?}: {said}");
    }
    let unknown = ["location", "update", "homelands", "--unknown-country"];
    site.ok(&unknown);
    for (shown, part) in [
        (["location", "show", "homelands"], "unknown"),
        (["location", "show", "homelands"], "AT"),
        (["access-rule", "show", "not-from-abroad"], "country AT"),
    ] {
        let said = site.ok(&shown);
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test]
async fn the_commands_of_the_document_work_as_written() {
    let fabric = crate::fabric().await;
    let site = fabric.site();
    publish(site);
    let what_if = |ip: &str, more: &[&str]| {
        let ask = [
            "access-rule",
            "what-if",
            "--user",
            "alice",
            "--app",
            "wiki",
            "--ip",
            ip,
            "--output",
            "json",
        ];
        let said = site.ok(&[&ask, more].concat());
        let said: Value = serde_json::from_str(&said).expect("JSON");
        let part = said["rules"][0]["part"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (
            said["decision"].as_str().unwrap_or_default().to_owned(),
            part,
        )
    };
    let authority = fs::read(site.folder().join("control/ca.pem")).expect("control's own CA");
    fs::write(site.folder().join("laptops-ca.pem"), authority).expect("the folder is there");
    let commands = commands("docs/access-rules.md");
    assert_eq!(commands.len(), 11, "{commands:?}");
    for (number, words) in commands.iter().enumerate() {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let said = site.ok(&words);
        if number == 2 {
            // Only reported.
            assert!(said.starts_with("through: "), "{said}");
            assert!(said.contains("more than one factor"), "{said}");
        }
    }
    let both = |decision: &str, part: &str| (decision.to_owned(), part.to_owned());
    let device = ["--device-certificate"];
    assert_eq!(what_if("192.0.2.7", &[]), both("step-up", "lacks"));
    assert_eq!(what_if("192.0.2.7", &device), both("through", "met"));
    site.ok(&["access-rule", "delete", "laptops-only"]);
    assert_eq!(what_if("203.0.113.9", &[]), both("step-up", "lacks"));
    assert_eq!(what_if("192.0.2.7", &[]), both("through", "no-match"));
    let strong = ["--amr", "pwd", "--amr", "otp"];
    assert_eq!(what_if("203.0.113.9", &strong), both("through", "met"));
    countries_count(site);
    let said = site.refused(&["location", "delete", "office"]);
    assert!(said.contains("accessRules/mfa-off-site"), "{said}");
    let broken = [
        "access-rule",
        "create",
        "broken",
        "--everyone",
        "--app",
        "nowhere",
        "--block",
        "--when",
        "user.name == 'x'",
    ];
    let said = site.refused(&broken);
    assert!(
        said.contains("at character 1: there is no attribute"),
        "{said}"
    );
    let audit = site.ok(&["audit", "list", "--output", "json"]);
    for part in [
        "CreateAccessRule",
        "UpdateAccessRule",
        "policy.state",
        "CreateLocation",
    ] {
        assert!(audit.contains(part), "{part} is missing in {audit}");
    }
}

#[tokio::test]
async fn an_edge_takes_a_file_of_countries_and_does_not_start_with_a_broken_one() {
    let fabric = crate::fabric().await;
    let site = fabric.site();
    let edge = [
        "edge",
        "--data-dir",
        "edge-of-countries",
        "--admin",
        "127.0.0.1:0",
        "--advertise",
        "localhost:1",
        "--country-file",
        "countries.mmdb",
    ];
    let shown = site.ok(&[&edge[..], &["--print-config"]].concat());
    assert!(
        shown.contains("country_file = \"countries.mmdb\""),
        "{shown}"
    );
    fs::write(site.folder().join("countries.mmdb"), "broken").expect("the folder is there");
    let said = site.refused(&edge);
    assert!(
        said.contains("cannot use the file of countries countries.mmdb"),
        "{said}"
    );
}

/// The file that the document shows.
fn file_of(document: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = fs::read_to_string(path).expect("the document is there");
    let (_, behind) = text.split_once("```toml\n").expect("a file");
    let (file, _) = behind.split_once("```").expect("its end");
    file.to_owned()
}

#[tokio::test]
async fn a_file_has_rules_and_locations_and_can_be_applied_again() {
    let fabric = crate::fabric().await;
    let site = fabric.site();
    publish(site);
    let write = |text: &str| {
        fs::write(site.folder().join("fabric.toml"), text).expect("the folder is there");
    };
    let shown = file_of("docs/access-rules.md");
    write(&shown);
    let apply = ["apply", "-f", "fabric.toml"];
    let dry = site.ok(&[&apply[..], &["--dry-run"]].concat());
    for part in [
        "+ locations/office",
        "+ accessRules/mfa-off-site",
        "+ policy.who: everyone",
        "+ policy.grant: require fresh sign-in within 15m",
        "Nothing was changed.",
    ] {
        assert!(dry.contains(part), "{part} is missing in {dry}");
    }
    let none = site.ok(&["access-rule", "list", "--output", "json"]);
    assert_eq!(none.trim(), "[]", "a dry run changes nothing");
    site.ok(&apply);
    assert!(site.ok(&apply).contains("Nothing to do."));
    let rule = site.ok(&["access-rule", "show", "fresh-admin", "--output", "json"]);
    let rule: Value = serde_json::from_str(&rule).expect("JSON");
    assert_eq!(rule["message"], "Administration asks for a new sign-in.");
    assert_eq!(rule["state"], "on");
    // A rule and what it names come at once; what is not named any more goes with --prune.
    let host = format!("new.{DOMAIN}");
    let other = format!(
        "[app.new]\nhosts = [\"{host}\"]\norigins = [\"http://127.0.0.1:1\"]\naccess = \"sign-in\"\n\n[location.home]\nnetworks = [\"198.51.100.0/24\"]\n\n[access_rule.at-home]\neveryone = true\napps = [\"new\"]\nwhen = \"!('home' in client.locations)\"\nblock = true\n"
    );
    write(&other);
    let made = site.ok(&apply);
    let (app, rule) = (made.find("+ apps/new"), made.find("+ accessRules/at-home"));
    assert!(app.is_some() && app < rule, "{made}");
    let pruned = site.ok(&[&apply[..], &["--prune"]].concat());
    let gone = [
        "- accessRules/mfa-off-site",
        "- locations/office",
        "- apps/wiki",
    ];
    for part in gone {
        assert!(pruned.contains(part), "{part} is missing in {pruned}");
    }
    // Every fault is told with its line, and nothing is changed.
    write(&other.replace(
        "apps = [\"new\"]",
        "apps = [\n  \"new\",\n  \"nowhere\",\n]\nmethods = [\"get\"]",
    ));
    let said = site.refused(&apply);
    assert!(
        said.contains("fabric.toml:15: access_rule.at-home.methods[0]"),
        "{said}"
    );
    write(&other.replace(
        "apps = [\"new\"]",
        "apps = [\n  \"new\",\n  \"nowhere\",\n]",
    ));
    let said = site.refused(&apply);
    assert!(
        said.contains("fabric.toml:13: access_rule.at-home.apps[1]"),
        "{said}"
    );
    write(&other.replace("block = true", "require = [\"luck\"]"));
    let said = site.refused(&apply);
    assert!(
        said.contains("line 13: access_rule.at-home.require[0]"),
        "{said}"
    );
    // A file that says nothing of rules takes none away.
    write("[group.default]\n[location]\n");
    site.ok(&[&apply[..], &["--prune"]].concat());
    assert!(site.ok(&["access-rule", "list"]).contains("at-home"));
    assert!(site.ok(&["location", "list"]).contains("home"));
}
