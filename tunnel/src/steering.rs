//! Steering: which worker of an edge gets a datagram.
//!
//! The workers' sockets share one port as a SO_REUSEPORT group. Byte 0 of every connection ID that an edge issues is
//! congruent to its worker modulo their number, and a classic BPF program on the group reads that byte. It needs no
//! privileges, and a connection keeps its worker when the peer's address changes.

use std::{io, net::SocketAddr};

use rand::Rng as _;
use socket2::{Domain, Protocol, Socket, Type};

use crate::quic::{Network, Underlay};

/// Workers of one process. Byte 0 of a connection ID then still has at least four values for each.
pub const WORKERS_MAX: u8 = 64;

/// Asked of the kernel for each direction of a socket: Linux's default of 208 KiB holds fewer than 100 packets.
pub const SOCKET_BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// One worker out of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    index: u8,
    count: u8,
}

impl Worker {
    /// Worker `index` of `count`; `None` unless `index < count <= WORKERS_MAX`.
    #[must_use]
    pub fn new(index: u32, count: u32) -> Option<Self> {
        let (index, count) = (u8::try_from(index).ok()?, u8::try_from(count).ok()?);
        (index < count && count <= WORKERS_MAX).then_some(Self { index, count })
    }

    /// From 0.
    #[must_use]
    pub const fn index(self) -> u8 {
        self.index
    }

    /// Workers in all.
    #[must_use]
    pub const fn count(self) -> u8 {
        self.count
    }

    /// A random byte that is congruent to the index.
    pub(crate) fn steering_byte(self) -> u8 {
        let rounds = (u8::MAX - self.index) / self.count;
        rand::rng().random_range(0..=rounds) * self.count + self.index
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
            worker: Worker { index: 0, count: 1 },
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
pub fn bind_group(address: SocketAddr, workers: u32) -> Result<Vec<WorkerSocket>, BindError> {
    let group: Vec<Worker> = (0..workers)
        .map_while(|index| Worker::new(index, workers))
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
    if let [first, _, ..] = sockets.as_slice() {
        attach(&first.underlay, first.worker.count).map_err(BindError::Steer)?;
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
    if worker.count > 1 {
        socket.set_reuse_port(true)?;
    }
    let granted = enlarge_buffers(&socket)?;
    socket.bind(&address.into())?;
    Ok(WorkerSocket {
        underlay: Underlay::System(socket.into()),
        worker,
        granted: Some(granted),
    })
}

#[cfg(target_os = "linux")]
fn attach(underlay: &Underlay, count: u8) -> io::Result<()> {
    use nix::{
        libc::{sock_filter, sock_fprog},
        sys::socket::{setsockopt, sockopt::AttachReusePortCbpf},
    };
    let mut filter = program(count).map(|(code, jt, jf, k)| sock_filter { code, jt, jf, k });
    let program = sock_fprog {
        len: PROGRAM_LENGTH,
        filter: filter.as_mut_ptr(),
    };
    match underlay {
        Underlay::System(socket) => Ok(setsockopt(socket, AttachReusePortCbpf, &program)?),
        // Its only worker gets everything.
        Underlay::Other(_) => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn attach(_underlay: &Underlay, count: u8) -> io::Result<()> {
    Err(io::Error::other(format!(
        "no steering between {count} workers on this system"
    )))
}

/// Instructions of [`program`].
#[cfg(target_os = "linux")]
const PROGRAM_LENGTH: u16 = 7;

/// `(code, jt, jf, k)` of each instruction. Offsets count from the UDP payload; a load beyond it gives worker 0.
#[cfg(target_os = "linux")]
fn program(count: u8) -> [(u16, u8, u8, u32); PROGRAM_LENGTH as usize] {
    // linux/bpf_common.h
    const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
    const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
    const JUMP_IF_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
    const MODULO: u16 = 0x94; // BPF_ALU | BPF_MOD | BPF_K
    const RETURN: u16 = 0x16; // BPF_RET | BPF_A
    [
        (LOAD_BYTE, 0, 0, 0),
        // RFC 8999, section 5: the first bit tells a long header.
        (JUMP_IF_SET, 0, 2, 0x80),
        // Long: flags, version (4), length of the ID (1), then the ID.
        (LOAD_BYTE, 0, 0, 6),
        (JUMP, 0, 0, 1),
        // Short: flags, then the ID.
        (LOAD_BYTE, 0, 0, 1),
        (MODULO, 0, 0, u32::from(count)),
        (RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, UdpSocket},
        time::Duration,
    };

    use super::*;

    const LOCALHOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn steering_bytes_are_congruent_to_their_worker() {
        for count in 1..=u32::from(WORKERS_MAX) {
            for index in 0..count {
                let worker = Worker::new(index, count).unwrap();
                for _ in 0..20 {
                    assert_eq!(u32::from(worker.steering_byte()) % count, index);
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
                bind_group(LOCALHOST, workers),
                Err(BindError::Workers(_))
            ));
        }
    }

    #[test]
    fn a_taken_address_is_told() {
        let taken = UdpSocket::bind(LOCALHOST).unwrap();
        let address = taken.local_addr().unwrap();
        assert!(matches!(
            bind_group(address, 1),
            Err(BindError::Bind { .. })
        ));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn datagrams_reach_their_worker_from_any_address() {
        let sockets = bind_group(LOCALHOST, 4).unwrap();
        let address = sockets[0].local_addr().unwrap();
        for id in 0..=u8::MAX {
            let sender = UdpSocket::bind(LOCALHOST).unwrap();
            let long = [0xc0, 0, 0, 0, 1, 8, id, 9, 9];
            let short = [0x40, id, 9, 9, 9, 9, 9, 9, 9];
            sender.send_to(&long, address).unwrap();
            sender.send_to(&short, address).unwrap();
            let Underlay::System(worker) = &sockets[usize::from(id % 4)].underlay else {
                unreachable!("the system binds them");
            };
            worker
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            for sent in [long, short] {
                let mut received = [0; 16];
                let (length, from) = worker.recv_from(&mut received).unwrap();
                assert_eq!(received[..length], sent);
                assert_eq!(from, sender.local_addr().unwrap());
            }
        }
    }
}
