//! Which country an address is in, by a list that the operator keeps on the edge's disk.
//!
//! The file is in the MaxMind DB format 2.0, as several vendors give it away, and is read whole. It is checked before it counts: one
//! that is cut off, damaged or about something else is refused, and the list before it stays. Whatever the list does not know has
//! no country.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use maxminddb::{LookupResult, MaxMindDbError, PathElement, Reader, WithinOptions};
use metrics::{counter, gauge};
use model::access::facts::Country;
use runtime::Scope;
use tokio::{task::spawn_blocking, time::sleep};

/// Largest file, in bytes: those of countries have 10 MiB, those of cities, which serve as well, 60 MiB.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// How often the file is looked at: vendors renew theirs every few days.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Networks that are looked at for one with a country before a file counts as one of something else.
const PROBES_MAX: usize = 100_000;
/// Where files have the code, in the schemas that are about: MaxMind's, which DB-IP follows, and that of IPinfo.
const CODES: [&[PathElement<'_>]; 2] = [
    &[PathElement::Key("country"), PathElement::Key("iso_code")],
    &[PathElement::Key("country_code")],
];

/// When the list in force was made, in seconds since 1970.
pub(crate) const COUNTRY_FILE_BUILT_SECONDS: &str = "edge_country_file_built_seconds";
/// Files that could not be used.
pub(crate) const COUNTRY_FILE_FAILURES_TOTAL: &str = "edge_country_file_failures_total";

/// Why a file of countries cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CountryFileError {
    /// It cannot be read.
    #[error("cannot read it")]
    Read(#[source] io::Error),
    /// It is no file.
    #[error("it is no file")]
    Kind,
    /// It is too large.
    #[error("it has more than {FILE_BYTES_MAX} bytes")]
    Size,
    /// It is not in the format, or is damaged.
    #[error("it is not in the MaxMind DB format, or damaged")]
    Format(#[source] MaxMindDbError),
    /// It says of no address in which country it is.
    #[error("it knows no country")]
    Useless,
}

/// A list, checked.
struct List {
    reader: Reader<Vec<u8>>,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

/// The list in force, if there is one; clones share it.
#[derive(Clone, Default)]
pub struct Countries {
    list: Arc<ArcSwapOption<List>>,
    /// Whether rules ask, and there is no list.
    is_missed: Arc<AtomicBool>,
}

impl fmt::Debug for Countries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Countries")
            .field("has_list", &self.list.load().is_some())
            .finish_non_exhaustive()
    }
}

impl List {
    /// Reads and checks a file: seconds of work for a large one.
    fn read(path: &Path) -> Result<Self, CountryFileError> {
        let file = File::open(path).map_err(CountryFileError::Read)?;
        let about = file.metadata().map_err(CountryFileError::Read)?;
        if !about.is_file() {
            return Err(CountryFileError::Kind);
        }
        let mut bytes = Vec::new();
        // The bound counts what is read: a file may grow meanwhile.
        let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
        let read = read.map_err(CountryFileError::Read)?;
        if u64::try_from(read).is_ok_and(|read| read > FILE_BYTES_MAX) {
            return Err(CountryFileError::Size);
        }
        let reader = Reader::from_source(bytes).map_err(CountryFileError::Format)?;
        reader.verify().map_err(CountryFileError::Format)?;
        let list = Self { reader };
        if list.knows_a_country()? {
            Ok(list)
        } else {
            Err(CountryFileError::Useless)
        }
    }

    fn knows_a_country(&self) -> Result<bool, CountryFileError> {
        let networks = self.reader.networks(WithinOptions::default());
        for network in networks.map_err(CountryFileError::Format)?.take(PROBES_MAX) {
            if country(&network.map_err(CountryFileError::Format)?).is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn find(&self, address: IpAddr) -> Option<Country> {
        // It fails for an IPv6 address in a list of IPv4 alone, which is then as unknown as any that is not listed.
        country(&self.reader.lookup(address).ok()?)
    }

    fn show(&self) {
        let built = self.reader.metadata().build_epoch;
        // Seconds fit a float's 53 bits for longer than there will be files.
        gauge!(COUNTRY_FILE_BUILT_SECONDS).set(built as f64);
    }
}

fn country(found: &LookupResult<'_, Vec<u8>>) -> Option<Country> {
    let read = |path: &&[PathElement<'_>]| found.decode_path::<&str>(path).ok().flatten();
    CODES.iter().find_map(read)?.parse().ok()
}

impl Countries {
    /// In which country an address is; none: not known.
    pub(crate) fn find(&self, address: IpAddr) -> Option<Country> {
        self.list.load().as_ref()?.find(address)
    }

    /// Puts the list of a file in force. Blocks while it is read.
    ///
    /// # Errors
    /// Every [`CountryFileError`]; the list before it stays then.
    pub fn replace(&self, path: &Path) -> Result<(), CountryFileError> {
        let list = List::read(path).inspect_err(|_| {
            counter!(COUNTRY_FILE_FAILURES_TOTAL).increment(1);
        })?;
        list.show();
        self.list.store(Some(Arc::new(list)));
        Ok(())
    }

    /// Says once that rules ask for countries which nobody here knows.
    pub(crate) fn follow(&self, rules_ask: bool) {
        let is_missed = rules_ask && self.list.load().is_none();
        if is_missed && !self.is_missed.swap(is_missed, Ordering::Relaxed) {
            tracing::warn!(
                "access rules name countries, and this edge has no country_file: every country is unknown to it"
            );
        } else {
            self.is_missed.store(is_missed, Ordering::Relaxed);
        }
    }
}

/// Reads the file of an edge, and from then on whenever it changes. A file that cannot be used later leaves the list as it is.
///
/// # Errors
/// When the file cannot be used now: an edge that knows no country might let in whom a rule is to keep out.
pub(crate) async fn start(path: PathBuf, scope: &Scope) -> Result<Countries, CountryFileError> {
    let seen = Stamp::of(&path);
    let countries = Countries::default();
    let (reads, from) = (countries.clone(), path.clone());
    let read = spawn_blocking(move || reads.replace(&from)).await;
    read.map_err(|bug| CountryFileError::Read(bug.into()))??;
    tracing::info!(file = %path.display(), "countries are known");
    let followed = countries.clone();
    let own = scope.child("country file");
    scope.spawn_standing("country file", async move {
        let mut seen = seen;
        loop {
            tokio::select! {
                () = own.cancelled() => return,
                () = sleep(LOOK_INTERVAL) => {}
            }
            let (countries, path) = (followed.clone(), path.clone());
            let looked = spawn_blocking(move || countries.look(&path, seen)).await;
            match looked {
                Ok(now) => seen = now,
                Err(error) => tracing::error!(%error, "cannot look at the file of countries"),
            }
        }
    });
    Ok(countries)
}

impl Countries {
    /// Reads the file if it is another than the one that was seen last; tells which was seen now.
    fn look(&self, path: &Path, seen: Option<Stamp>) -> Option<Stamp> {
        // Before it is read: what changes meanwhile is seen the next time.
        let now = Stamp::of(path);
        if now == seen {
            return now;
        }
        match self.replace(path) {
            Ok(()) => {
                tracing::info!(file = %path.display(), "the file of countries was read again")
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(tracing::field::display);
                tracing::error!(%error, cause, file = %path.display(), "cannot use the file of countries: the list before it stays");
            }
        }
        now
    }
}

impl Stamp {
    /// None: there is no such file.
    fn of(path: &Path) -> Option<Self> {
        let about = fs::metadata(path).ok()?;
        Some(Self {
            modified: about.modified().ok(),
            bytes: about.len(),
        })
    }
}

#[cfg(test)]
pub(crate) mod written;

#[cfg(test)]
mod tests;
