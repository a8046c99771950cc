//! Which agent of a group gets a request.
//!
//! Two links are drawn at random and the one with the lower score is taken:
//! `(latency + penalty) x (in flight + 1) / weight`. Drawing two instead of asking all keeps the edge's many workers from
//! running to the same best agent at once (Mitzenmacher, "The Power of Two Choices").
//!
//! Time is a span since any fixed start and only grows; randomness is an argument. All state is in atomics, so that
//! every worker shares one [`AgentLoad`] per agent without waiting for the others. Where workers race, a sample may be
//! lost; no rule depends on a single one.

use std::time::Duration;

mod app_health;
mod budget;
mod health;
mod load;
mod stamped;

#[cfg(test)]
mod tests;

pub use app_health::AppHealth;
pub use budget::RetryBudget;
pub use load::{AgentLoad, Failure, InFlight, Outcome};

/// When a pick is made, and by which chance.
#[derive(Debug, Clone, Copy)]
pub struct Draw {
    /// Span since the fixed start.
    pub now: Duration,
    /// Any number, all equally likely.
    pub random: u64,
}

/// Picks the link for a request, or `None` if there is none but draining ones and those in `tried`.
///
/// Ejected agents are passed over, unless more than half of the group is ejected: then the fault is likely elsewhere
/// and all are used. They are also used if nothing else is left to try.
pub fn pick<'a, T>(
    candidates: &'a [T],
    load: impl Fn(&'a T) -> &'a AgentLoad,
    tried: impl Fn(&'a T) -> bool,
    draw: Draw,
) -> Option<&'a T> {
    let ejected = |candidate: &'a T| load(candidate).is_ejected(draw.now);
    let left = |candidate: &'a T| !load(candidate).is_draining() && !tried(candidate);
    let healthy = |candidate: &'a T| left(candidate) && !ejected(candidate);
    let group = || candidates.iter().filter(|one| !load(one).is_draining());
    if group().filter(|one| ejected(one)).count() * 2 > group().count() {
        return pick_among(candidates, left, &load, draw);
    }
    pick_among(candidates, healthy, &load, draw)
        .or_else(|| pick_among(candidates, left, &load, draw))
}

fn pick_among<'a, T>(
    candidates: &'a [T],
    fits: impl Fn(&'a T) -> bool,
    load: impl Fn(&'a T) -> &'a AgentLoad,
    draw: Draw,
) -> Option<&'a T> {
    let fitting = || candidates.iter().filter(|one| fits(one));
    let count = fitting().count();
    let (high, low) = (draw.random >> 32, draw.random & u64::from(u32::MAX));
    let first = scale(high, count);
    let second = first + 1 + scale(low, count.saturating_sub(1));
    // Another worker may have ejected one since they were counted, so either may be missing.
    let one = fitting().nth(first);
    let other = fitting().nth(if second < count {
        second
    } else {
        second - count
    });
    match (one, other) {
        (Some(one), Some(other)) => {
            let (a, b) = load::scores(load(one), load(other), draw.now);
            Some(if a <= b { one } else { other })
        }
        (one, other) => one.or(other),
    }
}

/// Brings 32 random bits to `0..count`.
fn scale(random: u64, count: usize) -> usize {
    // A group has far fewer than 2^32 links, so nothing overflows or is cut.
    let scaled = random.saturating_mul(u64::try_from(count).unwrap_or(u64::MAX)) >> 32;
    usize::try_from(scaled).unwrap_or(0)
}
