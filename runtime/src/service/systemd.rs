//! The protocol of systemd, sd_notify(3): datagrams to the socket that `NOTIFY_SOCKET` names, from the main process. Where there is no such
//! variable nobody is told anything.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
    time::Duration,
};

/// Signs of life in one period of the watchdog, as sd_watchdog_enabled(3) advises: one may be late.
const SIGNS_PER_PERIOD: u32 = 2;

/// Lives as `body` does, whose exit code it gives: whatever started this process takes it as it is.
///
/// # Errors
/// None; they are of Windows.
pub fn within(body: impl FnOnce() -> u8 + Send + 'static) -> io::Result<u8> {
    Ok(body())
}

/// Whether this process has no standard error that anybody reads, as its service manager gives it none. systemd gives one.
#[must_use]
pub const fn is_carried() -> bool {
    false
}

/// Tells the service manager how this process does.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that started this process, if one did and wants to be told.
    ///
    /// # Errors
    /// When it names a socket that cannot be reached.
    pub fn of_environment() -> io::Result<Self> {
        let Some(socket) = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Ok(Self::default());
        };
        let text = |name| env::var(name).ok();
        let watchdog = watchdog(text("WATCHDOG_USEC"), text("WATCHDOG_PID"), process::id());
        Self::at(&socket, watchdog)
    }

    fn at(socket: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match socket.as_bytes() {
            // Of the abstract namespace, as systemd writes it.
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(OsString::from(socket))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A manager that reads nothing must not stop us.
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Some(socket),
            watchdog,
        })
    }

    /// The process does what it is for, and is the one to look after: another may have started it to take its place.
    pub fn ready(&self, status: &str) {
        let pid = process::id();
        self.tell(&format!("READY=1\nMAINPID={pid}\nSTATUS={status}"));
    }

    /// The process has been asked to end and does so, within the time that it is given: systemd has a limit of its own.
    pub fn stopping(&self, status: &str, _within: Duration) {
        self.tell(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// The process lives.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// How often the manager wants to hear that the process lives; `None`: it does not ask.
    #[must_use]
    pub fn sign_interval(&self) -> Option<Duration> {
        self.watchdog.map(|period| period / SIGNS_PER_PERIOD)
    }

    fn tell(&self, message: &str) {
        let Some(socket) = &self.socket else {
            return;
        };
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::debug!(%error, message, "the service manager cannot be told");
        }
    }
}

/// The period, if it is meant for this process and not for one that handed its environment down.
fn watchdog(period_us: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let period_us: u64 = period_us?.parse().ok()?;
    (period_us > 0).then(|| Duration::from_micros(period_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn the_manager_is_told_at_a_path_and_in_the_abstract_namespace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("adit-test-{}", process::id());
        let abstract_address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        for (listening, address) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&abstract_address).unwrap(),
                OsString::from(format!("@{name}")),
            ),
        ] {
            let manager = ServiceManager::at(&address, None).unwrap();
            manager.ready("serving");
            manager.alive();
            manager.stopping("draining", Duration::from_secs(1));
            let ready = format!("READY=1\nMAINPID={}\nSTATUS=serving", process::id());
            assert_eq!(heard(&listening), ready);
            assert_eq!(heard(&listening), "WATCHDOG=1");
            assert_eq!(heard(&listening), "STOPPING=1\nSTATUS=draining");
        }
        assert!(ServiceManager::at(OsStr::new("/nowhere/notify"), None).is_err());
    }

    #[test]
    fn the_watchdog_is_fed_if_it_watches_this_process() {
        let text = |value: &str| Some(value.to_owned());
        let period = Some(Duration::from_secs(20));
        for (us, pid, want) in [
            (text("20000000"), None, period),
            (text("20000000"), text("7"), period),
            (text("20000000"), text("8"), None),
            (text("0"), None, None),
            (text("soon"), None, None),
            (None, text("7"), None),
        ] {
            assert_eq!(watchdog(us.clone(), pid, 7), want, "{us:?}");
        }
        let manager = ServiceManager {
            watchdog: period,
            ..ServiceManager::default()
        };
        assert_eq!(manager.sign_interval(), Some(Duration::from_secs(10)));
        // Without a socket nothing happens.
        manager.alive();
    }
}
