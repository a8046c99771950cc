//! `adit doctor` names what is wrong: each fault is made on purpose, and must be told by its own word and exit code.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    thread,
    time::Duration,
};

use kit::{
    fabric::{DOMAIN, Fabric, Site},
    origin::Origin,
    process::{Process, eventually, free_address},
    told::not_run,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use serde_json::Value;

/// What the doctor said, and ended with.
pub(crate) struct Said {
    code: Option<i32>,
    report: Value,
    pub(crate) text: String,
}

impl Said {
    pub(crate) fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        Self {
            code: output.status.code(),
            report: serde_json::from_str(&text).unwrap_or_default(),
            text: text + &complaint,
        }
    }

    /// Findings with this fault.
    pub(crate) fn with(&self, fault: &str) -> Vec<&Value> {
        let findings = self.report["findings"].as_array();
        let findings = findings.map(Vec::as_slice).unwrap_or_default().iter();
        findings
            .filter(|finding| finding["fault"] == fault)
            .collect()
    }

    /// The fault comes first, with its exit code, and what was found holds `part`.
    #[track_caller]
    pub(crate) fn names(&self, fault: &str, code: i32, part: &str) {
        let told = &self.text;
        assert_eq!(self.report["fault"], fault, "{told}");
        assert_eq!(self.code, Some(code), "{told}");
        assert_eq!(self.report["exit_code"], code, "{told}");
        let found = self.with(fault);
        assert!(!found.is_empty(), "{told}");
        let says = |finding: &&Value| finding["found"].as_str().unwrap_or_default().contains(part);
        assert!(found.iter().any(says), "no {part:?} in {told}");
        assert!(
            found.iter().all(|finding| finding["fix"].is_string()),
            "{told}"
        );
    }

    #[track_caller]
    pub(crate) fn is_well(&self) {
        assert_eq!(self.report["fault"], Value::Null, "{}", self.text);
        assert_eq!(self.code, Some(0), "{}", self.text);
    }
}

fn agent(site: &Site, more: &[&str]) -> Said {
    Said::of(&site.run(&[&["doctor", "agent", "--json"], more].concat()))
}

/// What the agent is told with a data directory of this name.
fn agent_at(site: &Site, directory: &str) -> Said {
    agent(site, &["--data-dir", directory])
}

/// A copy of a node's data directory, to be spoiled.
fn copy(site: &Site, from: &str, to: &str) -> PathBuf {
    let (from, to) = (site.folder().join(from), site.folder().join(to));
    fs::create_dir_all(&to).expect("the folder can be written");
    for entry in fs::read_dir(from).expect("the node has started") {
        let path = entry.expect("a folder can be listed").path();
        let name = path.file_name().expect("files have names");
        fs::copy(&path, to.join(name)).expect("files can be copied");
    }
    to
}

fn write(path: impl AsRef<Path>, text: impl AsRef<[u8]>) {
    fs::write(path, text).expect("the folder can be written");
}

/// A certificate for a server, by an issuer that no node trusts.
fn server_of(issuer: &str, name: &str) -> rustls::ServerConfig {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, issuer);
    let ca_certificate = ca.self_signed(&ca_key).expect("a certificate");
    let ca = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec![name.to_owned()])
        .and_then(|params| params.signed_by(&key, &ca))
        .expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone(), ca_certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
        .expect("the certificate fits the key");
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Gives a node another certificate of the fabric's own CA, for these years.
fn certify(site: &Site, directory: &Path, years: [i32; 2]) {
    let control = site.folder().join("control");
    let read = |path: PathBuf| fs::read_to_string(path).expect("the file is there");
    let ca_key = KeyPair::from_pem(&read(control.join("ca.key"))).expect("a key");
    let ca = Issuer::from_ca_cert_pem(&read(control.join("ca.pem")), ca_key).expect("a CA");
    let key = KeyPair::from_pem(&read(directory.join("identity.key"))).expect("a key");
    let mut params = CertificateParams::default();
    let name = format!("spiffe://{DOMAIN}/agent/a1");
    params.subject_alt_names = vec![SanType::URI(name.try_into().expect("ASCII"))];
    params.not_before = date_time_ymd(years[0], 1, 1);
    params.not_after = date_time_ymd(years[1], 1, 1);
    let certificate = params.signed_by(&key, &ca).expect("a certificate");
    write(directory.join("identity.pem"), certificate.pem());
}

/// Nobody listens there, as far as TCP goes.
fn closed_address() -> String {
    free_address().to_string()
}

fn token(site: &Site, file: &str, more: &[&str]) {
    let made = site.ok(&[&["token", "create", "--group", "default"], more].concat());
    write(site.folder().join(file), made);
}

/// The agent learns of an app, and the doctor by its snapshot.
async fn published(site: &Site, url: &str) {
    eventually(&format!("{url} is in the snapshot"), async || {
        let snapshot = fs::read(site.folder().join("a1/snapshot.bin")).unwrap_or_default();
        // Origins stand in it as they are published.
        snapshot
            .windows(url.len())
            .any(|part| part == url.as_bytes())
    })
    .await;
}

// The doctor is waited for on one thread, and origins answer it on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_twelve_faults_is_named() {
    let mut fabric = crate::fabric().await;
    let origin = Origin::start().await;
    fabric.publish("wiki", &origin.url()).await;
    published(fabric.site(), &origin.url()).await;
    a_healthy_agent_is_well_and_stays_linked(&fabric).await;
    faults_of_this_machine(fabric.site());
    faults_on_the_way_to_control(fabric.site()).await;
    faults_of_what_the_agent_shows(fabric.site()).await;
    faults_of_origins(&fabric).await;
    udp_that_is_blocked(fabric.site()).await;
    another_fabric_at_the_same_address(&mut fabric).await;
}

async fn a_healthy_agent_is_well_and_stays_linked(fabric: &Fabric) {
    let site = fabric.site();
    let before = fabric.agent.log().matches("uplink is down").count();
    let said = agent_at(site, "a1");
    said.is_well();
    let checks: Vec<_> = [
        "identity", "dns", "tcp", "tls", "control", "clock", "link", "packets", "origin",
    ]
    .into();
    for check in checks {
        let found = said.report["findings"].as_array().expect("findings");
        let ok = found
            .iter()
            .any(|finding| finding["check"] == check && finding["verdict"] == "ok");
        assert!(ok, "{check}: {}", said.text);
    }
    let after = fabric.agent.log().matches("uplink is down").count();
    assert_eq!(after, before, "the agent beside it was disturbed");
    assert_eq!(
        fabric.user().status(&format!("wiki.{DOMAIN}"), "/").await,
        200
    );
    // For people, and of a node that has a token only.
    token(site, "fresh.token", &[]);
    let lines = site.run(&[
        "doctor",
        "agent",
        "--data-dir",
        "new",
        "--join-file",
        "fresh.token",
    ]);
    let lines = Said::of(&lines);
    assert_eq!(lines.code, Some(0), "{}", lines.text);
    assert!(lines.text.contains("answers over UDP"), "{}", lines.text);
    assert!(!site.folder().join("new").exists(), "nothing is made");
    // The token, good for one agent, is not used up by it.
    fs::create_dir(site.folder().join("a3")).expect("the folder can be written");
    let mut third = site.start_agent_of("default", "a3", &["--join-file", "fresh.token"]);
    third.ready().await;
}

fn faults_of_this_machine(site: &Site) {
    write(site.folder().join("agent.toml"), "workers = \"many\"\n");
    agent(site, &["--config", "agent.toml"]).names("configuration", 10, "agent.toml");
    // 1. The data directory cannot be written.
    agent_at(site, "agent.toml/a1").names("data_directory", 11, "cannot be written");
    agent_at(site, "nobody").names("no_identity", 12, "nobody");
    // 2. Buffers are tiny. Who may make a mount namespace can make them look so.
    let limit = site.folder().join("rmem_max");
    write(&limit, "212992\n");
    let script = format!(
        "mount --bind {} /proc/sys/net/core/rmem_max && exec {} doctor agent --json --strict --data-dir a1",
        limit.display(),
        crate::adit().display(),
    );
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .current_dir(site.folder())
        .output();
    let said = output.map(|output| Said::of(&output));
    match said {
        Ok(said) if said.report.is_object() => said.names("buffers", 27, "208 KiB to receive"),
        Ok(said) => not_run(&format!(
            "tiny buffers, without a mount namespace: {}",
            said.text
        )),
        Err(error) => not_run(&format!("tiny buffers, without unshare: {error}")),
    }
}

async fn faults_on_the_way_to_control(site: &Site) {
    let spoiled = copy(site, "a1", "spoiled");
    let control_at = |address: &str| write(spoiled.join("control.addresses"), address);
    // 3. A name that is none.
    control_at("control.nowhere.invalid:7443");
    agent_at(site, "spoiled").names("dns", 18, "no address");
    // 4. TCP is refused.
    control_at(&closed_address());
    agent_at(site, "spoiled").names("tcp", 19, "refused");
    // What answers, but not in TLS.
    let plain = Origin::start().await;
    control_at(&plain.addr().to_string());
    agent_at(site, "spoiled").names("tls", 20, "does not speak TLS");
    // 5. Somebody in between ends TLS.
    let between = server_of("Zscaler Root CA", "control.adit.internal");
    let between = Origin::start_tls(between).await;
    control_at(&between.addr().to_string());
    agent_at(site, "spoiled").names("tls_interception", 21, "issued by \"Zscaler Root CA\"");
    // One address that works is enough.
    let right = fs::read_to_string(site.folder().join("a1/control.addresses"));
    let right = right.expect("the agent has joined");
    control_at(&format!("{}\n{}", closed_address(), right.trim()));
    let said = agent_at(site, "spoiled");
    said.is_well();
    assert_eq!(said.with("tcp")[0]["verdict"], "warning", "{}", said.text);
}

async fn faults_of_what_the_agent_shows(site: &Site) {
    // 6. An expired token, and an expired certificate.
    token(site, "short.token", &["--ttl", "1s"]);
    write(site.folder().join("broken.token"), "eyJhbGciOi");
    tokio::time::sleep(Duration::from_millis(1_500)).await; // the life of the short one
    let with = |file| agent(site, &["--data-dir", "new", "--join-file", file]);
    with("short.token").names("token_expired", 14, "ran out");
    with("broken.token").names("token", 13, "copied whole");
    let shown = copy(site, "a1", "shown");
    certify(site, &shown, [2020, 2021]);
    agent_at(site, "shown").names("certificate_expired", 15, "ran out");
    // 7. A clock that is off, as a certificate of the day after looks.
    certify(site, &shown, [2090, 2091]);
    agent_at(site, "shown").names("clock", 17, "behind");
    // 8. A revoked agent.
    let mut revoked = site.start_agent("a2");
    revoked.ready().await;
    drop(revoked);
    site.ok(&["agent", "revoke", "a2"]);
    agent_at(site, "a2").names("revoked", 23, "revoked");
}

async fn faults_of_origins(fabric: &Fabric) {
    let site = fabric.site();
    // 9. An origin that refuses.
    let refusing = format!("http://{}", closed_address());
    fabric.publish_unseen("refusing", &refusing, &[]).await;
    published(site, &refusing).await;
    agent_at(site, "a1").names("origin_connect", 32, "refused");
    site.ok(&["app", "delete", "refusing"]);
    // 10. One whose TLS does not hold.
    let strange = Origin::start_tls(server_of("Some CA", "inner.example")).await;
    fabric.publish_unseen("strange", &strange.url(), &[]).await;
    published(site, &strange.url()).await;
    eventually("the doctor knows of the other origin alone", async || {
        agent_at(site, "a1").report["fault"] == "origin_tls"
    })
    .await;
    agent_at(site, "a1").names("origin_tls", 33, "TLS handshake");
    // What the agent's own list leaves out.
    let listed = agent(site, &["--data-dir", "a1", "--allow", "192.0.2.0/24:*"]);
    assert_eq!(
        listed.with("origin_not_allowed").len(),
        2,
        "{}",
        listed.text
    );
    site.ok(&["app", "delete", "strange"]);
    // What answers, but not as HTTP does.
    let babbling = format!("http://{}", babbler());
    fabric.publish_unseen("babbling", &babbling, &[]).await;
    published(site, &babbling).await;
    eventually("the doctor knows of the third origin alone", async || {
        agent_at(site, "a1").report["fault"] == "origin_answer"
    })
    .await;
    agent_at(site, "a1").names("origin_answer", 34, "no answer");
    site.ok(&["app", "delete", "babbling"]);
}

/// Where a server says what is no HTTP to everybody, until the test ends.
fn babbler() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = listener.local_addr().expect("a bound socket").to_string();
    thread::spawn(move || {
        for mut tcp in listener.incoming().flatten() {
            // Who asks may be gone already.
            let _ = tcp.read(&mut [0; 1024]);
            let _ = tcp.write_all(b"220 mail.example.com ESMTP\r\n");
        }
    });
    address
}

async fn udp_that_is_blocked(site: &Site) {
    // 11. An edge whose TCP port answers and whose UDP port does not.
    let tcp = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let advertised = tcp.local_addr().expect("a bound socket").to_string();
    let made = site.ok(&["token", "create", "--role", "edge"]);
    write(site.folder().join("e2.token"), made);
    let (https, admin) = (free_address().to_string(), free_address());
    let admin_text = admin.to_string();
    let mut args = vec![
        "edge",
        "--data-dir",
        "e2",
        "--name",
        "e2",
        "--join-file",
        "e2.token",
    ];
    args.extend([
        "--https",
        &https,
        "--http",
        "off",
        "--advertise",
        &advertised,
    ]);
    args.extend(["--admin", &admin_text]);
    let mut edge = Process::start(crate::adit(), site.folder(), "e2", admin, &args);
    edge.ready().await;
    eventually("control knows where the edge is", async || {
        site.ok(&["edge", "list", "--output", "json"])
            .contains(&advertised)
    })
    .await;
    // Its port of users takes links over TCP, unless the agent may not.
    let said = agent_at(site, "a1");
    let blocked = said.with("udp_blocked");
    assert_eq!(blocked.len(), 1, "{}", said.text);
    assert_eq!(blocked[0]["verdict"], "warning", "{}", said.text);
    assert!(said.text.contains("over TCP"), "{}", said.text);
    // Who goes over TCP alone need not know.
    let said = agent(site, &["--data-dir", "a1", "--transport", "tcp"]);
    said.is_well();
    assert!(said.with("udp_blocked").is_empty(), "{}", said.text);
    let welcomes = said.text.matches("over TCP").count();
    assert_eq!(welcomes, 2, "both edges: {}", said.text);
    let said = agent(site, &["--data-dir", "a1", "--transport", "quic"]);
    said.names("udp_blocked", 25, "UDP is blocked");
    assert_eq!(said.with("udp_blocked").len(), 1, "{}", said.text);
    drop(edge);
    site.ok(&["edge", "revoke", "e2"]);
}

// The doctor is waited for on one thread, and what stands between on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_is_not_the_fabrics_own_is_told_by_what_it_presents() {
    let mut fabric = crate::fabric().await;
    let address = fabric.site().https();
    fabric.edge.kill();
    let other = Site::new(crate::adit());
    let _control = other.start_control().await;
    let mut edge = other.start_edge_at("e1", address);
    edge.ready().await;
    let site = fabric.site();
    token(site, "fresh.token", &[]);
    for over in ["quic", "tcp"] {
        let said = agent(site, &["--data-dir", "a1", "--transport", over]);
        said.names("wrong_ca", 22, "another fabric");
        let fresh = ["--data-dir", "new", "--join-file", "fresh.token"];
        let said = agent(site, &[&fresh[..], &["--transport", over]].concat());
        said.names("wrong_ca", 22, "another fabric");
    }
    drop(edge);
    // Somebody in between, who ends TLS.
    let between = server_of("Zscaler Root CA", "edge.example.com");
    let between = Origin::start_tls_at(address, between).await;
    let said = agent(site, &["--data-dir", "a1", "--transport", "tcp"]);
    said.names("tls_interception", 21, "issued by \"Zscaler Root CA\"");
    drop(between);
    eventually("nobody listens there", async || {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
    let said = agent(site, &["--data-dir", "a1", "--transport", "tcp"]);
    said.names("tcp", 19, "no connection over TCP");
}

async fn another_fabric_at_the_same_address(fabric: &mut Fabric) {
    let site = fabric.site();
    let address = fs::read_to_string(site.folder().join("a1/control.addresses"));
    let address = address.expect("the agent has joined");
    token(site, "pinned.token", &[]);
    fabric.control.kill();
    let admin = free_address();
    let admin_text = admin.to_string();
    let args = [
        "control",
        "--data-dir",
        "other",
        "--domain",
        "other.test",
        "--listen",
        address.trim(),
        "--advertise",
        address.trim(),
        "--admin",
        &admin_text,
    ];
    let site = fabric.site();
    let mut other = Process::start(crate::adit(), site.folder(), "other", admin, &args);
    other.ready().await;
    // 12. The token's pin is of another CA.
    let said = agent(site, &["--data-dir", "new", "--join-file", "pinned.token"]);
    said.names("wrong_ca", 22, "another fabric");
    agent_at(site, "a1").names("wrong_ca", 22, "other.test");
}

// The doctor is waited for on one thread, and origins answer it on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_of_an_edge_knows_its_ports_certificates_and_names() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    fabric.publish("wiki", &origin.url()).await;
    let site = fabric.site();
    let (https, http) = (site.https().to_string(), site.http().to_string());
    let edge = |admin: &str, more: &[&str]| {
        let mut args = vec!["doctor", "edge", "--json", "--data-dir", "edge"];
        args.extend(["--https", &https, "--http", &http, "--advertise", &https]);
        args.extend(["--admin", admin]);
        args.extend(more);
        Said::of(&site.run(&args))
    };
    let any = "127.0.0.1:0";
    let snapshot = site.folder().join("edge/snapshot.bin");
    eventually("what is published is on the edge's disk", async || {
        let disk = fs::read(&snapshot).unwrap_or_default();
        disk.windows(4).any(|window| window == b"wiki")
    })
    .await;
    let said = edge(any, &[]);
    said.is_well();
    let findings = said.report["findings"].as_array().expect("findings");
    let held = |finding: &&Value| {
        let found = finding["found"].as_str().unwrap_or_default();
        finding["verdict"] == "ok" && found.starts_with("held by adit")
    };
    assert_eq!(findings.iter().filter(held).count(), 3, "{}", said.text);
    let certified =
        |finding: &Value| finding["check"] == "certificate" && finding["verdict"] == "ok";
    assert!(findings.iter().any(certified), "{}", said.text);
    // `.test` is nobody's.
    assert_eq!(said.with("host_dns").len(), 1, "{}", said.text);
    let taken = TcpListener::bind(any).expect("loopback has free ports");
    let address = taken.local_addr().expect("a bound socket").to_string();
    edge(&address, &[]).names("port", 35, "taken by");
    let strict = edge(any, &["--strict"]);
    assert_ne!(strict.code, Some(0), "{}", strict.text);
}

#[test]
fn every_fault_is_documented_with_its_exit_code() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md");
    let page = fs::read_to_string(page).expect("the page is there");
    for fault in runtime::doctor::Fault::ALL {
        let row = format!("| {} | `{}` |", fault.exit_code(), fault.as_str());
        assert!(page.contains(&row), "docs/operating.md lacks {row}");
    }
}
