//! The fabric around which everything is simulated: control and one edge, as processes.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use proto::admin::NodeRole;
use runtime::Clock;
use tempfile::TempDir;

use super::{
    Options,
    admin::Admin,
    process::{Process, free_address},
};

/// Domain of the fabric; `.test` is nobody's (RFC 6761, section 6.2).
pub(super) const DOMAIN: &str = "population.test";
/// The real edge.
pub(super) const EDGE: &str = "e1";
/// Of the names of folders.
const PREFIX: &str = "adit-population-";
/// Where Linux keeps files in memory.
const MEMORY: &str = "/dev/shm";
/// Where an edge keeps its data, under the fabric's folder.
const EDGE_FOLDER: &str = "edge";
/// What the edge keeps of what control told it.
const SNAPSHOT_FILE: &str = "snapshot.bin";
/// Warnings and worse: a line for each of thousands of links would be a load of its own.
const LOG: &str = "warn";

/// Control, and all that is needed to start the edge.
#[derive(Debug)]
pub(super) struct Fabric {
    pub(super) clock: Clock,
    pub(super) admin: Admin,
    /// Apps that exist, numbered from 0.
    pub(super) apps: usize,
    options: Options,
    control: Process,
    control_address: SocketAddr,
    edge_address: SocketAddr,
    edge_admin: SocketAddr,
    /// What simulated nodes keep: they have disks of their own, and may not load control's.
    nodes: TempDir,
    // Last: goes when the processes have.
    folder: TempDir,
}

impl Fabric {
    /// Starts control with an empty store.
    pub(super) async fn start(options: &Options, clock: &Clock) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix(PREFIX).context("making a folder")?;
        let (listen, admin) = (free_address()?, free_address()?);
        let (listen_text, admin_text) = (listen.to_string(), admin.to_string());
        let args = [
            "control",
            "--data-dir",
            "control",
            "--domain",
            DOMAIN,
            "--listen",
            &listen_text,
            "--advertise",
            &listen_text,
            "--admin",
            &admin_text,
            "--log",
            LOG,
        ];
        let mut control = Process::start(&options.adit, folder.path(), "control", admin, &args)?;
        control.ready(clock).await?;
        Ok(Self {
            clock: clock.clone(),
            admin: Admin::reach(&folder.path().join("control/operator.toml")).await?,
            apps: 0,
            options: options.clone(),
            control,
            control_address: listen,
            edge_address: free_address()?,
            edge_admin: free_address()?,
            nodes: TempDir::with_prefix_in(PREFIX, MEMORY)
                .or_else(|_| TempDir::with_prefix(PREFIX))
                .context("making a folder")?,
            folder,
        })
    }

    /// Folder of simulated nodes.
    pub(super) fn nodes(&self) -> &Path {
        self.nodes.path()
    }

    /// Folder of the processes.
    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Control, to see what it uses.
    pub(super) const fn control(&self) -> &Process {
        &self.control
    }

    /// Where control is, as nodes know it.
    pub(super) fn control_addresses(&self) -> Vec<String> {
        vec![self.control_address.to_string()]
    }

    /// What certificates of the edge are checked against.
    pub(super) fn roots(&self) -> PathBuf {
        self.folder().join("control/ca.pem")
    }

    /// Where the edge listens, whenever it runs.
    pub(super) const fn edge_address(&self) -> SocketAddr {
        self.edge_address
    }

    /// Starts the edge; the first time, with a join token. It may not be ready yet.
    pub(super) async fn start_edge(&self) -> anyhow::Result<Process> {
        let (listen, admin) = (self.edge_address.to_string(), self.edge_admin.to_string());
        let workers = self.options.workers.to_string();
        let mut args = vec![
            "edge",
            "--data-dir",
            EDGE_FOLDER,
            "--name",
            EDGE,
            "--https",
            &listen,
            "--http",
            "off",
            "--advertise",
            &listen,
            "--admin",
            &admin,
            "--workers",
            &workers,
            "--log",
            LOG,
        ];
        if !self.folder().join(EDGE_FOLDER).exists() {
            let token = self.admin.join_token(NodeRole::Edge, 1).await?;
            fs::write(self.folder().join("edge.token"), token.expose())?;
            args.extend(["--join-file", "edge.token"]);
        }
        Process::start(
            &self.options.adit,
            self.folder(),
            EDGE,
            self.edge_admin,
            &args,
        )
    }

    /// Starts an agent of its own process, with a join token. It may not be ready yet.
    pub(super) async fn start_agent(&self, name: &str) -> anyhow::Result<Process> {
        let admin_address = free_address()?;
        let admin = admin_address.to_string();
        let token = self.admin.join_token(NodeRole::Agent, 1).await?;
        fs::write(self.folder().join("agent.token"), token.expose())?;
        let args = [
            "agent",
            "--data-dir",
            name,
            "--name",
            name,
            "--join-file",
            "agent.token",
            "--admin",
            &admin,
            "--log",
            LOG,
        ];
        Process::start(
            &self.options.adit,
            self.folder(),
            name,
            admin_address,
            &args,
        )
    }

    /// Takes from the edge, which does not run, what control told it, if it ever ran.
    pub(super) fn forget_snapshot(&self) -> anyhow::Result<()> {
        let path = self.folder().join(EDGE_FOLDER).join(SNAPSHOT_FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Sees to it that there are so many apps; gives how long each of the new ones took, on average.
    pub(super) async fn publish_up_to(
        &mut self,
        count: usize,
        say: &dyn Fn(&str),
    ) -> anyhow::Result<Option<Duration>> {
        let new = count.saturating_sub(self.apps);
        if new == 0 {
            return Ok(None);
        }
        let began = self.clock.now();
        self.admin.publish(self.apps..count, say).await?;
        self.apps = count;
        let took = self.clock.now() - began;
        Ok(Some(took / u32::try_from(new).unwrap_or(u32::MAX)))
    }
}
