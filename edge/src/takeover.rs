//! How a new process of an edge takes over from the one that serves, so that nobody meets an error.
//!
//! The process that serves, the elder, listens at `takeover.sock` in its data directory, where only its own user comes. Whoever connects
//! is given what it serves by: one line of JSON, and with it (SCM_RIGHTS) the listening sockets of users, the tunnel's sockets, and the
//! admin port. Listening sockets are shared from then on: a user who knocks waits for either process. The younger then says, a line each:
//!
//! | line | the elder |
//! |---|---|
//! | `agents` | tells its agents to dial again, which leads them to the younger; it serves on |
//! | `serve` | stops accepting, drains, ends |
//!
//! The end of the line before `serve` means that the younger failed: the elder goes on as before. Its end after that means to the
//! younger that the elder is gone.

use std::{
    fs,
    io::{self, IoSlice, IoSliceMut, Write as _},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{fs::PermissionsExt as _, net::UnixStream as StdUnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use runtime::{Scope, file};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines, Take},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tunnel::steering::{Generation, Steering, WORKERS_MAX};

use crate::{config::Config, edge::StartError};

/// In the data directory.
const SOCKET_FILE: &str = "takeover.sock";
/// Which generation the process is that served last: another program may find its connections yet.
const GENERATION_FILE: &str = "generation";
/// Of the offer; a younger process that knows another one does not take over.
const FORMAT: u32 = 1;
/// Sockets in one offer: users over TLS, users over plain HTTP, agents, and the admin port. Below the 253 that Linux takes.
const SOCKETS_MAX: usize = 3 * WORKERS_MAX as usize + 1;
/// An offer is some 150 bytes.
const OFFER_BYTES_MAX: usize = 4096;
/// Longest line of the younger.
const LINE_BYTES_MAX: u64 = 64;
/// For an offer to be written and to be read.
const OFFER_TIMEOUT: Duration = Duration::from_secs(5);
/// For a younger process to go from one step to the next: it reads a snapshot, or waits for agents, for a few seconds.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
/// After a failed `accept`, as while no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Orders that wait to be followed.
pub(crate) const ORDERS_MAX: usize = 4;

const AGENTS: &str = "agents";
const SERVE: &str = "serve";

/// What the elder says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Offer {
    format: u32,
    generation: u8,
    workers: usize,
    /// Whether there are listeners for plain HTTP.
    http: bool,
    /// Agents that have links with it.
    agents: usize,
}

/// What a process serves by, to be given to the next.
#[derive(Debug)]
pub(crate) struct Given {
    pub https: Vec<TcpListener>,
    /// As many, or none.
    pub http: Vec<TcpListener>,
    pub tunnel: Steering,
    pub admin: TcpListener,
    pub generation: Generation,
}

impl Given {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let https = self.https.iter().map(|socket| socket.as_fd());
        let http = self.http.iter().map(|socket| socket.as_fd());
        let tunnel = self.tunnel.sockets().iter().map(|socket| socket.as_fd());
        let all = https.chain(http).chain(tunnel);
        all.chain([self.admin.as_fd()]).collect()
    }

    /// Where users are served, where they are redirected, and where agents dial.
    pub(crate) fn addresses(&self) -> io::Result<(SocketAddr, Option<SocketAddr>, SocketAddr)> {
        let nothing = || io::Error::from(io::ErrorKind::InvalidData);
        let https = self.https.first().ok_or_else(nothing)?.local_addr()?;
        let http = self.http.first().map(TcpListener::local_addr).transpose()?;
        let tunnel = self.tunnel.sockets().first().ok_or_else(nothing)?;
        Ok((https, http, tunnel.local_addr()?))
    }
}

/// What the younger asks of the elder.
#[derive(Debug)]
pub(crate) enum Order {
    /// To send agents over.
    Agents,
    /// To drain and end.
    Serve(Line),
    /// Nothing any more: it failed.
    Abandoned,
}

/// The line to the younger. Its end says that this process is gone.
#[derive(Debug)]
pub(crate) struct Line {
    _open: Lines<BufReader<Take<UnixStream>>>,
}

/// The generation of a process that takes over from nobody.
pub(crate) fn kept_generation(directory: &Path) -> Generation {
    match fs::read(directory.join(GENERATION_FILE)).as_deref() {
        Ok(b"1") => Generation::Odd,
        _ => Generation::Even,
    }
}

/// Keeps the generation for a start after a crash. Without it, connections of the process that crashed end a little later.
fn keep_generation(directory: &Path, generation: Generation) {
    let path = directory.join(GENERATION_FILE);
    if let Err(error) = file::replace(
        &path,
        number(generation).to_string().as_bytes(),
        file::PRIVATE,
    ) {
        tracing::warn!(%error, file = %path.display(), "cannot keep the edge's generation");
    }
}

const fn number(generation: Generation) -> u8 {
    match generation {
        Generation::Even => 0,
        Generation::Odd => 1,
    }
}

/// Opens the door for who comes next; whoever knocks waits for the [`offer`]. A place where no socket can be is told, and means that nobody
/// can take over.
pub(crate) fn open(directory: &Path, generation: Generation) -> Option<UnixListener> {
    keep_generation(directory, generation);
    let path = directory.join(SOCKET_FILE);
    listen(&path)
        .inspect_err(|error| {
            tracing::warn!(%error, socket = %path.display(), "no other process will be able to take over from this one");
        })
        .ok()
}

/// Becomes an elder: offers what the process serves by to who comes next. `agents` counts those that have links over QUIC. What the younger
/// asks for goes to `orders`.
pub(crate) fn offer(
    door: Option<UnixListener>,
    given: Given,
    agents: impl Fn() -> usize + Send + Sync + 'static,
    orders: mpsc::Sender<Order>,
    scope: &Scope,
) {
    let Some(door) = door else { return };
    let own = scope.child("take-over");
    scope.spawn_standing("take-over", async move {
        tokio::select! {
            () = own.cancelled() => {}
            () = attend(door, given, agents, orders) => {}
        }
    });
}

/// A socket that an earlier process left is replaced: nobody listens there, or it would have been asked to hand over.
fn listen(path: &Path) -> io::Result<UnixListener> {
    file::remove(path)?;
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(file::PRIVATE))?;
    Ok(listener)
}

/// One younger process at a time, until one has taken over.
async fn attend(
    listener: UnixListener,
    given: Given,
    agents: impl Fn() -> usize,
    orders: mpsc::Sender<Order>,
) {
    loop {
        let line = match listener.accept().await {
            Ok((line, _)) => line,
            Err(error) => {
                tracing::warn!(%error, "cannot hear who would take over");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match serve_one(line, &given, agents(), &orders).await {
            Ok(Some(line)) => {
                // Fails only when nobody serves any more.
                let _ = orders.send(Order::Serve(line)).await;
                // And with it lets go of what users knock at.
                return;
            }
            failed => {
                let error = failed.err().map(|error| error.to_string());
                tracing::warn!(
                    error,
                    "the process that was to take over failed; this one serves on"
                );
                if let Err(error) = given.tunnel.alone() {
                    tracing::error!(%error, "cannot take the tunnel's packets back");
                }
                // As above.
                let _ = orders.send(Order::Abandoned).await;
            }
        }
    }
}

/// Gives the line once this process is to end.
async fn serve_one(
    line: UnixStream,
    given: &Given,
    agents: usize,
    orders: &mpsc::Sender<Order>,
) -> io::Result<Option<Line>> {
    let offer = Offer {
        format: FORMAT,
        generation: number(given.generation),
        workers: given.https.len(),
        http: !given.http.is_empty(),
        agents,
    };
    let line = send(line, &offer, given)?;
    tracing::info!("another process of this edge takes over");
    let mut lines = BufReader::new(line.take(LINE_BYTES_MAX)).lines();
    loop {
        let said = timeout(STEP_TIMEOUT, lines.next_line()).await;
        let said = said.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let Some(said) = said else {
            return Ok(None);
        };
        match said.as_str() {
            AGENTS => {
                // As above.
                let _ = orders.send(Order::Agents).await;
            }
            SERVE => return Ok(Some(Line { _open: lines })),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn send(line: UnixStream, offer: &Offer, given: &Given) -> io::Result<UnixStream> {
    let line = line.into_std()?;
    line.set_nonblocking(false)?;
    line.set_write_timeout(Some(OFFER_TIMEOUT))?;
    let mut said = serde_json::to_vec(offer).map_err(io::Error::other)?;
    said.push(b'\n');
    let descriptors = given.descriptors();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("too many sockets to hand over"));
    }
    sendmsg(
        &line,
        &[IoSlice::new(&said)],
        &mut control,
        SendFlags::empty(),
    )?;
    line.set_nonblocking(true)?;
    UnixStream::from_std(line)
}

/// What a younger process got from its elder, and the line to it.
#[derive(Debug)]
pub(crate) struct Taken {
    pub given: Given,
    /// Agents that had links with the elder.
    pub agents: usize,
    line: StdUnixStream,
}

impl Taken {
    /// The generation of a process that takes over with this configuration.
    ///
    /// # Errors
    /// It serves by other addresses, or with other workers, than the elder.
    pub(crate) fn suits(&self, config: &Config) -> Result<Generation, StartError> {
        let differs = |what: &str| StartError::TakeOver {
            source: io::Error::other(format!("{what} differ from its own: stop it first")),
        };
        let serves_at = self.given.addresses();
        let (https, http, tunnel) = serves_at.map_err(|source| StartError::TakeOver { source })?;
        let is_meant = |written: SocketAddr, is: SocketAddr| {
            written.ip() == is.ip() && (written.port() == 0 || written.port() == is.port())
        };
        let is_same = is_meant(config.https, https)
            && is_meant(config.tunnel, tunnel)
            && match (config.http, http) {
                (Some(written), Some(is)) => is_meant(written, is),
                (written, is) => written.is_none() && is.is_none(),
            };
        if !is_same {
            return Err(differs("the addresses"));
        }
        if self.given.https.len() != config.workers.get() {
            return Err(differs("the workers"));
        }
        Ok(self.given.generation.next())
    }

    /// Asks the elder to send its agents.
    pub(crate) fn ask_for_agents(&mut self) {
        self.say(AGENTS);
    }

    /// Tells the elder that this process serves users now.
    pub(crate) fn say_it_serves(&mut self) {
        self.say(SERVE);
    }

    /// An elder that is gone needs to be told nothing, and shows by [`gone`](Self::gone).
    fn say(&mut self, line: &str) {
        if let Err(error) = self.line.write_all(format!("{line}\n").as_bytes()) {
            tracing::warn!(%error, "the process that served before does not listen");
        }
    }

    /// Waits until the elder is gone. Its sockets are closed when this is dropped.
    pub(crate) async fn gone(&self) -> io::Result<()> {
        self.line.set_nonblocking(true)?;
        let mut line = UnixStream::from_std(self.line.try_clone()?)?;
        let mut said = [0; 64];
        // It says nothing more; an error means its end as well.
        while line.read(&mut said).await.is_ok_and(|bytes| bytes > 0) {}
        Ok(())
    }
}

/// Asks whether another process serves from this directory, and what by.
///
/// # Errors
/// One does, but cannot be understood.
pub(crate) async fn ask(directory: &Path) -> Result<Option<Taken>, StartError> {
    let path = directory.join(SOCKET_FILE);
    let failed = |source| StartError::TakeOver { source };
    let asked = spawn_blocking(move || receive(&path)).await;
    asked
        .map_err(io::Error::other)
        .and_then(|taken| taken)
        .map_err(failed)
}

fn receive(path: &PathBuf) -> io::Result<Option<Taken>> {
    let line = match StdUnixStream::connect(path) {
        Ok(line) => line,
        // Nobody was there, or nobody is any more.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        // No name of a socket can be as long: nobody listens there.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(None),
        Err(error) => return Err(error),
    };
    line.set_read_timeout(Some(OFFER_TIMEOUT))?;
    let mut said = [0; OFFER_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        &line,
        &mut [IoSliceMut::new(&mut said)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let descriptors: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let offer: Offer = serde_json::from_slice(&said[..received.bytes])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some(Taken {
        given: understood(&offer, descriptors)?,
        agents: offer.agents,
        line,
    }))
}

fn understood(offer: &Offer, descriptors: Vec<OwnedFd>) -> io::Result<Given> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    if offer.format != FORMAT {
        return Err(invalid("it speaks another language: stop it first"));
    }
    let http = if offer.http { offer.workers } else { 0 };
    if descriptors.len() != offer.workers * 2 + http + 1 {
        return Err(invalid("it gave not as many sockets as it said"));
    }
    let mut descriptors = descriptors.into_iter();
    let mut listeners = |count| -> Vec<TcpListener> {
        descriptors
            .by_ref()
            .take(count)
            .map(TcpListener::from)
            .collect()
    };
    let (https, http) = (listeners(offer.workers), listeners(http));
    let tunnel = descriptors.by_ref().take(offer.workers);
    let tunnel = Steering::new(tunnel.map(UdpSocket::from).collect())?;
    let admin = descriptors.next().ok_or_else(|| invalid("no admin port"))?;
    Ok(Given {
        https,
        http,
        tunnel,
        admin: TcpListener::from(admin),
        generation: match offer.generation {
            0 => Generation::Even,
            _ => Generation::Odd,
        },
    })
}
