//! A network between this host and another one, with a firewall in the middle: namespaces of Linux, which take root.

use std::{
    net::{IpAddr, Ipv4Addr},
    process::{Command, Stdio},
};

/// Two namespaces: a far host, and the router on the way there, which can drop all UDP in silence. Taken down when dropped.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    /// Four addresses each: far host and router, router and this host.
    base: [u8; 4],
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
        };
        if network.set_up().is_some() {
            return Some(network);
        }
        skipped("no network namespaces can be made here: it takes root, and iproute2");
        None
    }

    /// This host, as the far one reaches it.
    pub fn here(&self) -> IpAddr {
        self.address(6)
    }

    /// The far host, as this one reaches it.
    pub fn there(&self) -> IpAddr {
        self.address(2)
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

    fn set_up(&self) -> Option<()> {
        let (far, router, prefix) = (self.far(), self.router(), &self.prefix);
        let [there, before_there, before_here, here] = [2, 1, 5, 6].map(|last| self.address(last));
        for words in [
            format!("netns add {far}"),
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
            format!("netns exec {router} sysctl -q -w net.ipv4.ip_forward=1"),
        ] {
            ip(&words)?;
        }
        Some(())
    }

    fn far(&self) -> String {
        format!("{}-far", self.prefix)
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
    }
}

/// Says that a test does not run, so that nobody takes it for one that passed.
#[expect(clippy::print_stderr, reason = "whoever runs the tests shall see it")]
fn skipped(why: &str) {
    eprintln!("NOT RUN: {why}");
}

fn ip(words: &str) -> Option<()> {
    let status = Command::new("ip")
        .args(words.split(' '))
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success()).then_some(())
}
