//! The machine: disk, buffers, descriptors, and variables that name a proxy.

use std::{
    env, fs, io,
    net::{Ipv4Addr, UdpSocket},
    path::Path,
};

use socket2::SockRef;

use super::{Check, Fault, Finding};
use crate::{file, system};

/// Name of the file by which a directory is tried; nothing else uses it, and it does not stay.
const TRIAL_FILE: &str = "doctor.trial";
/// Buffers that the tunnel asks for: 100 ms of 640 Mbit/s.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// Less than this is lost within one round trip at speeds that are usual; many systems grant 208 KiB.
const BUFFER_BYTES_MIN: usize = 1024 * 1024;
/// Where Linux says how large buffers may be.
const LIMITS: [&str; 2] = ["/proc/sys/net/core/rmem_max", "/proc/sys/net/core/wmem_max"];
/// Descriptors below which a busy node runs short: each user, and each connection to an origin, takes one.
const DESCRIPTORS_MIN: u64 = 65_536;
/// Variables by which programs are told of proxies, in small letters too.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"];

/// Whether what lasts can be kept.
#[must_use]
pub fn data_directory(directory: &Path) -> Finding {
    let subject = directory.display().to_string();
    if let Err(error) = try_to_write(directory) {
        let found = format!("cannot be written: {error}");
        return Finding::failed(Check::DataDirectory, Fault::DataDirectory, subject, found);
    }
    if let Some(open) = system::open_directory(directory) {
        let found = format!("can be written, and {open}");
        return Finding::warning(Check::DataDirectory, Fault::DataDirectory, subject, found);
    }
    Finding::ok(Check::DataDirectory, subject, "can be written")
}

/// A directory that is not there yet could be made; it is not.
fn try_to_write(directory: &Path) -> io::Result<()> {
    let absolute = std::path::absolute(directory)?;
    let there = absolute.ancestors().find(|path| path.exists());
    let there = there.ok_or(io::ErrorKind::NotFound)?;
    let path = there.join(TRIAL_FILE);
    file::replace(&path, b"", file::PRIVATE)?;
    file::remove(&path)
}

/// How large buffers of UDP sockets may be: in small ones, bursts are lost.
#[must_use]
pub fn buffers() -> Finding {
    let granted = match granted() {
        Ok(granted) => granted,
        Err(error) => {
            let found = format!("the system gives no UDP socket: {error}");
            return Finding::failed(Check::Buffers, Fault::Buffers, "", found);
        }
    };
    let limits = LIMITS.map(|path| fs::read_to_string(path).ok());
    let limits = limits.map(|text| text.and_then(|text| text.trim().parse().ok()));
    let least = |bytes: usize, limit: Option<usize>| limit.map_or(bytes, |limit| bytes.min(limit));
    let receive = least(granted[0], limits[0]);
    let send = least(granted[1], limits[1]);
    let found = format!(
        "UDP sockets get {} KiB to receive and {} KiB to send",
        receive / 1024,
        send / 1024
    );
    if receive.min(send) < BUFFER_BYTES_MIN {
        let found = format!("{found}; 8 MiB keep bursts at high speed from being lost");
        return Finding::warning(Check::Buffers, Fault::Buffers, "", found);
    }
    Finding::ok(Check::Buffers, "", found)
}

/// What a socket gets that asks for as much as the tunnel does. Linux tells the double, for its own book-keeping.
fn granted() -> io::Result<[usize; 2]> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let socket = SockRef::from(&socket);
    socket.set_recv_buffer_size(BUFFER_BYTES)?;
    socket.set_send_buffer_size(BUFFER_BYTES)?;
    let doubled = if cfg!(target_os = "linux") { 2 } else { 1 };
    Ok([socket.recv_buffer_size()?, socket.send_buffer_size()?].map(|bytes| bytes / doubled))
}

/// How many connections the process may have. It raises the limit itself as far as it may.
#[must_use]
pub fn descriptors() -> Finding {
    match system::descriptors_max() {
        Ok(hard) if hard < DESCRIPTORS_MIN => {
            let found = format!("at most {hard} files and connections at the same time");
            Finding::warning(Check::Descriptors, Fault::Descriptors, "", found)
        }
        Ok(hard) => {
            let found = format!("{hard} files and connections at the same time");
            Finding::ok(Check::Descriptors, "", found)
        }
        Err(error) => Finding::skipped(
            Check::Descriptors,
            "",
            format!("the limit is not told: {error}"),
        ),
    }
}

/// What the environment says of proxies, without passwords.
#[must_use]
pub fn proxies() -> Finding {
    let both = PROXY_VARIABLES
        .iter()
        .flat_map(|name| [(*name).to_owned(), name.to_ascii_lowercase()]);
    let seen: Vec<String> = both
        .filter_map(|name| {
            let value = env::var(&name).ok().filter(|value| !value.is_empty())?;
            Some(format!("{name}={}", without_password(&value)))
        })
        .collect();
    let found = if seen.is_empty() {
        "no variable names one".to_owned()
    } else {
        format!("seen: {}", seen.join(", "))
    };
    Finding::ok(Check::Proxy, "", found)
}

/// `http://user:secret@proxy:3128` as `http://***@proxy:3128`.
fn without_password(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map(|(scheme, _)| scheme);
            let scheme = scheme
                .map(|scheme| format!("{scheme}://"))
                .unwrap_or_default();
            format!("{scheme}***@{host}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_directory_is_tried_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("data/agent");
        assert_eq!(data_directory(&wanted).verdict, Verdict::Ok);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for unusable in [file.join("below"), file] {
            let finding = data_directory(&unusable);
            assert_eq!(finding.fault, Some(Fault::DataDirectory), "{finding:?}");
            assert_eq!(finding.verdict, Verdict::Failed, "{finding:?}");
        }
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(data_directory(&open).verdict, Verdict::Warning);
    }

    #[test]
    fn passwords_of_proxies_are_not_shown() {
        for (url, shown) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("http://user:p@ss@proxy:3128", "http://***@proxy:3128"),
            ("user:secret@proxy", "***@proxy"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
