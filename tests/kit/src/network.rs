//! A network between this host and another one, with a firewall in the middle: namespaces of Linux, which take root.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use crate::told::not_run;

/// A resolver that never answers: a network for documents (RFC 5737), which the router swallows.
const RESOLVER: &str = "192.0.2.53";
/// Addresses that the far host has after the first, in turns.
const MOVES: u8 = 6;

/// Two namespaces: a far host, and the router on the way there, which can drop packets in silence, or let them pass slowly. Taken down
/// when dropped.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    /// Four addresses each: far host and router, router and this host.
    base: [u8; 4],
    /// How often the far host got another address.
    moves: AtomicU8,
}

impl Network {
    /// `None`, and a loud word about it, where this process may not make one.
    pub fn make() -> Option<Self> {
        let pid = std::process::id();
        let [_, _, high, low] = pid.to_be_bytes();
        let network = Self {
            prefix: format!("ad{pid}"),
            // Each test is a process of its own.
            base: [10, 213, low, (high % 32) * 8],
            moves: AtomicU8::new(0),
        };
        let far = network.far();
        if ip(&format!("netns add {far}")).is_none() {
            not_run("no network namespaces can be made here: it takes root, and iproute2");
            return None;
        }
        network.set_up();
        Some(network)
    }

    /// This host, as the far one reaches it.
    pub fn here(&self) -> IpAddr {
        self.address(6)
    }

    /// The far host, as this one reaches it.
    pub fn there(&self) -> IpAddr {
        match self.moves.load(Relaxed) {
            0 => self.address(2),
            moves => {
                let [_, _, network, base] = self.base;
                Ipv4Addr::new(10, 214, network, base + moves % MOVES).into()
            }
        }
    }

    /// What makes a command run at the far host.
    pub fn run_there(&self) -> [String; 4] {
        let words = ["ip", "netns", "exec", &self.far()];
        words.map(str::to_owned)
    }

    /// Drops every datagram on the way, without a word to anybody.
    pub fn drop_udp(&self) {
        let dropped = ip(&format!(
            "-n {} rule add ipproto udp blackhole",
            self.router()
        ));
        dropped.expect("the router takes rules");
    }

    /// Lets datagrams pass again.
    pub fn pass_udp(&self) {
        let passed = ip(&format!(
            "-n {} rule del ipproto udp blackhole",
            self.router()
        ));
        passed.expect("the rule was there");
    }

    /// Drops every packet on the way, without a word to anybody.
    pub fn cut(&self) {
        let cut = ip(&format!("-n {} rule add blackhole", self.router()));
        cut.expect("the router takes rules");
    }

    /// Lets packets pass again.
    pub fn mend(&self) {
        let mended = ip(&format!("-n {} rule del blackhole", self.router()));
        mended.expect("the rule was there");
    }

    /// Lets so many bits a second pass from the far host; what comes beyond waits for a fifth of a second, and is lost then.
    pub fn cap(&self, bits: u64) {
        let (router, prefix) = (self.router(), &self.prefix);
        let capped = ip(&format!(
            "netns exec {router} tc qdisc replace dev {prefix}c root tbf rate {bits}bit burst 32k latency 200ms"
        ));
        capped.expect("the router has token buckets");
    }

    /// Leaves room for packets of so many bytes between the far host and the router, headers of IP among them.
    pub fn narrow(&self, bytes: u16) {
        let (far, router, prefix) = (self.far(), self.router(), &self.prefix);
        for words in [
            format!("-n {far} link set dev {prefix}a mtu {bytes}"),
            format!("-n {router} link set dev {prefix}b mtu {bytes}"),
        ] {
            ip(&words).unwrap_or_else(|| panic!("ip {words}"));
        }
    }

    /// Gives the far host another address; the last one is nobody's.
    pub fn move_there(&self) {
        let (far, router, prefix) = (self.far(), self.router(), &self.prefix);
        let [before_there, before_here] = [1, 5].map(|last| self.address(last));
        let last = self.there();
        let is_first = self.moves.fetch_add(1, Relaxed) == 0;
        let next = self.there();
        let last_bits = if is_first { 30 } else { 32 };
        for words in [
            format!("-n {far} addr add {next}/32 dev {prefix}a"),
            format!("-n {router} route replace {next}/32 dev {prefix}b"),
            format!("route replace {next}/32 via {before_here}"),
            format!("-n {far} addr del {last}/{last_bits} dev {prefix}a"),
            format!("-n {far} route replace {before_there}/32 dev {prefix}a src {next}"),
            format!(
                "-n {far} route replace default via {before_there} dev {prefix}a onlink src {next}"
            ),
        ] {
            ip(&words).unwrap_or_else(|| panic!("ip {words}"));
        }
    }

    /// Lets the far host find this one by a name, or finds no more by any: then its resolver is asked, which is silent.
    pub fn name_here(&self, name: Option<&str>) {
        let mut hosts = "127.0.0.1 localhost\n".to_owned();
        if let Some(name) = name {
            hosts += &format!("{} {name}\n", self.here());
        }
        // Written in place: who runs there sees this very file.
        fs::write(self.files().join("hosts"), hosts).expect("root may write it");
    }

    /// All but the far host itself. Who may make that may make the rest.
    fn set_up(&self) {
        // What `ip netns exec` puts in the place of those in /etc.
        fs::create_dir_all(self.files()).expect("root may make it");
        let resolver = format!("nameserver {RESOLVER}\n");
        fs::write(self.files().join("resolv.conf"), resolver).expect("root may write it");
        self.name_here(None);
        let (far, router, prefix) = (self.far(), self.router(), &self.prefix);
        let [there, before_there, before_here, here] = [2, 1, 5, 6].map(|last| self.address(last));
        for words in [
            format!("netns add {router}"),
            format!("link add {prefix}a netns {far} type veth peer name {prefix}b netns {router}"),
            format!("link add {prefix}c netns {router} type veth peer name {prefix}d"),
            format!("-n {far} addr add {there}/30 dev {prefix}a"),
            format!("-n {router} addr add {before_there}/30 dev {prefix}b"),
            format!("-n {router} addr add {before_here}/30 dev {prefix}c"),
            format!("addr add {here}/30 dev {prefix}d"),
            format!("-n {far} link set lo up"),
            format!("-n {far} link set {prefix}a up"),
            format!("-n {router} link set {prefix}b up"),
            format!("-n {router} link set {prefix}c up"),
            format!("link set {prefix}d up"),
            format!("-n {far} route add default via {before_there}"),
            format!("route add {}/30 via {before_here}", self.address(0)),
            format!("-n {router} route add blackhole {RESOLVER}/32"),
            format!("netns exec {router} sysctl -q -w net.ipv4.ip_forward=1"),
        ] {
            ip(&words).unwrap_or_else(|| panic!("ip {words}"));
        }
    }

    fn far(&self) -> String {
        format!("{}-far", self.prefix)
    }

    fn files(&self) -> PathBuf {
        PathBuf::from("/etc/netns").join(self.far())
    }

    fn router(&self) -> String {
        format!("{}-router", self.prefix)
    }

    fn address(&self, last: u8) -> IpAddr {
        let [a, b, c, d] = self.base;
        Ipv4Addr::new(a, b, c, d + last).into()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Interfaces and routes go with the namespaces; what was never made cannot be removed.
        for namespace in [self.far(), self.router()] {
            let _ = ip(&format!("netns del {namespace}"));
        }
        let _ = fs::remove_dir_all(self.files());
    }
}

fn ip(words: &str) -> Option<()> {
    let status = Command::new("ip")
        .args(words.split(' '))
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success()).then_some(())
}
