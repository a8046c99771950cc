//! A whole fabric of real processes on loopback, set up by the commands that an operator would use.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use http::Method;
use tempfile::TempDir;

use crate::{
    client::{User, body, request},
    network::Network,
    process::{Process, eventually, free_address, free_address_of},
};

/// Environment variable with the transport that agents take in tests that are about something else; none: their own choice.
const TRANSPORT_VARIABLE: &str = "ADIT_TEST_TRANSPORT";

/// Port of the admin port of an agent that has a host of its own.
const ADMIN_PORT: u16 = 7482;

/// Domain of every fabric of the tests; `.test` is nobody's (RFC 6761, section 6.2).
pub const DOMAIN: &str = "fabric.test";

/// Control, one edge and one agent of the group `default`, and a folder with all they keep.
#[derive(Debug)]
pub struct Fabric {
    /// Holds the state.
    pub control: Process,
    /// Faces users.
    pub edge: Process,
    /// The first agent, `a1`.
    pub agent: Process,
    site: Site,
    user: User,
}

/// Where a fabric lives: folder, addresses, and the program to run.
#[derive(Debug)]
pub struct Site {
    program: PathBuf,
    folder: TempDir,
    control: SocketAddr,
    control_admin: SocketAddr,
    https: SocketAddr,
    http: SocketAddr,
    edge_admin: SocketAddr,
}

impl Site {
    /// An empty place for a fabric.
    pub fn new(program: &Path) -> Self {
        Self::at(program, Ipv4Addr::LOCALHOST.into())
    }

    /// The same at another address of this host, which agents on other hosts reach.
    pub fn at(program: &Path, host: IpAddr) -> Self {
        Self {
            program: program.to_owned(),
            folder: TempDir::new().expect("the temporary folder can be written"),
            control: free_address_of(host),
            control_admin: free_address(),
            https: free_address_of(host),
            http: free_address_of(host),
            edge_admin: free_address(),
        }
    }

    /// Folder that holds everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where users find the edge.
    pub fn https(&self) -> SocketAddr {
        self.https
    }

    /// Where users without TLS find it.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where nodes and operators find control.
    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// Starts control, for the first or a later time, and waits until it is ready.
    pub async fn start_control(&self) -> Process {
        self.start_control_with(&[]).await
    }

    /// The same, with more arguments.
    pub async fn start_control_with(&self, more: &[&str]) -> Process {
        let (listen, admin) = (self.control.to_string(), self.control_admin.to_string());
        let mut args = vec![
            "control",
            "--data-dir",
            "control",
            "--domain",
            DOMAIN,
            "--listen",
            &listen,
            "--advertise",
            &listen,
            "--admin",
            &admin,
        ];
        args.extend(more);
        let mut control = Process::start(
            &self.program,
            self.folder(),
            "control",
            self.control_admin,
            &args,
        );
        control.ready().await;
        control
    }

    /// Starts the edge; the first time, with a join token.
    pub fn start_edge(&self) -> Process {
        self.start_edge_with(&[])
    }

    /// The same, with more arguments.
    pub fn start_edge_with(&self, more: &[&str]) -> Process {
        self.start_edge_as(&self.https.to_string(), more)
    }

    /// Starts the edge; agents dial it at `advertised`.
    pub fn start_edge_advertised(&self, advertised: &str) -> Process {
        self.start_edge_as(advertised, &[])
    }

    fn start_edge_as(&self, advertised: &str, more: &[&str]) -> Process {
        let (https, http, admin) = (
            self.https.to_string(),
            self.http.to_string(),
            self.edge_admin.to_string(),
        );
        let mut args = vec![
            "edge",
            "--data-dir",
            "edge",
            "--name",
            "e1",
            "--https",
            &https,
            "--http",
            &http,
            "--advertise",
            advertised,
            "--admin",
            &admin,
        ];
        if !self.folder().join("edge").exists() {
            self.token("edge.token", &["--role", "edge"]);
            args.extend(["--join-file", "edge.token"]);
        }
        args.extend(more);
        Process::start(&self.program, self.folder(), "edge", self.edge_admin, &args)
    }

    /// Starts another edge, whom users find at `https`; the first time, with a join token.
    pub fn start_edge_at(&self, name: &str, https: SocketAddr) -> Process {
        let admin = free_address();
        let (https, admin_text) = (https.to_string(), admin.to_string());
        let token = format!("{name}.token");
        let mut args = vec![
            "edge",
            "--data-dir",
            name,
            "--name",
            name,
            "--https",
            &https,
            "--http",
            "off",
            "--advertise",
            &https,
            "--admin",
            &admin_text,
        ];
        if !self.folder().join(name).exists() {
            self.token(&token, &["--role", "edge"]);
            args.extend(["--join-file", &token]);
        }
        Process::start(&self.program, self.folder(), name, admin, &args)
    }

    /// Starts an agent of the group `default`; the first time, with a join token.
    pub fn start_agent(&self, name: &str) -> Process {
        self.start_agent_of("default", name, &[])
    }

    /// Starts an agent of a group, with more arguments.
    pub fn start_agent_of(&self, group: &str, name: &str, more: &[&str]) -> Process {
        let command = self.agent_command(group, name, free_address(), more);
        self.run_agent(&[], name, command)
    }

    /// The same, by a command that is given the program's own, such as `env`.
    pub fn start_agent_by(&self, by: &[String], group: &str, name: &str, more: &[&str]) -> Process {
        let command = self.agent_command(group, name, free_address(), more);
        self.run_agent(by, name, command)
    }

    /// Starts an agent of the group `default` at the far host of a network.
    pub fn start_agent_in(&self, network: &Network, name: &str, more: &[&str]) -> Process {
        let admin = (network.there(), ADMIN_PORT).into();
        let command = self.agent_command("default", name, admin, more);
        self.run_agent(&network.run_there(), name, command)
    }

    fn run_agent(
        &self,
        by: &[String],
        name: &str,
        (admin, args): (SocketAddr, Vec<String>),
    ) -> Process {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        Process::start_by(by, &self.program, self.folder(), name, admin, &args)
    }

    fn agent_command(
        &self,
        group: &str,
        name: &str,
        admin: SocketAddr,
        more: &[&str],
    ) -> (SocketAddr, Vec<String>) {
        let admin_text = admin.to_string();
        let mut args = vec![
            "agent",
            "--data-dir",
            name,
            "--name",
            name,
            "--admin",
            &admin_text,
        ];
        let token = format!("{name}.token");
        if !self.folder().join(name).exists() {
            self.token(&token, &["--group", group]);
            args.extend(["--join-file", &token]);
        }
        let transport = env::var(TRANSPORT_VARIABLE);
        if let Ok(transport) = &transport
            && !more.contains(&"--transport")
        {
            args.extend(["--transport", transport]);
        }
        args.extend(more);
        (admin, args.into_iter().map(str::to_owned).collect())
    }

    fn token(&self, file: &str, args: &[&str]) {
        let made = self.ok(&[&["token", "create"], args].concat());
        fs::write(self.folder().join(file), made).expect("the folder can be written");
    }

    /// Runs an operator's command.
    pub fn run(&self, args: &[&str]) -> Output {
        Command::new(&self.program)
            .args(args)
            .current_dir(self.folder())
            .env("ADIT_PROFILE", self.folder().join("control/operator.toml"))
            .output()
            .expect("the program runs")
    }

    /// Runs an operator's command that must succeed; gives what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "adit {}: {complaint}",
            args.join(" ")
        );
        String::from_utf8(output.stdout).expect("output is UTF-8")
    }

    /// Runs an operator's command that must fail; gives what it complained.
    pub fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(
            !output.status.success(),
            "adit {} succeeded",
            args.join(" ")
        );
        String::from_utf8(output.stderr).expect("complaints are UTF-8")
    }

    /// Somebody who trusts this fabric's CA.
    pub fn user(&self) -> User {
        let ca = fs::read_to_string(self.folder().join("control/ca.pem"))
            .expect("control has started once");
        User::new(self.https, &ca)
    }
}

impl Fabric {
    /// Starts one with `program`, the `adit` binary, and waits until all of it is ready.
    pub async fn start(program: &Path) -> Self {
        let site = Site::new(program);
        let control = site.start_control().await;
        let mut edge = site.start_edge();
        edge.ready().await;
        let mut agent = site.start_agent("a1");
        agent.ready().await;
        Self::of(control, edge, agent, site)
    }

    /// Makes one of processes that are ready.
    pub fn of(control: Process, edge: Process, agent: Process, site: Site) -> Self {
        let user = site.user();
        Self {
            control,
            edge,
            agent,
            site,
            user,
        }
    }

    /// Where it lives.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Somebody who uses it.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// Publishes `id` as `id.fabric.test` in the group `default` and waits until the edge serves it.
    pub async fn publish(&self, id: &str, origin: &str) -> String {
        self.publish_with(id, origin, &[]).await
    }

    /// As [`publish`](Self::publish), with more arguments.
    pub async fn publish_with(&self, id: &str, origin: &str, more: &[&str]) -> String {
        let host = self.command_publish(id, origin, more);
        self.served(&host).await;
        host
    }

    /// Publishes `id` and waits until the edge knows it, without a look at what the origin says: it may say nothing whole.
    pub async fn publish_unseen(&self, id: &str, origin: &str, more: &[&str]) -> String {
        let host = self.command_publish(id, origin, more);
        eventually(&format!("{host} is known"), async || {
            let ask = request(Method::GET, &host, "/", body(""));
            !matches!(self.user.send(ask).await, Ok(answer) if answer.status == 404)
        })
        .await;
        host
    }

    fn command_publish(&self, id: &str, origin: &str, more: &[&str]) -> String {
        let host = format!("{id}.{DOMAIN}");
        let args = [
            "app",
            "publish",
            id,
            "--host",
            &host,
            "--origin",
            origin,
            "--access",
            "passthrough",
        ];
        self.site.ok(&[&args, more].concat());
        host
    }

    /// Waits until something is published at `host` on the edge, and a link to an agent is there.
    pub async fn served(&self, host: &str) {
        eventually(&format!("{host} is served"), async || {
            !matches!(self.user.status(host, "/").await, 404 | 503)
        })
        .await;
    }
}
