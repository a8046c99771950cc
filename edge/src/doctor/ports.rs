//! Whether the edge's ports are free, or held by an edge that runs; and by whom else if not.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
};

use runtime::doctor::{Check, Fault, Finding, Report};

use crate::config::Config;

/// Processes that are looked through for the holder of a port.
const PROCESSES_MAX: usize = 20_000;
/// State of a TCP socket that listens, in the kernel's tables.
const LISTENS: &str = "0A";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }

    /// Where Linux lists the sockets.
    const fn tables(self) -> [&'static str; 2] {
        match self {
            Self::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
            Self::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        }
    }

    fn bind(self, address: SocketAddr) -> io::Result<()> {
        match self {
            Self::Tcp => TcpListener::bind(address).map(drop),
            Self::Udp => UdpSocket::bind(address).map(drop),
        }
    }
}

/// A process that holds a port.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    name: String,
    id: u32,
}

/// Looks at every port that the edge listens on.
pub(super) fn look(config: &Config, report: &mut Report<'_>) {
    let ports = [
        ("https", Transport::Tcp, Some(config.https)),
        ("http", Transport::Tcp, config.http),
        ("tunnel", Transport::Udp, Some(config.tunnel)),
        ("admin", Transport::Tcp, Some(config.admin)),
    ];
    for (key, transport, address) in ports {
        if let Some(address) = address {
            report.add(one(key, transport, address));
        }
    }
}

fn one(key: &str, transport: Transport, address: SocketAddr) -> Finding {
    let subject = format!("{key} ({} {address})", transport.as_str());
    let failed = |found: String| Finding::failed(Check::Port, Fault::Port, subject.as_str(), found);
    let error = match transport.bind(address) {
        Ok(()) => return Finding::ok(Check::Port, subject, "free"),
        Err(error) => error,
    };
    if error.kind() != io::ErrorKind::AddrInUse {
        return failed(format!("cannot be listened on: {error}"));
    }
    match holder(transport, address.port()) {
        Some(holder) if Some(&holder.name) == own_name().as_ref() => {
            let found = format!("held by {}, process {}", holder.name, holder.id);
            Finding::ok(Check::Port, subject, found)
        }
        Some(holder) => failed(format!("taken by {}, process {}", holder.name, holder.id)),
        None => {
            let found =
                "taken by a process that this user may not look at; fine if that is the edge";
            Finding::warning(Check::Port, Fault::Port, subject, found)
        }
    }
}

fn own_name() -> Option<String> {
    name(Path::new("/proc/self"))
}

fn name(process: &Path) -> Option<String> {
    let name = fs::read_to_string(process.join("comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// Who has a socket at this port; none if that is hidden from this user.
fn holder(transport: Transport, port: u16) -> Option<Holder> {
    let sockets: Vec<String> = transport
        .tables()
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| inodes(&table, transport, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.take(PROCESSES_MAX);
    processes.flatten().find_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let process = entry.path();
        let open = fs::read_dir(process.join("fd")).ok()?;
        let holds = open.flatten().any(|descriptor| {
            let target = fs::read_link(descriptor.path()).ok();
            let target = target.as_deref().and_then(Path::to_str);
            target.is_some_and(|target| sockets.iter().any(|socket| socket == target))
        });
        let name = holds.then(|| name(&process)).flatten()?;
        Some(Holder { name, id })
    })
}

/// Inodes of the sockets at a port, from one of the kernel's tables.
fn inodes(table: &str, transport: Transport, port: u16) -> Vec<u64> {
    let wanted = format!(":{port:04X}");
    let inode = |line: &str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let (local, state) = (columns.get(1)?, columns.get(3)?);
        let is_there =
            local.ends_with(&wanted) && (transport == Transport::Udp || *state == LISTENS);
        if is_there {
            columns.get(9)?.parse().ok()
        } else {
            None
        }
    };
    table.lines().skip(1).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use runtime::doctor::Verdict;

    use super::*;

    #[test]
    fn a_free_port_is_free_and_a_taken_one_has_a_holder() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let taken = [
            (Transport::Tcp, tcp.local_addr().unwrap()),
            (Transport::Udp, udp.local_addr().unwrap()),
        ];
        for (transport, address) in taken {
            let holder = holder(transport, address.port()).expect("our own sockets show");
            assert_eq!(holder.id, std::process::id());
            // Held by a process of the same name, which is what an edge that runs would be.
            assert_eq!(one("port", transport, address).verdict, Verdict::Ok);
        }
        drop((tcp, udp));
        for (transport, address) in taken {
            assert_eq!(one("port", transport, address).found, "free");
        }
    }

    #[test]
    fn a_foreign_address_is_refused() {
        let nobody = "192.0.2.1:8443".parse().unwrap();
        let finding = one("https", Transport::Tcp, nobody);
        assert_eq!(finding.fault, Some(Fault::Port), "{finding:?}");
    }

    #[test]
    fn tables_of_the_kernel_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1
   2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4713 1
";
        assert_eq!(inodes(table, Transport::Tcp, 8080), [4711]);
        assert_eq!(inodes(table, Transport::Udp, 8080), [4711, 4712]);
        assert_eq!(inodes("", Transport::Tcp, 8080), [0; 0]);
    }
}
