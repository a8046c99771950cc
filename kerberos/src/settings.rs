//! What the agent says of its account, and the bounds.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    failure::{Kind, Stage},
    realm::Principal,
};

/// Exchanges with KDCs at one time. Each holds a thread, for a minute if a KDC is silent. One more finds out whether KDCs answer again.
const EXCHANGES_MAX: usize = 16;
/// Users and applications that tickets are being fetched for, waiting ones included.
const FETCHES_MAX: usize = 1024;
/// How long a request waits for its ticket.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a ticket is used, so that a user who is disabled is out after it.
const AGE_MAX: Duration = Duration::from_secs(15 * 60);
/// How long before its end a ticket is not used any more: clocks differ by so much.
const END_MARGIN: Duration = Duration::from_secs(5 * 60);
/// Tickets kept, of 13 KiB each.
const TICKETS_MAX: usize = 10_000;
/// Refusals kept.
const REFUSALS_MAX: usize = 10_000;
/// How long a refusal is taken for the KDC's word.
const REFUSED_FOR: Duration = Duration::from_secs(30);
/// How long after a time-out the same ticket is not asked for again.
const TIMED_OUT_FOR: Duration = Duration::from_secs(10);
/// Time-outs in a row after which no KDC is asked for a while.
const TIMEOUTS_MAX: u32 = 3;
/// How long that is.
const BROKEN_FOR: Duration = Duration::from_secs(10);
/// How young a ticket is that [`crate::Kerberos::forget`] leaves: a new one would be the same, and who is refused again and again would
/// have the KDC asked each time.
const FORGET_AGE_MIN: Duration = Duration::from_secs(5);

/// The agent's account, and how it is used.
#[derive(Clone)]
pub struct Settings {
    /// The agent's account, `svc-adit@CORP.EXAMPLE`.
    pub principal: Principal,
    /// The file with its keys.
    pub keytab: PathBuf,
    /// Bounds, which have defaults.
    pub bounds: Bounds,
    /// Told of each exchange with a KDC.
    pub observer: Option<Observer>,
}

impl Settings {
    /// Settings with the usual bounds.
    pub fn new(principal: Principal, keytab: impl Into<PathBuf>) -> Self {
        Self {
            principal,
            keytab: keytab.into(),
            bounds: Bounds::default(),
            observer: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("principal", &self.principal)
            .field("keytab", &self.keytab)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

/// Who is told of each exchange with a KDC, for metrics. Called on the thread of the exchange: it must be quick.
pub type Observer = Arc<dyn Fn(Exchange) + Send + Sync>;

/// One exchange with a KDC, at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// What was asked for; never [`Stage::App`].
    pub stage: Stage,
    /// How it ended.
    pub result: Result<(), Kind>,
    /// How long it took.
    pub took: Duration,
}

/// Bounds of all that grows or waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Exchanges with KDCs at one time.
    pub exchanges_max: usize,
    /// Users and applications that tickets are being fetched for, waiting ones included.
    pub fetches_max: usize,
    /// How long a request waits for its ticket.
    pub deadline: Duration,
    /// How long a ticket is used.
    pub age_max: Duration,
    /// How long before its end a ticket is not used any more; at most half of its life.
    pub end_margin: Duration,
    /// Tickets kept; the one that was not used for longest goes.
    pub tickets_max: usize,
    /// Refusals kept.
    pub refusals_max: usize,
    /// How long a refusal is taken for the KDC's word.
    pub refused_for: Duration,
    /// How long after a time-out the same ticket is not asked for again.
    pub timed_out_for: Duration,
    /// Time-outs in a row after which no KDC is asked for a while.
    pub timeouts_max: u32,
    /// How long that is.
    pub broken_for: Duration,
    /// How young a ticket is that [`crate::Kerberos::forget`] leaves.
    pub forget_age_min: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            exchanges_max: EXCHANGES_MAX,
            fetches_max: FETCHES_MAX,
            deadline: DEADLINE,
            age_max: AGE_MAX,
            end_margin: END_MARGIN,
            tickets_max: TICKETS_MAX,
            refusals_max: REFUSALS_MAX,
            refused_for: REFUSED_FOR,
            timed_out_for: TIMED_OUT_FOR,
            timeouts_max: TIMEOUTS_MAX,
            broken_for: BROKEN_FOR,
            forget_age_min: FORGET_AGE_MIN,
        }
    }
}
