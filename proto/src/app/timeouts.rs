//! Reads and writes how long each stage of a request may take.

use std::time::Duration;

use model::app::Timeouts;

use crate::{
    admin, time,
    violation::{Unit, Violations},
};

/// Reads time-outs; those that are not set are the default's.
pub(crate) fn read(
    field: &str,
    wire: Option<&admin::Timeouts>,
    default: &Timeouts,
    found: &mut Violations,
) -> Timeouts {
    let wire = wire.copied().unwrap_or_default();
    let mut one = |stage: &str, wire: Option<_>, default, range| match wire {
        Some(wire) => found
            .span(
                &format!("{field}.{stage}"),
                &wire,
                range,
                Unit::Milliseconds,
            )
            .unwrap_or(default),
        None => default,
    };
    Timeouts {
        connect: one(
            "connect",
            wire.connect,
            default.connect,
            Timeouts::CONNECT_RANGE,
        ),
        response: one(
            "response",
            wire.response,
            default.response,
            Timeouts::RESPONSE_RANGE,
        ),
        idle: one("idle", wire.idle, default.idle, Timeouts::IDLE_RANGE),
        total: match wire.total {
            Some(none) if none == NO_TOTAL => None,
            Some(total) => found.span(
                &format!("{field}.total"),
                &total,
                Timeouts::TOTAL_RANGE,
                Unit::Milliseconds,
            ),
            None => default.total,
        },
    }
}

/// How it is said that a request may take as long as it likes.
const NO_TOTAL: prost_types::Duration = prost_types::Duration {
    seconds: 0,
    nanos: 0,
};

/// Writes every time-out.
pub(crate) fn write(timeouts: &Timeouts) -> admin::Timeouts {
    let wire = |span: Duration| Some(time::wire_duration(span));
    admin::Timeouts {
        connect: wire(timeouts.connect),
        response: wire(timeouts.response),
        idle: wire(timeouts.idle),
        total: wire(timeouts.total.unwrap_or_default()),
    }
}

/// Those of `timeouts` that were `said`.
pub(crate) fn said(timeouts: &Timeouts, said: Option<&admin::Timeouts>) -> Option<admin::Timeouts> {
    let (said, all) = (said?, write(timeouts));
    let own = admin::Timeouts {
        connect: said.connect.and(all.connect),
        response: said.response.and(all.response),
        idle: said.idle.and(all.idle),
        total: said.total.and(all.total),
    };
    (own != admin::Timeouts::default()).then_some(own)
}

/// Stored time-outs, and the default's where they say nothing.
pub(crate) fn filled(stored: Option<admin::Timeouts>, default: &Timeouts) -> admin::Timeouts {
    let (stored, default) = (stored.unwrap_or_default(), write(default));
    admin::Timeouts {
        connect: stored.connect.or(default.connect),
        response: stored.response.or(default.response),
        idle: stored.idle.or(default.idle),
        total: stored.total.or(default.total),
    }
}
