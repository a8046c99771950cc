//! Steering: which worker of an edge gets a datagram.
//!
//! The workers' sockets share one port as a SO_REUSEPORT group. Byte 0 of every connection ID that an edge issues is
//! congruent to its worker modulo their number, and a classic BPF program on the group reads that byte. It needs no
//! privileges, and a connection keeps its worker when the peer's address changes.
//!
//! While one process takes over from another, the sockets of both are in the group: those of the elder first, as the kernel counts
//! sockets in the order in which they were bound. Byte 0 also says of which [`Generation`] an ID is, and whoever begins
//! a connection then reaches the younger.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use rand::Rng as _;
use socket2::{Domain, Protocol, Socket, Type};

use crate::quic::{ISSUED_ID_BYTES, Network, Underlay};

/// Workers of one process. Byte 0 of a connection ID then still has at least two values for each of both generations.
pub const WORKERS_MAX: u8 = 64;

/// Asked of the kernel for each direction of a socket: Linux's default of 208 KiB holds fewer than 100 packets.
pub const SOCKET_BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// With less than this, what arrives within one round trip is lost at speeds that are usual; the doctor warns from here on, too. Linux tells the double.
const SOCKET_BUFFER_BYTES_MIN: usize = 1024 * 1024 * if cfg!(target_os = "linux") { 2 } else { 1 };
/// What lets a socket have as much as is asked for.
const ADVICE: &str = "bursts are lost in buffers this small: sysctl -w net.core.rmem_max=8388608 net.core.wmem_max=8388608, and the same in /etc/sysctl.d";

/// Which of two processes: one that serves and one that takes over from it are of different generations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Generation {
    /// The first, and every second after it.
    #[default]
    Even,
    /// The others.
    Odd,
}

impl Generation {
    /// That of who takes over from this one.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Even => Self::Odd,
            Self::Odd => Self::Even,
        }
    }
}

/// One worker out of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    index: u8,
    count: u8,
    generation: Generation,
}

impl Worker {
    /// Worker `index` of `count`; `None` unless `index < count <= WORKERS_MAX`.
    #[must_use]
    pub fn new(index: u32, count: u32) -> Option<Self> {
        let (index, count) = (u8::try_from(index).ok()?, u8::try_from(count).ok()?);
        (index < count && count <= WORKERS_MAX).then_some(Self {
            index,
            count,
            generation: Generation::default(),
        })
    }

    /// The same worker in a process of this generation.
    #[must_use]
    pub const fn of(self, generation: Generation) -> Self {
        Self { generation, ..self }
    }

    /// From 0.
    #[must_use]
    pub const fn index(self) -> u8 {
        self.index
    }

    /// Of which process it is.
    pub(crate) const fn generation(self) -> Generation {
        self.generation
    }

    /// Workers in all.
    #[must_use]
    pub const fn count(self) -> u8 {
        self.count
    }

    /// A random byte that is congruent to the index and, modulo twice the number of workers, to the generation.
    pub(crate) fn steering_byte(self) -> u8 {
        let place = match self.generation {
            Generation::Even => self.index,
            Generation::Odd => self.count + self.index,
        };
        let modulus = 2 * self.count;
        let rounds = (u8::MAX - place) / modulus;
        rand::rng().random_range(0..=rounds) * modulus + place
    }
}

/// A UDP socket of the group, to be given to its worker.
#[derive(Debug)]
pub struct WorkerSocket {
    pub(crate) underlay: Underlay,
    /// Whose it is.
    pub worker: Worker,
    /// What the kernel granted of [`SOCKET_BUFFER_BYTES`], if it is the kernel's.
    pub granted: Option<SocketBuffers>,
}

/// Sizes of a socket's buffers, as the kernel grants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketBuffers {
    /// For receiving; `net.core.rmem_max` limits it.
    pub receive_bytes: usize,
    /// For sending; `net.core.wmem_max` limits it.
    pub send_bytes: usize,
}

impl SocketBuffers {
    /// What to do if they are so small that bursts are lost at speeds that are usual; `None` if they are large enough.
    #[must_use]
    pub fn advice(self) -> Option<&'static str> {
        let least = self.receive_bytes.min(self.send_bytes);
        (least < SOCKET_BUFFER_BYTES_MIN).then_some(ADVICE)
    }
}

/// Why the group could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Not between 1 and [`WORKERS_MAX`]; elsewhere than on Linux, not 1.
    #[error("{0} workers cannot share a port")]
    Workers(u32),
    /// The address is taken, not local, or not permitted.
    #[error("binding udp socket to {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// The kernel did not take the steering program.
    #[error("attaching the steering program")]
    Steer(#[source] io::Error),
}

/// A process's sockets in the group, to change who gets what.
#[derive(Debug)]
pub struct Steering {
    sockets: Vec<UdpSocket>,
    workers: u8,
}

impl Steering {
    /// Of the sockets of all workers, in the order of their index.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of<'a>(sockets: impl IntoIterator<Item = &'a WorkerSocket>) -> io::Result<Self> {
        let sockets: Vec<UdpSocket> = sockets
            .into_iter()
            .filter_map(|socket| socket.underlay.system())
            .map(UdpSocket::try_clone)
            .collect::<io::Result<_>>()?;
        Self::new(sockets)
    }

    /// Of sockets that another process gave, in the order of their workers.
    ///
    /// # Errors
    /// There are none, or more than [`WORKERS_MAX`].
    pub fn new(sockets: Vec<UdpSocket>) -> io::Result<Self> {
        match u8::try_from(sockets.len()) {
            Ok(workers @ 1..=WORKERS_MAX) => Ok(Self { sockets, workers }),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The sockets, in the order of their workers.
    #[must_use]
    pub fn sockets(&self) -> &[UdpSocket] {
        &self.sockets
    }

    /// Gives every packet to the process that this is of, whose sockets come first in the group.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn alone(&self) -> io::Result<()> {
        attach(self.first()?, &alone(self.workers))
    }

    /// Gives packets of connections to the process that has them, and those that begin one to the younger, of generation `younger`. The
    /// sockets of the elder come first in the group, as many as this one's.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn beside(&self, younger: Generation) -> io::Result<()> {
        attach(self.first()?, &beside(self.workers, younger))
    }

    fn first(&self) -> io::Result<&UdpSocket> {
        self.sockets
            .first()
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl Drop for Steering {
    /// The kernel puts the last socket of the group in the place of one that is closed. From the last to the first, those of a younger
    /// process end up in their order.
    fn drop(&mut self) {
        while self.sockets.pop().is_some() {}
    }
}

impl WorkerSocket {
    /// The socket of an edge's only worker in another network than the system's, as tests have them.
    ///
    /// # Errors
    /// [`BindError::Bind`].
    pub fn on(network: &dyn Network, address: SocketAddr) -> Result<Self, BindError> {
        let socket = network
            .bind(address)
            .map_err(|source| BindError::Bind { address, source })?;
        Ok(Self {
            underlay: Underlay::Other(socket),
            worker: Worker {
                index: 0,
                count: 1,
                generation: Generation::default(),
            },
            granted: None,
        })
    }

    /// Where the group listens.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.underlay.local_addr()
    }
}

/// Binds one socket for each of `workers`, in the order of their index, and steers between them. Port 0 picks one for all.
///
/// The kernel counts sockets by their place in the group: closing one while others serve would shift them.
///
/// # Errors
/// Every [`BindError`].
pub fn bind_group(
    address: SocketAddr,
    workers: u32,
    generation: Generation,
) -> Result<Vec<WorkerSocket>, BindError> {
    // A group takes in whoever asks for it, and another edge would then get packets of this one.
    let taken = |source| BindError::Bind { address, source };
    if address.port() != 0 {
        UdpSocket::bind(address).map_err(taken)?;
    }
    let sockets = bind_beside(address, workers, generation)?;
    // Also where there is one: who joins the group later would else get every second packet.
    if cfg!(target_os = "linux") {
        let steering = Steering::of(&sockets).map_err(BindError::Steer)?;
        steering.alone().map_err(BindError::Steer)?;
    }
    Ok(sockets)
}

/// The same at the address of a process that serves, without a change to who gets what.
///
/// # Errors
/// Every [`BindError`].
pub fn bind_beside(
    address: SocketAddr,
    workers: u32,
    generation: Generation,
) -> Result<Vec<WorkerSocket>, BindError> {
    let group: Vec<Worker> = (0..workers)
        .map_while(|index| Some(Worker::new(index, workers)?.of(generation)))
        .collect();
    if group.is_empty() || (workers > 1 && !cfg!(target_os = "linux")) {
        return Err(BindError::Workers(workers));
    }
    let mut address = address;
    let mut sockets = Vec::with_capacity(group.len());
    for worker in group {
        let bound = bind_one(address, worker)
            .and_then(|socket| Ok((socket.local_addr()?, socket)))
            .map_err(|source| BindError::Bind { address, source })?;
        address = bound.0;
        sockets.push(bound.1);
    }
    Ok(sockets)
}

/// Asks for large buffers and tells what was granted. A kernel that grants less is no error.
///
/// # Errors
/// The socket is of no use.
pub(crate) fn enlarge_buffers(socket: &Socket) -> io::Result<SocketBuffers> {
    // Linux cuts the wish down to its limit; others refuse what is above it and keep the old size.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    Ok(SocketBuffers {
        receive_bytes: socket.recv_buffer_size()?,
        send_bytes: socket.send_buffer_size()?,
    })
}

fn bind_one(address: SocketAddr, worker: Worker) -> io::Result<WorkerSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(true)?;
    let granted = enlarge_buffers(&socket)?;
    socket.bind(&address.into())?;
    Ok(WorkerSocket {
        underlay: Underlay::System(socket.into()),
        worker,
        granted: Some(granted),
    })
}

/// `(code, jt, jf, k)` of one instruction of a classic BPF program.
type Instruction = (u16, u8, u8, u32);

#[cfg(target_os = "linux")]
fn attach(socket: &UdpSocket, program: &[Instruction]) -> io::Result<()> {
    use nix::{
        libc::{sock_filter, sock_fprog},
        sys::socket::{setsockopt, sockopt::AttachReusePortCbpf},
    };
    let mut filter: Vec<sock_filter> = program
        .iter()
        .map(|&(code, jt, jf, k)| sock_filter { code, jt, jf, k })
        .collect();
    let program = sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    setsockopt(socket, AttachReusePortCbpf, &program)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn attach(_socket: &UdpSocket, _program: &[Instruction]) -> io::Result<()> {
    Err(io::Error::other("no steering on this system"))
}

// linux/bpf_common.h
const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_IF_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const ADD: u16 = 0x04; // BPF_ALU | BPF_ADD | BPF_K
const MODULO: u16 = 0x94; // BPF_ALU | BPF_MOD | BPF_K
const RETURN: u16 = 0x16; // BPF_RET | BPF_A

/// RFC 8999, section 5: the first bit tells a long header. There the ID comes after flags, version (4) and the ID's length (1),
/// else after the flags.
const LONG_HEADER: u32 = 0x80;
const LENGTH_AT: u32 = 5;
const LONG_ID_AT: u32 = 6;
const SHORT_ID_AT: u32 = 1;

/// Offsets count from the UDP payload; a load beyond it gives worker 0.
fn alone(count: u8) -> [Instruction; 7] {
    [
        (LOAD_BYTE, 0, 0, 0),
        (JUMP_IF_SET, 0, 2, LONG_HEADER),
        (LOAD_BYTE, 0, 0, LONG_ID_AT),
        (JUMP, 0, 0, 1),
        (LOAD_BYTE, 0, 0, SHORT_ID_AT),
        (MODULO, 0, 0, u32::from(count)),
        (RETURN, 0, 0, 0),
    ]
}

/// IDs of another length than those that are issued were chosen by who begins a connection.
fn beside(count: u8, younger: Generation) -> [Instruction; 14] {
    let count = u32::from(count);
    // The elder's sockets come first, whichever their generation.
    let turn = match younger {
        Generation::Odd => 0,
        Generation::Even => count,
    };
    let issued = u32::try_from(ISSUED_ID_BYTES).unwrap_or(u32::MAX);
    [
        (LOAD_BYTE, 0, 0, 0),
        (JUMP_IF_SET, 0, 8, LONG_HEADER),
        (LOAD_BYTE, 0, 0, LENGTH_AT),
        (JUMP_IF_EQUAL, 4, 0, issued),
        // Begins a connection.
        (LOAD_BYTE, 0, 0, LONG_ID_AT),
        (MODULO, 0, 0, count),
        (ADD, 0, 0, count),
        (RETURN, 0, 0, 0),
        // Goes on with one.
        (LOAD_BYTE, 0, 0, LONG_ID_AT),
        (JUMP, 0, 0, 1),
        (LOAD_BYTE, 0, 0, SHORT_ID_AT),
        (ADD, 0, 0, turn),
        (MODULO, 0, 0, 2 * count),
        (RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;

    const LOCALHOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn small_buffers_come_with_advice() {
        let mut buffers = SocketBuffers {
            receive_bytes: SOCKET_BUFFER_BYTES_MIN,
            send_bytes: SOCKET_BUFFER_BYTES_MIN,
        };
        assert_eq!(buffers.advice(), None);
        buffers.send_bytes -= 1;
        assert_eq!(buffers.advice(), Some(ADVICE));
    }

    #[test]
    fn steering_bytes_are_congruent_to_their_worker() {
        for count in 1..=u32::from(WORKERS_MAX) {
            for index in 0..count {
                let worker = Worker::new(index, count).unwrap();
                for _ in 0..20 {
                    assert_eq!(u32::from(worker.steering_byte()) % count, index);
                    let odd = u32::from(worker.of(Generation::Odd).steering_byte());
                    assert_eq!(odd % (2 * count), count + index);
                }
            }
        }
    }

    #[test]
    fn workers_outside_their_bounds_are_refused() {
        for (index, count) in [(0, 0), (1, 1), (0, 65), (300, 301)] {
            assert_eq!(Worker::new(index, count), None);
        }
        for workers in [0, 65, 1000] {
            assert!(matches!(
                bind_group(LOCALHOST, workers, Generation::Even),
                Err(BindError::Workers(_))
            ));
        }
    }

    #[test]
    fn a_taken_address_is_told() {
        let taken = UdpSocket::bind(LOCALHOST).unwrap();
        let address = taken.local_addr().unwrap();
        assert!(matches!(
            bind_group(address, 1, Generation::Even),
            Err(BindError::Bind { .. })
        ));
    }

    fn system(socket: &WorkerSocket) -> &UdpSocket {
        socket.underlay.system().unwrap()
    }

    /// A packet of a connection, with an ID that an edge issued.
    fn of_connection(worker: Worker, is_long: bool) -> Vec<u8> {
        let id = crate::quic::issued_id(worker);
        match is_long {
            true => [&[0xc0, 0, 0, 0, 1, 9], &*id].concat(),
            false => [&[0x40], &*id].concat(),
        }
    }

    /// The first packet of a connection, with an ID of this length that leads to the worker.
    fn beginning(worker: Worker, length: u8) -> Vec<u8> {
        let mut id = vec![7; usize::from(length)];
        id[0] = worker.steering_byte();
        [&[0xc0, 0, 0, 0, 1, length], &*id].concat()
    }

    #[track_caller]
    fn reaches(packet: &[u8], address: SocketAddr, socket: &UdpSocket) {
        let sender = UdpSocket::bind(LOCALHOST).unwrap();
        sender.send_to(packet, address).unwrap();
        let patience = Some(Duration::from_secs(5));
        socket.set_read_timeout(patience).unwrap();
        let mut received = [0; 32];
        let (length, from) = socket.recv_from(&mut received).unwrap();
        assert_eq!(received[..length], *packet);
        assert_eq!(from, sender.local_addr().unwrap());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn datagrams_reach_their_worker_from_any_address() {
        for generation in [Generation::Even, Generation::Odd] {
            let sockets = bind_group(LOCALHOST, 4, generation).unwrap();
            let address = sockets[0].local_addr().unwrap();
            for socket in sockets.iter().cycle().take(64) {
                // What is left of an earlier life too.
                let before = socket.worker.of(generation.next());
                for packet in [
                    of_connection(socket.worker, true),
                    of_connection(socket.worker, false),
                    of_connection(before, false),
                    beginning(socket.worker, 16),
                ] {
                    reaches(&packet, address, system(socket));
                }
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_takes_over_gets_what_begins_until_it_has_everything() {
        for (workers, generation) in (1..5).flat_map(|workers| {
            [Generation::Even, Generation::Odd].map(|generation| (workers, generation))
        }) {
            let younger = generation.next();
            let elder = bind_group(LOCALHOST, workers, generation).unwrap();
            let address = elder[0].local_addr().unwrap();
            let given = Steering::of(&elder).unwrap();
            let young = bind_beside(address, workers, younger).unwrap();
            let steering = Steering::of(&young).unwrap();
            steering.beside(younger).unwrap();
            for (old, new) in elder.iter().zip(&young).cycle().take(32) {
                for is_long in [true, false] {
                    reaches(&of_connection(old.worker, is_long), address, system(old));
                    reaches(&of_connection(new.worker, is_long), address, system(new));
                }
                for length in [8, 16, 20] {
                    reaches(&beginning(old.worker, length), address, system(new));
                }
            }
            // The elder ends, in whatever order.
            drop(elder);
            drop(given);
            steering.alone().unwrap();
            for new in young.iter().cycle().take(32) {
                let old = new.worker.of(generation);
                reaches(&of_connection(new.worker, false), address, system(new));
                reaches(&of_connection(old, false), address, system(new));
                reaches(&beginning(new.worker, 16), address, system(new));
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_is_about_to_take_over_gets_nothing() {
        for workers in 1..4 {
            let elder = bind_group(LOCALHOST, workers, Generation::Even).unwrap();
            let address = elder[0].local_addr().unwrap();
            let _young = bind_beside(address, workers, Generation::Odd).unwrap();
            for old in elder.iter().cycle().take(32) {
                reaches(&of_connection(old.worker, false), address, system(old));
                reaches(&beginning(old.worker, 16), address, system(old));
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_fails_to_take_over_leaves_the_elder_as_it_was() {
        let elder = bind_group(LOCALHOST, 3, Generation::Even).unwrap();
        let address = elder[0].local_addr().unwrap();
        let own = Steering::of(&elder).unwrap();
        let young = bind_beside(address, 3, Generation::Odd).unwrap();
        own.beside(Generation::Odd).unwrap();
        // First to last, as when a process dies.
        for socket in young {
            drop(socket);
        }
        own.alone().unwrap();
        for old in elder.iter().cycle().take(32) {
            reaches(&of_connection(old.worker, false), address, system(old));
            reaches(&beginning(old.worker, 16), address, system(old));
        }
    }
}
