//! Terminals that want to sign in (after RFC 8628), until somebody has decided about them.
//!
//! Kept in memory: each lives for minutes, and whoever was under way when control was started again begins anew. Control knows neither
//! the code that the terminal keeps, only its hash, nor what is granted, which edges seal.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use proto::fabric::DeviceState;
use rand::Rng as _;
use tokio::time::Instant;

use crate::{
    attempts::{Attempts, network},
    lockout::site,
};

/// How long a user has to type the code.
pub(crate) const LIFE: Duration = Duration::from_secs(600);
/// How long a terminal waits between two polls at first (RFC 8628, section 3.2), and by how much more for each that came too early
/// (section 3.5).
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
/// A poll that is early by less has only met a faster line.
const INTERVAL_SLACK: Duration = Duration::from_millis(500);
/// Terminals under way, in all; some MB, as few are granted anything at a time.
const DEVICES_MAX: usize = 10_000;
/// And of one network.
const CLIENT_DEVICES_MAX: usize = 20;
/// And of one IPv6 /48, which one person may have with 65,536 networks in it.
const SITE_DEVICES_MAX: usize = 4 * CLIENT_DEVICES_MAX;
/// Letters of a code: no vowels, which would make words, and none that look alike (RFC 8628, section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// How many: of 2.6 * 10^10 codes ten thousand are in use at the most.
pub(crate) const CODE_LETTERS: usize = 8;
/// Codes of nobody that one network may try within a minute: in the life of a code that makes a hundred.
const GUESSES_MAX: u32 = 10;
/// Most that a terminal calls itself, in characters.
pub(crate) const PROGRAM_CHARS_MAX: usize = 64;
/// Largest grant: a session, sealed.
pub(crate) const GRANT_BYTES_MAX: usize = 8 * 1024;

/// SHA-256 of the code that a terminal keeps.
pub(crate) type DeviceDigest = [u8; 32];

/// All that are under way.
#[derive(Debug)]
pub struct Devices {
    held: Mutex<Held>,
    guesses: Attempts,
}

#[derive(Debug, Default)]
struct Held {
    devices: HashMap<DeviceDigest, Device>,
    /// Of those that nobody has decided about.
    codes: HashMap<String, DeviceDigest>,
}

#[derive(Debug)]
struct Device {
    code: String,
    program: String,
    client: IpAddr,
    began: Instant,
    polled: Option<Instant>,
    interval: Duration,
    decision: Option<Decision>,
}

#[derive(Debug)]
enum Decision {
    Granted(Bytes),
    Denied,
}

/// What a user is shown of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) device: DeviceDigest,
    pub(crate) program: String,
    pub(crate) client: IpAddr,
    pub(crate) age: Duration,
}

/// Why nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Nobody has this code.
    Unknown,
    /// Too many from there, or in all.
    TooMany,
}

impl Default for Devices {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            guesses: Attempts::new(GUESSES_MAX),
        }
    }
}

impl Devices {
    /// A terminal wants to sign in; gives the code that its user is to type.
    pub(crate) fn begin(
        &self,
        device: DeviceDigest,
        program: String,
        client: IpAddr,
        now: Instant,
    ) -> Result<String, Refused> {
        let mut held = self.held(now);
        let (home, place) = (network(client), site(network(client)));
        let of = |is_near: &dyn Fn(IpAddr) -> bool| {
            let all = held.devices.values();
            all.filter(|device| is_near(network(device.client))).count()
        };
        let is_crowded = of(&|other| other == home) >= CLIENT_DEVICES_MAX
            || place.is_some() && of(&|other| site(other) == place) >= SITE_DEVICES_MAX;
        if is_crowded || held.devices.contains_key(&device) {
            return Err(Refused::TooMany);
        }
        if held.devices.len() >= DEVICES_MAX && !held.make_room() {
            return Err(Refused::TooMany);
        }
        let mut code = random_code();
        while held.codes.contains_key(&code) {
            code = random_code();
        }
        held.codes.insert(code.clone(), device);
        held.devices.insert(
            device,
            Device {
                code: code.clone(),
                program,
                client,
                began: now,
                polled: None,
                interval: INTERVAL,
                decision: None,
            },
        );
        Ok(code)
    }

    /// The terminal whose code a user at `client` has typed.
    pub(crate) fn find(&self, code: &str, client: IpAddr, now: Instant) -> Result<Found, Refused> {
        if self.guesses.is_barred(client, now) {
            return Err(Refused::TooMany);
        }
        let held = self.held(now);
        let found = held.codes.get(code).and_then(|digest| {
            let device = held.devices.get(digest)?;
            Some(Found {
                device: *digest,
                program: device.program.clone(),
                client: device.client,
                age: now - device.began,
            })
        });
        if found.is_none() {
            self.guesses.note(client, now);
        }
        found.ok_or(Refused::Unknown)
    }

    /// What a user has decided, once; an empty grant: nothing.
    pub(crate) fn decide(
        &self,
        code: &str,
        device: &DeviceDigest,
        grant: Bytes,
        now: Instant,
    ) -> Result<(), Refused> {
        let mut held = self.held(now);
        if held.codes.get(code) != Some(device) {
            return Err(Refused::Unknown);
        }
        held.codes.remove(code);
        let device = held.devices.get_mut(device).ok_or(Refused::Unknown)?;
        device.decision = Some(if grant.is_empty() {
            Decision::Denied
        } else {
            Decision::Granted(grant)
        });
        Ok(())
    }

    /// What became of a terminal, and what it was granted. Told once: then it is forgotten.
    pub(crate) fn poll(&self, device: &DeviceDigest, now: Instant) -> (DeviceState, Bytes) {
        let mut held = self.held(now);
        let Some(known) = held.devices.get_mut(device) else {
            return (DeviceState::Expired, Bytes::new());
        };
        let is_early = known
            .polled
            .is_some_and(|polled| now - polled + INTERVAL_SLACK < known.interval);
        known.polled = Some(now);
        if is_early {
            known.interval += INTERVAL;
            return (DeviceState::SlowDown, Bytes::new());
        }
        match known.decision.take() {
            None => (DeviceState::Pending, Bytes::new()),
            Some(decision) => {
                held.devices.remove(device);
                match decision {
                    Decision::Denied => (DeviceState::Denied, Bytes::new()),
                    Decision::Granted(grant) => (DeviceState::Granted, grant),
                }
            }
        }
    }

    /// Those that are within their life.
    fn held(&self, now: Instant) -> MutexGuard<'_, Held> {
        let mut guard = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Held { devices, codes } = &mut *guard;
        devices.retain(|_, device| {
            let lives = now - device.began < LIFE;
            if !lives {
                codes.remove(&device.code);
            }
            lives
        });
        guard
    }
}

impl Held {
    /// Forgets the oldest that nobody has decided about of the place with most of them: whoever fills all has many. False: there is none.
    fn make_room(&mut self) -> bool {
        let undecided = |(_, device): &(&DeviceDigest, &Device)| device.decision.is_none();
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (_, device) in self.devices.iter().filter(undecided) {
            *counts.entry(place(device.client)).or_default() += 1;
        }
        let busiest = counts.into_iter().max_by_key(|(_, count)| *count);
        let Some((busiest, _)) = busiest else {
            return false;
        };
        let of_it = self.devices.iter().filter(undecided);
        let of_it = of_it.filter(|(_, device)| place(device.client) == busiest);
        let oldest = of_it.min_by_key(|(_, device)| device.began);
        let oldest = oldest.map(|(digest, _)| *digest);
        let gone = oldest.and_then(|digest| self.devices.remove(&digest));
        gone.is_some_and(|device| self.codes.remove(&device.code).is_some())
    }
}

/// Whom a terminal is counted with: the /48 of an IPv6 address, or an IPv4 address.
fn place(client: IpAddr) -> IpAddr {
    let network = network(client);
    site(network).map_or(network, IpAddr::V6)
}

fn random_code() -> String {
    let mut random = rand::rng();
    (0..CODE_LETTERS)
        .map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]))
        .collect()
}

#[cfg(test)]
mod tests {
    use runtime::Clock;

    use super::*;

    const ONE: DeviceDigest = [1; 32];
    const TWO: DeviceDigest = [2; 32];

    fn here() -> IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    fn there() -> IpAddr {
        "192.0.2.2".parse().unwrap()
    }

    fn begin(devices: &Devices, device: DeviceDigest, now: Instant) -> Result<String, Refused> {
        devices.begin(device, "adit".to_owned(), here(), now)
    }

    #[test]
    fn what_is_granted_is_told_once_to_whom_it_is_for() {
        let (devices, now) = (Devices::default(), Clock::system().now());
        let code = begin(&devices, ONE, now).unwrap();
        assert_eq!(code.len(), CODE_LETTERS);
        assert!(code.bytes().all(|letter| LETTERS.contains(&letter)));
        let other = begin(&devices, TWO, now).unwrap();
        assert_ne!(code, other);
        let later = now + Duration::from_secs(30);
        let found = devices.find(&code, there(), later).unwrap();
        let want = Found {
            device: ONE,
            program: "adit".to_owned(),
            client: here(),
            age: Duration::from_secs(30),
        };
        assert_eq!(found, want);
        assert_eq!(devices.poll(&ONE, now).0, DeviceState::Pending);
        let grant = || Bytes::from_static(b"sealed");
        // Of another terminal, as one that got the code meanwhile would be.
        let wrong = devices.decide(&code, &TWO, grant(), later);
        assert_eq!(wrong, Err(Refused::Unknown));
        assert_eq!(devices.decide(&code, &ONE, grant(), later), Ok(()));
        let again = devices.decide(&code, &ONE, grant(), later);
        assert_eq!(again, Err(Refused::Unknown));
        assert!(devices.find(&code, there(), later).is_err());
        assert_eq!(devices.poll(&TWO, later).0, DeviceState::Pending);
        assert_eq!(devices.poll(&ONE, later), (DeviceState::Granted, grant()));
        assert_eq!(devices.poll(&ONE, later).0, DeviceState::Expired);
    }

    #[test]
    fn who_is_refused_hears_it_once() {
        let (devices, now) = (Devices::default(), Clock::system().now());
        let code = begin(&devices, ONE, now).unwrap();
        devices.decide(&code, &ONE, Bytes::new(), now).unwrap();
        assert_eq!(devices.poll(&ONE, now).0, DeviceState::Denied);
        assert_eq!(devices.poll(&ONE, now).0, DeviceState::Expired);
        assert_eq!(devices.poll(&TWO, now).0, DeviceState::Expired);
    }

    #[test]
    fn who_polls_too_often_waits_longer_each_time() {
        let (devices, mut now) = (Devices::default(), Clock::system().now());
        begin(&devices, ONE, now).unwrap();
        for (wait, want) in [
            (0, DeviceState::Pending),
            (5, DeviceState::Pending),
            (1, DeviceState::SlowDown),
            (5, DeviceState::SlowDown),
            (15, DeviceState::Pending),
            (5, DeviceState::SlowDown),
        ] {
            now += Duration::from_secs(wait);
            assert_eq!(devices.poll(&ONE, now).0, want, "after {wait} s");
        }
    }

    #[test]
    fn nothing_is_left_of_who_was_not_decided_about_in_time() {
        let (devices, now) = (Devices::default(), Clock::system().now());
        let code = begin(&devices, ONE, now).unwrap();
        let end = now + LIFE;
        assert_eq!(devices.find(&code, here(), end), Err(Refused::Unknown));
        assert_eq!(devices.poll(&ONE, end).0, DeviceState::Expired);
        assert!(devices.held(end).codes.is_empty());
    }

    #[test]
    fn a_network_and_all_together_have_so_many_and_no_more() {
        let (devices, now) = (Devices::default(), Clock::system().now());
        let mut made = 0_u32;
        let mut begin = |client: IpAddr, now| {
            made += 1;
            let mut device = [0; 32];
            device[..4].copy_from_slice(&made.to_be_bytes());
            devices.begin(device, String::new(), client, now)
        };
        for _ in 0..CLIENT_DEVICES_MAX {
            assert!(begin(here(), now).is_ok());
        }
        assert_eq!(begin(here(), now), Err(Refused::TooMany));
        for network in 1..DEVICES_MAX / CLIENT_DEVICES_MAX {
            let [.., high, low] = network.to_be_bytes();
            for _ in 0..CLIENT_DEVICES_MAX {
                assert!(begin([198, 18, high, low].into(), now).is_ok());
            }
        }
        // Somebody else still begins, and of who is there most the oldest is forgotten.
        assert!(begin(there(), now).is_ok());
        assert_eq!(devices.held(now).devices.len(), DEVICES_MAX);
        assert_eq!(devices.held(now).codes.len(), DEVICES_MAX);
    }

    #[test]
    fn a_site_with_thousands_of_networks_has_so_many_and_no_more() {
        let (devices, now) = (Devices::default(), Clock::system().now());
        let begin = |site: u16, number: usize| {
            let mut device = [0; 32];
            device[..8].copy_from_slice(&number.to_be_bytes());
            device[8..10].copy_from_slice(&site.to_be_bytes());
            let client = format!("2001:db8:{site:x}:{number:x}::1").parse().unwrap();
            devices.begin(device, String::new(), client, now)
        };
        for number in 0..SITE_DEVICES_MAX {
            assert!(begin(7, number).is_ok(), "{number}");
        }
        assert_eq!(begin(7, SITE_DEVICES_MAX), Err(Refused::TooMany));
        assert!(begin(8, 0).is_ok());
    }

    #[test]
    fn codes_cannot_be_guessed_at_any_rate() {
        let (devices, now) = (Devices::default(), Clock::system().now());
        let code = begin(&devices, ONE, now).unwrap();
        for _ in 0..GUESSES_MAX {
            let tried = devices.find("BBBBBBBB", here(), now);
            assert_eq!(tried, Err(Refused::Unknown));
        }
        // Not even the right one, which would tell that it is.
        assert_eq!(devices.find(&code, here(), now), Err(Refused::TooMany));
        assert!(devices.find(&code, there(), now).is_ok());
    }

    #[test]
    fn a_code_is_taken_once() {
        let (devices, now) = (Devices::default(), Clock::system().now());
        begin(&devices, ONE, now).unwrap();
        assert_eq!(begin(&devices, ONE, now), Err(Refused::TooMany));
    }
}
