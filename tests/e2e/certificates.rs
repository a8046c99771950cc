//! Devices are known by certificates of CAs that OpenSSL made, to curl and to a user of HTTP/3, as docs/access-rules.md says.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use kit::{fabric::Fabric, origin::Origin, process::eventually};
use runtime::Clock;

use crate::sign_in::Visitor;

/// Runs OpenSSL.
fn openssl(folder: &Path, line: &str) {
    let output = Command::new("openssl")
        .args(line.split(' '))
        .current_dir(folder)
        .output()
        .expect("openssl runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {line}: {complaint}");
}

/// Makes a CA, `name`.pem and `name`.key, and what it needs to keep a list of what it has revoked.
fn make_ca(folder: &Path, name: &str) {
    let extensions =
        "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign";
    openssl(
        folder,
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.pem -days 30 -subj /O=Example/CN={name} {extensions}"
        ),
    );
    // With a number, lists are of version 2 (RFC 5280, section 5.1.2.1).
    let settings = format!(
        "[ca]\ndefault_ca = it\n[it]\ndatabase = {name}.txt\ncertificate = {name}.pem\nprivate_key = {name}.key\ndefault_md = sha256\ndefault_crl_days = 30\ncrlnumber = {name}.number\n"
    );
    for (ending, text) in [("cnf", &*settings), ("txt", ""), ("number", "01\n")] {
        let file = folder.join(format!("{name}.{ending}"));
        fs::write(file, text).expect("the folder can be written");
    }
}

/// Makes `name`.pem and `name`.key, signed by `ca`.
fn make_leaf(folder: &Path, ca: &str, name: &str, serial: &str, extensions: &str) {
    fs::write(folder.join("extensions"), extensions).expect("the folder can be written");
    openssl(
        folder,
        &format!("req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"),
    );
    openssl(
        folder,
        &format!(
            "x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -set_serial {serial} -days 30 -extfile extensions -out {name}.pem"
        ),
    );
}

/// Asks by curl, with these arguments, and gives the status.
fn curl(fabric: &Fabric, host: &str, more: &str, fields: &[(&str, &str)]) -> String {
    let port = fabric.site().https().port();
    let line = format!(
        "--config - --silent --show-error --cacert control/ca.pem --resolve {host}:{port}:127.0.0.1 --output answer --write-out %{{http_code}} {more} https://{host}:{port}/echo"
    );
    let mut curl = Command::new("curl")
        .args(line.split_whitespace())
        .current_dir(fabric.site().folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl runs");
    let mut settings = curl.stdin.take().expect("a pipe");
    for (name, value) in fields {
        writeln!(settings, "header = \"{name}: {value}\"").expect("curl reads its settings");
    }
    drop(settings);
    let output = curl.wait_with_output().expect("our own child");
    String::from_utf8(output.stdout).expect("a status")
}

/// A closed app of alice's, which takes devices of the CA `laptops`; and her cookies.
async fn with_devices(fabric: &Fabric, origin: &Origin) -> (String, String) {
    let site = fabric.site();
    let folder = site.folder();
    make_ca(folder, "laptops");
    make_leaf(
        folder,
        "laptops",
        "laptop",
        "0x1A2B",
        "extendedKeyUsage=clientAuth",
    );
    let host = fabric.publish("wiki", &origin.url()).await;
    let made = site.ok(&["user", "create", "alice"]);
    let create = ["client-ca", "create", "laptops", "--for", "devices"];
    site.ok(&[&create[..], &["--file", "laptops.pem"]].concat());
    let close = ["app", "update", "wiki", "--access", "sign-in"];
    site.ok(&[&close[..], &["--assign-everyone", "--client-ca", "laptops"]].concat());
    eventually("the app is closed", async || {
        fabric.user().status(&host, "/").await == 401
    })
    .await;
    let mut alice = Visitor::new(fabric.user());
    let page = alice.sign_in(&host, "alice", made.trim()).await;
    assert_eq!(page.status, 200);
    let rule = [
        "access-rule",
        "create",
        "devices",
        "--everyone",
        "--all-apps",
    ];
    site.ok(&[&rule[..], &["--require", "device-certificate"]].concat());
    let cookies = alice.cookies(&host);
    eventually("a device is asked for", async || {
        curl(fabric, &host, "", &[("cookie", &cookies)]) == "403"
    })
    .await;
    (host, cookies)
}

const LAPTOP: &str = "--cert laptop.pem --key laptop.key";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_are_known_to_curl_and_over_http3() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let (host, cookies) = with_devices(&fabric, &origin).await;
    let folder = fabric.site().folder();
    let shown = [("cookie", &*cookies), ("x-client-cert", "forged")];
    for version in [
        "--http1.1",
        "--http2",
        "--http1.1 --tls-max 1.2",
        "--http2 --tls-max 1.2",
    ] {
        let more = format!("{version} {LAPTOP}");
        assert_eq!(curl(&fabric, &host, &more, &shown), "200", "{version}");
        assert_eq!(curl(&fabric, &host, version, &shown), "403", "{version}");
        assert_eq!(curl(&fabric, &host, &more, &[]), "401", "{version}");
    }
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("openssl made it");
    let user = fabric
        .user()
        .showing(&read("laptop.pem"), &read("laptop.key"));
    let mut by_http3 = user.http3(&host).await.expect("the edge speaks HTTP/3");
    assert_eq!(by_http3.get_with("/", "cookie", &cookies).await.status, 200);
    let mut without = fabric.user().http3(&host).await.expect("HTTP/3");
    assert_eq!(without.get_with("/", "cookie", &cookies).await.status, 403);
    // Of another CA of the same name, and of a server.
    let other = folder.join("other");
    fs::create_dir(&other).expect("the folder can be written");
    make_ca(&other, "laptops");
    let client = "extendedKeyUsage=clientAuth";
    make_leaf(&other, "laptops", "laptop", "1", client);
    let server = "extendedKeyUsage=serverAuth";
    make_leaf(folder, "laptops", "server", "2", server);
    for name in ["other/laptop", "server"] {
        let more = format!("--cert {name}.pem --key {name}.key");
        assert_eq!(curl(&fabric, &host, &more, &shown), "403", "{name}");
    }
    let metrics = fabric.edge.admin("/metrics").await;
    // A CA of the same name has not signed it, which is found by its key.
    for outcome in ["good", "bad"] {
        let name = format!("edge_client_certificates_total{{outcome=\"{outcome}\"}}");
        let moved = |line: &str| line.starts_with(&name) && !line.ends_with(" 0");
        assert!(metrics.lines().any(moved), "{name} in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_is_revoked_is_cut_off_by_serial_by_list_and_with_its_ca() {
    /// What is promised.
    const BOUND: Duration = Duration::from_secs(2);
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let (host, cookies) = with_devices(&fabric, &origin).await;
    let (site, folder) = (fabric.site(), fabric.site().folder());
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("openssl made it");
    let user = fabric
        .user()
        .showing(&read("laptop.pem"), &read("laptop.key"));
    let mut by_http3 = user.http3(&host).await.expect("the edge speaks HTTP/3");
    let open = by_http3.open_with("/hang", "cookie", &cookies).await;
    let open = open.expect("a head");
    let clock = Clock::system();
    let began = clock.now();
    let update = |more: &[&str]| {
        site.ok(&[&["client-ca", "update", "laptops"], more].concat());
    };
    update(&["--revoke-serial", "1a:2b"]);
    let told = clock.now() - began;
    let ended = tokio::time::timeout(BOUND, open.collect()).await;
    assert!(ended.expect("it ends in time").is_err(), "cut, not whole");
    let all = clock.now() - began;
    println!("{told:?} for the command, {all:?} until what was open had ended");
    let shown = [("cookie", &*cookies)];
    assert_eq!(curl(&fabric, &host, LAPTOP, &shown), "403");
    let becomes = async |what: &str, want: &str| {
        eventually(what, async || curl(&fabric, &host, LAPTOP, &shown) == want).await;
    };
    update(&["--restore-serial", "1A2B"]);
    becomes("it counts again", "200").await;
    openssl(folder, "ca -config laptops.cnf -gencrl -out none.crl.pem");
    update(&["--crl", "none.crl.pem"]);
    becomes("it is on no list", "200").await;
    openssl(folder, "ca -config laptops.cnf -revoke laptop.pem");
    openssl(folder, "ca -config laptops.cnf -gencrl -out some.crl.pem");
    update(&["--crl", "some.crl.pem"]);
    becomes("it is on the list", "403").await;
    update(&["--no-crl"]);
    becomes("there is no list any more", "200").await;
    site.ok(&["client-ca", "delete", "laptops"]);
    becomes("the CA is gone", "403").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_are_known_by_their_certificates() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let (site, folder) = (fabric.site(), fabric.site().folder());
    make_ca(folder, "jobs");
    let named = |name: &str| format!("extendedKeyUsage=clientAuth\nsubjectAltName=DNS:{name}");
    make_leaf(folder, "jobs", "ci", "1", &named("ci.example.com"));
    make_leaf(folder, "jobs", "cron", "2", &named("cron.example.com"));
    let host = fabric.publish("wiki", &origin.url()).await;
    let create = ["client-ca", "create", "jobs", "--for", "programs"];
    site.ok(&[&create[..], &["--file", "jobs.pem"]].concat());
    let close = [
        "app",
        "update",
        "wiki",
        "--access",
        "sign-in",
        "--client-ca",
        "jobs",
    ];
    let assign = ["--assign-program", "jobs/ci.example.com"];
    site.ok(&[&close[..], &assign, &["--identity-field", "x-user=user"]].concat());
    let ci = "--cert ci.pem --key ci.key";
    eventually("the program gets in", async || {
        curl(&fabric, &host, ci, &[]) == "200"
    })
    .await;
    let forged = [("x-user", "certificate:jobs/root")];
    for version in ["--http1.1", "--http2"] {
        let status = curl(&fabric, &host, &format!("{version} {ci}"), &forged);
        assert_eq!(status, "200", "{version}");
        let seen = fs::read_to_string(folder.join("answer")).expect("the origin's answer");
        assert!(
            seen.contains("[\"x-user\",\"certificate:jobs/ci.example.com\"]"),
            "{seen}"
        );
        assert!(!seen.contains("jobs/root"), "{seen}");
    }
    let cron = "--cert cron.pem --key cron.key";
    assert_eq!(curl(&fabric, &host, cron, &[]), "403");
    assert_eq!(curl(&fabric, &host, "", &[]), "401");
    assert!(site.ok(&["app", "list"]).contains("sign-in: 1 program"));
    site.ok(&["app", "update", "wiki", "--assign-program", "jobs/*"]);
    eventually("all of the CA get in", async || {
        curl(&fabric, &host, cron, &[]) == "200"
    })
    .await;
    site.ok(&["client-ca", "delete", "jobs"]);
    eventually("the CA is gone", async || {
        curl(&fabric, &host, ci, &[]) == "401"
    })
    .await;
}

#[tokio::test]
async fn operators_make_change_and_take_away_client_cas() {
    let fabric = crate::fabric().await;
    let (site, folder) = (fabric.site(), fabric.site().folder());
    make_ca(folder, "laptops");
    make_leaf(
        folder,
        "laptops",
        "laptop",
        "7",
        "extendedKeyUsage=clientAuth",
    );
    assert!(site.ok(&["client-ca", "list"]).is_empty());
    let create = [
        "client-ca",
        "create",
        "laptops",
        "--for",
        "devices",
        "--file",
    ];
    for (file, why) in [("laptop.pem", "CAs only"), ("laptops.key", "no keys")] {
        let refused = site.refused(&[&create[..], &[file]].concat());
        assert!(refused.contains(why), "{file}: {refused}");
        assert!(!refused.contains("BEGIN"), "{refused}");
    }
    let dry = site.ok(&[&create[..], &["laptops.pem", "--dry-run"]].concat());
    assert!(dry.contains("nothing was changed"), "{dry}");
    site.ok(&[&create[..], &["laptops.pem", "--display-name", "Laptops"]].concat());
    let list = site.ok(&["client-ca", "list"]);
    for part in ["laptops", "Laptops", "devices", "in 29 days"] {
        assert!(list.contains(part), "{part} is missing in\n{list}");
    }
    let shown = site.ok(&["client-ca", "show", "laptops"]);
    assert!(shown.contains("CN=laptops"), "{shown}");
    let gone = ["client-ca", "show", "desktops"];
    assert!(site.refused(&gone).contains("NOT_FOUND"));
    site.ok(&["client-ca", "delete", "laptops"]);
    let audit = site.ok(&["audit", "list", "--output", "json"]);
    assert!(audit.contains("CreateClientCa") && audit.contains("DeleteClientCa"));
}
