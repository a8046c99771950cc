//! Reads and writes how much an app takes. 0 says that there is no limit, whatever the default.

use model::app::{Limits, Rate};

use crate::{admin, violation::Violations};

/// Reads limits; those that are not set are the default's.
pub(crate) fn read(
    field: &str,
    wire: Option<&admin::Limits>,
    default: &Limits,
    found: &mut Violations,
) -> Limits {
    let wire = wire.copied().unwrap_or_default();
    let mut rate = |which: &str, wire: Option<_>, default| match wire {
        Some(wire) => read_rate(&format!("{field}.{which}"), wire, found),
        None => default,
    };
    Limits {
        body_bytes: match wire.body_bytes {
            Some(bytes) => (bytes != 0).then_some(bytes),
            None => default.body_bytes,
        },
        requests: match wire.requests {
            Some(requests) => (requests != 0).then_some(requests),
            None => default.requests,
        },
        rate: rate("rate", wire.rate, default.rate),
        client_rate: rate("client_rate", wire.client_rate, default.client_rate),
        body_pace: wire.body_pace.or(default.body_pace),
    }
}

fn read_rate(field: &str, wire: admin::Rate, found: &mut Violations) -> Option<Rate> {
    let admin::Rate { per_second, burst } = wire;
    for (part, value) in [("per_second", per_second), ("burst", burst)] {
        if value > Rate::MAX {
            found.add(
                &format!("{field}.{part}"),
                format_args!("must not be more than {}", Rate::MAX),
            );
        }
    }
    if per_second == 0 && burst != 0 {
        found.add(&format!("{field}.burst"), "needs per_second");
    }
    (per_second != 0).then_some(Rate {
        per_second,
        burst: if burst == 0 { per_second } else { burst },
    })
}

/// Writes every limit that the fabric has a say in.
pub(crate) fn write(limits: &Limits) -> admin::Limits {
    admin::Limits {
        body_bytes: Some(limits.body_bytes.unwrap_or_default()),
        requests: Some(limits.requests.unwrap_or_default()),
        rate: Some(write_rate(limits.rate)),
        client_rate: Some(write_rate(limits.client_rate)),
        body_pace: limits.body_pace,
    }
}

fn write_rate(rate: Option<Rate>) -> admin::Rate {
    rate.map_or_else(admin::Rate::default, |rate| admin::Rate {
        per_second: rate.per_second,
        burst: rate.burst,
    })
}

/// Those of `limits` that were `said`.
pub(crate) fn said(limits: &Limits, said: Option<&admin::Limits>) -> Option<admin::Limits> {
    let (said, all) = (said?, write(limits));
    let own = admin::Limits {
        body_bytes: said.body_bytes.and(all.body_bytes),
        requests: said.requests.and(all.requests),
        rate: said.rate.and(all.rate),
        client_rate: said.client_rate.and(all.client_rate),
        body_pace: said.body_pace.and(all.body_pace),
    };
    (own != admin::Limits::default()).then_some(own)
}

/// Stored limits, and the default's where they say nothing.
pub(crate) fn filled(stored: Option<admin::Limits>, default: &Limits) -> admin::Limits {
    let (stored, default) = (stored.unwrap_or_default(), write(default));
    admin::Limits {
        body_bytes: stored.body_bytes.or(default.body_bytes),
        requests: stored.requests.or(default.requests),
        rate: stored.rate.or(default.rate),
        client_rate: stored.client_rate.or(default.client_rate),
        body_pace: stored.body_pace.or(default.body_pace),
    }
}
