//! A network in memory, for QUIC under a paused clock. What it does to packets follows from a seed, and from what a test does to it.
//!
//! Hosts have an address each. Between any two of them packets take the path's time, are lost, overtake each other or come twice, by
//! chance or as the path says; a path can be cut, and a host can move to another address as behind a translator that forgot it.

mod socket;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use quinn::AsyncUdpSocket;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::time::Instant;

use socket::{Inbox, NetSocket, Packet};

/// Headers of IPv4 and UDP, which count towards what a path carries.
const HEADER_BYTES: usize = 28;

/// Packets that wait in a slow path or at a host; more are lost, as in a router.
const QUEUE_MAX: usize = 1024;

/// What names of hosts end with.
const DOMAIN: &str = ".net.test";

/// Ports are given from here on.
const PORTS_FROM: u16 = 40_000;

/// What a path does to packets, in either direction.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// How long a packet takes.
    pub delay: Duration,
    /// How much longer it may take at random: packets overtake each other within it.
    pub jitter: Duration,
    /// How many of a thousand are lost.
    pub lost_per_mille: u32,
    /// How many of a thousand come twice.
    pub doubled_per_mille: u32,
    /// Longest IP packet; longer ones are lost without a word, as where ICMP is filtered.
    pub mtu: usize,
    /// Bits a second; none: no limit.
    pub rate: Option<u64>,
}

impl Default for Path {
    /// A good one: 5 ms, Ethernet's frames, nothing lost.
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(5),
            jitter: Duration::ZERO,
            lost_per_mille: 0,
            doubled_per_mille: 0,
            mtu: 1500,
            rate: None,
        }
    }
}

/// A network. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Net {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    chance: SmallRng,
    usual: Path,
    paths: BTreeMap<(IpAddr, IpAddr), Path>,
    cuts: BTreeSet<(IpAddr, IpAddr)>,
    /// When a slow path, in this direction, has room again.
    busy: BTreeMap<(IpAddr, IpAddr), Instant>,
    /// Who gets what comes to an address.
    inboxes: BTreeMap<SocketAddr, Weak<Mutex<Inbox>>>,
    hosts: u8,
    next_port: u16,
    counts: Counts,
    /// Whether nobody answers who asks for a name.
    is_nameless: bool,
}

/// What became of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent by hosts.
    pub sent: u64,
    /// Lost, for whatever reason.
    pub lost: u64,
}

/// A host: what runs there binds its sockets at it.
#[derive(Clone, Debug)]
pub struct Host {
    net: Net,
    number: u8,
}

impl Net {
    /// A network whose chances follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                chance: SmallRng::seed_from_u64(seed),
                usual: Path::default(),
                paths: BTreeMap::new(),
                cuts: BTreeSet::new(),
                busy: BTreeMap::new(),
                inboxes: BTreeMap::new(),
                hosts: 0,
                next_port: PORTS_FROM,
                counts: Counts::default(),
                is_nameless: false,
            })),
        }
    }

    /// A new host with an address of its own.
    ///
    /// # Panics
    /// There are 255 already.
    #[must_use]
    pub fn host(&self) -> Host {
        let mut state = self.lock();
        state.hosts = state.hosts.checked_add(1).expect("a network of 255 hosts");
        self.at(state.hosts)
    }

    /// What paths do that nothing else is said of.
    pub fn usually(&self, path: Path) {
        self.lock().usual = path;
    }

    /// What the path between two hosts does from now on.
    pub fn between(&self, one: &Host, other: &Host, path: Path) {
        self.lock()
            .paths
            .insert(pair(one.address(), other.address()), path);
    }

    /// Nothing gets through between two hosts, and neither hears why.
    pub fn cut(&self, one: &Host, other: &Host) {
        self.lock()
            .cuts
            .insert(pair(one.address(), other.address()));
    }

    /// Undoes [`cut`](Self::cut).
    pub fn mend(&self, one: &Host, other: &Host) {
        self.lock()
            .cuts
            .remove(&pair(one.address(), other.address()));
    }

    /// Whether names cannot be looked up from now on.
    pub fn nameless(&self, is_nameless: bool) {
        self.lock().is_nameless = is_nameless;
    }

    /// What became of packets so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    fn at(&self, number: u8) -> Host {
        Host {
            net: self.clone(),
            number,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    /// What others look up to find it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("h{}{DOMAIN}", self.number)
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, self.number))
    }

    /// What runs there loses its sockets without a word, as when the power is cut. What is bound later works.
    pub fn crash(&self) {
        let mut state = self.net.lock();
        let address = self.address();
        state.inboxes.retain(|seen_at, inbox| {
            let is_here = seen_at.ip() == address;
            if let Some(inbox) = inbox.upgrade().filter(|_| is_here) {
                lock(&inbox).is_dead = true;
            }
            !is_here
        });
    }

    /// From now on all its sockets are seen at other ports, as when the translator before it has forgotten them. What is sent to the old
    /// ones is lost.
    pub fn rebind(&self) {
        let mut state = self.net.lock();
        let moved: Vec<SocketAddr> = state
            .inboxes
            .keys()
            .filter(|address| address.ip() == self.address())
            .copied()
            .collect();
        for old in moved {
            let Some(inbox) = state.inboxes.remove(&old) else {
                continue;
            };
            let new = state.free_port(self.address());
            if let Some(inbox) = inbox.upgrade() {
                lock(&inbox).seen_at = new;
                state.inboxes.insert(new, Arc::downgrade(&inbox));
            }
        }
    }
}

impl tunnel::quic::Network for Host {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let mut state = self.net.lock();
        let address = match address.port() {
            0 => state.free_port(self.address()),
            port => SocketAddr::new(self.address(), port),
        };
        let is_taken = |taken: &Weak<_>| taken.strong_count() > 0;
        if state.inboxes.get(&address).is_some_and(is_taken) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let inbox = Arc::new(Mutex::new(Inbox {
            seen_at: address,
            is_dead: false,
            packets: BinaryHeap::new(),
            number: 0,
            waker: None,
        }));
        state.inboxes.insert(address, Arc::downgrade(&inbox));
        Ok(Arc::new(NetSocket {
            net: self.net.clone(),
            bound: address,
            inbox,
            alarm: Mutex::new(None),
        }))
    }

    fn look_up(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        if self.net.lock().is_nameless {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let unknown = || io::Error::from(io::ErrorKind::NotFound);
        let (name, port) = address.rsplit_once(':').ok_or_else(unknown)?;
        let host = name
            .strip_prefix('h')
            .and_then(|name| name.strip_suffix(DOMAIN));
        let number = host
            .and_then(|host| host.parse().ok())
            .ok_or_else(unknown)?;
        let port = port.parse().map_err(|_| unknown())?;
        Ok(vec![SocketAddr::new(self.net.at(number).address(), port)])
    }
}

/// Paths are the same in both directions.
fn pair(one: IpAddr, other: IpAddr) -> (IpAddr, IpAddr) {
    (one.min(other), one.max(other))
}

impl State {
    fn free_port(&mut self, host: IpAddr) -> SocketAddr {
        self.next_port += 1;
        SocketAddr::new(host, self.next_port)
    }

    /// When each copy of a packet arrives that is sent now; none: it is lost.
    fn arrivals(&mut self, from: IpAddr, to: IpAddr, bytes: usize) -> Vec<Instant> {
        let path = *self.paths.get(&pair(from, to)).unwrap_or(&self.usual);
        let happens = |chance: &mut SmallRng, per_mille| chance.random_range(0..1000) < per_mille;
        if self.cuts.contains(&pair(from, to))
            || bytes + HEADER_BYTES > path.mtu
            || happens(&mut self.chance, path.lost_per_mille)
        {
            return Vec::new();
        }
        let now = Instant::now();
        let sent = path.rate.map_or(now, |rate| {
            let bits = (bytes + HEADER_BYTES) as u64 * 8;
            let takes = Duration::from_nanos(bits.saturating_mul(1_000_000_000) / rate.max(1));
            let free = self.busy.entry((from, to)).or_insert(now);
            *free = (*free).max(now) + takes;
            *free
        });
        let copies = 1 + usize::from(happens(&mut self.chance, path.doubled_per_mille));
        (0..copies)
            .map(|_| sent + path.delay + path.jitter.mul_f64(self.chance.random()))
            .collect()
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.counts.sent += 1;
        let inbox = self.inboxes.get(&to).and_then(Weak::upgrade);
        let arrivals = self.arrivals(from.ip(), to.ip(), bytes.len());
        let Some(inbox) = inbox.filter(|_| !arrivals.is_empty()) else {
            self.counts.lost += 1;
            return;
        };
        let mut inbox = lock(&inbox);
        for at in arrivals {
            if inbox.packets.len() >= QUEUE_MAX {
                self.counts.lost += 1;
                continue;
            }
            inbox.number += 1;
            let packet = Packet {
                at,
                number: inbox.number,
                from,
                bytes: bytes.into(),
            };
            inbox.packets.push(Reverse(packet));
        }
        if let Some(waker) = inbox.waker.take() {
            waker.wake();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::IoSliceMut};

    use quinn::udp::{RecvMeta, Transmit};
    use tokio::time::timeout;
    use tunnel::quic::Network as _;

    use super::*;

    type Socket = Arc<dyn AsyncUdpSocket>;

    fn send(socket: &Socket, to: SocketAddr, bytes: &[u8]) {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: bytes,
            segment_size: None,
            src_ip: None,
        };
        socket.try_send(&transmit).unwrap();
    }

    /// The next packet's first byte and sender; none within a second.
    async fn receive(socket: &Socket) -> Option<(u8, SocketAddr)> {
        let mut bytes = [0; 2048];
        let mut metas = [RecvMeta::default()];
        let received = poll_fn(|context| {
            let mut buffers = [IoSliceMut::new(&mut bytes)];
            socket.poll_recv(context, &mut buffers, &mut metas)
        });
        let count = timeout(Duration::from_secs(1), received).await.ok()?;
        assert_eq!(count.unwrap(), 1);
        Some((bytes[0], metas[0].addr))
    }

    fn pair_of(net: &Net) -> ((Host, Socket), (Host, Socket)) {
        let bound = |port| {
            let host = net.host();
            let socket = host.bind((host.address(), port).into()).unwrap();
            (host, socket)
        };
        (bound(1), bound(443))
    }

    #[tokio::test(start_paused = true)]
    async fn packets_take_the_time_of_their_path_and_its_rate() {
        let net = Net::new(1);
        let ((one, from), (other, to)) = pair_of(&net);
        let address = to.local_addr().unwrap();
        let path = Path {
            delay: Duration::from_millis(20),
            // 1,000 bytes and headers in 10 ms.
            rate: Some(8 * (1000 + 28) * 100),
            ..Path::default()
        };
        net.between(&one, &other, path);
        let began = Instant::now();
        for number in [7, 8] {
            send(&from, address, &[number; 1000]);
        }
        for (number, after) in [(7, 30), (8, 40)] {
            assert_eq!(receive(&to).await.map(|(byte, _)| byte), Some(number));
            // Alarms are as exact as a millisecond.
            let late = began.elapsed().abs_diff(Duration::from_millis(after));
            assert!(late <= Duration::from_millis(1), "{:?}", began.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_long_cut_off_or_out_of_luck_is_lost_without_a_word() {
        let net = Net::new(1);
        let ((one, from), (other, to)) = pair_of(&net);
        let address = to.local_addr().unwrap();
        send(&from, address, &[1; 1473]);
        assert_eq!(receive(&to).await, None);
        send(&from, address, &[1; 1472]);
        assert!(receive(&to).await.is_some());
        net.cut(&one, &other);
        send(&from, address, &[1]);
        assert_eq!(receive(&to).await, None);
        net.mend(&one, &other);
        let unlucky = Path {
            lost_per_mille: 1000,
            ..Path::default()
        };
        net.between(&one, &other, unlucky);
        send(&from, address, &[1]);
        assert_eq!(receive(&to).await, None);
        assert_eq!(net.counts(), Counts { sent: 4, lost: 3 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_moved_is_seen_elsewhere_and_one_that_crashed_nowhere() {
        let net = Net::new(1);
        let ((one, from), (other, to)) = pair_of(&net);
        let address = to.local_addr().unwrap();
        send(&from, address, &[1]);
        let (_, before) = receive(&to).await.unwrap();
        one.rebind();
        send(&from, address, &[1]);
        let (_, after) = receive(&to).await.unwrap();
        assert_ne!(before, after);
        send(&to, before, &[1]);
        assert_eq!(receive(&from).await, None);
        send(&to, after, &[1]);
        assert!(receive(&from).await.is_some());
        other.crash();
        send(&from, address, &[1]);
        assert_eq!(receive(&to).await, None);
        assert!(other.bind(address).is_ok());
    }

    #[test]
    fn hosts_are_found_by_name() {
        let net = Net::new(1);
        let host = net.host();
        let found = host.look_up(&format!("{}:443", host.name())).unwrap();
        assert_eq!(found, [(host.address(), 443).into()]);
        for unknown in ["elsewhere.net.test:443", "h1.net.test", "h.net.test:443"] {
            assert!(host.look_up(unknown).is_err(), "{unknown}");
        }
        net.nameless(true);
        assert!(host.look_up(&format!("{}:443", host.name())).is_err());
    }
}
