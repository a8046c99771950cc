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
/// Of this program, the one that starts an edge.
const COMMAND: &str = "edge";
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
    /// Its command line's first argument; none if it has none.
    command: Option<String>,
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
    let Some(holder) = holder(transport, address.port()) else {
        let found = "taken by a process that this user may not look at; fine if that is the edge";
        return Finding::warning(Check::Port, Fault::Port, subject, found);
    };
    let Holder { name, id, .. } = &holder;
    match kind(&holder, own_name().as_deref()) {
        Kind::Edge => Finding::ok(
            Check::Port,
            subject,
            format!("held by {name}, process {id}"),
        ),
        Kind::Ours => {
            let found =
                format!("held by {name}, process {id}, which is no edge by its command line");
            Finding::warning(Check::Port, Fault::Port, subject, found)
        }
        Kind::Other => failed(format!("taken by {name}, process {id}")),
    }
}

/// What holds a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An edge, which is why the port is not free.
    Edge,
    /// This program, as something else: the demo, or an agent or control whose port is the same.
    Ours,
    /// Another program.
    Other,
}

/// Tells them apart by name and command, which no process has to be honest about.
fn kind(holder: &Holder, program: Option<&str>) -> Kind {
    if program != Some(holder.name.as_str()) {
        return Kind::Other;
    }
    match holder.command.as_deref() {
        Some(COMMAND) => Kind::Edge,
        Some(_) | None => Kind::Ours,
    }
}

fn own_name() -> Option<String> {
    name(Path::new("/proc/self"))
}

/// The first argument on a process's command line.
fn command(process: &Path) -> Option<String> {
    let line = fs::read(process.join("cmdline")).ok()?;
    let argument = line.split(|byte| *byte == 0).nth(1)?;
    Some(String::from_utf8_lossy(argument).into_owned())
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
        let command = command(&process);
        Some(Holder { name, id, command })
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
            // Held by a process of the same name, which was not started as an edge.
            let finding = one("port", transport, address);
            assert_eq!(finding.verdict, Verdict::Warning, "{finding:?}");
        }
        drop((tcp, udp));
        for (transport, address) in taken {
            assert_eq!(one("port", transport, address).found, "free");
        }
    }

    #[test]
    fn an_edge_is_told_from_another_process_of_this_program_by_its_command() {
        for (name, command, want) in [
            ("adit", Some("edge"), Kind::Edge),
            ("adit", Some("control"), Kind::Ours),
            ("adit", Some(""), Kind::Ours),
            ("adit", None, Kind::Ours),
            ("nginx", Some("edge"), Kind::Other),
        ] {
            let holder = Holder {
                name: name.to_owned(),
                id: 1,
                command: command.map(str::to_owned),
            };
            assert_eq!(kind(&holder, Some("adit")), want, "{holder:?}");
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
