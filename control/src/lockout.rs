//! Who has to wait before the next password of theirs is looked at, right or wrong.
//!
//! Five counts, each against another way to guess or to be a burden:
//!
//! - *An account, from one network*: after five failures in a row the next attempt waits a second, then twice as long each time, to a
//!   quarter of an hour; a success, or an hour of peace, ends it. One network gets some twenty guesses in the first hour and four in
//!   each that follows, and makes nobody wait who comes from elsewhere.
//! - *An account, from everywhere*: after a hundred failures within an hour everybody waits for the rest of that hour. Below this
//!   many networks could guess as often as they are many. It takes six networks at the least, at the pace of above, so it needs a
//!   purpose, and it is the price of it that the user waits too: at most an hour, with sessions that go on meanwhile. 100 an hour is
//!   under a million a year, which finds no password that is not among the million commonest.
//! - *A network, for all accounts*: after thirty failures within a minute it waits for the rest of that minute. That is against trying
//!   one password on many accounts. An office behind one address may mistype that often on a Monday. An IPv6 /48, which one person may
//!   have with 65,536 networks in it, waits after four times as many.
//! - *An account, right passwords*: after sixty within an hour it waits for the rest of that hour. Each costs a hash, and each session
//!   that is ended a row in the store and in all edges, whoever has the password; people sign in twice a day.
//!
//! An attempt counts as a failure from its begin, and is taken back if it was none: who tries a hundred at once is not a hundred times
//! early. What is refused here counts nowhere, as nothing was tried. Names are held as hashes with a key of this process, as people type
//! passwords there. All of it is in memory: who restarts control for more guesses has better ways in.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::hmac;
use rand::Rng as _;
use tokio::time::Instant;

use crate::attempts::network;

/// Failures in a row that cost nothing: a mistyped password, an old one, another keyboard.
const FREE: u32 = 5;
/// First wait of an account for a network.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// Longest one.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// After so long without attempts failures are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);
/// Failures of an account from everywhere within [`FORGOTTEN_AFTER`].
const ACCOUNT_MAX: u32 = 100;
/// Failures of a network within [`NETWORK_WINDOW`].
const NETWORK_MAX: u32 = 30;
const NETWORK_WINDOW: Duration = Duration::from_secs(60);
/// The same of an IPv6 /48.
const SITE_MAX: u32 = 4 * NETWORK_MAX;
/// Bits of an IPv6 address that are not of its /48.
const SITE_REST: u128 = u128::MAX >> 48;
/// Right passwords of an account within [`FORGOTTEN_AFTER`].
const RIGHT_MAX: u32 = 60;
/// Sessions of a user that end one by one within [`FORGOTTEN_AFTER`].
const ENDS_MAX: u32 = 60;
/// Rows of each count that are remembered; about 16 MB of all six.
const ROWS_MAX: usize = 50_000;

/// Counts failures.
#[derive(Debug)]
pub struct Lockout {
    names: hmac::Key,
    counts: Mutex<Counts>,
}

/// Hash of what was typed as a name.
type Account = [u8; 16];

#[derive(Debug, Default)]
struct Counts {
    pairs: HashMap<(Account, IpAddr), Row>,
    accounts: HashMap<Account, Row>,
    networks: HashMap<IpAddr, Row>,
    sites: HashMap<Ipv6Addr, Row>,
    /// Of right passwords.
    right: HashMap<Account, Row>,
    /// Of sessions that ended before their time.
    ends: HashMap<Account, Row>,
}

/// Failures, and when the first and the last of them began.
#[derive(Debug, Clone, Copy)]
struct Row {
    failures: u32,
    first: Instant,
    last: Instant,
}

/// An attempt that may be made. It has failed unless it is taken back.
#[derive(Debug)]
#[must_use]
pub(crate) struct Attempt {
    account: Account,
    network: IpAddr,
    site: Option<Ipv6Addr>,
}

impl Default for Lockout {
    fn default() -> Self {
        let key: [u8; 32] = rand::rng().random();
        Self {
            names: hmac::Key::new(hmac::HMAC_SHA256, &key),
            counts: Mutex::default(),
        }
    }
}

impl Lockout {
    /// Begins an attempt, or says how long to wait. `name`: as accounts are compared.
    pub(crate) fn begin(
        &self,
        name: &str,
        client: IpAddr,
        now: Instant,
    ) -> Result<Attempt, Duration> {
        let (account, network) = (self.account(name), network(client));
        let site = site(network);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = [
            counts.pairs.get(&(account, network)).map(Row::pair_ends),
            counts.accounts.get(&account).map(Row::account_ends),
            counts.networks.get(&network).map(Row::network_ends),
            site.and_then(|site| counts.sites.get(&site))
                .map(Row::site_ends),
            counts.right.get(&account).map(Row::right_ends),
        ];
        let ends = waits.into_iter().flatten().flatten().max();
        if let Some(wait) = ends.and_then(|ends| ends.checked_duration_since(now))
            && !wait.is_zero()
        {
            return Err(wait);
        }
        note(&mut counts.pairs, (account, network), now, Row::is_quiet);
        note(&mut counts.accounts, account, now, Row::is_old);
        note(&mut counts.networks, network, now, Row::is_past_minute);
        if let Some(site) = site {
            note(&mut counts.sites, site, now, Row::is_past_minute);
        }
        Ok(Attempt {
            account,
            network,
            site,
        })
    }

    /// The password was right: what this network did to the account before is forgotten.
    pub(crate) fn succeeded(&self, attempt: &Attempt, now: Instant) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.pairs.remove(&(attempt.account, attempt.network));
        counts.take_back(attempt);
        note(&mut counts.right, attempt.account, now, Row::is_old);
    }

    /// The password was not looked at.
    pub(crate) fn abandoned(&self, attempt: &Attempt) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        take_back(&mut counts.pairs, &(attempt.account, attempt.network));
        counts.take_back(attempt);
    }

    /// The account has another password: nobody waits for failures with the old one.
    pub(crate) fn forget(&self, name: &str) {
        let account = self.account(name);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.pairs.retain(|(whose, _), _| *whose != account);
        counts.accounts.remove(&account);
    }

    /// A session of the user is to end. Whether so many have that all of them are to end at once: each that ends alone is a row in the
    /// store and in all edges, however its user has signed in.
    pub(crate) fn ends_too_often(&self, name: &str, now: Instant) -> bool {
        let account = self.account(name);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        note(&mut counts.ends, account, now, Row::is_old);
        let row = counts.ends.get(&account);
        row.is_some_and(|row| row.failures > ENDS_MAX)
    }

    fn account(&self, name: &str) -> Account {
        let tag = hmac::sign(&self.names, name.as_bytes());
        let mut account = Account::default();
        account.copy_from_slice(&tag.as_ref()[..size_of::<Account>()]);
        account
    }
}

impl Counts {
    /// Of what is counted besides the pair.
    fn take_back(&mut self, attempt: &Attempt) {
        take_back(&mut self.accounts, &attempt.account);
        take_back(&mut self.networks, &attempt.network);
        if let Some(site) = &attempt.site {
            take_back(&mut self.sites, site);
        }
    }
}

/// The /48 of an IPv6 network.
pub(crate) fn site(network: IpAddr) -> Option<Ipv6Addr> {
    match network {
        IpAddr::V4(_) => None,
        IpAddr::V6(network) => Some(Ipv6Addr::from_bits(network.to_bits() & !SITE_REST)),
    }
}

impl Row {
    /// When an account may be tried from a network again.
    fn pair_ends(&self) -> Option<Instant> {
        let doublings = self.failures.checked_sub(FREE)?;
        let wait = 2_u32
            .checked_pow(doublings)
            .and_then(|times| WAIT_MIN.checked_mul(times));
        Some(self.last + wait.map_or(WAIT_MAX, |wait| wait.min(WAIT_MAX)))
    }

    /// When an account may be tried from anywhere again.
    fn account_ends(&self) -> Option<Instant> {
        (self.failures >= ACCOUNT_MAX).then(|| self.first + FORGOTTEN_AFTER)
    }

    /// When a network may try anything again.
    fn network_ends(&self) -> Option<Instant> {
        (self.failures >= NETWORK_MAX).then(|| self.first + NETWORK_WINDOW)
    }

    /// The same of a /48.
    fn site_ends(&self) -> Option<Instant> {
        (self.failures >= SITE_MAX).then(|| self.first + NETWORK_WINDOW)
    }

    /// When a right password may come again.
    fn right_ends(&self) -> Option<Instant> {
        (self.failures >= RIGHT_MAX).then(|| self.first + FORGOTTEN_AFTER)
    }

    fn is_quiet(&self, now: Instant) -> bool {
        now - self.last >= FORGOTTEN_AFTER
    }

    fn is_old(&self, now: Instant) -> bool {
        now - self.first >= FORGOTTEN_AFTER
    }

    fn is_past_minute(&self, now: Instant) -> bool {
        now - self.first >= NETWORK_WINDOW
    }
}

fn note<K: Hash + Eq>(
    rows: &mut HashMap<K, Row>,
    key: K,
    now: Instant,
    is_over: fn(&Row, Instant) -> bool,
) {
    if rows.len() >= ROWS_MAX && !rows.contains_key(&key) {
        make_room(rows, |row| is_over(row, now));
    }
    let fresh = Row {
        failures: 0,
        first: now,
        last: now,
    };
    let row = rows.entry(key).or_insert(fresh);
    if is_over(row, now) {
        *row = fresh;
    }
    row.failures = row.failures.saturating_add(1);
    row.last = now;
}

/// What is over goes first, then what makes nobody wait yet: names that nobody has push out no account that is being guessed at.
fn make_room<K: Hash + Eq>(rows: &mut HashMap<K, Row>, is_over: impl Fn(&Row) -> bool) {
    rows.retain(|_, row| !is_over(row));
    if rows.len() >= ROWS_MAX {
        rows.retain(|_, row| row.failures >= FREE);
    }
    if rows.len() >= ROWS_MAX {
        // So many attackers at once: nobody is worth remembering more than the others.
        rows.clear();
    }
}

fn take_back<K: Hash + Eq>(rows: &mut HashMap<K, Row>, key: &K) {
    if let Some(row) = rows.get_mut(key) {
        row.failures = row.failures.saturating_sub(1);
        if row.failures == 0 {
            rows.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::Clock;

    use super::*;

    struct Bench {
        lockout: Lockout,
        now: Instant,
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    impl Bench {
        fn new() -> Self {
            Self {
                lockout: Lockout::default(),
                now: Clock::system().now(),
            }
        }

        /// Fails, or says how long to wait.
        fn fail(&self, name: &str, client: &str) -> Result<(), Duration> {
            self.lockout
                .begin(name, address(client), self.now)
                .map(drop)
        }

        fn succeed(&self, name: &str, client: &str) {
            let attempt = self.lockout.begin(name, address(client), self.now).unwrap();
            self.lockout.succeeded(&attempt, self.now);
        }

        fn wait(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }
    }

    #[test]
    fn each_failure_after_the_fifth_doubles_the_wait_to_a_quarter_of_an_hour() {
        let mut bench = Bench::new();
        for _ in 0..FREE {
            assert_eq!(bench.fail("alice", "192.0.2.1"), Ok(()));
        }
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            let wait = Err(Duration::from_secs(seconds));
            assert_eq!(bench.fail("alice", "192.0.2.1"), wait);
            // What is refused does not make the wait longer.
            assert_eq!(bench.fail("alice", "192.0.2.1"), wait);
            bench.wait(seconds);
            assert_eq!(bench.fail("alice", "192.0.2.1"), Ok(()));
        }
        bench.wait(FORGOTTEN_AFTER.as_secs());
        for _ in 0..FREE {
            assert_eq!(bench.fail("alice", "192.0.2.1"), Ok(()));
        }
    }

    #[test]
    fn one_network_makes_no_other_and_no_other_account_wait() {
        let bench = Bench::new();
        for _ in 0..FREE {
            assert_eq!(bench.fail("alice", "2001:db8::1"), Ok(()));
        }
        assert!(bench.fail("alice", "2001:db8::2").is_err());
        assert_eq!(bench.fail("alice", "192.0.2.1"), Ok(()));
        assert_eq!(bench.fail("bob", "2001:db8::2"), Ok(()));
    }

    #[test]
    fn a_success_forgets_what_failed_before() {
        let bench = Bench::new();
        for _ in 1..FREE {
            assert_eq!(bench.fail("alice", "192.0.2.1"), Ok(()));
        }
        bench.succeed("alice", "192.0.2.1");
        for _ in 0..FREE {
            assert_eq!(bench.fail("alice", "192.0.2.1"), Ok(()));
        }
        assert!(bench.fail("alice", "192.0.2.1").is_err());
    }

    #[test]
    fn attempts_at_once_are_counted_before_they_have_failed() {
        let bench = Bench::new();
        let client = "192.0.2.1".parse().unwrap();
        let begin = || bench.lockout.begin("alice", client, bench.now);
        let under_way: Vec<_> = (0..FREE).map(|_| begin().unwrap()).collect();
        assert!(begin().is_err());
        for attempt in &under_way {
            bench.lockout.abandoned(attempt);
        }
        assert!(begin().is_ok());
    }

    #[test]
    fn many_networks_together_get_no_further_than_a_hundred_an_hour() {
        let mut bench = Bench::new();
        for index in 0..ACCOUNT_MAX {
            let client = format!("192.0.2.{}", index % 200);
            assert_eq!(bench.fail("alice", &client), Ok(()));
        }
        let wait = bench.fail("alice", "198.51.100.1");
        assert_eq!(wait, Err(FORGOTTEN_AFTER));
        assert_eq!(bench.fail("bob", "198.51.100.1"), Ok(()));
        bench.wait(FORGOTTEN_AFTER.as_secs());
        assert_eq!(bench.fail("alice", "198.51.100.1"), Ok(()));
    }

    #[test]
    fn one_network_alone_never_brings_an_account_to_its_hundred() {
        let mut bench = Bench::new();
        let mut tried = 0;
        for _ in 0..3_600 {
            tried += u32::from(bench.fail("alice", "192.0.2.1").is_ok());
            bench.wait(1);
        }
        assert!(tried < ACCOUNT_MAX / 4, "{tried}");
    }

    #[test]
    fn a_network_that_tries_many_accounts_waits_for_a_minute() {
        let mut bench = Bench::new();
        for index in 0..NETWORK_MAX {
            assert_eq!(bench.fail(&index.to_string(), "192.0.2.1"), Ok(()));
        }
        assert_eq!(bench.fail("alice", "192.0.2.1"), Err(NETWORK_WINDOW));
        assert_eq!(bench.fail("alice", "192.0.2.2"), Ok(()));
        bench.wait(NETWORK_WINDOW.as_secs());
        assert_eq!(bench.fail("alice", "192.0.2.1"), Ok(()));
    }

    #[test]
    fn a_site_with_thousands_of_networks_waits_too() {
        let mut bench = Bench::new();
        for index in 0..SITE_MAX {
            let client = format!("2001:db8:7:{index:x}::1");
            assert_eq!(bench.fail(&index.to_string(), &client), Ok(()));
        }
        let more = bench.fail("alice", "2001:db8:7:ffff::1");
        assert_eq!(more, Err(NETWORK_WINDOW));
        assert_eq!(bench.fail("alice", "2001:db8:8::1"), Ok(()));
        bench.wait(NETWORK_WINDOW.as_secs());
        assert_eq!(bench.fail("alice", "2001:db8:7:ffff::1"), Ok(()));
    }

    #[test]
    fn right_passwords_come_sixty_times_an_hour_from_wherever() {
        let mut bench = Bench::new();
        for index in 0..RIGHT_MAX {
            bench.succeed("alice", &format!("192.0.2.{index}"));
        }
        assert_eq!(bench.fail("alice", "198.51.100.1"), Err(FORGOTTEN_AFTER));
        bench.lockout.forget("alice");
        assert!(bench.fail("alice", "198.51.100.1").is_err());
        bench.succeed("bob", "198.51.100.1");
        bench.wait(FORGOTTEN_AFTER.as_secs());
        bench.succeed("alice", "198.51.100.1");
    }

    #[test]
    fn sessions_end_one_by_one_sixty_times_an_hour() {
        let bench = Bench::new();
        for _ in 0..ENDS_MAX {
            assert!(!bench.lockout.ends_too_often("alice", bench.now));
        }
        assert!(bench.lockout.ends_too_often("alice", bench.now));
        assert!(!bench.lockout.ends_too_often("bob", bench.now));
        let later = bench.now + FORGOTTEN_AFTER;
        assert!(!bench.lockout.ends_too_often("alice", later));
    }

    #[test]
    fn another_password_is_a_new_begin_for_everybody() {
        let bench = Bench::new();
        for _ in 0..FREE {
            assert_eq!(bench.fail("alice", "192.0.2.1"), Ok(()));
        }
        bench.lockout.forget("alice");
        assert_eq!(bench.fail("alice", "192.0.2.1"), Ok(()));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_names_push_out_nobody_who_waits() {
        let mut bench = Bench::new();
        for _ in 0..FREE {
            assert_eq!(bench.fail("alice", "192.0.2.1"), Ok(()));
        }
        bench.wait(1);
        assert_eq!(bench.fail("alice", "192.0.2.1"), Ok(()));
        for index in 0..=u32::try_from(ROWS_MAX).unwrap() {
            let client = IpAddr::from(0x0a00_0000_u32.wrapping_add(index).to_be_bytes());
            let attempt = bench.lockout.begin(&index.to_string(), client, bench.now);
            assert!(attempt.is_ok());
        }
        let counts = bench.lockout.counts.lock().unwrap();
        assert!(counts.pairs.len() <= ROWS_MAX);
        assert!(counts.accounts.len() <= ROWS_MAX);
        assert!(counts.networks.len() <= ROWS_MAX);
        drop(counts);
        assert!(bench.fail("alice", "192.0.2.1").is_err());
    }

    #[test]
    fn what_was_typed_as_a_name_is_not_kept() {
        let bench = Bench::new();
        assert_eq!(bench.fail("hunter2", "192.0.2.1"), Ok(()));
        let printed = format!("{:?}", bench.lockout);
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
