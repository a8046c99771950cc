//! Reads and writes how much an app takes. 0 says that there is no limit, whatever the default.

use std::time::Duration;

use model::{
    app::{Limits, Rate},
    settings::EdgeLimits,
};

use crate::{
    admin, time,
    violation::{Unit, Violations},
};

/// Reads limits; those that are not set are the default's.
pub(crate) fn read(
    field: &str,
    wire: Option<&admin::Limits>,
    default: &Limits,
    found: &mut Violations,
) -> Limits {
    let wire = wire.copied().unwrap_or_default();
    let mut bound = |which: &str, wire: Option<u32>, default, range| match wire {
        Some(0) => None,
        Some(number) => found.number(&format!("{field}.{which}"), number, range),
        None => default,
    };
    let head_fields = bound(
        "head_fields",
        wire.head_fields,
        default.head_fields,
        EdgeLimits::HEAD_FIELDS_RANGE,
    );
    let head_bytes = bound(
        "head_bytes",
        wire.head_bytes,
        default.head_bytes,
        EdgeLimits::HEAD_BYTES_RANGE,
    );
    let target_bytes = bound(
        "target_bytes",
        wire.target_bytes,
        default.target_bytes,
        EdgeLimits::TARGET_BYTES_RANGE,
    );
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
        head_fields,
        head_bytes,
        target_bytes,
        stall_timeout: match wire.stall_timeout {
            Some(none) if none == prost_types::Duration::default() => None,
            Some(span) => found.span(
                &format!("{field}.stall_timeout"),
                &span,
                EdgeLimits::SPAN_RANGE,
                Unit::Milliseconds,
            ),
            None => default.stall_timeout,
        },
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
        head_fields: Some(limits.head_fields.unwrap_or_default()),
        head_bytes: Some(limits.head_bytes.unwrap_or_default()),
        target_bytes: Some(limits.target_bytes.unwrap_or_default()),
        stall_timeout: Some(write_span(limits.stall_timeout)),
    }
}

fn write_span(span: Option<Duration>) -> prost_types::Duration {
    time::wire_duration(span.unwrap_or_default())
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
        head_fields: said.head_fields.and(all.head_fields),
        head_bytes: said.head_bytes.and(all.head_bytes),
        target_bytes: said.target_bytes.and(all.target_bytes),
        stall_timeout: said.stall_timeout.and(all.stall_timeout),
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
        head_fields: stored.head_fields.or(default.head_fields),
        head_bytes: stored.head_bytes.or(default.head_bytes),
        target_bytes: stored.target_bytes.or(default.target_bytes),
        stall_timeout: stored.stall_timeout.or(default.stall_timeout),
    }
}
