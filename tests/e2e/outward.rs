//! Agents in networks that let little out: only a proxy is reached, and behind it only the edge.
//!
//! The proxy is tinyproxy, of Debian, with TLS before it where it is an `https://` one, or microsocks where it speaks SOCKS5. As root the agent runs in a network namespace from which nothing else is reached at all.

use std::{
    cell::RefCell,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use kit::{
    fabric::{DOMAIN, Site},
    origin::Origin,
    process::{Process, eventually, free_address},
    told::not_run,
};
use rcgen::{CertificateParams, KeyPair};
use runtime::Scope;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

const PASSWORD: &str = "correcthorse";
/// The bar: from the start of an agent that has a join token to the first answer to a user.
const SERVING_WITHIN: Duration = Duration::from_secs(10);

/// A network from which only this machine's one address is reached. It goes with the test.
struct Network {
    name: String,
}

impl Network {
    /// None where the test may not make one.
    fn new(tag: &str, outside: &str, inside: &str) -> Option<Self> {
        let name = format!("adit-{tag}-{}", std::process::id());
        let (near, far) = (format!("{tag}o{}", tail()), format!("{tag}i{}", tail()));
        if !ip(&["netns", "add", &name]) {
            return None;
        }
        let network = Self { name };
        let name = network.name.as_str();
        let made = ip(&[
            "link", "add", &near, "type", "veth", "peer", "name", &far, "netns", name,
        ]) && ip(&["addr", "add", outside, "dev", &near])
            && ip(&["link", "set", &near, "up"])
            && ip(&["-n", name, "addr", "add", inside, "dev", &far])
            && ip(&["-n", name, "link", "set", &far, "up"])
            && ip(&["-n", name, "link", "set", "lo", "up"]);
        made.then_some(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Its end of the line goes with it, and so does ours.
        ip(&["netns", "del", &self.name]);
    }
}

/// Interfaces have 15 letters.
fn tail() -> u32 {
    std::process::id() % 1_000_000
}

fn ip(args: &[&str]) -> bool {
    let made = Command::new("ip").args(args).output();
    made.is_ok_and(|made| made.status.success())
}

/// A tinyproxy that lets through to these ports.
struct Proxy {
    _process: Process,
    log: PathBuf,
    address: String,
}

impl Proxy {
    async fn start(site: &Site, name: &str, listen: &str, ports: &[u16], more: &str) -> Self {
        let port = free_address().port();
        let log = site.folder().join(format!("{name}-proxy.log"));
        let ports: String = ports
            .iter()
            .map(|port| format!("ConnectPort {port}\n"))
            .collect();
        let config = format!(
            "Port {port}\nListen {listen}\nTimeout 600\nMaxClients 20\nLogLevel Connect\nLogFile \"{}\"\n{ports}{more}",
            log.display()
        );
        let file = site.folder().join(format!("{name}-proxy.conf"));
        fs::write(&file, config).expect("the folder can be written");
        let file = file.to_str().expect("UTF-8");
        let process = Process::start(
            Path::new("tinyproxy"),
            site.folder(),
            &format!("{name}-tinyproxy"),
            free_address(),
            &["-d", "-c", file],
        );
        let address = format!("{listen}:{port}");
        eventually("the proxy listens", async || {
            TcpStream::connect(&address).await.is_ok()
        })
        .await;
        Self {
            _process: process,
            log,
            address,
        }
    }

    /// What it was asked for.
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// A microsocks that serves who shows [`PASSWORD`] as `ann`.
struct Socks {
    process: Process,
    address: String,
}

impl Socks {
    async fn start(site: &Site, listen: &str) -> Self {
        let port = free_address().port().to_string();
        let process = Process::start(
            Path::new("microsocks"),
            site.folder(),
            "microsocks",
            free_address(),
            &["-i", listen, "-p", &port, "-u", "ann", "-P", PASSWORD],
        );
        let address = format!("{listen}:{port}");
        eventually("the proxy listens", async || {
            TcpStream::connect(&address).await.is_ok()
        })
        .await;
        Self { process, address }
    }

    /// How often it was asked for this address.
    fn asked(&self, address: SocketAddr) -> usize {
        let said = format!("connected to {}:{}\n", address.ip(), address.port());
        self.process.log().matches(&said).count()
    }
}

/// Speaks TLS in front of a proxy. Gives where, and the file with what it is trusted by.
async fn start_tls(proxy: &Proxy, listen: &str, folder: &Path, scope: &Scope) -> (String, PathBuf) {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec![listen.to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let file = folder.join("proxy.pem");
    fs::write(&file, certificate.pem()).expect("the folder can be written");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            key.serialize_der().try_into().expect("a key"),
        )
        .expect("the certificate fits the key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((listen, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket").to_string();
    let (behind, own) = (proxy.address.clone(), scope.clone());
    scope.spawn("tls before a proxy", async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            own.spawn("proxied", async move {
                // Either side may break off.
                let Ok(mut inside) = acceptor.accept(socket).await else {
                    return;
                };
                if let Ok(mut outside) = TcpStream::connect(behind).await {
                    let _ = copy_bidirectional(&mut inside, &mut outside).await;
                }
            });
        }
    });
    (address, file)
}

/// Starts an agent, in `network` if there is one.
fn start_agent(site: &Site, network: Option<&Network>, name: &str, more: &[&str]) -> Process {
    start_agent_of("default", site, network, name, more)
}

/// The same, of a group; what comes in `more` before the first flag are variables.
fn start_agent_of(
    group: &str,
    site: &Site,
    network: Option<&Network>,
    name: &str,
    more: &[&str],
) -> Process {
    let (admin, token) = (free_address(), format!("{name}.token"));
    let made = site.ok(&["token", "create", "--group", group]);
    let is_variable = |word: &&&str| !word.starts_with('-');
    let variables: Vec<&str> = more.iter().take_while(is_variable).copied().collect();
    let more = &more[variables.len()..];
    fs::write(site.folder().join(&token), made).expect("the folder can be written");
    let adit = crate::adit().to_str().expect("UTF-8");
    let admin_text = admin.to_string();
    let mut args = variables;
    args.extend([
        adit,
        "agent",
        "--data-dir",
        name,
        "--name",
        name,
        "--admin",
        &admin_text,
        "--join-file",
        &token,
    ]);
    args.extend(more);
    // Both become the program, so it is the program that is watched.
    let (program, args) = match network {
        Some(network) => {
            let entering = vec!["netns", "exec", network.name.as_str(), "env"];
            ("ip", [entering, args].concat())
        }
        None => ("env", args),
    };
    Process::start(Path::new(program), site.folder(), name, admin, &args)
}

/// Waits until control has seen an agent run on what is published.
async fn synced(site: &Site, agent: &mut Process, name: &str) {
    let watched = RefCell::new(&mut *agent);
    eventually(&format!("{name} follows control"), async || {
        assert_eq!(watched.borrow_mut().exited(), None, "{name} has ended");
        let shown = site.run(&["agent", "show", name, "--output", "json"]);
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap_or_default();
        shown["applied_revision"].as_u64().unwrap_or_default() > 0
    })
    .await;
    assert!(!agent.log().contains(PASSWORD), "{}", agent.log());
}

fn has_tinyproxy() -> bool {
    has("tinyproxy", "-v")
}

/// Whether the machine has a program, which ends at once with this flag.
fn has(program: &str, flag: &str) -> bool {
    let found = Command::new(program).arg(flag).output().is_ok();
    if !found {
        not_run(&format!("there is no {program} on this machine"));
    }
    found
}

/// A network with nothing but a proxy in it; without root, loopback, where the proxy's log alone tells that it is used.
///
/// `host` is the last part of this machine's address there, of the block for tests of devices (RFC 2544), which no network has.
fn network(tag: &str, host: u8) -> (Option<Network>, String) {
    let address = |host: u8| format!("198.18.77.{host}");
    let (outside, inside) = (address(host), address(host + 1));
    let network = Network::new(tag, &format!("{outside}/30"), &format!("{inside}/30"));
    if network.is_some() {
        return (network, outside);
    }
    not_run("the network without a way out, which needs root: the agent runs beside the proxy");
    (None, "127.0.0.1".to_owned())
}

#[tokio::test]
async fn an_agent_that_reaches_only_a_proxy_joins_and_follows_control() {
    if !has_tinyproxy() {
        return;
    }
    let site = Site::new(crate::adit());
    let _control = site.start_control().await;
    let port = site.control().port();
    let (network, listen) = network("px", 1);
    let network = network.as_ref();
    let open = Proxy::start(&site, "open", &listen, &[port], "").await;
    let url = format!("http://{}", open.address);
    let mut agent = start_agent(&site, network, "open", &["--proxy", &url]);
    synced(&site, &mut agent, "open").await;
    let asked = format!("CONNECT {}", site.control());
    assert!(open.log().contains(&asked), "{}", open.log());

    let login = format!("BasicAuth ann {PASSWORD}\n");
    let closed = Proxy::start(&site, "closed", &listen, &[port], &login).await;
    let url = format!("http://{}", closed.address);
    let mut nobody = start_agent(&site, network, "nobody", &["--proxy", &url]);
    nobody.ended().await;
    let log = nobody.log();
    assert!(
        log.contains("the proxy asks for a user name and password"),
        "{log}"
    );

    fs::write(site.folder().join("wrong.password"), "wrong\n").expect("the folder can be written");
    fs::write(
        site.folder().join("right.password"),
        format!("{PASSWORD}\n"),
    )
    .expect("the folder can be written");
    let url = format!("http://ann@{}", closed.address);
    let with = |file| ["--proxy", url.as_str(), "--proxy-password-file", file];
    let mut wrong = start_agent(&site, network, "wrong", &with("wrong.password"));
    wrong.ended().await;
    let log = wrong.log();
    // tinyproxy says 401 of a password that is not right; others say 407 once more.
    let refused = "the proxy does not accept the user name and password";
    assert!(log.contains(refused), "{log}");

    let began = Instant::now();
    let mut right = start_agent(&site, network, "right", &with("right.password"));
    synced(&site, &mut right, "right").await;
    println!(
        "joined and followed control through a proxy after {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn an_agent_needs_one_port_of_the_edge_to_reach_control() {
    if !has_tinyproxy() {
        return;
    }
    let site = Site::new(crate::adit());
    let https = site.https().to_string();
    // What join tokens say: control itself, then the edge that leads to it.
    let _control = site.start_control_with(&["--advertise", &https]).await;
    let control = site.control().to_string();
    let mut edge = site.start_edge_with(&["--pass-control", &control]);
    edge.ready().await;
    let (network, listen) = network("op", 5);
    let proxy = Proxy::start(&site, "edge", &listen, &[site.https().port()], "").await;
    let url = format!("http://{}", proxy.address);
    let mut agent = start_agent(&site, network.as_ref(), "a1", &["--proxy", &url]);
    synced(&site, &mut agent, "a1").await;
    assert!(
        proxy.log().contains(&format!("CONNECT {https}")),
        "{}",
        proxy.log()
    );
    let metrics = edge.admin("/metrics").await;
    assert!(metrics.contains("edge_control_connections 1"), "{metrics}");
    let passed = "edge_control_connections_total{outcome=\"passed\"}";
    assert!(metrics.contains(passed), "{metrics}");
}

#[tokio::test]
async fn an_agent_behind_nothing_but_a_proxy_serves_within_ten_seconds() {
    if !has_tinyproxy() {
        return;
    }
    let site = Site::new(crate::adit());
    let scope = Scope::root();
    let _control = site.start_control().await;
    let mut edge = site.start_edge();
    edge.ready().await;
    let (network, listen) = network("sv", 9);
    let network = network.as_ref();
    let origin = Origin::start_at(listen.parse().expect("an address")).await;
    let ports = [site.control().port(), site.https().port()];
    let open = Proxy::start(&site, "open", &listen, &ports, "").await;
    let login = format!("BasicAuth ann {PASSWORD}\n");
    let closed = Proxy::start(&site, "closed", &listen, &ports, &login).await;
    let (secure, trusted) = start_tls(&closed, &listen, site.folder(), &scope).await;
    fs::write(
        site.folder().join("proxy.password"),
        format!("{PASSWORD}\n"),
    )
    .expect("the folder can be written");
    let trusted = format!("SSL_CERT_FILE={}", trusted.display());
    let [plain, basic, tls] = [
        format!("http://{}", open.address),
        format!("http://ann@{}", closed.address),
        format!("https://ann@{secure}"),
    ];
    let password = ["--proxy-password-file", "proxy.password"];
    for (name, proxy, more) in [
        ("plain", vec!["--proxy", plain.as_str()], &[][..]),
        ("basic", vec!["--proxy", basic.as_str()], &password[..]),
        (
            "tls",
            vec![trusted.as_str(), "--proxy", tls.as_str()],
            &password[..],
        ),
    ] {
        site.ok(&["group", "create", name]);
        let host = format!("{name}.{DOMAIN}");
        let app = ["app", "publish", name, "--group", name, "--host", &host];
        let origin = ["--origin", &origin.url(), "--access", "passthrough"];
        site.ok(&[&app[..], &origin[..]].concat());
        let began = Instant::now();
        let agent = start_agent_of(name, &site, network, name, &[&proxy[..], more].concat());
        let user = site.user();
        eventually(&format!("{name}: a user is served"), async || {
            user.status(&host, "/").await == 200
        })
        .await;
        let took = began.elapsed();
        println!("{name}: from the start to the first answer {took:?}");
        assert!(took <= SERVING_WITHIN, "{name}: {took:?}; {}", agent.log());
        assert!(!agent.log().contains(PASSWORD), "{}", agent.log());
    }
    let asked = format!("CONNECT {}", site.https());
    assert!(closed.log().contains(&asked), "{}", closed.log());
}

#[tokio::test]
async fn the_usual_variables_lead_through_a_socks_proxy_or_past_it() {
    // microsocks knows no flag for this, and ends.
    if !has("microsocks", "-h") {
        return;
    }
    // With the variables loopback is reached directly, so that there is nothing to see without a network.
    let (Some(network), listen) = network("sx", 13) else {
        return;
    };
    let here = listen.parse().expect("an address");
    let site = Site::at(crate::adit(), here);
    let _control = site.start_control().await;
    let mut edge = site.start_edge();
    edge.ready().await;
    let origin = Origin::start_at(here).await;
    let socks = Socks::start(&site, &listen).await;
    let with_password = format!("ann:{PASSWORD}@{}", socks.address);
    let nowhere = format!("socks5://{listen}:{}", free_address().port());
    let variable = |name: &str, value: &str| format!("{name}={value}");
    let through = |name: &str| vec![variable(name, &format!("socks5h://{with_password}"))];
    for (name, variables, is_asked) in [
        ("https", through("HTTPS_PROXY"), true),
        ("small", through("https_proxy"), true),
        ("all", through("ALL_PROXY"), true),
        (
            "past",
            vec![
                variable("HTTPS_PROXY", &nowhere),
                variable("NO_PROXY", ".example.com,198.18.77.12/30"),
            ],
            false,
        ),
    ] {
        site.ok(&["group", "create", name]);
        let host = format!("{name}.{DOMAIN}");
        let app = ["app", "publish", name, "--group", name, "--host", &host];
        let origin = ["--origin", &origin.url(), "--access", "passthrough"];
        site.ok(&[&app[..], &origin[..]].concat());
        let before = [site.control(), site.https()].map(|address| socks.asked(address));
        // UDP passes this network, and no proxy.
        let variables = variables.iter().map(String::as_str);
        let more: Vec<_> = variables.chain(["--transport", "tcp"]).collect();
        let began = Instant::now();
        let agent = start_agent_of(name, &site, Some(&network), name, &more);
        let user = site.user();
        let logs = || format!("{name}: {}{}", agent.log(), socks.process.log());
        eventually(&format!("{name}: a user is served"), async || {
            assert!(began.elapsed() <= SERVING_WITHIN, "{}", logs());
            user.status(&host, "/").await == 200
        })
        .await;
        assert!(!agent.log().contains(PASSWORD), "{}", agent.log());
        let after = [site.control(), site.https()].map(|address| socks.asked(address));
        for (before, after) in before.into_iter().zip(after) {
            assert_eq!(after > before, is_asked, "{}", logs());
        }
    }
    let wrong = variable(
        "HTTPS_PROXY",
        &format!("socks5://ann:wrong@{}", socks.address),
    );
    let mut agent = start_agent(&site, Some(&network), "wrong", &[&wrong]);
    agent.ended().await;
    let refused = "the proxy does not accept the user name and password";
    assert!(agent.log().contains(refused), "{}", agent.log());
    let astray = variable("HTTPS_PROXY", &nowhere);
    let agent = start_agent(&site, Some(&network), "astray", &[&astray]);
    eventually("the proxy that is not there is named", async || {
        agent
            .log()
            .contains(nowhere.trim_start_matches("socks5://"))
    })
    .await;
}
